"""Samples and lists of another time or of a test -> what the guard would do, and what it would win.

Nobody is signalled: a victim ends as an ``Ending`` says, and what it held is available from then
on. That is an assumption, and so is all that comes after a first action: how long tasks wait for
memory stays as it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from oomrules.guard import decision
from oomrules.guard.decision import decide
from oomrules.guard.model import (
    Armed,
    Candidate,
    Decision,
    Event,
    Figures,
    Flight,
    Ready,
    Sample,
    inside,
)
from oomrules.lean import Any, NamedTuple

_NEVER = float("inf")


class Ending(NamedTuple):
    """How a victim ends.

    Attributes:
        asked: seconds from SIGTERM to its end; infinite if it ignores the signal.
        killed: seconds from SIGKILL to its end; infinite if it is stuck in the kernel.
        back: whether its memory comes back when it is gone.
    """

    asked: float = 0.3
    killed: float = 0.1
    back: bool = True


IGNORES_SIGTERM = Ending(asked=_NEVER)
STUCK = Ending(asked=_NEVER, killed=_NEVER)
ORDINARY = Ending()


def _ordinary(_: Candidate) -> Ending:
    return ORDINARY


class Replay:
    """The guard over samples that somebody else gives.

    Args:
        ending: how each victim ends.
        gap: as for ``decide``: longer for samples that were planned further apart.

    Attributes:
        state: what the guard remembers.
        flight: the victim in flight.
        soon: whether the next sample is due at once: no duration is just being counted.
    """

    def __init__(
        self, ending: Callable[[Candidate], Ending] = _ordinary, gap: float = decision.GAP
    ) -> None:
        self.state = decision.START
        self.flight: Flight | None = None
        self.soon = False
        self._ending = ending
        self._gap = gap
        # Who is gone in this world, by pid and start.
        self._gone: dict[tuple[int, int], Candidate] = {}

    def look(self, sample: Sample, ready: Ready) -> list[Event]:
        """Return what the guard does at a sample, in the order of its doing.

        Args:
            sample: the figures, as if nobody had been taken; later than the one before.
            ready: the list then.
        """
        self._look_at_victim(sample.at)
        sample, ready = self._without_gone(sample), self._without_candidates(ready)
        before = self.flight
        self.state, made = decide(self.state, sample, ready, self.flight, self._gap)
        self.soon = made.hot and not made.counting
        base = Event(
            kind="",
            at=sample.at,
            sample=sample,
            listed=ready.length,
            age=max(0.0, sample.at - ready.at),
            dry=True,
        )
        events = []
        if made.landed and before:
            events.append(_ended(base, before, made.landed))
            self.flight = None
        events += [base._replace(kind="warned", armed=armed) for armed in made.warnings]
        events += [base._replace(kind="over", armed=armed) for armed in made.over]
        events += [base._replace(kind="nobody", armed=armed) for armed in made.nobody]
        if made.escalate and self.flight:
            self.flight = self.flight._replace(killed=sample.at)
            events.append(_signalled(base, "killed", self.flight.armed, self.flight.victim))
        if made.armed:
            events.append(self._take(base, sample, made, made.armed))
        return events

    def _take(self, base: Event, sample: Sample, made: Decision, armed: Armed) -> Event:
        victim = made.victims[0]
        asked = made.action == "terminate" or victim.polite
        self.flight = Flight(
            victim=victim,
            armed=armed,
            since=sample.at,
            killed=None if asked else sample.at,
            escalate=sample.at + armed.guard.within / 1e3,
            expected=victim.expected,
            available=sample.host.get("available"),
        )
        return _signalled(base, "asked" if asked else "killed", armed, victim)

    def _look_at_victim(self, now: float) -> None:
        flight = self.flight
        if flight is None or flight.gone is not None:
            return
        ending = self._ending(flight.victim)
        end = _NEVER
        if flight.killed is None or flight.killed > flight.since:
            end = flight.since + ending.asked
        if flight.killed is not None:
            end = min(end, flight.killed + ending.killed)
        if end <= now:
            self.flight = flight._replace(gone=end)
            self._gone[flight.victim.identity] = flight.victim

    # --- the world without those who are gone ---

    def _without_candidates(self, ready: Ready) -> Ready:
        """Return a list as one would be that was made just now."""
        if not self._gone:
            return ready
        lost = {*self._gone}
        lost.update(*(one.whole.others for one in self._gone.values() if one.whole))
        candidates = {
            place: tuple(one for one in found if one.identity not in lost)
            for place, found in ready.candidates.items()
        }
        return ready._replace(candidates=candidates)

    def _without_gone(self, sample: Sample) -> Sample:
        """Return a sample in which what the victims held is available."""
        back = [one for one in self._gone.values() if self._ending(one).back]
        if not back:
            return sample
        swap = sum(one.swap for one in back)
        resident = sum(one.expected for one in back) - swap
        host: dict[str, Any] = dict(sample.host)
        for key, more, whole in (
            ("available", resident, "memory"),
            ("free", resident, "memory"),
            ("swap_free", swap, "swap"),
        ):
            if host.get(key) is not None:
                host[key] = min(host[key] + max(0, more), max(host.get(whole) or 0, host[key]))
        units = {path: _eased(raw, path, back) for path, raw in sample.units.items()}
        return sample._replace(host=host, units=units)

    def alive(self, identities: Iterable[tuple[int, int]]) -> None:
        """Forget the victims that are not among the processes any more: they ended by themselves.

        What they held is then in the figures that were recorded.
        """
        there = {*identities}
        for identity in [one for one in self._gone if one not in there]:
            del self._gone[identity]


def _eased(raw: Figures, path: str, back: list[Candidate]) -> Figures:
    there = [one for one in back if inside(one.cgroup, path)]
    less = {
        "memory": sum(one.expected - one.swap for one in there),
        "swap": sum(one.swap for one in there),
        "footprint": sum(one.expected for one in there),
        "processes": sum(1 + len(one.whole.others if one.whole else ()) for one in there),
    }
    return {
        key: value if value is None else max(0, value - less.get(key, 0))
        for key, value in raw.items()
    }


def _signalled(base: Event, kind: str, armed: Armed, victim: Candidate) -> Event:
    others = len(victim.whole.others) if victim.whole else 0
    return base._replace(kind=kind, armed=armed, victim=victim, others=others)


def _ended(base: Event, flight: Flight, landed: str) -> Event:
    now = base.sample.host.get("available") if base.sample else None
    before = flight.available
    return base._replace(
        kind="ended",
        armed=flight.armed,
        victim=flight.victim,
        lasted=None if flight.gone is None else flight.gone - flight.since,
        won=None if now is None or before is None else now - before,
        problem={
            decision.BACK: "",
            decision.LATE: "it is gone, and its memory was not back in time",
            decision.STUCK: "it did not end, and is given up",
        }[landed],
    )
