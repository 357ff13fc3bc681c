"""What went on over time: figures as curves, and what was done as marks, on one axis of time.

Times are seconds from the beginning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

# A curve of more points than pixels says nothing more.
POINTS = 600


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
_STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400)


def times(seconds: float, about: int) -> list[float]:
    """Return round times from 0 to the end, some few."""
    step = next((step for step in _STEPS if seconds / step <= about), 0)
    step = step or 86400 * (1 + int(seconds / about / 86400))
    return [float(step * number) for number in range(int(seconds / step) + 1)]
