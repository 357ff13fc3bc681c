"""The record of a kill: one structured entry in the journal."""

from __future__ import annotations

import time

from oomrules.clock import now
from oomrules.kills import facts, journal
from oomrules.kills.kernel_log import Kill
from oomrules.lean import Any, NamedTuple
from oomrules.plain import printable
from oomrules.state import victim

# The entry about a kill, and the one about a process that was asked to end (SIGTERM, by the
# module); docs/systemd.md lists their fields.
KILL_ID = "1956813c936b4d7b9acf2a8cbea1f060"
ASKED_ID = "126dae6cad8f40e9a7aa7f2aaa031653"
# The entry beside that about a kill: what was known of the processes then (``facts``).
FACTS_ID = "4581af15356e4aeb9af59234f2d8774b"


class Listing(NamedTuple):
    """What the list that was in force had said of a victim.

    Attributes:
        rank: the victim's, from 1; None if the list did not have it.
        points: the victim's, if they are known.
        length: how many processes were on the list.
        age: of the list, in seconds; None if it is not known.
    """

    rank: int | None = None
    points: int | None = None
    length: int = 0
    age: float | None = None


def died(kill: Kill) -> float:
    """Return when a kill was, in seconds since the boot (``clock.now``).

    The kernel stamps its messages by a clock that runs as fast as CLOCK_MONOTONIC_RAW, and like
    that stands still during a suspend; so it is right unless there was a suspend since the kill.
    """
    return now() - max(0.0, time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - kill.time)


def overwritten(count: int) -> str:
    """Return a sentence about messages of the kernel's log that could not be read."""
    return (
        f"the kernel's log was overwritten before it was read ({count} messages): kills may be "
        "missing; log_buf_len= on the kernel's command line makes it larger"
    )


def is_of(kill: Kill, entry: dict[str, Any]) -> bool:
    """Return whether the victim is the process of an entry of a list (``state.entries``).

    A pid may have been used again since the list was made; another process has another user or
    another name, as far as that can be told.
    """
    if kill.pid not in (entry["pid"], victim(entry)):
        return False
    uid, comm = entry.get("uid"), entry.get("comm")
    if type(uid) is int and kill.uid not in (uid, -1):
        return False
    # A thread may have a name of its own.
    return victim(entry) != entry["pid"] or comm in (None, kill.comm)


def record(
    unit: str,
    kill: Kill,
    listing: Listing,
    user_unit: str = "",
    send: journal.Send = journal.send,
    alone: dict[str, Any] | None = None,
) -> None:
    """Write the entry.

    Args:
        unit: the system's unit that ran out of memory, or that the victim was in; may be empty.
        user_unit: the unit of a user's manager that the victim was in; empty for none. Users
            choose these names, so they never stand where a unit of the system does.
        send: how it gets to the journal.
        alone: the process that the kernel would have taken without oomrules, as
            ``state.described`` has it; None if that is not certain.
    """
    fields = {
        "MESSAGE_ID": ASKED_ID if kill.polite else KILL_ID,
        "UNIT": unit,
        "OOMRULES_UNIT": unit,
        "OOMRULES_USER_UNIT": user_unit,
        "OOMRULES_UNIT_FROM": "kernel" if kill.cgroup else "list" if unit else "",
        "OOMRULES_CGROUP": kill.cgroup,
        "OOMRULES_PID": str(kill.pid),
        "OOMRULES_COMM": kill.comm,
        "OOMRULES_UID": "" if kill.uid < 0 else str(kill.uid),
        "OOMRULES_CONSTRAINT": kill.constraint,
        "OOMRULES_LISTED": str(listing.length),
        "OOMRULES_LIST_AGE": "" if listing.age is None else f"{listing.age:.3f}",
        "OOMRULES_RANK": str(listing.rank or ""),
        "OOMRULES_POINTS": "" if listing.points is None else str(listing.points),
        "OOMRULES_AGO": f"{max(0.0, now() - died(kill)):.3f}",
        "OOMRULES_SEQUENCE": str(kill.sequence),
        **_alone(alone),
    }
    fate = "was asked to end (SIGTERM)" if kill.polite else "was killed"
    where = _where(unit, user_unit, kill)
    message = f"{where}: {kill.comm} ({kill.pid}) {fate}; {_by_list(listing)}"
    send(printable(message), journal.WARNING, fields)


def _alone(process: dict[str, Any] | None) -> dict[str, str]:
    if process is None:
        return {}
    unit, manager = process["unit"] or "", process["manager"]
    return {
        "OOMRULES_KERNEL_PID": str(process["pid"]),
        "OOMRULES_KERNEL_COMM": process["comm"] or "",
        "OOMRULES_KERNEL_UID": "" if process["uid"] is None else str(process["uid"]),
        "OOMRULES_KERNEL_UNIT": f"user@{manager}.service" if manager else unit,
        "OOMRULES_KERNEL_USER_UNIT": unit if manager else "",
    }


def record_facts(
    unit: str, kill: Kill, known: facts.Facts, user_unit: str, send: journal.Send
) -> None:
    """Write what was known of the processes at a kill; arguments are those of ``record``.

    It is an entry of its own: the one about the kill is not lost where this one is too long.
    """
    fields = {
        "MESSAGE_ID": FACTS_ID,
        "OOMRULES_UNIT": unit,
        "OOMRULES_USER_UNIT": user_unit,
        "OOMRULES_PID": str(kill.pid),
        "OOMRULES_COMM": kill.comm,
        "OOMRULES_UID": "" if kill.uid < 0 else str(kill.uid),
        "OOMRULES_SEQUENCE": str(kill.sequence),
        "OOMRULES_KERNEL_TIME": f"{kill.time:.6f}",
        "OOMRULES_FACTS": facts.encode(known),
    }
    message = f"what was known when {kill.comm} ({kill.pid}) was killed is kept for oomrules replay"
    send(printable(message), journal.INFO, fields)


def _where(unit: str, user_unit: str, kill: Kill) -> str:
    nowhere = "a process outside every unit" if kill.cgroup else "a process (its unit is not known)"
    within = f" ({user_unit})" if user_unit else ""
    how = "at its memory limit" if kill.constraint.endswith("MEMCG") else "with the host"
    return f"{unit or nowhere}{within} ran out of memory {how if kill.constraint else ''}".rstrip()


def _by_list(listing: Listing) -> str:
    if listing.age is None:
        return "the list of that time is not known"
    if listing.rank is None:
        return "the list did not have it"
    return f"the list had it at rank {listing.rank} of {listing.length}"
