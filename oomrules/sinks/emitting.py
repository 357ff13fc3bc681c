"""Puts a ranking into force: in the way that is configured, or that the host offers."""

from __future__ import annotations

import os
from collections.abc import Sequence

from oomrules import kept
from oomrules.errors import Failure
from oomrules.lean import NamedTuple
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranking
from oomrules.sinks import kernel_list
from oomrules.state import State

# The target that is no file.
ADJUST = "oom_score_adj"


class Emitted(NamedTuple):
    """What came of it.

    Attributes:
        done: what was done, in words.
        to: the targets that took the list.
        failures: those that did not, and why.
    """

    done: list[str]
    to: list[str]
    failures: list[Failure]


def targets(configured: Sequence[str] = ()) -> tuple[str, ...]:
    """Say where a list goes: as configured, else to the module, else into oom_score_adj."""
    if configured:
        return tuple(configured)
    return (kernel_list.KERNEL_LIST,) if os.path.exists(kernel_list.KERNEL_LIST) else (ADJUST,)


def emit(
    ranking: Ranking,
    source: ProcSource,
    state: State,
    where: Sequence[str],
    head: int | None = None,
) -> Emitted:
    """Put a ranking into force; what fails in one place is done in the others all the same.

    Whatever the targets are, people find the list in the state directory.

    Args:
        ranking: of all processes of the source, which sees the originals (``see_originals``).
        state: locked by the caller if oom_score_adj is among the targets.
        where: as ``targets`` has it.
        head: how many are put in order by oom_score_adj; None: as usual.
    """
    emitted = Emitted([], [], [])
    pids = ranking.pids
    own = state.path("list")
    for target in dict.fromkeys((*where, own)):
        try:
            if target == ADJUST:
                emitted.done.append(_adjust(ranking, source, state, head))
            else:
                if target == kernel_list.KERNEL_LIST:
                    kernel_list.write_kernel(pids)
                elif target == own:
                    # Whose processes there are is nobody else's business (hidepid).
                    kernel_list.replace(
                        target, kernel_list.format_pids(pids).encode(), kept.FILE_MODE
                    )
                else:
                    kernel_list.write_file(target, pids)
                emitted.done.append(f"{len(pids)} pids written to {target}")
            emitted.to.append(target)
        except Failure as failure:
            emitted.failures.append(failure)
    return emitted


def _adjust(ranking: Ranking, source: ProcSource, state: State, head: int | None) -> str:
    # Loaded where it is needed only: it is a third of the run-time half.
    from oomrules.sinks.oom_score_adj import origins, record, survey, write

    if not ranking.candidates:
        # With everybody at -1000 the kernel panics when memory runs out.
        return f"nobody may be killed, so no {ADJUST} was changed"
    path = state.path(record.FILE)
    _, plan, outcome = write.adjust(ranking, source, path, head or survey.HEAD)
    if plan.assignments:
        origins.see_originals(source, path)
    if outcome.refused:
        pids = " ".join(map(str, sorted(outcome.refused)[:5]))
        raise Failure(
            f"the kernel refused the {ADJUST} of {len(outcome.refused)} processes ({pids} …): "
            + ", ".join(sorted(set(outcome.refused.values()))),
            "lowering takes CAP_SYS_RESOURCE on the host itself, and the processes of others root",
        )
    host = outcome.claims[0] if outcome.claims else None
    order = f", the first {host.claimed} of {host.candidates} in order" if host else ""
    if plan.last:
        order += f", {len(plan.last)} protected processes of users only last: they have too many"
    return f"{outcome.written} {ADJUST} values written{order}"


def is_adjusted(state: State) -> bool:
    """Whether there are values of oom_score_adj to give back."""
    return os.path.exists(state.path("adjustments.json"))


def see_originals(source: ProcSource, state: State) -> None:
    """Let rules see each oom_score_adj as it was before it was adjusted.

    Raises:
        Failure: the record cannot be read.
    """
    from oomrules.sinks.oom_score_adj import origins, record

    origins.see_originals(source, state.path(record.FILE))


def release(state: State) -> None:
    """Give every process its own oom_score_adj back; the caller holds the lock.

    Raises:
        Failure: the record cannot be read, or the kernel refused a value.
    """
    from oomrules.sinks.oom_score_adj import record, write

    done = write.release(state.path(record.FILE))
    if done.refused:
        raise write.unreached(done)
