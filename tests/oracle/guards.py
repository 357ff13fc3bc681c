"""A second opinion about the conditions of guards, from docs/language.md alone.

What expressions mean is ``reference``'s; what a guard asks of is not a process but the figures of
the host and of the unit that its block is about. Memory counts in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from oomrules.language import syntax
from oomrules.language.text import RuleText
from tests.oracle import reference
from tests.oracle.reference import Doing, Value

# Figures by the last word of their attribute: memory in bytes, pressure and stall in hundredths of
# a percent, all else as it counts. None, and what is missing, is unknown. Of a unit besides
# ``limit``: the nearest memory limit at it or above it.
Figures = Mapping[str, "int | None"]

_PERCENTAGES = ("pressure", "stall")
_COUNTS = ("processes", "oom_kills")
# Of what a percentage beside an attribute of the host alone is the share.
_WHOLE = {"available": "memory", "free": "memory", "shmem": "memory", "swap_free": "swap"}


class _Reader(reference.Reader):
    """Reads the conditions of guards."""

    def __init__(self, rules: reference.Rules, host: Figures, unit: Figures | None) -> None:
        memory = host.get("memory")
        world = reference.World({"page_size": 1, "mem_total": memory}, {}, [])
        super().__init__(rules, world, {})
        self.of = {"host": host, "scope": unit}

    def attribute(self, name: str) -> Value | None:
        """Give a figure; None if the name is one that a rule set defines."""
        where, dot, word = name.partition(".")
        if not dot:
            return None
        figures = self.of[where]
        # Outside a block no guard asks for a unit's.
        assert figures is not None, name
        figure = figures.get(word)
        if word in _PERCENTAGES:
            return Value("percentage", None if figure is None else Fraction(figure, 100))
        if word in _COUNTS:
            return Value("number", figure)
        if where == "host" and word in _WHOLE:
            # Where there is no swap, no share of it is known.
            return Value("memory", figure, whole=figures.get(_WHOLE[word]) or None)
        return Value("memory", figure)

    def limit(self) -> int | None:
        """Find what any other percentage is the share of."""
        unit = self.of["scope"]
        return self.of["host"].get("memory") if unit is None else unit.get("limit")  # type: ignore[union-attr]


class Placed(NamedTuple):
    """A guard, the targets around it, and its sentence."""

    targets: reference.Targets
    guard: syntax.Guard
    text: str


def placed(sources: Sequence[RuleText]) -> tuple[reference.Rules, list[Placed]]:
    """Read the guards of rule files that are known to be right, and what they may use."""
    found = [
        Placed(targets, guard, source.quote(guard.span))
        for source in sources
        for targets, guard in reference.read([source]).guards
    ]
    return reference.read(sources), found


def holds(
    rules: reference.Rules, guard: syntax.Guard, host: Figures, unit: Figures | None = None
) -> bool | None:
    """Tell whether the condition of a guard is true; None where that is unknown.

    Args:
        unit: the figures of the unit that the guard is at, in a block.
    """
    truth = _Reader(rules, host, unit).truth(guard.condition)
    # No figure is of the doing of a process.
    assert truth is not Doing.ITS_OWN
    return truth


def milliseconds(quantity: syntax.Quantity | None, otherwise: int) -> int:
    """Tell how long a duration is that stands in a guard."""
    if quantity is None:
        return otherwise
    value = _Reader(reference.Rules(), {}, None).value(quantity)
    assert value.kind == "duration"
    return int(value.worth)
