"""For which totals one process has more points than all others.

A total weighs on processes by their oom_score_adj, so the order can change with it. Between two
processes it changes once; where points are per mille it changes in steps, which are walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from oomrules.report.generations import BEYOND, Generation, Weight, value

# Totals, or thousands of pages: from, to.
Range = tuple[int, int]


@dataclass(frozen=True)
class Rival:
    """Another process.

    Attributes:
        weight: its own.
        wins_ties: whether it is taken if both have the same points.
    """

    weight: Weight
    wins_ties: bool


def won(
    generation: Generation, one: Weight, rivals: Iterable[Rival], least: int, most: int | None
) -> tuple[Range, ...]:
    """Return the totals for which a process is taken.

    Args:
        generation: whose formula.
        one: the process.
        rivals: all others that may be chosen.
        least, most: the totals to look at, in pages.

    Returns:
        ranges that do not touch, in their order; ``BEYOND`` ends one that has no end.
    """
    least, most = max(1, least), BEYOND if most is None else max(1, most)
    others = tuple(_strongest(rivals))
    if generation.per_mille:
        return tuple(_joined(_in_steps(generation, one, others, (least, most))))
    found = _by_crossings(generation, one, others, (least // 1000, most // 1000))
    pages = ((low * 1000, high * 1000 + 999) for low, high in found)
    return tuple(_joined((max(low, least), min(high, most)) for low, high in pages))


def _strongest(rivals: Iterable[Rival]) -> Iterator[Rival]:
    """Leave out who has less memory than another of the same oom_score_adj: it never matters."""
    best: dict[tuple[int, bool], Rival] = {}
    for rival in rivals:
        key = rival.weight.adj, rival.wins_ties
        if key not in best or rival.weight.pages > best[key].weight.pages:
            best[key] = rival
    return iter(best.values())


def _by_crossings(
    generation: Generation, one: Weight, rivals: tuple[Rival, ...], thousands: Range
) -> Iterator[Range]:
    """Yield where it wins, in thousands of pages; points are straight lines over them."""
    above: Range | None = thousands
    if generation.floor:
        # With two points or more, the floor of the others cannot matter.
        above = _where(one.pages - 2, one.adj, above)
    for rival in rivals:
        ahead = one.pages - rival.weight.pages - rival.wins_ties
        above = _where(ahead, one.adj - rival.weight.adj, above)
    at_floor = _all_at_floor(one, rivals, thousands) if generation.floor else None
    yield from sorted(each for each in (above, at_floor) if each)


def _all_at_floor(one: Weight, rivals: tuple[Rival, ...], thousands: Range) -> Range | None:
    """Return where all have the least number of points, and the order of looking decides."""
    if any(rival.wins_ties for rival in rivals):
        return None
    found: Range | None = thousands
    for each in (one, *(rival.weight for rival in rivals)):
        found = _where(1 - each.pages, -each.adj, found)
    return found


def _where(start: int, slope: int, within: Range | None) -> Range | None:
    """Return where a straight line over whole numbers is not negative."""
    if within is None:
        return None
    low, high = within
    if slope > 0:
        low = max(low, -(start // slope))
    elif slope < 0:
        high = min(high, start // -slope)
    elif start < 0:
        return None
    return (low, high) if low <= high else None


def _in_steps(
    generation: Generation, one: Weight, rivals: tuple[Rival, ...], totals: Range
) -> Iterator[Range]:
    """Yield where it wins, where points are per mille.

    While its own points stay the same those of others fall, if the total grows. So within a step
    it wins from some total on.
    """
    for low, high in _steps(one, totals):
        if _wins(generation, one, rivals, low):
            yield low, high
        elif _wins(generation, one, rivals, high):
            lost = low
            wins = high
            while wins - lost > 1:
                middle = (wins + lost) // 2
                if _wins(generation, one, rivals, middle):
                    wins = middle
                else:
                    lost = middle
            yield wins, high


def _steps(one: Weight, totals: Range) -> Iterator[Range]:
    """Yield the totals between which the points of a process do not change, smallest first."""
    low, last = totals
    # From there on it has 1000 points, which is the most.
    step = min(one.pages * 1000 // low, max(0, 1000 - one.adj))
    while low <= last:
        high = min(last, one.pages * 1000 // step) if step > 0 else last
        if high >= low:
            yield low, high
            low = high + 1
        step -= 1


def _wins(generation: Generation, one: Weight, rivals: tuple[Rival, ...], total: int) -> bool:
    own = value(one, generation, total)
    for rival in rivals:
        other = value(rival.weight, generation, total)
        if other > own or (other == own and rival.wins_ties):
            return False
    return True


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    """Yield ranges in their order, those that touch as one."""
    held: Range | None = None
    for low, high in ranges:
        if held and low <= held[1] + 1:
            held = held[0], max(held[1], high)
            continue
        if held:
            yield held
        held = low, high
    if held:
        yield held
