"""What becomes of processes, in words and as rows of a table: for every command that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from oomrules.commands.parts import doubts
from oomrules.language.diagnostics import did_you_mean
from oomrules.processes.snapshot import Process
from oomrules.processes.values import innermost_unit, known, places
from oomrules.program.program import DEFAULT_SCORE, Program
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.tiers import FIRST, LAST
from oomrules.ranking.verdict import Held, Verdict, Why
from oomrules.terminal import Column, called, count, memory, middle, rough

if TYPE_CHECKING:
    from oomrules.ranking.possible import Possible

COLUMNS = (
    Column("RANK", right=True),
    Column("PID", right=True),
    Column("USER", least=4, enough=12, turn=2, goes=1),
    Column("UNIT", least=12, enough=24, turn=1, goes=2, cut=middle),
    Column("RSS", right=True),
    Column("POINTS", right=True, least=7, enough=12, turn=5, cut=rough),
    Column("COMMAND", least=10, enough=16, turn=4),
    Column("WHY", least=20, enough=32, turn=3, goes=3),
)


class Row(NamedTuple):
    """A process as it is shown.

    Attributes:
        rank: its place in the list; 0 for one that is no candidate.
        user: a name, or a question mark.
        rss: its resident memory in bytes, None if unknown.
        why: which rules decided, or why it is no candidate.
        style: how it is painted.
    """

    rank: int
    pid: int
    user: str
    unit: str
    rss: int | None
    points: int
    command: str
    why: str
    style: str

    def texts(self) -> list[str]:
        """Return what stands in its columns."""
        return [
            str(self.rank or "-"),
            str(self.pid),
            self.user,
            self.unit,
            memory(self.rss),
            str(self.points) if self.rank else "-",
            self.command,
            self.why,
        ]

    @classmethod
    def of(cls, process: Process, ranking: Ranking, rank: int = 0) -> Row:
        """Return the row of a process; a candidate's comes with its rank."""
        snapshot, verdict = ranking.snapshot, ranking.verdict(process)
        unit = innermost_unit(process, snapshot)
        return cls(
            rank=rank,
            pid=process.pid,
            user=known("user", process, snapshot) or "?",
            unit="?" if unit is None else unit or "-",
            rss=None if process.rss is None else process.rss * snapshot.host.page_size,
            points=verdict.points,
            command=called(process.comm),
            why=why(verdict) if rank else because(verdict),
            style={FIRST: "red", LAST: "green"}.get(verdict.tier, "") if rank else "dim",
        )


def factor(held: Held) -> str:
    """Return what a rule does to the points: ``x2``, ``/4``, or the tier it puts into.

    A question mark behind it: the rule was in doubt.
    """
    above, below = held.rule.factor
    if held.rule.kind in ("first", "last"):
        text = (
            held.rule.kind if held.rule.degree == 1 else f"{held.rule.kind} by {held.rule.degree}"
        )
    else:
        text = f"x{above}" if below == 1 else f"/{below}" if above == 1 else f"x{above}/{below}"
    return text if held.surely else f"{text}?"


def within_block(targets: Sequence[str], text: str) -> str:
    """Return a statement with the blocks around it, as in a rule file."""
    return "".join(f"in {target}: " for target in targets) + text


def why(verdict: Verdict) -> str:
    """Return the rules that held: what each does to the points, in which block, to which processes.

    What was unknown comes last.
    """
    parts = []
    for held in verdict.held:
        words = held.rule.text.split(" by ")[0].split()
        whom = " ".join(words[2:] if words[0] == "kill" else words[1:])
        block = f" in {'…/' if held.targets[1:] else ''}{held.targets[-1]}" if held.targets else ""
        colon = ":" if block or held.rule.kind in ("first", "last") else ""
        parts.append(f"{factor(held)}{block}{colon} {whom}")
    text = ", ".join(parts) or "by its score alone"
    return "; ".join((text, *doubts.said(verdict)))


def measure(program: Program) -> str:
    """Return what the points of processes are measured by: the score outside of all blocks."""
    score = next(scope.score for scope in program.scopes if scope.score and not scope.targets)
    if score.text == DEFAULT_SCORE:
        return (
            "measure: address space, as in Linux 2.6.10; to measure memory in use, put "
            "`score footprint` into /etc/oomrules.d/60-score.oom"
        )
    return f"measure: {score.text} ({score.place})"


def because(verdict: Verdict) -> str:
    """Return why a process is no candidate: the reason, what was unknown, and the rule."""
    text = doubts.excluded(verdict)
    if verdict.rule:
        text += f": {within_block(verdict.targets, verdict.rule.text)} ({verdict.rule.place})"
    return text


# Why processes are no candidates, in words for a number of them.
_NOBODY = {Why.NO_POINTS: "with a score of 0 or less", Why.UNKNOWN_SCORE: "with an unknown score"}


def no_candidate(ranking: Ranking, unit: str | None = None, first: Possible | None = None) -> str:
    """Return a sentence that says why there is no candidate.

    Args:
        first: who may be one where values are unknown, if that was worked out.
    """
    if unit and not any(True for _ in ranking.excluded()):
        return f"no process is in a unit that `{unit}` matches; {_meant(unit, ranking)}"
    where = f" in `{unit}`" if unit else ""
    reasons = Counter(
        "protected by a rule" if verdict.rule else _NOBODY.get(verdict.why, verdict.reason)
        for _, verdict in ranking.excluded()
        if verdict.eligible
    )
    if not reasons:
        return f"no process{where} may be killed: there is none that the kernel would take"
    said = ", ".join(f"{count(number, 'process')} {why}" for why, number in reasons.most_common())
    if first is not None and (first.certain or first.open):
        return (
            f"in doubt, which protects, no process{where} is on the list: {said}; "
            "`oomrules rank --all` says why for each"
        )
    return f"no process{where} may be killed: {said}; `oomrules rank --all` says why for each"


def _meant(unit: str, ranking: Ranking) -> str:
    """Return a hint at the unit that was meant: its kind may be missing, or a letter."""
    units = {name for place in places(ranking.snapshot) for name in place.chain}
    longer = sorted(one for one in units if one.startswith(f"{unit}."))
    words = longer or sorted(units)
    return did_you_mean(longer[0] if longer else unit, words, "`oomrules scopes` lists the units")
