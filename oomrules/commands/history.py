"""Show who was killed when memory ran out, and what the list had said of it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import datetime
from typing import Any

from oomrules.commands.terminal import Paint, printable, table
from oomrules.errors import Failure
from oomrules.runtime.kills import KILL_ID

SCHEMA = "oomrules.history/1"

_HEADING = ("TIME", "UNIT", "PID", "COMMAND", "UID", "RANK", "POINTS", "LIST AGE")
_RIGHT = frozenset({2, 4, 5, 6, 7})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``history``."""
    parser.add_argument("--since", metavar="TIME", help="as journalctl takes it: today, -1h, …")
    parser.add_argument("--unit", help="only the kills in this unit")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(options: argparse.Namespace) -> int:
    """Print the kills, the oldest first."""
    command = ["journalctl", "--output=json", "--no-pager", "--quiet", f"MESSAGE_ID={KILL_ID}"]
    command += [f"--since={options.since}"] if options.since else []
    command += [f"OOMRULES_UNIT={options.unit}"] if options.unit else []
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise Failure(
            "there is no journalctl on this host", "the history is kept in systemd's journal"
        ) from error
    if done.returncode and done.stderr:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise Failure(f"journalctl: {said}", "run it as root, or as a member of systemd-journal")
    kills = [_kill(json.loads(line)) for line in done.stdout.splitlines()]
    if options.format == "json":
        print(json.dumps({"schema": SCHEMA, "kills": kills}, indent=1, ensure_ascii=False))
    elif kills:
        print(table([_HEADING, *map(_row, kills)], _RIGHT, Paint(sys.stdout), [""] * len(kills)))
    else:
        print("no kill has been recorded", file=sys.stderr)
    return 0


def _kill(entry: dict[str, Any]) -> dict[str, Any]:
    def text(name: str) -> str:
        value = entry.get(name)
        # The journal gives a value that is no text as a list of bytes.
        if isinstance(value, list) and all(isinstance(byte, int) for byte in value):
            return bytes(value).decode("utf-8", "backslashreplace")
        return str(value or "")

    def number(name: str) -> int | None:
        return int(text(name)) if text(name).isdigit() else None

    seconds = int(text("__REALTIME_TIMESTAMP") or 0) / 1e6
    return {
        "time": datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds"),
        "unit": text("OOMRULES_UNIT"),
        "cgroup": text("OOMRULES_CGROUP"),
        "pid": number("OOMRULES_PID"),
        "comm": text("OOMRULES_COMM"),
        "uid": number("OOMRULES_UID"),
        "constraint": text("OOMRULES_CONSTRAINT"),
        "rank": number("OOMRULES_RANK"),
        "listed": number("OOMRULES_LISTED"),
        "points": number("OOMRULES_POINTS"),
        "list_age": float(text("OOMRULES_LIST_AGE") or 0) or None,
    }


def _row(kill: dict[str, Any]) -> list[str]:
    rank = f"{kill['rank']} of {kill['listed']}" if kill["rank"] else "not listed"
    age = kill["list_age"]
    return [
        kill["time"],
        printable(kill["unit"]),
        str(kill["pid"]),
        printable(kill["comm"]),
        str(kill["uid"]),
        rank,
        "-" if kill["points"] is None else str(kill["points"]),
        "?" if age is None else f"{age:.1f} s",
    ]
