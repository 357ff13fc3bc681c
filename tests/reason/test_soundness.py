"""Every verdict equals brute force over all processes of a small world."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.reason.effects import Effects
from oomrules.reason.regions import EVERYBODY
from oomrules.reason.texts import Undecided
from oomrules.reason.witnesses import proposals
from tests.oracle.strategies import thorough
from tests.reason import brute

_BLOCKS = st.sampled_from(["", "in a.slice: ", 'in "a*.slice": ', 'in "*.slice": ', "in b.slice: "])


def _values(text: str, *others: str) -> list[bool | None]:
    """Give the value of a condition for every process: by a spare and a prefer of it."""
    world = brute.processes(text, *others)
    made = brute.program(f"spare anything when {text}\nprefer anything when {text}")
    found: list[bool | None] = []
    for verdict in brute.verdicts(made, world):
        kinds = {held.rule.kind for held in verdict.held}
        found.append(True if "prefer" in kinds else None if kinds else False)
    return found


@thorough
@given(brute.conditions())
def test_always_and_never_are_so(text: str) -> None:
    values = _values(text)
    effects = brute.effects(f"prefer anything when {text}")
    node = effects.all[0].rule.when
    reasoner = effects.reasoner
    try:
        never, always = reasoner.empty(reasoner.holds(node)), reasoner.empty(reasoner.fails(node))
        sure = reasoner.covers(reasoner.holds(node, doubt=True), EVERYBODY)
    except Undecided:
        return
    assert never == (True not in values)
    assert always == (False not in values)
    assert sure == (False not in values)


@thorough
@given(brute.conditions(), brute.conditions())
def test_inclusion_is_inclusion_in_doubt_too(one: str, two: str) -> None:
    effects = brute.effects(f"spare anything when {one}\nprefer anything when {two}")
    spare = next(effect for effect in effects.all if effect.rule.kind == "spare")
    prefer = next(effect for effect in effects.all if effect.rule.kind == "prefer")
    pairs = list(zip(_values(one, two), _values(two, one), strict=True))
    reasoner = effects.reasoner
    try:
        narrow, wide = spare.region or [], prefer.region or []
        assert reasoner.covers(narrow, wide) == all(a is not False for a, b in pairs if b is True)
        assert reasoner.covers(wide, narrow) == all(b is True for a, b in pairs if a is not False)
        both = reasoner.intersection(narrow, wide)
        assert reasoner.empty(both) == (not any(a is not False and b is True for a, b in pairs))
    except Undecided:
        return


@settings(thorough, max_examples=60)
@given(_BLOCKS, brute.conditions(1), _BLOCKS, brute.conditions(1))
def test_a_rule_inside_another_in_blocks(around: str, one: str, elsewhere: str, two: str) -> None:
    first, second = (
        f"{around}never kill anything when {one}",
        f"{elsewhere}kill last anything when {two}",
    )
    world = brute.processes(first, second)
    made = brute.program(f"{first}\n{second}")
    effects = Effects(made)
    never = next(effect for effect in effects.all if effect.rule.kind == "never")
    last = next(effect for effect in effects.all if effect.rule.kind == "last")
    excluded, late = set(), set()
    for number, verdict in enumerate(brute.verdicts(made, world)):
        if verdict.reason.startswith("never killed"):
            excluded.add(number)
        if verdict.tier == 2:
            late.add(number)
    reasoner = effects.reasoner
    assert reasoner.covers(never.region or [], last.region or []) == (late <= excluded)
    assert reasoner.covers(last.region or [], never.region or []) == (excluded <= late)


@settings(thorough, max_examples=60)
@given(st.lists(brute.conditions(1), min_size=1, max_size=2), _BLOCKS)
def test_whoever_only_leaves_out_is_left_out(texts: list[str], around: str) -> None:
    rules = [f"{around}only kill anything when {text}" for text in texts]
    world = brute.processes(*rules)
    made = brute.program("\n".join(rules))
    effects = Effects(made)
    ((targets, level),) = effects.levels().items()
    out = effects.shut_out(targets, level)
    verdicts = list(brute.verdicts(made, world))
    assert effects.reasoner.empty(out) == (
        not any(verdict.reason == "outside what may be killed" for verdict in verdicts)
    )
    assert effects.reasoner.covers(out, EVERYBODY) == all(
        verdict.reason == "outside what may be killed" for verdict in verdicts
    )


@thorough
@given(brute.conditions())
def test_what_is_not_empty_has_a_witness_that_the_evaluator_confirms(text: str) -> None:
    effects = brute.effects(f"prefer anything when {text}")
    node = effects.all[0].rule.when
    try:
        region = effects.reasoner.holds(node)
    except Undecided:
        return
    for box in region:
        if effects.reasoner.possible(box):
            found = [one.rule_holds(effects.program, node) for one in proposals(box)]
            assert True in found
