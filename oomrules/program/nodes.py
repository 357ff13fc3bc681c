"""Evaluation of a program's nodes, with truth values for doubt and in stages.

A node that has been evaluated is its value: an int, a text, True, False, None for
*unknown*, or SELF_MADE for unknown by the doing of the process. With some attributes not looked
at yet (``PENDING``) what is left is a node again, with everything decided that could be: the
residual.

Unknown follows Kleene: it spreads through arithmetic and comparisons, and ``and`` and
``or`` give an answer where the known side settles it. Division by zero is unknown.
SELF_MADE is the fourth value of Belnap's logic ("A useful four-valued logic", 1977): what is
unknown may hold and may fail, what is SELF_MADE is taken to do neither. ``not`` leaves both
as they are; of the two together, ``and`` is False and ``or`` is True.
"""

from __future__ import annotations

import fnmatch
import math
import operator
import re
from collections.abc import Callable, Iterable
from functools import lru_cache, partial

from oomrules.lean import Any
from oomrules.processes.snapshot import SELF_MADE
from oomrules.program import expressions
from oomrules.program.automaton import WORK, TooMuchWork
from oomrules.program.program import Node

# What an attribute getter gives for a value that is not to be read yet.
PENDING = object()

Get = Callable[[str], Any]


def divide(a: int, b: int) -> int | None:
    """Whole division, rounded down; unknown by zero."""
    return a // b if b else None


def root(a: int) -> int:
    """Integer square root, never below 1: the kernel divides only ``if (s)``."""
    return max(1, math.isqrt(a)) if a > 0 else 1


# Most globs are a plain text with a star at an end, or one between two texts. To compare
# takes less time than to match an expression, and far less than to compile one.
_PLAIN_WAYS = {
    (False, False): "__eq__",
    (False, True): "startswith",
    (True, False): "endswith",
    (True, True): "__contains__",
}


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> Callable[[str], Any]:
    plain = pattern.strip("*")
    if "?" not in plain and "[" not in plain:
        if "*" not in plain:
            way = _PLAIN_WAYS[pattern.startswith("*"), pattern.endswith("*")]
            return operator.methodcaller(way, plain)
        if plain == pattern and pattern.count("*") == 1:
            return partial(_between, *pattern.split("*"))
    return re.compile(fnmatch.translate(pattern)).match


def _between(start: str, end: str, text: str) -> bool:
    enough = len(text) >= len(start) + len(end)
    return enough and text.startswith(start) and text.endswith(end)


@lru_cache(maxsize=4096)
def _globs(patterns: tuple[str, ...]) -> Callable[[str], Any]:
    return re.compile("|".join(map(fnmatch.translate, patterns))).match


class Names(str):
    """A name that has aliases: globs match any of them, everything else sees the name."""

    __slots__ = ("aliases",)

    def __new__(cls, name: str, aliases: Iterable[str]) -> Names:
        """Make the name."""
        made = super().__new__(cls, name)
        made.aliases = tuple(aliases)
        return made

    aliases: tuple[str, ...]


def is_glob(pattern: str) -> bool:
    """Return whether a pattern has characters that stand for others."""
    return any(char in pattern for char in "*?[")


def glob(text: str, pattern: str) -> bool:
    """Tell whether the whole text matches a glob; ``*`` matches anything, ``/`` too."""
    return _matches(_glob(pattern), text)


def among(text: str, *patterns: str) -> bool:
    """Tell whether one of the globs matches."""
    return _matches(_globs(patterns), text)


def _matches(matches: Callable[[str], Any], text: str) -> bool:
    return bool(matches(text)) or any(map(matches, getattr(text, "aliases", ())))


def search(text: str, pattern: str) -> bool:
    """Tell whether a regular expression is found anywhere in the text.

    Raises:
        TooMuchWork: what was searched since ``WORK.begin`` took more than was allowed.
        see ``expressions.check``; programs hold only expressions that it lets through.
    """
    found = expressions.finder(pattern)(text)
    WORK.check()
    return found


def search_within(text: str, pattern: str) -> Any:
    """Search in the same way; SELF_MADE where it takes too much."""
    try:
        return search(text, pattern)
    except TooMuchWork:
        return SELF_MADE


class OverBudget(Exception):
    """To search an attribute of one process took too much."""

    def __init__(self, attribute: str) -> None:
        super().__init__(attribute)
        self.attribute = attribute


STRICT: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "negative": operator.neg,
    "root": root,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "glob": glob,
    "search": search,
    "among": among,
}


def reduce(node: Node, get: Get, names: Callable[[str], Any]) -> Any:
    """Evaluate a node as far as the attributes at hand allow.

    Args:
        node: of the kinds that are left after ``localise``.
        get: gives an attribute's value, None or PENDING.
        names: gives a definition, reduced in the same way; one that is not decided yet
            stays a name, so that it is worked out once a process and not at each use.

    Returns:
        the value, or the node that is left.

    Raises:
        OverBudget: a search took more than ``WORK`` allows.
    """
    kind = node[0]
    if kind in ("number", "text"):
        return node[1]
    if kind == "attr":
        value = get(node[1])
        return node if value is PENDING else value
    if kind == "cap":
        value = get("capabilities")
        if value is PENDING:
            return node
        return value if value is None or value is SELF_MADE else bool(value >> node[1] & 1)
    if kind == "name":
        value = names(node[1])
        return node if isinstance(value, list) else value
    if kind == "unknown":
        return None
    if kind == "self-made":
        return SELF_MADE
    if kind == "not":
        inner = reduce(node[1], get, names)
        if isinstance(inner, list):
            return ["not", inner]
        return inner if inner is None or inner is SELF_MADE else not inner
    if kind in ("and", "or"):
        return _connect(kind, node, get, names)
    parts = [reduce(part, get, names) if isinstance(part, list) else part for part in node[1:]]
    if None in parts:
        return None
    if any(isinstance(part, list) for part in parts):
        return [kind, *(_as_node(part) for part in parts)] if kind in _NUMERIC else [kind, *parts]
    if SELF_MADE in parts:
        return SELF_MADE
    try:
        return STRICT[kind](*parts)
    except TooMuchWork as error:
        raise OverBudget(str(node[1][1])) from error


COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_NUMERIC = ("+", "-", "*", "/", "negative", "root", *COMPARISONS)


def _as_node(value: Any) -> Any:
    """Wrap a value that has been worked out back into a node."""
    if isinstance(value, list):
        return value
    if value is SELF_MADE:
        return ["self-made"]
    return ["text" if isinstance(value, str) else "number", value]


def _connect(kind: str, node: Node, get: Get, names: Callable[[str], Any]) -> Any:
    settles = kind == "or"
    left: list[Any] = []
    unknown = self_made = False
    for part in node[1:]:
        value = reduce(part, get, names)
        if value is None:
            unknown = True
        elif value is SELF_MADE:
            self_made = True
        elif isinstance(value, list):
            left.append(value)
        elif value is settles:
            return settles
    if unknown and self_made:
        return settles
    if left:
        left += [["unknown"]] * unknown + [["self-made"]] * self_made
        return left[0] if len(left) == 1 else [kind, *left]
    return None if unknown else SELF_MADE if self_made else not settles


def localise(node: Node, page_size: int, limit: str) -> Node:
    """Turn quantities of memory into this host's pages.

    In arithmetic memory counts in whole pages, rounded down. A quantity that stands
    alone in a comparison is compared exactly, in bytes.

    Args:
        limit: the name under which ``get`` gives the memory limit, in bytes.
    """
    if node[0] == "bytes":
        return ["number", node[1] // page_size]
    if node[0] == "share":
        bytes_ = ["*", ["attr", limit], ["number", node[1]]]
        return ["/", bytes_, ["number", node[2] * page_size]]
    if node[0] in COMPARISONS and any(part[0] in ("bytes", "share") for part in node[1:]):
        below = math.lcm(*(part[2] for part in node[1:] if part[0] == "share"))
        return [node[0], *(_exact(part, page_size, below, limit) for part in node[1:])]
    parts = [localise(p, page_size, limit) if isinstance(p, list) else p for p in node[1:]]
    # Most nodes are the same on every host, and stay shared with the program.
    same = all(new is old for new, old in zip(parts, node[1:], strict=True))
    return node if same else [node[0], *parts]


def _exact(node: Node, page_size: int, times: int, limit: str) -> Node:
    """Give one side of a comparison in bytes, times a number."""
    if node[0] == "bytes":
        return ["number", node[1] * times]
    if node[0] == "share":
        return ["*", ["attr", limit], ["number", node[1] * times // node[2]]]
    return ["*", localise(node, page_size, limit), ["number", page_size * times]]
