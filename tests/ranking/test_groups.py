"""Units that are killed as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.ranking.groups import Together
from oomrules.ranking.ranker import Ranker, Ranking
from tests.oracle import strategies
from tests.oracle.strategies import Object, RuleSet, thorough

HOST: Object = {
    "kind": "host",
    "schema": "oomrules.snapshot/1",
    "page_size": 4096,
    "clock_ticks": 100,
    "uptime": 5000,
    "mem_total": 2**33,
}


_ORDINARY: Object = {
    "kind": "process",
    "comm": "x",
    "uid": 5,
    "nice": 0,
    "state": "S",
    "flags": 0,
    "threads": 1,
    "utime": 0,
    "stime": 0,
    "total_vm": 9,
}


def process(pid: int, rss: int | None, cgroup: str | None, **more: Any) -> Object:
    """Make up a process of so many pages, in a control group."""
    return {
        **_ORDINARY,
        "pid": pid,
        "rss": rss,
        "starttime": pid,
        "cgroup": cgroup,
        **more,
    }


def ranked(rules: str, *objects: Object) -> Ranking:
    """Rank by the resident memory and some rules."""
    made = compile_texts([RuleText("rules", f"score rss\n{rules}\n")])
    snapshot = recorded.parse(strategies.lines([HOST, *objects]), "host")
    return Ranker(made, snapshot.host).rank(snapshot)


def pids(processes: Iterable[Any]) -> list[int]:
    """Name processes."""
    return [one.pid for one in processes]


def only(ranking: Ranking) -> Together:
    """Pick out the one group that there is."""
    (one,) = ranking.together().values()
    return one


A, B = "/system.slice/a-1.service", "/system.slice/a-2.service"


def test_a_whole_unit_has_the_place_of_its_sum_and_its_members_their_own_order() -> None:
    crowd = [process(10, 60, A), process(11, 50, A + "/sub"), process(12, 100, B)]
    ranking = ranked('kill whole "a-*.service"', *crowd, process(13, 105, "/"))
    assert ranking.pids == [10, 11, 13, 12]
    assert [(path, one.points) for path, one in ranking.groups.by_path.items()] == [
        (A, 110),
        (B, 100),
    ]
    assert ranked("", *crowd).pids == [12, 10, 11]


def test_its_tier_is_that_of_its_most_protective_member() -> None:
    crowd = [process(10, 600, A), process(11, 1, A, comm="y"), process(12, 5, "/")]
    ranking = ranked('kill whole a-1.service\nkill last comm "y" by 3', *crowd)
    assert ranking.pids == [12, 10, 11]
    assert ranking.groups.by_path[A].level == 3


def test_of_equal_sums_the_one_with_the_oldest_member_is_first() -> None:
    crowd = [
        *(process(20, 30, A, starttime=7), process(21, 20, A, starttime=9)),
        *(process(10, 25, B, starttime=8), process(11, 25, B, starttime=8)),
        process(12, 50, "/", starttime=6),
    ]
    assert ranked('kill whole "a-*.service"', *crowd).pids == [12, 20, 21, 10, 11]


def test_fractions_are_summed_exactly() -> None:
    rules = 'kill whole "a-*.service"\nspare uid 5 by 3\nspare uid 6 by 7'
    # 1/3 + 1/3 + 1/3 of a point against 7/7 and a little less than 1.
    crowd = [*(process(pid, 1, A) for pid in (10, 11, 12)), process(13, 7, "/", uid=6)]
    assert ranked(rules, *crowd).pids == [10, 11, 12, 13]
    assert ranked(rules, *crowd[:2], crowd[3]).pids == [13, 10, 11]


def test_of_nested_units_the_outermost_is_one_candidate() -> None:
    crowd = [process(10, 5, A), process(11, 6, B), process(12, 10, "/user.slice")]
    ranking = ranked('kill whole "a-*.service"\nkill whole system.slice', *crowd)
    assert ranking.pids == [11, 10, 12]
    assert [*ranking.groups.by_path] == ["/system.slice"]


def test_a_block_limits_which_units_are_meant() -> None:
    other = "/user.slice/a-1.service"
    crowd = [process(10, 5, A), process(11, 6, other), process(12, 1, other), process(13, 1, A)]
    ranking = ranked('in user.slice: kill whole "a-*.service"', *crowd)
    assert [*ranking.groups.by_path] == [other]
    # The block may name the unit itself, but not one inside of it.
    assert ranked('in "a-1.service": kill whole "a-*.service"', *crowd).groups.by_path.keys() == {
        A,
        other,
    }
    assert not ranked('in "a-1.service": kill whole "*.slice"', *crowd).groups.by_path


def test_a_bare_name_does_not_mean_a_unit_of_a_user() -> None:
    mine = "/user.slice/user-5.slice/user@5.service/app.slice/a-1.service"
    crowd = [process(10, 5, mine), process(11, 6, mine)]
    assert not ranked('kill whole "a-*.service"', *crowd).groups.by_path
    assert [*ranked('kill whole user unit "a-*"', *crowd).groups.by_path] == [mine]


def test_where_it_is_unknown_whether_a_unit_is_meant_it_is_not_one() -> None:
    crowd = [process(10, 5, A), process(11, 6, None)]
    ranking = ranked("kill whole units part of x.service\nkill whole system.slice", *crowd)
    assert [*ranking.groups.by_path] == ["/system.slice"]
    doubted = ranking.groups.standing(ranking.snapshot.by_pid[11])
    assert doubted.unit is None and len(doubted.doubts) == 2
    alone = ranked("kill whole units part of x.service", *crowd)
    assert not alone.groups.by_path
    assert [one.target for one in alone.groups.standing(alone.snapshot.by_pid[10]).doubts] == [
        "units part of x.service"
    ]


def test_who_goes_and_who_stays() -> None:
    crowd = [
        *(process(10, 5, A), process(11, 9, A)),
        # No candidates: by their score, by a rule, in doubt, since they are dead.
        *(process(12, 0, A), process(13, 7, A, comm="y"), process(14, None, A)),
        *(process(15, 1, A, state="Z"), process(16, 7, A, total_vm=0)),
        *(process(17, 1, "/", comm="y"), process(18, 7, A, self=True)),
    ]
    found = only(ranked('kill whole a-1.service\nnever kill comm "y"', *crowd))
    assert pids(found.group.members) == [11, 10]
    assert pids(found.others) == [12]
    assert [one.pid for one, _ in found.protected] == [13, 14, 18]
    assert not found.at_once
    assert found.beside(found.group.members[1]) == (11, 12)
    free = only(ranked("kill whole a-1.service", *crowd[:3]))
    assert free.at_once and not free.protected and pids(free.victims) == [11, 10, 12]


def test_a_protected_process_whose_unit_is_unknown_may_be_inside() -> None:
    crowd = [process(10, 5, A), process(11, 9, None, comm="y")]
    rules = "kill whole a-1.service\n"
    assert only(ranked(rules, *crowd)).at_once
    assert not only(ranked(f'{rules}never kill comm "y"', *crowd)).at_once


# --- laws ----------------------------------------------------------------------------------


@thorough
@given(strategies.rule_sets(), strategies.whole_units(), strategies.hosts())
def test_whole_units_make_nobody_a_candidate_and_leave_out_nobody(
    rule_set: RuleSet, wholes: RuleSet, host: list[Object]
) -> None:
    before, after = (_of(rules, host) for rules in (rule_set, (*rule_set, *wholes)))
    assert sorted(before.pids) == sorted(after.pids)
    # Those of one unit come one after the other, as before.
    at = {pid: number for number, pid in enumerate(after.pids)}
    was = {pid: number for number, pid in enumerate(before.pids)}
    for group in after.groups.by_path.values():
        places = [at[one.pid] for one in group.members]
        assert places == [*range(places[0], places[0] + len(places))]
        assert [*group.members] == sorted(group.members, key=lambda one: was[one.pid])


@thorough
@given(strategies.rule_sets(), strategies.whole_units(), strategies.hosts(), st.data())
def test_nobody_that_a_rule_protects_goes_with_a_unit(
    rule_set: RuleSet, wholes: RuleSet, host: list[Object], data: st.DataObject
) -> None:
    never = data.draw(strategies.selectors(strategies.Vocabulary((), ())))
    more = (*rule_set, *wholes, strategies.Stated((), f"never kill {never}"))
    ranking = _of(more, host)
    for found in ranking.together().values():
        for one in found.victims:
            assert ranking.verdict(one).rule is None
        path = found.group.unit.place.path.rstrip("/") + "/"
        inside = [
            one
            for one in ranking.snapshot.by_pid.values()
            if f"{one.cgroup or ''}/".startswith(path) and ranking.verdict(one).rule
        ]
        assert {one.pid for one in inside if one.state != "X"} <= {
            one.pid for one, _ in found.protected
        }


def _of(rules: RuleSet, host: list[Object]) -> Ranking:
    made = compile_texts(strategies.texts(rules))
    snapshot = recorded.parse(strategies.lines(host), "host")
    return Ranker(made, snapshot.host).rank(snapshot)
