"""The ready list: whom the guard would take, and where guards are armed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.guard.model import HOST, Armed, Ready
from oomrules.guard.ready import FIRST, MOST_ARMED, MOST_OF_USER, Arming, ready
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.processes.bpf import IteratorSource
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker, Ranking
from tests.children import Child
from tests.oracle import strategies
from tests.oracle.strategies import Object
from tests.processes.test_bpf import PAGE, TICK, listing, row, start_of
from tests.ranking.test_groups import HOST as HOST_LINE
from tests.ranking.test_groups import process

WEB, BUILD = "/system.slice/web.service", "/system.slice/build-1.service"
OTHER = "/system.slice/build-2.service"
USER = "/user.slice/user-1000.slice/user@1000.service/app.slice"


def compiled(rules: str) -> Program:
    return compile_texts([RuleText("rules", f"score rss\n{rules}\n")])


def ranking(made: Program, *objects: Object) -> Ranking:
    snapshot = recorded.parse(strategies.lines([HOST_LINE, *objects]), "host")
    return Ranker(made, snapshot.host).rank(snapshot)


def made(rules: str, *objects: Object) -> Ready:
    program = compiled(rules)
    return ready(ranking(program, *objects), program, 7.0)


def places(listed: Ready) -> list[str]:
    return [one.unit for one in listed.armed]


def pids(listed: Ready, place: str = HOST) -> list[int]:
    return [one.pid for one in listed.candidates[place]]


GUARD = "kill when host.available < 5%"


def test_the_first_of_the_list_are_ready() -> None:
    listed = made(f"{GUARD}\nnever kill uid 9", process(10, 5, WEB), process(11, 7, BUILD))
    assert pids(listed) == [11, 10]
    assert [one.rank for one in listed.candidates[HOST]] == [1, 2]
    assert (listed.at, listed.length) == (7.0, 2)
    first = listed.candidates[HOST][0]
    assert (first.start, first.comm, first.unit, first.manager) == (11, "x", "build-1.service", "")
    assert first.held == 7 * 4096


def test_no_more_than_the_first_few_are_ready() -> None:
    listed = made(GUARD, *(process(pid, pid, WEB) for pid in range(10, 10 + 2 * FIRST)))
    assert pids(listed) == list(range(9 + 2 * FIRST, 9 + FIRST, -1))
    assert listed.length == 2 * FIRST


def test_who_is_protected_is_not_ready() -> None:
    assert pids(made(f"{GUARD}\nnever kill pid 10", process(10, 5, WEB), process(11, 3, WEB))) == [
        11
    ]


def test_a_guard_is_armed_at_each_unit_that_its_block_is_about() -> None:
    rules = f"in build-*.service {{ terminate when scope.memory > 1GiB }}\n{GUARD}"
    rules = rules.replace("in build-*.service", 'in "build-*.service"')
    listed = made(rules, process(10, 5, WEB), process(11, 7, BUILD), process(12, 6, OTHER))
    by_unit = {one.unit: one for one in listed.armed}
    assert by_unit.keys() == {HOST, BUILD, OTHER}
    assert (by_unit[BUILD].name, by_unit[BUILD].manager) == ("build-1.service", "")
    assert pids(listed, BUILD) == [11] and pids(listed, OTHER) == [12]
    assert pids(listed) == [11, 12, 10]


def test_a_unit_where_nobody_may_be_killed_is_armed_all_the_same() -> None:
    rules = "in web.service { never kill anything\nwarn when scope.memory > 1GiB }"
    listed = made(rules, process(10, 5, WEB))
    assert places(listed) == [WEB] and pids(listed, WEB) == []


def test_of_units_in_one_another_each_that_matches_is_meant() -> None:
    listed = made(
        'in "*.slice" { warn when scope.memory > 1GiB }', process(10, 5, f"{USER}/a.scope")
    )
    assert set(places(listed)) == {
        *("/", "/user.slice", "/user.slice/user-1000.slice"),
    }
    assert all(pids(listed, place) == [10] for place in places(listed))


def test_a_block_in_a_block_is_about_units_in_both() -> None:
    rules = 'in user.slice { in "*.service" { warn when scope.memory > 1GiB } }'
    listed = made(rules, process(10, 5, WEB), process(11, 5, f"{USER}/a.scope"))
    assert places(listed) == ["/user.slice/user-1000.slice/user@1000.service"]


def test_units_of_users_only_where_they_are_meant() -> None:
    scope = f"{USER}/web.service"
    rules = "in web.service { warn when scope.memory > 1GiB }"
    assert places(made(rules, process(10, 5, scope))) == []
    rules = "in user unit web.service { warn when scope.memory > 1GiB }"
    (one,) = made(rules, process(10, 5, scope)).armed
    assert (one.unit, one.name, one.manager) == (scope, "web.service", "1000")


def test_what_systemd_has_not_said_arms_nothing_and_is_known() -> None:
    program = compiled("in units wanted by x.target { warn when scope.memory > 1GiB }")
    arming = Arming(program)
    assert arming.ready(ranking(program, process(10, 5, WEB)), 0.0).armed == ()
    assert arming.doubts == {0}


def test_a_user_can_make_the_guard_look_at_so_many_units_only() -> None:
    program = compiled('in user unit "*.scope" { warn when scope.memory > 1GiB }')
    many = [process(n, n, f"{USER}/u{n}.scope") for n in range(10, 30 + MOST_OF_USER)]
    others = process(9, 1, USER.replace("1000", "1001") + "/other.scope")
    arming = Arming(program)
    listed = arming.ready(ranking(program, *many, others), 0.0)
    assert len(listed.armed) == MOST_OF_USER + 1 and arming.left_out == 20
    # Those that hold most, and the other user's.
    assert f"{USER}/u{29 + MOST_OF_USER}.scope" in places(listed)
    assert others["cgroup"] in places(listed)


def test_so_many_places_are_looked_at_in_all() -> None:
    block = "kill when scope.memory > 1GiB\nwarn when scope.memory > 1MiB"
    program = compiled(f'in "*.service" {{ {block} }}\n{GUARD}')
    many = [process(n, n, f"/u{n}.service") for n in range(10, 10 + MOST_ARMED)]
    arming = Arming(program)
    listed = arming.ready(ranking(program, *many), 0.0)
    # Two guards at each unit, and the one of the host.
    assert len(listed.armed) == MOST_ARMED + 1 and arming.left_out == MOST_ARMED // 2
    assert f"/u{9 + MOST_ARMED}.service" in places(listed) and "/u10.service" not in places(listed)


def test_a_unit_that_is_killed_as_a_whole_goes_with_its_first() -> None:
    rules = f'{GUARD}\nkill whole "build-*.service"'
    many = [process(pid, pid, BUILD) for pid in range(20, 40)]
    listed = made(rules, *many, process(10, 5, WEB))
    # The others go along, so that they need no place in the list.
    assert pids(listed) == [39, 38, 37, 36, 10]
    whole = listed.candidates[HOST][0].whole
    assert whole and whole.path == BUILD and whole.at_once
    assert [pid for pid, _ in whole.others] == list(range(38, 19, -1))
    assert whole.held == sum(range(20, 39)) * 4096
    assert listed.candidates[HOST][-1].whole is None


def test_a_unit_with_a_protected_process_is_not_killed_at_once() -> None:
    rules = f'{GUARD}\nkill whole "build-*.service"\nnever kill pid 21'
    listed = made(rules, process(20, 5, BUILD), process(21, 5, BUILD), process(22, 4, BUILD))
    whole = listed.candidates[HOST][0].whole
    assert whole and not whole.at_once and whole.others == ((22, 22),)


def test_a_process_whose_start_is_unknown_cannot_be_told_from_another_one() -> None:
    listed = made(GUARD, process(10, 5, WEB, starttime=None), process(11, 4, WEB))
    assert pids(listed) == [11] and listed.length == 2


@pytest.mark.parametrize(("effective", "polite"), [(1 << 17, True), (1 << 16, False), (0, False)])
def test_who_has_rawio_is_asked_first(effective: int, polite: bool) -> None:
    listed = made(GUARD, process(10, 5, WEB, capabilities=f"{effective:016x}"))
    assert listed.candidates[HOST][0].polite is polite


@pytest.mark.parametrize(
    ("rule", "polite"),
    [
        ("", True),
        ("\nnever kill pid 12", False),
        ("\nonly kill anything when pid < 12", False),
    ],
)
def test_a_unit_with_rawio_in_it_is_asked_first_as_a_whole(rule: str, polite: bool) -> None:
    """Whoever of those that go may hold hardware; who stays has nothing to fear."""
    rules = f'{GUARD}\nkill whole "build-*.service"{rule}'
    raw = {"capabilities": f"{1 << 17:016x}"}
    none = {"capabilities": f"{0:016x}"}
    listed = made(
        rules,
        process(10, 9, BUILD, **none),
        process(11, 5, BUILD, **none),
        process(12, 1, BUILD, **raw),
        process(13, 1, WEB, **none),
        process(14, 1, OTHER, **none),
    )
    asked = {one.pid: one.polite for one in listed.candidates[HOST]}
    assert asked[10] is asked[11] is polite
    assert not asked.get(13) and not asked.get(14)


def test_what_the_list_did_not_read_is_read_of_those_that_are_ready(
    spawn: Callable[..., Child],
) -> None:
    child = spawn()
    program = compiled(f"{GUARD}\nprefer anything when pid == {child.pid} by 1000000")
    source = ProcSource(program)
    assert "swap" not in source.asked
    found = ready(Ranker(program, source.host).rank(source.refresh()), program, 1.0)
    first = next(one for one in found.candidates[HOST] if one.pid == child.pid)
    assert first.start == int(child.stat()[19])
    assert first.uid is not None and first.held >= 1 << 20
    others = [one for one in source.by_pid.values() if one.pid not in pids(found)]
    assert all(one.swap is not first.swap or first.swap == 0 for one in others[:1])
    source.close()


# --- the same by a slow way -------------------------------------------------------------

_GROUPS = [None, "/", WEB, BUILD, OTHER, f"{BUILD}/below", f"{USER}/a.scope", f"{USER}/b.service"]
_BLOCKS = ["build-1.service", '"build-*.service"', "system.slice", '"*.slice"', "user.slice"]


def _expected(program: Program, ranked: Ranking, one: Armed) -> list[int]:
    """Return the candidates at a place, found by their paths alone."""
    path = "" if one.unit in ("/", HOST) else one.unit
    whose = {process.pid: process.cgroup for process in ranked.candidates}
    inside = [
        process.pid
        for process in ranked.candidates
        if one.unit == HOST
        or (whose[process.pid] is not None and f"{whose[process.pid]}/".startswith(f"{path}/"))
    ]
    return inside[:FIRST]


@given(
    groups=st.lists(st.sampled_from(_GROUPS), max_size=12),
    blocks=st.lists(st.sampled_from(_BLOCKS), max_size=3, unique=True),
)
def test_each_place_has_the_candidates_below_it(groups: list[Any], blocks: list[str]) -> None:
    rules = "\n".join(f"in {block} {{ kill when scope.memory > 1GiB }}" for block in blocks)
    program = compiled(f"{GUARD}\n{rules}")
    objects = [process(10 + n, 50 - n, group) for n, group in enumerate(groups)]
    ranked = ranking(program, *objects)
    arming = Arming(program)
    listed = arming.ready(ranked, 0.0)
    assert [one.key for one in listed.armed] == sorted(one.key for one in listed.armed)
    for one in listed.armed:
        assert pids(listed, one.unit) == _expected(program, ranked, one)
    # What is remembered gives the same once more, and of fewer processes what a new one gives.
    assert arming.ready(ranked, 0.0) == listed
    fewer = ranking(program, *objects[::2])
    assert arming.ready(fewer, 1.0) == ready(fewer, program, 1.0)


def test_by_the_iterator_a_candidate_is_the_one_that_proc_shows(
    child: Child, tmp_path: Path
) -> None:
    tasks = tmp_path / "tasks"
    begun = start_of(child.pid) * TICK + 99
    tasks.write_bytes(listing(row(child.pid, start=begun, rss=7, comm=b"one")))
    program = compiled(f"{GUARD}\nonly kill anything when pid == {child.pid}")
    source = IteratorSource(program, tasks=str(tasks))
    found = ready(Ranker(program, source.host).rank(source.refresh()), program, 1.0)
    assert source.by_iterator
    (one,) = found.candidates[HOST]
    # The guard compares the start with that in stat.
    assert one.identity == (child.pid, int(child.stat()[19]))
    status = Path(f"/proc/{child.pid}/status").read_text()
    swapped = int(status.partition("VmSwap:")[2].split()[0]) << 10
    assert (one.swap, one.held) == (swapped, 7 * PAGE + swapped)
    source.close()


def test_at_rest_what_was_made_of_a_process_is_kept_while_it_is_as_it_was() -> None:
    rules = f"{GUARD}\nkill last uid 7"
    program = compiled(rules)
    arming = Arming(program)
    arming.ready(ranking(program, process(10, 5, WEB), process(11, 4, WEB)), 0.0)
    for changed in ({"rss": 6}, {"total_vm": 8}, {"uid": 7}, {"comm": "y"}, {"starttime": 99}, {}):
        objects = [process(10, 5, WEB) | changed, process(11, 4, WEB)]
        found = arming.ready(ranking(program, *objects), 1.0, afresh=False)
        assert found == ready(ranking(program, *objects), program, 1.0), changed
        arming.ready(ranking(program, process(10, 5, WEB), process(11, 4, WEB)), 0.0)
