"""Text for people: colours on a terminal only, aligned tables, human units.

Every text that is shown passes one of these: ``Paint``, ``table``, ``say``, ``show`` or
``print_json``. They make harmless what comes from processes, rule files, users and units.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

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
    """Return whether a person is looking."""
    return stream.isatty()


# The gap between columns of a table, and the one where there is little room.
_GAPS = (2, 1)
# The last column keeps one part in so many of a line, if it needs it.
_PART = 4
# The last of the columns that may go is worth showing with this width.
_SCANTY = 10
# Combining marks upon one character: more of them cover the lines above.
_MOST_MARKS = 2
# Signs that choose a form of the character before them (Unicode Technical Standard 51). Terminals
# do not agree on its width then.
_FORMS = re.compile("[\ufe00-\ufe0f]")
_KINDS_OF_UNITS = re.compile(r"\.(service|scope|slice|mount|swap|socket|timer|path|target)$")

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Paint:
    """Colours text for one stream; it does nothing where no person is looking."""

    def __init__(self, stream: TextIO) -> None:
        # Lines are cut for a person who looks, also without colours.
        self.seen = is_terminal(stream)
        # https://no-color.org: any value but an empty one switches colours off.
        self.on = self.seen and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def __call__(self, text: str, *styles: str) -> str:
        """Return the text, made harmless, in these styles."""
        text = printable(text)
        if not self.on or not styles:
            return text
        return f"\033[{';'.join(_STYLES[style] for style in styles)}m{text}\033[0m"


class Harmless:
    """A terminal that gets nothing but text, line ends and the colours of ``Paint``.

    The functions of this module leave nothing for it to do. It is there for texts that do not go
    through them: those of libraries, and a line that was forgotten.
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
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
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


def print_json(data: Any, indent: int | None = 1) -> None:
    """Print JSON, in one line if the indent is None.

    Unprintable characters are written as numbers (RFC 8259, section 7).
    """
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    if not text.replace("\n", "").isprintable():
        # json itself writes the numbers: two surrogates above U+FFFF.
        text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    print(text)


def count(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 file``, ``2 files``, ``2 processes``."""
    return f"{number} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def _columns(char: str) -> int:
    # Vowels and final consonants of Hangul stand in the block of the first consonant.
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":
        return 0
    # Half of a flag: some terminals show it as wide as a whole one.
    wide = unicodedata.east_asian_width(char) in "WF" or "\U0001f1e6" <= char <= "\U0001f1ff"
    return 2 if wide else 1


def width(text: str) -> int:
    """Return how many columns a text takes on a terminal (Unicode Standard Annex 11)."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def legible(text: str) -> str:
    """Return a text as one harmless line, equally wide everywhere, with few marks upon letters."""
    text = _FORMS.sub("", printable(text))
    if text.isascii():
        return text
    # A mark at the beginning has no character to stand upon.
    kept, marks = [], _MOST_MARKS
    for char in text:
        marks = 0 if _columns(char) else marks + 1
        if marks <= _MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def memory(size: int | None) -> str:
    """Return a size in bytes in the unit that suits it; a question mark if it is unknown."""
    if size is None:
        return "?"
    power = min((max(size, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    amount = size / 1024**power
    return f"{amount:.{0 if power == 0 or amount >= 100 else 1}f} {_UNITS[power]}"


def clip(text: str, columns: int) -> str:
    """Return a text cut at its end, to a number of columns of a terminal."""
    if width(text) <= columns:
        return text
    return _head(text, columns - 1) + "…" if columns > 0 else ""


def middle(text: str, columns: int) -> str:
    """Return a name cut in its middle: ``docker-1a2b…9f.scope``; the kind of a unit stays."""
    if width(text) <= columns:
        return text
    kind = _KINDS_OF_UNITS.search(text)
    end = kind.group() if kind else ""
    left = columns - len(end) - 1
    if left < 2:
        return clip(text, columns)
    stem = text.removesuffix(end)
    # Ids that begin alike differ at their ends. With little room, the beginning is kept.
    tail = legible(_head(stem[::-1], (left + 1) // 3 if left > 4 else 0)[::-1])
    return f"{_head(stem, left - width(tail))}…{tail}{end}"


def branch(text: str, columns: int) -> str:
    """Return an indented name, cut; the indentation has a third of the room at the most."""
    name = text.lstrip(" ")
    indent = min(len(text) - len(name), columns // 3)
    return " " * indent + middle(name, columns - indent)


def rough(text: str, columns: int) -> str:
    """Return a whole number, one that is too long as ``1.2e34``, rounded down."""
    if len(text) <= max(columns, 2) or not text.isdecimal():
        return clip(text, columns)
    short = f"{text[0]}.{text[1]}e{len(text) - 1}"
    return short if len(short) <= columns else clip(f"{text[0]}e{len(text) - 1}", columns)


def _head(text: str, columns: int) -> str:
    """Return the beginning of a text that fits, with the marks upon its last character."""
    if text.isascii():
        return text[: max(0, columns)]
    for end in range(1, len(text) + 1):
        if width(text[:end]) > columns:
            return text[: end - 1]
    return text


class Column(NamedTuple):
    """A column of a table, and how it yields on a narrow terminal.

    Attributes:
        name: its heading.
        right: whether it is aligned to the right.
        least: the width that it keeps; 0: it stays whole.
        enough: it keeps this width while another column has more than its own ``enough``.
        turn: columns are narrowed in the order of their turns.
        goes: if the least is too much, columns are left out in this order; 0: never.
        cut: shortens a cell.
    """

    name: str
    right: bool = False
    least: int = 0
    enough: int = 0
    turn: int = 0
    goes: int = 0
    cut: Callable[[str, int], str] = clip


class Layout(NamedTuple):
    """Which columns are shown, how wide, and how far apart they stand."""

    shown: tuple[int, ...]
    widths: tuple[int, ...]
    gap: int

    @property
    def total(self) -> int:
        """The width of a line."""
        return sum(self.widths) + self.gap * (len(self.widths) - 1)


def layout(columns: Sequence[Column], rows: Iterable[Sequence[str]], limit: int) -> Layout:
    """Return the layout of a table.

    Args:
        rows: the cells, each of them ``legible``.
        limit: how wide it may become; 0: as wide as it is.
    """
    widths = [width(column.name) for column in columns]
    for row in rows:
        widths = list(map(max, widths, map(width, row)))
    narrow = whole = Layout(tuple(range(len(columns))), tuple(widths), _GAPS[0])
    if not limit:
        return whole
    going = sorted((one for one in whole.shown if columns[one].goes), key=lambda i: columns[i].goes)
    for gone in range(len(going) + 1):
        shown = tuple(one for one in whole.shown if one not in going[:gone])
        for gap, enough in zip(_GAPS, (True, False), strict=True):
            narrow = _narrowed(columns, widths, Layout(shown, (), gap), limit, enough)
            if narrow.total <= limit:
                return narrow
        if gone == len(going) - 1:
            # The last of those that may go stays if there is some room for it.
            scanty, at = list(narrow.widths), shown.index(going[gone])
            scanty[at] -= narrow.total - limit
            if scanty[at] >= _SCANTY:
                return narrow._replace(widths=tuple(scanty))
    # Narrowed in the widest columns, until no line wraps.
    squeezed, over = list(narrow.widths), narrow.total - limit
    while over > 0 and max(squeezed) > 1:
        squeezed[squeezed.index(max(squeezed))] -= 1
        over -= 1
    return narrow._replace(widths=tuple(squeezed))


def _narrowed(
    columns: Sequence[Column], widths: Sequence[int], of: Layout, limit: int, enough: bool
) -> Layout:
    """Return a layout with columns narrowed as far as needed, and as they may be."""
    left = {one: widths[one] for one in of.shown}
    over = sum(left.values()) + of.gap * (len(left) - 1) - limit
    turns = sorted((one for one in left if columns[one].least), key=lambda one: columns[one].turn)
    floors = [(one, max(columns[one].enough, columns[one].least)) for one in turns]
    # The last column holds sentences: it is narrowed first, but keeps a good part of a long line.
    floors[:0] = [(one, max(least, limit // _PART)) for one, least in floors if one == of.shown[-1]]
    if not enough:
        floors += [(one, columns[one].least) for one in turns]
    for one, floor in floors:
        less = max(0, min(over, left[one] - floor))
        left[one], over = left[one] - less, over - less
    return of._replace(widths=tuple(left.values()))


def aligned(columns: Sequence[Column], row: Sequence[str], where: Layout) -> Iterator[str]:
    """Yield the cells of a row that are shown, each as wide as its column."""
    for one, wide in zip(where.shown, where.widths, strict=True):
        cell = columns[one].cut(row[one], wide)
        missing = " " * (wide - width(cell))
        yield missing + cell if columns[one].right else cell + missing


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    paint: Paint,
    styles: Sequence[str] = (),
) -> str:
    """Return rows aligned in columns below their headings, each cell made harmless.

    On a terminal no line is longer than its width; elsewhere nothing is shortened.

    Args:
        paint: of the stream that the table is for.
        styles: a style for each row, or an empty text.
    """
    rows = [[legible(cell) for cell in row] for row in rows]
    limit = shutil.get_terminal_size().columns if paint.seen else 0
    where = layout(columns, rows, limit)
    lines = []
    for number, row in enumerate([[column.name for column in columns], *rows]):
        shown = (" " * where.gap).join(aligned(columns, row, where)).rstrip()
        style = "bold" if number == 0 else styles[number - 1] if styles else ""
        lines.append(paint(shown, style) if style else shown)
    return "\n".join(lines)


def called(comm: str | None) -> str:
    """Return the name of a command; in quotes if it would be seen as none, or as unknown."""
    if comm is None:
        return "?"
    return f"'{comm}'" if comm in ("", "?", "-") or comm != comm.strip() else comm


def duration(milliseconds: int) -> str:
    """Return a duration in the units that suit it: ``120 ms``, ``2.5 s``, ``13min 18s``."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds, rest = divmod(milliseconds, 1000)
    if seconds < 60:
        return f"{seconds + rest / 1000:g} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = {"d": hours // 24, "h": hours % 24, "min": minutes, "s": seconds}
    return " ".join(f"{number}{unit}" for unit, number in parts.items() if number)
