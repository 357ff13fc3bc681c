"""Where everything lies: rectangles whose areas are sizes of memory, by squarify.

Three regions stand side by side: what may be taken, what is not taken, and what no process holds.
In the first two lie units, in units their processes. What would be too small to be seen or touched
is gathered in one tile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import squarify

from oomrules.picture.model import Holder, Part, Picture

# The least area of a tile, in square pixels: WCAG 2.2 (2.5.8) wants 24 x 24 of what is touched.
_LEAST = 24 * 24
_HEADING = 18.0
# A unit that is lower or narrower has no heading.
_HEADED = (2.5 * _HEADING, 70.0)
_GAP = 4.0

T = TypeVar("T")


class Box(NamedTuple):
    """A rectangle, in pixels from the top left."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Its area in square pixels."""
        return self.width * self.height


class Tile(NamedTuple):
    """A process, several small ones, or a part that no process holds.

    Attributes:
        units: of how many units the processes are.
    """

    box: Box
    holders: tuple[Holder, ...] = ()
    part: Part | None = None
    units: int = 1

    @property
    def size(self) -> int:
        """What it holds of the RAM, in bytes."""
        return self.part.size if self.part else sum(one.share.ram for one in self.holders)


class Unit(NamedTuple):
    """A unit with its tiles; the heading is empty where there is no room for it."""

    box: Box
    name: str
    heading: Box | None
    tiles: tuple[Tile, ...]


class Region(NamedTuple):
    """One of the three regions: ``taken``, ``kept`` or ``nobody``."""

    key: str
    box: Box
    heading: Box
    size: int
    units: tuple[Unit, ...]


def lay_out(picture: Picture, width: float, height: float) -> tuple[Region, ...]:
    """Return the regions of a picture of a given size, those without memory left out."""
    taken = [one for one in picture.holders if one.rank and one.share.ram]
    kept = [one for one in picture.holders if not one.rank and one.share.ram]
    sizes = {
        "taken": sum(one.share.ram for one in taken),
        "kept": sum(one.share.ram for one in kept),
        "nobody": sum(part.size for part in picture.parts),
    }
    whole = Box(0, 0, width, height)
    regions = []
    for key, box in _split({key: size for key, size in sizes.items() if size}, whole):
        heading, inner = _headed(box)
        if key == "nobody":
            parts = sorted(picture.parts, key=lambda part: -part.size)
            tiles = [Tile(at, part=part) for part, at in _squarified(parts, _size_of_part, inner)]
            units: tuple[Unit, ...] = (Unit(inner, "", None, tuple(tiles)),)
        else:
            units = tuple(_units(taken if key == "taken" else kept, inner))
        regions.append(Region(key, box, heading, sizes[key], units))
    return tuple(regions)


def _size_of_part(part: Part) -> int:
    return part.size


def _split(sizes: dict[str, int], whole: Box) -> Iterator[tuple[str, Box]]:
    """Yield strips of a box, side by side along its longer side."""
    total, across = sum(sizes.values()), whole.width >= whole.height
    room = (whole.width if across else whole.height) - _GAP * (len(sizes) - 1)
    begin = 0.0
    for key, size in sizes.items():
        long = room * size / total
        at = (begin, 0, long, whole.height) if across else (0, begin, whole.width, long)
        yield key, Box(*at)
        begin += long + _GAP


def _headed(box: Box) -> tuple[Box, Box]:
    """Return the heading of a box and the rest of it."""
    high = min(_HEADING, box.height / 3)
    return box._replace(height=high), box._replace(y=box.y + high, height=box.height - high)


def _units(holders: Sequence[Holder], box: Box) -> Iterator[Unit]:
    by_group = defaultdict[str, list[Holder]](list)
    for holder in holders:
        by_group[holder.group].append(holder)
    groups = sorted(by_group.values(), key=_size_of, reverse=True)
    shown, small = _large_enough(groups, _size_of, box)
    gathered = [holder for group in small for holder in group]
    if small:
        shown = sorted([*shown, gathered], key=_size_of, reverse=True)
    for group, at in _squarified(shown, _size_of, box):
        if group is gathered:
            name = f"{len(small)} other unit{'s' if small[1:] else ''}"
            tile = Tile(at, holders=tuple(group), units=len(small))
            yield Unit(at, name, None, (tile,))
        else:
            yield _unit(group, at)


def _unit(holders: Sequence[Holder], box: Box) -> Unit:
    heading, inner = None, box
    if box.height >= _HEADED[0] and box.width >= _HEADED[1]:
        heading, inner = _headed(box)
    ordered = sorted(holders, key=lambda one: -one.share.ram)
    single: list[tuple[Holder, ...]] = [(one,) for one in ordered]
    shown, small = _large_enough(single, _size_of, inner)
    if small:
        shown.append(tuple(holder for few in small for holder in few))
        shown.sort(key=_size_of, reverse=True)
    tiles = tuple(Tile(at, holders=few) for few, at in _squarified(shown, _size_of, inner))
    return Unit(box, holders[0].unit, heading, tiles)


def _size_of(holders: Sequence[Holder]) -> int:
    return sum(holder.share.ram for holder in holders)


def _large_enough(things: list[T], size: Callable[[T], int], box: Box) -> tuple[list[T], list[T]]:
    """Return those that get a tile of their own, and those that are too small for one.

    Args:
        things: the largest first.
        size: says how large one is.
        box: what they share.
    """
    total = sum(map(size, things))
    shown = [one for one in things if box.area * size(one) >= _LEAST * total]
    small = things[len(shown) :]
    # A tile "1 other" says less than the one that it stands for.
    return (things, []) if len(small) == 1 else (shown, small)


def _squarified(things: Sequence[T], size: Callable[[T], int], box: Box) -> Iterator[tuple[T, Box]]:
    """Yield each thing with its part of a box; the largest come first."""
    sizes = squarify.normalize_sizes(list(map(size, things)), box.width, box.height)
    for thing, at in zip(
        things, squarify.squarify(sizes, box.x, box.y, box.width, box.height), strict=True
    ):
        yield thing, Box(at["x"], at["y"], at["dx"], at["dy"])
