"""What is claimed of rules about ancestors, and about the units of blocks, is so in every world."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import ordinary
from oomrules.processes.recorded import Recorded
from oomrules.program.program import Program
from oomrules.ranking.evaluator import Evaluator
from oomrules.reason.effects import Effects
from oomrules.reason.witness import witness as witnesses
from oomrules.reason.witness.proposals import proposals
from tests.oracle.strategies import thorough

HOST = {"clock_ticks": 100, "uptime": 100_000, "mem_total": 2**33}

_CLAUSES = st.lists(
    st.tuples(
        st.sampled_from(("", "not ")),
        st.sampled_from(("under", "child of")),
        st.sampled_from(('comm "a"', 'comm "a*"', 'comm "b"', "uid 0", "known")),
    ).map(lambda parts: f"{parts[0]}{parts[1]} {parts[2]}"),
    max_size=3,
).map(" ".join)
_ASKED = st.sampled_from(("anything", 'comm "a"', "uid 0", 'parent.comm "a"', 'parent.comm "a*"'))
_SELECTORS = st.tuples(_ASKED, _CLAUSES).map(" ".join)


def _program(text: str) -> Program:
    define = 'define known = comm == "a" or uid == 0'
    return compiler.compile_texts([RuleText("x.oom", f"{define}\n{text}\nscore rss\n")])


def _worlds() -> Sequence[Recorded]:
    """Make hosts of a process and up to two above it, of all kinds that clauses can tell."""
    kinds: Sequence[Any] = [*itertools.product(("a", "ab", "b", None), (0, 1000)), None]
    found = []
    for parents in itertools.product(kinds, repeat=2):
        lines = []
        for pid, kind in enumerate(parents, 11):
            if kind is not None:
                comm, uid = kind
                above = pid + 1 if pid == 11 else 0
                lines.append(
                    ordinary.process_line(pid, ppid=above, comm=comm, uid=uid, starttime=1)
                )
        for pid, comm in enumerate(("a", "c"), 101):
            lines.append(ordinary.process_line(pid, ppid=11, comm=comm, uid=0, starttime=1))
        found.append(ordinary.snapshot("a world", HOST, lines))
    return found


_WORLDS = _worlds()


def _held(text: str) -> list[bool]:
    """Return of every process of the worlds whether a rule surely holds for it."""
    made = _program(text)
    evaluator = Evaluator(made, _WORLDS[0].host)
    return [
        bool(evaluator.judge(world.by_pid[pid], world).held)
        for world in _WORLDS
        for pid in (101, 102)
    ]


@thorough
@given(_SELECTORS, _SELECTORS)
def test_what_is_proved_of_rules_about_ancestors_is_so(one: str, two: str) -> None:
    effects = Effects(_program(f"prefer {one} by 2\nprefer {two} by 3"))
    first, second = (
        next(effect for effect in effects.all if effect.rule.factor[0] == factor)
        for factor in (2, 3)
    )
    assert first.sure is not None and second.sure is not None
    held, also = _held(f"prefer {one}"), _held(f"prefer {two}")
    if effects.reasoner.empty(first.sure):
        assert not any(held)
    if effects.reasoner.covers(second.sure, first.sure):
        assert all(wide for wide, narrow in zip(also, held, strict=True) if narrow)
    if effects.reasoner.covers(first.sure, first.sure) and one == two:
        assert held == also


@thorough
@given(_SELECTORS)
def test_who_is_in_a_world_is_made_up_with_his_ancestors(selector: str) -> None:
    made = _program(f"never kill {selector}")
    (effect,) = Effects(made).all
    assert effect.sure is not None
    judge = witnesses.judge_of(made)
    found = [
        witness
        for box in effect.sure
        for witness in proposals(box)
        if witness.judge(judge).rule is not None and witness.rule_holds(made, effect.rule.when)
    ]
    assert found or not any(_held(f"prefer {selector}"))


@pytest.mark.parametrize(
    ("narrow", "wide", "covered"),
    [
        ("in a.slice: spare {} > 2GiB", "in a.slice: spare {} > 1GiB", True),
        ("in a.slice: spare {} > 1GiB", "in a.slice: spare {} > 2GiB", False),
        # In another block it is another unit.
        ("in a.slice: spare {} > 1GiB", 'in "*.slice": spare {} > 1GiB', False),
        ("in b.slice { in a.slice: spare {} > 2GiB }", "in a.slice: spare {} > 1GiB", True),
        ("in a.slice { in b.slice: spare {} > 1GiB }", "in a.slice: spare {} > 1GiB", False),
    ],
)
def test_the_unit_of_a_block_is_another_one_in_another_block(
    narrow: str, wide: str, covered: bool
) -> None:
    asked = "anything when scope.memory"
    text = f"{narrow} by 3\n{wide} by 2".replace("{}", asked).replace(" } by 3", " by 3 }")
    effects = Effects(_program(text))
    first, second = (
        next(effect for effect in effects.all if effect.rule.factor[1] == factor)
        for factor in (3, 2)
    )
    assert first.region is not None and second.region is not None
    assert effects.reasoner.covers(second.region, first.region) is covered
