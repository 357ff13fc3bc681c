"""Where a list goes: the sinks, and the one way to put a list into force or to take it back.

A new sink is a class with the methods of ``Sink``, in a module of its own, and a line in
``named``. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from oomrules import state_directory, targets
from oomrules.errors import Failure, reason
from oomrules.lean import NamedTuple, Protocol
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranking
from oomrules.sinks import coverage, file, kernel_list
from oomrules.state import ADJUSTMENTS, GROUPS, LIST, LastList, State, entries


class Sink(Protocol):
    """A place for lists.

    Attributes:
        name: the target, as people write it (``oomrules.targets``).
    """

    name: str

    def put(self, ranking: Ranking, source: ProcSource | None) -> str:
        """Put a ranking there, also one without candidates.

        Args:
            source: the processes of this host, which the ranking is of; None if they are recorded.

        Returns:
            what was done, in words; empty if that need not be said.

        Raises:
            Failure: it could not be done.
        """

    def take_back(self) -> None:
        """Undo that the list is in force, if it is; a file stays.

        ``take_back_all`` names each sink that it asks: those of ``targets.IN_FORCE``.

        Raises:
            Failure: it could not be undone.
        """


def named(
    target: str, state: State | None = None, head: int | None = None, limited: bool = False
) -> Sink:
    """Return the sink of a target; ``State()`` and the usual head unless told.

    Args:
        limited: as in ``Choice``.
    """
    if target == targets.KERNEL_LIST:
        return kernel_list.KernelList(target)
    if target == targets.OOM_SCORE_ADJ:
        # Loaded only where it is the sink: it is a third of the run-time half.
        from oomrules.sinks.oom_score_adj.write import OomScoreAdj

        return OomScoreAdj(state or State(), head, limited)
    # Which processes there are is no business of other users (hidepid).
    private = state and target == state.path(LIST)
    return file.File(target, state_directory.FILE_MODE if private else 0o644)


class Choice(NamedTuple):
    """Where a list goes.

    Attributes:
        targets: the places (``oomrules.targets``).
        limited: whether oom_score_adj is among them only for the control groups with a memory
            limit. All other processes then keep their own values.
    """

    targets: tuple[str, ...] = ()
    limited: bool = False


def chosen(configured: Sequence[str] = (), before: Choice | None = None) -> Choice:
    """Return where a list goes: as configured, else where it covers all OOMs at the least cost.

    That is the kernel module; with it oom_score_adj for control groups at their limit, unless the
    module covers those on this kernel now; without it oom_score_adj alone.

    Args:
        before: the last choice. It stays if the module is there and its word cannot be had.
    """
    if configured:
        return Choice(tuple(dict.fromkeys(configured)))
    found = coverage.read()
    if found is None:
        return Choice((targets.OOM_SCORE_ADJ,))
    alone = Choice((targets.KERNEL_LIST,))
    both = Choice((targets.KERNEL_LIST, targets.OOM_SCORE_ADJ), limited=True)
    if found.unread and before in (alone, both):
        return before
    return alone if found.follows else both


def sinks_of(choice: Choice, state: State | None, head: int | None = None) -> list[Sink]:
    """Return the sinks of a choice, as ``named`` does."""
    return [named(target, state, head, choice.limited) for target in choice.targets]


class Put(NamedTuple):
    """What came of putting a list into several sinks.

    Attributes:
        done: what was done, in words.
        to: the targets that took the list.
        failures: why the others did not, or why a trace could not be left.
        one_by_one: why the kernel does not kill some units as a whole, each in a sentence.
    """

    done: list[str]
    to: list[str]
    failures: list[Failure]
    one_by_one: list[str]


def put_all(
    sinks: Sequence[Sink],
    ranking: Ranking,
    source: ProcSource | None,
    state: State | None = None,
    last: LastList | None = None,
    only: bool = False,
) -> Put:
    """Put one ranking into every sink; a failure of one does not stop the others.

    With a state directory the list leaves its traces there, whatever the sinks are: ``list``, for
    people, and ``list.json``, for the record of a kill. The command and the hook hold the lock of
    the directory from before they read the processes. The service must not wait for it, and does
    not need it: a list is replaced in one step. Only oom_score_adj takes the lock in any case. If
    another process holds it, that sink fails, and the next list puts the values in order.

    Args:
        ranking: of all processes of the source, which sees the original values of oom_score_adj.
        state: None leaves no traces.
        last: what to write to list.json besides; None leaves the file as it is.
        only: whether the list is to be in force nowhere else. Then the original values of
            oom_score_adj are restored if it is no sink.
    """
    put = Put(done=[], to=[], failures=[], one_by_one=[])
    for sink in sinks:
        with _Noting(put.failures):
            put.done.append(sink.put(ranking, source))
            put.to.append(sink.name)
    if state is None or source is None:
        return put
    with _Noting(put.failures):
        _arm_groups(put, ranking, source, state, only)
    own = named(state.path(LIST), state)
    if own.name not in put.to:
        with _Noting(put.failures):
            put.done.append(own.put(ranking, source))
    if last:
        with _Noting(put.failures):
            state.save_list(entries(ranking, source), last)
    if only and state.is_adjusted and targets.OOM_SCORE_ADJ not in [sink.name for sink in sinks]:
        with _Noting(put.failures):
            named(targets.OOM_SCORE_ADJ, state).take_back()
    return put


def _arm_groups(put: Put, ranking: Ranking, source: ProcSource, state: State, only: bool) -> None:
    """Have the kernel kill units as a whole, where the list is in force, and only there."""
    in_force = not set(targets.IN_FORCE).isdisjoint(put.to)
    if not state.is_grouped and not (in_force and ranking.groups.by_path):
        return
    # Loaded only where a rule needs it.
    from oomrules.sinks import oom_group

    with state.lock():
        if in_force:
            armed = oom_group.arm(ranking, source, state.path(GROUPS))
            put.one_by_one.extend(armed.said)
            if armed.paths:
                units = "1 unit" if len(armed.paths) == 1 else f"{len(armed.paths)} units"
                put.done.append(f"{units} to be killed as a whole")
        elif only:
            oom_group.release(state.path(GROUPS))


def take_back_all(state: State) -> list[Failure]:
    """Take the list back from everywhere, so that the kernel chooses for itself.

    Returns:
        why some of it could not be; the rest is done.
    """
    failures: list[Failure] = []
    with _Noting(failures):
        named(targets.KERNEL_LIST).take_back()
    # Without a record there is nothing to restore, and nothing to load for it.
    if state.is_grouped:
        from oomrules.sinks import oom_group

        with _Noting(failures), state.lock(wait=True):
            oom_group.release(state.path(GROUPS))
    if state.is_adjusted:
        with _Noting(failures), state.lock(wait=True):
            named(targets.OOM_SCORE_ADJ, state).take_back()
    try:
        os.unlink(state.path(LIST))
    except FileNotFoundError:
        pass
    except OSError as error:
        failures.append(Failure(f"cannot remove {state.path(LIST)}: {reason(error)}"))
    return failures


class _Noting:
    """Note a failure, so that what comes after it is done all the same.

    A new failure is noted: the traceback of the one that was raised leads to the list that it is
    put into, and the service collects no circles. ``contextlib.contextmanager`` makes one, too.
    """

    def __init__(self, failures: list[Failure]) -> None:
        self._failures = failures

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, failure: BaseException | None, traceback: object) -> bool:
        """Note a failure and go on; anything else is raised."""
        if not isinstance(failure, Failure):
            return False
        self._failures.append(Failure(failure.message, failure.hint))
        return True


def see_originals(source: ProcSource, directory: str) -> None:
    """Let rules see each oom_score_adj as the record in a state directory has it.

    Raises:
        Failure: the record cannot be read.
    """
    path = os.path.join(directory, ADJUSTMENTS)
    if os.path.exists(path):
        # Only where there is something to restore: see ``named``.
        from oomrules.sinks.oom_score_adj import origins

        origins.see_originals(source, path)


def adjusted(source: ProcSource) -> tuple[dict[int, int], frozenset[int]]:
    """Return the originals of the processes that oomrules has adjusted, and the values it wrote.

    They are those that the source goes by; a process that has ended since is not among them.
    """
    if source.original is None:
        return {}, frozenset()
    # It is loaded already.
    from oomrules.sinks.oom_score_adj import origins

    return origins.adjusted(source)
