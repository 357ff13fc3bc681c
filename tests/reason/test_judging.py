"""The judge of witnesses leaves rules out, and decides as the evaluator does with all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program.program import Program
from oomrules.ranking.evaluator import Evaluator
from oomrules.reason.judging import Judge
from tests.oracle import strategies
from tests.oracle.strategies import thorough


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
