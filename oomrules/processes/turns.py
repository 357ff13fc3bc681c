"""Processes in turn: each is looked at anew within a few minutes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from oomrules.processes.snapshot import Process

# The identity of every process is read anew within so many seconds, but of no fewer than so many
# processes a second: on a small host that is all of them at each heartbeat.
_WITHIN, _LEAST = 300.0, 10.0


class Turns:
    """Whose turn it is."""

    def __init__(self) -> None:
        self._order: Iterator[int] = iter(())
        # The uptime at the last turn, in seconds.
        self._last: float | None = None

    def due(self, table: Mapping[int, Process], uptime: float) -> list[Process]:
        """Return the processes that were looked at the longest time ago, as many as are due."""
        before, self._last = self._last, uptime
        passed = 0.0 if before is None else max(0.0, uptime - before)
        number = min(len(table), int(passed * max(len(table) / _WITHIN, _LEAST)))
        if not number:
            # The time that passed is not counted yet.
            self._last = uptime if before is None else before
        chosen: list[Process] = []
        for _ in range(2):
            # Round again, once: those that have come since are behind the others.
            rest = islice(self._order, number - len(chosen))
            chosen += (table[pid] for pid in rest if pid in table)
            if len(chosen) >= number:
                break
            self._order = iter(list(table))
        return chosen
