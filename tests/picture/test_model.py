"""The sums of a picture: nothing is lost, nothing is made up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oomrules.picture.model import Share, remaining

SIZES = st.integers(0, 1 << 36)
SHARES = st.builds(Share, anon=SIZES, tables=SIZES, file=SIZES, shmem=SIZES, swap=SIZES)
KEYS = ("free", "cache", "anon", "page_tables", "shmem", "slab", "huge_pages", "rest")


@given(SIZES, st.dictionaries(st.sampled_from(KEYS), SIZES), st.lists(SHARES, max_size=5))
def test_what_is_drawn_adds_up_to_the_total_and_the_excess(
    total: int, sizes: dict[str, int], shares: list[Share]
) -> None:
    left, excess = remaining(total, sizes, shares)
    drawn = sum(one.anon + one.tables + one.file + one.shmem for one in shares)
    assert drawn + sum(left.values()) == total + excess
    assert min(left.values()) >= 0 and excess >= 0
    # What is said to be more than the total comes from figures, never from the remainder.
    assert not excess or left["rest"] == sizes.get("rest", 0)
    for key in ("free", "slab", "huge_pages"):
        assert left.get(key) == sizes.get(key)


def test_shares_of_a_known_part_are_taken_out_of_it() -> None:
    sizes = {"free": 100, "cache": 300, "anon": 400, "shmem": 150, "page_tables": 50}
    shares = [Share(anon=150, tables=10, file=60, shmem=50), Share(anon=200, file=40)]
    left, excess = remaining(1000, sizes, shares)
    assert excess == 0
    assert left == {
        "free": 100,
        "cache": 200,
        "anon": 50,
        "shmem": 100,
        "page_tables": 40,
        "rest": 0,
    }


def test_memory_that_is_counted_twice_is_said_to_be() -> None:
    """Two processes that share 300 after a fork, counted by what is theirs."""
    left, excess = remaining(1000, {"free": 700, "anon": 300}, [Share(anon=300), Share(anon=300)])
    assert left["anon"] == 0 and excess == 300


def test_a_host_that_tells_nothing_has_all_of_it_not_accounted_for() -> None:
    assert remaining(1000, {}, [Share(anon=10, swap=500)]) == ({"rest": 990}, 0)


def test_what_comes_back_at_once_is_what_no_file_keeps() -> None:
    share = Share(anon=1, tables=2, file=4, shmem=8, swap=16)
    assert (share.ram, share.back) == (15, 3)
