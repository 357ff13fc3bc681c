"""The kernel's selection, written anew from oom_badness() and oom_evaluate_task().

It knows nothing of plans, domains or margins. What a process weighs and which value it has are
given; every limit is a number of pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Weighed(Protocol):
    """A process: its pid, and what it holds in pages."""

    @property
    def pid(self) -> int: ...

    @property
    def size(self) -> int: ...


def victims(tasks: Sequence[Weighed], values: Mapping[int, int], totalpages: int) -> list[int]:
    """Return the pids that the kernel kills, one after the other, until none can be killed."""
    alive = list(tasks)
    order: list[int] = []
    while True:
        chosen, most = None, -(2**63)
        for task in alive:
            if values[task.pid] == -1000:
                continue
            points = task.size + values[task.pid] * (totalpages // 1000)
            if points >= most:
                chosen, most = task, points
        if chosen is None:
            return order
        order.append(chosen.pid)
        alive.remove(chosen)
