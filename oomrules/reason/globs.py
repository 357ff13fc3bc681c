"""Sets of texts: finite ones, and those that globs describe, decided exactly.

A glob is run as an automaton over the characters that can make a difference: those that
a pattern names, the ends of its ranges, and one for each gap between them. Inclusion and
emptiness follow from a walk through the product of all automata of a set.
"""

from __future__ import annotations

import fnmatch
import heapq
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from oomrules.program import nodes

# More states than any sensible patterns have together; beyond it nothing is claimed.
MOST_STATES = 4000
# And no more places in patterns, for all states together.
MOST_PLACES = 200_000


class Undecided(Exception):
    """A question that is too large, or outside of what is decided."""


# A set as a tree: ("in", texts), ("glob", pattern), ("not", a), ("and", a, b, …), ("or", …).
Tree = tuple[Any, ...]
_ALL: Tree = ("not", ("in", frozenset()))


@dataclass(frozen=True, slots=True)
class Texts:
    """A set of texts: these, or those that a tree of patterns describes.

    Attributes:
        these: the members, if there are finitely many known ones; else None.
        tree: the patterns, where ``these`` is None.
        longest: how many bytes a text can have at most; 0 for any number.
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
            # What is not in the set anyway would only make it longer to look at.
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
        """Choose a member, a short and readable one."""
        if self.these is not None:
            return min(self.these, key=lambda text: (len(text), text))
        found = _shortest(self.tree, self.longest)
        assert found is not None
        return found

    def member(self) -> str:
        """Choose a member, whichever is found first."""
        if self.these is not None:
            return min(self.these)
        found = _member(self.tree, self.longest)
        assert found is not None
        return found


def everything(longest: int = 0) -> Texts:
    """Give the set of all texts, perhaps of a greatest length in bytes."""
    return Texts(None, _ALL, longest)


def literal(*texts: str) -> Texts:
    """Give the set of these texts."""
    return Texts(frozenset(texts))


@lru_cache(maxsize=8192)
def matching(patterns: tuple[str, ...]) -> Texts:
    """Give the texts that one of the globs matches."""
    plain = frozenset(pattern for pattern in patterns if not nodes.is_glob(pattern))
    wild = [("glob", pattern) for pattern in patterns if nodes.is_glob(pattern)]
    if not wild:
        return Texts(plain)
    return Texts(None, _connected("or", *([("in", plain)] if plain else []), *wild))


def _less(tree: Tree, texts: frozenset[str]) -> Tree:
    """Take single texts away; what was taken away before stays one part."""
    parts = list(tree[1:]) if tree[0] == "and" else [tree]
    for number, part in enumerate(parts):
        if part[0] == "not" and part[1][0] == "in":
            parts[number] = ("not", ("in", part[1][1] | texts))
            return _connected("and", *parts)
    return _connected("and", tree, ("not", ("in", texts)))


@lru_cache(maxsize=65536)
def _apart(one: Tree, two: Tree) -> bool:
    """Tell at a glance whether no text is in both sets: their beginnings differ."""
    beginnings, others = _beginnings(one), _beginnings(two)
    if beginnings is None or others is None:
        return False
    return not any(a.startswith(b) or b.startswith(a) for a in beginnings for b in others)


# Where a text is put in for what is open, most sets that are not empty are seen not to be.
_PROBES = ("", "x", "zq7", "x.service", "x.slice", "/zq7", "/zq7.slice/zq7.service")


@lru_cache(maxsize=65536)
def _member(tree: Tree, longest: int) -> str | None:
    """Find a text of a set; None if it is empty.

    Raises:
        Undecided: see ``_shortest``.
    """
    if _taken_away(tree):
        return None
    for probe in _PROBES:
        for glob in ("*", *_positive(tree)):
            text = "".join(
                probe if piece == "*" else probe[:1] or "x" if piece == "?" else piece[-2:][:1]
                for piece in _pieces(glob)
            )
            if (not longest or len(text.encode("utf-8", "replace")) <= longest) and _holds(
                tree, text
            ):
                return text
    return _shortest(tree, longest)


def _taken_away(tree: Tree) -> bool:
    """Tell at a glance whether a glob is in a set only as far as it was taken away again."""
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
    """Tell at a glance whether all texts of a glob are of another one with a single star."""
    start, star, end = wide.partition("*")
    if not star or nodes.is_glob(start + end):
        return False
    # Between the plain ends of the narrow one there is something else, so they do not overlap.
    return beginning(narrow).startswith(start) and _ending(narrow).endswith(end)


def _ending(pattern: str) -> str:
    return re.split(r"[*?\]]", pattern)[-1]


def _positive(tree: Tree) -> list[str]:
    """List a few globs that a set is made of."""
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
    """Give the plain characters that a glob begins with; perhaps none."""
    return re.split(r"[*?[]", pattern, maxsplit=1)[0]


@lru_cache(maxsize=8192)
def longest_run(pattern: str) -> str:
    """Give the most plain characters in a row that a glob names; perhaps none."""
    pieces = _pieces(pattern)
    plain = "".join("\n" if len(one) > 1 or one in "*?" else one for one in pieces)
    return max(plain.split("\n"), key=len)


# --- automata ------------------------------------------------------------------------------


@lru_cache(maxsize=8192)
def _pieces(pattern: str) -> tuple[str, ...]:
    """Take a glob apart as fnmatch does: ``*``, ``?``, plain characters, whole classes."""
    found = []
    at = 0
    while at < len(pattern):
        end = at + 1
        if pattern[at] == "[":
            inside = at + 1
            if pattern[inside : inside + 1] == "!":
                inside += 1
            if pattern[inside : inside + 1] == "]":
                inside += 1
            closing = pattern.find("]", inside)
            end = closing + 1 if closing >= 0 else end
        found.append(pattern[at:end])
        at = end
    return tuple(found)


@lru_cache(maxsize=65536)
def _takes(piece: str, char: str) -> bool:
    if piece == "?":
        return True
    if len(piece) > 1:
        return re.compile(fnmatch.translate(piece)).match(char) is not None
    return piece == char


@lru_cache(maxsize=65536)
def _closed(pattern: str, places: frozenset[int]) -> frozenset[int]:
    pieces, found, left = _pieces(pattern), set(places), list(places)
    while left:
        at = left.pop()
        if at < len(pieces) and pieces[at] == "*" and at + 1 not in found:
            found.add(at + 1)
            left.append(at + 1)
    return frozenset(found)


@lru_cache(maxsize=1 << 18)
def _step(pattern: str, places: frozenset[int], char: str) -> frozenset[int]:
    pieces = _pieces(pattern)
    found = set()
    for at in places:
        if at < len(pieces):
            if pieces[at] == "*":
                found.add(at)
            elif _takes(pieces[at], char):
                found.add(at + 1)
    return _closed(pattern, frozenset(found))


def _alphabet(leaves: list[Tree]) -> list[str]:
    """List characters of which one is like any that there is."""
    plain: set[str] = set()
    classes = False
    for leaf in leaves:
        if leaf[0] == "in":
            for text in leaf[1]:
                plain.update(text)
            continue
        for piece in _pieces(leaf[1]):
            if len(piece) > 1:
                classes = True
                plain.update(piece)
            elif piece not in "*?":
                plain.add(piece)
    liked = [char for char in "xyzabcdefghijklmnopqrstuvwXYZ0123456789._ " if char not in plain]
    if not classes:
        other = liked[:1] or [chr(max(map(ord, plain)) + 1)]
        return sorted(plain) + other
    # A range may end between the named characters, so each gap has one of its own.
    codes = sorted({0x20, *map(ord, plain)})
    gaps = []
    for low, high in zip([-1, *codes], [*codes, 0x110000], strict=True):
        if low + 1 < high:
            near = next((char for char in liked if low < ord(char) < high), None)
            # A byte that is no UTF-8 counts as one, and is read as one of these.
            odd = "\udc80" if low < 0xDC80 < high else chr(low + 1)
            gaps.append(near or odd)
    return sorted({*plain, " ", *gaps})


def _bytes(char: str) -> int:
    return 1 if "\ud800" <= char <= "\udfff" else len(char.encode())


@lru_cache(maxsize=65536)
def _shortest(tree: Tree, longest: int) -> str | None:
    """Find the shortest text of a set; None if it is empty.

    Raises:
        Undecided: the patterns have more states than are looked at.
    """
    numbers: dict[Tree, int] = {}
    _collect(tree, numbers)
    leaves = list(numbers)
    alphabet = _alphabet(leaves)
    start = tuple("" if leaf[0] == "in" else _closed(leaf[1], frozenset([0])) for leaf in leaves)
    following_of = [_continued(leaf[1]) if leaf[0] == "in" else {} for leaf in leaves]
    queue: list[tuple[int, int, str, tuple[Any, ...]]] = [(0, 0, "", start)]
    seen: set[Any] = set()
    number = work = 0
    while queue:
        size, _, text, state = heapq.heappop(queue)
        if state in seen:
            continue
        seen.add(state)
        work += len(leaves) + sum(map(len, filter(None, state)))
        if len(seen) > MOST_STATES or work > MOST_PLACES:
            raise Undecided("these patterns are too many to compare")
        if _accepts(tree, numbers, state):
            return text
        for char in _telling(leaves, state, following_of, alphabet):
            wide = size + _bytes(char)
            if longest and wide > longest:
                continue
            following = tuple(
                (at + char if at is not None and char in known.get(at, "") else None)
                if leaf[0] == "in"
                else _step(leaf[1], at, char)
                for leaf, at, known in zip(leaves, state, following_of, strict=True)
            )
            if following not in seen:
                number += 1
                heapq.heappush(queue, (wide, number, text + char, following))
    return None


def _continued(texts: frozenset[str]) -> dict[str, set[str]]:
    """Give the characters that come after each beginning of some texts."""
    found: dict[str, set[str]] = {}
    for text in texts:
        for end, char in enumerate(text):
            found.setdefault(text[:end], set()).add(char)
    return found


def _telling(
    leaves: list[Tree],
    state: tuple[Any, ...],
    following_of: list[dict[str, set[str]]],
    alphabet: list[str],
) -> list[str]:
    """Give the characters that lead to different states from here, one of a kind."""
    named: set[str] = set()
    for leaf, at, known in zip(leaves, state, following_of, strict=True):
        if leaf[0] == "in":
            named |= known.get(at, set()) if at is not None else set()
            continue
        pieces = _pieces(leaf[1])
        for place in at:
            if place < len(pieces):
                if len(pieces[place]) > 1:
                    return alphabet
                if pieces[place] not in "*?":
                    named.add(pieces[place])
    # All others do the same; the narrowest stands for them.
    others = [char for char in alphabet if char not in named]
    liked = [char for char in "xyz" if char in others] or others
    return [*sorted(named), min(liked, key=_bytes)]


def _collect(tree: Tree, numbers: dict[Tree, int]) -> None:
    if tree[0] in ("in", "glob"):
        numbers.setdefault(tree, len(numbers))
    else:
        for part in tree[1:]:
            _collect(part, numbers)


def _accepts(tree: Tree, numbers: dict[Tree, int], state: tuple[Any, ...]) -> bool:
    match tree[0]:
        case "in":
            return state[numbers[tree]] in tree[1]
        case "glob":
            return len(_pieces(tree[1])) in state[numbers[tree]]
        case "not":
            return not _accepts(tree[1], numbers, state)
        case "and":
            return all(_accepts(part, numbers, state) for part in tree[1:])
    return any(_accepts(part, numbers, state) for part in tree[1:])
