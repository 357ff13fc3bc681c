"""The meaning of the language (docs/language.md) as properties of every rule set.

Rule sets and hosts are made up by ``tests.oracle.strategies``; what must come of them is
worked out a second time by ``tests.oracle.reference``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.attributes import ATTRIBUTES
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program import program
from oomrules.ranking.ranker import Ranker, Ranking
from oomrules.ranking.verdict import Verdict, Why
from tests.oracle import reference, strategies
from tests.oracle.strategies import Object, RuleSet, Stated, thorough

NEVER = [Stated((), "never kill anything when rss > 1B"), Stated((), "never kill uid 0")]


def rank(sources: Iterable[RuleText], objects: Iterable[Object]) -> Ranking:
    """Compile and rank, as the commands do."""
    return rank_program(compile_texts(sources), objects)


def rank_program(compiled: program.Program, objects: Iterable[Object]) -> Ranking:
    """Rank by a program that is there already."""
    snapshot = recorded.parse(strategies.lines(objects), "host")
    return Ranker(compiled, snapshot.host).rank(snapshot)


def verdicts(ranking: Ranking) -> dict[int, Verdict]:
    """Give what the explaining path says of every process."""
    return {pid: ranking.verdict(process) for pid, process in ranking.snapshot.by_pid.items()}


def processes(objects: Sequence[Object]) -> list[Object]:
    """Pick the processes out of the objects of a snapshot."""
    return [line for line in objects if line["kind"] == "process"]


# --- worked by hand ----------------------------------------------------------------------

HOST = {
    "kind": "host",
    "schema": "oomrules.snapshot/1",
    "page_size": 4096,
    "clock_ticks": 100,
    "uptime": 5000.25,
    "mem_total": 2**33,
}
SCOPES: list[Object] = [
    {"kind": "scope", "cgroup": "/a.slice", "memory_max": 2**20 + 1, "pressure": 12.5},
    {"kind": "scope", "cgroup": "/a.slice/b.service", "memory_max": None, "memory": 8191},
]
PROCESS = {
    "kind": "process",
    "pid": 812,
    "comm": "postgres",
    "uid": 0,
    "capabilities": "20000",
    "nice": 5,
    "utime": 12,
    "stime": 3,
    "starttime": 4567,
    "total_vm": 3853,
    "rss": 2100,
    "swap": 10,
    "threads": 4,
    "pgtables": 69_631,
    "state": "S",
    "flags": 0,
    "cgroup": "/a.slice/b.service/c",
}


@pytest.mark.parametrize(
    ("score", "base"),
    [
        ("total_vm", 3853),
        ("total_vm / root(cpu_time / 8192ms) / root(root(run_time / 1024s))", 3853),
        ("rss + swap", 2110),
        ("pgtables", 16),
        ("footprint", 2126),
        ("footprint - rss - swap - pgtables", 0),
        # A limit of 1 MiB and a byte, and the swap of the host.
        ("totalpages", 256),
        ("host.totalpages", 2**21),
        ("unit.memory", 1),
        ("unit.memory_max", 2**51 - 1),
        ("rss - 5000B", 2099),
        ("rss + -5000B", 2099),
        ("rss + (4095B + 4095B)", 2100),
        ("8191B", 1),
        ("rss - 25%", 2036),
        ("50% + swap", 138),
        ("cpu_time", 150),
        ("run_time / 1s", 4955),
        ("run_time / 1024s", 4),
        ("root(run_time / 1024s)", 2),
        ("root(3)", 1),
        ("root(-nice)", 1),
        ("root(0)", 1),
        ("nice / 2", 2),
        ("-nice / 2", -3),
        ("2 + 3 * 4", 14),
        ("20 - 5 - 5", 10),
        ("100 / 7 / 2", 7),
        ("2 - -3", 5),
        ("1_000 * (nice - 3)", 2000),
        ("rss / (nice - 5)", None),
        ("0 * unit.oom_kills", None),
        ("10 - oom_score_adj", None),
    ],
)
def test_a_score_in_whole_numbers(score: str, base: int | None) -> None:
    ranking = rank([RuleText("rules", f"score {score}")], [HOST, *SCOPES, PROCESS])
    assert verdicts(ranking)[812].base == base
    assert ranking.pids == ([812] if base is not None and base > 0 else [])


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("swap == 40960B", True),
        ("swap == 40961B", False),
        ("swap < 40961B", True),
        ("swap < 40961B + 0B", False),
        ("swap > -1B", True),
        ("rss > 820%", True),
        ("rss > 820.4%", False),
        ("25% < rss", True),
        ("unit.pressure == 12.5%", None),
        ("run_time == 4955s", True),
        ("uid == 0 and nice > 5", False),
        ("uid == 0 or nice > 5 and uid == 1", True),
        ("not uid == 1", True),
        ("not uid == 1 and nice > 5", False),
        ("anon > 1B", None),
        ("anon > 1B and nice > 5", False),
        ("anon > 1B or nice == 5", True),
        ("not anon > 1B", None),
        ("oom_score_adj > 5 and rss > 1B", None),
        ("oom_score_adj > 5 and rss > 1TiB", False),
        ("oom_score_adj > 5 or rss > 1B", True),
        ("oom_score_adj > 5 or rss > 1TiB", None),
        ("anon == anon", None),
        ("anon > 1B or not anon > 1B", None),
        ("1 / 0 == 1 / 0", None),
        ("(nice > 1) == (rss > 1B)", True),
        ("(nice > 1 and rss > 1B) == cap(SYS_ADMIN)", False),
        ("(not nice > 1) != (rss > 1B or swap > 1B)", True),
        ("(anon > 1B) == (rss > 1B)", None),
        ('comm ~ "gres$"', True),
        ('comm ~ "^gres"', False),
        ('user == "root"', True),
        ('group == "root"', None),
        ('unit == "b.service" and slice == "a.slice"', True),
    ],
)
def test_a_condition_true_false_or_unknown(condition: str, truth: bool | None) -> None:
    # A prefer that is in doubt is out, a spare holds; and so do only and never.
    holds, may_hold = truth is True, truth is not False
    prefer, spare, only, never = (
        rank([RuleText("rules", f"{rule} anything when {condition}")], [HOST, *SCOPES, PROCESS])
        for rule in ("prefer", "spare", "only kill", "never kill")
    )
    assert verdicts(prefer)[812].weight == ((2, 1) if holds else (1, 1))
    assert verdicts(spare)[812].weight == ((1, 4) if may_hold else (1, 1))
    assert only.pids == ([812] if holds else [])
    assert never.pids == ([] if may_hold else [812])


def test_a_share_of_a_limit_that_could_not_be_read_is_unknown() -> None:
    scopes = [SCOPES[0], {**SCOPES[1], "unreadable": ["memory_max"]}]
    for condition in ("rss > 1%", "rss < 1%", "rss - 1% > 0B", "unit.memory_max > 1B"):
        sources = [RuleText("rules", f"never kill anything when not {condition}")]
        assert rank(sources, [HOST, *scopes, PROCESS]).pids == []
        known = rank(sources, [HOST, *SCOPES, PROCESS]).pids
        assert known == ([] if condition == "rss < 1%" else [812])


# --- against the second opinion ----------------------------------------------------------


@settings(thorough, max_examples=3 * thorough.max_examples)
@given(strategies.rule_sets(), strategies.hosts())
def test_ranks_as_the_reference_does(rule_set: RuleSet, host: list[Object]) -> None:
    assert_as_in_the_reference(rule_set, host)


def assert_as_in_the_reference(rule_set: RuleSet, host: list[Object]) -> None:
    """Check the order, and for each candidate its tier, base, weight and points."""
    sources = strategies.texts(rule_set)
    judged = reference.judge_all(sources, host)
    ranking = rank(sources, host)
    assert ranking.pids == [one.pid for one in reference.rank(judged)]
    explained = verdicts(ranking)
    for one in judged:
        verdict = explained[one.pid]
        assert verdict.candidate == (one.why == ""), (one, verdict)
        if not one.why:
            said = (verdict.level, verdict.base, Fraction(*verdict.weight), verdict.points)
            assert said == (one.level, one.base, one.weight, one.points)


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(strategies.scoped_rule_sets(), strategies.whole_units(), strategies.hosts())
def test_whole_units_stand_where_the_reference_says(
    rule_set: RuleSet, wholes: RuleSet, host: list[Object]
) -> None:
    assert_as_in_the_reference((*rule_set, *wholes), host)


@settings(thorough, max_examples=thorough.max_examples // 2)
@given(strategies.rule_sets(), strategies.guard_sets(), strategies.hosts())
def test_a_guard_changes_no_rank(rule_set: RuleSet, guards: RuleSet, host: list[Object]) -> None:
    with_guards = (*rule_set, *guards)
    before, after = (rank(strategies.texts(rules), host) for rules in (rule_set, with_guards))
    assert after.pids == before.pids
    assert_as_in_the_reference(with_guards, host)


@settings(thorough, max_examples=3 * thorough.max_examples)
@given(strategies.scoped_rule_sets(), strategies.hosts())
def test_blocks_hold_where_the_reference_says(rule_set: RuleSet, host: list[Object]) -> None:
    assert_as_in_the_reference(rule_set, host)


@thorough
@given(strategies.rule_sets(), strategies.hosts())
def test_the_list_and_the_explanations_agree(rule_set: RuleSet, host: list[Object]) -> None:
    ranking = rank(strategies.texts(rule_set), host)
    starts = {line["pid"]: line.get("starttime") for line in processes(host)}

    def key(item: tuple[int, Verdict]) -> tuple[int, Fraction, int, int]:
        pid, verdict = item
        assert verdict.base is not None
        start = starts[pid]
        exact = verdict.base * Fraction(*verdict.weight)
        return verdict.level, -exact, 2**64 if start is None else start, pid

    candidates = [item for item in verdicts(ranking).items() if item[1].candidate]
    assert ranking.pids == [pid for pid, _ in sorted(candidates, key=key)]
    assert all(verdict.base is not None and verdict.base > 0 for _, verdict in candidates)
    excluded = [process.pid for process, _ in ranking.excluded()]
    # A process that has gone is neither a candidate nor excluded.
    left = [line["pid"] for line in processes(host) if line.get("state") != "X"]
    assert excluded == sorted(set(left) - set(ranking.pids))


# --- rules have no order -----------------------------------------------------------------


@thorough
@given(strategies.rule_sets(wholes=True), strategies.hosts(), st.data())
def test_the_order_of_statements_and_files_changes_nothing(
    rule_set: RuleSet, host: list[Object], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rule_set))
    files = data.draw(st.lists(st.integers(0, 2), min_size=len(shuffled), max_size=len(shuffled)))
    moved = [
        source
        for name in (2, 0, 1)
        for source in strategies.texts(
            [one for one, file in zip(shuffled, files, strict=True) if file == name],
            f"file{name}",
        )
    ]
    before, after = rank(strategies.texts(rule_set), host), rank(moved, host)
    assert after.pids == before.pids
    as_before = verdicts(before)
    for pid, verdict in verdicts(after).items():
        was = as_before[pid]
        assert verdict.candidate == was.candidate
        assert (verdict.level, verdict.base, verdict.weight) == (was.level, was.base, was.weight)


# --- exclusion is absolute ---------------------------------------------------------------


@thorough
@given(
    strategies.rule_sets(),
    strategies.hosts(),
    st.lists(st.sampled_from(strategies.TARGETS), max_size=2),
    strategies.selectors(strategies.Vocabulary((), ())),
)
def test_one_more_never_only_takes_candidates_away(
    rule_set: RuleSet, host: list[Object], targets: list[str], selector: str
) -> None:
    more = (*rule_set, Stated(tuple(targets), f"never kill {selector}"))
    before, after = (rank(strategies.texts(rules), host).pids for rules in (rule_set, more))
    assert after == [pid for pid in before if pid in after]


@thorough
@given(strategies.rule_sets(), strategies.hosts())
def test_no_rule_makes_a_protected_process_a_candidate(
    rule_set: RuleSet, host: list[Object]
) -> None:
    rule_set = (*rule_set, *NEVER)
    sources = strategies.texts(rule_set)
    candidates = set(rank(sources, host).pids)
    rules, world = reference.read(sources), reference.world(host)
    never = [(targets, rule) for targets, rule in rules.rules if rule.kind.name == "NEVER"]
    for process in world.processes:
        reader = reference.Reader(rules, world, process)
        for targets, rule in never:
            around, selected = reader.around(targets), reader.selects(rule.selector, targets)
            if around is not False and selected is not False:
                assert process["pid"] not in candidates, (process, targets, rule)


@pytest.mark.parametrize(
    "facts",
    [
        {"pid": 1},
        {"flags": 0x0020_0000},
        {"flags": 0x0000_0004},
        {"state": "Z"},
        {"state": "X"},
        {"total_vm": 0},
        {"self": True},
    ],
    ids=str,
)
@settings(thorough, max_examples=thorough.max_examples // 5)
@given(strategies.rule_sets(), strategies.hosts(), st.data())
def test_what_the_kernel_would_not_kill_is_never_a_candidate(
    facts: Object, rule_set: RuleSet, host: list[Object], data: st.DataObject
) -> None:
    eager = (*rule_set, Stated((), "kill first anything"), Stated((), "prefer anything by 1000"))
    process = data.draw(st.sampled_from(processes(host)))
    line_pid = process["pid"]
    process = {**process, **facts}
    pid = process["pid"]
    others = [line for line in host if line.get("pid") not in (pid, line_pid)]
    ranking = rank(strategies.texts(eager), [*others, process])
    assert pid not in ranking.pids
    assert not verdicts(ranking)[pid].candidate


# --- a weight never excludes --------------------------------------------------------------


@thorough
@given(strategies.rule_sets(), strategies.hosts())
def test_without_weights_the_candidates_are_the_same(rule_set: RuleSet, host: list[Object]) -> None:
    weights = ("prefer", "spare")
    less = [one for one in rule_set if not one.text.startswith(weights)]
    heavily = [Stated((), "spare anything by 1000")] * 3
    for others in (rule_set, (*rule_set, *heavily)):
        pids = rank(strategies.texts(others), host).pids
        assert sorted(pids) == sorted(rank(strategies.texts(less), host).pids)


def test_what_is_spared_to_less_than_a_point_is_last_by_its_exact_fraction() -> None:
    sources = [RuleText("rules", "score rss\nspare uid 1000 by 1000\n")]
    sizes = {70: 999, 71: 1, 72: 998, 73: 0}
    small = [{**PROCESS, "pid": pid, "uid": 1000, "rss": rss} for pid, rss in sizes.items()]
    ranking = rank(sources, [HOST, *SCOPES, *small, PROCESS])
    assert ranking.pids == [812, 70, 72, 71]
    points = [(ranking.points(one), ranking.verdict(one).points) for one in ranking.candidates]
    assert points == [(2100, 2100), (0, 0), (0, 0), (0, 0)]
    assert verdicts(ranking)[73].why is Why.NO_POINTS


# --- degrees of tiers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "level"),
    [
        (("kill first uid 0 by 3",), -3),
        (("kill first uid 0 by 3", "kill first nice 5"), -1),
        (("kill first uid 0 by 3", "kill last nice 5"), 1),
        (("kill last uid 0 by 2", "kill last nice 5 by 7", "kill first nice 5 by 9"), 7),
        # A doubt (anon is unknown) protects: it makes no tier of its own, but a milder one.
        (("kill first anything when anon > 1B by 3",), 0),
        (("kill first uid 0 by 3", "kill first anything when anon > 1B by 2"), -2),
        (("kill first uid 0 by 3", "kill first anything when anon > 1B by 4"), -3),
        (("kill last uid 0 by 3", "kill last anything when anon > 1B by 4"), 4),
        # Not if the process makes it (cmdline is its own doing).
        (("kill first uid 0 by 3", 'kill first cmdline "x" by 2'), -3),
        (("kill last uid 0 by 3", 'kill last cmdline "x" by 4'), 3),
    ],
)
def test_the_most_protective_degree_counts(rules: tuple[str, ...], level: int) -> None:
    ranking = rank([RuleText("rules", "\n".join(rules))], [HOST, *SCOPES, HIDDEN])
    verdict = verdicts(ranking)[812]
    assert verdict.level == level
    # What is told makes the level: no degree that did not count alone.
    told = [(one.rule.kind, one.rule.degree) for one in verdict.held]
    assert not level or (("first", "normal", "last")[verdict.tier], verdict.degree) in told


def test_further_out_is_killed_earlier_and_later() -> None:
    text = "\n".join(
        f"kill {tier} uid {uid} by {degree}"
        for tier, uid, degree in [
            ("first", 1, 2), ("first", 2, 10), ("first", 3, 1), ("last", 4, 1), ("last", 5, 3)
        ]
    )  # fmt: skip
    crowd = [{**PROCESS, "pid": 100 + uid, "uid": uid, "rss": uid + 1} for uid in range(6)]
    ranking = rank([RuleText("rules", f"score rss\n{text}")], [HOST, *SCOPES, *crowd])
    assert ranking.pids == [102, 101, 103, 100, 104, 105]


# --- pids are only names -----------------------------------------------------------------


@thorough
@given(strategies.rule_sets(), strategies.hosts(), st.data())
def test_renamed_pids_change_only_ties(
    rule_set: RuleSet, host: list[Object], data: st.DataObject
) -> None:
    # The made-up rules never ask for a pid; init is the one whose number is not just a name.
    old = sorted(line["pid"] for line in processes(host) if line["pid"] != 1)
    new = data.draw(
        st.lists(st.integers(2, 2**22), min_size=len(old), max_size=len(old), unique=True)
    )
    if data.draw(st.booleans()):
        new.sort()
    renamed = dict(zip(old, new, strict=True)) | {1: 1}

    def moved_process(line: Object) -> Object:
        parent = line.get("ppid")
        if parent:
            # One that is not there stays away.
            parent = renamed.get(parent, 2**22 + parent)
        family = {"ppid": parent} if "ppid" in line else {}
        return {**line, "pid": renamed[line["pid"]], **family}

    moved = [moved_process(line) if "pid" in line else line for line in host]
    before, after = (rank(strategies.texts(rule_set), objects) for objects in (host, moved))
    starts = {line["pid"]: line.get("starttime") for line in processes(moved)}
    explained = verdicts(after)

    def tie(pid: int) -> tuple[Any, ...]:
        verdict = explained[pid]
        return verdict.level, verdict.base, Fraction(*verdict.weight), starts[pid]

    was, now = [renamed[pid] for pid in before.pids], after.pids
    assert sorted(was) == sorted(now)
    assert [tie(pid) for pid in was] == [tie(pid) for pid in now]
    for _, tied in groupby(now, key=tie):
        pids = list(tied)
        assert pids == sorted(pids)
    if new == sorted(new):
        assert was == now


# --- in doubt, it protects ---------------------------------------------------------------


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(strategies.rule_sets(), strategies.hosts(), st.data())
def test_knowing_less_never_makes_a_process_more_killable(
    rule_set: RuleSet, host: list[Object], data: st.DataObject
) -> None:
    # Each truth value, amount and text is either what it was or unknown, and every operation
    # gives unknown where more than one answer is still open; so a rule that was false or
    # true stays so or becomes unknown, and unknown is the mildest reading of every rule.
    names = st.sampled_from(strategies.ATTRIBUTES) | st.sampled_from(("cgroup", "uid", "comm"))
    blanked = data.draw(st.lists(names, min_size=1, max_size=3))
    victim = data.draw(st.sampled_from(processes(host)))
    poorer = {**victim, **dict.fromkeys(blanked)}
    less = [poorer if line is victim else line for line in host]
    before, after = (rank(strategies.texts(rule_set), objects) for objects in (host, less))
    assert_no_worse(before, after, victim["pid"])


@thorough
@given(strategies.rule_sets(most=4), strategies.hosts(), st.data())
def test_knowing_less_of_a_unit_never_makes_a_process_more_killable(
    rule_set: RuleSet, host: list[Object], data: st.DataObject
) -> None:
    starts, amounts = ("never kill", "spare", "prefer"), ("25%", "unit.memory", "unit.memory_max")
    sentence = f"{data.draw(st.sampled_from(starts))} anything when rss {{}} {{}}"
    sign, amount = data.draw(st.sampled_from("<>")), data.draw(st.sampled_from(amounts))
    rule_set = (*rule_set, Stated((), sentence.format(sign, amount)))
    blanked = data.draw(
        st.lists(st.sampled_from(("memory", "swap", "pressure", "oom_kills", "properties")))
    )
    limits = ("memory_max", "memory_high")
    unreadable = data.draw(st.sampled_from(([], limits[:1], limits[1:], limits)))
    less = [
        {**line, **dict.fromkeys([*blanked, *unreadable]), "unreadable": unreadable}
        if line["kind"] == "scope" and not line["unreadable"]
        else line
        for line in host
    ]
    before, after = (rank(strategies.texts(rule_set), objects) for objects in (host, less))
    for process in processes(host):
        # Of a user's own unit the user can make that it is unknown, which protects no process.
        if not (process.get("cgroup") or "").startswith(f"{strategies.MANAGER}/"):
            assert_no_worse(before, after, process["pid"])


def assert_no_worse(before: Ranking, after: Ranking, pid: int) -> None:
    """Check that a process is no candidate anew, in no earlier tier and with no more points."""
    if pid not in after.pids:
        return
    assert pid in before.pids
    was, now = verdicts(before)[pid], verdicts(after)[pid]
    assert was.base is not None and now.base is not None
    assert now.level >= was.level
    assert now.base * Fraction(*now.weight) <= was.base * Fraction(*was.weight)


# --- a program is data, and rankers remember nothing ---------------------------------------


@thorough
@given(strategies.rule_sets(), strategies.hosts())
def test_a_program_survives_json(rule_set: RuleSet, host: list[Object]) -> None:
    compiled = compile_texts(strategies.texts(rule_set))
    again = program.loads(program.dumps(compiled))
    assert again == compiled
    assert program.dumps(again) == program.dumps(compiled)
    assert rank_program(again, host).pids == rank_program(compiled, host).pids


_FLEETING = {
    field: name
    for name, attribute in ATTRIBUTES.items()
    if attribute.changes
    for field in ([attribute.field, "stime"] if name == "cpu_time" else [attribute.field])
    # How many are in a unit changes with the others; where a process is, is its identity.
    if field not in ("starttime", "cgroup")
}


@thorough
@given(strategies.rule_sets(), strategies.hosts(), strategies.hosts(), st.data())
def test_a_ranker_ranks_the_next_snapshot_as_a_new_one_would(
    rule_set: RuleSet, host: list[Object], other: list[Object], data: st.DataObject
) -> None:
    """What identity decides is worked out once for a process; the rest anew each time."""
    later = copy.deepcopy(host)
    later[0]["uptime"] += data.draw(st.sampled_from((0, 1, 1024, 10**8)))
    later = [line for line in later if line["kind"] != "scope"]
    later += [line for line in other if line["kind"] == "scope"]
    pool = processes(other)
    for line in processes(later):
        source = data.draw(st.sampled_from(pool))
        # A value of /proc/PID/stat does not become readable or unreadable while the process lives.
        fresh = {key: source.get(key) for key in _FLEETING if line.get(key) is not None}
        line |= {key: value for key, value in fresh.items() if value is not None}
    compiled = compile_texts(strategies.texts(rule_set))
    first = recorded.parse(strategies.lines(host), "first")
    ranker = Ranker(compiled, first.host)
    ranker.rank(first)
    second = recorded.parse(strategies.lines(later), "second")
    expected = Ranker(compiled, second.host).rank(second).pids
    # The same processes, with what the ranker keeps on them, and their values of now.
    for pid, process in first.by_pid.items():
        for key in _FLEETING:
            if hasattr(process, key):
                setattr(process, key, getattr(second.by_pid[pid], key))
    second.by_pid, second.ranker = first.by_pid, first.ranker
    assert ranker.rank(second).pids == expected


# --- a doubt of one's own making protects nobody ------------------------------------------

_OWN_DOING = ("cmdline", "exe", "anon", "swap", "pgtables", "locked", "shmem")


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(strategies.rule_sets(), strategies.hosts(), st.data())
def test_what_a_process_makes_unknown_protects_it_from_nothing(
    rule_set: RuleSet, host: list[Object], data: st.DataObject
) -> None:
    # Whatever the value is that it hides, known or not: no exclusion, last place or discount is
    # won by hiding it.
    names = data.draw(st.lists(st.sampled_from(_OWN_DOING), min_size=1, max_size=3))
    victim = data.draw(st.sampled_from(processes(host)))
    open_ = {key: value for key, value in victim.items() if key != "self_made"}
    if data.draw(st.booleans()):
        open_ |= dict.fromkeys(names)
    hiding = {**open_, **dict.fromkeys(names), "self_made": names}
    before, after = (
        verdicts(rank(strategies.texts(rule_set), [one if x is victim else x for x in host]))
        for one in (open_, hiding)
    )
    was, now = before[victim["pid"]], after[victim["pid"]]
    if now.rule is not None:
        assert was.rule is not None
    assert now.tier < 2 or was.tier == 2
    if now.level < 0 and was.level < 0:
        assert now.level <= was.level
    spared = [
        {one.rule.place for one in found.held if one.rule.kind == "spare"} for found in (was, now)
    ]
    assert spared[1] <= spared[0]
    if now.why is Why.UNKNOWN_SCORE:
        assert was.base is None or victim.get("rss") is None


HIDDEN = {**PROCESS, "cmdline": None, "exe": None, "anon": None, "self_made": ["cmdline", "exe"]}
KNOWN = 'comm "postgres"'


@pytest.mark.parametrize(
    ("condition", "protects"),
    [
        # (condition, whether it does for a value that the process hides)
        ('cmdline ~ "x"', False),
        ('not cmdline ~ "x"', False),
        ('cmdline ~ "x" or not cmdline ~ "x"', False),
        ('not (cmdline ~ "x" and not cmdline ~ "x")', False),
        ("cmdline == exe", False),
        ('(cmdline ~ "x") == (nice > 0)', False),
        # With a doubt that is not its own.
        ("anon > 1B", True),
        ("not anon > 1B", True),
        ('anon > 1B or cmdline ~ "x"', True),
        ('anon > 1B and cmdline ~ "x"', False),
        ('not (anon > 1B or cmdline ~ "x")', False),
        ('not (anon > 1B and cmdline ~ "x")', True),
        # What is known settles it.
        ('nice == 5 or cmdline ~ "x"', True),
        ('nice == 5 and cmdline ~ "x"', False),
        ('not (nice == 6 and cmdline ~ "x")', True),
    ],
)
def test_a_doubt_of_its_own_making(condition: str, protects: bool) -> None:
    def ranked(rules: str) -> Ranking:
        return rank([RuleText("rules", rules)], [HOST, *SCOPES, HIDDEN])

    for words in (f"anything when {condition}", "hidden"):
        define = f"define hidden = {condition}\n" if words == "hidden" else ""
        never, last, spare, only = (
            ranked(f"{define}{rule} {words}")
            for rule in ("never kill", "kill last", "spare", "only kill")
        )
        assert (never.pids == []) == protects
        assert (verdicts(last)[812].tier == 2) == protects
        assert (verdicts(spare)[812].weight == (1, 4)) == protects
        # `only kill X` protects whom X leaves out: it is `never kill` of the opposite.
        opposite = ranked(f"{define}never kill anything when not ({condition})")
        assert only.pids == opposite.pids
    in_doubt = verdicts(ranked(f"never kill anything when {condition} or anon > 1B"))[812]
    assert in_doubt.why in (Why.NEVER, Why.NEVER_IN_DOUBT)


@pytest.mark.parametrize("rule", ["prefer", "kill first"])
def test_to_a_rule_that_does_not_protect_it_is_a_doubt_like_any_other(rule: str) -> None:
    for condition in ('cmdline ~ "x"', 'not cmdline ~ "x"', 'cmdline ~ "x" or anon > 1B'):
        text = f"{rule} anything when {condition}"
        found = verdicts(rank([RuleText("rules", text)], [HOST, *SCOPES, HIDDEN]))[812]
        assert (found.tier, found.weight, found.held) == (1, (1, 1), ())


def test_a_score_of_its_own_making_counts_by_its_resident_memory() -> None:
    hidden = {**PROCESS, "anon": None, "self_made": ["anon"]}
    ranking = rank([RuleText("rules", "score anon")], [HOST, *SCOPES, hidden])
    verdict = verdicts(ranking)[812]
    assert (verdict.base, verdict.by_memory) == (hidden["rss"], True)
    assert ranking.pids == [812]
    unknown = {**PROCESS, "anon": None}
    assert rank([RuleText("rules", "score anon")], [HOST, *SCOPES, unknown]).pids == []


MANAGED = "/user.slice/user-1000.slice/user@1000.service/app.slice/mine.service"


@pytest.mark.parametrize(
    ("condition", "protects"),
    [
        ('unit.description == "important"', False),
        ('not unit.description == "important"', False),
        ("unit.oom_score_adjust == -900", False),
        ("unit.memory > 1B", False),  # which is not known
        ("not unit.memory > 1B", False),
        ("unit.swap == 4096B", True),
        ("rss > 1%", False),
        ("not rss > 1%", False),
    ],
)
def test_what_a_user_says_of_his_units_protects_nobody(condition: str, protects: bool) -> None:
    scope: dict[str, Any] = {
        "kind": "scope",
        "cgroup": MANAGED,
        "memory": None,
        "swap": 4096,
        "memory_max": None,
        "unreadable": ["memory_max"],
        "properties": {"Description": "important", "OOMScoreAdjust": -900},
    }
    for cgroup, expected in ((MANAGED, protects), ("/system.slice/mine.service", None)):
        host = [HOST, {**scope, "cgroup": cgroup}, {**PROCESS, "cgroup": cgroup}]
        ranking = rank([RuleText("rules", f"never kill anything when {condition}")], host)
        if expected is None:
            # A system's unit is believed, and its doubt is one.
            holds = condition not in ('not unit.description == "important"',)
            assert (ranking.pids == []) == holds
        else:
            assert (ranking.pids == []) == expected
        preferred = rank([RuleText("rules", f"prefer anything when {condition}")], host)
        told = condition in (
            'unit.description == "important"',
            "unit.oom_score_adjust == -900",
            "unit.swap == 4096B",
        )
        assert (verdicts(preferred)[812].weight == (2, 1)) == told
