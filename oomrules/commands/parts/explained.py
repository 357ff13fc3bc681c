"""Why a process ranks where it does, in lines: for ``explain``, and for ``picture``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from oomrules.attributes import ATTRIBUTES, Provider, Type
from oomrules.commands.parts import doubts, guards, openness, wholes
from oomrules.commands.parts.verdicts import factor, within_block
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.values import (
    GETTERS,
    Getter,
    innermost_place,
    innermost_unit,
    known,
    of_block,
)
from oomrules.program.nodes import RELATIVES, SELF_MADE, Node, walk
from oomrules.program.program import Rule
from oomrules.ranking import blocks
from oomrules.ranking.ancestors import above
from oomrules.ranking.groups import Together
from oomrules.ranking.possible import Possible
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.tiers import named
from oomrules.ranking.verdict import Verdict
from oomrules.terminal import called, duration, memory, width

_MOST_ANCESTORS = 8


class Common(NamedTuple):
    """What is the same for all processes of a ranking, for those who explain many."""

    together: Mapping[str, Together]
    inside: Mapping[str, Mapping[int, int]]
    ranks: Mapping[int, int]

    @classmethod
    def of(cls, ranking: Ranking) -> Common:
        """Work it out."""
        wholes_ = ranking.together() if ranking.groups.by_path else {}
        ranks = {pid: rank for rank, pid in enumerate(ranking.pids, 1)}
        return cls(wholes_, guards.inside(ranking), ranks)


def steps(
    process: Process,
    verdict: Verdict,
    ranking: Ranking,
    first: Possible | None,
    common: Common | None = None,
) -> Iterator[str]:
    """Yield the steps from the values of a process to its points, or why it is no candidate.

    Args:
        process: the one that is asked about.
        verdict: what the rules say of it.
        ranking: where it stands.
        first: which process may be the first victim, if something was unknown where it decided.
        common: what is known already.
    """
    yield from _values(process, ranking)
    source: Snapshot = ranking.snapshot
    if isinstance(source, ProcSource) and (thread := source.threads.stand_in(process.pid)):
        yield f"  its first thread has ended; memory and state are those of thread {thread}"
    if not verdict.candidate:
        yield ""
        yield f"no candidate: {doubts.excluded(verdict)}"
        if verdict.rule:
            through = _through(verdict.rule, process, ranking)
            yield f"  {within_block(verdict.targets, verdict.rule.text)}{through}"
            yield f"  at {verdict.rule.place}"
    # A process that no rule decides about has no points.
    if verdict.eligible:
        yield from _points(verdict, process, ranking)
        yield from _doubts(verdict, process, ranking)
    lines = wholes.explained(process, ranking, common and common.together)
    if lines:
        yield ""
        yield from lines
    if first is not None:
        yield ""
        yield from openness.of_process(first, process.pid)
        if first.open:
            yield openness.sentence(first)


def first(verdicts: Sequence[Verdict], ranking: Ranking) -> Possible | None:
    """Return which process may be the first victim, where something is unknown.

    Args:
        verdicts: of all processes of a recording; of this host those of the processes that are
            explained.
        ranking: of all processes.
    """
    return openness.found(ranking, verdicts) if openness.in_doubt(verdicts) else None


def rank(process: Process, ranking: Ranking, common: Common | None = None) -> str:
    """Return the place of a candidate in the list."""
    return f"rank {_rank(process, ranking, common)} of {len(ranking.candidates)}"


def _rank(process: Process, ranking: Ranking, common: Common | None) -> int:
    if common is not None:
        return common.ranks[process.pid]
    return ranking.candidates.index(process) + 1


def taking(process: Process, ranking: Ranking, common: Common | None = None) -> Iterator[str]:
    """Yield which guards may take a candidate; nothing if none may."""
    number = _rank(process, ranking, common)
    found = list(guards.explained(process, ranking, number, common and common.inside))
    if found:
        yield ""
        yield "guards that may take it, before memory has run out:"
        yield from (f"  {line}" for line in found)


def title(process: Process, ranking: Ranking) -> str:
    """Return which process it is: pid, name, user and unit."""
    user = known("user", process, ranking.snapshot)
    unit = innermost_unit(process, ranking.snapshot)
    return (
        f"{process.pid} {called(process.comm)}, user {user or '?'}, "
        f"{'unit unknown' if unit is None else f'unit {unit}' if unit else 'in no unit'}"
    )


def _values(process: Process, ranking: Ranking) -> Iterator[str]:
    """Yield the attributes that the rules ask for, with their values."""
    snapshot, program = ranking.snapshot, ranking.evaluator.program
    page_size = snapshot.host.page_size
    asked = [(name, name, GETTERS[name]) for name in sorted(program.attributes)]
    outer = [one for one in asked if ATTRIBUTES[one[0]].provider is Provider.BLOCK]
    asked = [one for one in asked if one not in outer]
    asked += _of_blocks([name for name, _, _ in outer], process, ranking)
    for name, called_, get in asked:
        value = get(process, snapshot)
        kind = ATTRIBUTES[name].type
        if value is None:
            text = "unknown, so in doubt it protects the process"
        elif value is SELF_MADE:
            text = "unknown by its own doing, which protects no process"
        elif kind is Type.MEMORY:
            text = f"{value} pages ({memory(value * page_size)})"
        elif kind is Type.DURATION:
            text = duration(value)
        elif kind is Type.PERCENTAGE:
            text = f"{value / 100:.2f}%"
        elif kind is Type.CAPABILITIES:
            text = f"{value:016x}"
        elif kind is Type.TEXT:
            text = f'"{value}"'
        elif kind is Type.BOOLEAN:
            text = "yes" if value else "no"
        else:
            text = str(value)
        yield f"  {called_} = {text}"
    if any(map(_asks_for_ancestors, program.nodes)):
        line = [f"{one.pid} {called(one.comm)}" for one in above(process, snapshot)]
        more = f", … ({len(line)} in all)" if line[_MOST_ANCESTORS:] else ""
        yield f"  ancestors: {', '.join(line[:_MOST_ANCESTORS]) or 'none'}{more}"


def _asks_for_ancestors(node: Node) -> bool:
    return any(
        part[0] in RELATIVES
        or (part[0] == "attr" and ATTRIBUTES[part[1]].provider is Provider.PARENT)
        for part in walk(node)
    )


def _through(rule: Rule, process: Process, ranking: Ranking) -> str:
    """Return by which ancestors a rule is about a process, in brackets; empty if by none."""
    words = {"child": "child of", "under": "under"}
    found = [
        f"{words[one.kind]} {one.ancestor.pid} {called(one.ancestor.comm)}"
        for one in ranking.evaluator.through(rule, process, ranking.snapshot)
    ]
    return f" ({', '.join(found)})" if found else ""


def _of_blocks(
    names: Sequence[str], process: Process, ranking: Ranking
) -> Iterator[tuple[str, str, Getter]]:
    """Yield ``scope.*`` for each unit around a process that a block is about."""
    place = innermost_place(process, ranking.snapshot)
    targets = {scope.targets[-1] for scope in ranking.evaluator.program.scopes if scope.targets}
    levels = {blocks.level(target, process, ranking.snapshot) for target in targets}
    for level in sorted(level for level in levels if place and level is not None):
        unit = place.chain[level] if place else ""
        for name in names:
            yield name, f"{name} of {unit}", of_block(name, level)


def _points(verdict: Verdict, process: Process, ranking: Ranking) -> Iterator[str]:
    yield ""
    yield "without that rule it would be:" if verdict.rule else "points:"
    if verdict.base is None:
        yield "  the score is unknown, because a value that it needs could not be read"
        return
    rows = []
    if verdict.score:
        text = within_block(verdict.score_targets, verdict.score.text)
        rows.append(("", str(verdict.base), text, verdict.score.place))
    if verdict.by_memory:
        yield "  the process made its score unknown, so it counts by its resident memory, in pages"
    above, below = 1, 1
    for held in verdict.held:
        above, below = above * held.rule.factor[0], below * held.rule.factor[1]
        after = "" if held.rule.kind in ("first", "last") else str(verdict.base * above // below)
        doubt = "" if held.surely else " (in doubt)"
        effect = factor(held) + (":" if held.rule.kind in ("first", "last") else "")
        text = within_block(held.targets, held.rule.text)
        doubt += _through(held.rule, process, ranking)
        rows.append((effect, after, text + doubt, held.rule.place))
    left, points, longest = (max(width(row[i]) for row in rows) for i in range(3))
    for effect, after, text, place in rows:
        room = " " * (longest - width(text))
        yield f"  {effect:>{left}}  {after:>{points}}  {text}{room}  {place}"
    yield (
        f"  base {verdict.base} x weight {verdict.fraction} = {verdict.points} points, "
        f"tier {named(verdict.tier, verdict.degree)}"
    )


def _doubts(verdict: Verdict, process: Process, ranking: Ranking) -> Iterator[str]:
    names = doubts.of(verdict)
    if names:
        yield ""
        yield "in doubt, because"
        for name in names:
            cause = doubts.cause(name, process, ranking.snapshot)
            yield f"  {doubts.unknown([name])}{f': {cause}' if cause else ''}"
    if verdict.own_doubts:
        yield ""
        yield "its own doing, which protects no process:"
        yield f"  {', '.join(verdict.own_doubts)}"
