"""The kernel's badness as oomrules works it out: the points, and the size that goes into them.

``tests/oracle/killer.py`` is the kernel's selection, written without this code. The badness of
Linux 2.6.10, which is a rule, is tested in ``tests/ranking/test_badness.py``.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.ranking.kernel_badness import UNKILLABLE, Domain, Task, badness
from oomrules.ranking.ranker import Ranker
from oomrules.sinks.oom_score_adj.survey import survey_recorded
from tests.oracle.killer import victims

PAGE = 4096

VALUES = st.sampled_from([0, 0, -1000, -999, 1000]) | st.integers(-1000, 1000)
TASKS = st.lists(st.tuples(st.integers(0, 5_000), VALUES), max_size=12)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(TASKS, st.integers(1, 20_000))
def test_the_points_give_the_kernel_s_choice(drawn: list[tuple[int, int]], total: int) -> None:
    tasks = [Task(pid, pid, size, value, value) for pid, (size, value) in enumerate(drawn, 10)]
    values = {task.pid: task.current for task in tasks}
    step = Domain("", total, 20).step
    points = {task.pid: badness(task.size, task.current, step) for task in tasks}
    killable = [(given, pid) for pid, given in points.items() if given is not None]
    assert {pid for pid, given in points.items() if given is None} == {
        pid for pid, value in values.items() if value == UNKILLABLE
    }
    # Of equals the kernel takes the one that it looks at last.
    assert [pid for _, pid in sorted(killable, reverse=True)] == victims(tasks, values, total)


def test_a_step_is_a_thousandth_of_the_pages_and_the_division_is_a_whole_one() -> None:
    step = Domain("", 1_999_999, 20).step
    assert badness(500, -3, step) == 500 - 3 * 1999
    assert badness(500, 1000, Domain("/small", 999, 5).step) == 500


@pytest.mark.parametrize(
    ("process", "size"),
    [
        # /proc gives rss in pages, swap in pages, and page tables in bytes.
        ({"rss": 100, "swap": 20, "pgtables": 3 * PAGE}, 123),
        ({"rss": 100, "swap": 20, "pgtables": 3 * PAGE + PAGE - 1}, 123),
        ({"rss": 100}, 100),
        # Memory that is only reserved weighs nothing, nor does what 2.6.10 counted.
        ({"rss": 1, "total_vm": 10**9, "utime": 10**6, "nice": 19}, 1),
    ],
)
def test_the_size_is_resident_memory_swap_and_page_tables(
    process: dict[str, int], size: int
) -> None:
    host = {
        "kind": "host",
        "schema": "oomrules.snapshot/1",
        "page_size": PAGE,
        "clock_ticks": 100,
        "uptime": 1000.0,
        "mem_total": 2**33,
    }
    ordinary = {"pid": 50, "ppid": 1, "uid": 1000, "flags": 0, "total_vm": 200, "state": "S"}
    line = {"kind": "process", **ordinary, "oom_score_adj": 7, **process}
    snapshot = recorded.parse([json.dumps(host), json.dumps(line)], "x")
    rules = compiler.compile_texts([RuleText("x.oom", "score total_vm\n")])
    survey = survey_recorded(Ranker(rules, snapshot.host).rank(snapshot))
    (task,) = survey.tasks
    assert (task.size, task.current) == (size, 7)
    assert survey.domains == [Domain("", 2**33 // PAGE, 20)]
