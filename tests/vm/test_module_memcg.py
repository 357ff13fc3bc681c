"""The kernel module at the limit of a memory cgroup: who dies of it, and when it says it cannot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm import kernel, limits, module
from tests.vm.guest import Guest
from tests.vm.image import PATIENCE
from tests.vm.module import start, statistics

PARAMETER = "/sys/module/oom/parameters/memcg"


@pytest.fixture(scope="module")
def loaded(guest: Guest) -> Iterator[Guest]:
    module.load(guest)
    yield guest
    guest.run(["rmmod", "oom"], check=True)


@pytest.fixture
def grouped(loaded: Guest) -> Iterator[Guest]:
    """The shared guest with the module; groups and processes of a test end with it."""
    yield loaded
    limits.remove(loaded)


def write(guest: Guest, *pids: int) -> None:
    guest.run(f"echo {' '.join(map(str, pids))} > /proc/oom", check=True)


def alive(guest: Guest, *pids: int) -> list[bool]:
    found = guest.run(["ls", "/proc"]).stdout.split()
    return [str(pid) in found for pid in pids]


def gone(guest: Guest, *pids: int) -> None:
    """Wait until these are gone."""
    paths = " ".join(f"/proc/{pid}" for pid in pids)
    guest.run(f"for p in {paths}; do while test -d $p; do sleep 0.05; done; done", check=True)


# Who dies


def test_the_listed_process_of_a_full_unit_dies_first(loaded: Guest) -> None:
    assert [limits.grow(loaded, listed=True) for _ in range(2)] == ["small"] * 2
    assert limits.grow(loaded, listed=False) == "large"


def test_it_is_said_and_counted_once(grouped: Guest) -> None:
    limits.make(grouped)
    inside = f"in={limits.TOP} plain"
    (protected,), (small,), (large,) = start(
        grouped,
        f"protected {inside} adj=-1000",
        f"small {inside} hold=12",
        f"large {inside} hold=24",
    )
    write(grouped, protected, small)
    before = statistics(grouped)
    kills = limits.lower(grouped, 30)
    assert kills[0].pid == small
    line = f"process {small} \\(small\\) goes first, number 2 of 2 listed"
    grouped.wait_console(f"{line}, at the limit of a control group\n")
    after = statistics(grouped)
    more = {name: after[name] - before[name] for name in after}
    assert more["kills"] == 1
    # A second one is the kernel's own choice, with or without a look from here.
    assert 1 <= more["refusals"] <= len(kills)
    assert more["fallbacks"] < len(kills)
    assert more["terms"] == 0
    assert more["memcg_ooms"] >= 1
    assert {kill.pid for kill in kills[1:]} <= {large}
    assert alive(grouped, protected) == [True]


def test_when_no_member_is_listed_the_kernel_chooses(grouped: Guest) -> None:
    limits.make(grouped)
    inside = f"in={limits.TOP} plain"
    (small,), (large,), (outside,) = start(
        grouped, f"small {inside} hold=2", f"large {inside} hold=24", "outside plain"
    )
    write(grouped, outside, 4_000_000)
    before = statistics(grouped)
    assert limits.lower(grouped, 20)[0].pid == large
    after = statistics(grouped)
    assert after["fallbacks"] > before["fallbacks"]
    # Tasks came back many times while the large one gave its memory back.
    assert after["fallbacks"] - before["fallbacks"] <= 3
    assert after["kills"] == before["kills"]
    line = "none of the 2 listed can be killed, the kernel chooses"
    grouped.wait_console(f"{line}, at the limit of a control group\n")
    assert alive(grouped, outside) == [True]
    grouped.run(f"kill -KILL {outside} {small}")


def test_a_limit_is_that_of_all_groups_below_and_of_no_others(grouped: Guest) -> None:
    inner, sibling = limits.make(grouped, "inner", "sibling")
    (outside,), (near,), (first,), (second,), (large,) = start(
        grouped,
        "outside plain hold=1",
        f"near in={sibling} plain hold=4",
        f"first in={inner} plain hold=8",
        f"second in={inner} plain hold=8",
        f"large in={inner} plain hold=24",
    )
    write(grouped, outside, near, first, second)
    assert limits.lower(grouped, 36, inner)[0].pid == first
    assert alive(grouped, outside, near, large)[:2] == [True, True]
    # The kernel may have taken more of those within by then.
    assert limits.lower(grouped, 2)[0].pid == near
    assert alive(grouped, outside) == [True]
    grouped.run(f"kill -KILL {outside}")


def test_a_process_counts_where_it_is_when_it_happens(grouped: Guest) -> None:
    before, after = limits.make(grouped, "before", "after")
    (left,), (came,), (large,) = start(
        grouped,
        f"left in={after} plain hold=2",
        f"came in={before} plain hold=2",
        f"large in={after} plain hold=24",
    )
    write(grouped, left, came)
    move = f"echo {left} > {before}/cgroup.procs; echo {came} > {after}/cgroup.procs"
    grouped.run(move, check=True)
    assert limits.lower(grouped, 20, after)[0].pid == came
    assert alive(grouped, left) == [True]
    gone(grouped, large)


def test_threads_stand_for_their_process_and_dead_entries_for_none(grouped: Guest) -> None:
    limits.make(grouped)
    inside = f"in={limits.TOP} plain"
    (dead,), (leaderless,), (other,), (large,) = start(
        grouped,
        "dead plain",
        f"leaderless {inside} leaderless hold=2",
        f"other {inside} leaderless hold=2",
        f"large {inside} hold=24",
    )
    grouped.run(f"kill -KILL {dead}")
    gone(grouped, dead)
    threads = grouped.run(["ls", f"/proc/{other}/task"], check=True).stdout.split()
    (thread,) = (int(name) for name in threads if int(name) != other)
    # Two that never were, one that has been, a process whose first thread is gone, a thread.
    write(grouped, 4_000_000, 4_000_001, dead, leaderless, thread)
    kills = limits.lower(grouped, 20)
    # The kernel's line has the pid of a thread that was left.
    assert [kill.comm for kill in kills[:3]] == ["leaderless", "other", "large"]
    gone(grouped, leaderless, other, large)


def test_who_shares_memory_with_others_in_the_group(grouped: Guest) -> None:
    limits.make(grouped)
    inside = f"in={limits.TOP} plain"
    lender, pair, (large,) = start(
        grouped, f"lender {inside} vfork", f"pair {inside} share", f"large {inside} hold=24"
    )
    # A child in vfork is refused for its parent's sake.
    write(grouped, lender[1], pair[1])
    assert limits.lower(grouped, 20)[0].pid == pair[1]
    gone(grouped, *pair, large)


def test_a_group_that_is_killed_as_a_whole_is(grouped: Guest) -> None:
    whole, other = limits.make(grouped, "whole", "other")
    (protected,), (listed,), (member,), _ = start(
        grouped,
        f"protected in={whole} plain adj=-1000",
        f"listed in={whole} plain hold=8",
        f"member in={whole} plain hold=8",
        f"large in={other} plain hold=24",
    )
    grouped.run(f"echo 1 > {whole}/memory.oom.group", check=True)
    write(grouped, listed)
    assert limits.lower(grouped, 30)[0].pid == listed
    gone(grouped, listed, member)
    assert alive(grouped, protected) == [True]
    assert "Tasks in /limited/whole are going to be killed" in grouped.console


def test_ooms_of_the_host_and_of_a_group_in_a_row(grouped: Guest) -> None:
    limits.make(grouped)
    (first,), (last,), (small,), large = start(
        grouped,
        "first plain",
        "last plain",
        f"small in={limits.TOP} plain hold=2",
        # In the group, and one of those that share its memory outside.
        f"large in={limits.TOP} plain share hold=24",
    )
    grouped.run(f"echo {large[1]} > /sys/fs/cgroup/cgroup.procs", check=True)
    # Who is outside is not pointed at, though its memory is that of the group.
    write(grouped, first, large[1], small, last)
    before = len(grouped.kills())
    script = f"""
echo f > /proc/sysrq-trigger; while test -d /proc/{first}; do sleep 0.05; done
echo 20M > {limits.TOP}/memory.max; while test -d /proc/{large[0]}; do sleep 0.05; done
echo f > /proc/sysrq-trigger; while test -d /proc/{last}; do sleep 0.05; done
"""
    grouped.run(script, check=True, timeout=60)
    kills = grouped.kills()[before:]
    assert [kill.pid for kill in kills[:2]] == [first, small]
    assert [kill.memcg for kill in kills[:2]] == [False, True]
    assert (kills[-1].pid, kills[-1].memcg) == (last, False)


# Whether it can


def test_the_parameter_switches_it_off_and_on(loaded: Guest) -> None:
    assert loaded.get(PARAMETER) == b"Y\n"
    loaded.run(f"echo 0 > {PARAMETER}", check=True)
    off = statistics(loaded)
    assert (off["memcg"], off["memcg_error"]) == (0, 0)
    assert "out_of_memory" not in loaded.get("/sys/kernel/debug/kprobes/list").decode()
    assert limits.grow(loaded, listed=True) == "large"
    assert statistics(loaded)["memcg_ooms"] == off["memcg_ooms"]
    loaded.run(f"echo 1 > {PARAMETER}", check=True)
    assert statistics(loaded)["memcg"] == 1
    assert limits.grow(loaded, listed=True) == "small"


def test_the_kernel_s_own_switches_are_seen(loaded: Guest) -> None:
    begun = len(loaded.console)
    for path in ("/proc/sys/kernel/ftrace_enabled", "/sys/kernel/debug/kprobes/enabled"):
        loaded.run(f"echo 0 > {path}", check=True)
        off = statistics(loaded)
        # The probe may be taken out and put in meanwhile.
        loaded.run(f"echo 0 > {PARAMETER}; echo 1 > {PARAMETER}", check=True)
        still_off = statistics(loaded)
        loaded.run(f"echo 1 > {path}", check=True)
        on = statistics(loaded)
        assert (off["memcg"], off["memcg_error"]) == (0, 0), path
        assert (still_off["memcg"], still_off["memcg_error"]) == (0, 0), path
        assert (on["memcg"], on["memcg_error"]) == (1, 0), path
    assert kernel.reports(loaded.console[begun:]) == []


LOCKDOWN = "/sys/kernel/security/lockdown"


def test_a_kernel_that_is_locked_down_meanwhile(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest)
    guest.run(f"echo confidentiality > {LOCKDOWN}", check=True)
    assert guest.get(LOCKDOWN) == b"none integrity [confidentiality]\n"
    # Only what users ask of kprobes is locked.
    assert limits.grow(guest, listed=True) == "small"
    guest.run(f"echo 0 > {PARAMETER} && echo 1 > {PARAMETER}", check=True)
    assert limits.grow(guest, listed=True) == "small"
    # It goes, and cannot come back: nobody has signed it.
    guest.run(["rmmod", "oom"], check=True)
    assert guest.run(["insmod", module.PATH]).status == 1
    assert kernel.reports(guest.console) == []


# Coming and going

# A small and a large process fill a group again and again; the list names the small one.
STORM = """
import os, pathlib, subprocess, sys, time
top = pathlib.Path("/sys/fs/cgroup/limited")
until = time.monotonic() + float(sys.argv[1])
rounds = 0
while time.monotonic() < until:
    victims = [
        subprocess.Popen(["/root/victim", f"in={top}", "plain", f"hold={hold}"], stdout=-3)
        for hold in (12, 24, 200)
    ]
    try:
        (pathlib.Path("/proc/oom")).write_text(f"{victims[0].pid} {os.getpid()}\\n")
    except OSError:
        pass  # It is not there just now.
    victims[2].wait()
    for victim in victims:
        victim.kill()
        victim.wait()
    rounds += 1
print(rounds)
"""


def test_it_comes_and_goes_during_ooms_without_a_trace(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.leaks(guest)
    module.load(guest)
    limits.make(guest)
    guest.run(f"echo 40M > {limits.TOP}/memory.max; echo 0 > {limits.TOP}/memory.swap.max; true")
    storm = guest.start(["python3", "-c", STORM, str(12 * PATIENCE)])
    script = f"""
set -e
end=$((SECONDS + {10 * PATIENCE}))
while test $SECONDS -lt $end; do
  rmmod oom
  ! test -e /proc/oom
  insmod /root/oom.ko
  echo 0 > /sys/module/oom/parameters/memcg
  echo 1 > /sys/module/oom/parameters/memcg
  grep -q '^memcg 1$' /proc/oom_stat
done
"""
    guest.run(["bash", "-c", script], check=True, timeout=120)
    result = storm.wait(120)
    assert result.status == 0, result.stderr
    assert int(result.stdout) > 3
    # Only members died, and the kernel complained of nothing.
    assert kernel.reports(guest.console) == []
    assert {kill.comm for kill in guest.kills()} == {"victim"}
    tainted = int(guest.get("/proc/sys/kernel/tainted"))
    assert tainted & ~(1 << 12 | 1 << 13) == 0  # out of tree, not signed, and nothing else
    guest.run(["rmmod", "oom"], check=True)
    assert "oom" not in guest.get("/sys/kernel/debug/kprobes/list").decode()
    assert module.leaks(guest) == ""
