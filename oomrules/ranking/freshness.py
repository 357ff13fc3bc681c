"""A ranking whose head is true at the moment it is handed over."""

from __future__ import annotations

from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Keep, Ranker, Ranking

# The head of the list that is read once more before it is handed to the kernel, and how
# often the ranking is made anew when that shows a change.
HEAD = 64
_TRIES = 3


def fresh(ranker: Ranker, source: ProcSource, keep: Keep | None = None) -> Ranking:
    """Rank, read the head of the list once more, and rank again if that shows a change."""
    ranking = ranker.rank(source, keep)
    for _ in range(_TRIES):
        if source.verify(ranking.candidates[:HEAD]):
            break
        ranking = ranker.rank(source, keep)
    return ranking
