"""Wherever doubt decided, what was unknown is named; and what is named was unknown."""

from __future__ import annotations

from functools import partial

from hypothesis import given

from oomrules.attributes import ATTRIBUTES
from oomrules.commands.parts import doubts
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.processes.values import GETTERS, LIMIT, PROTECTING, SCORING
from oomrules.program.nodes import SELF_MADE, Definitions, Node, reduce
from oomrules.ranking.doubt import DIVISION, NEAREST_LIMIT, NOTHING, PLACE, causes
from oomrules.ranking.local import ANCESTOR, PARENT
from oomrules.ranking.verdict import Verdict, Why
from tests.oracle import strategies
from tests.oracle.strategies import Object, RuleSet, thorough
from tests.ranking.test_evaluator import rank, verdicts

NO_ATTRIBUTES = {DIVISION, PLACE, *NOTHING.values()}
# What is unknown of another process, and of that what is worked out.
OF_OTHERS = (PARENT, ANCESTOR)
OF_NO_FIELD = (
    *NOTHING.values(),
    DIVISION,
    PLACE,
    NEAREST_LIMIT,
    "scope.",
    "parent.",
    PARENT,
    ANCESTOR,
)


def named(verdict: Verdict) -> set[str]:
    """All that a verdict names as unknown."""
    return {*verdict.doubts, *(name for held in verdict.held for name in held.doubts)}


@thorough
@given(strategies.rule_sets(), strategies.hosts())
def test_a_doubt_is_named_and_is_one(rule_set: RuleSet, host: list[Object]) -> None:
    ranking = rank(strategies.texts(rule_set), host)
    snapshot = ranking.snapshot
    for pid, verdict in verdicts(ranking).items():
        process = snapshot.by_pid[pid]
        for held in verdict.held:
            assert bool(held.doubts) is not held.surely
        if verdict.why in (Why.NEVER_IN_DOUBT, Why.UNKNOWN_SCORE):
            assert verdict.doubts
        if verdict.why in (Why.CANDIDATE, Why.NEVER, Why.NO_POINTS):
            assert not verdict.doubts
        for name in named(verdict) - NO_ATTRIBUTES:
            if name.endswith(OF_OTHERS):
                assert doubts.cause(name, process, snapshot) or name.startswith(OF_NO_FIELD), name
                continue
            getter = GETTERS[LIMIT if name == NEAREST_LIMIT else name]
            assert getter(process, snapshot) in (None, SELF_MADE)
        for name in verdict.own_doubts:
            if name.startswith("scope.") or name.endswith(OF_OTHERS):
                continue
            name = LIMIT if name == NEAREST_LIMIT else name
            assert SELF_MADE in (kind[name](process, snapshot) for kind in (PROTECTING, SCORING))


def test_a_share_of_swap_where_there_is_none_is_a_doubt_that_says_so() -> None:
    host = {
        "kind": "host",
        "schema": "oomrules.snapshot/1",
        "page_size": 4096,
        "clock_ticks": 100,
        "uptime": 1,
        "mem_total": 2**30,
        "swap_total": 0,
        "swap_free": 0,
        "hugetlb": 0,
    }
    process = {
        "kind": "process",
        "pid": 7,
        "state": "S",
        "flags": 0,
        "starttime": 0,
        "nice": 0,
        "total_vm": 9,
        "rss": 9,
        "utime": 0,
        "stime": 0,
        "threads": 1,
        "cgroup": "/",
    }
    rule = "never kill anything when host.swap_free < 10%\nscore rss"
    verdict = verdicts(rank([RuleText("x", rule)], [host, process]))[7]
    assert verdict.why is Why.NEVER_IN_DOUBT
    assert doubts.excluded(verdict).endswith(
        "in doubt, because there is a share of host.swap, which is 0"
    )
    # Where there is swap, it is none.
    swap = {"swap_total": 2**20, "swap_free": 2**20}
    assert rank([RuleText("x", rule)], [host | swap, process]).pids == [7]


def test_every_attribute_has_a_word_for_why_it_is_unknown() -> None:
    line = (
        '{"kind":"host","schema":"oomrules.snapshot/1","page_size":4096,"clock_ticks":100,'
        '"uptime":1,"mem_total":1}'
    )
    snapshot = recorded.parse([line, '{"kind":"process","pid":7,"cgroup":"/a.slice"}'], "host")
    process = snapshot.by_pid[7]
    unknown = [name for name in ATTRIBUTES if GETTERS[name](process, snapshot) is None]
    for name in (*unknown, NEAREST_LIMIT, PLACE):
        assert "recorded" in doubts.cause(name, process, snapshot), name


def test_what_was_named_before_is_not_taken_for_a_division_by_zero() -> None:
    get = {"rss": None}.__getitem__
    evaluate = partial(reduce, get=get, names=Definitions({}, get))
    half: Node = ["/", ["attr", "rss"], ["number", 2]]
    node = ["or", [">", ["attr", "rss"], ["number", 1]], [">", half, ["number", 1]]]
    assert causes(node, evaluate, {}) == ("rss",)
    assert causes(["/", ["number", 1], ["number", 0]], evaluate, {}) == (DIVISION,)
