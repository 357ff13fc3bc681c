"""The kernel's formula, written as rules, puts a report's processes as the kernel does."""

from __future__ import annotations

import pytest

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.ranking.ranker import Ranker
from oomrules.report import hosts
from oomrules.report.choice import choose, points
from oomrules.report.model import LIMIT, REPRODUCED, Total
from tests.report.oom_reports import NUMBERS, report

RULES = """\
score footprint + oom_score_adj * totalpages / 1000
never kill oom_score_adj -1000
"""
# Rules cannot ask for swap that no column has.
WHOLE = [
    number for number in NUMBERS if (table := report(number).table) and "swapents" in table.columns
]
GENERATION, LINUX = "5.9", "6.1"


def listed(number: int, total: Total) -> list[int]:
    """Return the pids of a report in the order of the rules, for one total."""
    choice = choose(report(number), total=total, linux=LINUX)
    snapshot = hosts.recorded(report(number), choice)
    program = compiler.compile_texts([RuleText("kernel.oom", RULES)])
    return [each.pid for each in Ranker(program, snapshot.host).rank(snapshot).candidates]


@pytest.mark.parametrize("number", WHOLE)
def test_the_formula_as_rules_gives_the_order_of_the_replay(number: int) -> None:
    told = choose(report(number)).total
    # The kernel divides first and leaves the rest; rules have fractions.
    pages = max(1000, told.least // 1000 * 1000)
    total = Total(least=pages, most=pages, known="")
    page_size = choose(report(number)).page_size
    table = report(number).table
    assert table is not None
    counted = {
        row.values["tgid"]: points(row, GENERATION, total, page_size)[0]
        for row in table.rows
        if row.values["oom_score_adj"] > -1000
    }
    # Who has no points by the rules is not on their list.
    expected = sorted((each for each in counted.values() if each > 0), reverse=True)
    assert [counted[pid] for pid in listed(number, total)] == expected


@pytest.mark.parametrize("number", WHOLE)
def test_the_formula_as_rules_takes_whom_the_kernel_took(number: int) -> None:
    choice = choose(report(number))
    if choice.result != REPRODUCED or choice.generation != GENERATION:
        return
    total = Total(least=choice.total.least, most=choice.total.least, known="")
    first = listed(number, total)[0]
    (same, *_) = (each for each in choice.first if each.row.values["tgid"] == first)
    # Of equals the rules take another one than the kernel.
    assert points(same.row, GENERATION, total, 4096) == points(
        choice.first[0].row, GENERATION, total, 4096
    )
    if report(number).kind != LIMIT and choice.code == "RPL101":
        assert first == choice.first[0].row.pid
