"""What a value may be that is not known: sets of truth values, and intervals of numbers.

A set of truth values is a number with a bit for each of the four (``program.nodes``). What is
worked out of intervals holds at least every value that the exact ones could give, so it is sound,
and not always the narrowest (Moore, "Interval Analysis", 1966).
"""

from __future__ import annotations

import math
from functools import lru_cache

from oomrules.lean import Any, NamedTuple
from oomrules.program import nodes
from oomrules.program.nodes import SELF_MADE

TRUE, FALSE, UNKNOWN, OWN = 1, 2, 4, 8
EITHER = TRUE | FALSE
ANY = EITHER | UNKNOWN | OWN
_BITS: tuple[tuple[int, Any], ...] = (
    (TRUE, True),
    (FALSE, False),
    (UNKNOWN, None),
    (OWN, SELF_MADE),
)

INFINITE = math.inf
# A whole number, or infinite.
Bound = Any


def only(value: Any) -> int:
    """Return the set with one truth value."""
    return UNKNOWN if value is None else OWN if value is SELF_MADE else TRUE if value else FALSE


def settled(truths: int) -> bool:
    """Return whether there is one truth value in a set."""
    return truths & (truths - 1) == 0


def negation(truths: int) -> int:
    """Return what ``not`` makes of a set."""
    turned = (FALSE if truths & TRUE else 0) | (TRUE if truths & FALSE else 0)
    return truths & (UNKNOWN | OWN) | turned


@lru_cache(maxsize=256)
def disjunction(one: int, other: int) -> int:
    """Return what ``or`` makes of two sets."""
    found = 0
    for bit, value in _BITS:
        for also, beside in _BITS:
            if one & bit and other & also:
                found |= only(nodes.either(value, beside))
    return found


def conjunction(one: int, other: int) -> int:
    """Return what ``and`` makes of two sets."""
    return negation(disjunction(negation(one), negation(other)))


class Span(NamedTuple):
    """What a number may be.

    Attributes:
        least, most: the bounds; where the first is greater there is no number at all.
        also: besides, it may be UNKNOWN or OWN.
    """

    least: Bound
    most: Bound
    also: int = 0

    @property
    def holds(self) -> bool:
        """Whether it may be a number."""
        return bool(self.least <= self.most)

    @property
    def exact(self) -> bool:
        """Whether it is one number."""
        return bool(self.least == self.most) and not self.also


ANYTHING = Span(-INFINITE, INFINITE, UNKNOWN | OWN)


def span_of(value: Any) -> Span:
    """Return the span of a value that is known to be a number, unknown or SELF_MADE."""
    if value is None or value is SELF_MADE:
        return Span(INFINITE, -INFINITE, only(value))
    return Span(value, value)


def joined(one: Span, other: Span) -> Span:
    """Return the span of what may be in one or in the other."""
    return Span(min(one.least, other.least), max(one.most, other.most), one.also | other.also)


def _plus(a: Bound, b: Bound) -> Bound:
    if abs(a) == INFINITE:
        return a
    return b if abs(b) == INFINITE else a + b


def times(a: Bound, b: Bound) -> Bound:
    """Return a product, of bounds; 0 of nothing is 0, as no infinite bound is a value."""
    if a == 0 or b == 0:
        return 0
    if INFINITE in (abs(a), abs(b)):
        return INFINITE if (a > 0) is (b > 0) else -INFINITE
    return a * b


def _over(a: Bound, b: Bound) -> Bound:
    """Return a quotient, rounded down; b is not 0."""
    if abs(a) == INFINITE:
        return INFINITE if (a > 0) is (b > 0) else -INFINITE
    if abs(b) == INFINITE:
        return 0 if a == 0 or (a > 0) is (b > 0) else -1
    return a // b


def _divided(one: Span, other: Span) -> tuple[Bound, Bound, int]:
    parts = []
    if other.most >= 1:
        parts += [max(1, other.least), other.most]
    if other.least <= -1:
        parts += [other.least, min(-1, other.most)]
    by_zero = UNKNOWN if other.least <= 0 <= other.most else 0
    if not parts:
        return INFINITE, -INFINITE, by_zero
    found = [_over(a, b) for a in (one.least, one.most) for b in parts]
    return min(found), max(found), by_zero


def _root(a: Bound) -> Bound:
    return a if a == INFINITE else 1 if a == -INFINITE else nodes.root(a)


def calculated(kind: str, parts: list[Span]) -> Span:
    """Return the span of what ``nodes.STRICT`` makes of numbers."""
    also = 0
    for part in parts:
        also |= part.also
    if not all(part.holds for part in parts):
        return Span(INFINITE, -INFINITE, also)
    one, other = parts[0], parts[-1]
    if kind == "+":
        least, most = _plus(one.least, other.least), _plus(one.most, other.most)
    elif kind == "-":
        least, most = _plus(one.least, -other.most), _plus(one.most, -other.least)
    elif kind == "*":
        ends = [times(a, b) for a in (one.least, one.most) for b in (other.least, other.most)]
        least, most = min(ends), max(ends)
    elif kind == "/":
        least, most, by_zero = _divided(one, other)
        also |= by_zero
    elif kind == "negative":
        least, most = -one.most, -one.least
    elif kind == "root":
        least, most = _root(one.least), _root(one.most)
    else:
        extreme = max if kind == "max" else min
        least = extreme(part.least for part in parts)
        most = extreme(part.most for part in parts)
    return Span(least, most, also)


def compared(kind: str, one: Span, other: Span) -> int:
    """Return which truth values a comparison may have."""
    truths = one.also | other.also
    if not (one.holds and other.holds):
        return truths
    if kind in (">", ">="):
        one, other, kind = other, one, {">": "<", ">=": "<="}[kind]
    if kind in ("==", "!="):
        same = TRUE if one.least <= other.most and other.least <= one.most else 0
        differ = 0 if one.least == one.most == other.least == other.most else FALSE
        found = same | differ
        return truths | (found if kind == "==" else negation(found))
    if kind == "<":
        may, need_not = one.least < other.most, one.most >= other.least
    else:
        may, need_not = one.least <= other.most, one.most > other.least
    return truths | (TRUE if may else 0) | (FALSE if need_not else 0)
