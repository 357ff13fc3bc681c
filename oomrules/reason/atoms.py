"""What conditions ask, as variables with domains, and comparisons as sets of their values.

A variable is one question that has one answer for a process: an attribute, a sum of
attributes that is compared with constants, whether a capability is there, whether a
target's unit is around. *Unknown* is an answer of its own, so that three-valued logic
becomes plain sets: an uncertain ``never`` holds for the values that satisfy it and for the
unknown one.

Memory is counted in granules of 4096 bytes, which every page is made of; ``run_time`` in
whole seconds, as it is read. So what is decided holds for every page size.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import inf, isqrt
from typing import Any, NamedTuple

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.fields import FIELDS
from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.program.program import PART_OF, USER_UNIT, WANTED_BY
from oomrules.reason import globs as texts
from oomrules.reason.globs import Texts
from oomrules.reason.numbers import (
    ALL_FRACTIONS,
    FLIPPED,
    Numbers,
    beyond,
    fractions_beyond,
    whole,
)

# re's own parser is the only way to know what an expression says.
from re import _constants as sre  # isort: skip
from re import _parser as sre_parser  # isort: skip

GRANULE = 4096
# Constants that are whole pages whatever the page size, up to 256 KiB (arm64, ppc64).
_ANY_PAGE = 2**18

UNKNOWN = "unknown"
TRUE, FALSE = "true", "false"
IN, OUT, DOUBT = "in", "out", "doubt"
NOTHING_BY_NOTHING = "0/0"


class Variable(NamedTuple):
    """A question, of one of these kinds.

    ``number``, ``share`` (of the memory limit): the canonical node; ``order``: two of them;
    ``text``, ``flag``: the attribute; ``cap``: the bit; ``unit``: globs on the names of
    the innermost unit; ``search``: attribute and expression; ``same``: two texts;
    ``in``: the target of a block.
    """

    kind: str
    key: Any


@dataclass(frozen=True, slots=True)
class Values:
    """Answers: numbers or texts, and others that have names."""

    known: Numbers | Texts | None
    others: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.others) or bool(self.known)

    def __and__(self, other: Values) -> Values:
        return Values(_both("&", self.known, other.known), self.others & other.others)

    def __or__(self, other: Values) -> Values:
        return Values(_both("|", self.known, other.known), self.others | other.others)

    def __sub__(self, other: Values) -> Values:
        return Values(_both("-", self.known, other.known), self.others - other.others)

    @property
    def must_be_known(self) -> bool:
        """Whether unknown is not among them."""
        return not self.others & {UNKNOWN, DOUBT}

    @property
    def must_be_unknown(self) -> bool:
        """Whether nothing but unknown is among them."""
        return self.others in ({UNKNOWN}, {DOUBT}) and not self.known


def _both(operation: str, one: Any, two: Any) -> Any:
    if one is None or two is None:
        return one if operation != "&" and one is not None else two if operation == "|" else None
    if operation == "&":
        return one & two
    return one | two if operation == "|" else one - two


def only(*others: str) -> Values:
    """Give named answers."""
    return Values(None, frozenset(others))


def attribute(name: str) -> Variable:
    """Return the variable that asks for the value of an attribute."""
    kind = ATTRIBUTES[name].type
    if kind in (Type.TEXT, Type.BOOLEAN):
        return Variable("text" if kind is Type.TEXT else "flag", name)
    return Variable("number", ("attr", name))


class Atom(NamedTuple):
    """A comparison: of a variable, for which answers it is true, and for which false."""

    variable: Variable
    yes: Values
    no: Values


_DOMAINS: dict[str, Numbers] = {
    **{
        field.name: whole(field.least, field.most)
        for field in FIELDS.values()
        if field.most is not None
    },
    "unit.oom_score_adjust": whole(-1000, 1000),
    "unit.pressure": whole(0, 10_000),
}
_STATES = ("R", "S", "D", "Z", "T", "t", "W", "X", "x", "K", "P", "I")
_COMM_LENGTH = 15  # TASK_COMM_LEN without the final zero, include/linux/sched.h
_ALWAYS_KNOWN = ("pid",)
UNIT_SUFFIXES = (".slice", ".scope", ".service", ".socket", ".mount", ".swap")
# What a unit around a process can be called.
UNIT_NAMES = texts.matching(tuple("*" + suffix for suffix in UNIT_SUFFIXES))
_OF_TEXT: dict[str, Texts] = {
    "comm": texts.everything(_COMM_LENGTH),
    "state": texts.literal(*_STATES),
    "unit": UNIT_NAMES | texts.literal(""),
    "slice": texts.matching(("*.slice",)),
    "user.unit": UNIT_NAMES | texts.literal(""),
    "user.slice": texts.matching(("*.slice",)) | texts.literal(""),
}
# The units of the system below which users' managers keep theirs.
MANAGERS = texts.matching(("user@*.service",))


@lru_cache(maxsize=8192)
def domain(variable: Variable) -> Values:
    """Give all answers that a question can have."""
    kind, key = variable
    unknown = frozenset([UNKNOWN])
    if kind == "number":
        plain = key[0] == "attr" and key[1] in _ALWAYS_KNOWN
        return Values(_bounds(key), frozenset() if plain else unknown)
    if kind == "share":
        low, _ = _span(key)
        least = Numbers((((Fraction(0), 0), (inf, 0)),)) if low >= 0 else ALL_FRACTIONS
        return Values(least, unknown | {NOTHING_BY_NOTHING})
    if kind == "order":
        return only("=", UNKNOWN) if key[0] == key[1] else only("<", "=", ">", UNKNOWN)
    if kind == "text":
        return Values(_OF_TEXT.get(key, texts.everything()), unknown)
    if kind == "in":
        return only(IN, OUT, DOUBT)
    return only(TRUE, FALSE, UNKNOWN)


@lru_cache(maxsize=8192)
def known(variable: Variable) -> Values:
    """Give all answers but *unknown*."""
    found = domain(variable)
    return replace(found, others=found.others - {UNKNOWN, DOUBT})


# --- expressions -----------------------------------------------------------------------------


def canonical(node: Node) -> tuple[Any, ...]:
    """Write a node so that sums and products of the same things are equal."""
    if node[0] in ("+", "*"):
        parts: list[tuple[Any, ...]] = []
        for part in map(canonical, node[1:]):
            # Only sums and products of whole terms are flat; a floor between is kept.
            parts += part[1:] if part[0] == node[0] else [part]
        return (node[0], *sorted(parts, key=repr))
    return tuple(canonical(part) if isinstance(part, list) else part for part in node)


def is_memory(node: Any) -> bool:
    """Tell whether an expression counts memory."""
    match node[0]:
        case "attr":
            return ATTRIBUTES[node[1]].type is Type.MEMORY
        case "bytes" | "share":
            return True
        case "+" | "*":
            return any(map(is_memory, node[1:]))
        case "-" | "negative":
            return is_memory(node[1])
        case "/":
            return is_memory(node[1]) and not is_memory(node[2])
    return False


def _bounds(node: Any) -> Numbers:
    return whole(*_span(node))


def _span(node: Any) -> tuple[float, float]:
    """Give the least and the greatest value that an expression can have, or wider."""
    match node[0]:
        case "number":
            return node[1], node[1]
        case "bytes":
            # Rounded down to pages, which may be large.
            return (node[1] - node[1] % _ANY_PAGE) // GRANULE, node[1] // GRANULE
        case "share":
            return 0, inf
        case "attr":
            span = _DOMAINS.get(node[1], whole(0)).spans[0]
            return span[0], span[1]
        case "negative":
            low, high = _span(node[1])
            return -high, -low
        case "root":
            low, high = _span(node[1])
            return _root(low), _root(high)
        case "+":
            spans = [_span(part) for part in node[1:]]
            return sum(span[0] for span in spans), sum(span[1] for span in spans)
        case "-":
            (a, b), (c, d) = _span(node[1]), _span(node[2])
            return a - d, b - c
        case "*":
            low, high = _span(node[1])
            for part in node[2:]:
                c, d = _span(part)
                edges = [_times(x, y) for x in (low, high) for y in (c, d)]
                low, high = min(edges), max(edges)
            return low, high
    (a, b), (c, d) = _span(node[1]), _span(node[2])
    if a < 0 or c < 0:
        return -inf, inf
    # Zero is no divisor: then the whole is unknown. Floors of pages depend on their size.
    same = is_memory(node[1]) == is_memory(node[2])
    most = b if b == inf or (same and is_memory(node[1])) else b // max(c, 1)
    if same and is_memory(node[1]):
        most = inf if b else 0
    least = 0 if is_memory(node[1]) or a == inf else (0 if d == inf else a // max(d, 1))
    return least, most


def _root(value: float) -> float:
    if value in (inf, -inf):
        return inf if value > 0 else 1
    return max(1, isqrt(int(value))) if value > 0 else 1


def _times(x: float, y: float) -> float:
    return 0 if x == 0 or y == 0 else x * y


def bounds(node: Node) -> tuple[float, float]:
    """Give the least and the greatest value of an expression, perhaps infinite."""
    return _span(canonical(node))


def amount(node: Node) -> tuple[str, int] | None:
    """Work out an expression without attributes: ``number`` or ``bytes``, and how many.

    None where it is no constant, is unknown, or depends on the page size.
    """
    if node[0] in ("number", "bytes"):
        return node[0], node[1]
    if node[0] not in ("negative", "root", "+", "-", "*", "/"):
        return None
    found = [amount(part) for part in node[1:]]
    operands = [one for one in found if one is not None]
    if len(operands) < len(found):
        return None
    kinds, numbers = [kind for kind, _ in operands], [number for _, number in operands]
    if any(kind == "bytes" and number % _ANY_PAGE for kind, number in operands):
        return None
    result = nodes.STRICT[node[0]](*numbers)
    if result is None:
        return None
    if node[0] == "/" and kinds[0] == "bytes" == kinds[1]:
        return "number", result
    kind = "bytes" if "bytes" in kinds else "number"
    if kind == "bytes" and node[0] == "/" and numbers[0] % (numbers[1] * _ANY_PAGE or 1):
        return None
    return kind, result


# --- comparisons -----------------------------------------------------------------------------


def atom(node: Node) -> Atom | bool | None:
    """Read a comparison that is no connection of others.

    Returns:
        the atom; or a truth value where none is needed, None for *unknown*.

    Raises:
        Undecided: it is of a form that is not decided.
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
    return _made(Variable("text", subject[1]), Values(texts.matching(patterns)))


def _searched(subject: Node, pattern: str) -> Atom | bool:
    if subject[0] == "text":
        return nodes.search(subject[1], pattern)
    globs = _as_globs(pattern)
    if globs is None:
        return _flag(Variable("search", (subject[1], pattern)))
    return _made(Variable("text", subject[1]), Values(texts.matching(globs)))


@lru_cache(maxsize=1024)
def _as_globs(pattern: str) -> tuple[str, ...] | None:
    """Write an expression of plain characters and anchors as globs; None for all others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        parsed = sre_parser.parse(pattern)
    if parsed.state.flags & ~re.UNICODE:
        return None
    branches = _spelled(list(parsed))
    if branches is None:
        return None
    found: list[str] = []
    for branch in branches:
        start, ends = "*", ["*"]
        if branch and branch[0] in ((sre.AT, sre.AT_BEGINNING), (sre.AT, sre.AT_BEGINNING_STRING)):
            start, branch = "", branch[1:]
        if branch and branch[-1] == (sre.AT, sre.AT_END):
            # It matches before a last line end, too.
            ends, branch = ["", "\n"], branch[:-1]
        elif branch and branch[-1] == (sre.AT, sre.AT_END_STRING):
            ends, branch = [""], branch[:-1]
        if any(kind is not sre.LITERAL for kind, _ in branch):
            return None
        plain = "".join(f"[{char}]" if char in "*?[" else char for char in _chars(branch))
        found += [f"{start}{plain}{end}" for end in ends]
    return tuple(found)


_MOST_SPELLED = 64


def _spelled(items: list[Any]) -> list[list[Any]] | None:
    """Spell out the alternatives of an expression; None if that is not simple."""
    found: list[list[Any]] = [[]]
    for item in items:
        kind, argument = item
        ways: list[list[Any]] | None = [[item]]
        if kind is sre.BRANCH:
            branches = [_spelled(list(branch)) for branch in argument[1]]
            if None in branches:
                return None
            ways = [way for branch in branches for way in branch or []]
        elif kind is sre.SUBPATTERN and not any(argument[1:3]):
            ways = _spelled(list(argument[3]))
        elif kind is sre.IN and all(inner is sre.LITERAL for inner, _ in argument):
            ways = [[one] for one in argument]
        if ways is None or len(found) * len(ways) > _MOST_SPELLED:
            return None
        found = [[*before, *way] for before in found for way in ways]
    return found


def _chars(items: list[Any]) -> list[str]:
    return [chr(code) for _, code in items]


def is_text(node: Node) -> bool:
    """Tell whether an expression is a text."""
    return node[0] == "text" or (node[0] == "attr" and ATTRIBUTES[node[1]].type is Type.TEXT)


def is_condition(node: Node) -> bool:
    """Tell whether an expression is yes or no."""
    if node[0] == "attr":
        return ATTRIBUTES[node[1]].type is Type.BOOLEAN
    return node[0] in (
        *("name", "cap", "not", "and", "or", "glob", "among", "search", "unknown"),
        *nodes.COMPARISONS,
    )


def _compared(operator: str, left: Node, right: Node) -> Atom | bool | None:
    if is_text(left):
        return _texts_compared(operator, left, right)
    one, two = amount(left), amount(right)
    if one and two:
        return bool(nodes.STRICT[operator](one[1], two[1]))
    if one or (left[0] == "share" and right[0] != "share"):
        operator, left, right, two = FLIPPED[operator], right, left, one
    key = canonical(left)
    if right[0] == "share":
        variable = Variable("share", key)
        yes = Values(fractions_beyond(operator, Fraction(right[1], right[2])))
        # Of a limit of 0, nothing is every share.
        if operator in ("==", "<=", ">="):
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
    orders = {"<": "<", "<=": "<=", "==": "=", "!=": "<>", ">=": ">=", ">": ">"}[operator]
    return _made(Variable("order", (key, other)), only(*orders))


def _texts_compared(operator: str, left: Node, right: Node) -> Atom | bool:
    equal = operator == "=="
    if left[0] == "text" and right[0] == "text":
        return (left[1] == right[1]) is equal
    if left[0] == "text":
        left, right = right, left
    if right[0] == "text":
        variable = Variable("text", left[1])
        yes = known(variable) & Values(texts.literal(right[1]))
    elif left == right:
        variable = Variable("text", left[1])
        yes = known(variable)
    else:
        variable = Variable("same", tuple(sorted((left[1], right[1]))))
        yes = only(TRUE)
    no = known(variable) - yes
    return Atom(variable, yes, no) if equal else Atom(variable, no, yes)


def named(target: str) -> bool:
    """Tell whether a target names units of the system, and not what they belong to."""
    return not target.startswith((WANTED_BY, PART_OF, USER_UNIT))


def of_user(target: str) -> bool:
    """Tell whether a target names units of users' managers."""
    return target.startswith(USER_UNIT)


def in_cgroup(target: str) -> bool:
    """Tell whether the control group of a process decides if it is in a block."""
    return named(target) or of_user(target)
