"""The survey: every process of this host as it is now, as the plan needs it."""

from __future__ import annotations

import os

from oomrules.lean import NamedTuple
from oomrules.processes.cgroups import enclosing
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import NO_LIMIT, PF_KTHREAD, UNREAD, Process, Snapshot
from oomrules.processes.values import known, memory_group
from oomrules.ranking.kernel_badness import HIGHEST, NOBODY, UNKILLABLE, Domain, Task
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.verdict import Why
from oomrules.sinks.oom_score_adj import plan
from oomrules.sinks.oom_score_adj.origins import (
    CAP_SETUID,
    CAP_SYS_RESOURCE,
    Origins,
    current_value,
    in_first_namespace,
    may_lower,
    number_in,
)
from oomrules.sinks.oom_score_adj.plan import Plan
from oomrules.sinks.oom_score_adj.record import MOST_WATCHED, Identity, Record

# How many candidates are put in order: of the host, and of each group with a limit.
HEAD = 20
GROUP_HEAD = 5

# Seconds from the birth of a process to its being seen: a lock is waited for in between, no more.
_BIRTH = 1


class Survey(NamedTuple):
    """What a plan is made of.

    Attributes:
        candidates: worst first.
        rest: processes that are no candidates, though no rule protects them.
        protected: processes that the rules exclude.
        domains: the host, and each control group with a limit.
        processes: by pid, all of them.
        page_size: in bytes.
        unreadable: how many have a value that could not be read, and were left alone.
        unit_root: the control group below which there are units (``Host.unit_root``).
        lowering: whether values may be lowered, and with them what a process may lower itself to.
        newcomers: those that are seen for the first time and cannot lower themselves, except to
            what they may have inherited.
        watched: those that can lower themselves, by pid and start.
        begun: when the processes were listed, in clock ticks since the boot.
        limited: whether only processes in control groups with a limit get other values than their
            originals. The order on the host is another sink's then.
    """

    candidates: list[Task]
    rest: list[Task]
    protected: list[Task]
    domains: list[Domain]
    processes: dict[int, Process]
    page_size: int
    unreadable: int
    unit_root: str = ""
    lowering: bool = False
    newcomers: tuple[Task, ...] = ()
    watched: frozenset[Identity] = frozenset()
    begun: int = 0
    limited: bool = False

    def plan(self) -> Plan:
        """Return what to write."""
        return plan.plan(self.candidates, self.rest, self.protected, self.domains)

    @property
    def tasks(self) -> list[Task]:
        """All of them."""
        return [*self.protected, *self.candidates, *self.rest]

    @property
    def served(self) -> list[Task]:
        """Those that the values are for."""
        return [task for task in self.tasks if not self.limited or len(task.domains) > 1]


def survey_live(
    ranking: Ranking, source: ProcSource, record: Record, head: int = HEAD, limited: bool = False
) -> Survey:
    """Look at every process of this host, as it is now; the ranking is of all of them."""
    survey = _Surveyor(ranking, head, Origins(source, record), limited).survey()
    return _with_newcomers(survey, source, record)


def survey_recorded(ranking: Ranking, head: int = HEAD) -> Survey:
    """Look at a recorded host: what could be done there by root."""
    return _Surveyor(ranking, head).survey()


def has_limits(source: ProcSource) -> bool:
    """Return whether a process is in a control group with a limit."""
    groups = {
        memory_group(process, source)
        for process in source.by_pid.values()
        if not (process.flags or 0) & PF_KTHREAD
    }
    names = {name for group in groups if group is not None for name in enclosing(group)}
    return any(_limit(source, name) is not None for name in names)


def _limit(snapshot: Snapshot, name: str) -> int | None:
    """Return the limit of a control group, in bytes; None if it has none that counts."""
    scope = snapshot.scope(name)
    limit: int | None = None if scope is None else scope.get("memory_max")
    # With a limit beyond what there is, the host runs out first.
    if limit is None or limit >= min(NO_LIMIT, snapshot.host.mem_total):
        return None
    return limit


class _Surveyor:
    """Collects the processes and the domains of one ranking.

    Args:
        origins: where the values of this host come from; None for a recorded host.
        limited: as in ``Survey``.
    """

    def __init__(
        self,
        ranking: Ranking,
        head: int,
        origins: Origins | None = None,
        limited: bool = False,
    ) -> None:
        self._limited = limited
        self._ranking, self._snapshot, self._origins = ranking, ranking.snapshot, origins
        self._root = origins.root if origins else ""
        self._lowering = origins is None or may_lower(self._root)
        # At 0 the kernel leaves swap out of a group's totalpages (mem_cgroup_get_max()). What it
        # was on a recorded host is not known.
        swappiness = number_in(f"{self._root}/sys/vm/swappiness") if origins else None
        self._host_counts_swap = swappiness != 0
        host = self._snapshot.host
        pages = (host.mem_total + host.swap_total) // host.page_size
        # By name; their numbers are in this order.
        self._domains = {"": Domain("", pages, 0 if limited else head)}
        # The numbers of the domains that the processes of a control group are in.
        self._numbers: dict[str | None, tuple[int, ...]] = {None: (0,)}
        self._processes: dict[int, Process] = {}
        self._unreadable = 0

    def survey(self) -> Survey:
        """Look at every process."""
        candidates = [task for process in self._ranking.candidates if (task := self._task(process))]
        rest: list[Task] = []
        protected: list[Task] = []
        for process, verdict in self._ranking.excluded():
            if verdict.eligible and (task := self._task(process)):
                free = verdict.why in (Why.CANDIDATE, Why.NO_POINTS)
                (rest if free else protected).append(task)
        return Survey(
            candidates=candidates,
            rest=rest,
            protected=protected,
            domains=list(self._domains.values()),
            processes=self._processes,
            page_size=self._snapshot.host.page_size,
            unreadable=self._unreadable,
            unit_root=self._snapshot.host.unit_root,
            lowering=self._lowering,
            limited=self._limited,
        )

    def _task(self, process: Process) -> Task | None:
        value = process.oom_score_adj
        current = current_value(self._root, process.pid) if self._origins else value
        if current is None or current is UNREAD:
            # A vanished one needs nothing.
            self._unreadable += process.state not in ("X", "x")
            return None
        cgroup = memory_group(process, self._snapshot)
        if cgroup is not None and cgroup not in self._numbers:
            self._numbers[cgroup] = self._domains_of(cgroup)
        # It reads the user and the capabilities, too.
        size = self._size(process)
        original, lowest, highest = self._possible(process, current)
        domains = self._numbers[cgroup]
        if self._limited and len(domains) == 1:
            lowest = highest = original
        uid = known("uid", process, self._snapshot)
        self._processes[process.pid] = process
        return Task(
            pid=process.pid,
            start=process.starttime or 0,
            size=size,
            original=original,
            current=current,
            domains=domains,
            lowest=lowest,
            highest=highest,
            uid=uid if type(uid) is int else NOBODY,
            passes_on=_has(process, CAP_SETUID),
        )

    def _domains_of(self, cgroup: str) -> tuple[int, ...]:
        """Return the numbers of the domains of a control group; new domains are noted."""
        host = self._snapshot.host
        numbers = [0]
        for name in enclosing(cgroup):
            scope, limit = self._snapshot.scope(name), _limit(self._snapshot, name)
            if scope is None or limit is None:
                continue
            if name not in self._domains:
                # v1 has a swappiness for each group.
                own = scope.get("swappiness")
                counts_swap = self._host_counts_swap if own is None else own > 0
                swap = scope.get("swap_max") if counts_swap else 0
                swap = host.swap_total if swap is None else min(swap, host.swap_total)
                pages = max(1, (limit + swap) // host.page_size)
                self._domains[name] = Domain(name, pages, GROUP_HEAD)
            numbers.append(list(self._domains).index(name))
        return tuple(sorted(numbers))

    def _possible(self, process: Process, current: int) -> tuple[int, int, int]:
        """Return its value without oomrules, and the lowest and highest that can be written."""
        original = self._origins.original(process, current) if self._origins else current
        if self._lowering:
            return original, UNKILLABLE, HIGHEST
        path = f"{self._root}/{process.pid}/oom_score_adj"
        may_write = os.geteuid() == 0 or os.access(path, os.W_OK)
        return original, original, HIGHEST if may_write else original

    def _size(self, process: Process) -> int:
        """Return the sum that oom_badness() makes, in pages."""
        if self._origins:
            # Both are in the same file, which has to be as fresh as the rest; so are then the user
            # and the capabilities.
            for field in ("swap", "pgtables"):
                self._origins.source.read(process, field)
        swap, tables = (
            value if isinstance(value, int) else 0 for value in (process.swap, process.pgtables)
        )
        return (process.rss or 0) + swap + tables // self._snapshot.host.page_size


def _with_newcomers(survey: Survey, source: ProcSource, record: Record) -> Survey:
    """Add the processes that have not been dealt with since the first value was lowered.

    Such a process may descend from a lowered one, whatever its value is now. Until its value is
    written once, it may go down to what it has inherited at any time.
    """
    host = source.host
    begun = max(0, int((host.uptime - _BIRTH) * host.clock_ticks))
    if not record.since:
        return survey._replace(begun=begun)
    newcomers, watched = [], []
    known = {task.pid for task in survey.tasks}
    for task in survey.tasks:
        entry = record.entries.get(task.identity)
        # With another value than ours, it has kept ours as its minimum.
        changed = entry is not None and task.current not in entry.values
        if task.start < record.since and not changed:
            continue
        process = survey.processes[task.pid]
        # Every user has all capabilities in a namespace of his own.
        if _has(process, CAP_SYS_RESOURCE) and (
            process.uid == 0 or in_first_namespace(source.root, process.pid)
        ):
            watched.append(task.identity)
        elif changed or task.start >= record.seen or task.identity in record.watched:
            newcomers.append(task)
    for process in source.by_pid.values():
        # In the middle of an exec it seems to have no memory.
        start = process.starttime or 0
        passing = process.pid not in known and start >= max(record.since, record.seen)
        if passing and process.state not in ("Z", "X") and not (process.flags or 0) & PF_KTHREAD:
            watched.append((process.pid, start))
    # The oldest give way: what they inherited is older.
    watched.sort(key=lambda identity: identity[1])
    return survey._replace(
        newcomers=tuple(newcomers), watched=frozenset(watched[-MOST_WATCHED:]), begun=begun
    )


def _has(process: Process, capability: int) -> bool:
    known = process.capabilities
    return isinstance(known, int) and bool(known >> capability & 1)
