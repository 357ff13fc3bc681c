"""Hosts with control groups of v1: each hierarchy is read by its own paths.

One guest boots as systemd's hybrid, with the memory controller in v1 and units in v2 as well, one
with v1 alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm import states
from tests.vm.guest import Guest
from tests.vm.host import NoGuest
from tests.vm.machine import Options
from tests.vm.ranking import RULES, holding
from tests.vm.test_adjust import EMIT, ORDER, TAKE, pids
from tests.vm.test_iterator import built_iterator, compared, pin

_LEGACY = "systemd.unified_cgroup_hierarchy=0"
LAYOUTS = {"hybrid": _LEGACY, "v1": f"{_LEGACY} systemd.legacy_systemd_cgroup_controller=1"}
# A batch system moves the memory of a job elsewhere than systemd has put the process.
UP = r"""
set -e
for name in first last grower jobber; do cp /usr/bin/python3 /usr/local/bin/$name; done
systemd-run --quiet --unit=limited -p OOMPolicy=continue -p MemoryMax=64M \
  bash -c '/usr/local/bin/first -S /root/take.py 1 & /usr/local/bin/last -S /root/take.py 44 &
           exec /usr/local/bin/grower -S /root/take.py 1'
systemd-run --quiet --unit=jobber /usr/local/bin/jobber -S /root/take.py 20
job=/sys/fs/cgroup/memory/jobs/one
mkdir -p $job
echo 40M > $job/memory.limit_in_bytes
sleep 2
systemctl show --value -p MainPID jobber > $job/cgroup.procs
"""
SHARE = "prefer anything when rss > 25%"
LIMIT = "prefer anything when unit.memory_max <= 64MiB"
MEMORY = "prefer anything when unit.memory > 30MiB"
PRESSURE = "prefer anything when unit.pressure <= 100%"
BLOCK = "in limited.service: prefer anything"
STATEMENTS = (SHARE, LIMIT, MEMORY, PRESSURE, BLOCK)


@pytest.fixture(scope="module", params=LAYOUTS)
def old(request: pytest.FixtureRequest, guest: Guest) -> Iterator[Guest]:
    """A guest with an older layout of control groups; the shared one stands still meanwhile."""
    with guest.paused():
        try:
            made = states.guest(Options(kernel_arguments=LAYOUTS[request.param]))
        except NoGuest as why:
            pytest.fail(f"no guest can be had here: {why}", pytrace=False)
        with made:
            made.put(TAKE, "/root/take.py")
            made.run(UP, check=True, timeout=120)
            yield made


def layout(guest: Guest) -> str:
    kinds = guest.run("grep -c ' - cgroup2 ' /proc/self/mountinfo").stdout.strip()
    return "v1" if kinds == "0" else "hybrid"


def test_each_figure_is_of_the_group_that_its_own_hierarchy_has(old: Guest) -> None:
    limited = {pid for name in ("first", "last", "grower") for pid in pids(old, name)}
    (jobber,) = pids(old, "jobber")
    (last,) = pids(old, "last")
    assert len(limited) == 3
    held = holding(old, STATEMENTS)
    # The limit of the job, which is in no group that systemd knows.
    assert held[SHARE] & {jobber, *limited} == {jobber, last}
    assert held[LIMIT] == held[BLOCK] == limited
    assert held[MEMORY] >= limited and jobber not in held[MEMORY]
    # The kernel measures pressure in v2 alone.
    assert held[PRESSURE] >= ({jobber, *limited} if layout(old) == "hybrid" else set())
    assert layout(old) == "hybrid" or not held[PRESSURE]


def test_a_recording_says_the_same(old: Guest) -> None:
    live = holding(old, STATEMENTS)
    old.run(["oomrules", "snapshot", "--output", "/root/recorded"], check=True, timeout=120)
    theirs = set.union(*(set(pids(old, name)) for name in ("first", "last", "grower", "jobber")))
    recorded = holding(old, STATEMENTS, "--snapshot", "/root/recorded")
    for statement in STATEMENTS:
        assert live[statement] & theirs == recorded[statement] & theirs, statement


def test_the_iterator_and_proc_agree(old: Guest) -> None:
    wanted = {name: pids(old, name)[0] for name in ("first", "last", "grower", "jobber")}
    pin(old, built_iterator())
    found = compared(old, wanted)
    assert found["differences"] == []
    for name, (by_iterator, by_proc) in found["rankings"].items():
        assert by_iterator == by_proc and by_proc, name
    seen = {name: found["processes"][str(pid)] for name, pid in wanted.items()}
    assert seen["jobber"]["cgroup"] == "/system.slice/jobber.service"
    assert seen["jobber"]["memory_cgroup"] == "/jobs/one"
    assert seen["first"]["cgroup"] == "/system.slice/limited.service"


def test_a_unit_at_its_limit_loses_the_process_that_the_rules_name(old: Guest) -> None:
    old.put(ORDER, RULES)
    done = old.run(["oomrules", *EMIT], timeout=120)
    assert "limited.service: 3 candidates in order" in done.stderr, done.stderr
    assert "/jobs/one: 1 candidate in order" in done.stderr, done.stderr
    old.run(["pkill", "-USR1", "-x", "grower"], check=True)
    old.wait_console(r"Memory cgroup out of memory: Killed process \d+ \(\w+\)", timeout=60)
    # The kernel alone would have taken another one: this one is the smallest by far.
    assert old.kills()[0].comm == "first"
    released = old.run(["oomrules", "release"], timeout=120)
    assert released.status == 0, released.stderr
