"""The condition of a guard, taken apart: each comparison in it, and whether it holds now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.guard import figures
from oomrules.guard.figures import Look, Pair
from oomrules.lean import NamedTuple
from oomrules.program import nodes
from oomrules.program.nodes import Node

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
# How tightly operators bind, to put brackets where a reader needs them.
_BINDING = {"or": 1, "and": 2, **dict.fromkeys(nodes.COMPARISONS, 4)}
_BINDING |= {"+": 5, "-": 5, "*": 6, "/": 6}
_NOT, _NEGATIVE = 3, 7


class Comparison(NamedTuple):
    """A comparison as its condition needs it: turned round below a ``not``, the figure first.

    Attributes:
        text: as it may be written in a rule.
        node: the same as a program has it.
        value: the least and the most that the left side can be: bytes, hundredths of a percent or
            a number; None if it is unknown.
        limit: the same of the right side.
        whole: what a percentage in it is a share of, in bytes; None if it has none, or is unknown.
        holds: True, False, or None for unknown.
        missing: the figures that are unknown, as attributes.
    """

    text: str
    node: Node
    value: Pair | None
    limit: Pair | None
    whole: int | None
    holds: bool | None
    missing: tuple[str, ...]


def compared(
    node: Node, definitions: Mapping[str, Node], look: Look, negated: bool = False
) -> Iterator[Comparison]:
    """Yield the comparisons of a condition, those of its definitions too, from left to right.

    Args:
        node: of a program.
        definitions: what the names in it stand for; each is opened once, however often it is named.
        look: the figures of the guard's place.
        negated: whether the condition needs it to be false.
    """
    for part, turned in _parts(node, definitions, negated, set()):
        yield comparison(part, definitions, look, turned)


def _parts(
    node: Node, definitions: Mapping[str, Node], negated: bool, opened: set[tuple[str, bool]]
) -> Iterator[tuple[Node, bool]]:
    if node[0] == "not":
        yield from _parts(node[1], definitions, not negated, opened)
    elif node[0] in ("and", "or"):
        for part in nodes.operands(node):
            yield from _parts(part, definitions, negated, opened)
    elif node[0] == "name" and node[1] in definitions and (node[1], negated) not in opened:
        opened.add((node[1], negated))
        yield from _parts(definitions[node[1]], definitions, negated, opened)
    elif node[0] in nodes.COMPARISONS:
        yield node, negated


def comparison(
    node: Node, definitions: Mapping[str, Node], look: Look, negated: bool = False
) -> Comparison:
    """Return one comparison; see ``compared``."""
    operator, left, right = node
    if not nodes.attributes(left) and nodes.attributes(right):
        operator, left, right = _FLIPPED[operator], right, left
    node = [_NEGATED[operator] if negated else operator, left, right]
    shares = any(part[0] == "share" for part in nodes.walk(node))
    share_of = nodes.share_of(node)
    name = (nodes.whole_of(share_of) if share_of else figures.LIMIT) if shares else ""
    whole = look.get(name) if name else None
    missing = [one for one in sorted(nodes.attributes(node)) if look.get(one) is None]
    if name and whole is None:
        missing.append(share_of or "the memory limit")
    return Comparison(
        text=written(node),
        node=node,
        value=_value(left, name, definitions, look),
        limit=_value(right, name, definitions, look),
        whole=whole[0] if whole else None,
        holds=figures.truth(figures.compiled(node, definitions), look),
        missing=tuple(dict.fromkeys(missing)),
    )


def _value(node: Node, whole: str, definitions: Mapping[str, Node], look: Look) -> Pair | None:
    """Return a side of a comparison; a share is one of what the other side says."""
    if node[0] == "share":
        node = ["/", ["*", ["attr", whole], ["number", node[1]]], ["number", node[2]]]
    try:
        value = figures.compiled(node, definitions)(look)
    except RecursionError:
        return None
    return value if isinstance(value, tuple) else None


# --- nodes in words ---------------------------------------------------------------------------


def written(node: Node, share: bool = False, outer: int = 0) -> str:
    """Return a node of a guard's condition as it is written in a rule.

    Args:
        share: whether plain numbers in it are hundredths of a percent.
        outer: how tightly the operator around it binds.
    """
    word = node[0]
    if word in ("attr", "name"):
        return str(node[1])
    if word == "bytes":
        return _size(node[1])
    if word == "share":
        return f"{_decimal(100 * node[1] / node[2])}%"
    if word == "number":
        return f"{_decimal(node[1] / 100)}%" if share else str(node[1])
    share = share or any(map(_is_share, nodes.operands(node)))
    if word == "negative":
        return f"-{written(node[1], share, _NEGATIVE)}"
    parts = nodes.operands(node)
    if word == "not":
        text, binding = f"not {written(parts[0], share, _NOT)}", _NOT
    elif word in _BINDING:
        binding = _BINDING[word]
        # What stands first may bind as tightly, but for comparisons, of which there is no chain.
        first = binding + (word in nodes.COMPARISONS)
        sides = [written(part, share, binding + 1) for part in parts[1:]]
        text = f" {word} ".join([written(parts[0], share, first), *sides])
    else:
        return f"{word}({', '.join(written(part, share) for part in parts)})"
    return f"({text})" if binding < outer else text


def _size(size: int) -> str:
    """Return a size in the largest unit in which it is a whole number."""
    unit = 0
    while size and size % 1024 == 0 and unit < len(_SIZES) - 1:
        size, unit = size // 1024, unit + 1
    return f"{size}{_SIZES[unit]}"


def _decimal(number: float) -> str:
    return f"{number:.4f}".rstrip("0").rstrip(".")


def _is_share(node: Node) -> bool:
    name = node[1] if node[0] == "attr" else ""
    return name in ATTRIBUTES and ATTRIBUTES[name].type is Type.PERCENTAGE
