"""Tiers and their degrees, as one number: the level of a process.

``kill first … by N`` puts a process on level -N, ``kill last … by N`` on level N; all others are on
level 0. A process on a lower level is killed before all those on higher ones. If several rules hold
for a process, the most protective one counts: the greatest degree of ``kill last``, else the
smallest one of ``kill first``.
"""

from __future__ import annotations

from collections.abc import Iterable

from oomrules.lean import Any, NamedTuple

FIRST, NORMAL, LAST = 0, 1, 2
# The tiers by their number, in the words that people read.
TIERS = ("first", "normal", "last")


class First(NamedTuple):
    """What a ``kill first`` rule comes to for a process.

    Attributes:
        degree: how far out it puts a process, from 1.
        surely: whether it surely holds.
        protecting: its condition as a rule that protects reads it. Beside a rule of a greater
            degree it does protect.
    """

    degree: int
    surely: bool
    protecting: Any


def first_level(rules: Iterable[First]) -> int:
    """Return the level of a process by its ``kill first`` rules, 0 if none surely holds.

    Once one of them surely holds, another one that is in doubt may mean a smaller degree, and doubt
    protects. It does not if the process has made the doubt itself.
    """
    rules = tuple(rules)
    surely = [-one.degree for one in rules if one.surely]
    if not surely:
        return 0
    known = [-one.degree for one in rules if one.protecting is True]
    in_doubt = [-one.degree for one in rules if one.protecting is None]
    return max(*(known or surely), *in_doubt) if in_doubt else max(known or surely)


def tier_of(level: int) -> int:
    """Return the tier of a level."""
    return FIRST if level < 0 else LAST if level else NORMAL


def named(tier: int, degree: int) -> str:
    """Return a tier as people read it: ``first``, ``last by 3``."""
    return TIERS[tier] if degree == 1 else f"{TIERS[tier]} by {degree}"
