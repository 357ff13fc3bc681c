"""The place of a candidate on its level, as one number: points above, then the start, then the pid.

So there is no tuple to allocate, and one comparison. A smaller key is killed earlier. The points,
over a denominator that all keys have in common, are negative. The ranker makes the keys.
"""

from __future__ import annotations

from collections.abc import Iterable

# Bits below the start, and below the points.
START = 32
POINTS = START + 66
_BELOW = (1 << POINTS) - 1
# Of a process whose start is unknown.
LATEST = 2**64


def rescaled(key: int, factor: int) -> int:
    """Return a key with its points, which are negative, multiplied."""
    return ((key >> POINTS) * factor << POINTS) + (key & _BELOW)


def points(key: int) -> int:
    """Return the points of a key, over the denominator that all keys have in common."""
    return -(key >> POINTS)


def together(keys: Iterable[int]) -> int:
    """Return the key of several candidates that are one: their sum, the earliest one's start."""
    keys = tuple(keys)
    return min(key & _BELOW for key in keys) - (sum(map(points, keys)) << POINTS)
