"""The processes that were killed, and what the list had said of them."""

from __future__ import annotations

from collections.abc import Callable

from oomrules.clock import now
from oomrules.kills import journal
from oomrules.kills.entry import Listing, died, is_of, overwritten, record, record_facts
from oomrules.kills.kernel_log import Kill
from oomrules.lean import Any
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.units import placement
from oomrules.service.kept import Found
from oomrules.service.list import Listed
from oomrules.service.outbox import Outbox
from oomrules.service.ration import Ration

# How many kills at a limit are recorded one by one within _SPAN seconds: of each user, of each unit
# of the system, and of all of them. Users can have their own processes killed without end.
_USER, _UNIT, _ALL, _SPAN = 30, 100, 300, 60.0

# How many entries with facts there are within _SPAN seconds, of some 20 KiB each: of kills at a
# limit of each user, of each unit of the system, and in all; and of kills with the host.
_FACTS_USER, _FACTS_UNIT, _FACTS_ALL, _FACTS_HOST = 1, 2, 10, 10

# Returns what was read last of the process with a pid.
Known = Callable[[int], "dict[str, Any] | None"]
# Returns what is known of all processes after a kill: ``CurrentList.aftermath``.
After = Callable[[Kill, float, "Listed | None"], "Found | None"]


class Recorder:
    """Writes an entry of the journal for each kill, but no flood of them.

    Attributes:
        count: how many there were.
        asked: how many were asked to end, by the module.
        lost: how many messages of the kernel's log were overwritten before they were read;
            ``sum_up`` says so.
        last: the last one, as ``oomrules status`` has it, and ``last_at`` when it was, in seconds
            since the boot.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._unit_root = Hierarchy().unit_root()
        self._ration = Ration(_USER, _UNIT, _ALL, _SPAN)
        self._of_facts = Ration(_FACTS_USER, _FACTS_UNIT, _FACTS_ALL, _SPAN)
        self._of_host = Ration(_FACTS_HOST, _FACTS_HOST, _FACTS_HOST, _SPAN)
        self.count = self.asked = self.lost = 0
        self._lost_told, self._lost_told_at = 0, -_SPAN
        self.last: dict[str, Any] | None = None
        self.last_at = 0.0

    def record(
        self,
        kill: Kill,
        listed: Listed | None,
        before: Listed | None,
        known: Known = lambda pid: None,
        after: After = lambda kill, at, listed: None,
    ) -> None:
        """Record a kill, or a SIGTERM, and what the list had said when the kernel looked.

        Args:
            listed: the last list, and ``before`` the one before it.
            known: ``CurrentList.known``; it serves where no list says more.
            after: ``CurrentList.aftermath``; it costs, so it is not asked without end.
        """
        at = died(kill)
        listed = _in_force(at, listed, before)
        entry = _entry(kill, at, listed, known)
        if entry:
            # The log names a process by a thread if its first one had ended.
            kill = kill._replace(pid=entry["pid"])
        listing = Listing(
            rank=_rank(kill, listed, entry),
            points=entry.get("points") if entry else None,
            length=len(listed.pids) if listed else 0,
            age=max(0.0, at - listed.read) if listed else None,
        )
        unit, user_unit = _units(kill, entry, self._unit_root)
        if kill.polite:
            record(unit, kill, listing, user_unit, self._outbox.send)
        elif self._is_recorded(kill, unit, user_unit):
            found = after(kill, at, listed) if self._takes_facts(kill, unit, user_unit) else None
            alone = found.alone if found else None
            record(unit, kill, listing, user_unit, self._outbox.send, alone)
            if found:
                record_facts(unit, kill, found.facts, user_unit, self._outbox.send)
        if kill.polite:
            self.asked += 1
            return
        self.count += 1
        self.last_at = at
        self.last = {
            "pid": kill.pid,
            "comm": kill.comm,
            "unit": user_unit or unit,
            "constraint": kill.constraint,
            "rank": listing.rank,
            "listed": listing.length,
            "list_age": None if listing.age is None else round(listing.age, 3),
        }

    def _is_recorded(self, kill: Kill, unit: str, user_unit: str) -> bool:
        """Return whether a kill gets an entry of its own; one of the whole host always does."""
        if _is_of_host(kill):
            return True
        self.sum_up(now())
        owner = _owner(kill, unit, user_unit, self._unit_root)
        return self._ration.take(owner, now())

    def _takes_facts(self, kill: Kill, unit: str, user_unit: str) -> bool:
        """Return whether it is worth its cost to look at all processes, and to record them."""
        # A journald that is behind has enough to take.
        if self._outbox.waiting:
            return False
        ration = self._of_host if _is_of_host(kill) else self._of_facts
        ration.over(now())
        return ration.take(_owner(kill, unit, user_unit, self._unit_root), now())

    def sum_up(self, at: float) -> None:
        """Log how many kills were left out, once the time is over in which they were counted."""
        if self.lost > self._lost_told and at >= self._lost_told_at + _SPAN:
            self._outbox.send(overwritten(self.lost - self._lost_told), journal.WARNING)
            self._lost_told, self._lost_told_at = self.lost, at
        for owner, left_out in self._ration.over(at):
            self._outbox.send(
                f"{left_out} more processes of {owner or 'other units'} were killed at a "
                f"memory limit within {_SPAN:.0f} s, and are not recorded one by one",
                journal.WARNING,
            )


def _is_of_host(kill: Kill) -> bool:
    return bool(kill.constraint) and not kill.constraint.endswith("MEMCG")


def _in_force(at: float, listed: Listed | None, before: Listed | None) -> Listed | None:
    """Return the list that the kernel had at a time; None if it is not known any more."""
    return next((each for each in (listed, before) if each and each.given <= at), None)


def _entry(kill: Kill, at: float, listed: Listed | None, known: Known) -> dict[str, Any] | None:
    """Return what is known of the victim, by the list or by what was read last; None if nothing."""
    for entry in listed.head if listed else ():
        if is_of(kill, entry):
            return entry
    seen = known(kill.pid)
    # The pid may have been used again since.
    return seen if seen and seen["began"] <= at and is_of(kill, seen) else None


def _rank(kill: Kill, listed: Listed | None, entry: dict[str, Any] | None) -> int | None:
    if listed is None or kill.pid not in listed.pids:
        return None
    rank = listed.pids.index(kill.pid) + 1
    # What is at the head is known well enough to tell that it is another process.
    return rank if entry or rank > len(listed.head) else None


def _units(kill: Kill, entry: dict[str, Any] | None, root: str) -> tuple[str, str]:
    """Return the victim's unit of the system's manager, and of a user's: by the log or the list."""
    if kill.cgroup:
        place = placement(kill.cgroup, root)
        return place.system.unit, place.user_unit
    unit, manager = (entry["unit"] or "", entry.get("manager")) if entry else ("", "")
    return (f"user@{manager}.service", unit) if manager else (unit, "")


def _owner(kill: Kill, unit: str, user_unit: str, root: str) -> str:
    """Return what a kill is counted for: a unit, or a user, who may have any number of units."""
    if not kill.cgroup and user_unit:
        return "user-" + unit.removeprefix("user@").removesuffix(".service") + ".slice"
    chain = placement(kill.cgroup, root).chain if kill.cgroup else (unit,)
    users = (unit for unit in chain if unit.startswith("user-") and unit.endswith(".slice"))
    return next(users, chain[-1])
