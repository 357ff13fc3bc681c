"""Where a process can be: what is decided about units of the system and of users."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program.program import Program
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.verdict import Why
from oomrules.reason.effects import Effects
from oomrules.reason.witness import proposals
from oomrules.reason.witness import witness as witnesses
from tests.oracle import strategies
from tests.oracle.strategies import thorough

MANAGER = "/user.slice/user-1000.slice/user@1000.service"
PATHS = (
    *("/", "/x", "/user.slice", "/system.slice/a.service", "/a.slice/a.service"),
    *("/user.slice/user-1000.slice/a.scope", MANAGER, f"{MANAGER}/x"),
    *(f"{MANAGER}/{below}" for below in ("a.scope", "a.service", "a.slice", "a.slice/a.scope")),
    *(f"{MANAGER}/{below}" for below in ("b.slice/a.service", "a.slice/b.slice/b.scope")),
)
_TARGETS = (
    *("user unit a.scope", "user unit a.slice", "user unit *.slice", "user unit a.*"),
    *("user unit *", "user@*.service", "user.slice", "a.slice", "*.scope", "a.service", "*"),
)
_CONDITIONS = (
    *('user.unit == ""', 'user.unit == "a.scope"', 'user.slice == ""', 'user.slice == "a.slice"'),
    *('user.slice != "a.slice"', 'user.unit != ""', 'unit == ""', 'slice == "user-1000.slice"'),
    'unit == "user@1000.service"',
)


@thorough
@given(
    st.lists(st.sampled_from(_TARGETS), max_size=2),
    st.lists(st.sampled_from(_CONDITIONS), max_size=2),
)
def test_a_place_where_rules_hold_is_found_where_there_is_one(
    targets: list[str], conditions: list[str]
) -> None:
    around = "".join(f"in {strategies.written(target)}: " for target in targets)
    when = f" when {' and '.join(conditions)}" if conditions else ""
    made = compiler.compile_texts([RuleText("x.oom", f"{around}never kill anything{when}")])
    effects = Effects(made)
    (effect,) = effects.all
    assert effect.sure is not None
    there = [path for path in PATHS if _protected(made, path)]
    possible = not effects.reasoner.empty(effect.sure)
    # What is proved to be nobody is nobody; somebody who is there is found, and confirmed.
    assert possible or not there
    judge = witnesses.judge_of(made)
    found = [
        witness
        for box in effect.sure
        for witness in proposals.proposals(box)
        if witness.judge(judge).why is Why.NEVER
    ]
    assert found or not there


def _protected(made: Program, path: str) -> bool:
    host = {"kind": "host", "schema": recorded.SCHEMA, "page_size": 4096, "clock_ticks": 100}
    host |= {"uptime": 5000, "mem_total": 2**30}
    process = {"kind": "process", "pid": 7, "comm": "a", "state": "S", "total_vm": 1000}
    process |= {"cgroup": path, "starttime": 1, "utime": 0, "stime": 0}
    world = recorded.parse([json.dumps(host), json.dumps(process)], "a host")
    return Evaluator(made, world.host).judge(world.by_pid[7], world).why is Why.NEVER
