"""What the index leaves out neither covers a region nor is about a process."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program.program import Program
from oomrules.ranking.evaluator import Evaluator
from oomrules.reason import Undecided
from oomrules.reason.effects import Effect
from oomrules.reason.index import CoverIndex, Judge
from tests.oracle import strategies
from tests.oracle.strategies import thorough
from tests.reason import brute

_GLOBS = st.sampled_from(
    ["a", "ab", "a*", "*b", "*ab*", "?b", "[a-c]b*", "*", "", "aab*", "x-a*-b", "*-b", "a*-b*"]
)
_UNITS = st.builds("{}{}".format, _GLOBS, st.sampled_from([".service", ".slice", "*"]))
_TERMS = st.one_of(
    st.builds('comm "{}"'.format, _GLOBS),
    st.builds('unit "{}"'.format, _UNITS),
    st.builds("uid {}".format, st.integers(0, 2)),
    st.just("anything"),
)
_BLOCKS = st.one_of(
    st.just(""),
    st.builds('in "{}.slice": '.format, _GLOBS.filter(bool)),
    st.builds('in "{}.service": '.format, _GLOBS.filter(bool)),
    st.just('in units wanted by "a.target": '),
)
_RULES = st.builds(
    "{}{}{} {}{}".format,
    _BLOCKS,
    _BLOCKS,
    st.sampled_from(["spare", "prefer"]),
    _TERMS,
    st.one_of(st.just(""), brute.conditions().map(" when {}".format)),
)


def _given(rules: list[str]) -> list[Effect]:
    return [one for one in brute.effects("\n".join(rules)).all if one.region]


@thorough
@given(st.lists(_RULES, min_size=2, max_size=5, unique=True))
def test_whatever_covers_a_region_is_found(rules: list[str]) -> None:
    made = brute.effects("\n".join(rules))
    effects = [one for one in made.all if one.region]
    index = CoverIndex((number, one) for number, one in enumerate(effects))
    for one in effects:
        found = list(index.may_cover(one.region or []))
        assert found == sorted(found)
        for number, other in enumerate(effects):
            try:
                empty = made.reasoner.empty(one.region or [])
                covered = made.reasoner.covers(other.region or [], one.region or [])
            except Undecided:
                continue
            assert number in found or empty or not covered, (one.rule.text, other.rule.text)


def test_a_region_of_several_boxes_is_found_by_any_of_them() -> None:
    effects = _given(
        ["spare anything when uid == 0 or cap(SYS_ADMIN)", "spare uid 7 with SYS_ADMIN"]
    )
    index = CoverIndex((one.rule.text, one) for one in effects)
    narrow = next(one for one in effects if "uid 7" in one.rule.text)
    assert len(list(index.may_cover(narrow.region or []))) == 2


def test_units_that_no_glob_matches_are_in_nobodys_way() -> None:
    effects = _given(['in "[b-a].slice": spare uid 0', 'spare unit "[b-a]"', "spare anything"])
    index = CoverIndex((one.rule.text, one) for one in effects)
    for one in effects:
        assert "spare anything" in list(index.may_cover(one.region or []))


def test_only_what_may_cover_is_looked_at() -> None:
    rules = [f'spare cmdline "*--id={number}-*"' for number in range(100, 200)]
    rules += [f'in "*-{number}.slice": spare nice 3' for number in range(100, 200)]
    rules += [f'spare unit "{number}-*.service"' for number in range(100, 200)]
    effects = _given(rules)
    index = CoverIndex((one, one) for one in effects)
    for one in effects:
        assert list(index.may_cover(one.region or [])) == [one]


# --- the judge of witnesses: it leaves rules out, and decides as with all of them -------------


def _agree(made: Program, world: recorded.Recorded) -> None:
    evaluator, judge = Evaluator(made, world.host), Judge(made, world.host)
    for process in world.by_pid.values():
        assert judge.judge(process, world) == evaluator.judge(process, world)


@thorough
@given(st.one_of(strategies.rule_sets(), strategies.scoped_rule_sets()), strategies.hosts())
def test_it_decides_as_the_evaluator_does(
    rule_set: strategies.RuleSet, host: list[strategies.Object]
) -> None:
    made = compiler.compile_texts(strategies.texts(rule_set))
    _agree(made, recorded.parse(strategies.lines(host), "a host"))


_PLAIN = st.builds(
    "{}{} {}".format,
    st.sampled_from(["", *(f"in {strategies.written(target)}: " for target in strategies.TARGETS)]),
    st.sampled_from(["never kill", "only kill", "kill first", "kill last", "prefer", "spare"]),
    st.sampled_from(
        [
            *(f'comm "{name}"' for name in (*strategies.COMMS, "s*", "*e", "*r*", "[a-n]*", "*")),
            *(
                f"{'user.unit' if target.startswith('user unit') else 'unit'} "
                f'"{target.removeprefix("user unit ")}"'
                for target in strategies.TARGETS
            ),
            *(f"uid {number} with RAWIO" for number in strategies.USERS),
            *(f'anything when user == "{name}"' for name in strategies.USERS.values()),
            "anything when nice == 0 and not uid == 0",
        ]
    ),
)


@thorough
@given(st.lists(_PLAIN, max_size=8, unique=True), strategies.hosts())
def test_it_does_for_rules_of_names_too(rules: list[str], host: list[strategies.Object]) -> None:
    made = compiler.compile_texts([RuleText("rules.oom", "\n".join(rules))])
    _agree(made, recorded.parse(strategies.lines(host), "a host"))
