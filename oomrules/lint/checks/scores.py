"""Scores that tell no processes apart, give no points, or count different things."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import inf
from typing import Any

from oomrules.attributes import ATTRIBUTES, Provider, Type
from oomrules.language import syntax
from oomrules.language.checker import Stated, only
from oomrules.language.diagnostics import Diagnostic, Related
from oomrules.lint.meaning import Meaning
from oomrules.lint.ruleset import Check, RuleSet
from oomrules.processes.values import LIMIT
from oomrules.program import nodes
from oomrules.program.nodes import Node, attributes
from oomrules.ranking.verdict import Why
from oomrules.reason import arithmetic, variables
from oomrules.reason.arithmetic import GRANULE
from oomrules.reason.effects import inside
from oomrules.reason.numbers import whole
from oomrules.reason.regions import Region
from oomrules.reason.variables import UNKNOWN, Box, Values, attribute
from oomrules.reason.witness import proposals
from oomrules.reason.witness.numbers import ORDINARY
from oomrules.reason.witness.witness import MEMORY, Witness, in_words


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
            help_ = "score by memory, as in `score rss + swap + pgtables`"
        yield CONSTANT.at(score.source, score.statement.expression.span, message, help_)


def _constant(node: Node) -> int | str | None:
    """Return the value of a score that does not depend on the process.

    Returns:
        the value with pages of 4 KiB, or any above 0 for figures of the host; ``unknown`` for a
        division by zero, or None if the score depends on the process.
    """
    if any(part[0] == "/" and arithmetic.bounds(part[2]) == (0, 0) for part in nodes.walk(node)):
        return UNKNOWN
    names = attributes(node)
    if names and all(ATTRIBUTES[name].provider is Provider.HOST for name in names):
        return 1
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
    asked = {attribute(arithmetic.bound_name(name, score.scope)) for name in attributes(score.node)}
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


# --- a score of 0 for a process that holds memory -------------------------------------------

# The memory that the processes hold that a score is tried with, in bytes.
_HELD = (2**31, 2**29, 2**26)
_SECOND, _HOUR, _MONTH = 1000, 3_600_000, 30 * 86_400_000
# Values that processes with much memory have; nothing here is extreme.
_TRIED: dict[str, tuple[int, ...]] = {
    "run_time": (_HOUR, 20 * _SECOND, 0, _MONTH),
    "cpu_time": (_SECOND, 0, _HOUR, _MONTH),
    "nice": (0, 19, -20, 5),
    "threads": (1, 200),
    "oom_score_adj": (0, -900, 1000),
    "unit.oom_score_adjust": (0, -900, 1000),
    "unit.pressure": (0, 5_000),
    "uid": (1000, 0),
    "gid": (1000, 0),
    "pid_depth": (0, 1),
    # Beside a process that grows there are those that have their memory already.
    "growth": (0, 2**20, -(2**20)),
}
# Memory that is charged elsewhere than to the process, and not less than what it holds.
_AROUND = ("memory", "footprint")
_FEW_TRIED = (0, 1, 100)
_MOST_TRIED = 2000


def _holders(held: int) -> Iterator[dict[str, int]]:
    """Yield processes that hold an amount of memory, in pages: resident, shared, swapped out."""
    pages, little = held // GRANULE, 64
    alike = {"total_vm": pages + 2 * little, "pgtables": pages // 512, "locked": 0}
    resident = {"rss": pages, "anon": pages - little, "shmem": 0, "swap": 0}
    yield {**alike, **resident}
    yield {**alike, **resident, "anon": little, "shmem": pages - little}
    yield {**alike, "rss": little, "anon": little, "shmem": 0, "swap": pages - little}


def _tried(node: Node) -> Iterator[dict[str, int]]:
    """Yield numbers for the attributes of a score, as processes that hold memory have them."""
    asked = sorted(attributes(node))
    for held in _HELD:
        for holder in _holders(held):
            footprint = holder["rss"] + holder["swap"] + holder["pgtables"]
            pools = [_choices(name, {**holder, "footprint": footprint}) for name in asked]
            for values in itertools.product(*pools):
                numbers = {**holder, **dict(zip(asked, values, strict=True))}
                # It cannot have worked for longer than it has lived.
                if numbers.get("cpu_time", 0) <= max(numbers.get("run_time", _MONTH), _SECOND):
                    yield numbers


def _choices(name: str, holder: dict[str, int]) -> tuple[int, ...]:
    if name in holder:
        return (holder[name],)
    if name in _TRIED:
        return _TRIED[name]
    if ATTRIBUTES[name].provider is Provider.HOST:
        return (ORDINARY.get(name, 0),)
    if ATTRIBUTES[name].type is Type.MEMORY and name.rpartition(".")[2] in _AROUND:
        return (holder["footprint"],)
    return tuple(dict.fromkeys((ORDINARY.get(name, 0), *_FEW_TRIED)))


def _without_points(node: Node) -> Iterator[dict[str, int]]:
    """Yield the numbers of processes for which a score is 0 or less, or unknown."""
    local = nodes.localise(node, GRANULE, LIMIT)
    for numbers in itertools.islice(_tried(node), _MOST_TRIED):
        # The names that are no attributes stand for limits and for what the host has, in bytes.
        points: Any = nodes.reduce(
            local,
            lambda name, of=numbers: of.get(name, MEMORY),  # type: ignore[misc]
            lambda _: None,
        )
        if points is None or points <= 0:
            yield numbers


def _can_be_nothing(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for score in rules.checked.scores.values():
        # OOM521 and OOM621 are about scores that give no process any points.
        if _constant(score.node) is not None or arithmetic.bounds(score.node)[1] <= 0:
            continue
        found = next(_confirmed_without_points(meaning, score), None)
        if found is None:
            continue
        box, witness, why = found
        process = witness.process
        held = in_words(((process.rss or 0) + (process.swap or 0)) * GRANULE)
        how = "no points by" if why is Why.NO_POINTS else "a division by 0 in"
        yield NOTHING.at(
            score.source,
            score.statement.expression.span,
            f"a process that holds {held} can have {how} this score, so that it is never killed: "
            f"{_as_it_is(score, witness)}",
            _at_least(score) if why is Why.NO_POINTS else _divide_by_more(score),
            witness={**_shown(score, box, witness), "verdict": why.value},
        )


def _confirmed_without_points(
    meaning: Meaning, score: Stated[syntax.Score]
) -> Iterator[tuple[Box, Witness, Why]]:
    """Yield processes that the evaluator finds without points by a score, with their boxes."""
    for numbers in itertools.islice(_without_points(score.node), 4):
        box: Box = inside(score.scope, False)
        # The footprint is the sum of three, which a witness is made of.
        for name in sorted({*attributes(score.node), "rss", "swap", "pgtables"} - {"footprint"}):
            value = numbers[name] // 1000 if name == "run_time" else numbers[name]
            box[attribute(arithmetic.bound_name(name, score.scope))] = Values(whole(value, value))
        for witness in itertools.islice(proposals.proposals(box), 4):
            verdict = witness.judge(meaning.judge)
            own = verdict.score is not None and verdict.score.place == score.place
            if own and verdict.why in (Why.NO_POINTS, Why.UNKNOWN_SCORE):
                yield box, witness, verdict.why


def _shown(score: Stated[syntax.Score], box: Box, witness: Witness) -> dict[str, Any]:
    """Return what a score asks for of a witness, and what it holds."""
    about = witness.about([box, *_box(score)])
    return {name: value for name, value in about.items() if name != "pgtables"}


def _as_it_is(score: Stated[syntax.Score], witness: Witness) -> str:
    """Return the values of a witness that a score asks for, in words."""
    names = attributes(score.node)
    about = witness.about(_box(score))
    return ", ".join(f"`{name}` is {about[name]}" for name in about if name in names)


def _at_least(score: Stated[syntax.Score]) -> str:
    """Return what to write so that a score is never 0."""
    least = "1MiB" if arithmetic.is_memory(score.node) else "1s" if _is_time(score.node) else "1"
    said = " ".join(score.source.quote(score.statement.expression.span).split())
    return (
        f"write `score max({least}, {said})`, so that it is killed last and not never; "
        "or score by memory, as in `score footprint`"
    )


def _is_time(node: Node) -> bool:
    match node[0]:
        case "attr":
            return ATTRIBUTES[node[1]].type is Type.DURATION
        case "+" | "-" | "*" | "max" | "min" | "negative":
            return any(map(_is_time, node[1:]))
        case "/":
            return _is_time(node[1]) and not _is_time(node[2])
    return False


def _divide_by_more(score: Stated[syntax.Score]) -> str:
    divisors = [
        node.right
        for node in syntax.expressions(score.statement.expression)
        if isinstance(node, syntax.Arithmetic) and node.operator == "/" and _varies(node.right)
    ]
    if len(divisors) != 1:
        return "divide by what is never 0: write `max(1, …)` around each divisor that can be"
    said = score.source.quote(divisors[0].span)
    return f"divide by what is never 0, as in `/ max(1, {said})`"


def _varies(expression: syntax.Expression) -> bool:
    return any(isinstance(node, syntax.Name) for node in syntax.expressions(expression))


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
NOTHING = Check(
    "OOM623", "a score of 0 for a process that holds memory", _can_be_nothing, whole=True
)
CHECKS = (CONSTANT, POINTLESS, MIXED, NOTHING)
