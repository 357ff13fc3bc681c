"""Who was killed, and what the list had said of them."""

from __future__ import annotations

import time

from oomrules.lean import Any
from oomrules.runtime import kills
from oomrules.runtime.kernellog import Kill
from oomrules.runtime.state import now
from oomrules.runtime.units import placement
from oomrules.service.keeper import Listed
from oomrules.service.outbox import Outbox


class Deaths:
    """Writes an entry of the journal for each kill.

    Attributes:
        count: how many there were.
        last: the last one, as ``oomrules status`` has it; ``at`` is when, in seconds since boot.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.count = 0
        self.last: dict[str, Any] | None = None

    def record(self, kill: Kill, listed: Listed | None, before: Listed | None) -> None:
        """Write down who died, and what the list said of it when the kernel looked.

        Args:
            listed: the last list, and ``before`` the one before it.
        """
        # The kernel's clock stands still in a suspend; ours does not.
        died = now() - max(0.0, time.clock_gettime(time.CLOCK_MONOTONIC) - kill.time)
        if listed and before and died < listed.given:
            listed = before
        rank, points, unit = None, None, placement(kill.cgroup).unit
        if listed and kill.pid in listed.pids:
            rank = listed.pids.index(kill.pid) + 1
            if rank <= len(listed.head):
                entry = listed.head[rank - 1]
                points, unit = entry["points"], unit or entry["unit"] or ""
        age = max(0.0, died - listed.read) if listed else None
        count = len(listed.pids) if listed else 0
        kills.record(unit, kill, rank, points, count, age, self._outbox.send)
        self.count += 1
        self.last = {
            "at": died,
            "pid": kill.pid,
            "comm": kill.comm,
            "unit": unit,
            "constraint": kill.constraint,
            "rank": rank,
            "listed": count,
            "list_age": None if age is None else round(age, 3),
        }
