"""The guard's decision a second time: from the contract, slowly, over the whole history each time.

Conditions are pairs of a sentence and a function of a place's figures; nothing here is shared with
``oomrules.guard`` but the plain data. ``Figure`` is a least and a most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from oomrules.guard.model import Armed, Candidate, Flight, Ready, Sample

Figure = tuple[float, float] | None
Judge = Callable[[Callable[[str], Figure]], bool | None]

# From the contract: a gap; the deadline of a victim; what a kill by the kernel is waited for.
GAP = 2.5
KERNEL = 1.0
TICK = 1e-6


@dataclass(frozen=True)
class Turn:
    """One call: what was given, and whether the flight was over by then."""

    sample: Sample
    ready: Ready
    flight: Flight | None


@dataclass(frozen=True)
class Expected:
    """What the last call must lead to."""

    action: str
    first: Candidate | None
    landed: bool
    escalate: bool
    due: frozenset[tuple[str, str]]


def once(method: Any) -> Any:
    """Remember what was found out about the past, which does not change."""

    @wraps(method)
    def remembered(self: Oracle, *asked: Any) -> Any:
        key = method.__name__, tuple(getattr(one, "key", one) for one in asked)
        if key not in self.known:
            self.known[key] = method(self, *asked)
        return self.known[key]

    return remembered


class Oracle:
    """Judges a history.

    Args:
        judges: by the sentence of a guard, its condition.
    """

    def __init__(self, judges: dict[str, Judge]) -> None:
        self._judges = judges
        self.turns: list[Turn] = []
        self.known: dict[Any, Any] = {}

    def expected(self, turn: Turn) -> Expected:
        """Return what one more call must lead to."""
        self.turns.append(turn)
        now, flight = turn.sample.at, turn.flight
        landed = flight is not None and self._is_over(len(self.turns) - 1)
        due = [one for one in turn.ready.armed if self._due(one)]
        escalate = (
            flight is not None and not landed and flight.killed is None and flight.gone is None
        ) and (
            now >= self._given(flight) - TICK
            or any(
                now >= self._time_over(one, flight) - TICK
                for one in due
                if one.guard.kind != "warn" and _inside(flight.victim, one.unit)
            )
        )
        action, first = "", None
        waits = (flight is not None and not landed) or now < turn.sample.killed + KERNEL
        for kind in ("kill", "terminate"):
            there = [
                candidate
                for one in due
                if one.guard.kind == kind
                for candidate in turn.ready.candidates.get(one.unit, ())
                if candidate.identity not in self._taken()
            ]
            if there and not action and not waits:
                action, first = kind, min(there, key=lambda one: one.rank)
        names = frozenset((one.guard.text, one.unit) for one in due)
        return Expected(action, first, landed, escalate, names)

    # --- flights ---

    def _given(self, flight: Flight) -> float:
        """Return when a victim that was asked has had its time; a suspend is not its own time."""
        resumed = [self.turns[n].sample.at for n in range(1, len(self.turns)) if self._late(n)]
        resumed = [at for at in resumed if at > flight.since]
        return max([flight.escalate, *(at + flight.escalate - flight.since for at in resumed[-1:])])

    def _time_over(self, armed: Armed, flight: Flight) -> float:
        """Return when the time is over that a guard which is due gives to a victim."""
        since: float | None = self._held_since(armed, len(self.turns) - 1)
        assert since is not None
        given = 0 if armed.guard.kind == "kill" else armed.guard.within / 1000
        return max(flight.since, since + armed.guard.lasting / 1000) + given

    @once
    def _is_over(self, index: int) -> bool:
        turn = self.turns[index]
        flight, now = turn.flight, turn.sample.at
        assert flight is not None
        resumed = max(
            (self.turns[n].sample.at for n in range(1, index + 1) if self._late(n)),
            default=float("-inf"),
        )
        swap = flight.victim.swap / (200 * 2**20)
        if flight.gone is not None:
            available = turn.sample.host.get("available")
            back = (
                available is not None
                and flight.available is not None
                and available - flight.available >= flight.expected / 2
            )
            return back or now >= max(flight.gone, resumed) + min(5, 0.5 + swap) - TICK
        killed = flight.escalate if flight.killed is None else flight.killed
        return now >= max(killed, resumed) + min(5, 2 + swap) - TICK

    def _taken(self) -> set[tuple[int, int]]:
        """Return the victims whose flight is over, who are never taken again."""
        return {
            turn.flight.victim.identity
            for index, turn in enumerate(self.turns)
            if turn.flight is not None and self._is_over(index)
        }

    # --- conditions ---

    @once
    def _late(self, index: int) -> bool:
        before, turn = self.turns[index - 1], self.turns[index]
        waited = turn.sample.at - before.sample.at
        counting = turn.flight is not None or any(
            self._held_since(one, index - 1) is not None for one in turn.ready.armed
        )
        return waited < 0 or (waited > GAP and counting)

    @once
    def _anew(self, index: int) -> bool:
        """Return whether everything begins anew at a sample."""
        if index == 0:
            return True
        before = max(turn.sample.killed for turn in self.turns[:index])
        return self._late(index) or self.turns[index].sample.killed > before

    @once
    def _eased(self, index: int) -> Flight | None:
        flight = self.turns[index].flight
        if flight is not None and (flight.killed is not None or self._is_over(index)):
            return flight
        return None

    @once
    def _held_since(self, armed: Armed, index: int) -> float | None:
        """Return since when a condition has held at a sample, as far as it counts."""
        since = None
        while index >= 0 and self._holds(armed, index) is True:
            since = self.turns[index].sample.at
            eased = self._eased(index)
            within = eased is not None and _within(armed.unit, eased.armed.unit)
            if self._anew(index) or (eased and within and _inside(eased.victim, armed.unit)):
                break
            index -= 1
        return since

    def _due(self, armed: Armed) -> bool:
        since: float | None = self._held_since(armed, len(self.turns) - 1)
        now = self.turns[-1].sample.at
        return since is not None and now >= since + armed.guard.lasting / 1000 - TICK

    @once
    def _holds(self, armed: Armed, index: int) -> bool | None:
        sample = self.turns[index].sample

        def figure(name: str) -> Figure:
            group, _, word = name.partition(".")
            place = "" if group == "host" else armed.unit
            if word == "stall":
                stalled: Figure = self._stall(place, index)
                return stalled
            figures = sample.host if not place else sample.units.get(place, {})
            value = figures.get(word)
            return None if value is None else (value, value)

        return self._judges[armed.guard.text](figure)

    @once
    def _stall(self, place: str, index: int) -> Figure:
        """Return the least and the most of the last second that was stalled, in percent."""

        def total(n: int) -> tuple[float, int | None]:
            sample = self.turns[n].sample
            figures = sample.units.get(place, {}) if place else sample.host
            return sample.at, figures.get("full")

        now, waited = total(index)
        if waited is None:
            return None
        least, most = 0.0, 1.0
        for n in range(index, self._begun(place, index) - 1, -1):
            at, before = total(n)
            if before is None or before > waited:
                break
            stalled, age = (waited - before) / 1e6, now - at
            least = max(least, stalled - max(0.0, age - 1))
            most = min(most, stalled + max(0.0, 1 - age))
        # The times are floating: 10 % stay 10 %.
        return round(100 * min(1.0, least), 4), round(100 * min(1.0, max(least, most)), 4)

    @once
    def _begun(self, place: str, index: int) -> int:
        """Return the sample with which the totals of a place began last."""
        begun, renewed = 0, float("-inf")
        for n in range(index + 1):
            eased = self._eased(n)
            if self._anew(n):
                begun = n
            if eased and _inside(eased.victim, place):
                inner = _within(place, eased.armed.unit)
                # A kill further inside does so for one victim in ten seconds.
                if inner or eased.since == renewed or eased.since - renewed >= 10:
                    begun, renewed = n, eased.since
        return begun


def _inside(victim: Candidate, place: str) -> bool:
    return f"{victim.cgroup}/".startswith(f"{place}/")


def _within(place: str, outer: str) -> bool:
    return f"{place}/".startswith(f"{outer}/") or not outer
