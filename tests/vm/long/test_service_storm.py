"""The service in bad weather: what it does, what it loses, and what it costs.

`make storm` takes hours in the emulated guest, `make storm STORM=short` minutes. What happens
when memory runs out is in test_storms.py, a thousand reloads are in tests/service/long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.vm import module, states
from tests.vm.guest import Guest
from tests.vm.machine import Options
from tests.vm.service import listed, serving, show, status, wait

SHORT = os.environ.get("STORM") == "short"
CHURN = 120 if SHORT else 3600
UNITS, PROCESSES = CHURN // 4, 10
RELOADS = 3 if SHORT else 30

# Units that come and go, each with some processes that do, too; prints how many there were.
CHURNING = """
end=$(($(date +%s) + {seconds})) units=0
while [ $(date +%s) -lt $end ]; do
  units=$((units + 1))
  systemd-run --quiet --no-block --unit=churn-$units \
    sh -c 'for i in $(seq {children}); do sleep 1 & done; wait'
  sleep 1.5
done
echo $units
"""
# Only systemd knows, so it is asked again as units come and go.
ASKS = 'never kill anything when unit.oom_policy == "kill"\n'
FULL = "head -c 1G /dev/zero > /run/filler; true"


@pytest.fixture
def alone() -> Iterator[Guest]:
    """A guest of one processor with the service, and no other guest beside it."""
    with states.guest(Options(cpus=1)) as guest:
        yield serving(guest)


def _size(guest: Guest) -> int:
    """Give the memory of the service in KiB."""
    pid = show(guest, "MainPID")
    return int(guest.run(f"awk '/^VmRSS/ {{print $2}}' /proc/{pid}/status", check=True).stdout)


def _ticks(guest: Guest, pid: str) -> int:
    """Give the processor time of a process, in hundredths of a second."""
    fields = guest.get(f"/proc/{pid}/stat").decode().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _unharmed(guest: Guest, pid: str) -> None:
    assert (show(guest, "MainPID"), show(guest, "NRestarts")) == (pid, "0")


def test_idle_costs_no_time_that_can_be_measured(served: Guest) -> None:
    pid, lists = show(served, "MainPID"), status(served)["refreshes"]["total"]
    # What the start has left to do, and the heartbeat that sees the commands above.
    time.sleep(75)
    before = _ticks(served, pid)
    time.sleep(120)
    used = _ticks(served, pid) - before
    print(f"\nidle: {used} ticks in 120 s, {status(served)['refreshes']['total'] - lists} lists")
    # The emulated processor takes some thirty times as long: less than one on a real machine.
    assert used <= 30


def test_churn_takes_no_memory_that_does_not_come_back(alone: Guest) -> None:
    alone.put(ASKS, "/etc/oomrules.d/70-bus.oom")
    alone.run(["systemctl", "reload", "oomrules"], check=True, timeout=120)
    wait(lambda: status(alone)["rules"]["count"] > 0, 60)
    pid = show(alone, "MainPID")
    churn = alone.start(CHURNING.format(seconds=CHURN, children=PROCESSES - 1))
    sizes, end = [], time.monotonic() + CHURN
    time.sleep(30)
    while time.monotonic() < end:
        sizes.append(_size(alone))
        time.sleep(min(60, CHURN / 8))
    # What is remembered of units that are gone has an end, which is reached by then.
    settled = sizes[len(sizes) // 3]
    units = int(churn.wait(timeout=CHURN + 120).check().stdout)
    said = status(alone)
    print(
        f"\nchurn: {units} units, {units * PROCESSES} processes; {sizes[0]} to {sizes[-1]} KiB, "
        f"{settled} after a third of the time; {said['refreshes']}, "
        f"{said['preparations']} preparations"
    )
    assert units >= UNITS
    assert sizes[-1] - settled < 512
    assert sizes[-1] - sizes[0] < 2048
    assert said["refreshes"]["units"] > CHURN / 20
    _unharmed(alone, pid)
    assert "watchdog" not in alone.journal(unit="oomrules").lower()


def test_reloads(served: Guest) -> None:
    pid, sizes = show(served, "MainPID"), []
    for number in range(RELOADS):
        served.put(f"prefer uid {number}\n", "/etc/oomrules.d/70-changing.oom")
        served.run(["systemctl", "reload", "oomrules"], check=True, timeout=180)
        sizes.append(_size(served))
    print(f"\n{RELOADS} reloads: {sizes[0]} to {sizes[-1]} KiB")
    assert sizes[-1] - sizes[0] < 2048
    assert status(served)["rules"]["state"] == "good"
    _unharmed(served, pid)


def test_a_full_run_is_said_and_outlived(served: Guest) -> None:
    pid = show(served, "MainPID")
    served.run(FULL, timeout=60)
    served.run(["systemctl", "start", "served"], timeout=60)
    problem = wait(lambda: (status(served)["list"] or {}).get("problem"), 60)
    assert "no space left" in problem
    served.run(["rm", "/run/filler"], check=True)
    served.run(["systemctl", "restart", "served"], timeout=60)
    wait(lambda: listed(served)[:1] == [show(served, "MainPID", "served")], 60)
    assert status(served)["list"]["problem"] is None
    _unharmed(served, pid)


def test_a_bus_that_goes_and_a_systemd_that_is_executed_anew(served: Guest) -> None:
    pid = show(served, "MainPID")
    served.run(["systemctl", "stop", "dbus.service", "dbus.socket"], timeout=60)
    served.put(ASKS, "/etc/oomrules.d/70-bus.oom")
    wait(lambda: any("bus" in problem for problem in status(served)["problems"]), 120)
    served.run(["systemctl", "start", "dbus.socket", "dbus.service"], check=True, timeout=60)
    served.run(["systemctl", "start", "served"], check=True, timeout=60)
    wait(lambda: not status(served)["problems"], 120)
    served.run(["systemctl", "daemon-reexec"], check=True, timeout=120)
    served.run(["systemctl", "reload", "oomrules"], check=True, timeout=120)
    assert show(served, "ActiveState") == "active"
    # Longer than the watchdog waits: it is heard by the new one.
    time.sleep(75)
    _unharmed(served, pid)


def test_a_module_that_comes_and_goes(served: Guest) -> None:
    pid = show(served, "MainPID")
    for _ in range(RELOADS):
        module.load(served)
        wait(lambda: status(served)["list"]["to"] == "/proc/oom", 90)
        assert served.get("/proc/oom").split() != []
        served.run(["rmmod", "oom"], check=True)
        wait(lambda: status(served)["list"]["to"] == "oom_score_adj", 90)
    assert status(served)["list"]["problem"] is None
    _unharmed(served, pid)


def test_a_clock_that_is_set_back_changes_nothing(served: Guest) -> None:
    pid = show(served, "MainPID")
    served.run(["date", "--set", "2001-01-01"], check=True)
    served.run(["systemctl", "start", "served"], check=True, timeout=60)
    wait(lambda: listed(served)[:1] == [show(served, "MainPID", "served")], 60)
    assert status(served)["list"]["age"] < 60
    _unharmed(served, pid)


def _restarted(served: Guest, times: int) -> bool:
    return show(served, "NRestarts") == str(times)


@pytest.mark.parametrize("times", [3 if SHORT else 50])
def test_it_is_killed_in_the_middle_of_its_work(served: Guest, times: int) -> None:
    churn = served.start(CHURNING.format(seconds=20 * times, children=2))
    for number in range(1, times + 1):
        served.run(["kill", "-KILL", show(served, "MainPID")], check=True)
        assert all(word.isdigit() for word in listed(served))
        wait(partial(_restarted, served, number), 60)
        wait(lambda: show(served, "ActiveState") == "active", 120)
    churn.kill()
    churn.wait()
    assert status(served)["list"]["problem"] is None
