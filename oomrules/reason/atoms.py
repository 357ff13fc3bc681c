"""Comparisons: a variable, and the sets of its answers that make them true and false."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.reason import globs
from oomrules.reason.arithmetic import GRANULE, canonical, constant, is_text, whole_beside
from oomrules.reason.numbers import FLIPPED, SIGNS, beyond, fractions_beyond
from oomrules.reason.regexes import as_globs
from oomrules.reason.variables import (
    FALSE,
    NOTHING_BY_NOTHING,
    TRUE,
    Values,
    Variable,
    known,
    only,
)


class Atom(NamedTuple):
    """A comparison: its variable, the answers that make it true, and those that make it false."""

    variable: Variable
    yes: Values
    no: Values


def atom(node: Node) -> Atom | bool | None:
    """Read an atomic condition: one without and, or, not.

    Returns:
        the atom; or a truth value if the condition is constant, None for *unknown*.

    Raises:
        Undecided: conditions of its form are not decided.
    """
    match node[0]:
        case "attr":
            return _flag(Variable("flag", node[1]))
        case "cap":
            return _flag(Variable("cap", node[1]))
        case "unknown":
            return None
        case "glob" | "among":
            return _matched(node[1], tuple(sorted(node[2:])))
        case "search":
            return _searched(node[1], node[2])
    return _compared(node[0], node[1], node[2])


def _flag(variable: Variable) -> Atom:
    return Atom(variable, only(TRUE), only(FALSE))


def _made(variable: Variable, yes: Values) -> Atom:
    everything = known(variable)
    yes = everything & yes
    return Atom(variable, yes, everything - yes)


def _matched(subject: Node, patterns: tuple[str, ...]) -> Atom | bool:
    if subject[0] == "text":
        return nodes.among(subject[1], *patterns)
    if subject[1] == "unit":
        # A unit matches by any of its names, so two globs may match it and no single text.
        return _flag(Variable("unit", patterns))
    return _made(Variable("text", subject[1]), Values(globs.matching(patterns)))


def _searched(subject: Node, pattern: str) -> Atom | bool:
    if subject[0] == "text":
        return nodes.search(subject[1], pattern)
    patterns = as_globs(pattern)
    if patterns is None:
        return _flag(Variable("search", (subject[1], pattern)))
    return _made(Variable("text", subject[1]), Values(globs.matching(patterns)))


def _compared(operator: str, left: Node, right: Node) -> Atom | bool | None:
    if is_text(left):
        return _texts_compared(operator, left, right)
    one, two = constant(left), constant(right)
    if one and two:
        return bool(nodes.STRICT[operator](one[1], two[1]))
    if one or (left[0] == "share" and right[0] != "share"):
        operator, left, right, two = FLIPPED[operator], right, left, one
    key = canonical(left)
    if right[0] == "share":
        variable = Variable("share", key)
        yes = Values(fractions_beyond(operator, Fraction(right[1], right[2])))
        # With a limit of 0, no memory is every share of it.
        if operator in ("==", "<=", ">=") and not whole_beside(key):
            yes = replace(yes, others=frozenset([NOTHING_BY_NOTHING]))
        return _made(variable, yes)
    if two:
        bound = Fraction(two[1])
        if two[0] == "bytes":
            bound /= GRANULE
        elif key == ("attr", "run_time"):
            bound /= 1000
        return _made(Variable("number", key), Values(beyond(operator, bound)))
    other = canonical(right)
    if repr(other) < repr(key):
        operator, key, other = FLIPPED[operator], other, key
    return _made(Variable("order", (key, other)), only(*SIGNS[operator]))


def _texts_compared(operator: str, left: Node, right: Node) -> Atom | bool:
    equal = operator == "=="
    if left[0] == "text" and right[0] == "text":
        return (left[1] == right[1]) is equal
    if left[0] == "text":
        left, right = right, left
    if right[0] == "text":
        variable = Variable("text", left[1])
        yes = known(variable) & Values(globs.literal(right[1]))
    elif left == right:
        variable = Variable("text", left[1])
        yes = known(variable)
    else:
        variable = Variable("same", tuple(sorted((left[1], right[1]))))
        yes = only(TRUE)
    no = known(variable) - yes
    return Atom(variable, yes, no) if equal else Atom(variable, no, yes)
