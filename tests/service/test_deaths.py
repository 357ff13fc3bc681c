"""A kill is recorded with what the list that was in force had said of the victim."""

from __future__ import annotations

import time

import pytest

from oomrules.runtime import journal
from oomrules.runtime.kernellog import Kill
from oomrules.runtime.state import now
from oomrules.service.deaths import Deaths
from oomrules.service.keeper import Listed
from oomrules.service.outbox import Outbox


class Kept(Outbox):
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[dict[str, str]] = []

    def send(
        self, message: str, priority: int = journal.INFO, fields: dict[str, str] | None = None
    ) -> bool:
        self.fields.append(fields or {})
        return True


def killed(ago: float, pid: int = 7) -> Kill:
    """A kill so many seconds ago, by the kernel's clock."""
    at = time.clock_gettime(time.CLOCK_MONOTONIC) - ago
    return Kill(1, "CONSTRAINT_NONE", "/system.slice/x.service", "x", pid, 1000, at)


def head(pid: int, points: int) -> list[dict[str, object]]:
    return [{"rank": 1, "pid": pid, "comm": "x", "unit": "x.service", "points": points}]


@pytest.mark.parametrize(
    ("ago", "rank", "points", "age"),
    [
        # The last list was read 5 s ago and handed over 4 s ago, the one before 20 and 19 s ago.
        (2.0, 1, 30, 3.0),
        (4.5, None, None, 15.5),
        (10.0, None, None, 10.0),
    ],
)
def test_the_list_that_counts_is_the_one_the_kernel_had(
    ago: float, rank: int | None, points: int | None, age: float
) -> None:
    at, outbox = now(), Kept()
    listed = Listed(at - 5, at - 4, [7, 8], head(7, 30), "list")
    before = Listed(at - 20, at - 19, [8], head(8, 40), "list")
    deaths = Deaths(outbox)
    deaths.record(killed(ago), listed, before)
    assert deaths.count == 1 and deaths.last
    assert (deaths.last["rank"], deaths.last["unit"]) == (rank, "x.service")
    assert deaths.last["list_age"] == pytest.approx(age, abs=0.2)
    assert outbox.fields[0]["OOMRULES_RANK"] == str(rank or "")
    assert outbox.fields[0]["OOMRULES_POINTS"] == ("" if points is None else str(points))


def test_without_any_list_the_kill_is_recorded_all_the_same() -> None:
    outbox = Kept()
    deaths = Deaths(outbox)
    deaths.record(killed(1.0), None, None)
    assert deaths.last and deaths.last["list_age"] is None and deaths.last["listed"] == 0
    assert outbox.fields[0]["OOMRULES_LIST_AGE"] == ""
