"""The order, realised through oom_score_adj: survey the processes, apply a plan, undo it.

Whoever calls ``apply`` or ``release`` holds the lock of the state directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from oomrules.errors import Failure, reason
from oomrules.lean import Any, NamedTuple
from oomrules.plain import printable
from oomrules.processes.cgroups import enclosing
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import NO_LIMIT, PF_KTHREAD, UNREAD, Process, Scope, Snapshot
from oomrules.processes.values import GETTERS, innermost_unit, memory_group
from oomrules.program.program import make
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.verdict import Why
from oomrules.sinks.oom_score_adj import plan as adjustments
from oomrules.sinks.oom_score_adj import record as adjusted
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
from oomrules.sinks.oom_score_adj.record import MOST_WATCHED, Entry, Identity, Record
from oomrules.sinks.oom_score_adj.search import Claim
from oomrules.state import now

# How many of the candidates are put in order: of the host, and of each group with a limit.
HEAD = 20
GROUP_HEAD = 5

# Children are born while values are restored; each round finds those of the round before.
_ROUNDS = 20

# So many names say enough.
_NAMED = 5

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


class Outcome(NamedTuple):
    """What came of writing.

    Attributes:
        written: how many values.
        gone: how many processes ended meanwhile.
        refused: by pid, why the kernel did not take a value.
        changed: pids whose value somebody else changed meanwhile; that one stays.
        claims: what is true now, from the values that were read afterwards.
    """

    written: int
    gone: int
    refused: dict[int, str]
    changed: tuple[int, ...]
    claims: tuple[Claim, ...] = ()


# --- the record, seen through a source -----------------------------------------------------


def see_originals(source: ProcSource, path: str) -> Record:
    """Let a source report the values from before; rules must not ask what they caused.

    Args:
        path: of the record.

    Raises:
        Failure: the record cannot be read.
    """
    record = adjusted.load(path)
    source.original = Origins(source, record).own if record.in_use else None
    if source.original is not None:
        # What has been read already is the value of now.
        for process in source.by_pid.values():
            value = process.oom_score_adj
            if value is not None and value is not UNREAD:
                process.oom_score_adj = source.original(process, value)
                process.reconsider()
    return record


# --- the survey ----------------------------------------------------------------------------


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
        if not verdict.eligible:
            continue
        made = task(process)
        if made is not None:
            free = verdict.why in (Why.CANDIDATE, Why.NO_POINTS)
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


def adjust(
    ranking: Ranking, source: ProcSource, path: str, head: int = HEAD
) -> tuple[Survey, Plan, Outcome]:
    """Put a ranking of this host into force: survey, plan and apply.

    Args:
        ranking: of all processes of the source, which sees the originals.
        path: where the record is kept; its directory is locked by the caller.

    Raises:
        Failure: the record cannot be read or written; nothing has been changed then.
    """
    record = adjusted.load(path)
    survey = survey_live(ranking, source, record, head)
    plan = survey.plan()
    return survey, plan, apply(survey, plan, record, path, source.root)


# --- doing and undoing ---------------------------------------------------------------------


def apply(survey: Survey, plan: Plan, record: Record, path: str, root: str = "/proc") -> Outcome:
    """Write the values of a plan; first of all what is needed to undo it.

    Args:
        record: as it was for the survey.
        path: where the record is kept.

    Raises:
        Failure: the record cannot be written; nothing has been changed then.
    """
    # A child that is born from here on may have the new value of its parent.
    since = int(now() * os.sysconf("SC_CLK_TCK"))
    tasks = survey.tasks
    ahead = _journal(survey, plan, record, since)
    adjusted.save(path, ahead)
    written = gone = 0
    refused: dict[int, str] = {}
    changed = []
    for assignment in plan.assignments:
        task = assignment.task
        result = _write(root, task.pid, task.start, {task.current}, assignment.value)
        written += result == _DONE
        gone += result == _GONE
        if result == _CHANGED:
            changed.append(task.pid)
        elif result not in (_DONE, _GONE):
            refused[task.pid] = result
    unsettled = _settle_newcomers(survey, plan, root)
    # What is true is what the kernel says.
    values = dict(plan.values)
    alive: set[int] = set()
    for task in tasks:
        value = adjustment(root, task.pid)
        if value is not None:
            values[task.pid] = value
            alive.add(task.pid)
    adjusted.save(path, _settled(survey, ahead, values, alive, since, unsettled))
    claims = adjustments.verify(
        plan.claims,
        [task for task in survey.candidates if task.pid in alive],
        [task for task in survey.rest if task.pid in alive],
        [task for task in survey.protected if task.pid in alive],
        values,
        plan.last,
    )
    return Outcome(written, gone, refused, tuple(changed), claims)


def _settle_newcomers(survey: Survey, plan: Plan, root: str) -> set[Identity]:
    """Write the value of each newcomer, so that it cannot go below that by itself.

    The minimum that it inherited cannot be read, but follows what is written with
    CAP_SYS_RESOURCE (__set_oom_adj() in fs/proc/base.c).

    Returns:
        those of whom that failed; they are newcomers again.
    """
    if not survey.lowering:
        return set()
    written = {assignment.task.pid for assignment in plan.assignments}
    unsettled = set()
    for task in survey.newcomers:
        if task.pid in written:
            continue
        result = _write(root, task.pid, task.start, {task.current}, task.current)
        if result not in (_DONE, _GONE):
            unsettled.add((task.pid, task.start))
    return unsettled


def _journal(survey: Survey, plan: Plan, record: Record, since: int) -> Record:
    """Say what each process may have, whenever the writing ends."""
    entries = []
    known = set()
    for task in survey.tasks:
        identity = (task.pid, task.start)
        known.add(identity)
        old = record.entries.get(identity)
        values = {task.current, plan.values[task.pid]} - {task.original}
        if not values and old is None:
            continue
        cgroup = survey.processes[task.pid].cgroup
        first = since
        if old is not None and task.current in old.values:
            first = old.since
        elif task.current != task.original:
            # It inherited its value, and its own children may be older than this run.
            first = task.start
        entries.append(Entry(*identity, task.original, tuple(sorted(values)), first, cgroup))
    entries += [
        old._replace(fading=True)
        for old in record
        if _identity(old) not in known and not old.fading
    ]
    first = record.since or (since if survey.lowering else 0)
    return Record(entries, first, record.seen, record.watched)


def _settled(
    survey: Survey,
    ahead: Record,
    values: Mapping[int, int],
    alive: set[int],
    since: int,
    unsettled: set[Identity],
) -> Record:
    """Keep what was done, and for one more run what was undone."""
    entries = []
    written = {value for entry in ahead for value in entry.values}
    for task in survey.tasks:
        entry = ahead.entries.get((task.pid, task.start))
        value = values[task.pid]
        if entry is None:
            # Processes that share their memory share the value: writing one writes all of them.
            if task.pid in alive and value != task.current and value in written:
                cgroup = survey.processes[task.pid].cgroup
                entries.append(Entry(task.pid, task.start, task.original, (value,), since, cgroup))
        elif task.pid not in alive or value == task.original:
            if entry.values:
                entries.append(entry._replace(fading=True))
        elif value in entry.values:
            entries.append(entry._replace(values=(value,)))
    entries += [entry for entry in ahead if entry.fading]
    return Record(entries, ahead.since, survey.begun, survey.watched | unsettled)


def _identity(entry: Entry) -> tuple[int, int]:
    return entry.pid, entry.start


class Released(NamedTuple):
    """What came of undoing; each a list of pids with names.

    Attributes:
        restored: pid, name, the value that was there and the one that is there now.
        left: those whose value somebody else has changed since.
        refused: by pid, why the original is not in force again.
        units: of those, by pid, as far as they are known.
        names: of those, by pid.
        unsure: those with a value like ours that they could have set themselves, and keep.
    """

    restored: list[tuple[int, str, int, int]]
    left: list[tuple[int, str]]
    refused: dict[int, str]
    units: dict[int, str]
    names: dict[int, str]
    unsure: list[tuple[int, str]]


def release(path: str, source: ProcSource | None = None, dry: bool = False) -> Released:
    """Give every process its original back, and those that inherited a value theirs.

    Args:
        path: of the record; it is removed, but for those that could not be restored.
        source: where processes are; this host's proc if None.
        dry: only look.

    Raises:
        Failure: the record cannot be read or written.
    """
    record = adjusted.load(path)
    done = Released([], [], {}, {}, {}, [])
    if not record.in_use:
        adjusted.save(path, record)
        return done
    source = source or ProcSource(make((), {}))
    origins = Origins(source, record)
    kept: dict[Identity, Entry] = {}
    settled: set[Identity] = set()
    for round_ in range(_ROUNDS):
        source.refresh()
        restored: list[Process] = []
        for process in list(source.by_pid.values()):
            pid, start = process.pid, process.starttime or 0
            if pid in source.own_pids or pid in done.refused:
                continue
            value = adjustment(source.root, pid)
            if value is None:
                continue
            original = origins.own(process, value)
            own = record.entries.get((pid, start))
            if value == original:
                if own and value != own.original and not round_ and not own.fading:
                    done.left.append((pid, process.comm or "?"))
                if not round_ and origins.is_like_ours(process, value) and origins.able(pid):
                    done.unsure.append((pid, process.comm or "?"))
                if not dry and (pid, start) not in settled:
                    settled.add((pid, start))
                    _settle(process, value, origins)
                continue
            result = _DONE if dry else _write(source.root, pid, start, {value}, original)
            if result == _DONE:
                done.restored.append((pid, process.comm or "?", value, original))
                settled.add((pid, start))
                restored.append(process)
            elif result not in (_GONE, _CHANGED):
                _refuse(done, process, result, source)
                cgroup = GETTERS["cgroup"](process, source)
                first = own.since if own else max(start, record.since)
                kept[pid, start] = Entry(pid, start, original, (value,), first, cgroup)
        if dry or not restored:
            break
    else:
        # They are born as fast as they are found: whose parents they are will be seen next time.
        for process in restored:
            _refuse(done, process, "it starts new processes all the time", source)
            start = process.starttime or 0
            old = record.entries.get((process.pid, start))
            if old is not None:
                kept[process.pid, start] = old._replace(fading=False)
    if not dry:
        unfinished = bool(kept or done.refused)
        adjusted.save(
            path,
            Record(kept.values(), record.since, record.seen, record.watched)
            if unfinished
            else Record(),
        )
    return done


def unreached(done: Released) -> Failure:
    """Name the processes that do not have their original, and say what to do about it."""
    said = []
    for pid, why in sorted(done.refused.items())[:_NAMED]:
        # A name may hold anything, and this goes to the terminal and to the journal.
        name, unit = printable(done.names[pid]), printable(done.units[pid])
        said.append(f"{pid} {name}{f' in {unit}' if unit else ''} ({why})")
    more = len(done.refused) - len(said)
    return Failure(
        f"these have not their own oom_score_adj again: {', '.join(said)}"
        + (f" and {more} more" if more else ""),
        "end those that start new ones, and run `oomrules release` again as root with "
        "CAP_SYS_RESOURCE; what they had is kept",
    )


def _settle(process: Process, value: int, origins: Origins) -> None:
    """Write the value of one that may have inherited a lower minimum than it has a right to."""
    record, start = origins.record, process.starttime or 0
    identity = (process.pid, start)
    entry = record.entries.get(identity)
    changed = entry is not None and value not in entry.values
    young = start >= max(record.since, record.seen) or identity in record.watched
    if record.since and (changed or young) and not origins.able(process.pid):
        _write(origins.root, process.pid, start, {value}, value)


def _refuse(done: Released, process: Process, why: str, source: ProcSource) -> None:
    done.refused[process.pid] = why
    done.names[process.pid] = process.comm or "?"
    done.units[process.pid] = innermost_unit(process, source) or ""


_DONE, _GONE, _CHANGED = "done", "gone", "changed"


def _write(root: str, pid: int, start: int, expected: set[int], value: int) -> str:
    """Write the value of one process if it is still that process, with the value it had.

    Returns:
        ``done``, ``gone``, ``changed``, or why the kernel refused.
    """
    try:
        directory = os.open(f"{root}/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return _GONE
    try:
        # All through one directory, which answers ESRCH once its process is gone: a new process
        # with this pid is another directory.
        stat = read("stat", directory)
        if int(stat[stat.rindex(b")") + 2 :].split(None, 20)[19]) != start:
            return _GONE
        if int(read("oom_score_adj", directory)) not in expected:
            return _CHANGED
        flags = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open("oom_score_adj", flags, dir_fd=directory)
        try:
            os.write(descriptor, b"%d\n" % value)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        return _GONE
    except (OSError, ValueError, IndexError) as error:
        return reason(error) if isinstance(error, OSError) else str(error)
    finally:
        os.close(directory)
    return _DONE
