"""Both choices of one report, with what is known of its processes besides."""

from __future__ import annotations

from typing import Any

import pytest

from oomrules.commands.parts.replay_rules import Asked
from oomrules.kills.facts import Facts
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.report.model import Report
from tests.commands.replays import report, row

PROGRAM = compile_texts([RuleText("a.oom", "score footprint\n")])


def facts(**known: Any) -> Facts:
    usual: dict[str, Any] = {"read": 9.0, "at": 9.0, "ticks": 100, "adjusted": True}
    return Facts(processes={}, **usual | known)


def code(one: Report, known: Facts | None) -> str:
    return Asked(PROGRAM, kept=lambda _: known).replay(one).choice.code


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (facts(originals={1: -5}), "RPL109"),
        # It is its own, or that is not known.
        (facts(originals={1: 700}), "RPL101"),
        (facts(originals={2: 0}), "RPL101"),
        (facts(written=frozenset({300}), originals={1: 0}), "RPL101"),
        (facts(adjusted=False, originals={1: 0}), "RPL101"),
        (None, "RPL101"),
    ],
)
def test_a_victim_by_a_value_that_oomrules_had_set_is_said_to_be_one(
    known: Facts | None, expected: str
) -> None:
    one = report(row(1, "a", oom_score_adj=700), row(2, "b", 1500))
    assert code(one, known) == expected


def test_the_value_before_is_said() -> None:
    one = report(row(1, "a", oom_score_adj=700), row(2, "b"))
    why = Asked(PROGRAM, facts=facts(originals={1: -5})).replay(one).choice.why
    assert "its oom_score_adj was -5 before oomrules set 700" in why


def test_a_choice_that_has_another_reason_keeps_it() -> None:
    one = report(row(1, "a", oom_score_adj=700), row(2, "b", 3_000_000))
    assert code(one, facts(originals={1: 0})) == code(one, None) != "RPL109"
