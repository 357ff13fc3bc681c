"""Sets of numbers: whole ones, or fractions, as unions of intervals.

A whole number is its own endpoint. Among fractions an endpoint is a pair of a value and
-1, 0 or 1: just below it, at it, or just above it; so all intervals are closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, inf, isinf
from typing import Any

Endpoint = Any  # int, an infinite float, or a pair of a Fraction and -1, 0 or 1

# The orders of two numbers for which a comparison holds.
SIGNS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
FLIPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _moved(end: Endpoint, by: int) -> Endpoint:
    return (end[0], end[1] + by) if isinstance(end, tuple) else end + by


@dataclass(frozen=True, slots=True)
class Numbers:
    """A set of numbers: closed intervals in order, none touching the next."""

    spans: tuple[tuple[Endpoint, Endpoint], ...]

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __and__(self, other: Numbers) -> Numbers:
        found = []
        i = j = 0
        while i < len(self.spans) and j < len(other.spans):
            (a, b), (c, d) = self.spans[i], other.spans[j]
            low, high = max(a, c), min(b, d)
            if low <= high:
                found.append((low, high))
            if b < d:
                i += 1
            else:
                j += 1
        return Numbers(tuple(found))

    def __or__(self, other: Numbers) -> Numbers:
        return _joined((*self.spans, *other.spans))

    def __sub__(self, other: Numbers) -> Numbers:
        found: list[tuple[Endpoint, Endpoint]] = []
        for low, high in self.spans:
            left = True
            for c, d in other.spans:
                if d < low:
                    continue
                if c > high:
                    break
                if low < c:
                    found.append((low, _moved(c, -1)))
                # Nothing comes after infinity.
                left = d < high
                if not left:
                    break
                low = _moved(d, 1)
            if left:
                found.append((low, high))
        return Numbers(tuple(found))

    def __contains__(self, number: object) -> bool:
        end: Any = number
        return any(low <= end <= high for low, high in self.spans)

    @property
    def few(self) -> tuple[int, ...]:
        """The members, if they are whole and at most eight; else nothing."""
        size = 0
        found: list[int] = []
        for low, high in self.spans:
            if isinstance(low, tuple) or isinf(low) or isinf(high):
                return ()
            size += high - low + 1
            if size > 8:
                return ()
            found += range(low, high + 1)
        return tuple(found)

    def sample(self, liked: int | Fraction) -> int | Fraction:
        """Return the liked member, or else one close to it, and for fractions not at an edge."""
        if ((liked, 0) if self._dense else liked) in self:
            return liked
        low, high = min(self.spans, key=lambda span: self._distance(span, liked))
        if self._dense:
            return _inside(low, high)
        return int(low if liked < low else high)

    @property
    def _dense(self) -> bool:
        return isinstance(self.spans[0][0], tuple)

    def _distance(self, span: tuple[Endpoint, Endpoint], liked: int | Fraction) -> Any:
        low, high = (end[0] if isinstance(end, tuple) else end for end in span)
        return low - liked if liked < low else liked - high


def _inside(low: Endpoint, high: Endpoint) -> Fraction:
    (a, _), (b, _) = low, high
    if isinf(a) and isinf(b):
        return Fraction(0)
    if isinf(b):
        return Fraction(a + 1 if low[1] else a)
    if isinf(a):
        return Fraction(b - 1 if high[1] else b)
    return Fraction(a + b) / 2


def _joined(spans: Iterable[tuple[Endpoint, Endpoint]]) -> Numbers:
    found: list[tuple[Endpoint, Endpoint]] = []
    for low, high in sorted(spans):
        if found and low <= _moved(found[-1][1], 1):
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return Numbers(tuple(found))


def whole(low: int | float = -inf, high: int | float = inf) -> Numbers:
    """Return the whole numbers from one to another, both included."""
    return Numbers(((low, high),) if low <= high else ())


def beyond(operator: str, bound: Fraction) -> Numbers:
    """Return the whole numbers for which ``number operator bound`` holds, for any bound."""
    return _union(
        operator,
        below=whole(high=ceil(bound) - 1),
        equal=whole(ceil(bound), floor(bound)),
        above=whole(low=floor(bound) + 1),
    )


def fractions_beyond(operator: str, bound: Fraction) -> Numbers:
    """Return the fractions for which ``fraction operator bound`` holds."""
    return _union(
        operator,
        below=Numbers((((-inf, 0), (bound, -1)),)),
        equal=Numbers((((bound, 0), (bound, 0)),)),
        above=Numbers((((bound, 1), (inf, 0)),)),
    )


def _union(operator: str, below: Numbers, equal: Numbers, above: Numbers) -> Numbers:
    parts = {"<": below, "=": equal, ">": above}
    return _joined(span for sign in SIGNS[operator] for span in parts[sign].spans)
