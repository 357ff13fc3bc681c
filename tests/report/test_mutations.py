"""However a report is damaged: it is read, and whom it names stands in it."""

from __future__ import annotations

import pytest

from oomrules.report.choice import choose
from oomrules.report.model import REPRODUCED
from oomrules.report.others import SHAPES, shape
from tests.report.mutations import LURE, LURES, mentioned, mutated
from tests.report.test_forms import read


def look_at(log: bytes) -> None:
    """Read a log, and look whether what was read is in it."""
    numbers = mentioned(log)
    for report in read(log):
        assert 1 <= report.first <= report.last <= log.count(b"\n") + log.count(b"\r") + 1
        assert shape(report) in SHAPES
        killed = {each.pid for each in report.killed}
        assert killed <= numbers
        assert LURE not in killed
        assert all(report.first <= each.line <= report.last for each in report.killed)
        if report.table:
            assert report.table.rows
            assert all(row.pid in numbers for row in report.table.rows)
            assert report.table.complete or report.table.doubts
        choice = choose(report)
        assert choice.result != REPRODUCED or {
            report.killed[0].pid,
            report.killed[0].chosen,
        } & {each.row.pid for each in choice.first}


@pytest.mark.parametrize("seed", range(0, 300, 10))
def test_damaged_reports_are_read_without_a_fault(seed: int) -> None:
    for each in range(seed, seed + 10):
        look_at(mutated(each))


@pytest.mark.parametrize("lure", LURES)
def test_a_lure_is_nothing(lure: bytes) -> None:
    assert all(not report.killed for report in read(lure + b"\n"))
