"""The ranking: candidates in order, worst first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from oomrules.runtime.evaluator import Evaluator, Verdict
from oomrules.runtime.model import PF_EXITING, PF_KTHREAD, UNREAD, Process, Snapshot
from oomrules.runtime.nodes import glob
from oomrules.runtime.units import placement
from oomrules.runtime.values import GETTERS

_NEVER_FLAGS = PF_EXITING | PF_KTHREAD
_DEAD_STATES = ("Z", "X", "x")
_LATEST = 2**64


class Ranking(NamedTuple):
    """The candidates of one snapshot, worst first."""

    candidates: list[Process]
    snapshot: Snapshot
    evaluator: Evaluator

    @property
    def pids(self) -> list[int]:
        """The list that goes to the kernel."""
        return [process.pid for process in self.candidates]

    def verdict(self, process: Process) -> Verdict:
        """Say why a process ranks where it does, or why it does not."""
        return self.evaluator.judge(process, self.snapshot)

    def excluded(self) -> Iterator[tuple[Process, Verdict]]:
        """Give the processes that are no candidates, by pid, with the reason.

        One that has vanished meanwhile is not among them.
        """
        ranked = set(self.pids)
        for process in sorted(self.snapshot.processes, key=lambda process: process.pid):
            if process.pid in ranked:
                continue
            verdict = self.verdict(process)
            if process.state not in ("X", "x"):
                yield process, verdict


class Ranker:
    """Ranks snapshot after snapshot by one program.

    The order is exact: tier; base times weight, descending; earlier start; lower pid.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        # Fractions are compared as whole numbers over a common denominator.
        self._common = 1
        self._scales: dict[int, int] = {1: 1}

    def rank(
        self, snapshot: Snapshot, keep: Callable[[Process, Snapshot], bool] | None = None
    ) -> Ranking:
        """Rank the processes of a snapshot.

        Args:
            keep: limits the candidates, for a list of one unit.
        """
        prepare, host = self.evaluator.prepare, snapshot.host
        now, hz = int(host.uptime), host.clock_ticks
        if snapshot.prepared_for is not self.evaluator:
            for process in snapshot.processes:
                process.judge = UNREAD
            snapshot.prepared_for = self.evaluator
        scales = self._scales
        entries: list[Any] = []
        for process in snapshot.processes:
            judge = process.judge
            if (
                judge is None
                or process.total_vm == 0
                or (process.flags or 0) & _NEVER_FLAGS
                or process.state in _DEAD_STATES
            ):
                continue
            if judge is UNREAD:
                judge = process.judge = prepare(process, snapshot)
                # It may have vanished while its identity was read.
                if judge is None or process.state in _DEAD_STATES:
                    continue
            found = judge(process, now, hz, snapshot)
            if found is not None:
                tier, above, below = found
                if below not in scales:
                    wider = self._widen(below)
                    entries = [(t, key * wider, *rest) for t, key, *rest in entries]
                start = process.starttime
                entries.append(
                    (
                        tier,
                        -above * scales[below],
                        _LATEST if start is None else start,
                        process.pid,
                        process,
                    )
                )
        entries.sort()
        candidates = [entry[4] for entry in entries]
        # Freed before anything else is made, so that the memory is used again.
        del entries
        if keep is not None:
            candidates = [process for process in candidates if keep(process, snapshot)]
        return Ranking(candidates, snapshot, self.evaluator)

    def _widen(self, below: int) -> int:
        """Take one more denominator; returns by how much all keys so far have to grow."""
        before, self._common = self._common, math.lcm(self._common, below)
        self._scales[below] = 0
        for known in self._scales:
            self._scales[known] = self._common // known
        return self._common // before


def within(unit: str) -> Callable[[Process, Snapshot], bool]:
    """Keep the processes of a unit and of everything below it; the unit is a glob."""

    def keep(process: Process, snapshot: Snapshot) -> bool:
        cgroup = GETTERS["cgroup"](process, snapshot)
        return cgroup is not None and any(glob(name, unit) for name in placement(cgroup).chain)

    return keep
