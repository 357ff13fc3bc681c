"""When the list is made anew: by a clock that the test turns."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.service.compile_timer import CompileTimer
from oomrules.service.pace import CALM, HEARTBEAT, Pace, Settling

# What happens, and how long after what happened before.
EVENTS = st.lists(
    st.tuples(st.sampled_from(("press", "stir", "ask")), st.floats(0, 20)), max_size=40
)
COSTS = st.floats(0.0001, 0.5)


def simulate(events: list[tuple[str, float]], cost: float, until: float) -> list[tuple[float, str]]:
    """Let a pace run; each refresh takes so long. Gives when they began, and why."""
    pace, at, refreshes = Pace(HEARTBEAT, 0.0), 0.0, []
    moments, moment = [], 0.0
    for what, later in events:
        moment += later
        moments.append((moment, what))
    while at < until:
        if moments and moments[0][0] <= max(at, pace.due):
            # What happens during a refresh is noticed after it.
            moment, what = moments.pop(0)
            at = max(at, moment)
            getattr(pace, what)(at)
            continue
        at = max(at, pace.due)
        refreshes.append((at, pace.reason()))
        pace.done(at + cost, cost)
        at += cost
    return refreshes


@given(EVENTS, COSTS)
def test_it_never_takes_more_than_its_share_of_the_time(
    events: list[tuple[str, float]], cost: float
) -> None:
    refreshes = simulate(events, cost, 900)
    for (before, _), (after, why) in itertools.pairwise(refreshes):
        idle = after - before - cost
        assert idle >= {"request": 2, "pressure": 5, "units": 20}.get(why, 0) * cost - 1e-6
        if why == "pressure":
            assert idle >= 0.5 - 1e-6


@given(EVENTS, COSTS)
def test_the_list_is_never_older_than_a_heartbeat(
    events: list[tuple[str, float]], cost: float
) -> None:
    times = [at for at, _ in simulate(events, cost, 900)]
    assert all(b - a <= HEARTBEAT + cost + 1e-6 for a, b in itertools.pairwise(times))


@given(EVENTS, COSTS)
def test_whoever_asks_is_answered_soon_and_units_are_seen_soon(
    events: list[tuple[str, float]], cost: float
) -> None:
    refreshes = [at for at, _ in simulate(events, cost, 2000)]
    moment = 0.0
    for what, later in events:
        moment += later
        longest = {"ask": 4 * cost, "stir": 1.2 + 22 * cost, "press": 0.5 + 7 * cost}[what]
        assert any(moment <= at <= moment + longest + 1e-6 for at in refreshes)


def test_while_the_machine_is_well_nothing_is_due_before_the_heartbeat() -> None:
    refreshes = simulate([], 0.01, 100)
    assert [why for _, why in refreshes] == ["heartbeat"] * 4
    assert [at for at, _ in refreshes] == pytest.approx([30, 60.01, 90.02, 120.03])


def test_under_pressure_it_is_fast_until_there_was_none_for_a_while() -> None:
    refreshes = simulate([("press", 5.0)], 0.01, 100)
    fast = [at for at, why in refreshes if why == "pressure"]
    assert fast[0] == 5.0
    assert 18 <= len(fast) <= 21
    assert fast[-1] <= 5.0 + CALM
    assert [why for _, why in refreshes[len(fast) :]] == ["heartbeat"] * 3


def test_what_a_refresh_waits_for_is_no_reason_to_wait_for_the_next_one() -> None:
    pace = Pace(HEARTBEAT, 0.0)
    pace.press(1.0)
    # Memory was so short that it took 8 s, and next to nothing of that was its own work.
    pace.done(9.0, 0.02)
    pace.press(9.0)
    assert pace.due == 9.5
    pace.stir(9.1)
    assert pace.reason() == "pressure" and pace.due == 9.5


def test_under_pressure_the_next_list_is_never_far() -> None:
    pace = Pace(HEARTBEAT, 0.0)
    pace.done(1.0, 20.0)
    pace.press(1.0)
    assert pace.due == 4.0


def test_many_units_at_once_are_one_refresh() -> None:
    refreshes = simulate([("stir", 1.0)] + [("stir", 0.001)] * 100, 0.001, 20)
    assert [why for _, why in refreshes] == ["units", "heartbeat"]


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_what_changes_is_left_alone_until_it_rests_but_not_for_ever(steps: list[float]) -> None:
    settling, at, first = Settling(1.0, 10.0), 0.0, None
    assert settling.due == float("inf")
    for step in steps:
        at += step
        if settling.due <= at:
            settling.reset()
            first = None
        settling.change(at)
        first = at if first is None else first
        assert at < settling.due or settling.due == first + 10.0
        assert settling.due <= first + 10.0
        assert settling.due == min(at + 1.0, first + 10.0)


def test_users_that_change_again_and_again_are_looked_up_now_and_then(tmp_path: Path) -> None:
    # A user may have a part in it, by chsh(1).
    timer = CompileTimer([str(tmp_path)], [])
    timer.accounts.change(1.0)
    assert timer.due(0.0) == float("inf")  # no rule names anybody, as far as is known
    timer._asks, timer._started_at = True, -9.0
    assert timer.due(0.0) == pytest.approx(2.0)
    timer._started_at, timer._took = 100.0, 2.0
    timer.accounts.reset()
    for at in range(101, 200):
        timer.accounts.change(float(at))
        assert timer.due(0.0) >= 140.0
    assert timer.due(0.0) == pytest.approx(140.0)
    timer.accounts.reset()
    assert timer.due(0.0) == pytest.approx(400.0)


def test_that_a_unit_came_is_known_until_there_is_a_list() -> None:
    pace = Pace(30, 100.0)
    assert not pace.stirred
    pace.stir(101.0)
    pace.press(101.0)
    assert pace.stirred and pace.reason() == "pressure"
    pace.done(102.0, 0.01)
    assert not pace.stirred
