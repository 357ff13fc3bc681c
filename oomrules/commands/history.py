"""Show which processes were killed when memory ran out, and what the list had said of them.

The kernel's kills and those of the guard stand in one order.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from oomrules.commands.parts import acts
from oomrules.commands.parts.journal_entries import asked, entries, is_ours, seconds, text, whole
from oomrules.kills import guarded
from oomrules.kills.entry import ASKED_ID, KILL_ID
from oomrules.terminal import (
    Paint,
    called,
    print_json,
    say,
    table,
)

# Entries of the guard: about a victim, and about none.
_KILLS = {
    KILL_ID: "kernel",
    guarded.KILLED_ID: "guard",
    guarded.UNSURE_ID: "guard",
}
_ASKS = {ASKED_ID: "kernel", guarded.ASKED_ID: "guard"}
_NOTES = {
    guarded.WARNED_ID: "warned",
    guarded.OVER_ID: "over",
    guarded.NOBODY_ID: "nobody",
    guarded.FAILED_ID: "failed",
    guarded.DRY_ID: "dry run",
    guarded.AGAIN_ID: "again",
    guarded.STOPPED_ID: "stopped",
}
# How a victim ended is part of what is said of its kill.
_ENDED = guarded.ENDED_ID

# Characters of an entry's message.
_LONGEST_MESSAGE = 4000

# What is said of each act of the guard besides, in bytes.
_SIZES = {
    "available": "HOST_AVAILABLE",
    "memory": "HOST_MEMORY",
    "swap_free": "HOST_SWAP_FREE",
    "swap": "HOST_SWAP",
    "scope_memory": "SCOPE_MEMORY",
    "expected": "EXPECTED",
    "won": "WON",
    "others": "OTHERS",
}

# A process that was asked to end and is killed within this time did not end by itself.
_GRACE = timedelta(minutes=10)

EXITS = {0: "the kills are shown, if there are any"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``history``."""
    parser.add_argument("--since", metavar="TIME", help="as journalctl takes it: today, -1h, …")
    parser.add_argument("--unit", metavar="UNIT", help="only the kills in this unit")
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="how it is printed"
    )


def run(options: argparse.Namespace) -> int:
    """Print the kills, the oldest first."""
    found = _split(entries(_command(options)))
    if options.format == "json":
        print_json(
            {
                "schema": acts.SCHEMA,
                "kills": found.kills,
                "terminated": found.asked,
                "warnings": found.notes,
            }
        )
    elif any(found):
        rows = [*map(acts.row, found.kills), *(acts.row(kill, acts.ASKED) for kill in found.asked)]
        rows += map(acts.note_row, found.notes)
        # By time; kills stand first where it is the same.
        rows.sort(key=lambda row: row[0])
        print(table(acts.COLUMNS, rows, Paint(sys.stdout)))
        for line in filter(None, map(_other_choice, found.kills)):
            say(line)
    else:
        print("no kill has been recorded", file=sys.stderr)
    return 0


def _command(options: argparse.Namespace) -> list[str]:
    command = asked((*_KILLS, *_ASKS, *_NOTES, _ENDED), options.since or "")
    return [*command, f"OOMRULES_UNIT={options.unit}"] if options.unit else command


class _Found(NamedTuple):
    """What the journal has: kills, processes that ended when asked to, and other acts."""

    kills: list[dict[str, Any]]
    asked: list[dict[str, Any]]
    notes: list[dict[str, Any]]


def _split(entries: Iterable[dict[str, Any]]) -> _Found:
    """Return what entries are about; whoever was asked to end and was killed is a kill."""
    found = _Found([], [], [])
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        kill = _kill(entry) if is_ours(entry) else None
        if kill is None:
            continue
        message = text(entry, "MESSAGE_ID")
        if message == _ENDED:
            _end(kill, found)
        elif message in _NOTES:
            said = text(entry, "MESSAGE")[:_LONGEST_MESSAGE]
            found.notes.append({**kill, "what": _NOTES[message], "message": said})
        elif message in _ASKS:
            if not _is_repeated(entry, seen):
                found.asked.append(kill)
        elif not _is_repeated(entry, seen):
            found.kills.append(kill)
    left = [one for one in found.asked if not any(_is_end(kill, one) for kill in found.kills)]
    return found._replace(asked=left)


def _is_repeated(entry: dict[str, Any], seen: set[tuple[str, str]]) -> bool:
    """Return whether a message of the kernel's was recorded before.

    A message has one number in a boot. A service that ends before it has saved which messages it
    has dealt with records the last ones again when it is started.
    """
    number = text(entry, "_BOOT_ID"), text(entry, "OOMRULES_SEQUENCE")
    if number[1] and number in seen:
        return True
    seen.add(number)
    return False


def _end(ended: dict[str, Any], found: _Found) -> None:
    """Put what came of a victim of the guard where its kill stands: the last one of its pid."""
    for kill in [*reversed(found.kills), *reversed(found.asked)]:
        if kill["by"] == "guard" and (kill["pid"], kill["uid"]) == (ended["pid"], ended["uid"]):
            if kill["guard"]["lasted"] is None:
                for key in ("won", "lasted"):
                    kill["guard"][key] = ended["guard"][key]
            return


def _is_end(kill: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Return whether a process that was asked to end was killed after all."""
    if (kill["pid"], kill["uid"]) != (asked["pid"], asked["uid"]):
        return False
    waited = datetime.fromisoformat(kill["time"]) - datetime.fromisoformat(asked["time"])
    return timedelta() <= waited <= _GRACE


def _kill(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return a kill in the form of schema ``oomrules.history/1``; None if the entry has no time."""
    moment = whole(entry, "__REALTIME_TIMESTAMP")
    try:
        ago = seconds(entry, "OOMRULES_AGO") or 0.0
        when = datetime.fromtimestamp((moment or 0) / 1e6 - ago).astimezone()
    except (OSError, OverflowError, ValueError):
        return None
    return {
        "time": when.isoformat(timespec="seconds"),
        "unit": text(entry, "OOMRULES_UNIT"),
        "user_unit": text(entry, "OOMRULES_USER_UNIT"),
        "cgroup": text(entry, "OOMRULES_CGROUP"),
        "pid": whole(entry, "OOMRULES_PID"),
        "comm": text(entry, "OOMRULES_COMM"),
        "uid": whole(entry, "OOMRULES_UID"),
        "constraint": text(entry, "OOMRULES_CONSTRAINT"),
        "rank": whole(entry, "OOMRULES_RANK"),
        "listed": whole(entry, "OOMRULES_LISTED"),
        "points": whole(entry, "OOMRULES_POINTS"),
        "list_age": seconds(entry, "OOMRULES_LIST_AGE"),
        "unit_from": text(entry, "OOMRULES_UNIT_FROM"),
        "by": "guard" if (guard := _guard(entry)) else "kernel",
        "guard": guard,
        "kernel_alone": _kernel_alone(entry),
    }


def _kernel_alone(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return the process that the kernel would have taken without oomrules; None if unknown."""
    pid = whole(entry, "OOMRULES_KERNEL_PID")
    if pid is None:
        return None
    return {
        "pid": pid,
        "comm": text(entry, "OOMRULES_KERNEL_COMM"),
        "uid": whole(entry, "OOMRULES_KERNEL_UID"),
        "unit": text(entry, "OOMRULES_KERNEL_UNIT"),
        "user_unit": text(entry, "OOMRULES_KERNEL_USER_UNIT"),
    }


def _guard(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return by which guard something was done, and on which figures; None: by the kernel."""
    if not text(entry, "OOMRULES_ACT"):
        return None
    return {
        "text": text(entry, "OOMRULES_GUARD"),
        "file": text(entry, "OOMRULES_FILE"),
        "line": whole(entry, "OOMRULES_LINE"),
        **{key: whole(entry, f"OOMRULES_{name}") for key, name in _SIZES.items()},
        "stall": seconds(entry, "OOMRULES_HOST_STALL"),
        "pressure": seconds(entry, "OOMRULES_HOST_PRESSURE"),
        "scope_stall": seconds(entry, "OOMRULES_SCOPE_STALL"),
        "reaction": seconds(entry, "OOMRULES_REACTION"),
        "lasted": seconds(entry, "OOMRULES_LASTED"),
        "problem": text(entry, "OOMRULES_PROBLEM"),
        # Whether oomrules ended before it could say more than that it was about to signal it.
        "unsure": text(entry, "OOMRULES_ACT") == "unsure",
    }


def _other_choice(kill: dict[str, Any]) -> str:
    """Return a line that says whom the kernel alone would have taken, if it is another process."""
    other = kill["kernel_alone"]
    if other is None or other["pid"] == kill["pid"]:
        return ""
    unit = "/".join(filter(None, (other["unit"], other["user_unit"])))
    what = f"{called(other['comm'])} ({other['pid']})" + (f" of {unit}" if unit else "")
    took = f"{called(kill['comm'])} ({acts.known(kill['pid'])})"
    return f"{kill['time']}: instead of {took} the kernel alone would have taken {what}"
