"""The record of a kill: one structured entry in the journal."""

from __future__ import annotations

from oomrules.plain import printable
from oomrules.runtime import journal
from oomrules.runtime.kernellog import Kill

# The entry that says who died (docs/systemd.md lists its fields).
KILL_ID = "1956813c936b4d7b9acf2a8cbea1f060"


def record(
    unit: str,
    kill: Kill,
    rank: int | None,
    points: int | None,
    listed: int,
    age: float | None,
    send: journal.Send = journal.send,
    user_unit: str = "",
) -> None:
    """Write the entry.

    Args:
        unit: the system's unit that ran out of memory, or that the victim was in; may be empty.
        rank: the victim's in the last list, from 1; None if that did not have it.
        points: the victim's there, if they are known.
        listed: how long that list was.
        age: how old it was, in seconds; None if there was none.
        send: how it gets to the journal.
        user_unit: the unit of a user's manager that the victim was in; empty for none. Users
            choose these names, so they never stand where a unit of the system does.
    """
    where = "at its memory limit" if kill.constraint.endswith("MEMCG") else "with the host"
    said = f"the list had it at rank {rank} of {listed}" if rank else "the list did not have it"
    fields = {
        "MESSAGE_ID": KILL_ID,
        "UNIT": unit,
        "OOMRULES_UNIT": unit,
        "OOMRULES_USER_UNIT": user_unit,
        "OOMRULES_CGROUP": kill.cgroup,
        "OOMRULES_PID": str(kill.pid),
        "OOMRULES_COMM": kill.comm,
        "OOMRULES_UID": str(kill.uid),
        "OOMRULES_CONSTRAINT": kill.constraint,
        "OOMRULES_LISTED": str(listed),
        "OOMRULES_LIST_AGE": "" if age is None else f"{age:.3f}",
        "OOMRULES_RANK": str(rank or ""),
        "OOMRULES_POINTS": "" if points is None else str(points),
    }
    within = f" ({user_unit})" if user_unit else ""
    what = f"{unit or 'a process outside every unit'}{within} ran out of memory {where}"
    message = f"{what}: {kill.comm} ({kill.pid}) was killed; {said}"
    send(printable(message), journal.WARNING, fields)
