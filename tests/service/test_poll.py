"""What is ready is handled, unless another handler has done with it."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import pytest

from oomrules.service.poll import PollTable


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    """Two pipes that can be read."""
    pipes = [os.pipe() for _ in range(2)]
    for _, end in pipes:
        os.write(end, b"x")
    yield pipes
    for pipe in pipes:
        for descriptor in pipe:
            os.close(descriptor)


def test_what_a_handler_removes_is_not_handled_in_the_same_round(
    pipes: list[tuple[int, int]],
) -> None:
    table, handled = PollTable(), []
    readable = [begin for begin, _ in pipes]

    def remove_the_other(mine: int) -> None:
        handled.append(mine)
        table.remove(sum(readable) - mine)

    for descriptor in readable:
        table.add(descriptor, lambda _, mine=descriptor: remove_the_other(mine))  # type: ignore[misc]
    table.wait(10)
    assert len(handled) == 1
    table.wait(10)
    assert handled == [handled[0]] * 2


def test_a_descriptor_that_is_added_again_has_the_new_handler_and_events(
    pipes: list[tuple[int, int]],
) -> None:
    table, handled = PollTable(), []
    (begin, end), _ = pipes
    table.add(begin, lambda _: handled.append("old"))
    table.add(begin, lambda events: handled.append(str(events)), 0)
    table.wait(0)
    assert handled == []
    os.close(end)
    table.wait(10)
    assert handled == [str(select.POLLHUP)]
    os.dup2(begin, end)  # for the fixture to close


def test_nothing_is_waited_for_where_there_is_no_descriptor() -> None:
    table = PollTable()
    table.add(-1, lambda _: None)
    table.remove(-1)
    begun = time.monotonic()
    table.wait(0.05)
    assert time.monotonic() - begun >= 0.05
