"""Where things lie: areas are sizes, nothing overlaps, nothing sticks out, nobody is missing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.picture.draw import SIZES
from oomrules.picture.model import Picture
from oomrules.picture.tiling import Box, Tile, lay_out
from tests.picture.made import MIB, holder, picture

MOST = 10_000
HOSTS = st.lists(
    st.tuples(st.integers(0, MOST), st.booleans(), st.integers(0, 6)), max_size=60
).map(
    lambda found: picture(
        *(
            holder(pid, mib, rank=pid if taken else 0, group=f"/{unit}", unit=f"{unit}.service")
            for pid, (mib, taken, unit) in enumerate(found, 1)
        ),
        total=sum(mib for mib, _, _ in found) * MIB + 500 * MIB,
    )
)
TOLERANCE = 1e-6


def tiles(made: Picture, width: float = 1200, height: float = 720) -> list[Tile]:
    regions = lay_out(made, width, height)
    return [tile for region in regions for unit in region.units for tile in unit.tiles]


def overlap(one: Box, other: Box) -> float:
    wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(0.0, wide) * max(0.0, high)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@given(made=HOSTS)
def test_nothing_overlaps_and_nothing_sticks_out(made: Picture, size: tuple[float, float]) -> None:
    found = tiles(made, *size)
    whole = Box(0, 0, *size)
    for number, tile in enumerate(found):
        assert tile.box.width > 0 and tile.box.height > 0
        assert overlap(tile.box, whole) == pytest.approx(tile.box.area, abs=TOLERANCE)
        for other in found[:number]:
            assert overlap(tile.box, other.box) < TOLERANCE * whole.area


@given(made=HOSTS)
def test_each_process_with_memory_is_in_one_tile_and_sizes_add_up(made: Picture) -> None:
    found = tiles(made)
    pids = [one.pid for tile in found for one in tile.holders]
    assert sorted(pids) == [one.pid for one in made.holders if one.share.ram]
    assert sum(tile.size for tile in found) == made.total + made.excess
    parts = [tile.part.key for tile in found if tile.part]
    assert sorted(parts) == sorted(part.key for part in made.parts)


@given(made=HOSTS)
def test_within_a_unit_areas_are_as_memory(made: Picture) -> None:
    for region in lay_out(made, 1200, 720):
        for unit in region.units:
            size = sum(tile.size for tile in unit.tiles)
            area = sum(tile.box.area for tile in unit.tiles)
            for tile in unit.tiles:
                assert tile.box.area / area == pytest.approx(tile.size / size, rel=1e-6)
        units = [(sum(t.size for t in unit.tiles), unit.box.area) for unit in region.units]
        for (size, area), (other, another) in pairwise(units):
            assert area * other == pytest.approx(another * size, rel=1e-6)


def test_who_may_be_taken_lies_apart_from_who_is_not() -> None:
    made = picture(holder(1, 300, rank=1), holder(2, 300), holder(3, 100, rank=2))
    by_region = {
        region.key: {one.pid for unit in region.units for t in unit.tiles for one in t.holders}
        for region in lay_out(made, 1200, 720)
    }
    assert by_region == {"taken": {1, 3}, "kept": {2}, "nobody": set()}


def test_what_is_small_is_gathered_and_a_single_one_is_not() -> None:
    many = [holder(pid, 1, rank=pid) for pid in range(2, 2000)]
    found = tiles(picture(holder(1, 5000, rank=1), *many, total=8000 * MIB))
    (gathered,) = [tile for tile in found if tile.holders[1:]]
    assert len(gathered.holders) == 1998
    alone = tiles(picture(holder(1, 999_999, rank=1), holder(2, 1, rank=2), total=1 << 40))
    assert [len(tile.holders) for tile in alone if tile.holders] == [1, 1]


def test_small_units_are_gathered_too() -> None:
    small = [
        holder(pid, 1, rank=pid, group=f"/{pid}", unit=f"{pid}.scope") for pid in range(2, 500)
    ]
    found = tiles(picture(holder(1, 50_000, rank=1), *small, total=60_000 * MIB))
    (gathered,) = [tile for tile in found if tile.units > 1]
    assert gathered.units == len(gathered.holders) == 498


def test_a_host_with_nothing_to_draw_has_no_region() -> None:
    assert lay_out(picture(total=0, free=0), 1200, 720) == ()
