"""Recorded snapshots: what they say, and what is wrong with those that cannot be right."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules import resources
from oomrules.errors import Failure
from oomrules.language import compiler, rulefiles
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.processes.cmdlines import bounded
from oomrules.processes.recorded import Recorded
from oomrules.processes.snapshot import NO_LIMIT
from oomrules.processes.values import GETTERS
from oomrules.program.nodes import SELF_MADE
from oomrules.ranking.ranker import Ranker

# A snapshot as it has been since the first version, to the letter.
LINES = """\
{"kind":"host","schema":"oomrules.snapshot/1","time":"2026-01-01T00:00:00Z","kernel":"6.1.0","page_size":4096,"clock_ticks":100,"uptime":5000.25,"mem_total":8589934592,"swap_total":0}
{"kind":"scope","cgroup":"/system.slice/sshd.service","unit":"sshd.service","memory":1048576,"memory_max":null,"memory_high":null,"swap":0,"pressure":0.0,"properties":{"OOMPolicy":"stop"}}
{"kind":"process","pid":812,"ppid":1,"comm":"sshd","cmdline":["sshd: /usr/sbin/sshd -D"],"exe":"/usr/sbin/sshd","uid":0,"euid":0,"gid":0,"egid":0,"capabilities":"000001ffffffffff","nice":0,"utime":12,"stime":3,"starttime":4567,"threads":1,"state":"S","flags":4194560,"total_vm":3853,"rss":2100,"swap":0,"pgtables":69632,"oom_score_adj":-1000,"cgroup":"/system.slice/sshd.service"}
"""  # noqa: E501
SHIPPED = compiler.compile_rules(rulefiles.given([str(resources.rules())]))
HOST, SCOPE, PROCESS = (json.loads(line) for line in LINES.splitlines())


def read(*lines: Any) -> Recorded:
    """Read a snapshot from objects, or from texts as they are."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return recorded.parse([f"{text}\n" for text in texts], "snap")


def value(snapshot: Recorded, pid: int, name: str) -> Any:
    return GETTERS[name](snapshot.by_pid[pid], snapshot)


@pytest.mark.parametrize(("said", "number"), [({}, 0), ({"hidden": None}, 0), ({"hidden": 3}, 3)])
def test_how_many_could_not_be_seen_is_known_if_it_was_recorded(
    said: dict[str, Any], number: int
) -> None:
    assert read(HOST | said, PROCESS).hidden == number


def test_the_first_lines_of_this_format_are_read(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(LINES)
    snapshot = recorded.load(str(path))
    host = snapshot.host
    assert (host.time, host.kernel, host.uptime) == ("2026-01-01T00:00:00Z", "6.1.0", 5000.25)
    assert (host.page_size, host.clock_ticks) == (4096, 100)
    assert (host.mem_total, host.swap_total) == (8 * 2**30, 0)
    expected = {
        "pid": 812,
        "ppid": 1,
        "comm": "sshd",
        "cmdline": "sshd: /usr/sbin/sshd -D",
        "exe": "/usr/sbin/sshd",
        "uid": 0,
        "egid": 0,
        "user": "root",
        "capabilities": 0x1FFFFFFFFFF,
        "cpu_time": 150,
        "run_time": (5000 - 45) * 1000,
        "threads": 1,
        "state": "S",
        "total_vm": 3853,
        "rss": 2100,
        "swap": 0,
        "pgtables": 17,
        "oom_score_adj": -1000,
        "cgroup": "/system.slice/sshd.service",
        "unit": "sshd.service",
        "slice": "system.slice",
        "unit.memory": 256,
        "unit.memory_max": NO_LIMIT // 4096,
        "unit.swap": 0,
        "unit.pressure": 0,
        "unit.oom_policy": "stop",
        "unit.active_state": None,
        "unit.oom_kills": None,
        "anon": None,
        "tty": None,
        "session.active": None,
    }
    assert {name: value(snapshot, 812, name) for name in expected} == expected


def test_the_first_lines_of_this_format_can_be_ranked() -> None:
    snapshot = recorded.parse(LINES.splitlines(True), "snap")
    made = compiler.compile_texts([RuleText("f", "score total_vm")])
    ranking = Ranker(made, snapshot.host).rank(snapshot)
    assert ranking.pids == [812]
    assert ranking.verdict(ranking.candidates[0]).points == 3853


def test_unknown_keys_and_kinds_are_passed_over() -> None:
    snapshot = read(
        HOST | {"cpus": 8},
        {"kind": "weather", "rain": True},
        SCOPE | {"memory_peak": 5},
        PROCESS | {"mood": ["good"], "judge": 5, "descriptor": 3, "more": {}},
    )
    assert value(snapshot, 812, "unit.memory") == 256
    assert value(snapshot, 812, "comm") == "sshd"


def test_empty_lines_are_passed_over() -> None:
    assert list(read(HOST, "", "  ", PROCESS, "").by_pid) == [812]


def test_the_order_of_the_lines_behind_the_host_does_not_matter() -> None:
    snapshot = read(HOST, PROCESS, SCOPE)
    assert value(snapshot, 812, "unit.memory") == 256


@pytest.mark.parametrize("key", sorted(PROCESS.keys() - {"kind", "pid"}))
@pytest.mark.parametrize("how", ["missing", "null"])
def test_what_a_process_line_leaves_out_is_unknown(key: str, how: str) -> None:
    line = copy.deepcopy(PROCESS)
    line[key] = None
    if how == "missing":
        del line[key]
    snapshot = read(HOST, SCOPE, line)
    process = snapshot.by_pid[812]
    assert getattr(process, key) is None
    assert snapshot.read(process, key) is None
    # Whatever is missing, it can be ranked.
    Ranker(SHIPPED, snapshot.host).rank(snapshot)


def test_a_limit_of_a_scope_is_none_unless_it_is_named_as_unreadable() -> None:
    named = SCOPE | {"unreadable": ["memory_max"]}
    assert read(HOST, SCOPE).scope(SCOPE["cgroup"]).get("memory_max") == NO_LIMIT  # type: ignore[union-attr]
    assert read(HOST, named).scope(SCOPE["cgroup"]).get("memory_max") is None  # type: ignore[union-attr]
    limited = SCOPE | {"memory_max": 4096 * 5}
    assert value(read(HOST, limited, PROCESS), 812, "unit.memory_max") == 5


def test_names_of_users_and_groups_come_with_the_host() -> None:
    host = HOST | {"users": {"0": "root", "5": "anna"}, "groups": {"7": "staff"}}
    snapshot = read(host, PROCESS | {"uid": 5, "gid": 7}, PROCESS | {"pid": 3, "uid": 6, "gid": 6})
    assert (value(snapshot, 812, "user"), value(snapshot, 812, "group")) == ("anna", "staff")
    assert (value(snapshot, 3, "user"), value(snapshot, 3, "group")) == ("6", "6")


def test_the_recorder_s_own_process_is_no_candidate() -> None:
    assert read(HOST, PROCESS | {"self": True}).own_pids == {812}
    assert read(HOST, PROCESS | {"self": False}).own_pids == frozenset()


# --- what cannot be right ------------------------------------------------------------


def short(wrong: Any) -> str:
    """Name a value in the name of a test."""
    return repr(wrong)[:20]


WRONG_IN_HOST: dict[str, list[Any]] = {
    "uptime": [None, "5", -1, True, [], 10**400],
    "page_size": [None, 0, -4096, "4096", 4096.0, True],
    "clock_ticks": [None, 0, "100", 1.5],
    "mem_total": [None, -1, "8", 10**30],
    "swap_total": [-1, "0", 0.5, 10**30],
    "time": [5],
    "kernel": [["6.1"]],
    "users": [{"root": "0"}, ["root"], "root", 5],
    "groups": [{"x": "y"}, 5],
}
WRONG_IN_SCOPE: dict[str, list[Any]] = {
    "memory": ["5", -1, 1.5, True],
    "memory_max": ["max", -1, []],
    "memory_high": [1.5],
    "swap": [-1],
    "oom_kills": [-1, "0"],
    "pressure": ["0", True, [], -1, 10**400],
    "properties": [[], "x", 5],
    "unreadable": ["memory_max", 5, {}],
}
WRONG_IN_PROCESS: dict[str, list[Any]] = {
    "pid": [None, 0, -1, "812", 812.0, True, 2**31],
    "ppid": ["1", 1.5],
    "comm": [5, ["sshd"], {}],
    "exe": [5],
    "state": [5],
    "cgroup": [5, ["/"]],
    "cmdline": ["sshd -D", [5], [None], {"0": "sshd"}],
    "uid": ["0", 0.0, False],
    "nice": ["0"],
    "utime": [-1, 1.5, 2**64],
    "stime": [-1],
    "starttime": [-5],
    "total_vm": [-1, "3853"],
    "rss": [-1, 2**70],
    "swap": [-1],
    "flags": [-1],
    "oom_score_adj": ["-1000"],
    "capabilities": [5, "xyz", "", "-1", "0x1ff ff"],
}
WRONG: dict[str, tuple[list[Any], int, str]] = {
    "nothing": ([], 1, "empty"),
    "nothing but empty lines": (["", ""], 2, "empty"),
    "no JSON": ([HOST, "{pid: 5}"], 2, "JSON"),
    "half a line": ([HOST, json.dumps(PROCESS)[:50]], 2, "JSON"),
    "two objects on a line": ([HOST, json.dumps(PROCESS) * 2], 2, "JSON"),
    "a number that is none": ([HOST, '{"kind":"process","pid":5,"rss":NaN}'], 2, "NaN"),
    "an infinite number": ([HOST, '{"kind":"process","pid":5,"rss":Infinity}'], 2, "Infinity"),
    "a deep line": ([HOST, "[" * 100_000], 2, "JSON"),
    "a list for a line": ([HOST, "[]"], 2, "object"),
    "a text for a line": ([HOST, '"host"'], 2, "object"),
    "nothing for a line": ([HOST, "null"], 2, "object"),
    "a byte order mark": (["\ufeff" + json.dumps(HOST)], 1, "JSON"),
    "no host": ([PROCESS], 1, "host"),
    "the host too late": ([SCOPE, HOST], 1, "host"),
    "two hosts": ([HOST, HOST], 2, "second host"),
    "no schema": ([{**HOST, "schema": None}], 1, "schema"),
    "another schema": ([HOST | {"schema": "oomrules.snapshot/2"}], 1, "oomrules.snapshot/2"),
    "a line of no kind": ([HOST, {"pid": 5}], 2, "kind"),
    "a kind that is no text": ([HOST, {"kind": 5}], 2, "kind"),
    **{
        f"the host's {key} is {short(wrong)}": ([HOST | {key: wrong}], 1, key)
        for key, values in WRONG_IN_HOST.items()
        for wrong in values
    },
    "an uptime beyond all numbers": (
        [json.dumps(HOST).replace("5000.25", "1e999")],
        1,
        "uptime",
    ),
    "a scope without a group": ([HOST, {"kind": "scope"}], 2, "cgroup"),
    "a scope whose group is a number": ([HOST, SCOPE | {"cgroup": 5}], 2, "cgroup"),
    "a scope twice": ([HOST, SCOPE, SCOPE], 3, "second time"),
    **{
        f"a scope's {key} is {short(wrong)}": ([HOST, SCOPE | {key: wrong}], 2, key)
        for key, values in WRONG_IN_SCOPE.items()
        for wrong in values
    },
    "a pressure beyond all numbers": (
        [HOST, json.dumps(SCOPE).replace('"pressure": 0.0', '"pressure": 1e999')],
        2,
        "pressure",
    ),
    "a property that is a list": ([HOST, SCOPE | {"properties": {"A": []}}], 2, "A"),
    "a process twice": ([HOST, PROCESS, PROCESS], 3, "812"),
    **{
        f"a process's {key} is {short(wrong)}": ([HOST, PROCESS | {key: wrong}], 2, key)
        for key, values in WRONG_IN_PROCESS.items()
        for wrong in values
    },
}


@pytest.mark.parametrize("case", WRONG)
def test_a_line_that_cannot_be_right_is_named(case: str) -> None:
    lines, number, word = WRONG[case]
    with pytest.raises(Failure) as failure:
        read(*lines)
    assert failure.value.message.startswith(f"snap:{number}: ")
    assert word in failure.value.message
    assert len(failure.value.message) < 300
    assert failure.value.hint and "oomrules snapshot" in failure.value.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing", None),
        ("directory", ...),
        ("binary", b"\x7fELF\xff\xfe"),
        ("latin", b'{"a":"\xe4"}'),
    ],
)
def test_a_file_that_is_no_snapshot_is_named(name: str, content: Any, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is ...:
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(Failure, match=re.escape(str(path))):
        recorded.load(str(path))


# --- random damage -------------------------------------------------------------------

VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.lists(st.integers() | st.text(max_size=3), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2)
    | st.integers(min_value=-(2**70), max_value=2**70)
)
KEYS = st.sampled_from([(n, key) for n, line in enumerate((HOST, SCOPE, PROCESS)) for key in line])
RULES = compiler.compile_texts(
    [
        RuleText(
            "f",
            "score total_vm / root(cpu_time / 8192ms) / root(root(run_time / 1024s))\n"
            "prefer anything when nice > 0 and rss + swap > 25%\n"
            'never kill user "x" with RAWIO\nspare anything when unit.pressure > 5%\n'
            "spare anything when unit.memory + unit.swap > unit.memory_max or pgtables > 1MiB\n"
            'spare anything when cmdline ~ "x" or unit.oom_policy == "stop" or tty == ""\n'
            'in "*.service": kill last comm "sshd" when threads > 5\n',
        )
    ]
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_random_snapshot_is_refused_with_its_line_or_can_be_ranked(
    damage: dict[tuple[int, str], Any],
) -> None:
    lines = copy.deepcopy([HOST, SCOPE, PROCESS])
    for (number, key), wrong in damage.items():
        lines[number][key] = wrong
    try:
        snapshot = read(*lines)
    except Failure as failure:
        assert re.match(r"snap:[123]: ", failure.message)
        return
    ranking = Ranker(RULES, snapshot.host).rank(snapshot)
    for process in snapshot.by_pid.values():
        verdict = ranking.verdict(process)
        assert (process in ranking.candidates) == verdict.candidate


def test_what_a_process_made_unknown_is_told_from_what_is_unknown() -> None:
    said = PROCESS | {"cmdline": None, "exe": None, "self_made": ["cmdline"]}
    process = read(HOST, said).by_pid[812]
    assert process.cmdline is SELF_MADE
    assert process.exe is None


@pytest.mark.parametrize("wrong", ["cmdline", ["pid"], ["uid"], [5], {"cmdline": 1}, [["cmdline"]]])
def test_nobody_makes_anything_else_unknown(wrong: Any) -> None:
    with pytest.raises(Failure, match="self_made"):
        read(HOST, PROCESS | {"self_made": wrong})


def test_a_long_command_line_is_cut_as_it_is_where_it_is_read() -> None:
    words = ["x" * 3000, "\u65e5" * 3000]
    process = read(HOST, PROCESS | {"cmdline": words}).by_pid[812]
    assert process.cmdline == bounded("\0".join(words).encode())
    assert value(read(HOST, PROCESS | {"cmdline": ["a", "", "b"]}), 812, "cmdline") == "a  b"
