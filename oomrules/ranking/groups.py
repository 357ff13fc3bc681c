"""Units that are killed as a whole: one candidate each, whose members come one after the other.

``kill whole TARGET`` makes each unit that the target means one candidate. Of several such units
around a process the outermost one counts, as the kernel takes the outermost control group with
memory.oom.group (mem_cgroup_get_oom_group(), mm/memcontrol.c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oomrules.lean import NamedTuple
from oomrules.processes.snapshot import PF_KTHREAD, Process, Snapshot
from oomrules.processes.units import Placement
from oomrules.processes.values import cgroup, place_of
from oomrules.program.program import Whole
from oomrules.ranking import keys
from oomrules.ranking.verdict import Verdict, Why


class Unit(NamedTuple):
    """A unit that is killed as a whole.

    Attributes:
        place: the unit among the others.
        whole: the statement that says so.
        targets: the units of the block that it stands in, outermost first.
    """

    place: Placement
    whole: Whole
    targets: tuple[str, ...]


class Standing(NamedTuple):
    """How a process stands to units that are killed as a whole.

    Attributes:
        unit: the one that it goes with; None if it goes alone.
        doubts: the statements that may be about a unit around it, which is unknown.
    """

    unit: Unit | None = None
    doubts: tuple[Whole, ...] = ()


class Group(NamedTuple):
    """A unit that is one candidate.

    Attributes:
        unit: it.
        members: those of its processes that are candidates, in their own order.
        level: that of its most protective member (``tiers``).
        total: the sum of its members' points, as a fraction.
    """

    unit: Unit
    members: tuple[Process, ...]
    level: int
    total: tuple[int, int]

    @property
    def points(self) -> int:
        """The sum of its members' points, rounded down."""
        above, below = self.total
        return above // below


class Groups(NamedTuple):
    """The units that are one candidate each.

    Attributes:
        by_path: them, by the path of their control groups, worst first.
        standing: tells how a process stands to units that are killed as a whole.
    """

    by_path: Mapping[str, Group]
    standing: Callable[[Process], Standing]

    def of(self, process: Process) -> Group | None:
        """Return the group in whose unit a process is, be it a candidate or not."""
        unit = self.standing(process).unit
        return unit and self.by_path.get(unit.place.path)


NO_GROUPS = Groups({}, lambda _: Standing())


class Together(NamedTuple):
    """What becomes of the processes of a unit when one of them is killed.

    Attributes:
        group: the unit, with the candidates in it.
        others: those that are no candidates, but no rule protects them either: they go as well.
        protected: those that stay, and why.
        unplaced: whether a process that has to stay may be inside, since its unit is unknown.
    """

    group: Group
    others: tuple[Process, ...]
    protected: tuple[tuple[Process, Verdict], ...]
    unplaced: bool = False

    @property
    def victims(self) -> tuple[Process, ...]:
        """All that go."""
        return (*self.group.members, *self.others)

    @property
    def at_once(self) -> bool:
        """Whether the whole control group may be killed (``cgroup.kill``): nobody inside stays."""
        return not self.protected and not self.unplaced

    def beside(self, victim: Process) -> tuple[int, ...]:
        """Return the pids that go with a victim: the candidates first, in their order."""
        return tuple(process.pid for process in self.victims if process is not victim)


# Why a process stays when its unit is killed. A doubt protects here as it does elsewhere.
_STAYING = (
    *(Why.NEVER, Why.NEVER_IN_DOUBT, Why.OUTSIDE, Why.UNKNOWN_SCORE, Why.UNREADABLE),
    *(Why.INIT, Why.OURSELVES),
)


class Gathering:
    """How the processes of one snapshot stand to units that are killed as a whole.

    What is found out about a control group is remembered: most processes share theirs.

    Args:
        find: tells what holds at a unit (``blocks.Blocks.whole``).
    """

    def __init__(self, snapshot: Snapshot, find: Callable[[Placement | None], Standing]) -> None:
        self._snapshot, self._find = snapshot, find
        self._known: dict[str | None, Standing] = {}

    def standing(self, process: Process) -> Standing:
        """Tell how a process stands to units that are killed as a whole."""
        path = cgroup(process, self._snapshot)
        if path not in self._known:
            place = None if path is None else place_of(path, self._snapshot)
            self._known[path] = self._find(place)
        return self._known[path]

    def arranged(
        self, levels: Mapping[int, list[Process]], common: int
    ) -> tuple[list[Process], Groups]:
        """Put candidates in order, those of a whole unit one after the other.

        Args:
            levels: the candidates of each level, in order.
            common: the denominator of the points in their keys.
        """
        members: dict[str, list[tuple[int, Process]]] = {}
        units: dict[str, Unit] = {}
        entries: list[tuple[int, int, list[Process]]] = []
        for level in sorted(levels):
            for process in levels[level]:
                unit = self.standing(process).unit
                if unit is None:
                    entries.append((level, process.key, [process]))
                else:
                    units[unit.place.path] = unit
                    members.setdefault(unit.place.path, []).append((level, process))
        if not members:
            return [process for level in sorted(levels) for process in levels[level]], Groups(
                {}, self.standing
            )
        found = {}
        for path, inside in members.items():
            processes = [process for _, process in inside]
            level = max(level for level, _ in inside)
            key = keys.together(process.key for process in processes)
            entries.append((level, key, processes))
            total = (keys.points(key), common)
            found[path] = (level, key, Group(units[path], tuple(processes), level, total))
        # Keys differ in their pids, so that lists are never compared.
        entries.sort()
        by_path = {
            path: group
            for path, (_, _, group) in sorted(found.items(), key=lambda item: item[1][:2])
        }
        candidates = [process for _, _, processes in entries for process in processes]
        return candidates, Groups(by_path, self.standing)


def together(
    groups: Groups, snapshot: Snapshot, judge: Callable[[Process], Verdict]
) -> dict[str, Together]:
    """Return what becomes of the processes of each group, by the path of its control group."""
    if not groups.by_path:
        return {}
    candidates = {process.pid for group in groups.by_path.values() for process in group.members}
    others: dict[str, list[Process]] = {path: [] for path in groups.by_path}
    staying: dict[str, list[tuple[Process, Verdict]]] = {path: [] for path in groups.by_path}
    unplaced = False
    for process in sorted(snapshot.by_pid.values(), key=lambda process: process.pid):
        if process.pid in candidates or (process.flags or 0) & PF_KTHREAD:
            continue
        group = groups.of(process)
        nowhere = group is None and cgroup(process, snapshot) is None
        if group is None and not nowhere:
            continue
        verdict = judge(process)
        stays = verdict.why in _STAYING and process.state not in ("X", "x")
        if group is None:
            unplaced |= stays
        elif stays:
            staying[group.unit.place.path].append((process, verdict))
        elif process.total_vm and process.state not in ("X", "x", "Z"):
            others[group.unit.place.path].append(process)
    return {
        path: Together(group, tuple(others[path]), tuple(staying[path]), unplaced)
        for path, group in groups.by_path.items()
    }
