"""kill whole: with a real OOM all of a unit die, a protected process lives, all is given back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vm import module
from tests.vm.guest import Guest
from tests.vm.ranking import RULES
from tests.vm.test_adjust import TAKE

GROUP = "/sys/fs/cgroup/system.slice/batch-1.service/memory.oom.group"
UP = r"""
set -e
for name in worker helper bystander safe; do cp /usr/bin/python3 /usr/local/bin/$name; done
systemd-run --quiet --unit=other /usr/local/bin/bystander -S /root/take.py 30
# Without the right for which the module would try a SIGTERM first, of the one process.
# When the main process of a service has ended, systemd would end the others.
systemd-run --quiet --unit=batch-1 -p OOMPolicy=continue -p KillMode=process \
  -p CapabilityBoundingSet=~CAP_SYS_RAWIO \
  bash -c '/usr/local/bin/helper -S /root/take.py 1 & %s
           exec /usr/local/bin/worker -S /root/take.py 20'
for name in worker helper bystander %s; do until pgrep -x $name; do sleep 0.1; done; done
sleep 2
"""
SAFE = "/usr/local/bin/safe -S /root/take.py 5 &"
ORDER = """
score rss
kill whole "batch-*.service"
kill first unit "batch-1.service"
never kill comm "safe"
"""
Start = Callable[[bool], Guest]


@pytest.fixture
def start(fresh_guest: Guest) -> Start:
    """Start the unit, with a protected process in it or without."""

    def started(protected: bool) -> Guest:
        fresh_guest.put(TAKE, "/root/take.py")
        fresh_guest.put(ORDER, RULES)
        words = (SAFE, "safe") if protected else ("", "")
        fresh_guest.run(UP % words, timeout=120, check=True)
        module.load(fresh_guest)
        return fresh_guest

    return started


def alive(guest: Guest) -> set[str]:
    names = "worker helper bystander safe"
    return set(
        guest.run(
            f"for n in {names}; do pgrep -x $n >/dev/null && echo $n; done; true"
        ).stdout.split()
    )


def emit(guest: Guest, target: str) -> str:
    done = guest.run(["oomrules", "emit", "--to", target, "--rules", RULES], timeout=120)
    assert done.status == 0, done.stderr
    return done.stderr


def exhaust(guest: Guest) -> None:
    """Let the worker take all memory that there is, until it is gone."""
    script = "pid=$(pgrep -x worker); kill -USR1 $pid; while test -d /proc/$pid; do sleep 0.2; done"
    guest.run(script, timeout=300, check=True)
    guest.run("sleep 2", check=True)


@pytest.mark.parametrize("target", ["/proc/oom", "oom_score_adj"])
def test_all_members_die_and_nobody_else(start: Start, target: str) -> None:
    guest = start(False)
    assert guest.get(GROUP).strip() == b"0"
    said = emit(guest, target)
    assert "1 unit to be killed as a whole" in said
    assert guest.get(GROUP).strip() == b"1"
    exhaust(guest)
    assert alive(guest) == {"bystander"}
    assert "are going to be killed due to memory.oom.group set" in guest.console


def test_a_protected_member_lives_and_the_group_is_not_armed(start: Start) -> None:
    guest = start(True)
    said = emit(guest, "/proc/oom")
    assert "killed one process at a time" in said and "safe" in said
    assert guest.get(GROUP).strip() == b"0"
    exhaust(guest)
    assert {"safe", "bystander"} <= alive(guest) and "worker" not in alive(guest)


def test_with_oom_score_adj_the_kernel_spares_the_protected_member_alone(start: Start) -> None:
    guest = start(True)
    emit(guest, "oom_score_adj")
    assert guest.get(GROUP).strip() == b"1"
    exhaust(guest)
    assert alive(guest) == {"safe", "bystander"}


def test_what_was_there_before_is_given_back(start: Start) -> None:
    guest = start(False)
    emit(guest, "/proc/oom")
    assert guest.get(GROUP).strip() == b"1"
    done = guest.run(["oomrules", "release"], timeout=120)
    assert done.status == 0 and "1 control group restored" in done.stderr
    assert guest.get(GROUP).strip() == b"0"
    # A new unit of the same name is another one.
    emit(guest, "/proc/oom")
    guest.run("systemctl kill --signal=KILL batch-1; sleep 2; systemctl reset-failed", check=True)
    guest.run("systemd-run --quiet --unit=batch-1 sleep 1000", check=True)
    guest.run(f"sleep 1; echo 1 > {GROUP}", check=True)
    assert guest.run(["oomrules", "release"], timeout=120).status == 0
    assert guest.get(GROUP).strip() == b"1"
