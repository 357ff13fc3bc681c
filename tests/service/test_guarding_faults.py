"""What the main loop does about a guard that cannot work, or does so no longer."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.guard.decision import decide
from oomrules.guard.intent import Intent
from oomrules.guard.killing import Killer
from oomrules.guard.model import Event
from oomrules.guard.ready import Arming
from oomrules.guard.sampling import FIGURES, Sampler
from oomrules.guard.watch import Watch
from oomrules.kills import journal
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranker
from oomrules.service import guarding
from oomrules.service.guarding import DRY, OFF, ON, Guarding
from oomrules.service.outbox import Outbox
from oomrules.service.poll import PollTable
from oomrules.service.problems import Problems
from tests.guard.making import program
from tests.service.daemon import wait
from tests.service.figures import Figures

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may signal processes of others, as a guard does"
)

GUARDS = program("warn when host.available < 5%")


class Standing(Watch):
    """A thread that waits in the kernel, and comes to no end of a round."""

    def __init__(self) -> None:
        super().__init__(Sampler(), Killer(), None)  # type: ignore[arg-type]
        self._running.acquire()

    def stop(self) -> None:
        self._running.release()
        super().stop()


class Made:
    """A main loop's part, with all that it says."""

    def __init__(self, tmp_path: Path) -> None:
        self.said: list[str] = []
        self.events: list[Event] = []
        self.urged = 0
        self.poll = PollTable()
        self.guarding = Guarding(
            self.poll,
            Problems(Outbox()),
            Intent(str(tmp_path / "intent")),
            lambda events, targets: self.events.extend(events),
            self._urge,
        )

    def _urge(self) -> None:
        self.urged += 1

    def state(self) -> tuple[str, str]:
        found = self.guarding.document(0.0)
        return found["state"], found["why"] or ""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    monkeypatch.setenv(FIGURES, str(tmp_path / "figures"))
    Figures(tmp_path / "figures")
    found = Made(tmp_path)

    def say(message: str, *_: Any) -> None:
        found.said.append(message)

    monkeypatch.setattr(journal, "say", say)
    yield found
    found.guarding.close()


def test_a_way_of_killing_that_does_not_work_is_said_and_tried_again_with_other_rules(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Killer, "self_test", lambda _: "pidfd_open is forbidden")
    assert not made.guarding.settle(GUARDS)
    assert made.state() == ("off", "pidfd_open is forbidden")
    assert made.said == [
        "the guard is off: pidfd_open is forbidden; mend that, then `systemctl restart oomrules`"
    ]
    # The same rules are no reason to try it again.
    assert not made.guarding.settle(GUARDS)
    monkeypatch.undo()
    assert made.guarding.settle(program("warn when host.available < 6%"))
    assert made.state() == ("on", "")


def test_what_passes_is_tried_again_with_growing_pauses_until_the_guard_is_on(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork that finds no room must not leave a host without its guard until a restart."""
    at = 1000.0
    monkeypatch.setattr(guarding, "now", lambda: at)

    def fail(*_: Any, **__: Any) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as short:
        short.setattr(os, "posix_spawn", fail)
        assert not made.guarding.settle(GUARDS)
        pauses = []
        for _ in range(10):
            pauses.append(made.guarding.due - at)
            assert made.guarding.document(at)["again"] == pauses[-1]
            # Before it is due, nothing is tried.
            made.guarding.look()
            assert made.guarding.due == at + pauses[-1]
            at = made.guarding.due
            made.guarding.look()
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    assert made.said == [
        "the guard is off: no child to try it on can be started: resource temporarily "
        "unavailable; it is tried again by itself, with growing pauses"
    ]
    at = made.guarding.due
    made.guarding.look()
    assert made.state() == ("on", "") and made.guarding.document(at)["again"] is None
    assert made.said[-1] == "the guard is on, after it was off"
    # It has no list yet, and takes one as if the rules were new.
    assert made.urged == 1
    source = ProcSource(GUARDS)
    made.guarding.ranked(Ranker(GUARDS, source.host).rank(source.refresh()), source, at)
    assert made.guarding.document(at)["armed"] == 1
    source.close()


@pytest.mark.parametrize(
    ("number", "pause"), [(errno.ENOMEM, 5), (errno.EMFILE, 5), (errno.EPERM, 3600)]
)
def test_what_has_to_be_mended_is_hardly_ever_tried_again(
    number: int, pause: float, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "now", lambda: 7.0)

    def fail(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", fail)
    assert not made.guarding.settle(GUARDS)
    assert made.guarding.due == 7 + pause
    assert ("by itself" in made.said[0]) is (pause == 5)
    assert ("SystemCallFilter=" in made.said[0]) is (pause != 5)
    # Where no rule asks for a guard any more, nothing is tried.
    assert not made.guarding.settle(program("prefer uid 5"))
    assert made.guarding.due == float("inf")


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(24, "Too many open files"), RuntimeError("no thread")]
)
def test_a_guard_that_cannot_be_started_ends_nothing(
    error: Exception, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(Killer, "start", fail)
    assert not made.guarding.settle(GUARDS)
    assert made.state()[0] == "off" and made.state()[1] and len(made.said) == 1


def test_the_modes(made: Made) -> None:
    for mode in (ON, DRY, OFF, ON):
        made.guarding.mode = mode
        assert made.guarding.settle(GUARDS) is (mode != OFF)
        assert made.state()[0] == mode
    made.guarding.mode = OFF
    made.guarding.settle(GUARDS)
    assert "Mode=off" in made.state()[1]
    assert not made.guarding.settle(program("prefer uid 5"))
    assert "no rule says when" in made.state()[1]


def test_a_thread_that_has_ended_is_started_anew(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: Any) -> Any:
        raise SystemExit

    made.guarding.settle(GUARDS)
    watch = made.guarding._watch
    assert watch
    wait(lambda: watch.rounds)
    monkeypatch.setattr("oomrules.guard.watch.decide", end)
    watch.kernel_killed(1.0)
    wait(lambda: not watch.alive)
    monkeypatch.setattr("oomrules.guard.watch.decide", decide)
    # Its last breath wakes the main loop, which hears it.
    made.poll.wait(60)
    assert watch.alive
    assert any("is started anew" in line for line in made.said)
    made.guarding.look()
    assert made.said[-1].startswith("no longer so: ")


def test_a_late_one_is_told_of_at_the_second_look(made: Made) -> None:
    watch = made.guarding._watch = Standing()
    # A round was due long ago.
    watch.due = 1.0
    made.guarding.look()
    assert made.said == []
    made.guarding.look()
    assert "does not go round" in made.said[-1]


def test_a_list_is_wanted_soon_after_a_kill_and_now_and_then_while_it_is_hot(made: Made) -> None:
    watch = Standing()
    made.guarding._watch = watch
    assert made.guarding.list_due == float("inf")
    watch.hot = True
    made.guarding.listed(0.5)
    assert made.guarding._listed_at + 10 == made.guarding.list_due
    watch.events.append(Event("killed", 1.0))
    made.guarding.hear()
    assert made.urged == 1 and [event.kind for event in made.events] == ["killed"]
    watch.events.append(Event("warned", 1.0))
    made.guarding.hear()
    assert made.urged == 1


def test_pressure_that_users_switch_off_is_said_once(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ProcSource(GUARDS)
    ranking = Ranker(GUARDS, source.host).rank(source.refresh())
    made.guarding.settle(GUARDS)
    prepare = Sampler.prepare
    for switches in [("/a/cgroup.pressure",), ("/b/cgroup.pressure", "/c/cgroup.pressure"), ()]:

        def prepared(*given: Any, off: tuple[str, ...] = switches) -> Any:
            return prepare(*given)._replace(switched_off=off)

        monkeypatch.setattr(Sampler, "prepare", prepared)
        made.guarding.ranked(ranking, source, 1.0)
    first, last = made.said
    assert first.endswith("ask for scope.stall or scope.pressure; `oomrules guard` names them")
    assert last.startswith("no longer so: ")
    source.close()


def test_a_mistake_in_the_ready_list_costs_no_other_list(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a mistake")

    source = ProcSource(GUARDS)
    ranking = Ranker(GUARDS, source.host).rank(source.refresh())
    made.guarding.settle(GUARDS)
    made.guarding.ranked(ranking, source, 1.0)
    assert made.said == [] and made.guarding.document(0.0)["armed"] == 1
    monkeypatch.setattr(Arming, "ready", fail)
    made.guarding.ranked(ranking, source, 2.0)
    assert "ZeroDivisionError: a mistake" in made.said[-1]
    assert made.guarding.document(0.0)["armed"] == 1
    # It is not made at once again and again.
    made.guarding._watch.hot = True  # type: ignore[union-attr]
    assert made.guarding.list_due > 2.0
    source.close()
