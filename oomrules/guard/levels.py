"""How far conditions are from holding: in bytes that have to be taken before they could.

Only levels of memory tell that. A stall can come at any time; the kernel wakes the guard for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.guard.model import Armed, Figures, Sample
from oomrules.program import nodes
from oomrules.program.nodes import Node

FAR = float("inf")

_MEMORY = frozenset(name for name, one in ATTRIBUTES.items() if one.type is Type.MEMORY)

_NONE: Figures = {}

# Of the figures of the host, and of the place.
_Evaluate = Callable[[Figures, Figures], float]
_Value = Callable[[Figures, Figures], "float | None"]


ToGo = Callable[[Sample], float]


def to_go(armed: Armed, definitions: Mapping[str, Node], other: float = FAR) -> ToGo:
    """Return a function of a sample: how many bytes until the condition of a guard could hold.

    It gives 0 if the condition could hold now; FAR if no level of memory alone makes it hold.

    Args:
        other: what counts for comparisons of anything but memory, and where a figure is unknown.
            With 0 the condition is false for sure as long as the function gives more than 0.
    """
    evaluate = _to_go(armed.guard.when, True, definitions, other)
    unit = armed.unit

    def of(sample: Sample) -> float:
        return evaluate(sample.host, sample.units.get(unit, _NONE) if unit else sample.host)

    return of


def _to_go(
    node: Node, wanted: bool, definitions: Mapping[str, Node], otherwise: float
) -> _Evaluate:
    """Return a function that gives the bytes until a condition could be as it is wanted."""
    kind = node[0]
    if kind == "not":
        return _to_go(node[1], not wanted, definitions, otherwise)
    if kind == "name":
        return _to_go(definitions[node[1]], wanted, definitions, otherwise)
    if kind in ("and", "or"):
        parts = [_to_go(part, wanted, definitions, otherwise) for part in node[1:]]
        choose = max if (kind == "and") is wanted else min
        return lambda host, own: choose([part(host, own) for part in parts])
    if kind not in nodes.COMPARISONS or not nodes.attributes(node) & _MEMORY:
        return lambda host, own: otherwise
    whole = nodes.share_of(node)
    left, right = (_number(part, whole) for part in node[1:])
    compare = nodes.STRICT[kind]

    def distance(host: Figures, own: Figures) -> float:
        one, other = left(host, own), right(host, own)
        if one is None or other is None:
            return otherwise
        return 0.0 if compare(one, other) is wanted else max(1.0, abs(one - other))

    return distance


def _number(node: Node, whole: str) -> _Value:
    """Return a function that gives what a node comes to, memory in bytes; None if unknown."""
    kind = node[0]
    if kind in ("bytes", "number"):
        constant = float(node[1])
        return lambda host, own: constant
    if kind == "attr":
        return _figure(node[1])
    if kind == "share":
        of, part = _figure(whole), node[1] / node[2]

        def share(host: Figures, own: Figures) -> float | None:
            value = of(host, own)
            # What is none is no whole.
            return value * part if value else None

        return share
    parts = [_number(part, whole) for part in nodes.operands(node)]
    strict = nodes.STRICT.get(kind)

    def applied(host: Figures, own: Figures) -> float | None:
        values = [part(host, own) for part in parts]
        if strict is None or not values or None in values:
            return None
        return strict(*(int(value or 0) for value in values))  # type: ignore[no-any-return]

    return applied


def _figure(name: str) -> _Value:
    """Return a function that gives an attribute, or the limit by an empty name."""
    group, _, word = name.partition(".")
    if group == "host":
        return lambda host, own: host.get(word)
    if name:
        return lambda host, own: own.get(word)
    # On the host it is the memory.
    return lambda host, own: host.get("memory") if own is host else own.get("limit")
