"""The preset of the kernel's own measure gives the kernel's own order.

``tests/oracle/killer.py`` is the kernel's selection, written from mm/oom_kill.c.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from oomrules import resources
from oomrules.language import rulefiles
from oomrules.language.compiler import compile_rules
from oomrules.processes import ordinary
from oomrules.ranking.ranker import Ranker
from tests.oracle.killer import victims


class Task(NamedTuple):
    """A process: what it holds in pages, and its oom_score_adj."""

    pid: int
    rss: int
    swap: int
    pgtables: int
    oom_score_adj: int

    @property
    def size(self) -> int:
        return self.rss + self.swap + self.pgtables


def _pages(most: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 64), st.integers(0, most))


ADJUSTMENTS = st.one_of(
    st.sampled_from((-1000, -999, -998, -1, 0, 1, 999, 1000)), st.integers(-1000, 1000)
)
TASKS = st.lists(
    st.tuples(_pages(2**22), _pages(2**22), st.integers(1, 2**12), ADJUSTMENTS),
    max_size=8,
)


MEASURE = compile_rules(rulefiles.given([str(resources.rules() / "presets/kernel.oom")]))


@given(TASKS, st.integers(1000, 2**24), st.integers(0, 2**22))
def test_the_order_is_the_one_in_which_the_kernel_kills(
    made: list[tuple[int, int, int, int]], ram: int, swap: int
) -> None:
    tasks = [Task(pid, *values) for pid, values in enumerate(made, 2)]
    snapshot = ordinary.snapshot(
        "made up",
        {
            "clock_ticks": 100,
            "uptime": 10_000.0,
            "mem_total": ram * ordinary.PAGE_SIZE,
            "swap_total": swap * ordinary.PAGE_SIZE,
        },
        [
            ordinary.process_line(
                task.pid,
                starttime=1000,
                rss=task.rss,
                swap=task.swap,
                pgtables=task.pgtables * ordinary.PAGE_SIZE,
                oom_score_adj=task.oom_score_adj,
            )
            for task in tasks
        ],
    )
    ranking = Ranker(MEASURE, snapshot.host).rank(snapshot)
    # Equals may stand in any order.
    values = {task.pid: task.oom_score_adj for task in tasks}
    points = {task.pid: task.size + task.oom_score_adj * ((ram + swap) // 1000) for task in tasks}
    expected = victims(tasks, values, ram + swap)
    assert sorted(ranking.pids) == sorted(expected)
    assert [points[pid] for pid in ranking.pids] == [points[pid] for pid in expected]
