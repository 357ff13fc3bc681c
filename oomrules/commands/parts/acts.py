"""Kills and other acts, as data of ``oomrules.history/1``, shown as rows of a table."""

from __future__ import annotations

from typing import Any

from oomrules.terminal import Column, called, clip, middle, rough, width

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
ASKED = ", SIGTERM"

# In the table, where the rank of a victim would stand.
_SHOWN = {"nobody": "nobody to take", "again": "again and again"}

COLUMNS = (
    Column("TIME", least=14, enough=19, turn=1, cut=_moment),
    Column("UNIT", least=12, enough=24, turn=2, goes=4, cut=middle),
    Column("PID", right=True),
    Column("COMMAND", least=10, enough=16, turn=3),
    Column("UID", right=True, goes=1),
    Column("RANK", right=True),
    Column("POINTS", right=True, least=7, enough=12, turn=4, goes=3, cut=rough),
    Column("LIST AGE", right=True, goes=2),
    Column("BY", least=6, enough=18, turn=5, goes=5, cut=middle),
)


def row(kill: dict[str, Any], end: str = "") -> list[str]:
    """Return the row of a kill.

    Args:
        kill: as ``oomrules history`` has it.
        end: what stands behind its rank.
    """
    age = kill["list_age"]
    unlisted = "not listed" if kill["listed"] or age is not None else "?"
    rank = f"{kill['rank']} of {known(kill['listed'])}" if kill["rank"] else unlisted
    return [
        kill["time"],
        "/".join(filter(None, (kill["unit"], kill["user_unit"]))),
        known(kill["pid"]),
        called(kill["comm"]),
        known(kill["uid"]),
        rank + end,
        "-" if kill["points"] is None else str(kill["points"]),
        "?" if age is None else f"{age:.1f} s",
        _by(kill),
    ]


def note_row(note: dict[str, Any]) -> list[str]:
    """Return the row of what was no kill."""
    victim = note["pid"] is not None
    return [
        note["time"],
        "/".join(filter(None, (note["unit"], note["user_unit"]))),
        known(note["pid"]) if victim else "-",
        called(note["comm"]) if victim else "-",
        known(note["uid"]) if victim else "-",
        _SHOWN.get(note["what"], note["what"]),
        "-",
        "-",
        _by(note),
    ]


def _by(kill: dict[str, Any]) -> str:
    guard = kill.get("guard")
    if guard is None:
        return "kernel"
    line = "" if guard["line"] is None else f":{guard['line']}"
    return f"{guard['file'].rpartition('/')[2]}{line}" if guard["file"] else "guard"


def known(number: int | None) -> str:
    """Return a number; a question mark if it is unknown."""
    return "?" if number is None else str(number)
