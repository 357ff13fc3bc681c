"""A signal reaches the process that was meant, however it stands, and never another one."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomrules.clock import now
from oomrules.guard.killing import Killer
from oomrules.guard.model import Armed, Candidate, Flight, Sample, Whole
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.proc_stat import family
from oomrules.program.program import Guard
from tests.children import CHECKOUT, Child, child, nobody, spawn

__all__ = ["child", "nobody", "spawn"]

ARMED = Armed(guard=Guard("kill", ["number", 1], "a.oom:1", "kill when …", within=3000), number=0)
SAMPLE = Sample(at=1.0, host={"available": 1 << 20}, units={})
Spawn = Callable[..., Child]


@pytest.fixture
def killer() -> Iterator[Killer]:
    """A killer that may take children of this process."""
    made = Killer(me=0)
    made.start()
    yield made
    made.close()


def start_of(pid: int) -> int:
    return family(Path(f"/proc/{pid}/stat").read_bytes())[0]


def candidate(pid: int, **fields: Any) -> Candidate:
    return Candidate(pid=pid, **{"start": start_of(pid), "rank": 1, "comm": "demo", **fields})


def strike(
    killer: Killer, *victims: Candidate, action: str = "kill"
) -> tuple[Flight, tuple[str, ...]]:
    """Strike where somebody is taken."""
    flight, said = killer.strike(victims, ARMED, action, SAMPLE)
    assert flight
    return flight, said


def nobody_is_taken(killer: Killer, *victims: Candidate, action: str = "kill") -> str:
    """Strike where nobody is taken; return what is said."""
    flight, said = killer.strike(victims, ARMED, action, SAMPLE)
    assert flight is None
    return "\n".join(said)


def wait_until_gone(killer: Killer, flight: Flight) -> Flight:
    for _ in range(3000):
        flight = killer.look(flight)
        if flight.gone is not None:
            return flight
        time.sleep(0.01)
    raise AssertionError(f"process {flight.victim.pid} is not gone")


def lives(child: Child) -> bool:
    return child.process.poll() is None


# --- SIGKILL ------------------------------------------------------------------------------------


def test_the_victim_is_killed_and_seen_to_be_gone(killer: Killer, spawn: Spawn) -> None:
    victim, other = spawn(), spawn()
    before = now()
    flight, said = strike(killer, candidate(victim.pid, held=5, swap=2), candidate(other.pid))
    assert said == ()
    assert flight.killed is not None
    assert before <= flight.since <= flight.killed <= now()
    assert (flight.expected, flight.available) == (5, 1 << 20)
    assert wait_until_gone(killer, flight).gone
    assert victim.process.wait() == -signal.SIGKILL
    assert lives(other)


@pytest.mark.parametrize("name", [b"foo) Z 1 ", b"a\\nb) S 1", b") Z (", b"\\xff\\xfe"])
def test_a_hostile_name_changes_nothing(killer: Killer, child: Child, name: bytes) -> None:
    child.do(f"comm(b'{name.decode()}')")
    strike(killer, candidate(child.pid))
    assert child.process.wait() == -signal.SIGKILL


def test_a_process_whose_first_thread_has_ended_is_killed(killer: Killer, spawn: Spawn) -> None:
    child = spawn(leaderless=True)
    flight, _ = strike(killer, candidate(child.pid))
    assert child.process.wait() == -signal.SIGKILL
    assert wait_until_gone(killer, flight)


def test_a_stopped_process_is_killed(killer: Killer, child: Child) -> None:
    child.stop()
    strike(killer, candidate(child.pid))
    assert child.process.wait() == -signal.SIGKILL


def test_a_process_that_starts_others_all_the_time_is_killed(killer: Killer, child: Child) -> None:
    child.do("import threading")
    child.do(
        "threading.Thread(daemon=True, target=lambda: [os.waitpid(os.fork() or os._exit(0), 0)"
        " for _ in iter(int, 1)]).start()"
    )
    strike(killer, candidate(child.pid))
    assert child.process.wait() == -signal.SIGKILL


def test_the_flight_is_told_before_the_signal(killer: Killer, child: Child) -> None:
    told = list[tuple[int, bool]]()

    def before(flight: Flight) -> None:
        time.sleep(0.05)
        told.append((flight.victim.pid, child.stat()[0] in "SR"))

    killer.strike([candidate(child.pid)], ARMED, "kill", SAMPLE, before)
    assert told == [(child.pid, True)]


def test_what_cannot_be_written_down_is_done_all_the_same(killer: Killer, child: Child) -> None:
    def before(flight: Flight) -> None:
        raise OSError(errno.ENOSPC, "no room")

    flight, said = killer.strike([candidate(child.pid)], ARMED, "kill", SAMPLE, before)
    assert flight
    assert "no room" in said[0]
    assert child.process.wait() == -signal.SIGKILL


# --- SIGTERM ------------------------------------------------------------------------------------

DEAF = "signal.signal(signal.SIGTERM, {})"


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda *_: None"])
def test_a_process_that_does_not_end_when_asked_is_killed(
    killer: Killer, child: Child, handler: str
) -> None:
    child.do(DEAF.format(handler))
    flight, _ = strike(killer, candidate(child.pid), action="terminate")
    assert flight.killed is None
    assert flight.escalate == pytest.approx(flight.since + 3)
    assert killer.look(flight).gone is None
    flight = killer.escalate(flight)
    assert flight.killed is not None
    assert child.process.wait() == -signal.SIGKILL
    assert wait_until_gone(killer, flight)


def test_a_stopped_process_goes_on_to_end_as_it_likes(killer: Killer, child: Child) -> None:
    child.do("signal.signal(signal.SIGTERM, lambda *_: os._exit(7))")
    child.stop()
    flight, _ = strike(killer, candidate(child.pid), action="terminate")
    assert child.process.wait() == 7
    assert wait_until_gone(killer, flight).killed is None


def test_with_rights_over_hardware_it_is_asked_first(killer: Killer, child: Child) -> None:
    child.do("signal.signal(signal.SIGTERM, lambda *_: os._exit(7))")
    flight, _ = strike(killer, candidate(child.pid, polite=True))
    assert flight.killed is None
    assert child.process.wait() == 7


def test_another_killer_goes_on_with_a_flight(killer: Killer, child: Child) -> None:
    """As when the guard's thread has to be started anew."""
    child.do(DEAF.format("signal.SIG_IGN"))
    flight, _ = strike(killer, candidate(child.pid), action="terminate")
    other = Killer(me=0)
    assert other.look(flight).gone is None
    flight = other.escalate(flight)
    assert child.process.wait() == -signal.SIGKILL
    assert wait_until_gone(other, flight)
    other.close()


# --- who is not signalled -----------------------------------------------------------------------


def test_another_process_with_the_pid_is_not_signalled(killer: Killer, child: Child) -> None:
    said = nobody_is_taken(killer, candidate(child.pid, start=start_of(child.pid) - 1))
    assert said == f"demo ({child.pid}) has ended, and another process has its pid"
    assert lives(child)


def test_a_pid_that_is_used_again_is_not_signalled() -> None:
    """With real reuse, in a pid namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may make a pid namespace")
    code = f"""
import sys
sys.path[:0] = [{CHECKOUT!r}]
from tests.guard import reuse
reuse.main()
"""
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("spared\n", "")


def test_who_is_gone_is_passed_over(killer: Killer, spawn: Spawn) -> None:
    reaped, rotten, victim = spawn(), spawn(), spawn()
    gone = candidate(reaped.pid)
    reaped.die()
    rotten.rot()
    flight, said = strike(killer, gone, candidate(rotten.pid), candidate(victim.pid))
    assert flight.victim.pid == victim.pid
    assert said == (
        f"demo ({reaped.pid}) has ended",
        f"demo ({rotten.pid}) is ending already",
    )


def test_neither_init_nor_the_kernel_nor_our_own_processes_are_signalled(spawn: Spawn) -> None:
    ours, named = spawn(), spawn()
    # Whatever is taken here by mistake shall live.
    killer = Killer(own=[named.pid], dry=True)
    pids = [1, os.getpid(), ours.pid, named.pid]
    kernel = Path("/proc/2/comm")  # a container shows none of its threads
    if kernel.exists() and kernel.read_text() == "kthreadd\n":
        pids.append(2)
    said = nobody_is_taken(killer, *map(candidate, pids))
    killer.close()
    assert len(said.splitlines()) == len(pids)


def test_no_right_to_signal_one_of_them_spares_no_other(
    spawn: Spawn, nobody: dict[str, Any]
) -> None:
    ours = spawn()
    code = f"""
import subprocess, sys
from tests.guard.test_killing import Killer, candidate, strike
theirs = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
killer = Killer(me=0)
flight, said = strike(killer, candidate({ours.pid}), candidate(theirs.pid))
print(*said, theirs.wait(), flight.victim.pid == theirs.pid)
print(killer.self_test())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": CHECKOUT, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        **nobody,
    )
    assert done.stdout.splitlines()[:1] == [
        f"demo ({ours.pid}) cannot be signalled: operation not permitted -9 True"
    ], done.stderr
    assert "CAP_KILL" in done.stdout.splitlines()[1]
    assert lives(ours)


def test_what_is_said_of_many_is_bounded(killer: Killer) -> None:
    said = nobody_is_taken(killer, *[candidate(1, comm="\x1b[2J\n")] * 500)
    assert said.endswith("495 more were passed over")
    assert len(said.splitlines()) == 6
    assert "\x1b" not in said


KINDS = ("living", "gone", "other", "own")


@given(kinds=st.lists(st.sampled_from(KINDS), max_size=5))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_first_that_can_be_is_taken_and_nobody_else(kinds: list[str]) -> None:
    children = [Child() for _ in kinds]
    own = [one.pid for one, kind in zip(children, kinds, strict=True) if kind == "own"]
    killer = Killer(own, me=0)
    try:
        candidates = []
        for one, kind in zip(children, kinds, strict=True):
            late = 1 if kind == "other" else 0
            candidates.append(candidate(one.pid, start=start_of(one.pid) + late))
            if kind == "gone":
                one.die()
        flight, said = killer.strike(candidates, ARMED, "kill", SAMPLE)
        expected = kinds.index("living") if "living" in kinds else None
        assert (flight and flight.victim) == (None if expected is None else candidates[expected])
        assert len(said) == (len(kinds) if expected is None else expected)
        for place, (one, kind) in enumerate(zip(children, kinds, strict=True)):
            if kind != "gone" and place != expected:
                assert lives(one)
        if expected is not None:
            assert children[expected].process.wait() == -signal.SIGKILL
    finally:
        killer.close()
        for one in children:
            one.end()


# --- dry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["kill", "terminate"])
def test_a_dry_run_signals_nobody(child: Child, action: str) -> None:
    killer, told = Killer(dry=True, me=0), list[Flight]()
    flight, _ = killer.strike([candidate(child.pid)], ARMED, action, SAMPLE, told.append)
    assert flight
    assert [one.victim for one in told] == [flight.victim]
    assert flight.gone is not None
    assert (flight.killed is None) == (action == "terminate")
    killer.escalate(flight)
    time.sleep(0.05)
    assert lives(child)
    killer.close()


# --- units --------------------------------------------------------------------------------------


def test_the_others_of_a_unit_go_too_and_are_waited_for(killer: Killer, spawn: Spawn) -> None:
    victim, with_it, slow, reused, other = (spawn() for _ in range(5))
    slow.do(DEAF.format("signal.SIG_IGN"))
    others = [(one.pid, start_of(one.pid)) for one in (with_it, slow)]
    others.append((reused.pid, start_of(reused.pid) + 1))
    whole = Whole(path="/a", at_once=False, others=tuple(others), held=8)
    flight, _ = strike(killer, candidate(victim.pid, held=5, whole=whole), action="terminate")
    assert flight.expected == 13
    assert killer.others == 2
    assert victim.process.wait() == with_it.process.wait() == -signal.SIGTERM
    assert killer.look(flight).gone is None
    flight = killer.escalate(flight)
    assert slow.process.wait() == -signal.SIGKILL
    assert wait_until_gone(killer, flight)
    assert lives(reused)
    assert lives(other)


class Groups:
    """A directory that looks like the control groups of version 2."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cgroup"
        self.folder.mkdir()
        mounts = folder / "mounts"
        mounts.write_text(
            f"27 1 0:27 / / rw - ext4 x rw\n28 27 0:28 / {self.folder} rw - cgroup2 cgroup2 rw\n"
        )
        self.hierarchy = Hierarchy(str(mounts), own=str(mounts))

    def add(self, path: str, *pids: int, frozen: bool = False) -> Path:
        group = self.folder / path.lstrip("/")
        group.mkdir(parents=True)
        (group / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        (group / "cgroup.events").write_text(f"populated 1\nfrozen {int(frozen)}\n")
        (group / "cgroup.kill").write_text("")
        return group


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def in_groups(groups: Groups) -> Killer:
    killer = Killer(me=0, hierarchy=groups.hierarchy)
    killer.start()
    return killer


def test_a_unit_is_killed_at_once_by_its_group(groups: Groups, child: Child) -> None:
    group = groups.add("/a.slice/b.service")
    groups.add("/a.slice/b.service/part", child.pid)
    killer = in_groups(groups)
    whole = Whole(path="/a.slice/b.service", at_once=True, others=())
    strike(killer, candidate(child.pid, cgroup="/a.slice/b.service/part", whole=whole))
    assert child.process.wait() == -signal.SIGKILL
    killer.close()
    assert (group / "cgroup.kill").read_text() == "1"


@pytest.mark.parametrize("at_once", [True, False])
def test_a_group_that_the_victim_is_not_in_or_that_has_the_protected_is_not_killed(
    groups: Groups, spawn: Spawn, at_once: bool
) -> None:
    """A unit that was started anew has the path of the one before."""
    victim, with_it = spawn(), spawn()
    group = groups.add("/b.service", *([] if at_once else [victim.pid]))
    killer = in_groups(groups)
    others = ((with_it.pid, start_of(with_it.pid)),)
    whole = Whole(path="/b.service", at_once=at_once, others=others)
    strike(killer, candidate(victim.pid, cgroup="/b.service", whole=whole))
    assert victim.process.wait() == with_it.process.wait() == -signal.SIGKILL
    killer.close()
    assert (group / "cgroup.kill").read_text() == ""


def test_who_is_asked_is_not_killed_by_his_group_before_his_time_is_over(
    groups: Groups, child: Child
) -> None:
    child.do(DEAF.format("signal.SIG_IGN"))
    group = groups.add("/b.service", child.pid)
    killer = in_groups(groups)
    whole = Whole(path="/b.service", at_once=True, others=())
    flight, _ = strike(
        killer, candidate(child.pid, cgroup="/b.service", whole=whole), action="terminate"
    )
    assert (group / "cgroup.kill").read_text() == ""
    killer.escalate(flight)
    assert child.process.wait() == -signal.SIGKILL
    killer.close()
    assert (group / "cgroup.kill").read_text() == "1"


def test_a_frozen_process_is_killed_at_once_since_it_cannot_hear(
    groups: Groups, child: Child
) -> None:
    groups.add("/b.service", child.pid, frozen=True)
    killer = in_groups(groups)
    flight, _ = strike(killer, candidate(child.pid, cgroup="/b.service"), action="terminate")
    assert flight.killed is not None
    assert child.process.wait() == -signal.SIGKILL
    killer.close()


# --- faults -------------------------------------------------------------------------------------


def hold_up(killer: Killer) -> list[int]:
    """Keep the threads busy for calls that may wait; return descriptors that set them free."""
    ends = []
    while killer.reaper._idle():
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while os.write(writer, bytes(65536)):
                pass
        except BlockingIOError:
            os.set_blocking(writer, True)
        assert not killer.reaper.kill_soon(writer, 0.001)
        os.close(writer)
        ends.append(reader)
    return ends


def test_calls_that_wait_for_ever_hold_up_nobody(killer: Killer, spawn: Spawn) -> None:
    ends = hold_up(killer)
    for reaps in (False, True):
        killer.reaps = reaps
        victim = spawn()
        flight, _ = strike(killer, candidate(victim.pid))
        assert victim.process.wait() == -signal.SIGKILL
        assert wait_until_gone(killer, flight)
    for end in ends:
        os.close(end)


def test_a_kernel_that_kills_and_reaps_in_one_call_leaves_nothing_undone(
    killer: Killer, child: Child
) -> None:
    """Whether it really does or, as here on most, refuses the flag."""
    killer.reaps = True
    flight, _ = strike(killer, candidate(child.pid))
    assert child.process.wait() == -signal.SIGKILL
    assert wait_until_gone(killer, flight)


def test_a_group_is_not_killed_late(
    killer: Killer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 2.0])
    monkeypatch.setattr("oomrules.guard.reaping.now", lambda: next(times))
    file = os.open(tmp_path / "cgroup.kill", os.O_WRONLY | os.O_CREAT)
    assert not killer.reaper.kill_soon(file, 5)
    os.close(file)
    assert (tmp_path / "cgroup.kill").read_bytes() == b""


def test_no_descriptor_is_left_behind(killer: Killer, spawn: Spawn) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    for action in ("kill", "terminate", "kill"):
        victims = [spawn() for _ in range(3)]
        gone = candidate(victims[0].pid)
        victims[0].die()
        others = ((victims[2].pid, start_of(victims[2].pid)),)
        whole = Whole(path="/a", at_once=False, others=others)
        before = opened()
        flight, _ = strike(killer, gone, candidate(victims[1].pid, whole=whole), action=action)
        wait_until_gone(killer, flight)
        for _ in range(500):
            if opened() == before:
                break
            time.sleep(0.01)
        assert opened() == before


def test_the_first_of_each_place_are_taken_even_without_a_free_descriptor(
    killer: Killer, spawn: Spawn
) -> None:
    victims = [spawn(), spawn(), spawn()]
    candidates = [candidate(one.pid) for one in victims]
    killer.prepare([(candidates[0],), (candidates[0], candidates[1])])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(taken[0] + 1, soft), hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        said = nobody_is_taken(killer, candidates[2])
        flights = [strike(killer, candidates[place])[0] for place in (1, 0)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
    assert [flight.victim for flight in flights] == candidates[1::-1]
    assert [one.process.wait() for one in victims[:2]] == [-signal.SIGKILL] * 2
    assert "cannot be signalled: too many open files" in said


def test_who_was_opened_ahead_is_looked_at_again(killer: Killer, spawn: Spawn) -> None:
    reaped, rotten, victim = spawn(), spawn(), spawn()
    before = len(os.listdir("/proc/self/fd"))
    candidates = tuple(candidate(one.pid) for one in (reaped, rotten, victim))
    killer.prepare([candidates])
    killer.prepare([candidates])
    reaped.die()
    rotten.rot()
    flight, said = strike(killer, *candidates)
    assert flight.victim == candidates[2]
    assert said == (
        f"demo ({reaped.pid}) has ended",
        f"demo ({rotten.pid}) is ending already",
    )
    assert victim.process.wait() == -signal.SIGKILL
    killer.prepare([candidates])
    killer.prepare([])
    assert wait_until_gone(killer, flight)
    for _ in range(500):
        if len(os.listdir("/proc/self/fd")) == before:
            break
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) == before


# --- the self-test ------------------------------------------------------------------------------


def own_children() -> set[int]:
    """Return the children of this process, those of other tests too."""
    me = psutil.Process()
    return {child.pid for child in me.children()}


def test_the_self_test_leaves_no_child(killer: Killer) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may signal processes of others")
    before = own_children()
    assert killer.self_test() == ""
    assert own_children() <= before


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EPERM, "SystemCallFilter="), (errno.ENOSYS, "Linux 5.3")]
)
def test_the_self_test_says_which_call_fails_and_what_to_do(
    killer: Killer, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may signal processes of others")

    def refuse(pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    before = own_children()
    problem = killer.self_test()
    assert "pidfd_open" in problem
    assert said in problem
    assert own_children() <= before
