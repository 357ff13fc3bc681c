"""How far the condition of a guard is from being true: comparison by comparison, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.guard import comparisons
from oomrules.guard.figures import Look, Pair
from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.terminal import duration, memory

_PSI = ("stall", "pressure")
_SCALED = (Type.PERCENTAGE, Type.DURATION)


class View(NamedTuple):
    """What the condition of a guard is judged by, at one place.

    Attributes:
        look: the figures of the place.
        definitions: of the program.
        live: whether it is this host: what a recording lacks says nothing of the host.
    """

    look: Look
    definitions: Mapping[str, Node]
    live: bool = True


class Comparison(NamedTuple):
    """One comparison of a condition, as its condition needs it: turned round below a ``not``.

    Attributes:
        text: as it may be written in a rule.
        attribute: the one that is compared; empty for arithmetic.
        type: of what is compared.
        operator: between the value and the limit.
        value: the least and the most that it can be, in bytes, milliseconds, hundredths of a
            percent or a number; None if it is unknown.
        limit: the same of what it is compared with.
        whole: what a percentage in it is a share of, in bytes; None if it has none, or is unknown.
        holds: whether it is true; None if that is unknown.
        unknown: why the value is unknown, or not known well enough; empty if it is known.
        lasting: whether it stays unknown on this host, as it is.
    """

    text: str
    attribute: str
    type: Type
    operator: str
    value: Pair | None
    limit: Pair | None
    whole: int | None
    holds: bool | None
    unknown: str = ""
    lasting: bool = False

    @property
    def distance(self) -> int | None:
        """What is missing until it is true, in the unit of the value; 0 if it is."""
        if self.holds:
            return 0
        if self.value is None or self.limit is None or self.value[0] != self.value[1]:
            return None
        return abs(self.value[0] - self.limit[0])


def compared(node: Node, view: View, negated: bool = False) -> Iterator[Comparison]:
    """Yield the comparisons of a condition, those of its definitions too, from left to right.

    Args:
        node: of a program.
        negated: whether the condition needs it to be false.
    """
    for one in comparisons.compared(node, view.definitions, view.look, negated):
        yield _viewed(one, view)


def can_hold(node: Node, view: View, wanted: bool = True) -> bool:
    """Return whether a condition may become true on this host, whatever the figures will be.

    It may not if it needs a figure that this host does not have. Contradictions are the linter's.

    Args:
        wanted: False asks whether it may become false.
    """
    if node[0] == "not":
        return can_hold(node[1], view, not wanted)
    if node[0] == "name" and node[1] in view.definitions:
        return can_hold(view.definitions[node[1]], view, wanted)
    if node[0] in ("and", "or"):
        found = [can_hold(part, view, wanted) for part in node[1:]]
        return all(found) if (node[0] == "and") is wanted else any(found)
    if node[0] not in nodes.COMPARISONS:
        return True
    one = comparisons.comparison(node, view.definitions, view.look, not wanted)
    return not _viewed(one, view).lasting


def _viewed(one: comparisons.Comparison, view: View) -> Comparison:
    operator, left, _ = one.node
    asked = [part[1] for part in nodes.walk(one.node) if part[0] == "attr"]
    unknown, lasting = ("", False) if one.holds is not None else _why(one, asked, view)
    return Comparison(
        text=one.text,
        attribute=left[1] if left[0] == "attr" else "",
        type=ATTRIBUTES[asked[0]].type if asked else Type.COUNT,
        operator=operator,
        value=one.value,
        limit=one.limit,
        whole=one.whole,
        holds=one.holds,
        unknown=unknown,
        lasting=lasting,
    )


def _why(one: comparisons.Comparison, asked: list[str], view: View) -> tuple[str, bool]:
    """Return why it is unknown whether a comparison is true, and whether that stays."""
    look, value = view.look, one.value
    shares = any(part[0] == "share" for part in nodes.walk(one.node))
    if shares and nodes.share_of(one.node) == "host.swap" and look.get("host.swap") == (0, 0):
        return "there is no swap to be a share of", True
    unread = next((name for name in asked if look.get(name) is None), "")
    if (unread or (shares and not one.whole)) and not view.live:
        return f"{unread or 'what it is a share of'} was not recorded", False
    if unread.rpartition(".")[2] in _PSI:
        return "this kernel does not measure pressure (PSI), or not here", True
    if unread:
        return f"{unread} cannot be read", True
    if shares and not one.whole:
        return "what it is a share of cannot be read", True
    if value is not None and value[0] != value[1]:
        return "it takes longer to measure: `oomrules guard --wait 10s`", False
    return "its value is unknown", False


# --- in words ---------------------------------------------------------------------------------


def amount(value: int | None, kind: Type) -> str:
    """Return a value in words: ``3.1 GiB``, ``12.0 %``; a question mark if it is unknown."""
    if value is None:
        return "?"
    if kind is Type.MEMORY:
        return f"-{memory(-value)}" if value < 0 else memory(value)
    if kind is Type.PERCENTAGE:
        return f"{value / 100:.1f} %"
    return duration(value) if kind is Type.DURATION else str(value)


def plain(value: int | None, kind: Type) -> float | None:
    """Return a value for a program: bytes, seconds, percent, or a number."""
    if value is None:
        return None
    return value / {Type.PERCENTAGE: 100, Type.DURATION: 1000}[kind] if kind in _SCALED else value


def reading(one: Comparison) -> str:
    """Return the value of a comparison: ``3.1 GiB of 15.6 GiB = 19.9 %``."""
    if one.value is None:
        return "unknown"
    least, most = one.value
    if least != most:
        return f"{amount(least, one.type)} to {amount(most, one.type)}"
    text = amount(least, one.type)
    if one.whole:
        text += f" of {memory(one.whole)} = {100 * least / one.whole:.1f} %"
    return text


def missing(one: Comparison) -> str:
    """Return how far a comparison is from being true."""
    if one.holds:
        return "holds"
    if one.holds is None:
        return one.unknown if one.value is None else f"unknown, {one.unknown}"
    distance = one.distance
    if distance is None:
        return "does not hold"
    far = amount(distance, one.type) if distance else "next to nothing"
    at = f" (at {amount(one.limit[0], one.type)})" if one.limit and one.whole else ""
    return f"{far} to go{at}"
