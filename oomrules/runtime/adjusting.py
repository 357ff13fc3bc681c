"""The order, realised through oom_score_adj: survey the processes, apply a plan, undo it.

Whoever calls ``apply`` or ``release`` holds the lock of the state directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from oomrules.errors import reason
from oomrules.lean import Any, NamedTuple
from oomrules.runtime import adjusted, adjustments
from oomrules.runtime.adjusted import Entry, Record, Relative
from oomrules.runtime.adjustment_search import Claim
from oomrules.runtime.adjustments import Plan
from oomrules.runtime.evaluator import ineligible
from oomrules.runtime.killer import UNKILLABLE, Domain, Task
from oomrules.runtime.model import NO_LIMIT, UNREAD, Process, Snapshot
from oomrules.runtime.procfs import ProcSource
from oomrules.runtime.program import make
from oomrules.runtime.ranking import Ranking
from oomrules.runtime.state import now
from oomrules.runtime.values import GETTERS

# How many of the candidates are put in order: of the host, and of each group with a limit.
HEAD = 20
GROUP_HEAD = 5

_CAP_SYS_RESOURCE = 24

# Children are born while values are restored; each round finds those of the round before.
_ROUNDS = 20

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
    """

    candidates: list[Task]
    rest: list[Task]
    protected: list[Task]
    domains: list[Domain]
    processes: dict[int, Process]
    page_size: int
    unreadable: int

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
    find = _finder(source)

    def original(process: Process, value: int) -> int:
        entry = record.source(process.pid, process.starttime or 0, value, find)
        return value if entry is None else entry.original

    source.original = original if record else None
    if record:
        # What has been read already is the value of now.
        for process in source.by_pid.values():
            value = process.oom_score_adj
            if value is not None and value is not UNREAD:
                process.oom_score_adj = original(process, value)
                process.reconsider()
    return record


def _finder(source: ProcSource) -> adjusted.Find:
    def find(pid: int) -> Relative | None:
        process = source.by_pid.get(pid)
        if process is None:
            return None
        try:
            stat = _read(f"{source.root}/{pid}/stat")
            fields = stat[stat.rindex(b")") + 2 :].split(None, 20)
            return Relative(
                pid, int(fields[19]), int(fields[1]), GETTERS["cgroup"](process, source)
            )
        except (OSError, ValueError, IndexError):
            return None

    return find


# --- the survey ----------------------------------------------------------------------------


def survey_live(ranking: Ranking, source: ProcSource, record: Record, head: int = HEAD) -> Survey:
    """Look at every process of this host, as it is now.

    Args:
        ranking: of all processes of the source.
        record: what has been adjusted so far.
        head: how many candidates of the host are to be in order.
    """
    find = _finder(source)
    lowering = may_lower(source.root)
    root = os.geteuid() == 0

    def current(process: Process) -> int | None:
        return _adjustment(source.root, process.pid)

    def original(process: Process, value: int) -> int:
        entry = record.source(process.pid, process.starttime or 0, value, find)
        return value if entry is None else entry.original

    def bounds(process: Process, own: int) -> tuple[int, int]:
        if lowering:
            return UNKILLABLE, 1000
        if not root and not os.access(f"{source.root}/{process.pid}/oom_score_adj", os.W_OK):
            return own, own
        return own, 1000

    def size(process: Process) -> int:
        # Both are in the same file, which has to be as fresh as the rest.
        swap, tables = source.read(process, "swap"), source.read(process, "pgtables")
        return _size(process, swap, tables, source)

    with_swap = _swappiness(source.root) > 0
    return _survey(ranking, head, current, original, bounds, size, with_swap)


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
        cgroup = GETTERS["cgroup"](process, snapshot)
        if cgroup not in places:
            places[cgroup] = _places(cgroup, snapshot, domains, with_swap)
        own = original(process, value)
        processes[process.pid] = process
        start = process.starttime or 0
        return Task(
            *(process.pid, start, size(process), own, value, places[cgroup]),
            *bounds(process, own),
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
    return Survey(candidates, rest, protected, domains, processes, host.page_size, unreadable)


def _places(
    cgroup: str, snapshot: Snapshot, domains: list[Domain], with_swap: bool
) -> tuple[int, ...]:
    """Find the domains of a control group; new ones are added to the list."""
    host = snapshot.host
    found = [0]
    path = cgroup.rstrip("/")
    while True:
        scope = snapshot.scope(path or "/")
        limit = None if scope is None else scope.get("memory_max")
        # With a limit beyond what there is, the host runs out first.
        if scope is not None and limit is not None and limit < min(NO_LIMIT, host.mem_total):
            name = path or "/"
            known = [number for number, domain in enumerate(domains) if domain.name == name]
            if not known:
                swap = scope.get("swap_max")
                swap = host.swap_total if swap is None else min(swap, host.swap_total)
                total = (limit + (swap if with_swap else 0)) // host.page_size
                domains.append(Domain(name, max(1, total), GROUP_HEAD))
                known = [len(domains) - 1]
            found += known
        if not path:
            return tuple(sorted(found))
        path = path.rpartition("/")[0]


def may_lower(root: str = "/proc") -> bool:
    """Tell whether values may be lowered (__set_oom_adj() in fs/proc/base.c asks capable()).

    That means CAP_SYS_RESOURCE in the first user namespace; a container's root has another.
    """
    try:
        status = _read(f"{root}/self/status")
        capabilities = int(status.split(b"\nCapEff:", 1)[1].split(b"\n", 1)[0], 16)
        mapped = _read(f"{root}/self/uid_map").split()
    except (OSError, ValueError, IndexError):
        return False
    return bool(capabilities >> _CAP_SYS_RESOURCE & 1) and mapped == [b"0", b"0", b"4294967295"]


def _swappiness(root: str) -> int:
    """Without it the kernel leaves swap out of a group's totalpages (mem_cgroup_get_max())."""
    try:
        return int(_read(f"{root}/sys/vm/swappiness"))
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
    # What is true is what the kernel says.
    values = dict(plan.values)
    alive: set[int] = set()
    for task in tasks:
        value = _adjustment(root, task.pid)
        if value is not None:
            values[task.pid] = value
            alive.add(task.pid)
    adjusted.save(path, _settled(survey, ahead, values, alive, since))
    claims = adjustments.verify(
        plan.claims,
        [task for task in survey.candidates if task.pid in alive],
        [task for task in survey.rest if task.pid in alive],
        [task for task in survey.protected if task.pid in alive],
        values,
    )
    return Outcome(written, gone, refused, tuple(changed), claims)


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
    return Record(entries)


def _settled(
    survey: Survey, ahead: Record, values: Mapping[int, int], alive: set[int], since: int
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
    return Record(entries)


def _identity(entry: Entry) -> tuple[int, int]:
    return entry.pid, entry.start


class Released(NamedTuple):
    """What came of undoing; each a list of pids with names.

    Attributes:
        restored: pid, name, the value that was there and the one that is there now.
        left: those whose value somebody else has changed since.
        refused: by pid, why the kernel did not take the original.
    """

    restored: list[tuple[int, str, int, int]]
    left: list[tuple[int, str]]
    refused: dict[int, str]


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
    done = Released([], [], {})
    if not record:
        adjusted.save(path, record)
        return done
    source = source or ProcSource(make((), {}))
    find = _finder(source)
    kept: list[Entry] = []
    for round_ in range(_ROUNDS):
        source.refresh()
        again = False
        for process in list(source.by_pid.values()):
            pid, start = process.pid, process.starttime or 0
            if pid in source.own_pids or pid in done.refused:
                continue
            value = _adjustment(source.root, pid)
            if value is None:
                continue
            entry = record.source(pid, start, value, find)
            name = process.comm or "?"
            if entry is None:
                own = record.entries.get((pid, start))
                if own is not None and value != own.original and not round_ and not own.fading:
                    done.left.append((pid, name))
                continue
            original = entry.original
            result = _DONE if dry else _write(source.root, pid, start, {value}, original)
            if result == _DONE:
                done.restored.append((pid, name, value, original))
                again = not dry
            elif result not in (_GONE, _CHANGED):
                done.refused[pid] = result
                cgroup = GETTERS["cgroup"](process, source)
                kept.append(Entry(pid, start, original, (value,), entry.since, cgroup))
        if not again:
            break
    if not dry:
        adjusted.save(path, Record(kept))
    return done


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
        stat = _read("stat", directory)
        if int(stat[stat.rindex(b")") + 2 :].split(None, 20)[19]) != start:
            return _GONE
        if int(_read("oom_score_adj", directory)) not in expected:
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


def _adjustment(root: str, pid: int) -> int | None:
    try:
        return int(_read(f"{root}/{pid}/oom_score_adj"))
    except (OSError, ValueError):
        return None


def _read(path: str, directory: int | None = None) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
