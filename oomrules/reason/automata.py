"""Globs as automata: the shortest text of a set that patterns describe.

A glob is run over the characters that can make a difference: those that a pattern names, the
ends of its ranges, and one for each gap between them. A walk through the product of all
automata of a set decides whether the set is empty.
"""

from __future__ import annotations

import fnmatch
import heapq
import re
from functools import lru_cache
from typing import Any

from oomrules.reason import Undecided

# More states than any sensible patterns have together. Beyond this number nothing is claimed.
MOST_STATES = 4000
# The same limit for places in patterns, counted over all states.
MOST_PLACES = 200_000

# A set as a tree: ("in", texts), ("glob", pattern), ("not", a), ("and", a, b, …), ("or", …).
Tree = tuple[Any, ...]


@lru_cache(maxsize=8192)
def pieces(pattern: str) -> tuple[str, ...]:
    """Split a glob as fnmatch does: ``*``, ``?``, plain characters, whole classes."""
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


def is_wild(piece: str) -> bool:
    """Return whether a piece stands for other characters, and not for itself."""
    return len(piece) > 1 or piece in "*?"


@lru_cache(maxsize=65536)
def _takes(piece: str, char: str) -> bool:
    if piece == "?":
        return True
    if len(piece) > 1:
        return re.compile(fnmatch.translate(piece)).match(char) is not None
    return piece == char


@lru_cache(maxsize=65536)
def _closed(pattern: str, places: frozenset[int]) -> frozenset[int]:
    parts, found, left = pieces(pattern), set(places), list(places)
    while left:
        at = left.pop()
        if at < len(parts) and parts[at] == "*" and at + 1 not in found:
            found.add(at + 1)
            left.append(at + 1)
    return frozenset(found)


@lru_cache(maxsize=1 << 18)
def _step(pattern: str, places: frozenset[int], char: str) -> frozenset[int]:
    parts = pieces(pattern)
    found = set()
    for at in places:
        if at < len(parts):
            if parts[at] == "*":
                found.add(at)
            elif _takes(parts[at], char):
                found.add(at + 1)
    return _closed(pattern, frozenset(found))


def _alphabet(leaves: list[Tree]) -> list[str]:
    """Return one representative for every class of characters that the patterns can tell apart."""
    plain: set[str] = set()
    classes = False
    for leaf in leaves:
        if leaf[0] == "in":
            for text in leaf[1]:
                plain.update(text)
            continue
        for piece in pieces(leaf[1]):
            if len(piece) > 1:
                classes = True
                plain.update(piece)
            elif piece not in "*?":
                plain.add(piece)
    liked = [char for char in "xyzabcdefghijklmnopqrstuvwXYZ0123456789._ " if char not in plain]
    if not classes:
        other = liked[:1] or [chr(max(map(ord, plain)) + 1)]
        return sorted(plain) + other
    # A range may end between the named characters, so each gap needs a character of its own.
    codes = sorted({0x20, *map(ord, plain)})
    gaps = []
    for low, high in zip([-1, *codes], [*codes, 0x110000], strict=True):
        if low + 1 < high:
            near = next((char for char in liked if low < ord(char) < high), None)
            # A byte that is not valid UTF-8 is read as one of these surrogates.
            odd = "\udc80" if low < 0xDC80 < high else chr(low + 1)
            gaps.append(near or odd)
    return sorted({*plain, " ", *gaps})


def _bytes(char: str) -> int:
    return 1 if "\ud800" <= char <= "\udfff" else len(char.encode())


@lru_cache(maxsize=65536)
def shortest(tree: Tree, longest: int) -> str | None:
    """Find the shortest text of a set; None if it is empty.

    Raises:
        Undecided: the patterns have more states than the limit.
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
    """Return the characters that come after each beginning of some texts."""
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
    """Return the characters that lead to different states from here, one for each state."""
    named: set[str] = set()
    for leaf, at, known in zip(leaves, state, following_of, strict=True):
        if leaf[0] == "in":
            named |= known.get(at, set()) if at is not None else set()
            continue
        parts = pieces(leaf[1])
        for place in at:
            if place < len(parts):
                if len(parts[place]) > 1:
                    return alphabet
                if parts[place] not in "*?":
                    named.add(parts[place])
    # All others lead to the same state; the one with the fewest bytes stands for them.
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
            return len(pieces(tree[1])) in state[numbers[tree]]
        case "not":
            return not _accepts(tree[1], numbers, state)
        case "and":
            return all(_accepts(part, numbers, state) for part in tree[1:])
    return any(_accepts(part, numbers, state) for part in tree[1:])
