"""Which users and groups the rules of a program name."""

from __future__ import annotations

from collections.abc import Iterator

from oomrules.lean import Any, NamedTuple
from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.program.program import Program


class Mentions(NamedTuple):
    """What the rules of a program say of users, or of groups.

    Attributes:
        names: those that are written out, each with the place of the first rule that does so, or
            an empty text.
        globs: patterns that names may match.
        any: whether a rule may hold for any name, as a regular expression does.
    """

    names: dict[str, str]
    globs: frozenset[str]
    any: bool

    @property
    def open(self) -> bool:
        """Return whether more names than those that are written out may matter."""
        return self.any or bool(self.globs)

    @property
    def nothing(self) -> bool:
        """Return whether no rule asks for a name."""
        return not (self.names or self.open)

    @property
    def ids(self) -> list[int]:
        """Return the ids that are written as names: such a rule means an id without a name."""
        return sorted(int(name) for name in self.names if is_number(name))

    def matches(self, name: str) -> bool:
        """Return whether a rule can hold because of this name, or of one of its aliases."""
        texts = (name, *getattr(name, "aliases", ()))
        return (
            self.any
            or any(text in self.names for text in texts)
            or any(nodes.glob(text, glob) for glob in self.globs for text in texts)
        )


def mentioned(program: Program, kind: str) -> Mentions:
    """Find what a program says of users or of groups, by the kind: ``user`` or ``group``."""
    found: dict[str, str] = {}
    globs: set[str] = set()
    anything = False
    for node, place in _conditions(program):
        for pattern in _patterns(node, ["attr", kind]):
            if pattern is None:
                anything = True
            elif nodes.is_glob(pattern):
                globs.add(pattern)
            else:
                found[pattern] = found.get(pattern) or place
    return Mentions(found, frozenset(globs), anything)


def _conditions(program: Program) -> Iterator[tuple[Node, str]]:
    for scope in program.scopes:
        yield from ((rule.when, rule.place) for rule in scope.rules)
        if scope.score:
            yield scope.score.value, scope.score.place
    yield from ((node, "") for node in program.definitions.values())


def _patterns(node: Node, attribute: Node) -> Iterator[str | None]:
    """Return what an attribute is compared with; None for anything but a text or a glob."""
    if node == attribute:
        yield None
    for kind, *operands in nodes.walk(node):
        if attribute in operands:
            texts = [_text(operand) for operand in operands]
            texts.remove(attribute)
            known = kind in ("glob", "among", "==", "!=")
            yield from (text if known and isinstance(text, str) else None for text in texts)


def _text(part: Any) -> Any:
    """Return what a node of a text says; anything else as it is."""
    return part[1] if isinstance(part, list) and part[0] == "text" else part


def is_number(name: str) -> bool:
    """Return whether a text is the number of an id, which is never a name."""
    return name.isascii() and name.isdigit() and len(name) <= 10
