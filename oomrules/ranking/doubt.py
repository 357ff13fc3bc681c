"""The causes of a doubt: the attributes that were unknown where a condition is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oomrules.lean import Any
from oomrules.processes.values import LIMIT
from oomrules.program.nodes import SELF_MADE, Node, OverBudget, operands

# What is no attribute, in the words that people read.
NEAREST_LIMIT = "the memory limit"
DIVISION = "a division by 0"
PLACE = "its unit"

# How many causes are named: enough to begin with.
_MOST = 5


def causes(
    node: Node, evaluate: Callable[[Node], Any], definitions: Mapping[str, Node], doubt: Any = None
) -> tuple[str, ...]:
    """Return what is unknown in a condition or a score that is unknown.

    Args:
        node: it.
        evaluate: gives the value of a node.
        definitions: what the names in it stand for.
        doubt: the value that is looked for: None, or SELF_MADE.

    Returns:
        attributes, and what is no attribute (``NEAREST_LIMIT`` and so on), each once.
    """
    found: dict[str, None] = {}
    _collect(node, evaluate, definitions, doubt, found, set())
    return tuple(found)[:_MOST]


def _collect(
    node: Node,
    evaluate: Callable[[Node], Any],
    definitions: Mapping[str, Node],
    doubt: Any,
    found: dict[str, None],
    looked_at: set[str],
) -> None:
    kind = node[0]
    if len(found) >= _MOST or not _doubtful(node, evaluate, doubt):
        return
    before = len(found)
    if kind == "attr":
        found[NEAREST_LIMIT if node[1] == LIMIT else node[1]] = None
    elif kind == "cap":
        found["capabilities"] = None
    elif kind == "unknown":
        found[PLACE] = None
    elif kind == "name":
        # Definitions that use others twice have exponentially many ways through them.
        if node[1] not in looked_at:
            looked_at.add(node[1])
            _collect(definitions[node[1]], evaluate, definitions, doubt, found, looked_at)
    else:
        for part in operands(node):
            _collect(part, evaluate, definitions, doubt, found, looked_at)
        if kind == "/" and len(found) == before and doubt is not SELF_MADE:
            found[DIVISION] = None


def _doubtful(node: Node, evaluate: Callable[[Node], Any], doubt: Any) -> bool:
    try:
        return evaluate(node) is doubt
    except OverBudget:
        # It was searched once more to say why, and nothing is decided by that.
        return False
