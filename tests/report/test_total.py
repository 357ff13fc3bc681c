"""The total that oom_score_adj is multiplied by, and the size of a page."""

from __future__ import annotations

from typing import Any

import pytest

from oomrules.report.model import (
    HOST,
    LIMIT,
    NODES,
    SYSRQ,
    Figures,
    Killed,
    Report,
    Row,
    Table,
)
from oomrules.report.total import page_size, total
from tests.report.oom_reports import KNOWN, NUMBERS, report

NONE = 9007199254740988  # PAGE_COUNTER_MAX in KiB, with pages of 4 KiB


def made(kind: str = HOST, **figures: Any) -> Report:
    return Report(source="made", first=1, last=2, kind=kind, figures=Figures(**figures))


def between(kind: str = HOST, **figures: int) -> tuple[int, int | None]:
    found = total(made(kind, **figures))
    assert found.exact == (found.least == found.most)
    return found.least, found.most


@pytest.mark.parametrize("number", NUMBERS)
def test_the_total_of_a_published_report_is_what_is_known_of_it(number: int) -> None:
    known = KNOWN[number]["totalpages"]
    found = total(report(number))
    if known is None:
        assert not found.exact
    elif report(number).kind in (HOST, SYSRQ):
        assert (found.least, found.most) == (known, known)
    else:
        assert found.least <= known
        assert found.most is None or known <= found.most


def test_of_a_host_it_is_ram_that_is_not_reserved_and_swap() -> None:
    assert between(ram=1000, reserved=100, swap_total=400) == (1000, 1000)
    assert between(ram=1000, reserved=100) == (900, None)
    assert between(ram=1000, swap_total=400) == (1, 1100)
    assert between(swap_total=400) == (101, None)
    assert between() == (1, None)


def test_of_nodes_it_is_not_known() -> None:
    assert between(NODES, ram=1000, reserved=100, swap_total=400) == (101, None)
    assert between(NODES) == (1, None)


def test_of_a_limit_it_is_the_limit_and_the_swap_that_may_be_used() -> None:
    assert between(LIMIT, limit=400, swap_limit=0) == (100, 100)
    assert between(LIMIT, limit=400, swap_limit=40) == (100, 110)
    assert between(LIMIT, limit=400, swap_limit=NONE) == (100, None)
    assert between(LIMIT, limit=400, swap_limit=NONE, swap_total=80) == (100, 120)
    assert between(LIMIT, limit=400, memory_and_swap_limit=400) == (100, 100)
    assert between(LIMIT, limit=400, memory_and_swap_limit=480) == (100, 120)
    assert between(LIMIT, limit=400, memory_and_swap_limit=NONE) == (100, None)
    assert between(LIMIT, limit=0, swap_limit=0) == (1, 1)
    assert between(LIMIT, limit=NONE) == (1, None)
    assert between(LIMIT) == (1, None)


def test_what_somebody_says_counts() -> None:
    found = total(made(ram=1), hint=8192)
    assert (found.least, found.most) == (2, 2)
    assert total(made(ram=1), hint=131072, page_size=65536).least == 2


def test_what_processes_cannot_share_is_a_least_total() -> None:
    columns = ("pid", "rss_anon", "pgtables_bytes", "swapents", "name")
    numbers = ((1, 500, 4096, 7, "one"), (2, 300, 8192, 0, "one"), (3, 40, 0, 2, "two"))
    rows = tuple(
        Row(line=pid, values={"pid": pid, "rss_anon": anon, "pgtables_bytes": tables,
                              "swapents": swap}, name=name)
        for pid, anon, tables, swap, name in numbers
    )  # fmt: skip
    read = Report(
        source="", first=1, last=9, kind=HOST, table=Table(line=1, columns=columns, rows=rows)
    )
    assert total(read).least == 507 + 42 + 3


@pytest.mark.parametrize("size", [4096, 8192, 16384, 32768, 65536])
def test_the_victims_memory_tells_the_size_of_a_page(size: int) -> None:
    # The two are of different moments.
    kib = 5_000 * size // 1024 + 300
    row = Row(line=3, values={"pid": 7, "total_vm": 5_000, "rss": 100}, name="x")
    read = Report(
        source="",
        first=1,
        last=9,
        table=Table(line=2, columns=("pid", "total_vm", "rss", "name"), rows=(row,)),
        killed=(Killed(line=4, pid=7, name="x", total_vm=kib),),
    )
    sizes, known = page_size(read)
    assert sizes == (size,)
    assert "line 4" in known
    assert page_size(read, 8192)[0] == (8192,)


def test_without_a_victim_the_machine_tells_the_size_of_a_page_or_nothing() -> None:
    values: dict[str, Any] = {"source": "", "first": 1, "last": 9}
    assert page_size(Report(**values, kernel="6.1.0-18-amd64"))[0] == (4096,)
    sizes, known = page_size(Report(**values, kernel="6.1.0-18-arm64"))
    assert sizes == (4096, 16384, 65536)
    assert "assumed" in known
