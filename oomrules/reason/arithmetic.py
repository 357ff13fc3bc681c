"""Expressions: a canonical form, the values that they can have, and which are constant.

Memory is counted in granules of 4096 bytes, since the size of every page is a multiple of that.
What is decided therefore holds for every page size. ``run_time`` is in whole seconds, as read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import inf, isqrt
from typing import Any

from oomrules.attributes import ATTRIBUTES, FOOTPRINT, Attribute, Provider, Type
from oomrules.fields import FIELDS
from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.reason.numbers import Numbers, whole

GRANULE = 4096
# Constants that are whole pages whatever the page size, up to 256 KiB (arm64, ppc64).
_ANY_PAGE = 2**18

_DOMAINS: dict[str, Numbers] = {
    **{
        field.name: whole(field.least, field.most)
        for field in FIELDS.values()
        if field.most is not None
    },
    "unit.oom_score_adjust": whole(-1000, 1000),
    **dict.fromkeys(("unit.pressure", "scope.pressure", "scope.stall"), whole(0, 10_000)),
    "parent.uid": whole(0, FIELDS["uid"].most or 0),
    # An int32 of Kubernetes' API.
    "pod.priority": whole(-(2**31), 2**31 - 1),
}


# What an attribute is the sum of, so that a process has no sum without its parts.
_SUMS = {"footprint": FOOTPRINT}


# What stands between an attribute of a block's unit and the target that means the unit.
_BOUND = "@"


def entry(name: str) -> Attribute:
    """Return an attribute by its name, which may be bound to the unit of a block."""
    return ATTRIBUTES[name.partition(_BOUND)[0]]


def bound(node: Node, targets: tuple[str, ...]) -> Node:
    """Return a node that stands in blocks, in which ``scope.*`` names the unit that is meant.

    In another block it is another question. The innermost target says which unit it is.
    """
    if node[0] == "attr":
        name = bound_name(node[1], targets)
        return node if name == node[1] else ["attr", name]
    parts = [bound(part, targets) if isinstance(part, list) else part for part in node[1:]]
    same = all(new is old for new, old in zip(parts, node[1:], strict=True))
    return node if same else [node[0], *parts]


def bound_name(name: str, targets: tuple[str, ...]) -> str:
    """Return the name of an attribute that a statement in blocks asks for, as ``bound`` has it."""
    of_block = ATTRIBUTES[name].provider is Provider.BLOCK and targets
    return f"{name}{_BOUND}{targets[-1]}" if of_block else name


def unbound(name: str) -> tuple[str, str]:
    """Return an attribute's own name, and the target that it is bound to, or an empty text."""
    own, _, target = name.partition(_BOUND)
    return own, target


def whole_beside(key: Any) -> str:
    """Return of which attribute a share that is compared with an expression is.

    Empty for the nearest memory limit.
    """
    return entry(key[1]).whole if key[0] == "attr" else ""


def is_text(node: Node) -> bool:
    """Return whether an expression is a text."""
    return node[0] == "text" or (node[0] == "attr" and entry(node[1]).type is Type.TEXT)


def is_condition(node: Node) -> bool:
    """Return whether an expression is yes or no."""
    if node[0] == "attr":
        return entry(node[1]).type is Type.BOOLEAN
    return node[0] == "unknown" or nodes.FORMS[node[0]].result == "C"


def canonical(node: Node) -> tuple[Any, ...]:
    """Return a form of a node that is the same for sums, products, `max` or `min` of the same."""
    if node[0] == "attr" and node[1] in _SUMS:
        return canonical(["+", *(["attr", part] for part in _SUMS[node[1]])])
    if node[0] in ("+", "*"):
        parts: list[tuple[Any, ...]] = []
        for part in map(canonical, node[1:]):
            # Only sums and products of whole terms are flattened; a rounding between is kept.
            parts += part[1:] if part[0] == node[0] else [part]
        return (node[0], *sorted(parts, key=repr))
    if node[0] in ("max", "min"):
        different: set[tuple[Any, ...]] = set()
        for part in map(canonical, node[1:]):
            different |= set(part[1:]) if part[0] == node[0] else {part}
        ordered = sorted(different, key=repr)
        return ordered[0] if len(ordered) == 1 else (node[0], *ordered)
    return tuple(canonical(part) if isinstance(part, list) else part for part in node)


def is_memory(node: Any) -> bool:
    """Return whether an expression counts memory."""
    match node[0]:
        case "attr":
            return entry(node[1]).type is Type.MEMORY
        case "bytes" | "share":
            return True
        case "+" | "*" | "max" | "min":
            return any(map(is_memory, node[1:]))
        case "-" | "negative":
            return is_memory(node[1])
        case "/":
            return is_memory(node[1]) and not is_memory(node[2])
    return False


def span(node: Any) -> tuple[float, float]:
    """Return the least and the greatest value that an expression can have, or wider."""
    match node[0]:
        case "number":
            return node[1], node[1]
        case "bytes":
            # Rounded down to pages, which may be large.
            return (node[1] - node[1] % _ANY_PAGE) // GRANULE, node[1] // GRANULE
        case "share":
            return 0, inf
        case "attr":
            own, _ = unbound(node[1])
            ((low, high),) = _DOMAINS.get(own, whole(0)).spans
            return low, high
        case "negative":
            low, high = span(node[1])
            return -high, -low
        case "root":
            low, high = span(node[1])
            # The larger pages are, the fewer there are.
            return 1 if is_memory(node[1]) else _root(low), _root(high)
        case "+":
            spans = [span(part) for part in node[1:]]
            return sum(span[0] for span in spans), sum(span[1] for span in spans)
        case "max" | "min":
            lows, highs = zip(*map(span, node[1:]), strict=True)
            return (max(lows), max(highs)) if node[0] == "max" else (min(lows), min(highs))
        case "-":
            (a, b), (c, d) = span(node[1]), span(node[2])
            return a - d, b - c
        case "*":
            low, high = span(node[1])
            for part in node[2:]:
                c, d = span(part)
                edges = [_times(x, y) for x in (low, high) for y in (c, d)]
                low, high = min(edges), max(edges)
            return low, high
    (a, b), (c, d) = span(node[1]), span(node[2])
    if a < 0 or c < 0 or d == 0:
        return -inf, inf
    if a == b and c == d and c > 0 and _divides_alike(node, int(a), int(c)):
        return a // c, a // c
    # A division by 0 makes the whole unknown. Rounding to pages depends on their size.
    same = is_memory(node[1]) == is_memory(node[2])
    most = b if b == inf or (same and is_memory(node[1])) else b // max(c, 1)
    if same and is_memory(node[1]):
        most = inf if b else 0
    least = 0 if is_memory(node[1]) or a == inf else (0 if d == inf else a // max(d, 1))
    return least, most


def _divides_alike(node: Any, dividend: int, divisor: int) -> bool:
    """Return whether a quotient of constants is the same for every page size."""
    if is_memory(node):
        return dividend * GRANULE % (divisor * _ANY_PAGE) == 0
    return True


def _root(value: float) -> float:
    if value in (inf, -inf):
        return inf if value > 0 else 1
    return max(1, isqrt(int(value))) if value > 0 else 1


def _times(x: float, y: float) -> float:
    return 0 if x == 0 or y == 0 else x * y


def bounds(node: Node) -> tuple[float, float]:
    """Return the least and the greatest value of an expression, perhaps infinite."""
    return span(canonical(node))


def constant(node: Node) -> tuple[str, int] | None:
    """Return the value of an expression without attributes.

    Returns:
        ``number`` or ``bytes``, and how many; None if the expression is no constant, is
        unknown, or depends on the page size.
    """
    if node[0] in ("number", "bytes"):
        return node[0], node[1]
    if any(part[0] in ("attr", "cap") for part in nodes.walk(node)):
        return None
    low, high = bounds(node)
    if low != high:
        return None
    value = int(low)
    return ("bytes", value * GRANULE) if is_memory(node) else ("number", value)


@lru_cache(maxsize=8192)
def mentioned(key: Any) -> frozenset[str]:
    """Return the attributes of a canonical node, or of two."""
    return frozenset(uses(key))


def uses(key: Any) -> Iterator[str]:
    """Yield the attributes of a canonical node as often as it uses them."""
    if isinstance(key, tuple):
        if key[:1] == ("attr",):
            yield key[1]
        else:
            for part in key:
                yield from uses(part)
