"""A course of things as one file: a drawing (SVG), or a page with it and a table (HTML)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from oomrules.picture.course import Course, Curve, Mark, Panel, axis, runs, ticks
from oomrules.picture.draw import allowed, environment
from oomrules.plain import printable
from oomrules.terminal import clip, legible, memory

_HERE = Path(__file__).parent
_COLUMN, _LINE = 7.3, 16.0
# The room for the numbers of marks, of a curve, and of the times below it.
_TOP, _HIGH, _BELOW = 20.0, 110.0, 24.0
# Marks have their number written where there is room for it.
_APART = 22.0


class Form(NamedTuple):
    """For which screen: how wide, how much of it is for the numbers, how many times stand below."""

    width: float
    left: float
    times: int


FORMS = {"wide": Form(1200, 84, 10), "narrow": Form(300, 68, 2)}


class Line(NamedTuple):
    """A text or a line, in pixels."""

    x: float
    y: float
    text: str = ""
    look: str = ""
    path: str = ""


class Plot(NamedTuple):
    """All that is drawn, for one screen."""

    name: str
    width: float
    height: float
    texts: tuple[Line, ...]
    grid: tuple[Line, ...]
    curves: tuple[Line, ...]
    marks: tuple[Line, ...]


def svg(course: Course) -> str:
    """Return the drawing as a file."""
    style = "".join((_HERE / name).read_text("utf-8") for name in ("style.css", "course.css"))
    values = _values(course, style, "wide")
    return environment().get_template("course.svg").render(values)


def html(course: Course) -> str:
    """Return the page as a file."""
    names = ("style.css", "course.css", "page.css")
    style = "".join((_HERE / name).read_text("utf-8") for name in names)
    values = _values(course, style, *FORMS) | {"style_hash": allowed(style)}
    return environment().get_template("course.html").render(values)


def _values(course: Course, style: str, *names: str) -> dict[str, Any]:
    return {
        "course": course,
        "plots": [_plot(course, name) for name in names],
        "style": style,
        "title": printable(f"What went on in {course.what}"),
    }


def _plot(course: Course, name: str) -> Plot:
    form = FORMS[name]
    texts, grid, curves = list[Line](), list[Line](), list[Line]()
    right, y = form.width - 12, _TOP
    # A recording of one sample is a moment.
    seconds = max(course.seconds, 1e-3)

    def x_of(at: float) -> float:
        return form.left + (right - form.left) * min(1.0, at / seconds)

    for panel in course.panels:
        y += _LINE
        columns = int(form.width / _COLUMN) - 1
        texts.append(Line(2, y, clip(legible(panel.title), columns), "heading"))
        for curve in panel.curves:
            y += _LINE
            texts.append(Line(40, y, clip(legible(curve.name), columns - 6)))
            curves.append(Line(0, 0, "", curve.line, f"M4 {y - 4:.1f}H34"))
        top = y + 14
        for value in ticks(panel.most, 4, panel.unit):
            at = top + _HIGH * (1 - value / panel.most)
            grid.append(Line(0, 0, "", "", f"M{form.left:.1f} {at:.1f}H{right:.1f}"))
            texts.append(Line(form.left - 6, at + 4, _named(value, panel), "number"))
        for curve in panel.curves:
            curves += _drawn(curve, panel, top, x_of)
        y = top + _HIGH
        for time, text in axis(course.begun, course.seconds, form.times):
            texts.append(_timed(x_of(time), y + 15, text, form.width))
        y += _BELOW
    marks = tuple(_marks(course.marks, x_of, y - _BELOW))
    return Plot(name, form.width, y, tuple(texts), tuple(grid), tuple(curves), marks)


def _timed(x: float, y: float, text: str, most: float) -> Line:
    """Return a time below the axis, in the middle of its place or as far right as there is room."""
    if x + _COLUMN * len(text) / 2 > most:
        return Line(most - 2, y, text, "number")
    return Line(x, y, text, "time")


def _named(value: float, panel: Panel) -> str:
    if panel.unit == "bytes":
        return memory(int(value))
    return f"{value:g} %" if panel.unit == "percent" else f"{value:g}"


def _drawn(curve: Curve, panel: Panel, top: float, x_of: Any) -> Iterator[Line]:
    for run in runs(curve.points):
        at = [(x_of(time), top + _HIGH * (1 - value / panel.most)) for time, value in run]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        # A single point would not be seen.
        yield Line(0, 0, "", curve.line, path if at[1:] else f"{path}h1")


def _marks(marks: tuple[Mark, ...], x_of: Any, bottom: float) -> Iterator[Line]:
    numbered = _numbered([x_of(mark.at) for mark in marks], [mark.kill for mark in marks])
    for number, mark in enumerate(marks, 1):
        x = x_of(mark.at)
        look = f"{'real' if mark.real else 'would'}{' kill' if mark.kill else ''}"
        text = str(number) if number in numbered else ""
        yield Line(x, 14, text, look, f"M{x:.1f} 18V{bottom:.1f}")


def _numbered(places: list[float], kills: list[bool]) -> set[int]:
    """Return the numbers, from 1, that there is room for; those of kills come first."""
    written: dict[int, float] = {}
    for wanted in (True, False):
        for number, (x, kill) in enumerate(zip(places, kills, strict=True), 1):
            room = max(_APART, _COLUMN * len(str(number)) + 8)
            if kill is wanted and all(abs(x - other) >= room for other in written.values()):
                written[number] = x
    return set(written)
