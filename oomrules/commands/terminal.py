"""Text for people: colours on a terminal only, aligned tables, human units.

Whatever is shown passes one of these: ``Paint``, ``table``, ``say``, ``show`` or ``print_json``.
They make harmless what is in it of processes, rule files, users and units.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from oomrules.plain import printable, printable_lines

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


# Columns of a table stand so far apart; and those of names are that wide at the least, where the
# names are.
_GAP = 2
_NARROWEST = 16
# The last one has that much of what there is.
_LAST = 24

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Paint:
    """Colours text for one stream; it does nothing where no person is looking."""

    def __init__(self, stream: TextIO) -> None:
        # Lines are cut for whoever looks, also without colours.
        self.seen = is_terminal(stream)
        # https://no-color.org: any value but an empty one switches colours off.
        self.on = self.seen and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def __call__(self, text: str, *styles: str) -> str:
        """Give the text, made harmless, in these styles."""
        text = printable(text)
        if not self.on or not styles:
            return text
        return f"\033[{';'.join(_STYLES[style] for style in styles)}m{text}\033[0m"


class Harmless:
    """A terminal that gets nothing but text, line ends and the colours of ``Paint``.

    The functions of this module leave nothing for it to do. It stands behind them for what does
    not go through them: libraries, and a line that somebody forgot.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        styles = "|".join(("0", *_STYLES.values()))
        pattern = rf"(\033\[(?:{styles})(?:;(?:{styles}))*m)"
        self._ours = re.compile(pattern if Paint(stream).on else "(?!)()")

    def write(self, text: str) -> int:
        """Write a text, made harmless."""
        if not text.isprintable():
            # Every second piece is one of our colours.
            pieces = self._ours.split(text)
            pieces[::2] = map(printable_lines, pieces[::2])
            text = "".join(pieces)
        return self.stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts, made harmless."""
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self.stream, name)


def guard_terminals() -> None:
    """Let nothing but text reach standard output and standard error where they are terminals."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if is_terminal(stream):
            setattr(sys, name, Harmless(stream))


def say(text: str, file: TextIO | None = None) -> None:
    """Print one line, on standard output unless told otherwise."""
    print(printable(text), file=file)


def progress(text: str) -> None:
    """Show a text in the place of the last one, on a terminal; an empty one clears the line."""
    stream = sys.stderr.stream if isinstance(sys.stderr, Harmless) else sys.stderr
    print(f"\r{printable(text)}\033[K", end="", file=stream, flush=True)


def show(text: str) -> None:
    """Print a file's text: on a terminal made harmless, else as it is, for a program to read."""
    if is_terminal(sys.stdout):
        text = "\n".join(printable(one.expandtabs().rstrip("\r")) for one in text.split("\n"))
    sys.stdout.write(text)


def print_json(data: Any, indent: int = 1) -> None:
    """Print JSON; what is no printable text stands there as its number (RFC 8259, section 7)."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    if not text.replace("\n", "").isprintable():
        text = "".join(one if one.isprintable() or one == "\n" else _numbered(one) for one in text)
    print(text)


def _numbered(char: str) -> str:
    # Two surrogates above U+FFFF; json knows how.
    return json.dumps(char)[1:-1]


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


def _fit(widths: list[int], right: frozenset[int], limit: int) -> None:
    """Make columns of names narrower until all fit: one long name must not hide the others' rows.

    The last column has what is left.
    """
    names = [column for column in range(len(widths) - 1) if column not in right]
    left = limit - _GAP * (len(widths) - 1) - min(widths[-1], _LAST)
    while names and sum(widths[:-1]) > left:
        widest = max(names, key=lambda column: widths[column])
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1


def _clip(text: str, columns: int) -> str:
    """Cut a text to so many columns of a terminal."""
    if width(text) <= columns:
        return text
    kept, left = "", columns - 1
    for char in text:
        left -= width(char)
        if left < 0:
            break
        kept += char
    return kept + "…"


def table(
    rows: Sequence[Sequence[str]], right: frozenset[int], paint: Paint, styles: Sequence[str]
) -> str:
    """Align rows in columns, each cell made harmless; the first row is the heading.

    Args:
        right: the columns that are aligned to the right.
        styles: a style for each row but the heading, or an empty text.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    limit = shutil.get_terminal_size().columns if paint.seen else 0
    if limit:
        _fit(widths, right, limit)
        rows = [[*map(_clip, row[:-1], widths), row[-1]] for row in rows]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            _pad(wide - width(cell), cell, column in right)
            for column, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ]
        shown = (" " * _GAP).join(cells).rstrip()
        if limit:
            shown = _clip(shown, limit)
        style = "bold" if number == 0 else styles[number - 1]
        lines.append(paint(shown, style) if style else shown)
    return "\n".join(lines)
