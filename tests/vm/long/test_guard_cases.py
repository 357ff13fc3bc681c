"""Cases from the tests and the trackers of other daemons, in the guest, with rules of their own.

`make calm` runs these too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm.duel.contenders import Contender
from tests.vm.duel.stage import staged, wait_for
from tests.vm.duel.storms import ACTOR, INNOCENT
from tests.vm.guest import Guest
from tests.vm.long.test_calm import acts, meminfo, unit
from tests.vm.service import show, wait

OWN = "/etc/oomrules.d/60-own.oom"
UNARMED = Contender("oomrules", "systemctl start oomrules", "oomrules", ours=True)


@pytest.fixture
def host() -> Iterator[Guest]:
    """A guest in which the service runs, without a guard so far."""
    with staged(UNARMED, "none") as guest:
        guest.run(
            "printf 1 | dd of=/run/duel/table bs=1 seek=4 conv=notrunc status=none", check=True
        )
        yield guest


def arm(guest: Guest, rules: str) -> None:
    """Put rules in force; a reload that has ended means that they are."""
    guest.put(rules, OWN)
    guest.run(["systemctl", "reload", "oomrules"], check=True, timeout=120)


def taken(guest: Guest) -> list[dict[str, Any]]:
    """Return the entries of those who were killed or asked to end, once each."""
    found = {one["OOMRULES_PID"]: one for one in acts(guest, "asked", "killed")}
    return list(found.values())


def test_a_unit_that_stalls_at_its_own_limit_dies_and_who_sleeps_beside_it_lives(
    host: Guest,
) -> None:
    arm(host, 'in "workload.slice": kill when scope.stall > 20% for 5s\n')
    inside = ("Slice=workload.slice", "MemoryHigh=3M", "MemorySwapMax=0")
    unit(host, "chill", "rest chill 1", *inside)
    unit(host, "bloat", "hog bloat 200 0 100", *inside)
    wait(lambda: taken(host), 120)
    time.sleep(15)
    assert [one["OOMRULES_COMM"] for one in taken(host)] == ["bloat"]
    assert show(host, "ActiveState", "chill") == "active"
    assert host.kills() == []


def test_a_rule_that_lasts_an_hour_does_not_act_in_a_minute(host: Guest) -> None:
    arm(host, 'in "workload.slice": kill when scope.memory > 1MiB for 1h\n')
    unit(host, "bloat", "rest bloat 20", "Slice=workload.slice")
    time.sleep(60)
    assert taken(host) == []
    assert show(host, "ActiveState", "bloat") == "active"


def test_somebody_is_found_among_many_small_ones(host: Guest) -> None:
    arm(host, 'in "many.slice": kill when scope.memory > 90MiB\n')
    for number in range(25):
        unit(host, f"leaf{number}", f"rest leaf{number} 4", "Slice=many.slice")
    memory = "/sys/fs/cgroup/many.slice/memory.current"
    wait(lambda: taken(host) and int(host.get(memory)) <= 90 << 20, 120)
    time.sleep(5)
    dead = taken(host)
    assert all(one["OOMRULES_COMM"].startswith("leaf") for one in dead)
    # 25 of 4 MiB and what they need besides: five at most are too many.
    assert 1 <= len(dead) <= 10
    assert host.kills() == []


def test_two_shortages_one_after_the_other_take_one_each(host: Guest) -> None:
    arm(host, "kill when host.available < 10%\n")
    for number in (1, 2):
        unit(host, f"hog{number}", f"hog hog{number} 1500 60")
        wait(lambda n=number: len(taken(host)) >= n, 60)  # type: ignore[misc]
        time.sleep(8)
        assert [one["OOMRULES_COMM"] for one in taken(host)] == ["hog1", "hog2"][:number]
    assert host.kills() == []


def test_a_duration_begins_anew_after_a_gap(host: Guest) -> None:
    """Stopped in the middle of it, and for longer than it lasts."""
    arm(host, "kill when host.available < 30% for 30s\n")
    figures = meminfo(host)
    size = figures["MemAvailable"] - figures["MemTotal"] // 4
    unit(host, "ballast", f"rest ballast {size}")
    wait_for(host, INNOCENT + 1)
    time.sleep(10)
    pid = show(host, "MainPID")
    host.run(f"kill -STOP {pid}; sleep 40; kill -CONT {pid}; sleep 15", timeout=120, check=True)
    assert taken(host) == []
    wait(lambda: taken(host), 60)
    assert [one["OOMRULES_COMM"] for one in taken(host)] == ["ballast"]


def test_swap_that_comes_while_it_runs_is_seen(host: Guest) -> None:
    """And gone again it is unknown: no action by what was."""
    arm(host, 'in "prey.slice": kill when host.swap_free > 1%\n')
    for number in range(2):
        unit(host, f"prey{number}", f"rest prey{number} 4", "Slice=prey.slice")
    time.sleep(10)
    assert taken(host) == []
    swap = "fallocate -l 64M /swap && chmod 600 /swap && mkswap -q /swap && swapon /swap"
    host.run(swap, check=True, timeout=60)
    wait(lambda: len(taken(host)) == 2, 60)
    host.run(["swapoff", "/swap"], check=True, timeout=60)
    time.sleep(3)
    unit(host, "late", "rest late 4", "Slice=prey.slice")
    time.sleep(15)
    assert len(taken(host)) == 2


def test_forks_without_end_delay_nothing(host: Guest) -> None:
    """As many as the emulated guest can make."""
    arm(host, 'kill when host.available < 10%\nkill first comm "hog"\n')
    forks = "for i in $(seq 100000); do (:) ; done"
    host.run(["systemd-run", "--quiet", "--unit=forks", "bash", "-c", forks], check=True)
    unit(host, "hog", "hog hog 1500 60")
    wait(lambda: taken(host), 180)
    assert [one["OOMRULES_COMM"] for one in taken(host)] == ["hog"]
    assert host.kills() == []


def test_names_that_try_to_break_a_line_are_killed_and_told(host: Guest) -> None:
    arm(host, "kill when host.available < 10%\n")
    name = "foo) Z \n1"
    script = f"import os; os.execv('{ACTOR}', ['x', 'hog', {name!r}, '1500', '60'])"
    host.run(
        ["systemd-run", "--quiet", "--unit=odd", "--property=User=build", "python3", "-c", script]
    )
    wait(lambda: taken(host), 180)
    assert len(taken(host)) == 1 and host.kills() == []
    assert "\n" not in taken(host)[0]["MESSAGE"]
