"""Conditions that hold for every process, or for none; or that do so by the host's figures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Any, NamedTuple

from oomrules.attributes import ATTRIBUTES, Provider, Type
from oomrules.language import syntax
from oomrules.language.checker import Stated, only
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.language.text import Span
from oomrules.lint.meaning import Meaning
from oomrules.lint.ruleset import Check, RuleSet
from oomrules.program import nodes, program
from oomrules.program.nodes import Node, attributes
from oomrules.reason.effects import eligible
from oomrules.reason.numbers import Numbers
from oomrules.reason.regions import Region
from oomrules.reason.variables import Variable, known

# The attributes that ``eligible`` asks for.
_FITNESS = {name for variable in eligible() for name in variable.attributes}


class Part(NamedTuple):
    """A part of a statement that is a condition of its own."""

    span: Span
    node: Node
    parts: tuple[Part, ...]
    connected: str = ""
    alone: bool = False  # one text pattern, which OOM501 to OOM503 judge

    def quoted(self, stated: Stated[Any]) -> str:
        """Return its text, for a message."""
        return f"`{stated.source.quote(self.span)}`"


def of_expression(expression: syntax.Expression, node: Node) -> Part:
    """Return a condition with the conditions that it is made of."""
    match expression:
        case syntax.And(operands=operands):
            return Part(expression.span, node, _operands(operands, node), "and")
        case syntax.Or(operands=operands):
            return Part(expression.span, node, _operands(operands, node), "or")
        case syntax.Not(operand=operand):
            return Part(expression.span, node, (of_expression(operand, node[1]),), "not")
    return Part(expression.span, node, (), alone=_alone(node))


def _operands(operands: tuple[syntax.Expression, ...], node: Node) -> tuple[Part, ...]:
    return tuple(map(of_expression, operands, node[1:]))


def _alone(node: Node) -> bool:
    """Return whether other checks judge a condition: a pattern, or the name of a definition."""
    if node[0] in ("glob", "among", "search", "name"):
        return True
    return node[0] in ("==", "!=") and "text" in (node[1][0], node[2][0])


def _of_selector(selector: syntax.Selector, node: Node) -> Part:
    said = (*selector.terms, *selector.clauses)
    # A single term or clause is the node itself; ``Typing.selector`` joins several by `and`.
    nodes = [node] if len(said) == 1 else node[1:]
    parts = []
    for one, own in zip(said, nodes, strict=True):
        match one:
            case syntax.When(condition=condition):
                parts.append(of_expression(condition, own))
            case syntax.With() | syntax.Under():
                parts.append(Part(one.span, own, ()))
            case _:
                parts.append(of_expression(one, own))
    return Part(selector.span, node, tuple(parts), "and")


def constants(part: Part, is_constant: Callable[[Node, bool], bool]) -> list[tuple[Part, bool]]:
    """Return the smallest parts that always hold (True) or never hold (False).

    A part that contains one of these is not reported as well.

    Args:
        is_constant: returns whether a condition never holds (True) or always does (False).
    """
    below = [found for inner in part.parts for found in constants(inner, is_constant)]
    if below or part.connected == "not":
        return below
    # If an `or` never holds or an `and` always does, so do its parts, which are looked at above.
    if not (part.parts and part.connected == "or") and is_constant(part.node, True):
        return [(part, False)]
    if not (part.parts and part.connected == "and") and is_constant(part.node, False):
        return [(part, True)]
    return []


def _parts(rules: RuleSet) -> Iterator[tuple[Stated[syntax.Statement], Part]]:
    for stated in rules.checked.sound:
        match stated.statement:
            case syntax.Rule(selector=selector):
                yield stated, _of_selector(selector, stated.node)
            case syntax.Define(condition=condition):
                yield stated, of_expression(condition, stated.node)


def _found(rules: RuleSet, always: bool) -> Iterator[tuple[Stated[syntax.Statement], Part]]:
    meaning = rules.meaning

    def look() -> list[tuple[Stated[syntax.Statement], Part, list[tuple[Part, bool]]]]:
        is_constant = partial(_is_constant, meaning)
        return [(*one, constants(one[1], is_constant)) for one in _parts(rules)]

    for stated, part, found in meaning.once("constants", look):
        for one, how in found:
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


def _why(meaning: Meaning, stated: Stated[syntax.Statement], part: Part, never: bool) -> str:
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


# --- conditions about the host in rules about everybody ---------------------------------------

_PLACES = (syntax.Kind.FIRST, syntax.Kind.LAST, syntax.Kind.PREFER, syntax.Kind.SPARE)


def _moments(rules: RuleSet) -> Iterator[Diagnostic]:
    """Yield findings about rules that are about every process or none, by the figures of the host.

    In a block they tell the processes inside from the others. `never kill` and `only kill` say
    whether a process may be killed at all, so that is not only a matter of places.
    """
    definitions = rules.checked.definitions
    for stated in only(rules.checked.sound, syntax.Rule):
        rule = stated.statement
        if stated.scope or rule.kind not in _PLACES:
            continue
        asked = attributes(stated.node).union(
            *map(attributes, nodes.needed([stated.node], definitions).values())
        )
        if not asked or any(ATTRIBUTES[name].provider is not Provider.HOST for name in asked):
            continue
        yield MOMENT.at(
            stated.source,
            rule.selector.span,
            "this asks for the host alone, so the rule is about every process or about none: it "
            "does not say which one comes first, and it kills nothing before memory has run out",
            _guard_instead(stated, asked),
        )


def _guard_instead(stated: Stated[syntax.Rule], asked: set[str]) -> str:
    kind, clauses = stated.statement.kind, stated.statement.selector.clauses
    if len(clauses) != 1 or not isinstance(clauses[0], syntax.When):
        return f"say which processes are meant, as in `{kind.value} uid 1000`"
    condition = stated.source.quote(clauses[0].condition.span)
    if kind is syntax.Kind.FIRST and asked <= program.GUARDED_HOST:
        return f"to kill the first process while this holds, write a guard: `kill when {condition}`"
    return f"say which processes are meant, as in `{kind.value} uid 1000 when {condition}`"


MOMENT = Check("OOM537", "a rule about every process that asks for the host alone", _moments)
NEVER = Check("OOM601", "a condition that never holds", _never, whole=True)
ALWAYS = Check("OOM602", "a condition that always holds", _always, whole=True)
NO_CANDIDATES = Check(
    "OOM603",
    "a rule about processes that are never candidates",
    _not_candidates,
    Level.INFO,
    whole=True,
)
CHECKS = (MOMENT, NEVER, ALWAYS, NO_CANDIDATES)
