"""Raw samples -> what the conditions of guards ask for, and whether they hold.

A number is a pair: the least and the most that it can be. Levels are known exactly. A share of the
last seconds is known as well as the readings of the kernel's totals allow: right after a kill, a
gap or a wake the pair is wide, and narrows with each reading. A comparison is true or false only
if it is so for every number in the pair; else it is unknown, as it is without a figure. So a stall
is claimed as soon as it is proven, and never before.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping

from oomrules.guard.model import HOST, Figures, Sample
from oomrules.lean import Any
from oomrules.program import nodes
from oomrules.program.nodes import Node

Pair = tuple[int, int]
# A reading of a place's totals: when, and the microseconds in which some and all have waited.
Point = tuple[float, "int | None", "int | None"]
Evaluate = Callable[["Look"], Any]

# The shares, in hundredths of a percent: of how many seconds, and which total of a point.
SHARES = {"stall": (1.0, 2), "pressure": (10.0, 1)}
_LONGEST = max(window for window, _ in SHARES.values())
_WHOLE_SHARE = 10_000

# The name under which a condition's shares ask for the nearest memory limit.
LIMIT = "(limit)"
_WHOLES = {nodes.whole_of("host.memory"): "memory", nodes.whole_of("host.swap"): "swap"}

# What is kept of the totals: every reading of the last moments, then one in half a second. Readings
# that lie closer together than a few hundredths tell nothing new.
_CLOSE, _RECENT, _APART, _MANY = 0.04, 1.5, 0.5, 40

# What is near: what would hold if it got worse by a fiftieth of the whole, or by 5 % of the time.
_FIFTIETH, _WORSE_SHARE = 50, 500
_FALLING = ("available", "free", "swap_free")
_RISING = ("memory", "swap", "shmem", "footprint")


def noted(points: tuple[Point, ...], at: float, figures: Figures) -> tuple[Point, ...]:
    """Return what is kept of the totals of a place, with one more reading.

    A total that went back, or that is there anew, begins anew.

    Args:
        points: the earlier readings, the oldest first.
        at: when this one was, in seconds.
        figures: of the place, with ``some`` and ``full`` in microseconds.
    """
    some, full = figures.get("some"), figures.get("full")
    point = (at, some, full)
    last = points[-1] if points else point
    went_back = at < last[0] or _went_back(last[1], some) or _went_back(last[2], full)
    if not points or went_back or some is full is None:
        return (point,)
    if len(points) > 1 and at - points[-1][0] < _CLOSE:
        return points
    # Of those before the longest window, the last one is enough.
    begun = bisect_left(points, (at - _LONGEST,))
    points = (*points[max(0, begun - 1) :], point)
    return _thinned(points) if len(points) > _MANY else points


def _went_back(before: int | None, now: int | None) -> bool:
    return (before is None) != (now is None) or (before or 0) > (now or 0)


def _thinned(points: tuple[Point, ...]) -> tuple[Point, ...]:
    now = points[-1][0]
    kept: list[Point] = []
    for point in points:
        if not kept or now - point[0] <= _RECENT or point[0] - kept[-1][0] >= _APART:
            kept.append(point)
    return tuple(kept)


def share(points: tuple[Point, ...], at: float, figures: Figures, word: str) -> Pair | None:
    """Return the least and the most that a share can be, in hundredths of a percent.

    Of the readings, two matter: the last one that is older than the window, and the first one
    within it. What was waited since the inner one lies in the window; what was waited since the
    outer one, less the time between it and the window, does so at least.

    Args:
        points: the readings since the last kill or gap.
        at, figures: the present reading.
        word: ``stall`` or ``pressure``.

    Returns:
        the pair; None if the kernel says no totals.
    """
    window, place = SHARES[word]
    total = figures.get("full" if place == 2 else "some")
    if total is None:
        return None
    least, most = 0.0, window
    # The first one within the window.
    inner = bisect_left(points, (at - window,))
    for point in points[max(0, inner - 1) : inner + 1]:
        old, age = point[place], at - point[0]
        if old is not None:
            waited = (total - old) / 1e6
            least = max(least, waited - max(0.0, age - window))
            most = min(most, waited + max(0.0, window - age))
    # A reading takes its time: a total may grow by more than the clock has said.
    least = min(least, window)
    most = min(window, max(least, most))
    # Far below what the kernel counts: the rounding of the clock is no doubt.
    return (
        math.floor(least / window * _WHOLE_SHARE + 1e-3),
        math.ceil(most / window * _WHOLE_SHARE - 1e-3),
    )


class Look:
    """The figures of one place in one sample: what conditions are judged by.

    Args:
        sample: the sample.
        unit: the path of a unit's control group; ``HOST``.
        totals: by place, the readings since the last kill or gap.
        worse: whether every figure is to be somewhat worse than it is: less available, more in
            use, more stalled.
    """

    def __init__(
        self,
        sample: Sample,
        unit: str,
        totals: Mapping[str, tuple[Point, ...]],
        worse: bool = False,
    ) -> None:
        self._at = sample.at
        self._host = sample.host
        self._own = sample.units.get(unit, {}) if unit != HOST else {}
        self._limit = sample.host.get("memory") if unit == HOST else self._own.get("limit")
        self._unit = unit
        self._totals = totals
        self._worse = worse
        # What the names stand for.
        self.named: dict[str, Any] = {}

    def get(self, name: str) -> Pair | None:
        """Return the least and the most of an attribute; None if it is unknown.

        Memory is in bytes, a share in hundredths of a percent. What is none is no whole.
        """
        if name == LIMIT:
            return (self._limit, self._limit) if self._limit else None
        if name in _WHOLES:
            whole = self._host.get(_WHOLES[name])
            return (whole, whole) if whole else None
        group, _, word = name.partition(".")
        of_host = group == "host"
        figures = self._host if of_host else self._own
        if word in SHARES:
            points = self._totals.get(HOST if of_host else self._unit, ())
            pair = share(points, self._at, figures, word)
            return (
                (min(_WHOLE_SHARE, pair[1] + _WORSE_SHARE),) * 2 if pair and self._worse else pair
            )
        value = figures.get(word)
        if value is None:
            return None
        if self._worse and word in _FALLING:
            whole = self._host.get("swap" if word == "swap_free" else "memory") or 0
            value = max(0, value - whole // _FIFTIETH)
        elif self._worse and word in _RISING and name not in ("host.memory", "host.swap"):
            value += (self._limit or value) // _FIFTIETH
        return value, value


# --- conditions ----------------------------------------------------------------------------


def compiled(node: Node, definitions: Mapping[str, Node]) -> Evaluate:
    """Return a function that evaluates a node of a guard: True, False, None or a pair.

    Args:
        node: of a program, with memory in bytes or shares.
        definitions: what the names in it stand for; each is worked out once a look.
    """
    try:
        return _Compiler(definitions).of(nodes.localise(node, 1, LIMIT))
    except RecursionError:
        return _unknown


def truth(evaluate: Evaluate, look: Look) -> bool | None:
    """Return whether a condition holds: True, False, or None for unknown."""
    try:
        value = evaluate(look)
    except RecursionError:
        return None
    return value if value is True or value is False else None


class _Compiler:
    """Makes functions of nodes: a sample is judged without a walk over them."""

    def __init__(self, definitions: Mapping[str, Node]) -> None:
        self._definitions = definitions
        self._done: dict[str, Evaluate] = {}

    def of(self, node: Node) -> Evaluate:
        kind = node[0]
        if kind == "number":
            constant = (node[1], node[1])
            return lambda _: constant
        if kind == "attr":
            name = node[1]
            return lambda look: look.get(name)
        if kind == "name":
            return self._name(node[1])
        if kind in ("and", "or"):
            # Most conditions are settled by a level, which costs less than a share.
            operands = sorted(nodes.operands(node), key=_asks_share)
            return _connected([self.of(part) for part in operands], kind == "or")
        parts = [self.of(part) for part in nodes.operands(node)]
        if kind == "not":
            return _negated(parts[0])
        strict = _STRICT.get(kind)
        # Guards ask for no text and of no process; a program that does is unknown for ever.
        return _unknown if strict is None else _applied(strict, parts)

    def _name(self, name: str) -> Evaluate:
        if name not in self._done:
            node = self._definitions.get(name)
            self._done[name] = _unknown if node is None else self.of(nodes.localise(node, 1, LIMIT))
        evaluate = self._done[name]

        def once(look: Look) -> Any:
            if name not in look.named:
                look.named[name] = evaluate(look)
            return look.named[name]

        return once


def _asks_share(node: Node) -> bool:
    return any(name.rpartition(".")[2] in SHARES for name in nodes.attributes(node))


def _unknown(_: Look) -> None:
    return None


def _negated(part: Evaluate) -> Evaluate:
    def negated(look: Look) -> bool | None:
        value = part(look)
        return None if value is None else not value

    return negated


def _connected(parts: list[Evaluate], settles: bool) -> Evaluate:
    def connected(look: Look) -> bool | None:
        unknown = False
        for part in parts:
            value: bool | None = part(look)
            if value is settles:
                return settles
            unknown = unknown or value is None
        return None if unknown else not settles

    return connected


def _applied(operation: Callable[..., Any], parts: list[Evaluate]) -> Evaluate:
    def applied(look: Look) -> Any:
        values = [part(look) for part in parts]
        return None if None in values else operation(*values)

    return applied


def _times(a: Pair, b: Pair) -> Pair:
    corners = (a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
    return min(corners), max(corners)


def _divided(a: Pair, b: Pair) -> Pair | None:
    """Return the quotient, rounded down; unknown if the divisor may be 0."""
    if b[0] <= 0 <= b[1]:
        return None
    corners = (a[0] // b[0], a[0] // b[1], a[1] // b[0], a[1] // b[1])
    return min(corners), max(corners)


def _less(a: Pair, b: Pair) -> bool | None:
    return True if a[1] < b[0] else False if a[0] >= b[1] else None


def _at_most(a: Pair, b: Pair) -> bool | None:
    return True if a[1] <= b[0] else False if a[0] > b[1] else None


def _same(a: Any, b: Any) -> bool | None:
    if isinstance(a, bool):
        return a is bool(b)
    if a[0] == a[1] == b[0] == b[1]:
        return True
    return False if a[1] < b[0] or b[1] < a[0] else None


def _other(a: Any, b: Any) -> bool | None:
    same = _same(a, b)
    return None if same is None else not same


_STRICT: dict[str, Callable[..., Any]] = {
    "+": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "-": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "*": _times,
    "/": _divided,
    "negative": lambda a: (-a[1], -a[0]),
    "root": lambda a: (nodes.root(a[0]), nodes.root(a[1])),
    "max": lambda *of: (max(a[0] for a in of), max(a[1] for a in of)),
    "min": lambda *of: (min(a[0] for a in of), min(a[1] for a in of)),
    "<": _less,
    "<=": _at_most,
    ">": lambda a, b: _less(b, a),
    ">=": lambda a, b: _at_most(b, a),
    "==": _same,
    "!=": _other,
}
