"""Sentences of other languages: what is looked at stays small, whatever a line holds."""

from __future__ import annotations

import pytest

from oomrules.language import checker, habits
from oomrules.language.text import RuleText

# Lines on which a pattern that goes back over what it has read would not end.
HOSTILE = (
    "define x = " + "not " * 60 + "1000 " + "not " * 200,
    "list x " + "a" * 5000 + " " + "a, " * 2000 + "=",
    "prefer anything when " + "a+" * 3000 + "<",
    "prefer anything when " + "a < " * 500 + "b",
    "prefer anything when rss in (" + '"a", ' * 500,
    "prefer anything when rss > " + "1 h " * 500,
    "prefer " + "a" * 100_000 + " < b < c",
    "do not kill " + "a" * 100_000,
    "in user " + "a" * 100_000 + ":",
    "prefer anything by " + "9" * 5000 + " %",
)


@pytest.mark.parametrize("line", HOSTILE, ids=lambda line: line[:24])
def test_a_hostile_line_is_answered(line: str) -> None:
    found = checker.check([RuleText("f.oom", line)]).diagnostics
    assert found and all(one.help and "\n" not in one.help for one in found)


def test_only_what_is_near_the_place_is_looked_at() -> None:
    where = habits.place("x" * 10_000, "y" * 10_000)
    assert len(where.line) <= 500
    assert where.line[where.column] == "y" and where.line[where.column - 1] == "x"
