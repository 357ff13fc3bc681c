"""Every verdict equals brute force over all processes of a small world."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from oomrules.processes import recorded
from oomrules.ranking.verdict import Verdict, Why
from oomrules.reason import Undecided
from oomrules.reason.effects import Effects
from oomrules.reason.regions import EVERY_PROCESS
from oomrules.reason.witness.proposals import proposals
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
        sure = reasoner.covers(reasoner.holds(node, doubt=True), EVERY_PROCESS)
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
        if verdict.why in (Why.NEVER, Why.NEVER_IN_DOUBT):
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
        not any(verdict.why is Why.OUTSIDE for verdict in verdicts)
    )
    assert effects.reasoner.covers(out, EVERY_PROCESS) == all(
        verdict.why is Why.OUTSIDE for verdict in verdicts
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


# --- what the linter says of rules together --------------------------------------------------
#
# The linter is asked about a few rules, and the evaluator about every process: what is found
# is true of all of them, and what is true of all of them is found.

_ALL_BLOCKS = ("", "", "in a.slice: ", 'in "a*.slice": ', 'in "*.slice": ', "in b.slice: ")
_NESTED = (*_ALL_BLOCKS, 'in "a*.slice": in a.slice: ')
_TARGETS = {around: set(around.replace("in ", "").split(": ")) - {""} for around in _NESTED}
_STARTS = ("never kill", "only kill", "kill first", "kill last", "prefer", "spare")
_MOST_PROCESSES = 6000


def _world(rules: Sequence[brute.Sentence]) -> recorded.Recorded:
    world = brute.processes(brute.written(rules))
    assume(len(world.by_pid) <= _MOST_PROCESSES)
    return world


def _verdicts(rules: Sequence[brute.Sentence], world: recorded.Recorded) -> list[Verdict]:
    return list(brute.verdicts(brute.program(brute.written(rules)), world))


def _factor(rule: brute.Sentence) -> Fraction:
    usual = Fraction(2) if rule.kind == "prefer" else Fraction(4)
    by = Fraction(rule.factor.removeprefix(" by ")) if rule.factor else usual
    return by if rule.kind == "prefer" else 1 / by


def _as_shown(
    rules: Sequence[brute.Sentence], witness: object
) -> tuple[tuple[bool | None, ...], Verdict]:
    """Let the evaluator judge the process that a finding shows."""
    world = brute.shown(witness)
    ((held,), (verdict,)) = brute.values(rules, world), _verdicts(rules, world)
    return held, verdict


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(brute.sentences(("prefer", "spare"), _NESTED, factors=("", "", " by 2", " by 1.5")))
def test_what_is_said_to_cancel_out_does_and_what_does_is_said_to(
    rules: list[brute.Sentence],
) -> None:
    world = _world(rules)
    rows = brute.values(rules, world)
    sure = [{n for n, row in enumerate(rows) if row[one] is True} for one in range(len(rules))]
    found = brute.findings(rules)
    said = found.of("OOM616")

    def cancel(spare: int, prefer: int) -> bool:
        kinds = (rules[spare].kind, rules[prefer].kind)
        same = sure[spare] == sure[prefer] != set()
        return kinds == ("spare", "prefer") and same and _product(spare, prefer) == 1

    def _product(one: int, two: int) -> Fraction:
        return _factor(rules[one]) * _factor(rules[two])

    numbers = range(len(rules))
    for spare, finding in said.items():
        prefer = brute.other(finding)
        assert cancel(spare, prefer)
        # Nobody's weight is another without the two, but where the spare is in doubt.
        rest = [rule for number, rule in enumerate(rules) if number not in (spare, prefer)]
        pairs = zip(rows, _verdicts(rules, world), _verdicts(rest, world), strict=True)
        assert all(one.weight == two.weight for row, one, two in pairs if row[spare] is not None)
        held, _ = _as_shown(rules, finding.witness)
        assert held[spare] is True and held[prefer] is True
    if found.decided:
        assert said.keys() == {
            spare for spare in numbers if any(cancel(spare, prefer) for prefer in numbers)
        }


@settings(thorough, max_examples=3 * thorough.max_examples)
@given(
    brute.sentences(("never kill", "never kill", "only kill"), _NESTED),
    st.sampled_from(["", "in a.slice: ", None]),
)
def test_nobody_is_left_just_where_that_is_said(
    rules: list[brute.Sentence], around: str | None
) -> None:
    if around is not None:  # else nearly every set has rules of too many blocks to meet
        rules = [rule._replace(around=around) for rule in rules]
    world = _world(rules)
    rows = brute.values(rules, world)
    excluded = [not verdict.candidate for verdict in _verdicts(rules, world)]
    found = brute.findings(rules)
    said = found.of("OOM617")
    levels: dict[str, list[int]] = {}
    for number, rule in enumerate(rules):
        if rule.kind == "only":
            levels.setdefault(rule.around, []).append(number)

    expected = set()
    for level in levels.values():
        left = [n for n, row in enumerate(rows) if any(row[one] is True for one in level)]
        if left and all(excluded[number] for number in left):
            expected.add(level[0])
    for number in said.keys() & {level[0] for level in levels.values()}:
        assert number in expected
        # So nobody who surely is in the block can be killed.
        inside = brute.values([rules[number]._replace(condition="nice >= -20 or nice < 0")], world)
        assert all(excluded[n] for n, (value,) in enumerate(inside) if value is True)
    nevers = [n for n, rule in enumerate(rules) if rule.kind == "never" and not rule.around]
    everybody = "" not in levels and all(
        any(row[one] is not False for one in nevers) for row in rows
    )
    alone = any(all(row[one] is not False for row in rows) for one in nevers)
    blamed = said.keys() - {level[0] for level in levels.values()}
    if blamed:
        assert everybody and not alone
        assert blamed <= set(nevers) and all(excluded)
    for finding in said.values():
        _, verdict = _as_shown(rules, finding.witness)
        assert not verdict.candidate
    if found.decided:
        assert expected <= said.keys()
        assert bool(blamed) == (everybody and not alone)


@settings(thorough, max_examples=3 * thorough.max_examples)
@given(brute.sentences(_STARTS, _NESTED, degrees=("", "", " by 2", " by 3")))
@example(  # all capabilities are known, or none
    [
        brute.Sentence("", "never kill", "cap(SYS_ADMIN) and cap(RAWIO)"),
        brute.Sentence("", "kill last", "cap(SYS_ADMIN) and (cap(SYS_ADMIN) == cap(RAWIO))"),
    ]
)
def test_a_rule_is_shadowed_just_where_that_is_said(rules: list[brute.Sentence]) -> None:
    world = _world(rules)
    rows = brute.values(rules, world)
    numbers = range(len(rules))
    effect = [{n for n, row in enumerate(rows) if rules[i].effect(row[i])} for i in numbers]
    found = brute.findings(rules)

    def covered(one: int, kind: str) -> set[int]:
        """Give the rules of a kind that have an effect wherever one rule has."""
        return {
            number
            for number in numbers
            if number != one and rules[number].kind == kind and effect[one] <= effect[number]
        }

    levels: dict[str, list[int]] = {}
    for number, rule in enumerate(rules):
        if rule.kind == "only":
            levels.setdefault(rule.around, []).append(number)
    outside = {}
    for around, level in levels.items():
        alone = _verdicts([rules[n] for n in level], world)
        outside[around] = {n for n, verdict in enumerate(alone) if not verdict.candidate}

    def protected(one: int) -> set[int]:
        rule = rules[one]
        if rule.kind == "never" or (rule.kind == "only" and len(levels[rule.around]) == 1):
            return set()
        return covered(one, "never")

    def counts(other: int, one: int) -> bool:
        """Tell whether the degree of a tier counts where two hold, or is the same."""
        ours, theirs = rules[other].degree, rules[one].degree
        if rules[one].kind != "first" or ours == theirs:
            return ours >= theirs
        # In doubt it makes the tier of one further out milder, which the other may not do.
        return ours < theirs == max(rule.degree for rule in rules if rule.kind == "first")

    def nested(one: int) -> set[int]:
        rule = rules[one]
        if rule.kind not in ("never", "first", "last", "only"):
            return set()
        return {
            number
            for number in covered(one, rule.kind)
            if (rule.kind != "only" or rules[number].around == rule.around)
            and _is_nested(one, number)
        }

    def _is_nested(one: int, number: int) -> bool:
        rule, degree = rules[one], rules[number].degree
        if degree == rule.degree:
            # Of two that say the same, the later one is blamed.
            return number < one or effect[one] != effect[number]
        if rule.kind == "last":
            return degree > rule.degree
        # In doubt it makes milder what is first by more.
        others = {other.degree for other in rules if other.kind == "first"}
        return degree < rule.degree == max(others)

    def last(one: int) -> set[int]:
        return covered(one, "last") if rules[one].kind == "first" else set()

    def shut_out(one: int) -> set[int]:
        rule = rules[one]
        if rule.kind in ("never", "only"):
            return set()
        return {
            levels[around][0]
            for around, out in outside.items()
            if _TARGETS[around] <= _TARGETS[rule.around] and effect[one] <= out
        }

    # Said twice in the same words has a code of its own.
    twice = found.of("OOM514").keys()
    for codes, true, in_place in (
        (("OOM611",), protected, ()),
        (("OOM612", "OOM613"), nested, twice),
        (("OOM614",), last, ()),
        (("OOM615",), shut_out, ()),
    ):
        said = found.of(*codes)
        for one, finding in said.items():
            assert effect[one]
            assert brute.other(finding) in true(one), finding.code
            held, verdict = _as_shown(rules, finding.witness)
            assert rules[one].effect(held[one])
            if finding.code in ("OOM611", "OOM615"):
                assert not verdict.candidate
            elif finding.code == "OOM614":
                assert verdict.tier == 2
            else:
                other = brute.other(finding)
                same = _TARGETS[rules[other].around] == _TARGETS[rules[one].around]
                assert (finding.code == "OOM612") == same
                assert rules[other].effect(held[other])
        if found.decided:
            # A condition that never surely holds is told as that, OOM601.
            expected = {n for n in numbers if any(row[n] is True for row in rows) and true(n)}
            assert expected <= said.keys() | set(in_place), codes


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(brute.conditions(), brute.conditions(1), st.data())
def test_a_part_that_is_said_to_be_constant_is_and_a_constant_is_said_to_be(
    one: str, two: str, data: st.DataObject
) -> None:
    text = data.draw(brute.variants(one, two))
    rules = [brute.Sentence("", "prefer", text)]
    _world(rules)
    found = brute.findings(rules)
    said = [finding for finding in found.all if finding.code in ("OOM601", "OOM602")]
    for finding in said:
        values = _values(finding.source.quote(finding.span), text)
        forbidden = finding.code == "OOM601"  # what never holds has no True, and so on
        assert forbidden not in values
    # A pattern by itself is judged by what it looks like, with codes of its own.
    patterns = [finding for finding in found.all if finding.code.startswith("OOM50")]
    constant = not {True, False} <= set(_values(text))
    if found.decided and constant:
        assert said or patterns
