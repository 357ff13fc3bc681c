"""Rules about ancestors, and about the unit of a block: what a table of processes comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.processes import ordinary, recorded
from oomrules.processes.procfs import ProcSource
from oomrules.processes.recorded import Recorded
from oomrules.program import program
from oomrules.program.nodes import SELF_MADE
from oomrules.ranking import ancestors
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.ranker import Ranker, Ranking
from oomrules.ranking.verdict import Verdict, Why
from tests.fake_proc import FakeProc
from tests.oracle import reference, strategies
from tests.oracle.strategies import Object, thorough

HOST = {"clock_ticks": 100, "uptime": 100_000, "mem_total": 2**34, "users": {"0": "root"}}


def line(pid: int, ppid: int | None, comm: str, **values: Any) -> Object:
    return ordinary.process_line(pid, ppid=ppid, comm=comm, starttime=1000 + pid, **values)


# sshd is above a shell that runs make, hub above a kernel and its worker; the parent of orphan is
# gone, and that of alien is outside of the namespace.
TREE: list[Object] = [
    line(1, 0, "systemd", uid=0, exe="/usr/lib/systemd/systemd"),
    line(10, 1, "sshd", uid=0, exe="/usr/sbin/sshd"),
    line(11, 10, "bash", exe=None),
    line(12, 11, "make"),
    line(40, 1, "hub", uid=7),
    line(41, 40, "kernel"),
    line(42, 41, "worker"),
    line(20, 999, "orphan"),
    line(30, 0, "alien"),
]
NAMES = {one["comm"]: one["pid"] for one in TREE}


def snapshot(*lines: Object) -> Recorded:
    return ordinary.snapshot("a host", HOST, lines)


def ranked(rules: str, host: Recorded) -> Ranking:
    """Rank by a program that was written down and read again."""
    compiled = compile_texts([RuleText("x.oom", f"score rss\n{rules}\n")])
    again = program.loads(program.dumps(compiled))
    assert again == compiled
    return Ranker(again, host.host).rank(host)


def verdict(rules: str, comm: str, *more: Object) -> Verdict:
    ranking = ranked(rules, snapshot(*TREE, *more))
    return ranking.verdict(ranking.snapshot.by_pid[NAMES[comm]])


def held(rules: str) -> set[str]:
    """Return which processes of the tree a rule surely holds for."""
    ranking = ranked(f"prefer {rules}", snapshot(*TREE))
    by_pid = ranking.snapshot.by_pid
    return {str(one.comm) for one in by_pid.values() if ranking.verdict(one).held}


@pytest.mark.parametrize(
    ("selector", "whom"),
    [
        ('anything under comm "sshd"', "bash make"),
        ('anything child of comm "sshd"', "bash"),
        ('anything child of comm "hub" uid 7', "kernel"),
        ("anything under uid 7", "kernel worker"),
        ('anything under comm "systemd"', "sshd bash make hub kernel worker"),
        # A process is not below itself.
        ('comm "sshd" under comm "sshd"', ""),
        ('anything under comm "s*" under comm "bash"', "make"),
        ('anything under comm "hub" not child of comm "hub"', "worker"),
        # Nothing is known of what is above the orphan, and that nothing is above the alien.
        ('anything not under comm "hub"', "systemd sshd bash make hub alien"),
        ('anything not child of comm "hub"', "systemd sshd bash make hub worker alien"),
        ('anything when parent.comm == "bash"', "make"),
        ("anything when parent.uid == 0", "sshd hub bash"),
        ('anything when parent.comm == ""', "systemd alien"),
        ("anything when parent.uid != 0", "make kernel worker"),
        # The executable of bash is unknown.
        ('anything under exe "/usr/sbin/*"', "bash make"),
        ('anything child of exe "/usr/bin/*"', "kernel worker"),
        ('anything not under exe "/usr/bin/*"', "systemd sshd hub bash alien"),
        ('anything under comm "hub" uid 0', ""),
    ],
)
def test_a_rule_about_ancestors_is_about(selector: str, whom: str) -> None:
    assert held(selector) == set(whom.split())


def test_a_definition_can_ask_for_ancestors_and_be_asked_of_them() -> None:
    rules = 'define ours = comm == "hub" and uid == 7\nprefer anything under ours'
    ranking = ranked(rules, snapshot(*TREE))
    assert {pid for pid in ranking.pids if ranking.verdict(ranking.snapshot.by_pid[pid]).held} == {
        41,
        42,
    }


# --- in doubt, it protects; but not by a doubt that a process makes ------------------------


@pytest.mark.parametrize(
    ("rules", "comm", "why"),
    [
        # bash could not be read.
        ('never kill anything under exe "/opt/*"', "make", Why.NEVER_IN_DOUBT),
        ('never kill anything not under exe "/opt/*"', "make", Why.NEVER_IN_DOUBT),
        ('never kill anything child of exe "/opt/*"', "make", Why.NEVER_IN_DOUBT),
        ('only kill anything under exe "/opt/*"', "make", Why.OUTSIDE),
        # The parent has ended.
        ('never kill anything under comm "sshd"', "orphan", Why.CANDIDATE),
        ('never kill anything not under comm "sshd"', "orphan", Why.CANDIDATE),
        ('never kill anything child of comm "sshd"', "orphan", Why.CANDIDATE),
        ('never kill anything when parent.comm == "sshd"', "orphan", Why.CANDIDATE),
        ('never kill anything when parent.comm != "sshd"', "orphan", Why.CANDIDATE),
        ('only kill anything under comm "sshd"', "orphan", Why.CANDIDATE),
        ('never kill anything not under comm "sshd"', "alien", Why.NEVER),
        ('only kill anything under comm "sshd"', "alien", Why.OUTSIDE),
    ],
)
def test_a_doubt_about_ancestors(rules: str, comm: str, why: Why) -> None:
    assert verdict(rules, comm).why is why


@pytest.mark.parametrize("selector", ['not under comm "sshd"', 'child of comm "x"'])
def test_a_parent_that_is_gone_gives_no_earlier_place_either(selector: str) -> None:
    found = verdict(f"kill first anything {selector}", "orphan")
    assert (found.tier, found.held) == (1, ())


def test_an_unknown_parent_is_a_doubt_of_nobody_s_making() -> None:
    host = snapshot(line(5, None, "x"))
    for rule in ('under comm "a"', 'not under comm "a"', 'child of comm "a"'):
        found = ranked(f"never kill anything {rule}", host).verdict(host.by_pid[5])
        assert (found.why, found.doubts) == (Why.NEVER_IN_DOUBT, ("ppid",))


@pytest.mark.parametrize("state", ["Z", "X"])
def test_what_an_ending_ancestor_cannot_tell_protects_nobody(state: str) -> None:
    host = snapshot(*TREE, line(50, 1, "y", exe=None, state=state), line(51, 50, "z"))
    for rule in ('under exe "/opt/*"', 'child of exe "/opt/*"', 'when parent.exe == "/opt/x"'):
        found = ranked(f"never kill anything {rule}", host).verdict(host.by_pid[51])
        assert found.why is Why.CANDIDATE
        assert found.own_doubts


def test_a_doubt_names_the_ancestor() -> None:
    assert verdict('never kill anything under exe "/opt/*"', "make").doubts == (
        "exe of an ancestor",
    )
    assert verdict('never kill anything child of exe "/opt/*"', "make").doubts == (
        "exe of its parent",
    )
    assert verdict('spare anything under comm "x"', "orphan").own_doubts == ("an ancestor",)


def test_it_is_found_through_which_ancestor_a_rule_holds() -> None:
    ranking = ranked('prefer anything under comm "s*" child of uid 1000', snapshot(*TREE))
    process = ranking.snapshot.by_pid[12]
    (rule,) = (one.rule for one in ranking.verdict(process).held)
    found = ranking.evaluator.through(rule, process, ranking.snapshot)
    assert [(one.kind, one.ancestor.pid) for one in found] == [("child", 11), ("under", 10)]


# --- circles, and long chains -------------------------------------------------------------------


def test_parents_in_a_circle_come_to_an_end_that_does_not_depend_on_the_order() -> None:
    circle = [line(100, 102, "a"), line(101, 100, "b"), line(102, 101, "c"), line(103, 100, "d")]
    for turned in (circle, circle[::-1], circle[2:] + circle[:2]):
        host = snapshot(*turned)
        for comm in "abc":
            ranking = ranked(f'prefer anything under comm "{comm}"', host)
            assert all(ranking.verdict(one).held for one in host.by_pid.values())
        # What is above a circle is not known, and by whose doing.
        ranking = ranked('never kill anything under comm "z"\nprefer comm "d" when rss > 1B', host)
        assert len(ranking.pids) == 4
    host = snapshot(line(7, 7, "own"))
    assert ranked('never kill anything under comm "z"', host).pids == [7]


def test_each_process_is_asked_once_a_refresh_however_long_the_chain_is() -> None:
    asked: list[int] = []

    def ask(process: Any, _: Any) -> bool:
        asked.append(process.pid)
        return False

    long = 20_000
    chain = [line(number, number - 1, "x") for number in range(1, long + 1)]
    host = snapshot(*chain)
    found = ancestors.Ancestors(ask, missing=SELF_MADE, lasts=lambda: False)
    for number in (long, long // 2, long - 1, *range(2, long, 7)):
        assert found.under(host.by_pid[number], host) is False
        assert found.child(host.by_pid[number], host) is False
    assert sorted(asked) == list(range(1, long))


def test_what_rests_on_identity_is_asked_once_as_long_as_it_lasts() -> None:
    asked: list[int] = []

    def ask(process: Any, _: Any) -> bool:
        asked.append(process.pid)
        return bool(process.comm == "sshd")

    host = snapshot(*TREE)
    found = ancestors.Ancestors(ask, missing=SELF_MADE, lasts=lambda: True)
    for _ in range(3):
        found.begin()
        assert found.under(host.by_pid[12], host) is True
    assert asked == [11, 10]
    host.by_pid[10].comm = "other"
    host.by_pid[10].reconsider()
    found.begin()
    assert found.under(host.by_pid[12], host) is False
    assert asked == [11, 10, 10, 1]


# --- what changes ----------------------------------------------------------------------------


def test_a_sleeping_process_ranks_anew_when_a_process_above_it_goes(proc: FakeProc) -> None:
    proc.add(1, b"init", ppid=0)
    proc.add(10, b"hub", start=5)
    proc.add(11, b"sh", ppid=10, start=6)
    proc.add(12, b"deep", ppid=11, start=7)
    proc.add(13, b"other", start=8)
    compiled = compile_texts(
        [RuleText("x.oom", 'score rss\nprefer anything under comm "hub"\nspare ppid 1\n')]
    )
    source = ProcSource(compiled, str(proc.root))
    ranker = Ranker(compiled, source.host)
    assert ranker.rank(source.refresh()).pids == [11, 12, 10, 13]
    assert ranker.rank(source.refresh()).pids == [11, 12, 10, 13]
    # The grandparent of 12 goes: only 11 has another parent, but 12 is below no hub any more.
    proc.remove(10)
    proc.add(11, b"sh", ppid=1, start=6)
    assert ranker.rank(source.refresh()).pids == [12, 11, 13]
    # The process that is called hub now is another one.
    proc.add(11, b"hub", ppid=1, start=6)
    assert ranker.rank(source.refresh()).pids == [12, 11, 13]
    source.close()


def test_the_executable_of_an_ancestor_is_read_on_demand(proc: FakeProc) -> None:
    proc.add(1, b"init", ppid=0)
    proc.add(10, b"hub", start=5, exe="/opt/hub")
    proc.add(11, b"sh", ppid=10, start=6)
    proc.add(12, b"other", start=7)
    text = 'score rss\nnever kill anything under exe "/opt/*"\n'
    compiled = compile_texts([RuleText("x.oom", text)])
    source = ProcSource(compiled, str(proc.root))
    assert Ranker(compiled, source.host).rank(source.refresh()).pids == [10, 12]
    # No rule asks for that of the processes themselves.
    assert "exe" not in (source.by_pid[11].more or {})
    source.close()


# --- against the second opinion --------------------------------------------------------------

_CONDITIONS = (
    *('comm "nginx"', 'comm "s*"', "uid 0", 'exe "/usr/sbin/*"', 'cmdline "make*"'),
    *("nice 19", "swap 0B", "capable", "far"),
)
_RELATED = st.lists(
    st.tuples(
        st.sampled_from(("never kill", "only kill", "kill first", "kill last", "prefer", "spare")),
        st.sampled_from(("", "not ")),
        st.sampled_from(("under", "child of")),
        st.sampled_from(_CONDITIONS),
    ).map(lambda parts: f"{parts[0]} anything {parts[1]}{parts[2]} {parts[3]}"),
    min_size=1,
    max_size=4,
)
_WORDS = (
    "define capable = cap(RAWIO) and cap(SYS_ADMIN)\n"
    "define far = rss > 64KiB or unit.memory > 1MiB\n"
)


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(_RELATED, strategies.hosts(most=9))
def test_ancestors_are_as_in_the_reference(rules: Sequence[str], host: list[Object]) -> None:
    sources = [RuleText("x.oom", f"score rss\n{_WORDS}" + "\n".join(rules) + "\n")]
    judged = reference.judge_all(sources, host)
    recorded_host = strategies_host(host)
    ranking = Ranker(compile_texts(sources), recorded_host.host).rank(recorded_host)
    assert ranking.pids == [one.pid for one in reference.rank(judged)]


def strategies_host(objects: list[Object]) -> Recorded:
    return recorded.parse(strategies.lines(objects), "host")


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(_RELATED, strategies.hosts(most=9), st.data())
def test_no_process_gains_by_ending_one_above_it(
    rules: Sequence[str], host: list[Object], data: st.DataObject
) -> None:
    """No exclusion, last place or discount is won by it, whatever the ancestor was like."""
    sources = [RuleText("x.oom", f"score rss\n{_WORDS}" + "\n".join(rules) + "\n")]
    gone = data.draw(st.sampled_from([one for one in host if one["kind"] == "process"]))
    compiled = compile_texts(sources)
    before, after = (
        strategies_host(objects) for objects in (host, [one for one in host if one is not gone])
    )
    was, now = (Evaluator(compiled, one.host) for one in (before, after))
    for pid, process in after.by_pid.items():
        old, new = was.judge(before.by_pid[pid], before), now.judge(process, after)
        if new.rule is not None:
            assert old.rule is not None
        assert new.tier < 2 or old.tier == 2
        spared = [
            {one.rule.text for one in found.held if one.rule.kind == "spare"}
            for found in (old, new)
        ]
        assert spared[1] <= spared[0]


# --- the unit of a block -------------------------------------------------------------------------

USER = "/user.slice/user-1000.slice"
MANAGED = f"{USER}/user@1000.service/app.slice"
UNITS: list[Object] = [
    {"kind": "scope", "cgroup": "/user.slice", "memory": 20 << 30},
    {"kind": "scope", "cgroup": USER, "memory": 12 << 30, "pressure": 12.5, "oom_kills": 3},
    {"kind": "scope", "cgroup": f"{USER}/session-1.scope", "memory": 1 << 30},
    {"kind": "scope", "cgroup": MANAGED, "memory": None, "swap": 4096},
    line(60, 1, "in", cgroup=f"{USER}/session-1.scope"),
    line(61, 1, "app", cgroup=f"{MANAGED}/app-x.scope"),
    line(62, 1, "out", cgroup="/user.slice/user-1001.slice/session-2.scope"),
]


@pytest.mark.parametrize(
    ("rule", "whom"),
    [
        ('in "user-*.slice": prefer anything when scope.memory > 10GiB', {60, 61}),
        ("in user.slice: prefer anything when scope.memory > 15GiB", {60, 61, 62}),
        ('in "user-*.slice": prefer anything when scope.memory > 15GiB', set()),
        # The innermost unit that the target means, and of nested blocks the innermost target.
        ('in "user*.slice": prefer anything when scope.memory == 12GiB', {60, 61}),
        ("in user.slice { in session-1.scope: prefer anything when scope.memory == 1GiB }", {60}),
        ('in "user-*.slice": prefer anything when scope.pressure == 12.5%', {60, 61}),
        ('in "user-*.slice": prefer anything when scope.oom_kills > 2', {60, 61}),
        ('in "user-*.slice": prefer anything when scope.processes == 2', {60, 61}),
        ("in user.slice: prefer anything when scope.processes == 3", {60, 61, 62}),
        ('in "user-*.slice": prefer anything when scope.footprint == 128MiB + 128KiB', {60, 61}),
        ("in user unit app.slice: prefer anything when scope.swap == 4KiB", {61}),
    ],
)
def test_the_figures_of_the_unit_of_a_block(rule: str, whom: set[int]) -> None:
    host = snapshot(*UNITS)
    ranking = ranked(rule, host)
    assert {pid for pid, one in host.by_pid.items() if ranking.verdict(one).held} == whom
    weights = {pid for pid in ranking.pids if ranking.points(host.by_pid[pid]) > 16_384}
    assert weights == whom


def test_a_score_can_ask_for_the_unit_of_its_block() -> None:
    host = snapshot(*UNITS)
    ranking = ranked('in "user-*.slice": score scope.oom_kills + 5', host)
    assert [ranking.points(host.by_pid[pid]) for pid in ranking.pids] == [8, 8]
    assert ranking.verdict(host.by_pid[62]).why is Why.UNKNOWN_SCORE


@pytest.mark.parametrize(
    ("rule", "pid", "protects"),
    [
        # What the kernel does not tell of root's unit is a doubt; of a user's it is the user's.
        ('in "user-*.slice": never kill anything when scope.swap > 1GiB', 60, True),
        ("in user unit app.slice: never kill anything when scope.memory > 1GiB", 61, False),
        ("in user unit app.slice: never kill anything when not scope.memory > 1GiB", 61, False),
        ("in user unit app.slice: never kill anything when scope.swap > 1KiB", 61, True),
    ],
)
def test_a_doubt_about_the_unit_of_a_block(rule: str, pid: int, protects: bool) -> None:
    host = snapshot(*UNITS)
    ranking = ranked(rule, host)
    assert (pid not in ranking.pids) == protects
    assert (ranking.verdict(host.by_pid[pid]).why is not Why.CANDIDATE) == protects


def test_where_the_place_of_a_process_is_unknown_so_is_the_unit_of_a_block() -> None:
    host = snapshot(*UNITS, line(63, 1, "lost", cgroup=None))
    rule = 'in "user-*.slice": never kill anything when scope.memory > 10GiB'
    found = ranked(rule, host).verdict(host.by_pid[63])
    assert found.why is Why.NEVER_IN_DOUBT
