"""Show which processes were killed when memory ran out, and what the list had said of them."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import IO, Any

from oomrules.errors import Failure
from oomrules.kills.entry import ASKED_ID, KILL_ID
from oomrules.terminal import Column, Paint, called, clip, middle, print_json, rough, table, width

SCHEMA = "oomrules.history/1"


def _moment(text: str, columns: int) -> str:
    """Return a time of ISO 8601 shortened: without its zone, its year, its seconds."""
    day, _, clock = text.partition("T")
    forms = (
        text,
        f"{day} {clock[:8]}",
        f"{day[5:]} {clock[:8]}",
        f"{day[5:]} {clock[:5]}",
        clock[:8],
    )
    return next((form for form in forms if width(form) <= columns), clip(clock, columns))


# Stands behind the rank of a process that was asked to end, a column that every terminal shows.
_ASKED = ", SIGTERM"

_COLUMNS = (
    Column("TIME", least=14, enough=19, turn=1, cut=_moment),
    Column("UNIT", least=12, enough=24, turn=2, goes=4, cut=middle),
    Column("PID", right=True),
    Column("COMMAND", least=10, enough=16, turn=3),
    Column("UID", right=True, goes=1),
    Column("RANK", right=True),
    Column("POINTS", right=True, least=7, enough=12, turn=4, goes=3, cut=rough),
    Column("LIST AGE", right=True, goes=2),
)

SERVICE = "oomrules.service"

# A process that was asked to end and is killed within this time did not end by itself.
_GRACE = timedelta(minutes=10)

# The longest line of the journal that is read, in bytes. An entry of ours has less than a tenth.
_LONGEST = 64 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``history``."""
    parser.add_argument("--since", metavar="TIME", help="as journalctl takes it: today, -1h, …")
    parser.add_argument("--unit", help="only the kills in this unit")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(options: argparse.Namespace) -> int:
    """Print the kills, the oldest first."""
    kills, asked = _split(_entries(_command(options)))
    if options.format == "json":
        print_json({"schema": SCHEMA, "kills": kills, "terminated": asked})
    elif kills or asked:
        rows = [*map(_row, kills), *(_row(kill, _ASKED) for kill in asked)]
        # By time; kills stand first where it is the same.
        rows.sort(key=lambda row: row[0])
        print(table(_COLUMNS, rows, Paint(sys.stdout)))
    else:
        print("no kill has been recorded", file=sys.stderr)
    return 0


def _command(options: argparse.Namespace) -> list[str]:
    command = ["journalctl", "--output=json", "--no-pager", "--quiet"]
    command += [f"--since={options.since}"] if options.since else []
    # Several values of one field are alternatives.
    command += [f"MESSAGE_ID={KILL_ID}", f"MESSAGE_ID={ASKED_ID}", "_UID=0"]
    command += [f"OOMRULES_UNIT={options.unit}"] if options.unit else []
    return command


def _split(entries: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the kills, and the processes that were asked to end and did not have to be killed."""
    kills: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        kill = _kill(entry) if _is_ours(entry) else None
        if kill is None:
            continue
        # A message has one number in a boot. A service that ends before it has saved which
        # messages it has dealt with records the last ones again when it is started.
        number = _text(entry, "_BOOT_ID"), _text(entry, "OOMRULES_SEQUENCE")
        if number[1] and number in seen:
            continue
        seen.add(number)
        (asked if _text(entry, "MESSAGE_ID") == ASKED_ID else kills).append(kill)
    return kills, [entry for entry in asked if not any(_is_end(kill, entry) for kill in kills)]


def _is_ours(entry: dict[str, Any]) -> bool:
    """Return whether the service wrote an entry, or the hook of the unit that it is about.

    Any process can send an entry with our id, and a container's root has the uid 0 too. The
    sender is what journald says: only journald writes fields whose names begin with an underscore
    (systemd.journal-fields(7)).
    """
    sender = _text(entry, "_SYSTEMD_UNIT")
    return sender != "" and sender in (SERVICE, _text(entry, "OOMRULES_UNIT"))


def _is_end(kill: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Return whether a process that was asked to end was killed after all."""
    if (kill["pid"], kill["uid"]) != (asked["pid"], asked["uid"]):
        return False
    waited = datetime.fromisoformat(kill["time"]) - datetime.fromisoformat(asked["time"])
    return timedelta() <= waited <= _GRACE


def _entries(command: list[str]) -> Iterator[dict[str, Any]]:
    """Read entries of the journal; what is no entry, or too long for one, is left out."""
    with tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)  # noqa: S603
        except FileNotFoundError as error:
            raise Failure(
                "there is no journalctl on this host", "the history is kept in systemd's journal"
            ) from error
        with child:
            assert child.stdout is not None
            yield from _objects(child.stdout)
        errors.seek(0)
        why = errors.read(_LONGEST).decode("utf-8", "replace").strip()
    if child.returncode and why:
        raise Failure(f"journalctl: {why}", "run it as root, or as a member of systemd-journal")


def _objects(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Return the objects in the lines of a stream; a line that is too long is never whole."""
    begins = True
    while line := stream.readline(_LONGEST):
        if begins and (line.endswith(b"\n") or len(line) < _LONGEST):
            try:
                data = json.loads(line)
            except (ValueError, RecursionError):
                data = None
            if isinstance(data, dict):
                yield data
        begins = line.endswith(b"\n")


def _kill(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return a kill in the form of schema ``oomrules.history/1``; None if the entry has no time."""
    moment = _number(entry, "__REALTIME_TIMESTAMP")
    try:
        ago = _seconds(entry, "OOMRULES_AGO") or 0.0
        when = datetime.fromtimestamp((moment or 0) / 1e6 - ago).astimezone()
    except (OSError, OverflowError, ValueError):
        return None
    return {
        "time": when.isoformat(timespec="seconds"),
        "unit": _text(entry, "OOMRULES_UNIT"),
        "user_unit": _text(entry, "OOMRULES_USER_UNIT"),
        "cgroup": _text(entry, "OOMRULES_CGROUP"),
        "pid": _number(entry, "OOMRULES_PID"),
        "comm": _text(entry, "OOMRULES_COMM"),
        "uid": _number(entry, "OOMRULES_UID"),
        "constraint": _text(entry, "OOMRULES_CONSTRAINT"),
        "rank": _number(entry, "OOMRULES_RANK"),
        "listed": _number(entry, "OOMRULES_LISTED"),
        "points": _number(entry, "OOMRULES_POINTS"),
        "list_age": _seconds(entry, "OOMRULES_LIST_AGE"),
        "unit_from": _text(entry, "OOMRULES_UNIT_FROM"),
    }


def _text(entry: dict[str, Any], name: str) -> str:
    """Return a field; one that is there twice, or is no text at all, counts as empty."""
    value = entry.get(name)
    if isinstance(value, str):
        return value
    # The journal gives a value that is no printable text as a list of bytes.
    if isinstance(value, list) and all(type(byte) is int and 0 <= byte < 256 for byte in value):
        return bytes(value).decode("utf-8", "backslashreplace")
    return ""


def _number(entry: dict[str, Any], name: str) -> int | None:
    text = _text(entry, name)
    return int(text) if re.fullmatch("[0-9]{1,100}", text) else None


def _seconds(entry: dict[str, Any], name: str) -> float | None:
    text = _text(entry, name)
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text) else None


def _row(kill: dict[str, Any], end: str = "") -> list[str]:
    age = kill["list_age"]
    unlisted = "not listed" if kill["listed"] or age is not None else "?"
    rank = f"{kill['rank']} of {_known(kill['listed'])}" if kill["rank"] else unlisted
    return [
        kill["time"],
        "/".join(filter(None, (kill["unit"], kill["user_unit"]))),
        _known(kill["pid"]),
        called(kill["comm"]),
        _known(kill["uid"]),
        rank + end,
        "-" if kill["points"] is None else str(kill["points"]),
        "?" if age is None else f"{age:.1f} s",
    ]


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)
