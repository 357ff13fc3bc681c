"""What is said of footprints and of shares of the host is so on every small host."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.processes.ordinary import process_line
from oomrules.processes.recorded import Recorded
from oomrules.program.program import Program
from oomrules.ranking.evaluator import Evaluator
from oomrules.reason import Undecided
from oomrules.reason.effects import Effects
from oomrules.reason.regions import EVERY_PROCESS
from oomrules.reason.witness.proposals import proposals
from tests.oracle.strategies import thorough

PAGE = 4096
# In pages; the edges of the amounts below, what is between them, and what is not known.
MEMORY = {
    "available": (0, 1, 5, 6, 7, 49, 50, 100, None),
    "swap_total": (0, 20, 40),
    "swap_free": (0, 1, 2, 3, 5, 20, 40, None),
}
HELD = {"rss": (0, 1, 2, 3, 9), "swap": (0, 1, 2, None), "pgtables": (0, PAGE, 2 * PAGE - 1)}

_ORDERS = st.sampled_from(("==", "!=", "<", "<=", ">", ">="))
_OF_HOST = st.one_of(
    st.tuples(st.just("host.available"), _ORDERS, st.sampled_from(("1%", "6%", "6.5%", "50%"))),
    st.tuples(st.sampled_from(("5%", "50%", "0%")), _ORDERS, st.just("host.swap_free")),
    st.tuples(st.just("host.available"), _ORDERS, st.sampled_from(("4KiB", "24KiB", "0B"))),
).map(" ".join)
_OF_PROCESS = st.one_of(
    st.tuples(st.just("footprint"), _ORDERS, st.sampled_from(("rss", "4KiB", "8KiB", "swap"))),
    st.tuples(
        st.sampled_from(("rss + swap", "swap + rss + pgtables")),
        _ORDERS,
        st.sampled_from(("footprint", "4KiB", "8KiB")),
    ),
).map(" ".join)


def conditions(leaves: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        leaves,
        lambda below: st.one_of(
            st.tuples(below, st.sampled_from(("and", "or")), below).map(
                lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
            ),
            below.map("not ({})".format),
        ),
        max_leaves=4,
    )


def snapshot(host: dict[str, Any], **values: Any) -> Recorded:
    lines = (
        {
            "kind": "host",
            "schema": recorded.SCHEMA,
            "page_size": PAGE,
            "clock_ticks": 100,
            "uptime": 5000,
            "mem_total": 100 * PAGE,
            "swap_total": 0,
            "hugetlb": 0,
            **host,
        },
        process_line(7, starttime=0, cgroup="/", **values),
    )
    return recorded.parse(map(json.dumps, lines), "small")


@cache
def hosts() -> list[Recorded]:
    """Every small host of which no more swap is free than there is."""
    found = []
    for available, swap, free in itertools.product(*MEMORY.values()):
        if swap is not None and (free is None or free <= swap):
            sizes = {"available": available, "swap_total": swap, "swap_free": free}
            found.append(snapshot({key: size and size * PAGE for key, size in sizes.items()}))
    return found


@cache
def processes() -> list[Recorded]:
    """A host for every small process."""
    return [
        snapshot({}, **dict(zip(HELD, values, strict=True)))
        for values in itertools.product(*HELD.values())
    ]


def compiled(text: str) -> Program:
    rules = f"prefer anything when {text}\nspare anything when {text}"
    return compiler.compile_texts([RuleText("x.oom", rules)])


def answers(program: Program, world: list[Recorded]) -> list[bool | None]:
    evaluator = Evaluator(program, world[0].host)
    found: list[bool | None] = []
    for one in world:
        kinds = {held.rule.kind for held in evaluator.judge(one.by_pid[7], one).held}
        found.append(True if "prefer" in kinds else None if kinds else False)
    return found


def check(text: str, world: list[Recorded]) -> None:
    program = compiled(text)
    found = answers(program, world)
    effects = Effects(program)
    node, reasoner = effects.all[0].rule.when, effects.reasoner
    try:
        holds, fails = reasoner.holds(node), reasoner.fails(node)
        if reasoner.empty(holds):
            assert True not in found
        if reasoner.empty(fails):
            assert False not in found
        if reasoner.covers(reasoner.holds(node, doubt=True), EVERY_PROCESS):
            assert False not in found
        # Where there is one, it is found.
        if True in found:
            made = [one for box in holds for one in proposals(box)]
            assert any(one.rule_holds(program, node) for one in made)
    except Undecided:
        return


@thorough
@given(conditions(_OF_HOST))
def test_shares_of_the_host_are_decided_as_the_evaluator_does(text: str) -> None:
    check(text, hosts())


@thorough
@given(conditions(_OF_PROCESS))
def test_a_footprint_is_decided_as_the_sum_that_it_is(text: str) -> None:
    check(text, processes())


def test_shares_of_the_host_are_compared_with_one_another() -> None:
    effects = Effects(
        compiler.compile_texts(
            [
                RuleText(
                    "x.oom",
                    "prefer anything when host.available < 10% and host.swap_free > 5%\n"
                    "spare anything when host.available < 15%\n",
                )
            ]
        )
    )
    narrow, wide = (
        effects.reasoner.holds(next(one for one in effects.all if one.rule.kind == kind).rule.when)
        for kind in ("prefer", "spare")
    )
    assert effects.reasoner.covers(wide, narrow)
    assert not effects.reasoner.covers(narrow, wide)
