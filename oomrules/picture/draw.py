"""A picture as one file: a drawing (SVG), or a page with it, its explanations and a table (HTML).

Neither needs a network or another file. Names are escaped by the templates, which escape
everything, and ``printable`` takes out what turns the direction of writing or is no text.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from oomrules.picture.model import Holder, Picture
from oomrules.picture.tiling import Box, Region, Tile, lay_out
from oomrules.plain import printable
from oomrules.terminal import clip, count, legible, memory, middle, rough, width

_HERE = Path(__file__).parent
# Columns of a text of 12 px in a fixed-width font, and the line.
_COLUMN, _LINE, _PAD = 7.3, 15.0, 4.0
# The columns of the table, and how they are sorted.
_COLUMNS = (
    *(("Rank", "number"), ("PID", "number"), ("Process", "text"), ("Unit", "text")),
    *(("User", "text"), ("Memory", "number"), ("Comes back", "number"), ("Swap", "number")),
    *(("Points", "number"), ("Why", "text")),
)
# Ranks up to which a tile has the colour of its number; all later ones have the sixth.
_RANKS = (1, 3, 10, 30, 100)
# The drawing is made for a wide screen and for a narrow one: to scale it would scale its text.
SIZES = {"wide": (1200.0, 720.0), "narrow": (300.0, 900.0)}
# What a region is called, by the room it has.
_REGIONS = {
    "taken": ("may be taken", "taken"),
    "kept": ("not taken", "kept"),
    "nobody": ("held by no process", "no process"),
}
# A name is not shown in fewer columns.
_LEAST_COLUMNS = 6


class Mark(NamedTuple):
    """A tile as it is drawn.

    Attributes:
        look: its class.
        lines: what is written in it; none where there is no room.
        label: what it is, in one line.
        pids: of its processes.
        about: what there is to say of it besides, if it is no single process.
    """

    box: Box
    look: str
    lines: tuple[str, ...]
    label: str
    pids: tuple[int, ...]
    about: str


class Label(NamedTuple):
    """A heading, shortened to the room it has."""

    box: Box
    text: str


class Drawing(NamedTuple):
    """All that is drawn, in a given size."""

    name: str
    width: float
    height: float
    labels: tuple[Label, ...]
    regions: tuple[Region, ...]
    marks: tuple[Mark, ...]


def svg(picture: Picture) -> str:
    """Return the drawing as a file."""
    style = (_HERE / "style.css").read_text("utf-8")
    return environment().get_template("picture.svg").render(_values(picture, style, "wide"))


def html(picture: Picture) -> str:
    """Return the page as a file."""
    style = "".join((_HERE / name).read_text("utf-8") for name in ("style.css", "page.css"))
    script = (_HERE / "script.js").read_text("utf-8")
    values = _values(picture, style, *SIZES)
    values |= {
        "script": script,
        "style_hash": allowed(style),
        "script_hash": allowed(script),
        "columns": _COLUMNS,
        "sums": _sums(picture),
        "shares": _measures(picture),
        "ranks": _legend(picture),
    }
    return environment().get_template("page.html").render(values)


def _values(picture: Picture, style: str, *names: str) -> dict[str, Any]:
    return {
        "picture": picture,
        "drawings": [_drawing(picture, name) for name in names],
        "style": style,
        "title": printable(f"Memory of {picture.what}"),
        # Without what would turn the direction of writing, or is no text.
        "texts": {
            str(one.pid): "\n".join(map(printable, one.explained.split("\n")))
            for one in picture.holders
        },
    }


def environment() -> jinja2.Environment:
    """Return what fills in the templates; it escapes all that it is given."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "memory": memory,
        "legible": legible,
        "count": count,
        "points": lambda number: rough(str(number), 12),
        "px": lambda number: f"{number:.2f}".rstrip("0").rstrip("."),
    }
    return made


def allowed(text: str) -> str:
    """Return the hash by which a page allows what is written in it (CSP, level 2)."""
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _sums(picture: Picture) -> list[tuple[str, int, str]]:
    """Return what makes up the total: a name, bytes, and what it is."""
    taken = sum(one.share.ram for one in picture.holders if one.rank)
    rows = [
        ("processes that may be taken", taken, ""),
        ("processes that are not taken", picture.held - taken, "protected, or no candidates"),
        *((part.name, part.size, part.about) for part in picture.parts),
    ]
    if picture.excess:
        why = "memory that processes share counts several times, "
        why += "other units are charged for it, " if picture.within else ""
        why += "or the figures are not of one moment"
        rows.append(("more than the total", -picture.excess, why))
    return rows


_MEASURES = {
    "proportional": "in proportion (PSS)",
    "own": "by their own anonymous memory, since what they share is not known",
    "resident": "by all that they map, so that shared memory counts several times",
    "unknown": "not at all, since nothing could be read",
}


def _measures(picture: Picture) -> str:
    """Return how the memory of processes was measured."""
    numbers = Counter(one.share.measure for one in picture.holders)
    said = [
        f"{count(numbers[key], 'process')} {how}" for key, how in _MEASURES.items() if numbers[key]
    ]
    return f"measured: {'; '.join(said)}" if said else ""


def _drawing(picture: Picture, name: str) -> Drawing:
    wide, high = SIZES[name]
    regions = lay_out(picture, wide, high)
    labels, marks = [], []
    for region in regions:
        size = memory(region.size)
        words = [f"{name}: {size}" for name in _REGIONS[region.key]]
        labels.append(_label(region.heading, *words, size))
        for unit in region.units:
            if unit.heading:
                of_unit = memory(sum(tile.size for tile in unit.tiles))
                labels.append(_label(unit.heading, f"{unit.name}: {of_unit}", unit.name))
            for tile in unit.tiles:
                name_of_unit = unit.name if tile.units > 1 or not unit.heading else ""
                marks.append(_mark(tile, picture, name_of_unit))
    return Drawing(name, wide, high, tuple(labels), regions, tuple(marks))


def _columns(box: Box) -> int:
    """Return how many columns of text a box has room for."""
    return int((box.width - 2 * _PAD) / _COLUMN)


def _label(box: Box, *texts: str) -> Label:
    """Return the first of some texts that fits, or what fits of the last; empty if none does."""
    columns = _columns(box) if box.height > _LINE else 0
    legibles = [legible(text) for text in texts]
    fitting = next((text for text in legibles if width(text) <= columns), "")
    if not fitting and columns >= _LEAST_COLUMNS:
        fitting = middle(legibles[-1], columns)
    return Label(box, fitting)


def _mark(tile: Tile, picture: Picture, unit: str) -> Mark:
    size, holders = memory(tile.size), tile.holders
    if tile.part:
        look, name = f"nobody {tile.part.key}", tile.part.name
        label, about = f"{name}: {size}, held by no process", tile.part.about
        lines = [name, size]
    elif len(holders) == 1:
        (one,) = holders
        look, about = _look(one), ""
        name = f"#{one.rank} {one.name}" if one.rank else one.name
        place = f"rank {one.rank}" if one.rank else one.kept
        label = f"{one.name}, pid {one.pid}: {size}, {place}, {one.unit}"
        lines = [name, size, f"pid {one.pid}"]
    else:
        look, about = _look(min(holders, key=lambda one: (not one.rank, one.rank))), ""
        lines = [unit or count(len(holders), "other"), size]
        label = f"{count(len(holders), 'small process')}: {size}"
        label += f" of {unit}" if unit else f", {holders[0].unit}"
        ranks = [one.rank for one in holders if one.rank]
        about = f"ranks {min(ranks)} to {max(ranks)}; " if ranks else ""
        about += "the table lists each of them"
    return Mark(
        box=tile.box,
        look=look,
        lines=_fitting(lines, tile.box),
        label=legible(label),
        pids=tuple(one.pid for one in holders),
        about=about,
    )


def _look(one: Holder) -> str:
    if not one.rank:
        return "kept"
    return f"taken r{1 + sum(one.rank > most for most in _RANKS)}"


def _fitting(lines: list[str], box: Box) -> tuple[str, ...]:
    """Return those lines that there is room for, shortened."""
    columns, room = _columns(box), int((box.height - _PAD) / _LINE)
    if columns < _LEAST_COLUMNS:
        # The rank at least.
        lines = [lines[0].split()[0]] if lines[0].startswith("#") else []
        lines = [line for line in lines if width(line) <= columns]
    return tuple(clip(legible(line), columns) for line in lines[:room])


def _legend(picture: Picture) -> list[tuple[str, str]]:
    """Return the classes of ranks that occur, with the words for them."""
    last = max((one.rank for one in picture.holders), default=0)
    found, begin = [], 1
    for number, most in enumerate((*_RANKS, last), 1):
        if begin <= last:
            end = min(most, last) if number <= len(_RANKS) else last
            found.append((f"r{number}", f"#{begin}" if begin == end else f"#{begin}–{end}"))
            begin = end + 1
    return found
