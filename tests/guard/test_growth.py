"""What candidates hold now decides between those that the rules leave alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from oomrules.guard.growth import grown
from oomrules.guard.model import Candidate, Whole

MIB = 2**20
PAGES = MIB // 4096


@pytest.fixture
def now(tmp_path: Path) -> Path:
    """A directory in the place of /proc."""
    return tmp_path


def candidate(pid: int, held: int, *, level: int = 0, mapped: int = 0) -> Candidate:
    """One whose points are its size in MiB, as by ``score footprint`` or ``score total_vm``."""
    points = mapped or held
    return Candidate(
        pid=pid,
        start=pid,
        rank=pid,
        points=points,
        held=held * MIB,
        level=level,
        mapped=mapped * MIB,
    )


def has(proc: Path, pid: int, mapped: int, resident: int) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "statm").write_text(f"{mapped * PAGES} {resident * PAGES} 0 0 0 0 0\n")


def order(proc: Path, *candidates: Candidate) -> list[int]:
    return [one.pid for one in grown(candidates, str(proc))]


def test_who_has_outgrown_the_first_is_taken_before_it(now: Path) -> None:
    has(now, 1, 100, 57)
    has(now, 2, 1500, 200)
    found = grown((candidate(1, 56), candidate(2, 4)), str(now))
    assert [one.pid for one in found] == [2, 1]
    # What its end should give back is what it holds now.
    assert found[0].held == 200 * MIB


def test_who_has_shrunk_comes_later(now: Path) -> None:
    has(now, 1, 100, 10)
    has(now, 2, 100, 40)
    assert order(now, candidate(1, 56), candidate(2, 40)) == [2, 1]


def test_swap_counts_as_it_was(now: Path) -> None:
    has(now, 1, 500, 10)
    has(now, 2, 100, 60)
    swapped = candidate(1, 100)._replace(swap=90 * MIB)
    assert order(now, swapped, candidate(2, 50)) == [1, 2]


def test_where_the_address_space_counts_what_is_held_does_not(now: Path) -> None:
    """A process that has just begun holds ten times as much as a moment ago."""
    has(now, 1, 900, 300)
    has(now, 2, 20, 10)
    assert order(now, candidate(1, 300, mapped=900), candidate(2, 1, mapped=20)) == [1, 2]


def test_no_growth_gets_anybody_out_of_a_tier(now: Path) -> None:
    for pid, size in ((1, 10), (2, 10), (3, 900), (4, 999)):
        has(now, pid, size, size)
    first, second = candidate(1, 10, level=-1), candidate(2, 10)
    assert order(now, first, second, candidate(3, 5), candidate(4, 9, level=1)) == [1, 3, 2, 4]


def test_a_unit_that_dies_whole_keeps_its_place(now: Path) -> None:
    has(now, 1, 10, 10)
    has(now, 3, 10, 900)
    whole = candidate(2, 10)._replace(whole=Whole("/a.slice", True, ((5, 5),)))
    assert order(now, candidate(1, 10), whole, candidate(3, 5)) == [1, 2, 3]


def test_who_is_gone_or_has_no_points_keeps_what_the_list_says(now: Path) -> None:
    has(now, 2, 30, 30)
    (now / "4").mkdir()
    (now / "4" / "statm").write_text("nonsense\n")
    nothing = candidate(3, 0)._replace(points=None)
    listed = (candidate(1, 50), candidate(2, 20), nothing, candidate(4, 9))
    assert grown(listed, str(now))[0] == listed[0]
    assert order(now, *listed) == [1, 2, 3, 4]
    assert grown(()) == ()


def test_nothing_but_the_order_and_the_size_changes(now: Path) -> None:
    has(now, 1, 10, 99)
    listed = (candidate(2, 50), candidate(1, 9))
    found = {one.pid: one for one in grown(listed, str(now))}
    assert {one._replace(held=0) for one in listed} == {
        one._replace(held=0) for one in found.values()
    }
