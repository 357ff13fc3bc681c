"""The ready list: whom the guard would take, at each place where a guard holds.

It is made beside the list for the kernel, by the same ranking, so that nothing has to be looked for
when it counts. What the list did not read of a process is read here, of the first few only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from oomrules.guard.model import HOST, Armed, Candidate, Ready, Whole
from oomrules.lean import Any
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import UNREAD, Process, Snapshot
from oomrules.processes.units import ROOT_SLICE, Placement
from oomrules.processes.values import cgroup, of_group, place_of
from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.program.program import Guard, Program
from oomrules.ranking.blocks import meant
from oomrules.ranking.groups import Together
from oomrules.ranking.ranker import Ranking

# How many candidates a ready list has at each place, and how many members of one unit that is
# killed as a whole: with the first of them all others go.
FIRST = 64
_OF_WHOLE = 4

# Guards in blocks are armed at so many places at the most, of one user's units and in all: each is
# read and judged at every sample, which takes 20 us or so. Units that hold most come first.
MOST_OF_USER, MOST_ARMED = 32, 512

# <linux/capability.h>
_RAWIO = 17

# What comes from the processes, and so from the list: a control group has no file that says it.
OF_LIST = frozenset({"scope.processes", "scope.footprint"})

# The figures of each unit that come from the list, by its path.
Listed = Mapping[str, Mapping[str, "int | None"]]


def asked(guards: Iterable[Guard], definitions: Mapping[str, Node]) -> set[str]:
    """Return the attributes that the conditions of guards ask for, with their definitions."""
    stated = [guard.when for guard in guards]
    used = [*stated, *nodes.needed(stated, definitions).values()]
    return set().union(*map(nodes.attributes, used))


class Arming:
    """Makes the ready lists of one program.

    Attributes:
        guards: those of the program, with the targets of their blocks.
        listed: the figures of units that the last list gave.
        doubts: guards of which it is unknown whether their block is about some unit, since systemd
            has not said enough; they do not act there.
        left_out: how many units have too many others beside them to be watched.
    """

    def __init__(self, program: Program) -> None:
        self.guards = program.guards
        self._definitions = nodes.needed(
            [guard.when for _, guard in self.guards], program.definitions
        )
        scores = [scope.score.value for scope in program.scopes if scope.score]
        self._measured = set().union(
            *map(nodes.attributes, [*scores, *nodes.needed(scores, program.definitions).values()])
        )
        in_blocks = asked((guard for targets, guard in self.guards if targets), program.definitions)
        self._of_list = sorted(name.removeprefix("scope.") for name in OF_LIST & in_blocks)
        self.listed: Listed = {}
        self.doubts: set[int] = set()
        self.left_out = 0
        # By the control group of a processes: where guards are armed around it. What systemd says
        # of units may change that.
        self._facts: Any = None
        self._around: dict[str, tuple[tuple[int, Placement], ...]] = {}
        self._doubted: dict[str, frozenset[int]] = {}
        # The candidates of the last list, and what each had in memory then.
        self._made: dict[int, tuple[tuple[int | None, int | None], Candidate]] = {}

    def ready(self, ranking: Ranking, at: float, afresh: bool = True) -> Ready:
        """Return the ready list.

        Args:
            at: when the processes were read, in seconds since the boot.
            afresh: whether what the list did not read of a process is read once more; else what
                was read once is good enough, as at rest.
        """
        snapshot = ranking.snapshot
        armed = [
            Armed(guard, number)
            for number, (targets, guard) in enumerate(self.guards)
            if not targets
        ]
        units = self._units(snapshot)
        for number, place in units:
            armed.append(
                Armed(
                    guard=self.guards[number][1],
                    number=number,
                    unit=place.path,
                    name=place.unit or ROOT_SLICE,
                    manager=place.manager,
                )
            )
        paths = {one.unit for one in armed} - {HOST}
        self.listed = {path: self._figures(path, snapshot) for path in paths}
        armed.sort(key=lambda one: one.key)
        return Ready(
            at=at,
            armed=tuple(armed),
            candidates=self._candidates(ranking, paths, afresh),
            length=len(ranking.candidates),
            definitions=self._definitions,
        )

    def _figures(self, path: str, snapshot: Snapshot) -> Mapping[str, int | None]:
        figures = {}
        for key in self._of_list:
            value = of_group(path, key, snapshot)
            # Samples have memory in bytes.
            unit = snapshot.host.page_size if key == "footprint" else 1
            figures[key] = value * unit if type(value) is int else None
        return figures

    # --- the units -----------------------------------------------------------------------

    def _units(self, snapshot: Snapshot) -> list[tuple[int, Placement]]:
        """Return each guard in a block with each unit that the block is about now."""
        if not any(targets for targets, _ in self.guards):
            return []
        held: dict[str, int] = {}
        for process in snapshot.by_pid.values():
            path = cgroup(process, snapshot)
            if path is not None and process.total_vm:
                held[path] = held.get(path, 0) + (process.rss or 0)
        facts = getattr(snapshot, "facts", None)
        if facts is not self._facts:
            self._around.clear()
            self._doubted.clear()
            self._facts = facts
        for known in (self._around, self._doubted):
            for path in known.keys() - held.keys():
                known.pop(path, None)
        found: dict[tuple[int, str], Placement] = {}
        weights: dict[str, int] = defaultdict(int)
        self.doubts = set()
        for path, size in held.items():
            around = self._around.get(path)
            if around is None:
                around = self._look_around(path, snapshot)
            self.doubts |= self._doubted.get(path, frozenset())
            for number, place in around:
                found[number, place.path] = place
            for unit in {place.path for _, place in around}:
                weights[unit] += size
        kept = self._kept(found, weights)
        return [(number, place) for (number, path), place in found.items() if path in kept]

    def _look_around(self, path: str, snapshot: Snapshot) -> tuple[tuple[int, Placement], ...]:
        place = place_of(path, snapshot)
        found, doubted = [], set()
        for number, (targets, _) in enumerate(self.guards):
            if not targets:
                continue
            places, in_doubt = meant(targets, place, snapshot)
            found += [(number, where) for where in places]
            if in_doubt:
                doubted.add(number)
        self._around[path] = tuple(found)
        if doubted:
            self._doubted[path] = frozenset(doubted)
        return self._around[path]

    def _kept(
        self, found: Mapping[tuple[int, str], Placement], weights: Mapping[str, int]
    ) -> set[str]:
        """Return the units that guards are armed at: a user can make any number of them."""
        places = {place.path: place for place in found.values()}
        guards = Counter(path for _, path in found)
        kept: set[str] = set()
        in_all, of_user = 0, Counter[str]()
        # Those of the system's manager come first: only root makes them.
        for path in sorted(places, key=lambda path: (places[path].manager != "", -weights[path])):
            manager, number = places[path].manager, guards[path]
            if in_all + number > MOST_ARMED:
                continue
            if manager and of_user[manager] + number > MOST_OF_USER:
                continue
            in_all += number
            of_user[manager] += number
            kept.add(path)
        self.left_out = len(places) - len(kept)
        return kept

    # --- the candidates ------------------------------------------------------------------

    def _candidates(
        self, ranking: Ranking, paths: set[str], afresh: bool
    ) -> Mapping[str, tuple[Candidate, ...]]:
        snapshot = ranking.snapshot
        chosen: dict[str, list[tuple[int, Process]]] = {path: [] for path in (HOST, *sorted(paths))}
        lists_of: dict[str | None, tuple[str, ...]] = {None: (HOST,)}
        of_wholes: dict[tuple[str, str], int] = defaultdict(int)
        grouped = bool(ranking.groups.by_path)
        open_lists = len(chosen)
        for rank, process in enumerate(ranking.candidates, 1):
            if not open_lists:
                break
            path = cgroup(process, snapshot) if self._around or grouped else None
            places = lists_of.get(path)
            if places is None:
                around = {place.path for _, place in self._around.get(path or "", ())}
                places = lists_of[path] = (*lists_of[None], *sorted(around & paths))
            group = ranking.groups.of(process) if grouped else None
            for place in places:
                chosen_here = chosen[place]
                if len(chosen_here) >= FIRST:
                    continue
                if group is not None:
                    key = place, group.unit.place.path
                    of_wholes[key] += 1
                    if of_wholes[key] > _OF_WHOLE:
                        continue
                chosen_here.append((rank, process))
                open_lists -= len(chosen_here) == FIRST
        together = ranking.together() if grouped else {}
        made: dict[int, Candidate | None] = {}
        found: dict[str, tuple[Candidate, ...]] = {}
        for place, processes in chosen.items():
            listed = []
            for rank, process in processes:
                if process.pid not in made:
                    kept = None if afresh or together else self._kept_of(rank, process, ranking)
                    made[process.pid] = kept or _candidate(rank, process, ranking, together, afresh)
                one = made[process.pid]
                if one is not None:
                    listed.append(one)
            found[place] = tuple(listed)
        self._made = {
            pid: (_size(snapshot.by_pid[pid]), one)
            for pid, one in made.items()
            if one is not None and pid in snapshot.by_pid
        }
        return found

    def _kept_of(self, rank: int, process: Process, ranking: Ranking) -> Candidate | None:
        """Return what was made of a process for the last list, if it is as it was."""
        size, one = self._made.get(process.pid, (None, None))
        if one is None or size != _size(process) or one.start != process.starttime:
            return None
        if (one.comm, one.cgroup) != (process.comm, process.cgroup):
            return None
        if one.level != ranking.level(process):
            return None
        return one if one.rank == rank else one._replace(rank=rank)


def _size(process: Process) -> tuple[int | None, int | None]:
    return process.rss, process.total_vm


def ready(ranking: Ranking, program: Program, at: float) -> Ready:
    """Return the ready list of one ranking, for a single look."""
    return Arming(program).ready(ranking, at)


def _candidate(
    rank: int,
    process: Process,
    ranking: Ranking,
    together: Mapping[str, Together],
    afresh: bool,
) -> Candidate | None:
    """Return a candidate; None for a process that is gone, or that nothing tells from another."""
    snapshot = ranking.snapshot
    _read_rest(process, snapshot, afresh)
    start = process.starttime
    if type(start) is not int or process.state in ("X", "x"):
        return None
    path = cgroup(process, snapshot)
    place = None if path is None else place_of(path, snapshot)
    swap = _number(process.swap)
    group = ranking.groups.of(process) if together else None
    gone = together[group.unit.place.path] if group else None
    return Candidate(
        pid=process.pid,
        start=start,
        rank=rank,
        points=ranking.points(process),
        level=ranking.level(process),
        uid=process.uid if type(process.uid) is int else None,
        comm=process.comm or "",
        cgroup=path or "",
        unit=place.unit if place else "",
        manager=place.manager if place else "",
        held=_held(process, snapshot),
        swap=swap,
        polite=any(
            _may_hold_hardware(one, snapshot) for one in (gone.victims if gone else (process,))
        ),
        whole=_whole(process, gone, snapshot) if gone else None,
    )


def _may_hold_hardware(process: Process, snapshot: Snapshot) -> bool:
    """Return whether a process has CAP_SYS_RAWIO, or may have it."""
    if process.capabilities is UNREAD:
        snapshot.read(process, "capabilities")
    capabilities = process.capabilities
    # Of a process that hides it, it is unknown for a reason of its own.
    return capabilities is None or (type(capabilities) is int and bool(capabilities >> _RAWIO & 1))


def _read_rest(process: Process, snapshot: Snapshot, afresh: bool) -> None:
    """Read what the list has not read, or not lately: one file, ``status``."""
    if afresh and isinstance(snapshot, ProcSource) and "swap" not in snapshot.asked:
        snapshot.read(process, "swap")
    for field in ("uid", "capabilities", "swap"):
        if getattr(process, field) is UNREAD:
            snapshot.read(process, field)


def _held(process: Process, snapshot: Snapshot) -> int:
    """Return what a process holds, in bytes, as far as it is known."""
    rss = _number(process.rss) * snapshot.host.page_size
    return rss + _number(process.swap) + _number(process.pgtables)


def _whole(victim: Process, together: Together, snapshot: Snapshot) -> Whole:
    others = [
        process
        for process in together.victims
        if process is not victim and type(process.starttime) is int
    ]
    return Whole(
        path=together.group.unit.place.path,
        at_once=together.at_once,
        others=tuple((process.pid, _number(process.starttime)) for process in others),
        held=sum(_held(process, snapshot) for process in others),
    )


def _number(value: Any) -> int:
    return value if type(value) is int else 0
