"""Units that lose processes again and again are counted, within bounds."""

from __future__ import annotations

from oomrules.service.losses import Losses


def test_the_third_loss_within_ten_minutes_is_said_once() -> None:
    losses = Losses()
    said = [losses.add("a.service", (pid, 1), at=60.0 * pid) for pid in range(1, 9)]
    assert said == [0, 0, 3, 0, 0, 0, 0, 0]
    # Still so after another ten minutes.
    assert [losses.add("a.service", (pid, 1), at=60.0 * pid) for pid in range(9, 14)][-1] > 3


def test_losses_far_apart_are_no_loop() -> None:
    losses = Losses()
    assert not any(losses.add("a.service", (pid, 1), at=400.0 * pid) for pid in range(1, 20))


def test_a_process_that_is_asked_and_then_killed_is_one() -> None:
    losses = Losses()
    for pid in (1, 2):
        assert losses.add("a.service", (pid, 1), at=pid) == 0
        assert losses.add("a.service", (pid, 1), at=pid + 0.5) == 0
    assert losses.add("a.service", (2, 7), at=4.0) == 3


def test_units_are_counted_apart_and_not_without_end() -> None:
    losses = Losses()
    for number in range(10_000):
        losses.add("steady.service", (number, 1), at=number)
        losses.add(f"x{number}.service", (number, 1), at=number)
    assert losses.most(2)["steady.service"] == 10_000
    assert len(losses.most(100_000)) < 500


def test_a_unit_that_is_stopped_begins_anew() -> None:
    losses = Losses()
    assert [losses.add("a.service", (pid, 1), at=pid) for pid in (1, 2, 3)] == [0, 0, 3]
    losses.begin_anew("a.service")
    assert [losses.add("a.service", (pid, 1), at=pid) for pid in (4, 5, 6)] == [0, 0, 3]
