"""Systems of linear inequalities over fractions: whether there is a solution, and one.

Variables are eliminated one after the other (Fourier and Motzkin; Schrijver, "Theory of Linear and
Integer Programming", 12.2). Conditions about a host have few, so that needs no solver.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil, floor, gcd, lcm
from typing import NamedTuple

from oomrules.reason import Undecided

# More than the elimination of a few variables makes.
_MOST = 600
# So many values are tried for all variables of a solution together.
_TRIED = 200

Linear = Mapping[str, Fraction | int]


class Inequality(NamedTuple):
    """``sum of the terms + constant >= 0``, or ``> 0`` if it is strict.

    The terms are pairs of a name and a factor that is not 0, by name. All numbers are whole, and
    have no common divisor.
    """

    terms: tuple[tuple[str, int], ...]
    constant: int
    strict: bool = False


System = tuple[Inequality, ...]


def inequality(terms: Linear, constant: Fraction | int, strict: bool = False) -> Inequality:
    """Return ``sum of terms + constant >= 0``, or ``> 0``."""
    below = lcm(constant.denominator, *(factor.denominator for factor in terms.values()))
    whole = {name: int(factor * below) for name, factor in terms.items()}
    return _reduced(whole, int(constant * below), strict)


def _reduced(terms: Mapping[str, int], constant: int, strict: bool) -> Inequality:
    common = gcd(constant, *terms.values()) or 1
    kept = tuple(sorted((name, factor // common) for name, factor in terms.items() if factor))
    return Inequality(kept, constant // common, strict)


def equal(name: str, value: Fraction | int) -> System:
    """Return that a variable has a value."""
    return inequality({name: 1}, -value), inequality({name: -1}, value)


def feasible(system: Iterable[Inequality]) -> bool:
    """Return whether fractions exist that satisfy all inequalities.

    Raises:
        Undecided: the system is too large.
    """
    return _narrowed(system, keep="") is not None


def bounds(system: System, name: str) -> tuple[Fraction | None, Fraction | None]:
    """Return the least and the greatest value of a variable, None where there is no bound.

    A bound that is not reached is given as well. The system has a solution.

    Raises:
        Undecided: the system is too large.
    """
    low = high = None
    for one in _narrowed(system, keep=name) or ():
        ((_, factor),) = one.terms
        value = Fraction(-one.constant, factor)
        if factor > 0:
            low = value if low is None else max(low, value)
        else:
            high = value if high is None else min(high, value)
    return low, high


def solution(
    system: Iterable[Inequality], liked: Mapping[str, tuple[int, ...]], coarse: tuple[int, ...]
) -> dict[str, int] | None:
    """Return whole numbers that satisfy all inequalities; None if none were found.

    Args:
        liked: the values to try first, of a variable; those come in this order.
        coarse: what other values should be multiples of, the largest first.

    Raises:
        Undecided: the system is too large.
    """
    system = tuple(system)
    if not feasible(system):
        return None
    names = {name for one in system for name, _ in one.terms}
    order = [*(name for name in liked if name in names), *sorted(names - liked.keys())]
    left = _TRIED

    def search(system: System, order: list[str], found: dict[str, int]) -> dict[str, int] | None:
        nonlocal left
        if not order:
            return found
        name, *rest = order
        low, high = bounds(system, name)
        tried = set()
        for value in (*liked.get(name, ()), *_between(low, high, coarse)):
            fixed = (*system, *equal(name, value))
            if value in tried or left == 0 or not feasible(fixed):
                continue
            tried.add(value)
            left -= 1
            # Another variable may have no whole value left, as 5 % of 8 GiB is none.
            whole = search(fixed, rest, {**found, name: value})
            if whole is not None:
                return whole
        return None

    return search(system, order, {})


def _between(low: Fraction | None, high: Fraction | None, coarse: tuple[int, ...]) -> Iterable[int]:
    """Yield whole numbers between two bounds: round ones near the middle, then those at the ends.

    Where one bound is missing, the other stands for the middle.
    """
    ends = [end for end in (low, high) if end is not None]
    if not ends:
        yield 0
        return
    middle = sum(ends, Fraction(0)) / len(ends)
    for step in (*coarse, 1):
        for value in (floor(middle / step) * step, ceil(middle / step) * step):
            if (low is None or value >= low) and (high is None or value <= high):
                yield value
    if low is not None:
        yield from (ceil(low), floor(low) + 1)
    if high is not None:
        yield from (floor(high), ceil(high) - 1)


def _narrowed(system: Iterable[Inequality], keep: str) -> System | None:
    """Return what a system says of one variable, or of none; None if it has no solution."""
    left = _tightest(system)
    while left:
        new = {name: _new(left, name) for name in _names(left) - {keep}}
        if not new:
            break
        left = _without(left, min(new, key=lambda name: (new[name], name)))
    return left


def _names(system: Iterable[Inequality]) -> set[str]:
    return {name for one in system for name, _ in one.terms}


def _new(system: System, name: str) -> int:
    """Return how many inequalities there are without a variable, at most."""
    factors = [factor for one in system for own, factor in one.terms if own == name]
    above = sum(factor > 0 for factor in factors)
    return above * (len(factors) - above) - len(factors)


def _tightest(system: Iterable[Inequality]) -> System | None:
    """Return the inequalities that say something; None if one of them holds for nothing."""
    kept: dict[tuple[tuple[str, int], ...], tuple[int, Inequality]] = {}
    for one in system:
        if not one.terms:
            if one.constant < 0 or (one.strict and one.constant == 0):
                return None
            continue
        by = gcd(*(factor for _, factor in one.terms))
        key = one.terms if by == 1 else tuple((name, factor // by) for name, factor in one.terms)
        if key in kept:
            times, other = kept[key]
            here, there = one.constant * times, other.constant * by
            if (here, not one.strict) >= (there, not other.strict):
                continue
        kept[key] = by, one
    if len(kept) > _MOST:
        raise Undecided("too many inequalities")
    return tuple(one for _, one in kept.values())


def _without(system: System, name: str) -> System | None:
    """Return what a system says of the other variables."""
    above: list[tuple[Inequality, int]] = []
    below: list[tuple[Inequality, int]] = []
    others: list[Inequality] = []
    for one in system:
        factor = next((factor for own, factor in one.terms if own == name), None)
        if factor is None:
            others.append(one)
        else:
            (above if factor > 0 else below).append((one, abs(factor)))
    for one, by in above:
        for two, times in below:
            others.append(_added(one, times, two, by))
        if len(others) > _MOST * 4:
            raise Undecided("too many inequalities")
    return _tightest(others)


def _added(one: Inequality, times: int, two: Inequality, by: int) -> Inequality:
    terms = {name: factor * times for name, factor in one.terms}
    for name, factor in two.terms:
        terms[name] = terms.get(name, 0) + factor * by
    return _reduced(terms, one.constant * times + two.constant * by, one.strict or two.strict)
