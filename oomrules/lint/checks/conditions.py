"""Conditions that hold for every process, or for none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language import syntax
from oomrules.language.checker import Stated
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.language.text import Span
from oomrules.lint.meaning import Meaning
from oomrules.lint.ruleset import Check, RuleSet
from oomrules.program import nodes
from oomrules.program.nodes import Node, attributes
from oomrules.reason.effects import eligible
from oomrules.reason.numbers import Numbers
from oomrules.reason.regions import Region
from oomrules.reason.variables import Variable, known

# The attributes that ``eligible`` asks for.
_FITNESS = {name for variable in eligible() for name in variable.attributes}


class _Part(NamedTuple):
    """A part of a statement that is a condition of its own."""

    span: Span
    node: Node
    parts: tuple[_Part, ...]
    connected: str = ""
    alone: bool = False  # one text pattern, which OOM501 to OOM503 judge

    def quoted(self, stated: Stated[syntax.Statement]) -> str:
        return f"`{stated.source.quote(self.span)}`"


def _of_expression(expression: syntax.Expression, node: Node) -> _Part:
    match expression:
        case syntax.And(operands=operands):
            return _Part(expression.span, node, _operands(operands, node), "and")
        case syntax.Or(operands=operands):
            return _Part(expression.span, node, _operands(operands, node), "or")
        case syntax.Not(operand=operand):
            return _Part(expression.span, node, (_of_expression(operand, node[1]),), "not")
    return _Part(expression.span, node, (), alone=_alone(node))


def _operands(operands: tuple[syntax.Expression, ...], node: Node) -> tuple[_Part, ...]:
    return tuple(map(_of_expression, operands, node[1:]))


def _alone(node: Node) -> bool:
    """Return whether other checks judge a condition: a pattern, or the name of a definition."""
    if node[0] in ("glob", "among", "search", "name"):
        return True
    return node[0] in ("==", "!=") and "text" in (node[1][0], node[2][0])


def _of_selector(selector: syntax.Selector, node: Node) -> _Part:
    said = (*selector.terms, *selector.clauses)
    # A single term or clause is the node itself; ``Typing.selector`` joins several by `and`.
    nodes = [node] if len(said) == 1 else node[1:]
    parts = []
    for one, own in zip(said, nodes, strict=True):
        match one:
            case syntax.When(condition=condition):
                parts.append(_of_expression(condition, own))
            case syntax.With() | syntax.Under():
                parts.append(_Part(one.span, own, ()))
            case _:
                parts.append(_of_expression(one, own))
    return _Part(selector.span, node, tuple(parts), "and")


def _constants(meaning: Meaning, part: _Part) -> list[tuple[_Part, bool]]:
    """Return the smallest parts that always hold (True) or never hold (False).

    A part that contains one of these is not reported as well.
    """
    below = [found for inner in part.parts for found in _constants(meaning, inner)]
    if below or part.connected == "not":
        return below
    # If an `or` never holds or an `and` always does, so do its parts, which are looked at above.
    if not (part.parts and part.connected == "or") and _is_constant(meaning, part.node, True):
        return [(part, False)]
    if not (part.parts and part.connected == "and") and _is_constant(meaning, part.node, False):
        return [(part, True)]
    return []


def _parts(rules: RuleSet) -> Iterator[tuple[Stated[syntax.Statement], _Part]]:
    for stated in rules.checked.sound:
        match stated.statement:
            case syntax.Rule(selector=selector):
                yield stated, _of_selector(selector, stated.node)
            case syntax.Define(condition=condition):
                yield stated, _of_expression(condition, stated.node)


def _found(rules: RuleSet, always: bool) -> Iterator[tuple[Stated[syntax.Statement], _Part]]:
    meaning = rules.meaning

    def look() -> list[tuple[Stated[syntax.Statement], _Part, list[tuple[_Part, bool]]]]:
        return [(*one, _constants(meaning, one[1])) for one in _parts(rules)]

    for stated, part, constants in meaning.once("constants", look):
        for one, how in constants:
            # A pattern that stands alone has findings of its own, and `anything` is on purpose.
            plain = isinstance(stated.statement, syntax.Rule) and one is part and not part.parts
            if how is always and not one.alone and not plain:
                yield stated, one


def _never(rules: RuleSet) -> Iterator[Diagnostic]:
    for stated, part in _found(rules, always=False):
        why = _why(rules.meaning, stated, part, never=True)
        message = f"{part.quoted(stated)} holds for no process: {why}"
        yield NEVER.at(stated.source, part.span, message, "say what is meant, or remove it")


def _always(rules: RuleSet) -> Iterator[Diagnostic]:
    for stated, part in _found(rules, always=True):
        why = _why(rules.meaning, stated, part, never=False)
        message = f"{part.quoted(stated)} holds for every process: {why}"
        yield ALWAYS.at(stated.source, part.span, message, "leave it out, or say what is meant")


# The most pairs of parts to compare for a message that names two that exclude each other.
_MOST_PAIRS = 500


def _why(meaning: Meaning, stated: Stated[syntax.Statement], part: _Part, never: bool) -> str:
    """Return why there is no witness, for a message."""
    if len(part.parts) > 1:
        pairs = itertools.combinations(part.parts, 2)
        for one, two in itertools.islice(pairs, _MOST_PAIRS):
            node: Node = ["and" if never else "or", one.node, two.node]
            if _is_constant(meaning, node, never):
                quoted = f"{one.quoted(stated)} and {two.quoted(stated)}"
                return f"{quoted} exclude each other" if never else f"one of {quoted} holds"
        return "its parts exclude each other" if never else "one of its parts holds"
    asked = nodes.needed([part.node], meaning.program.definitions).values()
    # Capabilities are flags, which have no range.
    names = sorted(set().union(*map(attributes, [part.node, *asked])) - {"capabilities"})
    if len(names) == 1 and ATTRIBUTES[names[0]].type is not Type.TEXT:
        numbers = known(Variable("number", ("attr", names[0]))).known
        if isinstance(numbers, Numbers) and ATTRIBUTES[names[0]].type is not Type.BOOLEAN:
            low, high = numbers.spans[0]
            values = f"{low} or more" if high == inf else f"from {low} to {high}"
            return f"`{names[0]}` is {values}"
    return "no process can be so" if never else "no process can be otherwise"


def _is_constant(meaning: Meaning, node: Node, never: bool) -> bool:
    reasoner = meaning.reasoner
    region = reasoner.holds if never else reasoner.fails
    return meaning.decide(lambda: reasoner.empty(region(node)))


def _not_candidates(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for rule in meaning.rules:
        if _only_others(meaning, rule.effect.sure):
            yield NO_CANDIDATES.at(
                rule.stated.source,
                rule.stated.statement.selector.span,
                "this is about processes that are never candidates: pid 1, zombies and exiting "
                "ones, and those without memory of their own",
                "remove it; whatever the rules say, these are never killed",
            )


def _only_others(meaning: Meaning, region: Region | None) -> bool:
    """Return whether a region has processes, but none that can be a candidate."""
    if not region or not any(one.attributes & _FITNESS for box in region for one in box):
        return False
    empty = meaning.reasoner.empty
    return meaning.decide(lambda: empty(meaning.candidates_only(region)) and not empty(region))


NEVER = Check("OOM601", "a condition that never holds", _never, whole=True)
ALWAYS = Check("OOM602", "a condition that always holds", _always, whole=True)
NO_CANDIDATES = Check(
    "OOM603",
    "a rule about processes that are never candidates",
    _not_candidates,
    Level.INFO,
    whole=True,
)
CHECKS = (NEVER, ALWAYS, NO_CANDIDATES)
