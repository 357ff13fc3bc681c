"""Who was killed, and what the list had said of them."""

from __future__ import annotations

import time

from oomrules.lean import Any
from oomrules.runtime import journal, kills
from oomrules.runtime.cgroups import Hierarchy
from oomrules.runtime.kernellog import Kill
from oomrules.runtime.state import now, victim
from oomrules.runtime.units import placement
from oomrules.service.keeper import Listed
from oomrules.service.outbox import Outbox

# Kills at a limit that are recorded one by one: of each unit or user, and of all of them, in so
# many seconds. Anybody can have his own processes killed as often as he likes.
_EACH, _ALL, _SPAN = 30, 300, 60.0

# Units and users that are counted apart.
_MOST = 256


class Tally:
    """Kills of one unit or user since some time, and how many of them were left out."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.recorded = self.left_out = 0


class Deaths:
    """Writes an entry of the journal for each kill, but no flood of them.

    Attributes:
        count: how many there were.
        last: the last one, as ``oomrules status`` has it; ``at`` is when, in seconds since boot.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._unit_root = Hierarchy().unit_root()
        self._tallies: dict[str, Tally] = {}
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
        if listed:
            # The log names a process by the thread that was taken for it.
            whose = {victim(entry): entry["pid"] for entry in listed.head}
            kill = kill._replace(pid=whose.get(kill.pid, kill.pid))
        rank, points, place = None, None, placement(kill.cgroup, self._unit_root)
        unit, user_unit = place.system.unit, place.user_unit
        if listed and kill.pid in listed.pids:
            rank = listed.pids.index(kill.pid) + 1
            if rank <= len(listed.head):
                entry = listed.head[rank - 1]
                points = entry["points"]
                if not unit:
                    unit, user_unit = _units(entry)
        age = max(0.0, died - listed.read) if listed else None
        count = len(listed.pids) if listed else 0
        self.count += 1
        if self._is_recorded(kill, now()):
            send = self._outbox.send
            kills.record(unit, kill, rank, points, count, age, send, user_unit)
        self.last = {
            "at": died,
            "pid": kill.pid,
            "comm": kill.comm,
            "unit": user_unit or unit,
            "constraint": kill.constraint,
            "rank": rank,
            "listed": count,
            "list_age": None if age is None else round(age, 3),
        }

    def _is_recorded(self, kill: Kill, at: float) -> bool:
        """Whether a kill has an entry of its own; who dies with the host always has."""
        if not kill.constraint.endswith("MEMCG"):
            return True
        self.sum_up(at)
        whose = _whose(kill.cgroup, self._unit_root)
        if whose not in self._tallies and len(self._tallies) >= _MOST:
            whose = ""
        tally = self._tallies.setdefault(whose, Tally(at))
        recorded = sum(one.recorded for one in self._tallies.values())
        if tally.recorded >= _EACH or recorded >= _ALL:
            tally.left_out += 1
            return False
        tally.recorded += 1
        return True

    def sum_up(self, at: float) -> None:
        """Say how many kills were left out, once the time is over in which they were counted."""
        for whose, tally in list(self._tallies.items()):
            if at < tally.since + _SPAN:
                continue
            del self._tallies[whose]
            if tally.left_out:
                self._outbox.send(
                    f"{tally.left_out} more processes of {whose or 'other units'} were killed at a "
                    f"memory limit within {_SPAN:.0f} s, and are not recorded one by one",
                    journal.WARNING,
                )


def _whose(cgroup: str, root: str) -> str:
    """Name whom a kill is counted for: a unit, or a user, who may have any number of units."""
    chain = placement(cgroup, root).chain
    users = [unit for unit in chain if unit.startswith("user-") and unit.endswith(".slice")]
    return users[0] if users else chain[-1]


def _units(entry: dict[str, Any]) -> tuple[str, str]:
    """Give the system's unit and the user's in which a list had a process."""
    unit, manager = entry["unit"] or "", entry.get("manager")
    return (f"user@{manager}.service", unit) if manager else (unit, "")
