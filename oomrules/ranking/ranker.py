"""The ranking: candidates in order, worst first."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from operator import attrgetter

from oomrules.lean import NamedTuple
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import PF_EXITING, PF_KTHREAD, UNREAD, Host, Process, Snapshot
from oomrules.processes.values import innermost_place
from oomrules.program.nodes import glob, is_glob
from oomrules.program.program import Program
from oomrules.ranking.codegen import Decider
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.groups import NO_GROUPS, Groups, Together, together
from oomrules.ranking.keys import LATEST, POINTS, START, rescaled
from oomrules.ranking.verdict import Verdict

_NEVER_FLAGS = PF_EXITING | PF_KTHREAD
_DEAD_STATES = ("Z", "X", "x")

# How much of the list is read once more before it is handed to the kernel, and how often the
# ranking is made anew when that shows a change.
HEAD = 64
_TRIES = 3

# Later than any uptime.
_FOREVER = 2**62
_PLACE = attrgetter("key")


Keep = Callable[[Process, Snapshot], bool]


class Ranking(NamedTuple):
    """The candidates of one snapshot, worst first.

    Attributes:
        keep: says which of them were wanted.
        groups: the units that are one candidate each.
    """

    candidates: list[Process]
    snapshot: Snapshot
    evaluator: Evaluator
    keep: Keep | None = None
    groups: Groups = NO_GROUPS

    @property
    def pids(self) -> list[int]:
        """The list that goes to the kernel."""
        return [process.pid for process in self.candidates]

    def verdict(self, process: Process) -> Verdict:
        """Return why a process ranks where it does, or why it is no candidate."""
        return self.evaluator.judge(process, self.snapshot)

    def points(self, process: Process) -> int:
        """Return the points of a candidate by what ranked it, which costs less than a verdict."""
        decision = self._decision(process)
        if decision is None:
            return self.verdict(process).points
        _, above, below = decision
        return above // below

    def level(self, process: Process) -> int:
        """Return the level of a candidate (``tiers``): less is killed sooner."""
        decision = self._decision(process)
        return 0 if decision is None else decision[0]

    def _decision(self, process: Process) -> tuple[int, int, int] | None:
        if not isinstance(process.decider, Decider):
            return None
        host = self.snapshot.host
        return process.decider.decide(process, int(host.uptime), host.clock_ticks, self.snapshot)

    def together(self) -> dict[str, Together]:
        """Return who dies and who stays with each group, by the path of its control group.

        It costs a verdict for each process of the groups that is no candidate.
        """
        return together(self.groups, self.snapshot, self.verdict)

    def excluded(self) -> Iterator[tuple[Process, Verdict]]:
        """Yield the processes that are no candidates, by pid, with the reason.

        A process that has vanished meanwhile is not among them.
        """
        ranked = set(self.pids)
        for process in sorted(self.snapshot.by_pid.values(), key=lambda process: process.pid):
            if process.pid in ranked or (self.keep and not self.keep(process, self.snapshot)):
                continue
            verdict = self.verdict(process)
            if process.state not in ("X", "x"):
                yield process, verdict


class Ranker:
    """Ranks snapshot after snapshot by one program.

    The order is exact: level (``tiers``); base times weight, descending; earlier start; lower pid.
    A unit that is killed as a whole is one candidate (``groups``).

    Args:
        program: the rules.
        host: its page size decides how many pages a quantity of memory is.
    """

    def __init__(self, program: Program, host: Host) -> None:
        self.evaluator = Evaluator(program, host)
        # Fractions are compared as whole numbers over a common denominator.
        self._common = 1
        self._scales: dict[int, int] = {1: 1}
        # The last ranking, since most of the next one will be the same: its time, its snapshot
        # and its order.
        self._now = 0
        self._of: Snapshot | None = None
        self._ordered: list[Process] = []

    def rank(self, snapshot: Snapshot, keep: Keep | None = None) -> Ranking:
        """Rank the processes of a snapshot.

        Args:
            keep: limits the candidates, for a list of one unit.
        """
        specialise, host = self.evaluator.specialise, snapshot.host
        table = snapshot.by_pid
        now, hz = int(host.uptime), host.clock_ticks
        self.evaluator.forget(len(table))
        if snapshot.ranker is not self:
            for process in table.values():
                process.reconsider()
            snapshot.ranker = self
        if now < self._now or snapshot is not self._of:
            for process in table.values():
                process.changed()
            self._ordered = []
        self._now, self._of = now, snapshot
        scales, tells = self._scales, snapshot.tells_changes
        # Most processes of a host sleep, and their place is what it was. Put before the others they
        # are a sorted run, which list.sort() makes use of.
        unchanged = [process for process in self._ordered if process.until > now]
        levels = defaultdict[int, list[Process]](list)
        levels[0] = unchanged
        for process in table.values():
            if process.until > now:
                continue
            decider = process.decider
            if (
                decider is None
                or process.total_vm == 0
                or (process.flags or 0) & _NEVER_FLAGS
                or process.state in _DEAD_STATES
            ):
                continue
            if decider is UNREAD:
                decider = process.decider = specialise(process, snapshot)
                # The process may have vanished while its identity was read.
                if decider is None or process.state in _DEAD_STATES:
                    continue
            decision = decider.decide(process, now, hz, snapshot)
            if decision is not None:
                level, above, below = decision
                if below not in scales:
                    wider = self._widen(below)
                    for other in table.values():
                        other.key = rescaled(other.key, wider)
                start = process.starttime
                points = (above * scales[below]) << POINTS
                later = (LATEST if start is None else start) << START
                process.key = later + process.pid - points
                levels[level].append(process)
                # To decide may show that the process has become another one.
                if tells and level == 0 and start is not None and process.decider is decider:
                    process.until = _until(decider, now, start // hz)
        for processes in levels.values():
            processes.sort(key=_PLACE)
        self._ordered = levels[0]
        candidates = [process for level in sorted(levels) for process in levels[level]]
        groups, gathering = NO_GROUPS, self.evaluator.gathering(snapshot)
        if gathering is not None:
            candidates, groups = gathering.arranged(levels, self._common)
        if keep is not None:
            candidates = [process for process in candidates if keep(process, snapshot)]
        return Ranking(candidates, snapshot, self.evaluator, keep, groups)

    def _widen(self, below: int) -> int:
        """Take one more denominator; return by how much all keys so far have to grow."""
        before, self._common = self._common, math.lcm(self._common, below)
        self._scales[below] = 0
        for known in self._scales:
            self._scales[known] = self._common // known
        return self._common // before


def _until(decider: Decider, now: int, start: int) -> int:
    """Return when the time alone changes an answer; times in seconds of uptime."""
    if decider.steps is None:
        return -1
    age = max(0, now - start)
    until = _FOREVER
    for step in decider.steps:
        until = min(until, start + (age // step + 1) * step)
    return until


def fresh(ranker: Ranker, source: ProcSource, keep: Keep | None = None) -> Ranking:
    """Rank, read the head of the list once more, and rank again if that shows a change."""
    ranking = ranker.rank(source, keep)
    for _ in range(_TRIES):
        if source.verify(ranking.candidates[:HEAD]):
            break
        ranking = ranker.rank(source, keep)
    return ranking


def within(unit: str) -> Keep:
    """Return a filter for the processes of a unit and of everything below it.

    Args:
        unit: a glob, or the name or an alias of a unit.
    """
    plain = not is_glob(unit)

    def keep(process: Process, snapshot: Snapshot) -> bool:
        place = innermost_place(process, snapshot)
        if place is None:
            return False
        if any(glob(name, unit) for name in place.chain):
            return True
        # As a rule does: an alias counts where it is written out.
        units = place.system.ancestors if plain else ()
        return any(unit in (snapshot.fact(around, "Names") or ()) for around in units)

    return keep
