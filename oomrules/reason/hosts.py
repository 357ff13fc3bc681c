"""Two programs on one host: which processes are ranked or protected differently."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from oomrules.processes.snapshot import Snapshot
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker, Ranking
from oomrules.ranking.tiers import TIERS
from oomrules.ranking.verdict import Verdict
from oomrules.reason import diff


class Compared(NamedTuple):
    """One host under two programs.

    Attributes:
        changes: what differs, as the keys of ``oomrules diff --format json`` say it, by rank.
        old: the ranking of the older rules.
        new: the ranking of the newer rules.
    """

    changes: list[dict[str, Any]]
    old: Ranking
    new: Ranking

    @property
    def as_data(self) -> dict[str, Any]:
        """The comparison as ``oomrules diff --format json`` has it under ``host``."""
        return {"processes": len(self.old.snapshot.by_pid), "changes": self.changes}


def compared(snapshot: Snapshot, old: Program, new: Program) -> Compared:
    """Compare two programs process by process."""
    rankings = [Ranker(program, snapshot.host).rank(snapshot) for program in (old, new)]
    ranks = [
        {process.pid: rank for rank, process in enumerate(ranking.candidates, 1)}
        for ranking in rankings
    ]
    changes = []
    for pid, process in sorted(snapshot.by_pid.items()):
        verdicts = [ranking.verdict(process) for ranking in rankings]
        what = diff.what_differs(*verdicts)
        # One that has vanished meanwhile changes nothing.
        if what and process.state not in ("X", "x"):
            sides = {
                side: {"rank": rank.get(pid), **verdict_data(verdict)}
                for side, rank, verdict in zip(("old", "new"), ranks, verdicts, strict=True)
            }
            changes.append({"what": what, "pid": pid, "comm": process.comm, **sides})
    changes.sort(key=_better_rank)
    return Compared(changes, *rankings)


def _better_rank(change: dict[str, Any]) -> int:
    ranks = [change[side]["rank"] for side in ("old", "new") if change[side]["rank"]]
    return min(ranks, default=sys.maxsize)


def verdict_data(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as the JSON of ``oomrules diff`` has it."""
    return {
        "reason": verdict.reason or None,
        "rule": verdict.rule.place if verdict.rule else None,
        "tier": TIERS[verdict.tier] if verdict.candidate else None,
        "degree": verdict.degree if verdict.candidate else None,
        "base": verdict.base,
        "weight": verdict.fraction,
        "points": verdict.points,
    }
