"""The guard's thread: it goes on, whatever goes wrong, and takes one at a time."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.clock import now
from oomrules.guard import watch as module
from oomrules.guard.decision import decide
from oomrules.guard.killing import Killer
from oomrules.guard.model import Armed, Candidate, Event, Ready, Sample
from oomrules.guard.sampling import Places, Sampler
from oomrules.guard.watch import Watch
from tests.children import Child
from tests.guard.making import armed, program
from tests.processes.test_cgroups import V2, Tree
from tests.service.daemon import wait
from tests.service.figures import GIB, Figures

LOW = GIB // 4
Spawn = Callable[..., Child]


class Intents:
    """What is written down, in a list."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int]] = []
        self.broken = False

    def note(
        self,
        action: str,
        victim: Candidate,
        armed: Armed,
        sample: Sample,
        listed: int = 0,
        age: float = 0.0,
    ) -> None:
        if self.broken:
            raise ValueError("broken")
        self.notes.append((action, victim.pid))

    def withdraw(self) -> None:
        self.notes.append(("withdrawn", 0))


class Guard:
    """A guard on made-up figures, whose victims are children of the test."""

    def __init__(self, host: Figures, tree: Tree) -> None:
        self.host = host
        self.intents = Intents()
        self.sampler = Sampler(str(host.root), tree.open())
        # Its children may be signalled here, and this process is not the guard's.
        self.killer = Killer(me=2**22 + 1)
        self.watch = Watch(self.sampler, self.killer, self.intents)
        self.events: list[Event] = []

    def arm(self, sentence: str, *victims: Child, at: float = 0.0, held: int = GIB) -> None:
        made = program(sentence)
        listed = tuple(
            Candidate(pid=one.pid, start=int(one.stat()[19]), rank=rank, comm="v", held=held)
            for rank, one in enumerate(victims, 1)
        )
        guards = armed(made)
        ready = Ready(at, guards, {"": listed}, len(listed), made.definitions)
        self.watch.arm(self.sampler.prepare(ready, {}, self.watch.places))

    def kinds(self) -> list[str]:
        self.events += self.watch.take()
        return [event.kind for event in self.events]


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    made = Guard(Figures(tmp_path / "figures"), Tree(tmp_path, V2))
    yield made
    made.watch.stop()


SENTENCE = "kill when host.available < 5%"


def test_it_takes_one_tells_it_and_wakes_who_listens(guard: Guard, spawn: Spawn) -> None:
    victims = [spawn(), spawn()]
    guard.watch.start()
    guard.arm(SENTENCE, *victims)
    poll = select.poll()
    poll.register(guard.watch.descriptor, select.POLLIN)
    guard.host.set(MemAvailable=LOW)
    assert victims[0].process.wait(120) == -signal.SIGKILL
    guard.host.set()
    wait(lambda: guard.kinds() == ["killed", "ended"])
    killed, ended = guard.events
    assert killed.victim and killed.victim.pid == victims[0].pid
    assert killed.armed and killed.armed.guard.text == SENTENCE and killed.listed == 2
    assert killed.sample and killed.sample.host["available"] == LOW
    # The sample of an event says what stalls were at that moment.
    assert killed.sample.host["stall"] is not None
    assert ended.won == 6 * GIB - LOW and ended.lasted is not None and not ended.problem
    assert guard.intents.notes == [("kill", victims[0].pid)]
    assert victims[1].process.poll() is None
    assert list(guard.watch.reactions) == [killed.reaction]


def test_where_much_was_taken_since_the_list_a_new_one_is_waited_for(
    guard: Guard, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 600.0)
    small, grown = spawn(), spawn()
    guard.watch.start()
    guard.arm(SENTENCE, small, grown, at=now(), held=GIB // 100)
    wait(lambda: guard.watch.rounds > 2)
    guard.host.set(MemAvailable=LOW)
    wait(lambda: guard.watch.wanting)
    assert guard.kinds() == [] and small.process.poll() is None
    guard.arm(SENTENCE, grown, at=now(), held=GIB // 100)
    assert grown.process.wait(120) == -signal.SIGKILL
    assert small.process.poll() is None


def test_no_list_is_waited_for_without_end(guard: Guard, spawn: Spawn) -> None:
    small = spawn()
    guard.watch.start()
    guard.arm(SENTENCE, small, at=now(), held=GIB // 100)
    wait(lambda: guard.watch.rounds > 2)
    guard.host.set(MemAvailable=LOW)
    assert small.process.wait(120) == -signal.SIGKILL


def test_a_mistake_is_said_once_and_ends_nothing(
    guard: Guard, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(module, "_AFTER_MISTAKE", 0.05)
    monkeypatch.setattr(module, "decide", fail)
    guard.watch.start()
    guard.arm(SENTENCE, spawn())
    wait(lambda: guard.watch.rounds > 5)
    assert guard.kinds() == ["failed"]
    assert "ZeroDivisionError: a mistake" in guard.events[0].problem
    assert "test_watch.py" in guard.events[0].problem
    monkeypatch.setattr(module, "decide", decide)
    victim = spawn()
    guard.arm(SENTENCE, victim)
    guard.host.set(MemAvailable=LOW)
    assert victim.process.wait(120) == -signal.SIGKILL


def test_a_record_that_cannot_be_made_keeps_no_signal_back(guard: Guard, spawn: Spawn) -> None:
    victim = spawn()
    guard.intents.broken = True
    guard.watch.start()
    guard.arm(SENTENCE, victim)
    guard.host.set(MemAvailable=LOW)
    assert victim.process.wait(120) == -signal.SIGKILL


def test_who_is_gone_is_skipped_and_the_next_one_taken(guard: Guard, spawn: Spawn) -> None:
    first, second = spawn(), spawn()
    guard.watch.start()
    guard.arm(SENTENCE, first, second)
    first.die()
    guard.host.set(MemAvailable=LOW)
    assert second.process.wait(120) == -signal.SIGKILL
    wait(lambda: "killed" in guard.kinds())
    assert str(first.pid) in guard.events[0].problem
    assert guard.intents.notes == [("kill", second.pid)]


def test_if_nobody_can_be_signalled_that_is_said_once(guard: Guard, spawn: Spawn) -> None:
    victim = spawn()
    guard.watch.start()
    guard.arm(SENTENCE, victim)
    victim.die()
    guard.host.set(MemAvailable=LOW)
    wait(lambda: "failed" in guard.kinds())
    rounds = guard.watch.rounds
    wait(lambda: guard.watch.rounds > rounds + 20)
    assert guard.kinds() in (["failed"], ["failed", "nobody"])
    assert str(victim.pid) in guard.events[0].problem


def test_lists_that_come_during_a_flight_start_no_second_one(guard: Guard, spawn: Spawn) -> None:
    deaf, other = spawn(), spawn()
    deaf.do("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    guard.watch.start()
    sentence = "terminate when host.available < 5% within 1h"
    guard.arm(sentence, deaf, other)
    guard.host.set(MemAvailable=LOW)
    wait(lambda: guard.kinds() == ["asked"])
    rounds = guard.watch.rounds
    for _ in range(100):
        guard.arm(sentence, other, deaf)
        time.sleep(0.005)
    wait(lambda: guard.watch.rounds > rounds + 20)
    assert guard.kinds() == ["asked"] and other.process.poll() is None
    assert guard.watch.hot


def test_a_thread_that_has_ended_is_started_anew(
    guard: Guard, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: Any) -> Any:
        raise SystemExit

    monkeypatch.setattr(module, "decide", end)
    guard.watch.start()
    guard.arm(SENTENCE, spawn())
    wait(lambda: not guard.watch.alive)
    monkeypatch.setattr(module, "decide", decide)
    guard.watch.start()
    assert guard.watch.alive
    victim = spawn()
    guard.arm(SENTENCE, victim)
    guard.host.set(MemAvailable=LOW)
    assert victim.process.wait(120) == -signal.SIGKILL


def test_after_a_kill_by_the_kernel_it_waits(guard: Guard, spawn: Spawn) -> None:
    guard.watch.start()
    guard.arm("kill when host.available < 5%", spawn())
    wait(lambda: guard.watch.last)
    guard.watch.kernel_killed(7.0)
    wait(lambda: guard.watch.last and guard.watch.last.sample.killed == 7.0)
    # An older one that is told later takes nothing back.
    guard.watch.kernel_killed(5.0)
    rounds = guard.watch.rounds
    wait(lambda: guard.watch.rounds > rounds + 1)
    assert guard.watch.last and guard.watch.last.sample.killed == 7.0


def test_what_nobody_takes_has_a_bound(guard: Guard) -> None:
    for number in range(2 * module._MOST_EVENTS):
        guard.watch._say(Event("failed", 0.0, problem=str(number)))
    events = guard.watch.take()
    assert len(events) == module._MOST_EVENTS == guard.watch.dropped
    assert events[-1].problem == str(2 * module._MOST_EVENTS - 1)


def test_it_ends_at_once_and_leaves_no_file_open(tmp_path: Path) -> None:
    host, tree = Figures(tmp_path / "figures"), Tree(tmp_path, V2)
    before = len(os.listdir("/proc/self/fd"))
    threads = len(os.listdir("/proc/self/task"))
    for _ in range(3):
        made = Guard(host, tree)
        made.killer.start()
        made.watch.start()
        made.arm(SENTENCE)
        wait(lambda: made.watch.rounds)  # noqa: B023 - called now
        made.watch.stop()
        assert made.watch.take() == made.watch.take() == []
    wait(lambda: len(os.listdir("/proc/self/task")) == threads)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_trigger_that_the_kernel_takes_back_again_and_again_is_given_up(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def broken(path: str, wanted: object) -> int:
        # The end of a pipe whose other end is closed: POLLERR, for ever.
        read, write = os.pipe()
        os.close(read)
        made.append(write)
        return write

    monkeypatch.setattr("oomrules.guard.sampling.trigger", broken)
    guard.sampler._root = "/proc"
    guard.sampler.open()
    assert guard.sampler.source == "trigger"
    guard.watch.start()
    wait(lambda: guard.sampler.source == "psi")
    assert len(made) == 2 and guard.sampler.descriptor == -1
    rounds = guard.watch.rounds
    time.sleep(0.5)
    assert guard.watch.rounds < rounds + 20 and guard.kinds() == []


def test_a_warning_is_said_when_it_begins_and_when_it_is_over(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oomrules.guard.decision.CALM", 0.2)
    guard.watch.start()
    guard.arm("warn when host.available < 5%")
    wait(lambda: guard.watch.rounds)
    for times in (1, 2):
        guard.host.set(MemAvailable=LOW)
        wait(lambda: guard.kinds().count("warned") == times)  # noqa: B023 - called now
        guard.host.set()
        wait(lambda: guard.kinds().count("over") == times)  # noqa: B023 - called now
    assert guard.kinds() == ["warned", "over"] * 2


@pytest.mark.parametrize(
    ("sentence", "rests"),
    [
        ("kill when host.available < 5%", True),
        ("kill when host.available < 5% and host.stall > 10%", True),
        ("kill when host.stall > 10%", False),
        ("kill when host.available < 5% or host.stall > 10%", False),
        # It nearly holds.
        ("kill when host.available < 74%", False),
    ],
)
def test_at_rest_nothing_is_decided_if_no_guard_can_hold(
    sentence: str, rests: bool, guard: Guard, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided: list[float] = []

    def deciding(state: Any, sample: Sample, *more: Any) -> Any:
        decided.append(sample.at)
        return decide(state, sample, *more)

    monkeypatch.setattr(module, "decide", deciding)
    guard.arm(sentence, spawn())
    for _ in range(3):
        guard.watch._round()
    assert len(decided) == (1 if rests else 3)
    # What is shown is of the last sample all the same.
    assert guard.watch.last and guard.watch.last.sample.at > decided[0]
    guard.watch.kernel_killed(guard.watch.last.sample.at)
    guard.watch._round()
    assert len(decided) == (2 if rests else 4)
    guard.host.set(MemAvailable=LOW)
    guard.watch._round()
    assert len(decided) == (3 if rests else 5)


def test_nothing_is_armed_at_first(guard: Guard) -> None:
    guard.watch.start()
    wait(lambda: guard.watch.rounds)
    assert guard.watch.places == Places() and not guard.watch.hot


def test_who_has_grown_since_the_list_is_taken_before_its_first(guard: Guard, spawn: Spawn) -> None:
    small, hog = spawn(), spawn()
    hog.do("hold = bytearray(b'x' * (96 << 20))")
    made = program(SENTENCE)
    listed = tuple(
        Candidate(pid=one.pid, start=int(one.stat()[19]), rank=rank, points=points, held=points)
        for rank, (one, points) in enumerate(((small, 9 << 20), (hog, 1 << 20)), 1)
    )
    ready = Ready(now(), armed(made), {"": listed}, 2, made.definitions)
    guard.watch.start()
    guard.watch.arm(guard.sampler.prepare(ready, {}, guard.watch.places))
    wait(lambda: guard.watch.last is not None)
    guard.host.set(MemAvailable=LOW)
    assert hog.process.wait(120) == -signal.SIGKILL
    guard.host.set()
    wait(lambda: "ended" in guard.kinds())
    assert small.process.poll() is None
