"""Text for people: colours on a terminal only, aligned tables, human units."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Sequence
from typing import TextIO

_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
}


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a person is looking."""
    return stream.isatty()


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Paint:
    """Colours text for one stream; it does nothing where no person is looking."""

    def __init__(self, stream: TextIO) -> None:
        # https://no-color.org: any value but an empty one switches colours off.
        self.on = (
            is_terminal(stream)
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    def __call__(self, text: str, *styles: str) -> str:
        """Give the text in these styles."""
        if not self.on or not styles:
            return text
        return f"\033[{';'.join(_STYLES[style] for style in styles)}m{text}\033[0m"


def printable(text: str) -> str:
    """Make text of unknown origin harmless for a terminal, keeping its length."""
    return "".join(
        char if char.isprintable() else (" " if char == "\t" else "\N{REPLACEMENT CHARACTER}")
        for char in text
    )


def count(number: int, what: str) -> str:
    """Say how many there are: ``1 file``, ``2 files``, ``2 processes``."""
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"


def width(text: str) -> int:
    """Count the columns that a text takes on a terminal (Unicode Standard Annex 11)."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def memory(size: int | None) -> str:
    """Write a size in bytes in the unit that suits it."""
    if size is None:
        return "?"
    power = min((max(size, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    amount = size / 1024**power
    return f"{amount:.{0 if power == 0 or amount >= 100 else 1}f} {_UNITS[power]}"


def _pad(missing: int, cell: str, right: bool) -> str:
    return " " * missing + cell if right else cell + " " * missing


def table(
    rows: Sequence[Sequence[str]], right: frozenset[int], paint: Paint, styles: Sequence[str]
) -> str:
    """Align rows in columns; the first row is the heading.

    Args:
        right: the columns that are aligned to the right.
        styles: a style for each row but the heading, or an empty text.
    """
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    limit = shutil.get_terminal_size().columns if paint.on else 0
    lines = []
    for number, row in enumerate(rows):
        cells = [
            _pad(wide - width(cell), cell, column in right)
            for column, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        if limit and len(line) > limit:
            line = line[: limit - 1] + "…"
        style = "bold" if number == 0 else styles[number - 1]
        lines.append(paint(line, style) if style else line)
    return "\n".join(lines)
