"""Sets of texts: finite ones, and those that globs describe, decided exactly.

Quick checks answer most questions, the automata of the globs answer the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from oomrules.program import nodes
from oomrules.reason.automata import Tree, is_wild, pieces, shortest

_ALL: Tree = ("not", ("in", frozenset()))


@dataclass(frozen=True, slots=True)
class Texts:
    """A set of texts: these, or those that a tree of patterns describes.

    Attributes:
        these: the members, if the set is finite and they are known; else None.
        tree: the patterns, if ``these`` is None.
        longest: the greatest length of a text in bytes; 0 for any length.
    """

    these: frozenset[str] | None
    tree: Tree = _ALL
    longest: int = 0

    def __bool__(self) -> bool:
        if self.these is not None:
            return bool(self.these)
        return _member(self.tree, self.longest) is not None

    def __contains__(self, text: object) -> bool:
        if not isinstance(text, str) or not self._fits(text):
            return False
        return text in self.these if self.these is not None else _holds(self.tree, text)

    def _fits(self, text: str) -> bool:
        return not self.longest or len(text.encode("utf-8", "surrogateescape")) <= self.longest

    def __and__(self, other: Texts) -> Texts:
        for one, two in ((self, other), (other, self)):
            if one.these is not None:
                there = frozenset(text for text in one.these if text in two)
                return Texts(there, one.tree, one.longest)
        return Texts(None, _connected("and", self.tree, other.tree), self.longest)

    def __or__(self, other: Texts) -> Texts:
        if self.these is not None and other.these is not None:
            return replace(self, these=self.these | other.these)
        longest = max(self.longest, other.longest)
        return Texts(None, _connected("or", self.as_tree, other.as_tree), longest)

    def __sub__(self, other: Texts) -> Texts:
        if self.these is not None:
            left = frozenset(text for text in self.these if text not in other)
            return Texts(left, self.tree, self.longest)
        if other.these is not None:
            # Texts that are not in the set would only make the tree larger.
            there = frozenset(text for text in other.these if text in self)
            return Texts(None, _less(self.tree, there), self.longest) if there else self
        if _apart(self.tree, other.tree):
            return self
        return Texts(None, _connected("and", self.tree, _negated(other.tree)), self.longest)

    @property
    def as_tree(self) -> Tree:
        """The set as a tree, finite or not."""
        return self.tree if self.these is None else ("in", self.these)

    def sample(self) -> str:
        """Return a short and readable member."""
        if self.these is not None:
            return min(self.these, key=lambda text: (len(text), text))
        found = shortest(self.tree, self.longest)
        assert found is not None
        return found

    def member(self) -> str:
        """Return the member that is found first."""
        if self.these is not None:
            return min(self.these)
        found = _member(self.tree, self.longest)
        assert found is not None
        return found


def everything(longest: int = 0) -> Texts:
    """Return the set of all texts; ``longest`` bounds their length in bytes if it is not 0."""
    return Texts(None, _ALL, longest)


def literal(*texts: str) -> Texts:
    """Return the set of these texts."""
    return Texts(frozenset(texts))


@lru_cache(maxsize=8192)
def matching(patterns: tuple[str, ...]) -> Texts:
    """Return the texts that at least one of the globs matches."""
    plain = frozenset(pattern for pattern in patterns if not nodes.is_glob(pattern))
    wild = [("glob", pattern) for pattern in patterns if nodes.is_glob(pattern)]
    if not wild:
        return Texts(plain)
    return Texts(None, _connected("or", *([("in", plain)] if plain else []), *wild))


def _less(tree: Tree, texts: frozenset[str]) -> Tree:
    """Subtract single texts; all that are subtracted stay in one part of the tree."""
    parts = list(tree[1:]) if tree[0] == "and" else [tree]
    for number, part in enumerate(parts):
        if part[0] == "not" and part[1][0] == "in":
            parts[number] = ("not", ("in", part[1][1] | texts))
            return _connected("and", *parts)
    return _connected("and", tree, ("not", ("in", texts)))


@lru_cache(maxsize=65536)
def _apart(one: Tree, two: Tree) -> bool:
    """Return whether the beginnings of two sets show that no text is in both."""
    beginnings, others = _beginnings(one), _beginnings(two)
    if beginnings is None or others is None:
        return False
    return not any(a.startswith(b) or b.startswith(a) for a in beginnings for b in others)


# Texts to put in for the wild parts of a glob. They show for most sets that they are not empty.
_PROBES = ("", "x", "zq7", "x.service", "x.slice", "/zq7", "/zq7.slice/zq7.service")


@lru_cache(maxsize=65536)
def _member(tree: Tree, longest: int) -> str | None:
    """Return a text of a set; None if the set is empty.

    Raises:
        Undecided: see ``shortest``.
    """
    if _taken_away(tree):
        return None
    for probe in _PROBES:
        for glob in ("*", *_positive(tree)):
            text = "".join(
                probe if piece == "*" else probe[:1] or "x" if piece == "?" else piece[-2:][:1]
                for piece in pieces(glob)
            )
            if (not longest or len(text.encode("utf-8", "replace")) <= longest) and _holds(
                tree, text
            ):
                return text
    return shortest(tree, longest)


def _taken_away(tree: Tree) -> bool:
    """Return whether a quick check shows that a subtracted glob contains an included one."""
    if tree[0] != "and":
        return False
    less = [part[1] for part in tree[1:] if part[0] == "not"]
    wider = [
        glob[1]
        for part in less
        for glob in (part[1:] if part[0] == "or" else (part,))
        if glob[0] == "glob"
    ]
    return any(
        part[0] == "glob" and _lies_inside(part[1], wide) for part in tree[1:] for wide in wider
    )


def _lies_inside(narrow: str, wide: str) -> bool:
    """Return whether a quick check shows that a glob with one star matches all texts of another."""
    start, star, end = wide.partition("*")
    if not star or nodes.is_glob(start + end):
        return False
    # The plain ends of the narrow glob have a wild piece between them, so they do not overlap.
    ending = re.split(r"[*?\]]", narrow)[-1]
    return beginning(narrow).startswith(start) and ending.endswith(end)


def _positive(tree: Tree) -> list[str]:
    """Return a few globs that a set is made of."""
    match tree[0]:
        case "glob":
            return [tree[1]]
        case "and" | "or":
            # The last parts of an intersection are the narrowest.
            return [glob for part in reversed(tree[1:]) for glob in _positive(part)[:6]][:12]
    return []


def _connected(kind: str, *trees: Tree) -> Tree:
    flat: list[Tree] = []
    for tree in trees:
        if kind == "and" and tree == _ALL:
            continue
        for part in tree[1:] if tree[0] == kind else (tree,):
            if part not in flat:
                flat.append(part)
    if not flat:
        return _ALL
    return flat[0] if len(flat) == 1 else (kind, *flat)


def _negated(tree: Tree) -> Tree:
    inner: Tree = tree[1] if tree[0] == "not" else ("not", tree)
    return inner


def _holds(tree: Tree, text: str) -> bool:
    match tree[0]:
        case "in":
            return text in tree[1]
        case "glob":
            return nodes.glob(text, tree[1])
        case "not":
            return not _holds(tree[1], text)
        case "and":
            return all(_holds(part, text) for part in tree[1:])
    return any(_holds(part, text) for part in tree[1:])


def _beginnings(tree: Tree) -> frozenset[str] | None:
    """Return texts such that every member of a set begins with one; None if unknown."""
    match tree[0]:
        case "in":
            return frozenset(tree[1])
        case "glob":
            start = beginning(tree[1])
            return frozenset([start]) if start else None
        case "and":
            parts = map(_beginnings, tree[1:])
            return next((part for part in parts if part is not None), None)
        case "or":
            starts: set[str] = set()
            for part in map(_beginnings, tree[1:]):
                if part is None:
                    return None
                starts |= part
            return frozenset(starts)
    return None


@lru_cache(maxsize=8192)
def beginning(pattern: str) -> str:
    """Return the plain characters that a glob begins with; perhaps none."""
    return re.split(r"[*?[]", pattern, maxsplit=1)[0]


@lru_cache(maxsize=8192)
def longest_run(pattern: str) -> str:
    """Return the longest run of plain characters in a glob; perhaps empty."""
    plain = "".join("\n" if is_wild(piece) else piece for piece in pieces(pattern))
    return max(plain.split("\n"), key=len)
