"""What a condition asks for: shares are claimed when they are proven, and never before."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.guard import figures
from oomrules.guard.figures import Look, Point
from oomrules.guard.model import HOST, Sample
from tests.guard.making import AT_REST, GIB, PATIENT, program, sample

SECOND = 1_000_000


def holds(
    condition: str, read: Sample, totals: dict[str, tuple[Point, ...]] | None = None
) -> object:
    made = program(f"warn when {condition}")
    ((_, guard),) = made.guards
    evaluate = figures.compiled(guard.when, made.definitions)
    return figures.truth(evaluate, Look(read, HOST, totals or {}))


# Per microsecond-free step: how many milliseconds pass, and how many of them are stalled.
STEPS = st.lists(
    st.integers(10, 3000).flatmap(lambda ms: st.tuples(st.just(ms), st.integers(0, ms))),
    min_size=1,
    max_size=80,
)


def stalled(steps: list[tuple[int, int]], late: bool, window: int) -> Fraction:
    """Return what share of the window before the end was stalled, in hundredths of a percent.

    Each step is stalled at its beginning, or at its end: two hosts with the same totals.
    """
    waited, left = 0, window
    for ms, full in reversed(steps):
        part = min(ms, left)
        waited += min(full, part) if late else max(0, part - (ms - full))
        left -= part
    return Fraction(10_000 * waited, window)


@PATIENT
@given(STEPS, st.booleans(), st.sampled_from(["stall", "pressure"]))
def test_a_share_is_never_claimed_to_be_more_or_less_than_it_was(
    steps: list[tuple[int, int]], late: bool, word: str
) -> None:
    window = 1000 if word == "stall" else 10_000
    points: tuple[Point, ...] = ()
    at = total = 0
    for number, (ms, full) in enumerate([(0, 0), *steps]):
        at, total = at + ms, total + full
        raw = {"some": total * 1000, "full": total * 1000}
        points = figures.noted(points, at / 1000, raw)
        pair = figures.share(points, at / 1000, raw, word)
        assert pair is not None
        known = steps[:number]
        least = stalled(known, late, window)
        # What was before the first reading may have been anything.
        most = least + Fraction(10_000 * max(0, window - at), window)
        assert pair[0] <= least + 1
        assert pair[1] >= most - 1
    assert len(points) <= figures._MANY + 1


@PATIENT
@given(st.integers(1, 99))
def test_a_steady_stall_is_known_to_a_tenth_once_a_second_has_been_read(percent: int) -> None:
    points: tuple[Point, ...] = ()
    for step in range(30):
        raw = {"full": percent * step * 1000}
        points = figures.noted(points, step / 10, raw)
        pair = figures.share(points, step / 10, raw, "stall")
        assert pair is not None
        if step >= 10:
            assert pair[0] <= percent * 100 <= pair[1]
            assert pair[1] - pair[0] <= 1000


def test_a_stall_is_claimed_as_soon_as_it_is_proven() -> None:
    """After a kill or a wake: at a stall of 60 % it takes 0.2 s to prove 10 % of a second."""
    points: tuple[Point, ...] = ()
    for step, proven in ((0, None), (1, None), (2, True), (3, True)):
        raw = {"full": 60_000 * step}
        points = figures.noted(points, 100 + step / 10, raw)
        read = sample(100 + step / 10, full=raw["full"])
        assert holds("host.stall > 10%", read, {HOST: points}) is proven
        assert holds("not host.stall > 10%", read, {HOST: points}) is (
            None if proven is None else False
        )
        assert holds("host.stall < 80%", read, {HOST: points}) is None


def test_a_long_rest_proves_nothing_of_the_last_second() -> None:
    points = figures.noted((), 0.0, {"full": 0})
    read = sample(60.0, full=SECOND)
    points = figures.noted(points, 60.0, {"full": SECOND})
    assert holds("host.stall > 0%", read, {HOST: points}) is None
    # All of a rest that was stalled is proof.
    points = figures.noted((), 0.0, {"full": 0})
    points = figures.noted(points, 60.0, {"full": 60 * SECOND})
    assert holds("host.stall > 99%", sample(60.0, full=60 * SECOND), {HOST: points}) is True


def test_a_quiet_rest_proves_that_nothing_stalls() -> None:
    points = figures.noted((), 0.0, {"some": 500, "full": 500})
    read = sample(60.0, some=500, full=500)
    points = figures.noted(points, 60.0, {"some": 500, "full": 500})
    assert holds("host.stall < 1% and host.pressure < 1%", read, {HOST: points}) is True


def test_little_is_kept_at_rest_and_nothing_where_nothing_is_asked() -> None:
    points: tuple[Point, ...] = ()
    nothing: tuple[Point, ...] = ()
    for at in range(0, 1000, 5):
        points = figures.noted(points, float(at), {"some": at, "full": at})
        nothing = figures.noted(nothing, float(at), {"memory": 3})
    assert len(points) <= 4
    assert nothing == ((995.0, None, None),)


def test_a_total_that_goes_back_begins_anew() -> None:
    points = figures.noted((), 0.0, {"full": 5 * SECOND})
    points = figures.noted(points, 1.0, {"full": 0})
    assert points == ((1.0, None, 0),)


@pytest.mark.parametrize(
    ("condition", "host", "expected"),
    [
        ("host.available < 10%", {"available": 819 * 2**20}, True),
        ("host.available < 10%", {"available": 820 * 2**20}, False),
        ("host.available <= 25%", {"available": 2 * GIB}, True),
        ("host.available < 10%", {"available": None}, None),
        ("host.available < 10%", {"memory": None}, None),
        ("host.available < 1GiB", {"available": GIB - 1}, True),
        ("host.swap_free < 10%", {"swap_free": 0}, True),
        # A share of nothing: with no swap it is unknown, and rules ask for it in other words.
        ("host.swap_free < 10%", {"swap": 0, "swap_free": 0}, None),
        ("not host.swap_free < 10%", {"swap": 0, "swap_free": 0}, None),
        ("host.swap == 0B or host.swap_free < 10%", {"swap": 0, "swap_free": 0}, True),
        ("host.swap == 0B or host.swap_free < 10%", {"swap_free": 4 * GIB}, False),
        ("host.available < 10% and host.stall > 1%", {"full": None}, False),
        ("host.available > 10% and host.stall > 1%", {"full": None}, None),
        ("host.available > 10% or host.stall > 1%", {"full": None}, True),
        ("host.memory - host.available > 4GiB", {"available": 3 * GIB}, True),
        ("max(host.available, host.free) < min(5GiB, host.memory)", {}, False),
        ("host.available / host.swap > 0", {"swap": 0}, None),
        ("host.available * 2 > host.memory", {}, True),
        ("(host.available > 1GiB) == (host.free > 1GiB)", {}, True),
        ("(host.available > 1GiB) != (host.free > 1GiB)", {"free": 0}, True),
        ("host.totalpages == 12GiB", {}, True),
    ],
)
def test_conditions(condition: str, host: dict[str, int | None], expected: bool | None) -> None:
    assert holds(condition, sample(5.0)._replace(host={**AT_REST, **host})) is expected


def test_definitions_upon_definitions_cost_no_more_than_their_number() -> None:
    """Each is used twice by the next: written out it would be 2 to the power of 60."""
    names = ["define d0 = host.available < 1GiB"]
    names += [f"define d{n} = not d{n - 1} or not d{n - 1}" for n in range(1, 61)]
    made = program(*names, "warn when d60")
    ((_, guard),) = made.guards
    evaluate = figures.compiled(guard.when, made.definitions)
    assert figures.truth(evaluate, Look(sample(1.0), HOST, {})) is False


def test_a_unit_that_is_not_there_is_unknown_and_its_share_is_of_the_nearest_limit() -> None:
    made = program("in a.slice: warn when scope.memory > 50%")
    ((_, guard),) = made.guards
    evaluate = figures.compiled(guard.when, made.definitions)
    units = {"/a.slice": {"memory": 3 * GIB, "limit": 5 * GIB, "memory_max": 2**63}}
    assert figures.truth(evaluate, Look(sample(1.0, units), "/a.slice", {})) is True
    assert figures.truth(evaluate, Look(sample(1.0), "/a.slice", {})) is None
