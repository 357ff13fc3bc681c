"""The causes of a doubt: the attributes that were unknown where a condition is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from oomrules.lean import Any
from oomrules.processes.values import LIMIT, WHOLES
from oomrules.program.nodes import Node, OverBudget, operands

# What is no attribute, in the words that people read.
NEAREST_LIMIT = "the memory limit"
DIVISION = "a division by 0"
# What a percentage is the share of, where there is nothing of that.
NOTHING = {name: f"a share of {name}, which is 0" for name in WHOLES}
PLACE = "its unit"

# How the attributes are called that a program has of its own (``local.Local.causes``).
Named = Callable[[str, Any], Iterable[str]]


def _by_itself(name: str, _: Any) -> Iterable[str]:
    return (name,)


# How many causes are named: enough to begin with.
_MOST = 5


def causes(
    node: Node,
    evaluate: Callable[[Node], Any],
    definitions: Mapping[str, Node],
    named: Named = _by_itself,
    doubt: Any = None,
) -> tuple[str, ...]:
    """Return what is unknown in a condition or a score that is unknown.

    Args:
        node: it.
        evaluate: gives the value of a node.
        definitions: what the names in it stand for.
        named: returns what is unknown where an attribute is, in the words that people read.
        doubt: the value that is looked for: None, or SELF_MADE.

    Returns:
        attributes, and what is no attribute (``NEAREST_LIMIT`` and so on), each once.
    """
    found: dict[str, None] = {}
    for cause in _causes(node, evaluate, definitions, named, doubt, set()):
        found[cause] = None
        if len(found) == _MOST:
            break
    return tuple(found)


def _causes(
    node: Node,
    evaluate: Callable[[Node], Any],
    definitions: Mapping[str, Node],
    named: Named,
    doubt: Any,
    looked_at: set[str],
) -> Iterator[str]:
    """Yield what is unknown in a node, from left to right; the same cause may come again."""
    try:
        if evaluate(node) is not doubt:
            return
    except OverBudget:
        # It was searched once more to say why, and nothing is decided by that.
        return
    kind, parts = node[0], operands(node)
    if kind == "attr":
        # What shares are of has a name that no rule has.
        name = node[1].strip("()")
        if node[1] == LIMIT:
            name = NEAREST_LIMIT
        elif name in NOTHING and evaluate(["attr", name]) == 0:
            name = NOTHING[name]
        yield from named(node[1], doubt) if name == node[1].strip("()") else [name]
    elif kind == "cap":
        yield "capabilities"
    elif kind == "unknown":
        yield PLACE
    elif kind == "name" and node[1] not in looked_at:
        # Definitions that use others twice have exponentially many ways through them.
        looked_at.add(node[1])
        parts = [definitions[node[1]]]
    elif kind == "/" and doubt is None and None not in map(evaluate, parts):
        yield DIVISION
    for part in parts:
        yield from _causes(part, evaluate, definitions, named, doubt, looked_at)
