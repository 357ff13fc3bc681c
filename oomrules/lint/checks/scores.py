"""Scores that tell no processes apart, never give points, or count different things."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language import syntax
from oomrules.language.checker import Stated, only
from oomrules.language.diagnostics import Diagnostic, Related
from oomrules.lint.meaning import Meaning
from oomrules.lint.ruleset import Check, RuleSet
from oomrules.processes.values import LIMIT
from oomrules.program import nodes
from oomrules.program.nodes import Node, attributes
from oomrules.reason import arithmetic, variables
from oomrules.reason.arithmetic import GRANULE
from oomrules.reason.effects import inside
from oomrules.reason.regions import Region
from oomrules.reason.variables import UNKNOWN, Box, attribute
from oomrules.reason.witness import proposals
from oomrules.reason.witness.witness import Witness


def _constant_scores(rules: RuleSet) -> Iterator[Diagnostic]:
    for score in only(rules.checked.sound, syntax.Score):
        value = _constant(score.node)
        if value is None:
            continue
        if isinstance(value, int) and value > 0:
            message = "this score is the same for every process, so only weights tell them apart"
            help_ = "score by something that grows with badness, as in `score rss`"
        else:
            what = "is unknown, by a division by 0," if value == UNKNOWN else "gives no points"
            message = f"this score {what} whatever the process, so no process can be killed"
            help_ = "say `never kill anything` if that is meant, else score by memory"
        yield CONSTANT.at(score.source, score.statement.expression.span, message, help_)


def _constant(node: Node) -> int | str | None:
    """Return the value of a score that does not depend on the process.

    Returns:
        the value with pages of 4 KiB, ``unknown`` for a division by zero, or None if the
        score depends on the process.
    """
    if any(part[0] == "/" and arithmetic.bounds(part[2]) == (0, 0) for part in nodes.walk(node)):
        return UNKNOWN
    local = nodes.localise(node, GRANULE, LIMIT)
    value: Any = nodes.reduce(local, lambda name: nodes.PENDING, lambda name: None)
    if not isinstance(value, list):
        return UNKNOWN if value is None else int(value)
    # A factor of 0 makes the attributes in a product irrelevant.
    low, high = arithmetic.bounds(node)
    product = any(part[0] == "*" for part in nodes.walk(node))
    return int(low) if product and low == high else None


def _pointless(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for score in rules.checked.scores.values():
        if _constant(score.node) is not None:
            continue  # OOM521
        _, most = arithmetic.bounds(score.node)
        unit = "bytes" if arithmetic.is_memory(score.node) else "number"
        has_points: Node = [">", score.node, [unit, 0]]
        if most > 0 and not meaning.decide(
            lambda node=has_points: meaning.reasoner.empty(meaning.reasoner.holds(node))  # type: ignore[misc]
        ):
            continue
        found = _scored(meaning, inside(score.scope, False), score)
        if found is None or found[1] > 0:
            continue
        ranges = ", ".join(_range(name) for name in sorted(attributes(score.node)))
        yield POINTLESS.at(
            score.source,
            score.statement.expression.span,
            "this score is 0 or less for every process, so no process can be killed"
            + (f": {ranges}" if ranges else ""),
            "score by something that grows with badness, as in `score rss`",
            witness={**found[0].about(_box(score)), "points": found[1]},
        )


def _box(score: Stated[syntax.Score]) -> Region:
    """Return a region that asks for the attributes of a score."""
    asked = {attribute(name) for name in attributes(score.node)}
    return [{**inside(score.scope, False), **{one: variables.domain(one) for one in asked}}]


def _range(name: str) -> str:
    low, high = arithmetic.bounds(["attr", name])
    return f"`{name}` is {low} or more" if high == inf else f"`{name}` is {low} to {high}"


def _scored(meaning: Meaning, box: Box, score: Stated[syntax.Score]) -> tuple[Witness, int] | None:
    """Return an ordinary process and its points by one of the scores; None if none was found."""
    for witness in proposals.proposals(box):
        verdict = witness.judge(meaning.judge)
        if verdict.base is not None and verdict.score and verdict.score.place == score.place:
            return witness, verdict.base
    return None


def _dimension(node: Node) -> str:
    """Return what a score counts: memory, time or something else; empty if constant or unclear."""
    kinds = {ATTRIBUTES[name].type for name in attributes(node)}
    if not kinds:
        return ""
    if arithmetic.is_memory(node):
        return "memory"
    # A plain number that was made from memory may be meant as a measure of memory.
    if Type.MEMORY in kinds:
        return ""
    return "time" if kinds == {Type.DURATION} else "something else than memory"


def _mixed(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    in_force = rules.checked.scores
    default = next(scope.score for scope in meaning.program.scopes if not scope.targets)
    assert default is not None
    everywhere = in_force.get(())
    usual = _dimension(default.value)
    for targets, score in in_force.items():
        own = _dimension(score.node)
        if not targets or not own or not usual or own == usual:
            continue
        witness = _both_scored(meaning, score)
        if witness is None or witness["points here"] < 1:
            continue
        place = everywhere.place if everywhere else "the built-in score"
        yield MIXED.at(
            score.source,
            score.statement.expression.span,
            f"this score counts {own}, and the one that holds everywhere else counts {usual} "
            f"({place}); their points are compared all the same",
            "count the same everywhere, and say what differs with `prefer` and `spare`",
            related=(Related(everywhere.source, everywhere.statement.span, "the other score"),)
            if everywhere
            else (),
            witness=witness,
        )


def _both_scored(meaning: Meaning, score: Stated[syntax.Score]) -> dict[str, Any] | None:
    """Return a process inside the block, with its points and those of one outside."""
    here = _scored(meaning, inside(score.scope, False), score)
    if here is None:
        return None
    for witness in proposals.proposals({}):
        verdict = witness.judge(meaning.judge)
        if verdict.base is not None and verdict.score and verdict.score.place != score.place:
            return {
                **here[0].about(_box(score)),
                "points here": here[1],
                "points elsewhere": verdict.base,
            }
    return None


CONSTANT = Check("OOM521", "a score that is the same for every process", _constant_scores)
POINTLESS = Check("OOM621", "a score that never gives points", _pointless, whole=True)
MIXED = Check("OOM622", "scores that count different things", _mixed, whole=True)
CHECKS = (CONSTANT, POINTLESS, MIXED)
