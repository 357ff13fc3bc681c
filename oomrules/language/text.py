"""A rule file's text, and places in it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple


class Span(NamedTuple):
    """A piece of text: offsets of its first character and of the one after its last."""

    start: int
    end: int


@dataclass(frozen=True)
class RuleText:
    """The text of one rule file.

    ``level`` is its precedence (``rulefiles``): 0 is the highest, and a definition or a score in
    a lower number replaces the same in a higher one.
    """

    name: str
    text: str = field(repr=False)
    level: int = 0

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(number + 1 for number, char in enumerate(self.text) if char == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line and column of an offset, both counting from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return the text of a line (from 1), without its end."""
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")

    def place(self, span: Span) -> str:
        """Return where a span starts, as ``file:line``."""
        return f"{self.name}:{self.position(span.start)[0]}"

    def quote(self, span: Span) -> str:
        """Return the text of a span on one line, with its white space folded."""
        return " ".join(self.text[span.start : span.end].replace("\\\n", " ").split())
