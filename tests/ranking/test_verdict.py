"""Why a process is a candidate or none is a value; its text is for people only."""

from __future__ import annotations

import pytest

from oomrules.ranking.tiers import NORMAL
from oomrules.ranking.verdict import Verdict, Why


def verdict(why: Why, weight: tuple[int, int] = (1, 1), unreadable: str = "") -> Verdict:
    return Verdict(
        why=why,
        rule=None,
        tier=NORMAL,
        base=8,
        score=None,
        weight=weight,
        points=8,
        held=(),
        unreadable=unreadable,
    )


def test_only_a_candidate_has_no_reason() -> None:
    assert [why for why in Why if not verdict(why).reason] == [Why.CANDIDATE]
    assert [why for why in Why if verdict(why).candidate] == [Why.CANDIDATE]


def test_no_rule_decides_about_what_the_kernel_passes_over() -> None:
    beyond = [why for why in Why if not verdict(why).eligible]
    assert beyond == [
        Why.INIT,
        Why.KERNEL_THREAD,
        Why.ZOMBIE,
        Why.EXITING,
        Why.NO_MEMORY,
        Why.UNREADABLE,
        Why.OURSELVES,
    ]


def test_what_could_not_be_read_is_named() -> None:
    said = verdict(Why.UNREADABLE, unreadable="flags and state").reason
    assert said == "in doubt: its flags and state could not be read"


@pytest.mark.parametrize(("weight", "said"), [((1, 8), "1/8"), ((2, 1), "2"), ((3, 2), "3/2")])
def test_a_weight_is_written_as_a_fraction(weight: tuple[int, int], said: str) -> None:
    assert verdict(Why.CANDIDATE, weight).fraction == said
