"""What went on over time: figures as curves, and what was done as marks, on one axis of time.

Times are seconds from the beginning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from oomrules.terminal import duration

# A curve of more points than pixels says nothing more.
POINTS = 600
# Events beyond these make a page that a telephone does not open.
MARKS = 2000


class Curve(NamedTuple):
    """A figure over time.

    Attributes:
        name: what it is.
        line: how it is drawn: a class of the style, so that curves differ without colours.
        points: the time, and the value or None where it is unknown.
    """

    name: str
    line: str
    points: tuple[tuple[float, float | None], ...]


class Panel(NamedTuple):
    """Curves that share a scale.

    Attributes:
        unit: ``bytes``, ``percent`` or ``number``.
        most: the top of the scale; its bottom is 0.
    """

    title: str
    unit: str
    most: float
    curves: tuple[Curve, ...]


class Mark(NamedTuple):
    """Something that was done, or would have been.

    Attributes:
        at: when.
        real: whether it happened; else it is what the guards of a replay would have done.
        kill: whether a process was killed or asked to end.
        cells: its row of the table.
    """

    at: float
    real: bool
    kill: bool
    cells: tuple[str, ...]


class Course(NamedTuple):
    """All that is drawn of a recording.

    Attributes:
        what: its name.
        begun: when it began, as people write it; may be empty.
        seconds: how long it is.
        columns: of the table of marks.
        notes: what is to be said besides.
    """

    what: str
    begun: str
    seconds: float
    panels: tuple[Panel, ...]
    marks: tuple[Mark, ...]
    columns: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def lasting(self) -> str:
        """How long it is, for people."""
        return duration(round(self.seconds) * 1000) if self.seconds >= 1 else "a moment"

    @property
    def since(self) -> str:
        """When it began, with its zone, to the second where it is a time."""
        found = _moment(self.begun)
        return found.isoformat(" ", "seconds") if found else self.begun


def _moment(text: str) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    return None


def kept(marks: Sequence[Mark]) -> tuple[tuple[Mark, ...], int]:
    """Return the marks there is room for, in their order, and how many are left out.

    Kills stay before all else, and late ones before early ones.
    """
    if len(marks) <= MARKS:
        return tuple(marks), 0
    latest = reversed(range(len(marks)))
    chosen = set(sorted(latest, key=lambda number: not marks[number].kill)[:MARKS])
    left = tuple(mark for number, mark in enumerate(marks) if number in chosen)
    return left, len(marks) - MARKS


def thinned(points: Iterable[tuple[float, float]], seconds: float) -> list[tuple[float, float]]:
    """Return the points of a growing curve, the first and the last of each part of the time."""
    parts: dict[int, list[tuple[float, float]]] = {}
    for at, value in points:
        part = parts.setdefault(int(POINTS * at / max(seconds, 1e-3)), [])
        part[1:] = [(at, value)]
    return [point for part in parts.values() for point in part]


Worst = Callable[[float, float], float]


class Gathered:
    """The worst value in each of some hundred parts of the time, whatever the number of samples.

    Parts become twice as wide when there are too many: a recording does not say how long it is.

    Args:
        worst: ``min`` or ``max``.
        gap: seconds after which the curve is broken if no value is known.
    """

    def __init__(self, worst: Worst, gap: float) -> None:
        self._worst, self._gap = worst, gap
        self._wide = 0.05
        # By the number of the part: the time of its first value, and the worst one.
        self._parts: dict[int, tuple[float, float]] = {}

    def add(self, at: float, value: float | None) -> None:
        """Take the value at a time; an unknown one leaves a gap."""
        if value is None:
            return
        self._put(at, value)
        while len(self._parts) > 2 * POINTS:
            self._wide *= 2
            parts, self._parts = self._parts, {}
            for one in parts.values():
                self._put(*one)

    def _put(self, at: float, value: float) -> None:
        part = int(at / self._wide)
        first, worst = self._parts.get(part, (at, value))
        self._parts[part] = (min(first, at), self._worst(worst, value))

    def curve(self, name: str, line: str) -> Curve | None:
        """Return the curve; None if no value is known."""
        points: list[tuple[float, float | None]] = []
        for at, value in sorted(self._parts.values()):
            if points and at - points[-1][0] > max(self._gap, 2 * self._wide):
                points.append((at, None))
            points.append((at, value))
        return Curve(name, line, tuple(points)) if points else None


def runs(points: Iterable[tuple[float, float | None]]) -> Iterator[list[tuple[float, float]]]:
    """Yield the parts of a curve without a gap."""
    run: list[tuple[float, float]] = []
    for at, value in points:
        if value is not None:
            run.append((at, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def ticks(most: float, about: int, unit: str) -> list[float]:
    """Return round values from 0 to the most, some few.

    Args:
        most: the top of the scale.
        about: how many there may be besides 0.
        unit: of a ``Panel``. Powers of two are round for bytes; for others those of ten, and twice
            and five times these. A number has no fractions.
    """
    rough = most / about
    if unit == "bytes":
        step = 2.0 ** math.ceil(math.log2(rough))
    else:
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
    step = max(1.0, step) if unit == "number" else step
    return [step * number for number in range(int(most / step) + 1)]


# Round steps of a clock, in seconds.
_STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def times(seconds: float, about: int, begin: float = 0.0) -> list[float]:
    """Return round times from the beginning to the end, some few.

    Args:
        seconds: when it ends.
        about: how many there may be.
        begin: seconds on a clock at the beginning; by that clock the times are round.
    """
    step = next((step for step in _STEPS if seconds / step <= about), 0)
    step = step or 86400 * (1 + int(seconds / about / 86400))
    first = -begin % step
    return [first + step * number for number in range(int((seconds - first) // step) + 1)]


def axis(begun: str, seconds: float, about: int) -> list[tuple[float, str]]:
    """Return times from the beginning to the end, and what a clock showed then.

    Args:
        begun: when it began; without it the clock shows how long ago that was.
        seconds: when it ends.
        about: how many there may be.
    """
    moment = _moment(begun)
    if moment is not None:
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        found = times(seconds, about, (moment - midnight).total_seconds()) or [0.0]
        # A millisecond more, since what is round but for a rounding error is meant to be round.
        with suppress(OverflowError):
            whens = [moment + timedelta(seconds=at, milliseconds=1) for at in found]
            return list(zip(found, _named(whens, seconds), strict=True))
    return [(at, _since(at)) for at in times(seconds, about)]


def _named(whens: Sequence[datetime], seconds: float) -> list[str]:
    form = "%H:%M:%S" if any(when.second for when in whens) else "%H:%M"
    if seconds >= 86400:
        form = f"%m-%d {form}"
    if whens[1:] and whens[1] - whens[0] >= timedelta(days=1):
        form = "%Y-%m-%d"
    return [when.strftime(form) for when in whens]


def _since(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    days, rest = divmod(whole, 86400)
    clock = f"{rest // 3600}:{rest % 3600 // 60:02}"
    return f"{days} d {clock}" if days else f"{clock}:{rest % 60:02}"
