"""The kernel's choice, written anew from the C of one version of each generation.

Each function follows oom_badness() or the loop around it in mm/oom_kill.c, of the version in its
name, line by line. ``select_N`` returns the pid that is chosen, 0 for none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

MIN = -1000  # OOM_SCORE_ADJ_MIN


class Task(NamedTuple):
    """A process as the kernel has it: pages, and what no report tells (``admin``)."""

    pid: int
    rss: int
    swapents: int
    ptes: int
    adj: int
    admin: bool = False


def badness_2_6_36(p: Task, totalpages: int) -> int:
    if p.adj == MIN:
        return 0
    if not totalpages:
        totalpages = 1
    points = (p.rss + p.swapents) * 1000 // totalpages
    if p.admin:
        points -= 30
    points += p.adj
    if points <= 0:
        return 1
    return points if points < 1000 else 1000


def badness_3_5(p: Task, totalpages: int) -> int:
    adj = p.adj
    if adj == MIN:
        return 0
    points = p.rss + p.ptes + p.swapents
    if p.admin:
        adj -= 30
    adj *= totalpages // 1000
    points += adj
    return points if points > 0 else 1


def badness_3_14(p: Task, totalpages: int) -> int:
    adj = p.adj
    if adj == MIN:
        return 0
    points = p.rss + p.swapents + p.ptes
    if p.admin:
        points -= (points * 3) // 100
    adj *= totalpages // 1000
    points += adj
    return points if points > 0 else 1


def badness_4_17(p: Task, totalpages: int) -> int:
    adj = p.adj
    if adj == MIN:
        return 0
    points = p.rss + p.swapents + p.ptes
    adj *= totalpages // 1000
    points += adj
    return points if points > 0 else 1


LONG_MIN = -(2**63)


def badness_5_9(p: Task, totalpages: int) -> int:
    adj = p.adj
    if adj == MIN:
        return LONG_MIN
    points = p.rss + p.swapents + p.ptes
    adj *= totalpages // 1000
    points += adj
    return points


def _greater(badness: Callable[[Task, int], int], tasks: Sequence[Task], totalpages: int) -> int:
    """``if (points > chosen_points)``, and later ``prefer thread group leaders``."""
    chosen, chosen_points = 0, 0
    for p in tasks:
        points = badness(p, totalpages)
        if points > chosen_points:
            chosen, chosen_points = p.pid, points
    return chosen


def select_2_6_36(tasks: Sequence[Task], totalpages: int) -> int:
    return _greater(badness_2_6_36, tasks, totalpages)


def select_3_5(tasks: Sequence[Task], totalpages: int) -> int:
    return _greater(badness_3_5, tasks, totalpages)


def select_3_14(tasks: Sequence[Task], totalpages: int) -> int:
    return _greater(badness_3_14, tasks, totalpages)


def select_4_17(tasks: Sequence[Task], totalpages: int) -> int:
    return _greater(badness_4_17, tasks, totalpages)


def select_5_3(tasks: Sequence[Task], totalpages: int) -> int:
    chosen, chosen_points = 0, 0
    for p in tasks:
        points = badness_4_17(p, totalpages)
        if not points or points < chosen_points:
            continue
        chosen, chosen_points = p.pid, points
    return chosen


def select_5_9(tasks: Sequence[Task], totalpages: int) -> int:
    chosen, chosen_points = 0, LONG_MIN
    for p in tasks:
        points = badness_5_9(p, totalpages)
        if points == LONG_MIN or points < chosen_points:
            continue
        chosen, chosen_points = p.pid, points
    return chosen


SELECT = {
    "2.6.36": select_2_6_36,
    "3.5": select_3_5,
    "3.14": select_3_14,
    "4.17": select_4_17,
    "5.3": select_5_3,
    "5.9": select_5_9,
}
BADNESS = {
    "2.6.36": badness_2_6_36,
    "3.5": badness_3_5,
    "3.14": badness_3_14,
    "4.17": badness_4_17,
    "5.3": badness_4_17,
    "5.9": badness_5_9,
}
RELEASE = {
    "2.6.36": "3.2.0",
    "3.5": "3.8.0",
    "3.14": "4.9.0",
    "4.17": "4.19.0",
    "5.3": "5.4.0",
    "5.9": "6.1.0",
}
