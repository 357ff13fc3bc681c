"""Published reports, and what is made of them."""

from __future__ import annotations

import pytest

from oomrules.report.model import HOST, LIMIT, NODES, SYSRQ
from tests.report.oom_reports import KNOWN, NUMBERS, report

KINDS = {
    "memcg": LIMIT,
    "global": HOST,
    "CONSTRAINT_NONE": HOST,
    "CONSTRAINT_CPUSET": NODES,
    "CONSTRAINT_MEMORY_POLICY": NODES,
}


@pytest.mark.parametrize("number", NUMBERS)
def test_the_table_of_every_published_report_is_read(number: int) -> None:
    known, table = KNOWN[number], report(number).table
    assert table is not None
    assert " ".join(table.columns) == known["columns"]
    assert len(table.rows) == known["ntasks"]
    assert table.complete == known["complete"]
    assert bool(table.doubts) != known["complete"]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_victim_of_every_published_report_is_read(number: int) -> None:
    known, victim = KNOWN[number], report(number).killed[0]
    assert known["victim_pid"] in (victim.pid, victim.chosen)
    assert known["victim_name"] in (victim.name, None)


@pytest.mark.parametrize("number", NUMBERS)
def test_what_ran_out_is_read(number: int) -> None:
    known, read = KNOWN[number], report(number)
    # The fourth was asked for with a key, which its index does not say.
    assert read.kind == (SYSRQ if number == 4 else KINDS[known["constraint"]])
    assert known["kernel"] in (read.kernel, None)
