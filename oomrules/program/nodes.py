"""Nodes, of which conditions and scores are made: their shape, one walk, their evaluation.

A node is a list whose first item says what it is; the others are its operands:

    ["number", n]            a number, an id, milliseconds or hundredths of a percent
    ["bytes", n]             memory; a number of pages in arithmetic
    ["share", above, below]  that share of the nearest memory limit above the process; compared
                             with an attribute that has a whole (``Attribute.whole``), of that
    ["text", s]              a text
    ["attr", name]           an attribute of ``oomrules.attributes``
    ["name", name]           a definition of the program
    ["+" "-" "*" "/", a, b]  arithmetic in whole numbers, ``/`` floors
    ["negative", a], ["root", a], ["max", a, b, …], ["min", a, b, …]
    ["==" "!=" "<" "<=" ">" ">=", a, b]
    ["glob", text, pattern], ["search", text, regex], ["among", text, pattern, …]
                             the regex is one that ``expressions.check`` lets through
    ["cap", bit]             the capability is in the effective set
    ["not", a], ["and", …], ["or", …]
    ["child", a], ["under", a]
                             the parent of the process satisfies it; one of its ancestors does

Evaluation has truth values for doubt, and goes in stages. A node that has been evaluated is its
value: an int, a text, True, False, None for *unknown*, or SELF_MADE for unknown by the doing of
the process. Where attributes are not read yet (``PENDING``), what is left is a node again, with
everything decided that could be: the residual. It may have ["unknown"] and ["self-made"] in it.

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial

from oomrules.attributes import ATTRIBUTES
from oomrules.lean import Any, NamedTuple
from oomrules.program import expressions
from oomrules.program.automaton import WORK, TooMuchWork

Node = list[Any]


class Form(NamedTuple):
    """The shape of a kind of node.

    Operands are N, T or C for a node that is a number, a text or a condition; X for any of
    them, the same on both sides; i or s for a plain whole number or a plain text. A ``*``
    stands for any more of the last one. ``result`` is N, T or C; empty for an attribute, whose
    type says it.
    """

    operands: str
    result: str


COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
ARITHMETIC = ("+", "-", "*", "/")

FORMS: dict[str, Form] = {
    "number": Form("i", "N"),
    "bytes": Form("i", "N"),
    "share": Form("ii", "N"),
    "text": Form("s", "T"),
    "attr": Form("s", ""),
    "name": Form("s", "C"),
    "negative": Form("N", "N"),
    "root": Form("N", "N"),
    "glob": Form("Ts", "C"),
    "search": Form("Ts", "C"),
    "among": Form("Tss*", "C"),
    "cap": Form("i", "C"),
    "not": Form("C", "C"),
    "child": Form("C", "C"),
    "under": Form("C", "C"),
    "and": Form("C*", "C"),
    "or": Form("C*", "C"),
    "max": Form("NNN*", "N"),
    "min": Form("NNN*", "N"),
    **dict.fromkeys(ARITHMETIC, Form("NN", "N")),
    **dict.fromkeys(COMPARISONS, Form("NN", "C")),
    **dict.fromkeys(("==", "!="), Form("XX", "C")),
}


class _SelfMade:
    def __repr__(self) -> str:
        return "SELF_MADE"


SELF_MADE: Any = _SelfMade()

# The nodes that stand for a doubt.
DOUBTS = {"unknown": None, "self-made": SELF_MADE}

# What an attribute getter gives for a value that is not to be read yet.
PENDING = object()

Get = Callable[[str], Any]


def operands(node: Node) -> list[Node]:
    """Return the operands of a node that are nodes themselves."""
    return [part for part in node[1:] if isinstance(part, list)]


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and every node below it, each before its operands, from left to right."""
    left = [node]
    while left:
        node = left.pop()
        yield node
        left += [part for part in node[:0:-1] if isinstance(part, list)]


# What a node of these kinds asks for, besides what is in it.
_ASKED = {"cap": "capabilities", "child": "ppid", "under": "ppid"}
RELATIVES = ("child", "under")


def attributes(node: Node) -> set[str]:
    """Return the attributes that a node asks for, of the process or of its ancestors."""
    asked = (part for part in walk(node) if part[0] == "attr" or part[0] in _ASKED)
    return {part[1] if part[0] == "attr" else _ASKED[part[0]] for part in asked}


def names(node: Node) -> set[str]:
    """Return the definitions that a node refers to itself."""
    return {part[1] for part in walk(node) if part[0] == "name"}


def needed(stated: Iterable[Node], definitions: Mapping[str, Node]) -> dict[str, Node]:
    """Return the definitions that nodes refer to, and those that these refer to."""
    reached: dict[str, Node] = {}
    left = list(stated)
    while left:
        new = {name: definitions[name] for name in names(left.pop()) if name not in reached}
        reached |= new
        left += new.values()
    return reached


def levels(node: Node, of_definitions: Mapping[str, int]) -> int:
    """Count the levels of a node; a definition has those that it is known to have."""
    if node[0] == "name":
        return 1 + of_definitions.get(node[1], 0)
    return 1 + max((levels(part, of_definitions) for part in operands(node)), default=0)


def divide(a: int, b: int) -> int | None:
    """Return the quotient, rounded down; unknown by zero."""
    return a // b if b else None


def either(one: Any, other: Any) -> Any:
    """Return what ``or`` makes of two truth values."""
    if one is True or other is True:
        return True
    if one is False or other is False:
        return other if one is False else one
    return one if one is other else True


def root(a: int) -> int:
    """Return the integer square root, never below 1: the kernel divides only ``if (s)``."""
    return max(1, math.isqrt(a)) if a > 0 else 1


# Most globs are a plain text with a star at an end, or a star between two texts. A comparison
# takes less time than matching an expression, and far less than compiling one.
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
    """Return whether the whole text matches a glob; ``*`` matches anything, ``/`` too."""
    return _matches(_glob(pattern), text)


def among(text: str, *patterns: str) -> bool:
    """Return whether one of the globs matches the whole text."""
    return _matches(_globs(patterns), text)


def _matches(matches: Callable[[str], Any], text: str) -> bool:
    return bool(matches(text)) or any(map(matches, getattr(text, "aliases", ())))


def search(text: str, pattern: str) -> bool:
    """Return whether a regular expression is found anywhere in the text.

    Programs hold only expressions that ``expressions.check`` lets through.

    Raises:
        TooMuchWork: the searches since ``WORK.begin`` took more than was allowed.
    """
    found = expressions.finder(pattern)(text)
    if WORK.done > WORK.limit:
        raise TooMuchWork
    return found


def search_within(text: str, pattern: str) -> Any:
    """Return what ``search`` does; SELF_MADE where that takes too much work."""
    try:
        return search(text, pattern)
    except TooMuchWork:
        return SELF_MADE


class OverBudget(Exception):
    """Searching an attribute of one process took too much work."""

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
    "max": max,
    "min": min,
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
    """Return the value of a node, as far as the attributes at hand decide it.

    Args:
        node: of the kinds that are left after ``localise``.
        get: returns an attribute's value, None or PENDING.
        names: returns a definition, reduced in the same way (``Definitions``). One that is not
            decided yet stays a name: it is worked out once a process and not at each use.

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
    if kind in DOUBTS:
        return DOUBTS[kind]
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
        # All operands are nodes, or the first one is.
        return [kind, *(map(as_node, parts) if isinstance(node[-1], list) else parts)]
    if SELF_MADE in parts:
        return SELF_MADE
    try:
        return STRICT[kind](*parts)
    except TooMuchWork as error:
        raise OverBudget(str(node[1][1])) from error


def as_node(value: Any) -> Node:
    """Return what ``reduce`` makes of a number or a text as a node in any case."""
    if isinstance(value, list):
        return value
    if value is None or value is SELF_MADE:
        return ["unknown" if value is None else "self-made"]
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


class Definitions:
    """Works each definition out once. No closure: one that calls itself would be a cycle.

    Args:
        definitions: the nodes by their names.
        get: gives an attribute's value, as for ``reduce``.
    """

    def __init__(self, definitions: Mapping[str, Node], get: Get) -> None:
        self._definitions = definitions
        self._get = get
        self._done: dict[str, Any] = {}

    def __call__(self, name: str) -> Any:
        """Return the value of a definition, or the node that is left of it."""
        if name not in self._done:
            self._done[name] = reduce(self._definitions[name], self._get, self)
        return self._done[name]


def whole_of(attribute: str) -> str:
    """Return the name under which ``get`` returns an attribute as the whole of a share, in bytes.

    No rule can name it.
    """
    return f"({attribute})"


def share_of(node: Node) -> str:
    """Return of which attribute a share in a comparison is; empty for the nearest memory limit."""
    asked = (ATTRIBUTES.get(part[1]) for part in node[1:] if part[0] == "attr")
    return next((attribute.whole for attribute in asked if attribute and attribute.whole), "")


def asks_limit(node: Node) -> bool:
    """Return whether there is a share of the nearest memory limit in a node."""
    if node[0] == "share":
        return True
    if node[0] in COMPARISONS and share_of(node):
        return False
    return any(map(asks_limit, operands(node)))


def localise(node: Node, page_size: int, limit: str) -> Node:
    """Return a node with quantities of memory in this host's pages.

    In arithmetic memory counts in whole pages, rounded down. A quantity that stands
    alone in a comparison is compared exactly, in bytes.

    Args:
        limit: the name under which ``get`` returns the memory limit, in bytes.
    """
    if node[0] == "bytes":
        return ["number", node[1] // page_size]
    if node[0] == "share":
        bytes_ = ["*", ["attr", limit], ["number", node[1]]]
        return ["/", bytes_, ["number", node[2] * page_size]]
    if node[0] in COMPARISONS and any(part[0] in ("bytes", "share") for part in node[1:]):
        below = math.lcm(*(part[2] for part in node[1:] if part[0] == "share"))
        whole = share_of(node)
        limit = whole_of(whole) if whole else limit
        return [node[0], *(_exact(part, page_size, below, limit) for part in node[1:])]
    parts = [localise(p, page_size, limit) if isinstance(p, list) else p for p in node[1:]]
    # Most nodes are the same on every host, and stay shared with the program.
    same = all(new is old for new, old in zip(parts, node[1:], strict=True))
    return node if same else [node[0], *parts]


def _exact(node: Node, page_size: int, times: int, limit: str) -> Node:
    """Return one side of a comparison in bytes, times a number."""
    if node[0] == "bytes":
        return ["number", node[1] * times]
    if node[0] == "share":
        return ["*", ["attr", limit], ["number", node[1] * times // node[2]]]
    return ["*", localise(node, page_size, limit), ["number", page_size * times]]
