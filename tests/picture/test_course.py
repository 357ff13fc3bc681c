"""A course of things: curves keep the worst, gaps stay gaps, scales are round."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.picture.course import (
    MARKS,
    POINTS,
    Gathered,
    Mark,
    axis,
    kept,
    runs,
    thinned,
    ticks,
    times,
)

STEPS = st.lists(
    st.tuples(st.floats(0.01, 5), st.one_of(st.none(), st.floats(0, 1e12))),
    min_size=1,
    max_size=4000,
)


@pytest.mark.parametrize("worst", [min, max])
@given(STEPS)
def test_the_worst_is_never_lost(worst: Any, steps: list[tuple[float, float | None]]) -> None:
    found, at, known = Gathered(worst, 10.0), 0.0, []
    for step, value in steps:
        at += step
        found.add(at, value)
        known += [] if value is None else [(at, value)]
    curve = found.curve("x", "first")
    if not known:
        assert curve is None
        return
    assert curve is not None
    drawn = [(when, value) for when, value in curve.points if value is not None]
    assert len(drawn) <= 2 * POINTS
    assert [when for when, _ in curve.points] == sorted(when for when, _ in curve.points)
    assert worst(value for _, value in drawn) == worst(value for _, value in known)
    assert drawn[0][0] == known[0][0]
    # Each is a value that there was.
    assert {value for _, value in drawn} <= {value for _, value in known}


def test_a_gap_is_not_bridged() -> None:
    found = Gathered(min, 2.5)
    for at in (0, 1, 2, 100, 101):
        found.add(float(at), 5.0)
    curve = found.curve("x", "first")
    assert curve is not None
    assert [[at for at, _ in run] for run in runs(curve.points)] == [[0, 1, 2], [100, 101]]


def test_a_gap_in_a_long_recording_is_not_bridged_either() -> None:
    found = Gathered(min, 2.5)
    for at in range(100_000):
        found.add(float(at), None if 40_000 < at < 60_000 else 5.0)
    curve = found.curve("x", "first")
    assert curve is not None
    before, after = ([at for at, _ in run] for run in runs(curve.points))
    assert before[-1] <= 40_000 < 60_000 <= after[0]


@given(st.floats(1e-3, 1e15), st.integers(2, 6), st.sampled_from(["bytes", "percent", "number"]))
def test_a_scale_has_some_round_numbers(most: float, about: int, unit: str) -> None:
    found = ticks(most, about, unit)
    assert found[0] == 0 and found[-1] <= most * (1 + 1e-9)
    assert 1 <= len(found) <= about + 2
    if found[2:]:
        steps = [after - before for before, after in pairwise(found)]
        assert max(steps) == pytest.approx(min(steps))


def test_a_scale_of_bytes_is_in_powers_of_two() -> None:
    gib = float(1 << 30)
    assert ticks(16 * gib, 4, "bytes") == [0, 4 * gib, 8 * gib, 12 * gib, 16 * gib]
    assert ticks(100, 4, "percent") == [0, 50, 100]


def test_a_scale_of_kills_has_whole_numbers() -> None:
    assert ticks(2, 4, "number") == [0, 1, 2]
    assert ticks(30, 4, "number") == [0, 10, 20, 30]


@given(st.floats(0, 1e8), st.integers(2, 12))
def test_an_axis_has_some_round_times(seconds: float, about: int) -> None:
    found = times(seconds, about)
    assert found[0] == 0 and found[-1] <= seconds and len(found) <= about + 1


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.timezones()),
    st.floats(0, 1e8),
    st.integers(2, 12),
)
def test_a_clock_below_the_axis_shows_its_time(begun: datetime, seconds: float, about: int) -> None:
    """By the clock that the beginning is told by: its zone does not change meanwhile."""
    found = axis(begun.isoformat(), seconds, about)
    assert 1 <= len(found) <= about + 1
    fixed = datetime.fromisoformat(begun.isoformat())
    for at, text in found:
        assert 0 <= at <= seconds
        when = fixed + timedelta(seconds=at, milliseconds=1)
        forms = ("%H:%M", "%H:%M:%S", "%m-%d %H:%M", "%m-%d %H:%M:%S", "%Y-%m-%d")
        assert text in {when.strftime(form) for form in forms}
        # What is left out of it is 0, so that nobody reads a wrong time from it.
        if at:
            assert ":" in text or (when.hour, when.minute, when.second) == (0, 0, 0)
            assert text.count(":") != 1 or when.second == 0


@pytest.mark.parametrize("begun", ["", "</p>", "2026-13-45T99:99", "9999-12-31T23:59:59+00:00"])
def test_without_a_clock_the_axis_counts(begun: str) -> None:
    assert axis(begun, 1e6, 4)[1][1] in ("3 d 0:00", "4 d 0:00")


def mark(number: int, kill: bool) -> Mark:
    return Mark(at=float(number), real=True, kill=kill, cells=(str(number),))


def test_many_events_leave_room_for_all_kills() -> None:
    marks = [mark(number, number % 100 == 0) for number in range(5 * MARKS)]
    left, number = kept(marks)
    assert (len(left), number) == (MARKS, 4 * MARKS)
    assert [one for one in left if one.kill] == [one for one in marks if one.kill]
    assert left[-1] == marks[-1] and list(left) == sorted(left, key=lambda one: one.at)
    assert kept(marks[:7]) == (tuple(marks[:7]), 0)


@given(st.lists(st.integers(0, 100_000), max_size=3000).map(sorted))
def test_a_growing_curve_is_thinned_to_what_is_seen(moments: list[int]) -> None:
    points = [(float(at), float(number)) for number, at in enumerate(moments)]
    left = thinned(points, 100_000)
    assert len(left) <= 2 * (POINTS + 1) and set(left) <= set(points) and left == sorted(left)
    assert left[:1] == points[:1] and left[-1:] == points[-1:]
