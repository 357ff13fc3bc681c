"""The order, realised through oom_score_adj: survey the processes, apply a plan, undo it.

Whoever calls ``apply`` or ``release`` holds the lock of the state directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from oomrules.errors import Failure, reason
from oomrules.lean import NamedTuple
from oomrules.plain import printable
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process
from oomrules.processes.values import GETTERS, innermost_unit
from oomrules.program.program import make
from oomrules.ranking.ranker import Ranking
from oomrules.sinks.oom_score_adj import plan as adjustments
from oomrules.sinks.oom_score_adj import record as adjusted
from oomrules.sinks.oom_score_adj.origins import Origins, adjustment, read
from oomrules.sinks.oom_score_adj.plan import Plan
from oomrules.sinks.oom_score_adj.record import Entry, Identity, Record
from oomrules.sinks.oom_score_adj.search import Claim
from oomrules.sinks.oom_score_adj.survey import HEAD, Survey, survey_live
from oomrules.state import now

# Children are born while values are restored; each round finds those of the round before.
_ROUNDS = 20

# So many names say enough.
_NAMED = 5


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
