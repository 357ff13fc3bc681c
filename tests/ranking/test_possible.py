"""Whatever the unknown values turn out to be, the first candidate is among the possible ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program import nodes
from oomrules.program.program import Program
from oomrules.ranking.possible import FOOTPRINT, Possible, possible
from oomrules.ranking.questions import matched_below
from oomrules.ranking.ranker import Ranker
from oomrules.ranking.spans import only
from tests.oracle import strategies
from tests.oracle.fillings import filled
from tests.oracle.strategies import Object, RuleSet, thorough

FILLINGS = 6


def first(program: Program, objects: Sequence[Object]) -> int | None:
    """Return whom the ranker takes first."""
    snapshot = recorded.parse(strategies.lines(objects), "host")
    candidates = Ranker(program, snapshot.host).rank(snapshot).candidates
    return candidates[0].pid if candidates else None


def check(
    program: Program,
    objects: Sequence[Object],
    seed: int,
    times: int = FILLINGS,
    within: str = "",
) -> None:
    """Compare the answer with what comes of random fillings.

    Args:
        within: a control group that each process is in or below whose own is not known.
    """
    snapshot = recorded.parse(strategies.lines(objects), "host")
    found = possible(snapshot, program, places=places(snapshot, within))
    rng = random.Random(seed)
    may = {one.process.pid for one in found.open}
    may |= {found.certain.process.pid} if found.certain else set()
    for _ in range(times):
        host = filled(objects, rng, within)
        victim = first(program, host)
        if victim is None:
            assert found.nobody, host
        else:
            assert victim in may, host


def places(snapshot: recorded.Recorded, within: str) -> dict[int, str] | None:
    """Return where each process is, as ``possible`` takes it."""
    return dict.fromkeys(snapshot.by_pid, within) if within else None


@thorough
@given(strategies.rule_sets(), strategies.hosts(), st.integers(0, 2**32))
def test_every_winner_is_possible(rule_set: RuleSet, host: list[Object], seed: int) -> None:
    check(compile_texts(strategies.texts(rule_set)), host, seed)


@thorough
@given(strategies.rule_sets(wholes=True, most=4), strategies.hosts(), st.integers(0, 2**32))
def test_every_winner_is_possible_with_whole_units(
    rule_set: RuleSet, host: list[Object], seed: int
) -> None:
    check(compile_texts(strategies.texts(rule_set)), host, seed)


@thorough
@given(strategies.scoped_rule_sets(), strategies.hosts(), st.integers(0, 2**32))
def test_every_winner_is_possible_in_blocks(
    rule_set: RuleSet, host: list[Object], seed: int
) -> None:
    check(compile_texts(strategies.texts(rule_set)), host, seed)


# --- worked by hand ------------------------------------------------------------------------

HOST = {
    "kind": "host",
    "schema": "oomrules.snapshot/1",
    "page_size": 4096,
    "clock_ticks": 100,
    "uptime": 5000.25,
    "mem_total": 2**33,
    "users": {},
}


def made(pid: int, **known: Any) -> Object:
    """Return a process of which no more is known than a kernel's report says, and what is given."""
    said = {"comm": "x", "uid": 1000, "total_vm": 4000, "rss": 1000, "swap": 0, "pgtables": 0}
    return {"kind": "process", "pid": pid, "oom_score_adj": 0, **said, **known}


def answer(rules: str, *processes: Object, **options: Any) -> Possible:
    """Return who may be first."""
    program = compile_texts([RuleText("a.oom", rules)])
    objects = [{**HOST, **options.pop("host", {})}, *options.pop("scopes", ()), *processes]
    within = options.pop("within", "")
    check(program, objects, seed=1, times=200, within=within)
    snapshot = recorded.parse(strategies.lines(objects), "host")
    return possible(snapshot, program, **{"places": places(snapshot, within), **options})


def pids(found: Possible) -> list[int]:
    """Return the pids of the possible ones, the certain one alone."""
    return [one.process.pid for one in ([found.certain] if found.certain else found.open)]


def test_what_is_unknown_may_not_matter() -> None:
    # Whatever its capabilities, a quarter of 9000 pages is more than the other one has.
    rules = "score footprint\nspare anything with RAWIO"
    found = answer(rules, made(10, rss=9000), made(11, rss=1000))
    assert (found.answer, pids(found), found.nobody, found.unknown) == ("certain", [10], False, ())
    assert found.certain and found.certain.points == (2250, 9000)


def test_what_is_unknown_may_matter() -> None:
    rules = "score footprint\nspare anything with RAWIO"
    found = answer(rules, made(10, rss=3000), made(11, rss=1000))
    assert (found.answer, pids(found)) == ("open", [10, 11])
    unknown = found.unknown[0]
    assert (unknown.name, unknown.processes, unknown.rules) == ("capabilities", 2, ("a.oom:2",))


def test_the_same_unknown_is_the_same_in_all_rules() -> None:
    # It is spared or preferred, never both and never neither.
    rules = "score footprint\nspare niced by 2\nprefer not niced by 2\ndefine niced = nice > 0"
    found = answer(rules, made(10, rss=4100), made(11, rss=1000))
    assert pids(found) == [10]
    rules = "score footprint\nkill first anything when nice > 4\nnever kill anything when nice > 2"
    assert pids(answer(rules, made(10, rss=900, nice=0), made(11, rss=800))) == [10]


def test_a_number_is_the_same_in_a_condition_and_in_the_score() -> None:
    # Above 10 nice it is excluded, so 10 is the most that it may count.
    rules = "score nice + 21\nnever kill anything when nice > 10"
    found = answer(rules, made(10, nice=10), made(11))
    assert [one.points for one in found.open] == [(31, 31), (1, 31)]


def test_nobody_may_be_certain() -> None:
    found = answer("never kill uid 1000", made(10), made(11))
    assert (found.answer, found.nobody, pids(found)) == ("nobody", True, [])


def test_an_unknown_score_is_no_protection() -> None:
    found = answer("", made(10), made(11))
    assert (found.answer, pids(found)) == ("open", [10, 11])
    assert {one.name for one in found.unknown} == {"cpu_time", "run_time"}
    by_memory = answer("", made(10, rss=1001), made(11), measure=FOOTPRINT)
    assert pids(by_memory) == [10]


def test_a_unit_that_is_unknown_may_be_any() -> None:
    rules = 'score footprint\nin "db-*.service": never kill anything'
    known = {"cgroup": "/system.slice/db-1.service"}
    found = answer(rules, made(10, rss=5000, **known), made(11, rss=2000), made(12, cgroup="/x"))
    assert (pids(found), found.nobody) == ([11, 12], False)
    assert [(one.sure, one.unknown) for one in found.open] == [(False, ("unit",)), (True, ())]
    assert found.unknown[0].rules == ("a.oom:2",)


def test_a_unit_that_is_known_in_part() -> None:
    rules = "score footprint\nin user.slice: never kill anything"
    processes = made(10, rss=5000), made(11, rss=100, cgroup="/")
    assert pids(answer(rules, *processes)) == [10, 11]
    found = answer(rules, *processes, places={10: "/user.slice/user-1000.slice"})
    assert pids(found) == [11]


def test_the_kind_of_host_is_the_same_for_all() -> None:
    rules = 'score footprint\nkill first comm "a" when host.available < 1GiB'
    rules += '\nkill last comm "b" when host.available >= 1GiB'
    found = answer(rules, made(10, comm="a", rss=10), made(11, comm="b", rss=3000))
    # Either the first goes first, or the second goes last.
    assert pids(found) == [10]


def test_root_has_one_name_and_nobody_else_has_it() -> None:
    rules = 'score footprint\nnever kill user "root"\nprefer user "x*"'
    found = answer(rules, made(10, rss=1000), made(11, uid=0, rss=9000), host={"users": None})
    assert pids(found) == [10]


@pytest.mark.parametrize("missing", ["state", "flags", "total_vm"])
def test_who_may_have_ended_is_no_sure_candidate(missing: str) -> None:
    found = answer("score rss", made(10, rss=5000, **{missing: None}), made(11))
    assert pids(found) == [10, 11]


def test_a_list_of_one_unit_may_have_who_is_in_an_unknown_one() -> None:
    rules = "score footprint"
    processes = made(10, rss=5000), made(11, cgroup="/a.slice"), made(12, cgroup="/b.slice")
    keep = lambda process, _: process.cgroup == "/a.slice"  # noqa: E731
    assert pids(answer(rules, *processes, keep=keep)) == [10, 11]


# --- in or below a group -------------------------------------------------------------------

POD = "/kubepods/burstable/pod0a1b"
# As the shipped rules say what is in a container.
CONTAINED = """\
score footprint
list boxes = "/docker/*", "/kubepods*"
define monitor = cgroup ~ "^/machine[.]slice/(conmon|supervisor)$"
define contained = pid_depth > 0 or (cgroup in @boxes and not monitor)
never kill uid 1000 comm "x" when not contained
"""


def test_below_a_group_a_glob_with_a_star_at_its_end_matches() -> None:
    found = answer(CONTAINED, made(10, rss=900), made(11, rss=800), within=POD)
    assert (found.answer, pids(found)) == ("certain", [10])


@pytest.mark.parametrize("within", ["", "/machine.slice/conmon", "/kube", "/foo", "/docker"])
def test_below_another_group_it_is_open(within: str) -> None:
    found = answer(CONTAINED, made(10, rss=900), made(11, rss=800), within=within)
    assert (found.answer, found.nobody) == ("open", True)


def test_a_limit_is_open_where_a_process_may_be_further_down() -> None:
    rules = "score footprint\nnever kill anything when rss > 50%"
    group = "/system.slice/a.service"
    found = answer(
        rules,
        *(made(10, rss=1000, cgroup=group), made(11, rss=500, cgroup=group)),
        host={"unknown": ["cgroup"]},
        scopes=[{"kind": "scope", "cgroup": group, "memory_max": 3000 * 4096}],
    )
    assert (pids(found), found.unknown[0].name) == ([10, 11], "the memory limit")


PIECES = ("/", "*", "a", "b.slice", "?", "[ab]", "docker", "x.scope", ".", "[!c]*")
BELOW = ("", "/a", "/b.slice/docker/x.scope", "/x.scope", "/docker")


@thorough
@given(
    st.sampled_from(("glob", "among", "search")),
    st.lists(st.lists(st.sampled_from(PIECES), max_size=5).map("".join), min_size=1, max_size=3),
    st.sampled_from(("/a", "/docker/a", "/b.slice/x.scope", "/docker", "/ab")),
    st.booleans(),
)
def test_what_matches_below_a_group_is_possible(
    kind: str, patterns: list[str], within: str, anchored: bool
) -> None:
    if kind == "search":
        patterns = [("^" if anchored else "") + patterns[0].replace("*", "").replace("?", "")]
    patterns = patterns if kind == "among" else patterns[:1]
    may = matched_below(within, kind, patterns)
    for below in BELOW:
        assert only(bool(nodes.STRICT[kind](within + below, *patterns))) & may
