"""The sink: the kernel's own killer follows the list. Values are written, and restored.

The record of the originals is saved before the first write and after the last one, so the values
can be restored whenever the process that writes them ends. The caller of ``adjust``, ``apply`` or
``release`` holds the lock of the state directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from oomrules import targets
from oomrules.clock import now
from oomrules.errors import Failure, reason
from oomrules.files import opened, read_small
from oomrules.lean import NamedTuple
from oomrules.plain import printable, some
from oomrules.processes.proc_stat import family
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process
from oomrules.processes.values import innermost_unit, known
from oomrules.program.program import make
from oomrules.ranking.kernel_badness import Task
from oomrules.ranking.ranker import Ranking
from oomrules.sinks.oom_score_adj.origins import Origins, current_value, see_originals
from oomrules.sinks.oom_score_adj.plan import Plan, verify
from oomrules.sinks.oom_score_adj.record import Entry, Identity, Record, load, save
from oomrules.sinks.oom_score_adj.search import Claim
from oomrules.sinks.oom_score_adj.survey import HEAD, Survey, has_limits, survey_live
from oomrules.state import ADJUSTMENTS, State

# Children are born while values are restored; each round finds those of the round before.
_ROUNDS = 20


class OomScoreAdj:
    """The values of oom_score_adj of this host's processes.

    Args:
        state: where the values from before are kept.
        head: how many candidates are put in order; None: as usual.
        limited: whether the values are for the control groups with a memory limit only.

    Attributes:
        adjusted: what the last list came to; None if no process may be killed, or no control group
            has a limit that the values could be for.
    """

    name = targets.OOM_SCORE_ADJ

    def __init__(self, state: State, head: int | None = None, limited: bool = False) -> None:
        self._state, self._head, self.limited = state, head or HEAD, limited
        self.adjusted: Adjusted | None = None

    def put(self, ranking: Ranking, source: ProcSource | None) -> str:
        """Write the values that make the kernel follow a ranking, under the lock."""
        if not ranking.candidates or source is None:
            # With every process at -1000 the kernel panics when memory runs out.
            return f"no process may be killed, so no {self.name} was changed"
        path = self._state.path(ADJUSTMENTS)
        if self.limited and not has_limits(source):
            if self._state.is_adjusted:
                self.take_back()
            return ""
        with self._state.lock():
            self.adjusted = adjust(ranking, source, path, self._head, self.limited)
            if self.adjusted.plan.assignments:
                see_originals(source, path)
        if self.adjusted.outcome.refused:
            raise _refusal(self.adjusted)
        return _summary(self.adjusted)

    def take_back(self) -> None:
        """Restore the values from before, under the lock."""
        with self._state.lock():
            released = release(self._state.path(ADJUSTMENTS))
        if released.refused:
            raise unreached(released)


class Outcome(NamedTuple):
    """What came of writing.

    Attributes:
        written: how many values.
        gone: how many processes ended meanwhile.
        refused: by pid, why the kernel did not take a value.
        changed: pids whose value another process changed meanwhile; that value stays.
        claims: what is true now, from the values that were read afterwards.
    """

    written: int
    gone: int
    refused: dict[int, str]
    changed: tuple[int, ...]
    claims: tuple[Claim, ...] = ()


class Adjusted(NamedTuple):
    """A ranking that was put into force: what was there, what was planned, what came of it."""

    survey: Survey
    plan: Plan
    outcome: Outcome


def adjust(
    ranking: Ranking, source: ProcSource, path: str, head: int = HEAD, limited: bool = False
) -> Adjusted:
    """Put a ranking into force, of all processes of a source that sees the originals.

    Args:
        limited: whether only processes in control groups with a limit get other values.

    Raises:
        Failure: the record cannot be read or written; nothing has been changed then.
    """
    record = load(path)
    survey = survey_live(ranking, source, record, head, limited)
    plan = survey.plan()
    return Adjusted(survey, plan, apply(survey, plan, record, path, source.root))


def _summary(adjusted: Adjusted) -> str:
    """Return one line: what was written, and how much of the order is in force on the host."""
    plan, outcome = adjusted.plan, adjusted.outcome
    said = f"{outcome.written} oom_score_adj value{'s' if outcome.written != 1 else ''} written"
    if outcome.gone:
        said += f", {outcome.gone} not since their processes have ended"
    if outcome.changed:
        said += f", {len(outcome.changed)} left alone since another process has changed them"
    if adjusted.survey.limited:
        groups = len(outcome.claims) - 1
        said += f" for {groups} control group{'s' if groups != 1 else ''} with a limit"
    elif outcome.claims:
        host = outcome.claims[0]
        said += f", the first {host.claimed} of {host.candidates} in order"
    if plan.last:
        said += f", {len(plan.last)} protected processes of users only last: they have too many"
    return said


def _refusal(adjusted: Adjusted) -> Failure:
    """Name the processes whose value the kernel did not take, and say what to do about it."""
    refused, processes = adjusted.outcome.refused, adjusted.survey.processes
    names = [f"{printable(processes[pid].comm or '?')} ({pid})" for pid in sorted(refused)]
    return Failure(
        f"the kernel refused the oom_score_adj of {some(names)}: "
        + ", ".join(sorted(set(refused.values()))),
        "lowering takes CAP_SYS_RESOURCE on the host itself; the processes of others take root",
    )


def apply(survey: Survey, plan: Plan, record: Record, path: str, root: str = "/proc") -> Outcome:
    """Write the values of a plan; first of all the record, at ``path``, that can undo it.

    Raises:
        Failure: the record cannot be written; nothing has been changed then.
    """
    # A child that is born from here on may have the new value of its parent.
    since = int(now() * os.sysconf("SC_CLK_TCK"))
    ahead = _journal(survey, plan, record, since)
    save(path, ahead)
    pids: dict[str, list[int]] = {_DONE: [], _GONE: [], _CHANGED: []}
    refused: dict[int, str] = {}
    for task, value, _ in plan.assignments:
        result = _write(root, task.pid, task.start, task.current, value)
        if result in pids:
            pids[result].append(task.pid)
        else:
            refused[task.pid] = result
    unsettled = _settle_newcomers(survey, plan, root)
    # What is true is what the kernel says.
    read = ((task.pid, current_value(root, task.pid)) for task in survey.tasks)
    values = {pid: value for pid, value in read if value is not None}
    save(path, _settled(survey, ahead, values, since, unsettled))
    candidates, rest, protected = (
        [task for task in tasks if task.pid in values]
        for tasks in (survey.candidates, survey.rest, survey.protected)
    )
    return Outcome(
        written=len(pids[_DONE]),
        gone=len(pids[_GONE]),
        refused=refused,
        changed=tuple(pids[_CHANGED]),
        claims=verify(plan.claims, candidates, rest, protected, values, plan.last),
    )


def _settle_newcomers(survey: Survey, plan: Plan, root: str) -> set[Identity]:
    """Write the value of each newcomer, so that it cannot go below that by itself.

    The minimum that it inherited cannot be read, but follows what is written with
    CAP_SYS_RESOURCE (__set_oom_adj() in fs/proc/base.c).

    Returns:
        the newcomers for which that failed; they are newcomers again.
    """
    if not survey.lowering:
        return set()
    written = {assignment.task.pid for assignment in plan.assignments}
    return {
        task.identity
        for task in survey.newcomers
        if task.pid not in written
        and _write(root, task.pid, task.start, task.current, task.current) not in (_DONE, _GONE)
    }


def _journal(survey: Survey, plan: Plan, record: Record, since: int) -> Record:
    """Return what each process may have, whenever the writing ends."""
    entries = []
    for task in survey.tasks:
        old = record.entries.get(task.identity)
        values = {task.current, plan.values[task.pid]} - {task.original}
        if not values and old is None:
            continue
        first = since
        if old is not None and task.current in old.values:
            first = old.since
        elif task.current != task.original:
            # It inherited its value, and its own children may be older than this run.
            first = task.start
        entries.append(_entry(task, values, first, survey))
    known = {task.identity for task in survey.tasks}
    entries += [
        old._replace(fading=True) for old in record if old.identity not in known and not old.fading
    ]
    first = record.since or (since if survey.lowering else 0)
    return Record(entries, first, record.seen, record.watched)


def _entry(task: Task, values: Iterable[int], since: int, survey: Survey) -> Entry:
    return Entry(
        pid=task.pid,
        start=task.start,
        original=task.original,
        values=tuple(sorted(values)),
        since=since,
        cgroup=survey.processes[task.pid].cgroup,
    )


def _settled(
    survey: Survey,
    ahead: Record,
    values: Mapping[int, int],
    since: int,
    unsettled: Iterable[Identity],
) -> Record:
    """Return what was done, and for one more run what was undone.

    Args:
        values: those that living processes have now.
    """
    entries = []
    written = {value for entry in ahead for value in entry.values}
    for task in survey.tasks:
        entry = ahead.entries.get(task.identity)
        value = values.get(task.pid)
        if entry is None:
            # Processes that share their memory share the value: writing one writes all of them.
            if value in written and value != task.current:
                entries.append(_entry(task, {value}, since, survey))
        elif value in (None, task.original):
            if entry.values:
                entries.append(entry._replace(fading=True))
        elif value in entry.values:
            entries.append(entry._replace(values=(value,)))
    entries += [entry for entry in ahead if entry.fading]
    return Record(entries, ahead.since, survey.begun, survey.watched.union(unsettled))


class Released(NamedTuple):
    """What came of restoring.

    Attributes:
        restored: pid, name, the value that was there and the one that is there now.
        left: pids and names of those whose value another process has changed since.
        refused: by pid, why the original is not in force again.
        names: the names of the refused, by pid, with their units if they are known.
        unsure: those with a value like ours that they could have set themselves, and keep.
    """

    restored: list[tuple[int, str, int, int]]
    left: list[tuple[int, str]]
    refused: dict[int, str]
    names: dict[int, str]
    unsure: list[tuple[int, str]]


def release(path: str, source: ProcSource | None = None, dry: bool = False) -> Released:
    """Restore the original of every process, also of those that inherited a value; or only look.

    The record is removed, but for those that could not be restored.

    Raises:
        Failure: the record cannot be read or written.
    """
    record = load(path)
    released = Released(restored=[], left=[], refused={}, names={}, unsure=[])
    if not record.in_use:
        save(path, record)
        return released
    undoing = _Undoing(source or ProcSource(make((), {})), record, released, dry)
    for number in range(_ROUNDS):
        restored = undoing.look(first=not number)
        if dry or not restored:
            break
    else:
        undoing.give_up(restored)
    if not dry:
        save(path, undoing.remainder())
    return released


class _Undoing:
    """The rounds in which originals are restored."""

    def __init__(self, source: ProcSource, record: Record, released: Released, dry: bool) -> None:
        self._source, self._record, self._released, self._dry = source, record, released, dry
        self._origins = Origins(source, record)
        self._kept: dict[Identity, Entry] = {}
        self._settled: set[Identity] = set()

    def look(self, first: bool) -> list[Process]:
        """Look at every process once; return those whose value was restored."""
        self._source.refresh()
        restored = []
        for process in list(self._source.by_pid.values()):
            if process.pid in self._source.own_pids or process.pid in self._released.refused:
                continue
            current = current_value(self._source.root, process.pid)
            if current is None:
                continue
            original = self._origins.original(process, current)
            if current == original:
                self._leave(process, current, first)
            elif self._restore(process, current, original):
                restored.append(process)
        return restored

    def _leave(self, process: Process, current: int, first: bool) -> None:
        """Deal with a process that has its original; note in the first round what is odd."""
        record, pid, start = self._record, process.pid, process.starttime or 0
        entry = record.entries.get((pid, start))
        name = process.comm or "?"
        if first and entry and current != entry.original and not entry.fading:
            self._released.left.append((pid, name))
        if first and self._origins.is_like_ours(process, current) and self._origins.able(pid):
            self._released.unsure.append((pid, name))
        if self._dry or (pid, start) in self._settled:
            return
        self._settled.add((pid, start))
        # It may have inherited a lower minimum than it has a right to; see _settle_newcomers().
        changed = entry is not None and current not in entry.values
        young = start >= max(record.since, record.seen) or (pid, start) in record.watched
        if record.since and (changed or young) and not self._origins.able(pid):
            _write(self._source.root, pid, start, current, current)

    def _restore(self, process: Process, current: int, original: int) -> bool:
        """Restore the value of one process; return whether that was done."""
        pid, start = process.pid, process.starttime or 0
        result = _DONE if self._dry else _write(self._source.root, pid, start, current, original)
        if result == _DONE:
            self._released.restored.append((pid, process.comm or "?", current, original))
            self._settled.add((pid, start))
            return True
        if result not in (_GONE, _CHANGED):
            self._refuse(process, result)
            entry = self._record.entries.get((pid, start))
            self._kept[pid, start] = Entry(
                pid=pid,
                start=start,
                original=original,
                values=(current,),
                since=entry.since if entry else max(start, self._record.since),
                cgroup=known("cgroup", process, self._source),
            )
        return False

    def give_up(self, processes: Iterable[Process]) -> None:
        """Name those that were restored in the last round: new ones are born all the time.

        Their entries are kept, so that the next run knows what their children have inherited.
        """
        for process in processes:
            self._refuse(process, "it starts new processes all the time")
            entry = self._record.entries.get((process.pid, process.starttime or 0))
            if entry is not None:
                self._kept[entry.identity] = entry._replace(fading=False)

    def remainder(self) -> Record:
        """Return the record of what is not restored; an empty one if all is."""
        if not self._kept and not self._released.refused:
            return Record()
        record = self._record
        return Record(self._kept.values(), record.since, record.seen, record.watched)

    def _refuse(self, process: Process, why: str) -> None:
        self._released.refused[process.pid] = why
        name, unit = process.comm or "?", innermost_unit(process, self._source)
        self._released.names[process.pid] = f"{name} in {unit}" if unit else name


def unreached(released: Released) -> Failure:
    """Name the processes that do not have their original, and say what to do about it."""
    # A name may hold anything, and this goes to the terminal and to the journal.
    names = [
        f"{pid} {printable(released.names[pid])} ({why})"
        for pid, why in sorted(released.refused.items())
    ]
    return Failure(
        f"the original oom_score_adj is not restored of: {some(names)}",
        "end those that start new processes all the time, then run `oomrules release` again as "
        "root with CAP_SYS_RESOURCE; the record of their originals is kept",
    )


_DONE, _GONE, _CHANGED = "done", "gone", "changed"


def _write(root: str, pid: int, start: int, current: int, value: int) -> str:
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
        if family(read_small("stat", directory))[0] != start:
            return _GONE
        if int(read_small("oom_score_adj", directory)) != current:
            return _CHANGED
        flags = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
        with opened("oom_score_adj", flags, directory=directory) as descriptor:
            os.write(descriptor, b"%d\n" % value)
    except (FileNotFoundError, ProcessLookupError):
        return _GONE
    except (OSError, ValueError, IndexError) as error:
        return reason(error) if isinstance(error, OSError) else str(error)
    finally:
        os.close(directory)
    return _DONE
