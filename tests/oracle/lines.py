"""The logical lines of a rule file, found without the parser.

Written from the first paragraph of docs/language.md: a statement is one line; a line that
ends in a comma, in ``and``, in ``or`` or in a backslash goes on in the next; ``#`` begins a
comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_GOES_ON = re.compile(r"(,|(?<![\w.@*?-])(and|or))\s*\Z")
_VERB = re.compile(
    r"(?<![\w.@-])(never|only|first|last|whole|prefer|spare|score|define|list|kill(?=\s+when\b))"
    r"(?![\w.@-])"
)
# Elsewhere these are names.
_VERB_OF_A_GUARD = re.compile(r"(?:^|[:{}])\s*(terminate|warn)(?=\s+when\b)")


class Line(NamedTuple):
    """A logical line: where its first word stands (from 1), and its words without comments.

    A quoted text is ``""`` there, whatever it says.
    """

    number: int
    words: str

    @property
    def verbs(self) -> list[str]:
        """The words in it that make a statement; each statement but a block has one."""
        return _VERB.findall(self.words) + _VERB_OF_A_GUARD.findall(self.words)


def logical_lines(text: str) -> Iterator[Line]:
    """Give the logical lines that say something; braces alone say nothing."""
    words, start = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        said, ended_by_backslash = _said(line)
        if said.strip() and not words.strip():
            start = number
        words += f" {said}"
        if ended_by_backslash or _GOES_ON.search(words):
            continue
        if words.strip(" \t\f\r{}"):
            yield Line(start, words)
        words = ""
    if words.strip(" \t\f\r{}"):
        yield Line(start, words)


def _said(line: str) -> tuple[str, bool]:
    """Give a line without its comment and its texts, and whether a backslash ends it."""
    said, at = "", 0
    while at < len(line):
        char = line[at]
        if char == "#":
            return said, False
        if char == '"':
            at += 1
            while at < len(line) and line[at] != '"':
                at += 2 if line.startswith('\\"', at) else 1
            said += '""'
        elif char == "\\" and line[at + 1 :] in ("", "\r"):
            return said, True
        else:
            said += char
        at += 1
    return said, False
