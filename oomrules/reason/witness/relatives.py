"""The ancestors of a process that is to be in a box: what each of them has to be like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oomrules.program.nodes import Node
from oomrules.reason.regions import Reasoner, meet, narrowed
from oomrules.reason.variables import FALSE, TRUE, Box, Values, Variable

PARENT = "parent."


def boxes_of(box: Box) -> list[Box] | None:
    """Return a box for each ancestor that a process needs to be in a box, the parent first.

    None if no process can have such ancestors, as far as that is known.

    Raises:
        Undecided: there are too many cases.
    """
    asked: dict[tuple[str, str], list[Node]] = {}
    for variable, values in box.items():
        if variable.kind == "kin" and len(values.others & {TRUE, FALSE}) == 1:
            (answer,) = values.others & {TRUE, FALSE}
            kind, condition = variable.key
            asked.setdefault((kind, answer), []).append(as_node(condition))
    # What no ancestor may be like holds for all of them.
    nobody: list[Node] = [["not", node] for node in asked.get(("under", FALSE), [])]
    of_parent = [*asked.get(("child", TRUE), [])]
    of_parent += [["not", node] for node in asked.get(("child", FALSE), []) if of_parent]
    direct = _of_parent(box)
    found: list[Box] = []
    if of_parent or direct:
        parent = _possible([*of_parent, *nobody], direct)
        if parent is None:
            return None
        found.append(parent)
    for node in asked.get(("under", TRUE), []):
        ancestor = _possible([node, *nobody], {})
        if ancestor is None:
            return None
        found.append(ancestor)
    return found


def _possible(conditions: Iterable[Node], box: Box) -> Box | None:
    """Return a box of processes that satisfy conditions and are in a box."""
    reasoner = Reasoner({})
    for one in reasoner.holds(["and", *conditions]):
        both = meet(one, box)
        narrow = both and narrowed(both) if both else both
        if narrow is not None:
            return narrow
    return None


def _of_parent(box: Box) -> Box:
    """Return what a box asks of the parent, as questions about a process."""
    found: dict[Variable, Values] = {}
    for variable, values in box.items():
        if not values.must_be_unknown:
            kind, key = variable
            if kind == "text" and key.startswith(PARENT):
                found[Variable("text", key.removeprefix(PARENT))] = values
            elif kind == "number" and key[0] == "attr" and key[1].startswith(PARENT):
                found[Variable("number", ("attr", key[1].removeprefix(PARENT)))] = values
    return found


def as_node(key: Any) -> Any:
    """Return the node of a key, as ``Reasoner`` makes it."""
    return [as_node(part) for part in key] if isinstance(key, tuple) else key
