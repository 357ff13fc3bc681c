"""Say why a process ranks where it does: from its base to its rank, rule by rule."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from oomrules.attributes import ATTRIBUTES, Provider, Type
from oomrules.commands.parts import doubts, guards, openness, selection, shared, wholes
from oomrules.commands.parts.verdicts import factor, within_block
from oomrules.errors import Failure
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process
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
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.tiers import named
from oomrules.ranking.verdict import Verdict
from oomrules.terminal import Paint, called, duration, memory, say, width

_MOST_ANCESTORS = 8

EXITS = {
    0: "the process is a candidate",
    1: "it is none",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``explain``."""
    parser.add_argument("pid", type=int, metavar="PID", help="the process")
    shared.add_rules(parser)
    shared.add_host(parser)


def run(options: argparse.Namespace) -> int:
    """Print the steps from base to rank; 1 if the process is no candidate."""
    ranked = selection.ranked(options)
    process = ranked.source.by_pid.get(options.pid)
    if process is None:
        where = f"in {options.snapshot}" if options.snapshot else "on this host"
        raise Failure(
            f"there is no process {options.pid} {where}", "`oomrules rank --all` lists them"
        )
    ranking = ranked.ranking
    selection.show_names([process], ranking.snapshot)
    verdict = ranking.verdict(process)
    paint = Paint(sys.stdout)
    print(paint(_title(process, ranking), "bold"))
    _print_values(process, ranking)
    source = ranked.source
    if isinstance(source, ProcSource) and (thread := source.threads.stand_in(process.pid)):
        print(f"  its first thread has ended; memory and state are those of thread {thread}")
    if not verdict.candidate:
        print()
        say(f"no candidate: {doubts.excluded(verdict)}")
        if verdict.rule:
            through = _through(verdict.rule, process, ranking)
            say(f"  {within_block(verdict.targets, verdict.rule.text)}{through}")
            say(f"  at {verdict.rule.place}")
    # A process that no rule decides about has no points.
    if verdict.eligible:
        _print_points(verdict, process, ranking)
        _print_doubts(verdict, process, ranking)
    lines = wholes.explained(process, ranking)
    if lines:
        print()
        for line in lines:
            say(line)
    _print_openness(process, verdict, ranking, bool(options.snapshot))
    shared.print_notes(ranked.notes())
    if not verdict.candidate:
        return 1
    rank = ranking.candidates.index(process) + 1
    print()
    print(paint(f"rank {rank} of {len(ranking.candidates)}", "bold"))
    taking = list(guards.explained(process, ranking))
    if taking:
        print("\nguards that may take it, before memory has run out:")
        for line in taking:
            say(f"  {line}")
    return 0


def _print_openness(process: Process, verdict: Verdict, ranking: Ranking, recorded: bool) -> None:
    """Print whether a process may be the first victim, where something is unknown."""
    verdicts = [verdict]
    if recorded:
        verdicts += [ranking.verdict(one) for one in ranking.snapshot.by_pid.values()]
    if not openness.in_doubt(verdicts):
        return
    first = openness.found(ranking, verdicts)
    print()
    for line in openness.of_process(first, process.pid):
        say(line)
    if first.open:
        say(openness.sentence(first))


def _title(process: Process, ranking: Ranking) -> str:
    user = known("user", process, ranking.snapshot)
    unit = innermost_unit(process, ranking.snapshot)
    return (
        f"{process.pid} {called(process.comm)}, user {user or '?'}, "
        f"{'unit unknown' if unit is None else f'unit {unit}' if unit else 'in no unit'}"
    )


def _print_values(process: Process, ranking: Ranking) -> None:
    """Print the attributes that the rules ask for, with their values."""
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
        say(f"  {called_} = {text}")
    if any(map(_asks_for_ancestors, program.nodes)):
        line = [f"{one.pid} {called(one.comm)}" for one in above(process, snapshot)]
        more = f", … ({len(line)} in all)" if line[_MOST_ANCESTORS:] else ""
        say(f"  ancestors: {', '.join(line[:_MOST_ANCESTORS]) or 'none'}{more}")


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


def _print_points(verdict: Verdict, process: Process, ranking: Ranking) -> None:
    print(f"\n{'without that rule it would be:' if verdict.rule else 'points:'}")
    if verdict.base is None:
        print("  the score is unknown, because a value that it needs could not be read")
        return
    rows = []
    if verdict.score:
        text = within_block(verdict.score_targets, verdict.score.text)
        rows.append(("", str(verdict.base), text, verdict.score.place))
    if verdict.by_memory:
        print("  the process made its score unknown, so it counts by its resident memory, in pages")
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
        say(f"  {effect:>{left}}  {after:>{points}}  {text}{room}  {place}")
    print(
        f"  base {verdict.base} x weight {verdict.fraction} = {verdict.points} points, "
        f"tier {named(verdict.tier, verdict.degree)}"
    )


def _print_doubts(verdict: Verdict, process: Process, ranking: Ranking) -> None:
    names = doubts.of(verdict)
    if names:
        print("\nin doubt, because")
        for name in names:
            cause = doubts.cause(name, process, ranking.snapshot)
            say(f"  {doubts.unknown([name])}{f': {cause}' if cause else ''}")
    if verdict.own_doubts:
        print("\nits own doing, which protects no process:")
        say(f"  {', '.join(verdict.own_doubts)}")
