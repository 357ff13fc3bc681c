"""Tests of guards, run: figures over time through the guard's own decision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from oomrules.guard import decision
from oomrules.guard.model import HOST, Candidate, Event, Ready, Sample
from oomrules.guard.ready import Arming
from oomrules.guard.replay import ORDINARY, Ending, Replay
from oomrules.processes.cgroups import enclosing
from oomrules.processes.snapshot import NO_LIMIT, Snapshot
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranking
from oomrules.testing.series import Change, Series

if TYPE_CHECKING:
    from oomrules.testing.cases import TestFile

# Samples lie so far apart while something changes or is near, and otherwise.
_SOON, _LATE = 0.1, 2.0
# What a percentage of a figure is a share of.
_WHOLES = {"swap_free": "swap"}
_OF_UNIT = ("memory", "memory_max", "memory_high", "swap", "oom_kills")
_SHARES = {"pressure": "some", "stall": "full"}


class Course:
    """What guards do over a series.

    Args:
        program: the rules.
        ranking: whom they would take.
        series: the figures over time.
        pids: of the processes that the series names.

    Attributes:
        armed: the guards, at each place where they hold.
        held: the places of those in the files that have held for their duration so far.
    """

    def __init__(
        self, program: Program, ranking: Ranking, series: Series, pids: Mapping[str, int]
    ) -> None:
        self._series = series
        self._endings = {pids[name]: ending for name, ending in series.endings.items()}
        arming = Arming(program)
        self._ready = arming.ready(ranking, 0.0)
        snapshot = ranking.snapshot
        self._host = _of_host(snapshot)
        named = {place for place, _ in series.changes if place != HOST}
        self._units = {
            path: {**_of_unit(path, snapshot), **arming.listed.get(path, {})}
            for path in {one.unit for one in self._ready.armed if one.unit} | named
        }
        self._totals: dict[tuple[str, str], float] = {}
        self._before = 0.0
        self._pids = pids
        self.armed = self._ready.armed
        self.held: set[str] = set()

    def events(self) -> Iterator[Event]:
        """Yield what the guard does, in the order of the times."""
        replay = Replay(self._ending)
        slept = 0.0
        left = list(self._series.gaps)
        for at in self._times(replay):
            sample = self._sample(at)
            sample = sample._replace(at=at + slept, killed=sample.killed + slept)
            yield from (event._replace(at=at) for event in replay.look(sample, self._listed(at)))
            self.held |= {armed.guard.place for armed in decision.due(replay.state)}
            # The sleep comes after the sample at its time.
            while left and left[0][0] <= at:
                slept += left.pop(0)[1]

    def _times(self, replay: Replay) -> Iterator[float]:
        edges = [at for at in self._series.times if 0 < at < self._series.until]
        changing = [
            (change.at, change.at + change.over)
            for found in self._series.changes.values()
            for change in found
        ]
        at = 0.0
        while at <= self._series.until:
            yield at
            soon = replay.soon or any(start - 1 <= at <= end + 11 for start, end in changing)
            after = round(at + (_SOON if soon else _LATE), 3)
            at = min((edge for edge in edges if at < edge < after), default=after)

    def _ending(self, victim: Candidate) -> Ending:
        return self._endings.get(victim.pid, ORDINARY)

    def _listed(self, at: float) -> Ready:
        """Return the list as it is then: without the processes that have ended by themselves."""
        ended = {self._pids[name] for when, name in self._series.ends if when <= at}
        if not ended:
            return self._ready
        return self._ready._replace(
            candidates={
                place: tuple(one for one in found if one.pid not in ended)
                for place, found in self._ready.candidates.items()
            }
        )

    def _sample(self, at: float) -> Sample:
        host = self._figures(HOST, self._host, at)
        units = {path: self._figures(path, raw, at) for path, raw in self._units.items()}
        self._before = at
        killed = max((when for when in self._series.kernel_kills if when <= at), default=None)
        return Sample(at, host, units) if killed is None else Sample(at, host, units, killed)

    def _figures(
        self, place: str, raw: dict[str, float | None], at: float
    ) -> dict[str, int | None]:
        found: dict[str, Any] = {}
        for key in {*raw, *(key for where, key in self._series.changes if where == place)}:
            if key not in _SHARES:
                value = self._at(place, key, raw, at)
                found[key] = None if value is None else int(value)
        share = {key: self._at(place, key, raw, (self._before + at) / 2) for key in _SHARES}
        for key, total in _SHARES.items():
            rate = share[key]
            if key == "pressure" and rate is not None:
                # Where all wait, some do.
                rate = max(rate, share["stall"] or 0)
            if rate is not None:
                waited = rate / 100 * (at - self._before) * 1e6
                self._totals[place, total] = self._totals.get((place, total), 0.0) + waited
            found[total] = None if rate is None else round(self._totals[place, total])
        if place == HOST:
            found["totalpages"] = (found["memory"] or 0) + (found["swap"] or 0)
        return found

    def _at(self, place: str, key: str, raw: dict[str, float | None], at: float) -> float | None:
        value = raw.get(key)
        changes = [one for one in self._series.changes.get((place, key), ()) if one.at <= at]
        ends = [*(one.at for one in changes[1:]), at]
        for change, end in zip(changes, ends, strict=False):
            # A change goes on until the next one begins.
            value = self._changed(value, change, place, key, raw, end)
        return value

    def _changed(
        self,
        value: float | None,
        change: Change,
        place: str,
        key: str,
        raw: dict[str, float | None],
        at: float,
    ) -> float | None:
        target = change.value
        if target is not None and change.percent:
            whole = self._at(place, _WHOLES.get(key, "memory"), raw, at) or 0
            # Rounded up: 10 % is not below 10 %.
            target = math.ceil(Fraction(whole) * Fraction(target) / 100)
        if not change.over or at >= change.at + change.over or value is None or target is None:
            return target
        return value + (target - value) * (at - change.at) / change.over


def _of_host(snapshot: Snapshot) -> dict[str, float | None]:
    host = snapshot.host
    huge = host.hugetlb or 0
    return {
        "memory": max(0, host.mem_total - huge),
        "available": host.available,
        "free": host.free,
        "shmem": host.shmem,
        "swap": host.swap_total,
        "swap_free": host.swap_free,
        "pressure": host.pressure,
        "stall": host.stall,
    }


def _of_unit(path: str, snapshot: Snapshot) -> dict[str, float | None]:
    """Return the figures of a control group; one of which nothing is said uses nothing."""
    scope = snapshot.scope(path)
    found: dict[str, float | None] = {
        key: NO_LIMIT if key in ("memory_max", "memory_high") else 0 for key in _OF_UNIT
    }
    found |= dict.fromkeys(_SHARES, 0)
    if scope is not None:
        for key in (*_OF_UNIT, *_SHARES):
            value = scope.get(key)
            found[key] = found[key] if value is None else value
    found["limit"] = snapshot.host.mem_total
    for group in enclosing(path):
        limited = snapshot.scope(group)
        most = NO_LIMIT if limited is None else limited.get("memory_max")
        if most is not None and most < NO_LIMIT:
            found["limit"] = most
            break
    return found


def problems(file: TestFile, series: Series, course: Course, exercised: set[str]) -> Iterator[str]:
    """Yield what is not as a test says; an empty result is success.

    Args:
        exercised: the places of the guards that have held are added to it.
    """
    if not course.armed:
        yield "no guard of these rules is about a place that is there"
        return
    events = list(course.events())
    exercised |= course.held
    signalled = [event for event in events if event.kind in ("asked", "killed")]
    happened = "; ".join(map(_told, events)) or "nothing happened"
    expected = series.expected
    named = {name for key in ("kills", "terminates") for name in expected.get(key, ())}
    for key, kind in (("kills", "killed"), ("terminates", "asked")):
        if key in expected:
            found = [event.victim.pid for event in signalled if event.kind == kind and event.victim]
            if found != [file.pid(name) for name in expected[key]]:
                yield f"{key} is not {', '.join(expected[key]) or 'nobody'}: {happened}"
    if named or "kills" in expected or "terminates" in expected:
        pids = {file.pid(name) for name in named}
        others = [event for event in signalled if event.victim and event.victim.pid not in pids]
        if others and not ("kills" in expected and "terminates" in expected):
            yield f"another process is signalled: {'; '.join(map(_told, others))}"
    if expected.get("nothing") and signalled:
        yield f"a process is signalled: {happened}"
    for key, kind in (("warns", "warned"), ("nobody", "nobody")):
        if key in expected and expected[key] is not any(event.kind == kind for event in events):
            yield f"{key} is not {str(expected[key]).lower()}: {happened}"
    first = signalled or [event for event in events if event.kind in ("warned", "nobody")]
    for key in ("after", "before"):
        if key in expected:
            if not first:
                yield f"{key}: {happened}"
            elif (first[0].at < expected[key]) is (key == "after"):
                yield f"not {key} {expected[key]:g} s: {happened}"


_WORDS = {"asked": "asked to end", "nobody": "nobody to take", "over": "a warning over"}


def _told(event: Event) -> str:
    whom = f" {event.victim.comm} ({event.victim.pid})" if event.victim else ""
    guard = event.armed.guard if event.armed else None
    by = f" by `{guard.text}` ({guard.place})" if guard and event.kind != "ended" else ""
    why = f", {event.problem}" if event.problem else ""
    at_unit = f" at {event.armed.name}" if event.armed and event.armed.name else ""
    return f"{event.at:g} s: {_WORDS.get(event.kind, event.kind)}{whom}{by}{at_unit}{why}"
