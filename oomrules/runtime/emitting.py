"""Puts a ranking into force: in the way that is configured, or that the host offers."""

from __future__ import annotations

import os
from collections.abc import Sequence

from oomrules.config import ADJUST
from oomrules.errors import Failure
from oomrules.lean import NamedTuple
from oomrules.runtime import adjusted, adjusting, sinks
from oomrules.runtime.procfs import ProcSource
from oomrules.runtime.ranking import Ranking
from oomrules.runtime.state import State


class Emitted(NamedTuple):
    """What came of it: what was done, and what failed, each in words."""

    done: list[str]
    failures: list[Failure]


def targets(configured: Sequence[str] = ()) -> tuple[str, ...]:
    """Say where a list goes: as configured, else to the module, else into oom_score_adj.

    Raises:
        Failure: nothing is configured, there is no module, and values of others cannot be set.
    """
    if configured:
        return tuple(configured)
    if os.path.exists(sinks.KERNEL_LIST):
        return (sinks.KERNEL_LIST,)
    if os.geteuid() == 0:
        return (ADJUST,)
    raise Failure(
        f"there is no {sinks.KERNEL_LIST} on this host, and only root can set the oom_score_adj "
        "of everybody",
        "load the module with `modprobe oom`, run as root, or name a file, or - for standard "
        "output, with --to",
    )


def emit(
    ranking: Ranking,
    source: ProcSource,
    state: State,
    where: Sequence[str],
    head: int | None = None,
) -> Emitted:
    """Put a ranking into force; what fails in one place is done in the others all the same.

    Args:
        ranking: of all processes of the source, which sees the originals (``see_originals``).
        state: locked by the caller.
        where: as ``targets`` has it.
        head: how many are put in order by oom_score_adj; None: as usual.
    """
    done: list[str] = []
    failures: list[Failure] = []
    for target in where:
        try:
            if target == ADJUST:
                done.append(_adjust(ranking, source, state, head or adjusting.HEAD))
            elif target == sinks.KERNEL_LIST:
                sinks.write_kernel(ranking.pids)
                done.append(f"{len(ranking.candidates)} pids written to {target}")
            else:
                sinks.write_file(target, ranking.pids)
                done.append(f"{len(ranking.candidates)} pids written to {target}")
        except Failure as failure:
            failures.append(failure)
    return Emitted(done, failures)


def _adjust(ranking: Ranking, source: ProcSource, state: State, head: int) -> str:
    if not ranking.candidates:
        # With everybody at -1000 the kernel panics when memory runs out.
        return "nobody may be killed, so no oom_score_adj was changed"
    _, _, outcome = adjusting.adjust(ranking, source, state.path(adjusted.FILE), head)
    if outcome.refused:
        pids = " ".join(map(str, sorted(outcome.refused)[:5]))
        raise Failure(
            f"the kernel refused the oom_score_adj of {len(outcome.refused)} processes ({pids} …): "
            + ", ".join(sorted(set(outcome.refused.values()))),
            "lowering takes CAP_SYS_RESOURCE on the host itself; the processes of others take root",
        )
    host = outcome.claims[0] if outcome.claims else None
    order = f", the first {host.claimed} of {host.candidates} in order" if host else ""
    return f"{outcome.written} oom_score_adj values written{order}"
