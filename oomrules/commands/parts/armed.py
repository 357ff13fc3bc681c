"""Guards at their places, on this host or on a recorded one, without the service."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from oomrules.clock import now
from oomrules.commands.parts import comparisons, selection, wholes
from oomrules.commands.parts.comparisons import Comparison, View
from oomrules.dbus import gather
from oomrules.guard import figures
from oomrules.guard.figures import Look, Point
from oomrules.guard.model import HOST, Armed, Candidate, Ready, Sample
from oomrules.guard.ready import Arming, asked
from oomrules.guard.sampling import Places, Sampler
from oomrules.plain import printable, quoted
from oomrules.processes.cgroups import enclosing
from oomrules.processes.recorded import Recorded
from oomrules.processes.snapshot import NO_LIMIT, Snapshot
from oomrules.processes.values import of_group
from oomrules.program.program import Guard, Program
from oomrules.ranking.ranker import Ranker, Ranking, fresh
from oomrules.terminal import count

# Units that are named whose pressure is switched off: a user may have many.
_SWITCHES = 5

Totals = Mapping[str, tuple[Point, ...]]


class Standing(NamedTuple):
    """How a guard stands at one place.

    Attributes:
        armed: the guard there.
        holds: whether its condition is true; None if that is unknown.
        comparisons: those of its condition.
        victim: whom it would take now; None if nobody, and for ``warn``.
        never: why it can never act there; empty if it can.
    """

    armed: Armed
    holds: bool | None
    comparisons: tuple[Comparison, ...]
    victim: Candidate | None
    never: str


class Seen(NamedTuple):
    """What guards look at, on one host at one moment.

    Attributes:
        ranking: the list, for why a process is in its place.
        ready: the candidates that the guards would take.
        sample: the figures.
        totals: earlier readings, for what takes time to measure.
        notes: on what could not be seen, in sentences.
        live: whether it is this host, and not a recorded one.
    """

    ranking: Ranking
    ready: Ready
    sample: Sample
    totals: Totals
    notes: list[str]
    live: bool


class Guards(NamedTuple):
    """The guards of a program, on one host at one moment.

    Attributes:
        seen: the host.
        standings: of each guard, at each place.
        nowhere: guards in blocks that are about no unit here, with the targets of their block.
        targets: of the block of each guard, by the guard's number.
    """

    seen: Seen
    standings: tuple[Standing, ...]
    nowhere: tuple[tuple[tuple[str, ...], Guard], ...]
    targets: list[tuple[str, ...]]

    @property
    def acts(self) -> bool:
        """Whether a guard would kill or terminate now."""
        return any(one.holds and one.armed.guard.kind != "warn" for one in self.standings)


class Live:
    """This host, read again and again.

    Args:
        program: the rules.
        choice: auto, proc, or the path of a pinned iterator.
    """

    def __init__(self, program: Program, choice: str = "auto") -> None:
        self.program = program
        asked = gather.questions(program, targets(program), wholes.properties(program))
        self.source = selection.live(program, asked, choice)
        self._ranker = Ranker(program, self.source.host)
        self.arming = Arming(program)
        self.sampler = Sampler()
        self._places = Places()
        self.ranking: Ranking | None = None

    def rank(self) -> Ready:
        """Rank the processes; return the first candidates at each place."""
        at = now()
        self.ranking = fresh(self._ranker, self.source.refresh())
        ready = self.arming.ready(self.ranking, at)
        self._places = self.sampler.prepare(ready, self.arming.listed, self._places)
        return ready

    def sample(self, killed: float = float("-inf")) -> Sample:
        """Read the figures that the guards of the last list ask for.

        Args:
            killed: when the kernel last killed because the host had no memory left.
        """
        return self.sampler.read(self._places, killed)

    def look(self, wait: float) -> Seen:
        """Return what the guards look at now.

        Args:
            wait: for so many seconds stalls and pressure are measured, if a guard asks for them.
        """
        ready = self.rank()
        samples = [self.sample()]
        if takes_time(self.program):
            time.sleep(wait)
            samples.append(self.sample())
        assert self.ranking is not None
        return Seen(
            ranking=self.ranking,
            ready=ready,
            sample=samples[-1],
            totals=measured(samples),
            notes=[*selection.Ranked(self.ranking, self.source).notes(), *self.notes()],
            live=True,
        )

    def notes(self) -> list[str]:
        """Return notes on what the guards cannot know, and where they look."""
        said = doubts(self.program, self.arming)
        if self.sampler.problem:
            said.append(self.sampler.problem)
        if self.sampler.contained:
            said.append(
                f"host.memory is what this container may have ({self.sampler.contained}), and the "
                "other figures of the host are those within it"
            )
        if self._places.missing:
            units = count(self._places.missing, "unit")
            said.append(f"the figures of {units} could not be opened; guards there do not act")
        said += switched_off(self._places.switched_off)
        return said

    def close(self) -> None:
        """Close the files."""
        self.sampler.close()
        self.source.close()


def switched_off(switches: tuple[str, ...]) -> list[str]:
    """Return notes on the units whose pressure is switched off, with what switches it on.

    Args:
        switches: the files by which it is (``cgroup.pressure``).
    """
    said = [
        f"{switch} is 0, so guards that ask for scope.stall or scope.pressure do not act there: "
        + (f"`echo 1 > {quoted(switch)}`" if switch == printable(switch) else "write 1 into it")
        for switch in switches[:_SWITCHES]
    ]
    more = len(switches) - _SWITCHES
    return [*said, f"the same holds for {count(more, 'more unit')}"] if more > 0 else said


def targets(program: Program) -> list[str]:
    """Return what blocks with guards ask of units."""
    return [target for around, _ in program.guards for target in around]


def takes_time(program: Program) -> bool:
    """Return whether a guard asks for a figure that takes two looks."""
    names = asked((guard for _, guard in program.guards), program.definitions)
    return any(name.rpartition(".")[2] in figures.SHARES for name in names)


def measured(samples: list[Sample]) -> Totals:
    """Return the readings of totals in some samples, the oldest first."""
    totals: dict[str, tuple[Point, ...]] = {}
    for sample in samples:
        for place, found in ((HOST, sample.host), *sample.units.items()):
            totals[place] = figures.noted(totals.get(place, ()), sample.at, found)
    return totals


def standings(program: Program, seen: Seen) -> Iterator[Standing]:
    """Yield how each guard stands at each place, in the order of their places in the files."""
    for one in sorted(seen.ready.armed, key=_order):
        look = Look(seen.sample, one.unit, seen.totals)
        view = View(look, program.definitions, seen.live)
        when = one.guard.when
        victim = next(iter(seen.ready.candidates.get(one.unit, ())), None)
        yield Standing(
            armed=one,
            holds=figures.truth(figures.compiled(when, program.definitions), look),
            comparisons=tuple(comparisons.compared(when, view)),
            victim=None if one.guard.kind == "warn" else victim,
            never=_never(one, seen.sample, view, victim),
        )


def _order(one: Armed) -> tuple[str, int, int, str]:
    file, _, line = one.guard.place.rpartition(":")
    return file, int(line) if line.isdecimal() else 0, one.number, one.unit


def _never(one: Armed, sample: Sample, view: View, victim: Candidate | None) -> str:
    """Return why a guard can never act at a place, as the host is now."""
    if view.live and one.unit != HOST and one.unit not in sample.units:
        return "the unit is gone, or its control group cannot be read"
    if not comparisons.can_hold(one.guard.when, view):
        found = comparisons.compared(one.guard.when, view)
        return "; ".join(dict.fromkeys(each.unknown for each in found if each.lasting))
    if victim is None and one.guard.kind != "warn":
        return "no process there may be killed (`oomrules rank --all` says why)"
    return ""


def doubts(program: Program, arming: Arming) -> list[str]:
    """Return notes on where it is unknown whether a guard is armed."""
    said = []
    for number in sorted(arming.doubts):
        targets, guard = program.guards[number]
        said.append(
            f"systemd has not said enough to know all units of `in {targets[-1]}`; the guard at "
            f"{guard.place} does not act in those that are in doubt"
        )
    if arming.left_out:
        units = count(arming.left_out, "unit")
        said.append(f"{units} too many to be watched: guards in blocks do not act there")
    return said


def nowhere(program: Program, ready: Ready) -> tuple[tuple[tuple[str, ...], Guard], ...]:
    """Return the guards that are armed nowhere, with the targets of their blocks."""
    there = {one.number for one in ready.armed}
    return tuple(each for number, each in enumerate(program.guards) if number not in there)


# --- a recorded host ----------------------------------------------------------------------------


def of_snapshot(program: Program, source: Recorded) -> Seen:
    """Return what guards look at, of a recorded host."""
    ranking = Ranker(program, source.host).rank(source)
    at = source.host.uptime
    ready = Arming(program).ready(ranking, at)
    host = source.host
    totals = {HOST: _points(at, host.pressure, host.stall)}
    units = {}
    for path in {one.unit for one in ready.armed} - {HOST}:
        scope = source.scope(path)
        if scope is None:
            continue
        totals[path] = _points(at, scope.get("pressure"), scope.get("stall"))
        units[path] = _of_unit(path, source, totals[path])
    sample = Sample(at, _of_host(source, totals[HOST]), units)
    return Seen(
        ranking=ranking,
        ready=ready,
        sample=sample,
        totals=totals,
        notes=selection.Ranked(ranking, source).notes(),
        live=False,
    )


def _points(at: float, pressure: float | None, stall: float | None) -> tuple[Point, ...]:
    """Return readings of totals that say these percentages of the last 10 s, and of the last one.

    A recording has the percentages. Of what some task waited, the last second has its part.
    """
    some = None if pressure is None else round(pressure * 100_000)
    full = None if stall is None else round(stall * 10_000)
    return (
        (at - 10, None if some is None else 0, None if full is None else 0),
        (at - 1, some and some - some // 10, None if full is None else 0),
        (at, some, full),
    )


def _of_host(source: Snapshot, points: tuple[Point, ...]) -> dict[str, int | None]:
    host = source.host
    memory = None if host.hugetlb is None else max(0, host.mem_total - host.hugetlb)
    return {
        "memory": memory,
        "available": host.available,
        "free": host.free,
        "shmem": host.shmem,
        "swap": host.swap_total,
        "swap_free": host.swap_free,
        "totalpages": host.mem_total + host.swap_total,
        "some": points[-1][1],
        "full": points[-1][2],
    }


def _of_unit(path: str, source: Snapshot, points: tuple[Point, ...]) -> dict[str, int | None]:
    scope = source.scope(path)
    found: dict[str, int | None] = {"some": points[-1][1], "full": points[-1][2]}
    if scope is None:
        return found
    for key in ("memory", "memory_max", "memory_high", "swap", "oom_kills"):
        value = scope.get(key)
        found[key] = value if type(value) is int else None
    found["processes"] = of_group(path, "processes", source)
    pages = of_group(path, "footprint", source)
    found["footprint"] = pages * source.host.page_size if type(pages) is int else None
    found["limit"] = _limit(path, source)
    return found


def _limit(path: str, source: Snapshot) -> int | None:
    """Return the nearest memory limit of a unit, else the RAM; None if one could not be read."""
    for group in enclosing(path):
        scope = source.scope(group)
        value = NO_LIMIT if scope is None else scope.get("memory_max")
        if type(value) is not int:
            return None
        if value < NO_LIMIT:
            return value
    return source.host.mem_total
