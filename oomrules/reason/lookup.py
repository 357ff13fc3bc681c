"""Finds what is known to ask for a value, by what the value is, begins with or has inside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any

from oomrules.reason.atoms import UNIT_SUFFIXES
from oomrules.reason.globs import beginning, longest_run

# What is asked about, how (``is``, ``begins`` or ``inside``), and the value or a piece of it.
Key = tuple[Hashable, str, Any]

# Of a text, so many characters are looked up: they tell most names apart.
LONGEST = 16


class Lookup:
    """Numbers, found by the keys that they were added with."""

    def __init__(self) -> None:
        self._always: list[int] = []
        self._keyed: dict[Key, list[int]] = {}
        # How long the pieces are that are asked for inside of texts.
        self._lengths: dict[Hashable, set[int]] = {}

    def add(self, number: int, keys: Collection[Key]) -> None:
        """Add a number that is found by each of the keys; without any, it is always found."""
        if not keys:
            self._always.append(number)
        for key in keys:
            self._keyed.setdefault(key, []).append(number)
            about, how, piece = key
            lengths = self._lengths.setdefault(about, set())
            if how == "inside":
                lengths.add(len(piece))

    def of(self, values: Callable[[Any], Iterable[Any]]) -> list[int]:
        """Find all numbers whose keys fit, in order.

        Args:
            values: gives the values that there are of something that is asked about.
        """
        found = set(self._always)
        for about, lengths in self._lengths.items():
            for value in values(about):
                found.update(self._keyed.get((about, "is", value), ()))
                if not isinstance(value, str):
                    continue
                for end in range(1, min(len(value), LONGEST) + 1):
                    found.update(self._keyed.get((about, "begins", value[:end]), ()))
                for length in lengths:
                    for start in range(len(value) - length + 1):
                        piece = value[start : start + length]
                        found.update(self._keyed.get((about, "inside", piece), ()))
        return sorted(found)


def begins(about: Hashable, text: str) -> Key:
    """Make the key for texts that begin with another."""
    return (about, "begins", text[:LONGEST])


def inside(about: Hashable, text: str) -> Key:
    """Make the key for texts that have another inside."""
    return (about, "inside", text[-LONGEST:])


def glob(about: Hashable, pattern: str) -> Key | None:
    """Make the key for texts that a glob matches; None if any text could."""
    start = beginning(pattern)
    if start == pattern:
        return (about, "is", pattern)
    if start:
        return begins(about, start)
    # The suffix of a unit tells nothing apart.
    stem = pattern[: pattern.rfind(".")] if pattern.endswith(UNIT_SUFFIXES) else pattern
    piece = longest_run(stem)
    return inside(about, piece) if piece else None
