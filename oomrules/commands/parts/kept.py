"""What the service knew of the processes at a kill, found for the kernel's report of it.

The facts are in the journal (``kills/facts.py``), which keeps them over a reboot if it is kept.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import Any

from oomrules import state_directory
from oomrules.commands.parts.journal_entries import (
    LONGEST_WITH_FACTS,
    asked,
    entries,
    is_ours,
    seconds,
    text,
    whole,
)
from oomrules.errors import Failure
from oomrules.kills import facts
from oomrules.kills.entry import FACTS_ID
from oomrules.report import hosts
from oomrules.report.model import Report
from oomrules.sinks.oom_score_adj.record import Record, load
from oomrules.state import ADJUSTMENTS

# A report is longer than this on no console, in seconds from its first line to the kill; and by so
# many the clocks of two entries may differ.
_LONGEST_REPORT, _UNSURE = 120.0, 2.0
# Seconds since 1970, as some print them: no host is up for so long.
_EPOCH = 1e9

# As dmesg prints it, and as /dev/kmsg and the journal have it once the reader has taken it.
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")


def of_own(report: Report, boot: int = 0) -> facts.Facts | None:
    """Return what is known besides of a report in this host's own log.

    Args:
        boot: as journalctl counts them; 0 is this one.
    """
    found = kept(report, str(boot))
    return of_record(report) if found is None and boot == 0 else found


def kept(report: Report, boot: str) -> facts.Facts | None:
    """Return what the service knew of the processes of a report.

    Args:
        boot: of which boot the report is, as journalctl takes it: its number or its id.

    Returns:
        None if nothing is kept of this kill, or it cannot be read.
    """
    try:
        return _found(report, boot) if report.killed else None
    except Failure:
        # Less is known; what that is, the answer says.
        return None


def _found(report: Report, boot: str) -> facts.Facts | None:
    process_of = hosts.pids(report)
    killed = report.killed[0]
    numbers = sorted({killed.pid, process_of[killed.pid]})
    more = [f"OOMRULES_PID={number}" for number in numbers]
    command = asked([FACTS_ID], "", "--all", f"--boot={boot}", *more)
    found = [
        known
        for entry in entries(command, LONGEST_WITH_FACTS)
        if is_ours(entry) and _is_of(entry, report, numbers)
        # One that is too long for this was not written by the service.
        if (known := facts.decode(text(entry, "OOMRULES_FACTS"))) is not None
    ]
    # Two that fit cannot be told apart: a pid was used again, by a process of the same name.
    return found[0]._replace(of="the service, at the kill") if len(found) == 1 else None


def of_record(report: Report) -> facts.Facts | None:
    """Return which oom_score_adj of a report of this boot are not a process's own.

    It serves where nothing is kept of the kill. Of a process that has ended since it is not known.

    Returns:
        None if oomrules has changed none, or the record of it cannot be read.
    """
    record = _record()
    if record is None:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    at = float(report.time) if _SECONDS.fullmatch(report.time) else 0.0
    # A process that has begun since may have the pid of another one.
    there = (entry for entry in record if entry.start <= at * ticks and not entry.fading)
    return facts.Facts(
        read=None,
        at=None,
        ticks=ticks,
        adjusted=True,
        processes={},
        originals={entry.pid: entry.original for entry in there},
        of="the record of what oomrules wrote to oom_score_adj",
    )


def adjusted() -> bool:
    """Return whether oomrules has changed an oom_score_adj since this boot."""
    return _record() is not None


def _record() -> Record | None:
    """Return the record of what oomrules wrote; None if it wrote nothing, or that is not known."""
    try:
        record = load(os.path.join(state_directory.standard(), ADJUSTMENTS))
    except Failure:
        return None
    return record if record.in_use else None


def _is_of(entry: dict[str, Any], report: Report, numbers: list[int]) -> bool:
    """Return whether an entry is about the first kill of a report: by pid, name, user and time."""
    killed = report.killed[0]
    if whole(entry, "OOMRULES_PID") not in numbers:
        return False
    if text(entry, "OOMRULES_COMM") != killed.name:
        return False
    if killed.uid is not None and whole(entry, "OOMRULES_UID") not in (killed.uid, None):
        return False
    after = _after(entry, report.time)
    return after is None or -_UNSURE <= after <= _LONGEST_REPORT


def _after(entry: dict[str, Any], time: str) -> float | None:
    """Return how long after the time of a report an entry tells of a kill, in seconds.

    Returns:
        None if that cannot be told.
    """
    if _SECONDS.fullmatch(time):
        at, begun = seconds(entry, "OOMRULES_KERNEL_TIME"), float(time)
        if at is None or begun >= _EPOCH:
            at = _written(entry)
        return None if at is None else at - begun
    try:
        begun = datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    written = _written(entry)
    return None if written is None else written - begun


def _written(entry: dict[str, Any]) -> float | None:
    """Return when the service wrote an entry, in seconds since 1970: a moment after the kill."""
    microseconds = whole(entry, "__REALTIME_TIMESTAMP")
    return None if microseconds is None else microseconds / 1e6
