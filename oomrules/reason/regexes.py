"""Regular expressions of plain characters and anchors, written as globs."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Any

# re's own parser is the only way to know what an expression means.
from re import _constants as sre  # isort: skip
from re import _parser as sre_parser  # isort: skip

# The most alternatives that an expression is spelled out to.
_MOST_SPELLED = 64


def parse(pattern: str) -> Any:
    """Return an expression as the parser of ``re`` reads it."""
    with warnings.catch_warnings():
        # A warning that a later Python may read the expression otherwise does not matter here.
        warnings.simplefilter("ignore", FutureWarning)
        return sre_parser.parse(pattern)


@lru_cache(maxsize=1024)
def as_globs(pattern: str) -> tuple[str, ...] | None:
    """Return an expression of plain characters and anchors as globs; None for all others."""
    parsed = parse(pattern)
    if parsed.state.flags & ~re.UNICODE:
        return None
    branches = _spelled(list(parsed))
    if branches is None:
        return None
    found: list[str] = []
    for branch in branches:
        start, ends = "*", ["*"]
        if branch and branch[0] in ((sre.AT, sre.AT_BEGINNING), (sre.AT, sre.AT_BEGINNING_STRING)):
            start, branch = "", branch[1:]
        if branch and branch[-1] == (sre.AT, sre.AT_END):
            # ``$`` also matches before a last line end.
            ends, branch = ["", "\n"], branch[:-1]
        elif branch and branch[-1] == (sre.AT, sre.AT_END_STRING):
            ends, branch = [""], branch[:-1]
        if any(kind is not sre.LITERAL for kind, _ in branch):
            return None
        chars = [chr(code) for _, code in branch]
        plain = "".join(f"[{char}]" if char in "*?[" else char for char in chars)
        found += [f"{start}{plain}{end}" for end in ends]
    return tuple(found)


def _spelled(items: list[Any]) -> list[list[Any]] | None:
    """Return the alternatives of an expression, spelled out; None if that is not simple."""
    found: list[list[Any]] = [[]]
    for item in items:
        kind, argument = item
        ways: list[list[Any]] | None = [[item]]
        if kind is sre.BRANCH:
            branches = [_spelled(list(branch)) for branch in argument[1]]
            if None in branches:
                return None
            ways = [way for branch in branches for way in branch or []]
        elif kind is sre.SUBPATTERN and not any(argument[1:3]):
            ways = _spelled(list(argument[3]))
        elif kind is sre.IN and all(inner is sre.LITERAL for inner, _ in argument):
            ways = [[one] for one in argument]
        if ways is None or len(found) * len(ways) > _MOST_SPELLED:
            return None
        found = [[*before, *way] for before in found for way in ways]
    return found
