"""Hosts that are made of the published reports."""

from __future__ import annotations

import pytest

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.processes.values import GETTERS, known
from oomrules.ranking.ranker import Ranker
from oomrules.report import hosts
from oomrules.report.choice import choose
from tests.report.oom_reports import NUMBERS, report

# The kernel's own formula since Linux 5.9 (oom_badness() in mm/oom_kill.c), in the language.
FORMULA = """\
score footprint + oom_score_adj * totalpages / 1000
never kill oom_score_adj -1000
"""
PROGRAM = compiler.compile_texts([RuleText("rules", FORMULA)])


@pytest.mark.parametrize("number", NUMBERS)
def test_a_host_is_made_of_every_published_report(number: int) -> None:
    one = report(number)
    made = hosts.made(one, choose(one))
    assert one.table is not None
    processes = {row.values.get("tgid", row.pid) for row in one.table.rows}
    processes |= {killed.pid for killed in one.killed} & set(hosts.pids(one).values())
    assert made.snapshot.by_pid.keys() - {hosts.INIT} == processes - {hosts.INIT}
    again = recorded.parse(made.text.splitlines(), "again")
    assert again.host == made.snapshot.host
    for pid, process in made.snapshot.by_pid.items():
        for name in ("footprint", "oom_score_adj", "uid", "comm", "unit", "totalpages"):
            get = GETTERS[name]
            assert get(again.by_pid[pid], again) == get(process, made.snapshot)


@pytest.mark.parametrize("number", NUMBERS)
def test_with_what_is_assumed_nothing_of_a_process_is_unknown(number: int) -> None:
    one = report(number)
    made = hosts.made(one, choose(one), assume=True)
    for pid, process in made.snapshot.by_pid.items():
        for name in ("unit", "user", "run_time", "nice", "capabilities", "cmdline", "footprint"):
            assert pid == hosts.INIT or known(name, process, made.snapshot) is not None


def test_the_kernels_formula_in_the_language_gives_its_points() -> None:
    compared = 0
    for number in NUMBERS:
        one = report(number)
        chosen = choose(one)
        total = chosen.total.least
        made = hosts.recorded(one, chosen)
        ranking = Ranker(PROGRAM, made.host).rank(made)
        assert one.table is not None
        if not chosen.total.exact or "swapents" not in one.table.columns:
            continue
        sizes = {}
        for row in one.table.rows:
            values = row.values
            pages = values.get("nr_ptes", 0) + values.get("nr_pmds", 0) + values.get("nr_puds", 0)
            pages += values.get("pgtables_bytes", 0) // chosen.page_size
            rss = values.get("rss", 0) or sum(
                values.get(key, 0) for key in ("rss_anon", "rss_file", "rss_shmem")
            )
            size = rss + values["swapents"] + pages
            adj = values["oom_score_adj"]
            points = 1000 * size + adj * total
            if adj != -1000 and points > 0 and values["total_vm"]:
                sizes[values.get("tgid", row.pid)] = points
        assert {process.pid for process in ranking.candidates} == sizes.keys(), number
        order = [sizes[process.pid] for process in ranking.candidates]
        assert order == sorted(order, reverse=True), number
        compared += len(order)
    assert compared > 1500
