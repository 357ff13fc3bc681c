"""The comparison of two rule sets equals brute force over a small world."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oomrules.reason.diff import compare, what_differs
from oomrules.reason.witness import witness
from tests.oracle.strategies import thorough
from tests.reason import brute

_EXCLUDE = ("never kill", "only kill")
_STARTS = (*_EXCLUDE, "kill first", "kill last", "prefer", "spare")
_BLOCKS = st.sampled_from(["", "", 'in "a*.slice": ', "in a.slice: "])


@st.composite
def _rules(draw: st.DrawFn) -> str:
    start = draw(st.sampled_from(_STARTS))
    factor = draw(st.sampled_from(["", " by 2", " by 8"])) if start not in _EXCLUDE else ""
    return f"{draw(_BLOCKS)}{start} anything when {draw(brute.conditions(1))}{factor}"


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(
    st.lists(_rules(), max_size=2),
    st.lists(_rules(), max_size=2),
    st.lists(_rules(), max_size=2),
)
@example(  # the witness is in one block and outside of another, whose name is like it
    [],
    ['in "a*.slice": never kill anything when rss != 1B'],
    [
        'in "a*.slice": never kill anything when comm ~ "^a"',
        'in a.slice: never kill anything when comm != "a"',
    ],
)
def test_a_proof_is_one_and_a_difference_is_one(
    common: list[str], before: list[str], after: list[str]
) -> None:
    _equals_brute_force("\n".join(common + before), "\n".join(common + after))


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(
    brute.sentences(
        _STARTS,
        ("", "", 'in "a*.slice": ', "in a.slice: "),
        most=5,
        factors=("", " by 2"),
        degrees=("", " by 2", " by 3"),
    ),
    st.data(),
)
def test_nearly_the_same_rules_differ_just_where_they_do(
    rules: list[brute.Sentence], data: st.DataObject
) -> None:
    # Each is in one of the two sets or in both; many of them say the same in other words.
    where = [data.draw(st.sampled_from(["before", "after", "both"])) for _ in rules]
    texts = [
        "\n".join(rule.text for rule, here in zip(rules, where, strict=True) if here != other)
        for other in ("after", "before")
    ]
    _equals_brute_force(*texts)


def _equals_brute_force(*texts: str) -> None:
    world = brute.processes(*texts)
    if len(world.by_pid) > 4000:
        return
    old, new = map(brute.program, texts)
    pairs = zip(brute.verdicts(old, world), brute.verdicts(new, world), strict=True)
    differ = {what_differs(one, two) for one, two in pairs} - {""}
    found = compare(old, new)
    if differ:
        assert found.differences
    else:
        # The world has every edge that the rules have.
        assert not found.differences
        assert found.proved
    for one in found.differences:
        verdicts = [one.witness.judge(witness.judge_of(made)) for made in (old, new)]
        assert what_differs(*verdicts) == one.what


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("spare uid 5 by 8", "spare uid 5 by 4\nspare uid 5 by 2"),
        ("prefer anything when nice > 0", "define n = nice >= 1\nprefer n"),
        ('never kill comm "a*"\nnever kill comm "ab*"', 'never kill comm "a*"'),
        ("never kill anything when rss > 1GiB", "never kill anything when not rss <= 1048576KiB"),
        (
            'in "a*.slice": never kill uid 0',
            'in "a*.slice": never kill uid 0\nin ab.slice: never kill uid 0',
        ),
        ("kill first uid 0\nkill last uid 0", "kill last uid 0"),
        ("never kill uid 0\nprefer uid 0", "never kill uid 0"),
        ("kill first uid 0\nkill first uid 0 by 2", "kill first uid 0"),
        ("kill last uid 0 by 4\nkill last uid 0", "kill last uid 0 by 4"),
        ("score rss + swap", "score swap + rss"),
        ("score rss - swap", "score rss + swap - swap - swap"),
        ("spare anything when rss < swap", "spare anything when swap > rss"),
        ("spare anything when rss + swap > 2 * swap", "spare anything when rss > swap"),
    ],
)
def test_other_words_for_the_same_are_proved_the_same(old: str, new: str) -> None:
    found = compare(brute.program(old), brute.program(new))
    assert found.proved, found


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("", "never kill uid 0", "exclusion"),
        ("", "only kill uid 1", "exclusion"),
        ("kill first uid 1", "", "tier"),
        ("kill first uid 1", "kill last uid 1", "tier"),
        ("kill first uid 1", "kill first uid 1 by 2", "tier"),
        ("kill first uid 1\nkill first uid 1 by 2", "kill first uid 1 by 2", "tier"),
        ("kill last uid 1 by 3", "kill last uid 1 by 2", "tier"),
        ("prefer uid 1", "prefer uid 1 by 3", "weight"),
        ("score rss", "score swap + rss / 2", "score"),
        ("", "in a.slice: score rss", "score"),
        ("prefer anything when rss > 25%", "prefer anything when rss > 26%", "weight"),
        ('never kill unit "a*.service"', 'never kill unit "a?.service"', "exclusion"),
        ('in "x-*.scope": never kill uid 3', 'in "x-?.scope": never kill uid 3', "exclusion"),
        ('in units wanted by "a.target": spare uid 0', "", "weight"),
        ("prefer anything when rss > swap", "prefer anything when rss >= swap", "weight"),
    ],
)
def test_a_change_has_a_witness(old: str, new: str, what: str) -> None:
    found = compare(brute.program(old), brute.program(new))
    assert what in {one.what for one in found.differences}


@settings(thorough, max_examples=30)
@given(st.lists(_rules(), max_size=4))
def test_nothing_differs_from_itself(rules: list[str]) -> None:
    made = brute.program("\n".join(rules))
    assert compare(made, made).proved
