"""The survey: every process of this host as it is now, as the plan needs it."""

from __future__ import annotations

import os
from collections.abc import Callable

from oomrules.lean import Any, NamedTuple
from oomrules.processes.cgroups import enclosing
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import NO_LIMIT, PF_KTHREAD, UNREAD, Process, Scope, Snapshot
from oomrules.processes.values import GETTERS, memory_group
from oomrules.ranking.evaluator import ineligible
from oomrules.ranking.ranker import Ranking
from oomrules.sinks.oom_score_adj import plan as adjustments
from oomrules.sinks.oom_score_adj.formula import NOBODY, UNKILLABLE, Domain, Task
from oomrules.sinks.oom_score_adj.origins import (
    CAP_SETUID,
    CAP_SYS_RESOURCE,
    Origins,
    adjustment,
    in_first_namespace,
    read,
)
from oomrules.sinks.oom_score_adj.plan import Plan
from oomrules.sinks.oom_score_adj.record import MOST_WATCHED, Identity, Record

# How many of the candidates are put in order: of the host, and of each group with a limit.
HEAD = 20
GROUP_HEAD = 5

# Seconds from the moment that a process is said to be born to its being seen: a lock is waited
# for in between, no more.
_BIRTH = 1

# Reads a value of a process; None if it is gone or cannot be read.
Read = Callable[[Process], "int | None"]


class Survey(NamedTuple):
    """What a plan is made of.

    Attributes:
        candidates: worst first.
        rest: no candidates, though no rule protects them.
        protected: whom the rules exclude.
        domains: the host, and each control group with a limit.
        processes: by pid, all of them.
        page_size: in bytes.
        unreadable: how many have a value that could not be read, and were left alone.
        lowering: whether values may be lowered, and with them what a process may lower itself to.
        newcomers: those that are seen for the first time and cannot lower themselves, but to
            what they may have inherited.
        watched: those that still may, by pid and start.
        begun: when the processes were listed, in clock ticks since the boot.
        unit_root: the control group below which there are units (``Host.unit_root``).
    """

    candidates: list[Task]
    rest: list[Task]
    protected: list[Task]
    domains: list[Domain]
    processes: dict[int, Process]
    page_size: int
    unreadable: int
    lowering: bool = False
    newcomers: tuple[Task, ...] = ()
    watched: frozenset[Identity] = frozenset()
    begun: int = 0
    unit_root: str = ""

    def plan(self) -> Plan:
        """Find the adjustments."""
        return adjustments.plan(self.candidates, self.rest, self.protected, self.domains)

    @property
    def tasks(self) -> list[Task]:
        """All of them."""
        return [*self.protected, *self.candidates, *self.rest]


def survey_live(ranking: Ranking, source: ProcSource, record: Record, head: int = HEAD) -> Survey:
    """Look at every process of this host, as it is now.

    Args:
        ranking: of all processes of the source.
        record: what has been adjusted so far.
        head: how many candidates of the host are to be in order.
    """
    origins = Origins(source, record)
    lowering = may_lower(source.root)
    root = os.geteuid() == 0

    def current(process: Process) -> int | None:
        return adjustment(source.root, process.pid)

    def bounds(process: Process, own: int) -> tuple[int, int]:
        if lowering:
            return UNKILLABLE, 1000
        if not root and not os.access(f"{source.root}/{process.pid}/oom_score_adj", os.W_OK):
            return own, own
        return own, 1000

    def size(process: Process) -> int:
        # Both are in the same file, which has to be as fresh as the rest; so are then the user
        # and the capabilities.
        swap, tables = source.read(process, "swap"), source.read(process, "pgtables")
        return _size(process, swap, tables, source)

    with_swap = _swappiness(source.root) > 0
    survey = _survey(ranking, head, current, origins.own, bounds, size, with_swap)
    return _with_newcomers(survey, source, record)._replace(lowering=lowering)


def _with_newcomers(survey: Survey, source: ProcSource, record: Record) -> Survey:
    """Find who has not been dealt with since the first value was lowered.

    Such a one may be a descendant of a lowered process, whatever its value is now. Until its
    value is written once, it may go down to what it has inherited at any time.
    """
    host = source.host
    begun = max(0, int((host.uptime - _BIRTH) * host.clock_ticks))
    if not record.since:
        return survey._replace(begun=begun)
    newcomers, watched = [], []
    known = {task.pid for task in survey.tasks}
    for task in survey.tasks:
        identity = (task.pid, task.start)
        entry = record.entries.get(identity)
        # With another value than ours, it has kept ours as its minimum.
        changed = entry is not None and task.current not in entry.values
        if task.start < record.since and not changed:
            continue
        if _is_able(survey.processes[task.pid], source.root):
            watched.append(identity)
        elif changed or task.start >= record.seen or identity in record.watched:
            newcomers.append(task)
    for process in source.by_pid.values():
        # In the middle of an exec it seems to have no memory.
        start = process.starttime or 0
        passing = process.pid not in known and start >= max(record.since, record.seen)
        if passing and process.state not in ("Z", "X") and not (process.flags or 0) & PF_KTHREAD:
            watched.append((process.pid, start))
    # The oldest give way: what they inherited is older.
    watched.sort(key=lambda one: one[1])
    return survey._replace(
        newcomers=tuple(newcomers), watched=frozenset(watched[-MOST_WATCHED:]), begun=begun
    )


def _is_able(process: Process, root: str) -> bool:
    """Tell whether a process can lower itself, from what the survey has read of it."""
    if not _has(process, CAP_SYS_RESOURCE):
        return False
    # Every user is almighty in a namespace of his own.
    return process.uid == 0 or in_first_namespace(root, process.pid)


def _has(process: Process, capability: int) -> bool:
    known = process.capabilities
    return isinstance(known, int) and bool(known >> capability & 1)


def survey_recorded(ranking: Ranking, head: int = HEAD) -> Survey:
    """Look at a recorded host: what could be done there by root."""

    def current(process: Process) -> int | None:
        value = process.oom_score_adj
        return None if value is UNREAD else value

    def size(process: Process) -> int:
        swap, tables = (getattr(process, name) for name in ("swap", "pgtables"))
        return _size(process, swap, tables, ranking.snapshot)

    return _survey(
        ranking, head, current, lambda _, value: value, lambda *_: (UNKILLABLE, 1000), size, True
    )


def _size(process: Process, swap: Any, tables: Any, snapshot: Snapshot) -> int:
    """Add up what oom_badness() does, in pages."""
    swap, tables = (one if isinstance(one, int) else 0 for one in (swap, tables))
    size: int = (process.rss or 0) + swap + tables // snapshot.host.page_size
    return size


def _survey(
    ranking: Ranking,
    head: int,
    current: Read,
    original: Callable[[Process, int], int],
    bounds: Callable[[Process, int], tuple[int, int]],
    size: Callable[[Process], int],
    with_swap: bool,
) -> Survey:
    snapshot = ranking.snapshot
    host = snapshot.host
    pages = (host.mem_total + host.swap_total) // host.page_size
    domains = [Domain("", pages, head)]
    places: dict[str | None, tuple[int, ...]] = {None: (0,)}
    processes: dict[int, Process] = {}
    unreadable = 0

    def task(process: Process) -> Task | None:
        nonlocal unreadable
        value = current(process)
        if value is None:
            # A vanished one needs nothing.
            unreadable += process.state not in ("X", "x")
            return None
        cgroup = memory_group(process, snapshot)
        if cgroup is not None and cgroup not in places:
            places[cgroup] = _places(cgroup, snapshot, domains, with_swap)
        pages = size(process)
        own = original(process, value)
        processes[process.pid] = process
        start = process.starttime or 0
        uid = GETTERS["uid"](process, snapshot)
        return Task(
            *(process.pid, start, pages, own, value, places[cgroup]),
            *bounds(process, own),
            uid=uid if type(uid) is int else NOBODY,
            passes_on=_has(process, CAP_SETUID),
        )

    candidates = [made for process in ranking.candidates if (made := task(process))]
    rest: list[Task] = []
    protected: list[Task] = []
    for process, verdict in ranking.excluded():
        if ineligible(process, snapshot.own_pids):
            continue
        made = task(process)
        if made is not None:
            free = verdict.reason in ("", "no points")
            (rest if free else protected).append(made)
    return Survey(
        candidates,
        rest,
        protected,
        domains,
        processes,
        host.page_size,
        unreadable,
        unit_root=host.unit_root,
    )


def _places(
    cgroup: str, snapshot: Snapshot, domains: list[Domain], with_swap: bool
) -> tuple[int, ...]:
    """Find the domains of a control group; new ones are added to the list."""
    host = snapshot.host
    found = [0]
    for name in enclosing(cgroup):
        scope = snapshot.scope(name)
        limit = None if scope is None else scope.get("memory_max")
        # With a limit beyond what there is, the host runs out first.
        if scope is None or limit is None or limit >= min(NO_LIMIT, host.mem_total):
            continue
        known = [number for number, domain in enumerate(domains) if domain.name == name]
        if not known:
            swap = scope.get("swap_max") if _swaps(scope, with_swap) else 0
            swap = host.swap_total if swap is None else min(swap, host.swap_total)
            domains.append(Domain(name, max(1, (limit + swap) // host.page_size), GROUP_HEAD))
            known = [len(domains) - 1]
        found += known
    return tuple(sorted(found))


def _swaps(scope: Scope, otherwise: bool) -> bool:
    """Tell whether the kernel counts a group's swap; v1 has a swappiness for each group."""
    own = scope.get("swappiness")
    return otherwise if own is None else own > 0


def may_lower(root: str = "/proc") -> bool:
    """Tell whether values may be lowered (__set_oom_adj() in fs/proc/base.c asks capable()).

    That means CAP_SYS_RESOURCE in the first user namespace; a container's root has another.
    """
    try:
        status = read(f"{root}/self/status")
        capabilities = int(status.split(b"\nCapEff:", 1)[1].split(b"\n", 1)[0], 16)
    except (OSError, ValueError, IndexError):
        return False
    return bool(capabilities >> CAP_SYS_RESOURCE & 1) and in_first_namespace(root, "self")


def _swappiness(root: str) -> int:
    """Without it the kernel leaves swap out of a group's totalpages (mem_cgroup_get_max())."""
    try:
        return int(read(f"{root}/sys/vm/swappiness"))
    except (OSError, ValueError):
        return 60
