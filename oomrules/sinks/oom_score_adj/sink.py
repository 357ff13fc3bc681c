"""The sink: the kernel's own killer follows the list, since oom_score_adj says so."""

from __future__ import annotations

from oomrules import targets
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranking
from oomrules.sinks.oom_score_adj import origins, write
from oomrules.sinks.oom_score_adj.survey import HEAD
from oomrules.sinks.oom_score_adj.write import Adjusted
from oomrules.state import ADJUSTMENTS, State


class OomScoreAdj:
    """The values of oom_score_adj of this host's processes.

    Args:
        state: where the values from before are kept.
        head: how many candidates are put in order; None: as usual.

    Attributes:
        adjusted: what the last list came to; None if no process may be killed.
    """

    name = targets.OOM_SCORE_ADJ

    def __init__(self, state: State, head: int | None = None) -> None:
        self._state, self._head = state, head or HEAD
        self.adjusted: Adjusted | None = None

    def put(self, ranking: Ranking, source: ProcSource | None) -> str:
        """Write the values that make the kernel follow a ranking, under the lock."""
        if not ranking.candidates or source is None:
            # With every process at -1000 the kernel panics when memory runs out.
            return f"no process may be killed, so no {self.name} was changed"
        path = self._state.path(ADJUSTMENTS)
        with self._state.lock():
            self.adjusted = write.adjust(ranking, source, path, self._head)
            if self.adjusted.plan.assignments:
                origins.see_originals(source, path)
        if self.adjusted.outcome.refused:
            raise write.refusal(self.adjusted)
        return write.summary(self.adjusted)

    def take_back(self) -> None:
        """Restore the values from before, under the lock."""
        with self._state.lock():
            released = write.release(self._state.path(ADJUSTMENTS))
        if released.refused:
            raise write.unreached(released)
