"""What tells a container's processes, and a few of a user's, by more than their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oomrules.language import compiler, rulefiles
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.processes.procfs import ProcSource
from oomrules.processes.values import GETTERS
from oomrules.program.program import Program
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.ranker import Ranker
from oomrules.ranking.verdict import Why
from oomrules.resources import rules

MANAGER = b"0::/user.slice/user-1000.slice/user@1000.service/init.scope\n"
SHIPPED = compiler.compile_rules(rulefiles.given([str(rules())]))


def program(text: str) -> Program:
    return compiler.compile_texts([RuleText("f.oom", text)])


@pytest.fixture
def source_of(proc: Any) -> Iterator[Callable[[Program], ProcSource]]:
    made: list[ProcSource] = []

    def open_source(program_: Program) -> ProcSource:
        made.append(ProcSource(program_, root=str(proc.root)))
        return made[-1]

    yield open_source
    for source in made:
        source.close()


@pytest.mark.parametrize(
    ("line", "depth"),
    [
        (b"NSpid:\t70\n", 0),
        (b"NSpid:\t70\t1\n", 1),
        (b"NSpid:\t70\t12\t1\n", 2),
        # A kernel without pid namespaces has none.
        (b"", 0),
    ],
)
@pytest.mark.parametrize("asked", [True, False])
def test_the_namespaces_of_a_process_are_those_below_this_one(
    proc: Any, source_of: Callable[[Program], ProcSource], line: bytes, depth: int, asked: bool
) -> None:
    directory = proc.add(70)
    status = directory / "status"
    status.write_bytes(status.read_bytes() + line)
    source = source_of(program("prefer anything when pid_depth > 0" if asked else ""))
    process = source.refresh().by_pid[70]
    assert GETTERS["pid_depth"](process, source) == depth


def test_a_container_s_root_is_known_whatever_its_control_group_is_called(
    proc: Any, source_of: Callable[[Program], ProcSource]
) -> None:
    for pid, line in ((70, b"NSpid:\t70\n"), (71, b"NSpid:\t71\t9\n")):
        directory = proc.add(pid, b"sshd", cgroup=b"0::/default/0a1b\n", start=pid)
        status = directory / "status"
        status.write_bytes(status.read_bytes() + line)
    source = source_of(SHIPPED)
    assert Ranker(SHIPPED, source.host).rank(source.refresh()).pids == [71]


def test_an_old_record_that_does_not_tell_is_in_doubt_and_protects() -> None:
    host = {"kind": "host", "schema": recorded.SCHEMA, "page_size": 4096, "clock_ticks": 100}
    host |= {"uptime": 5000, "mem_total": 2**30}
    process = {"kind": "process", "pid": 7, "comm": "sshd", "uid": 0, "euid": 0, "state": "S"}
    process |= {"total_vm": 1000, "cgroup": "/default/0a1b", "starttime": 1, "capabilities": "0"}
    process |= {"utime": 0, "stime": 0, "rss": 9, "nice": 0, "threads": 1, "oom_score_adj": 0}
    for depth, why in ((None, Why.NEVER_IN_DOUBT), (0, Why.NEVER), (1, Why.CANDIDATE)):
        more = {} if depth is None else {"pid_depth": depth}
        world = recorded.parse([json.dumps(host), json.dumps(process | more)], "a host")
        assert GETTERS["pid_depth"](world.by_pid[7], world) == depth
        assert Evaluator(SHIPPED, world.host).judge(world.by_pid[7], world).why is why


def test_processes_of_a_unit_are_counted_at_each_refresh_with_those_below(
    proc: Any, source_of: Callable[[Program], ProcSource]
) -> None:
    made = program("score total_vm\nnever kill anything when unit.processes <= 2")
    source = source_of(made)
    ranker = Ranker(made, source.host)
    proc.add(70, cgroup=MANAGER)
    proc.add(71, cgroup=MANAGER.replace(b"scope", b"scope/below"))
    proc.add(72, cgroup=b"0::/user.slice/user-1000.slice/session-1.scope\n")
    assert ranker.rank(source.refresh()).pids == []
    proc.add(73, cgroup=MANAGER.replace(b"scope", b"scope/below/x.service"))
    assert set(ranker.rank(source.refresh()).pids) == {70, 71, 73}
    proc.remove(71)
    assert ranker.rank(source.refresh()).pids == []


def test_no_more_user_managers_are_protected_than_there_are(
    proc: Any, source_of: Callable[[Program], ProcSource]
) -> None:
    source = source_of(SHIPPED)
    ranker = Ranker(SHIPPED, source.host)
    proc.add(100, b"systemd", uid=1000, cgroup=MANAGER, start=1)
    proc.add(101, b"(sd-pam)", uid=1000, cgroup=MANAGER, start=2)
    assert ranker.rank(source.refresh()).pids == [101]
    for pid in range(200, 260):
        proc.add(pid, b"systemd", uid=1000, cgroup=MANAGER, start=pid)
    assert len(ranker.rank(source.refresh()).pids) == 62
    for pid in range(200, 260):
        proc.remove(pid)
    assert ranker.rank(source.refresh()).pids == [101]
