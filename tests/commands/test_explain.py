"""``oomrules explain``: the way of one process from its base to its rank."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.processes import ordinary

Run = Callable[..., Any]
Write = Callable[..., Path]


@pytest.fixture
def explain(oomrules: Run, recorded: Path, root: Path) -> Run:
    """Explain a process of the recorded host by the shipped rules."""
    return lambda pid, *more: oomrules(
        "explain", pid, "--snapshot", recorded, "--root", root, *more
    )


RULES = """\
score total_vm / root(cpu_time / 8192ms)

prefer niced by 3
spare user "anna" when rss >= 16MiB
kill first comm "make"
spare anything by 1.5
prefer uid 0
"""


def test_the_way_is_shown_rule_by_rule_with_places_factors_and_points(
    oomrules: Run, recorded: Path, rules: Write
) -> None:
    path = rules(RULES)
    done = oomrules("explain", 901, "--snapshot", recorded, "--rules", path)
    assert done.code == 0
    assert done.err.startswith("note: uid of 1 process: it was not recorded")
    assert done.out.splitlines()[0] == "901 make, user anna, unit session-2.scope"
    values, _, points = done.out.partition("\npoints:\n")
    assert values.splitlines()[1:] == [
        '  comm = "make"',
        "  cpu_time = 120 ms",
        "  nice = 10",
        "  rss = 5000 pages (19.5 MiB)",
        "  total_vm = 20000 pages (78.1 MiB)",
        "  uid = 1000",
        '  user = "anna"',
    ]
    rows = {
        line.rstrip().rpartition(":")[2]: line for line in points.splitlines() if str(path) in line
    }
    assert set(rows) == {"1", "3", "4", "5", "6"}
    assert "prefer uid 0" not in points
    for number, text in enumerate(RULES.splitlines(), 1):
        if str(number) in rows:
            assert text in rows[str(number)]
    assert rows["1"].split()[0] == "20000"
    assert rows["3"].split()[0] == "x3"
    assert rows["4"].split()[0] == "/4"
    assert rows["5"].split()[0] == "first:"
    assert "base 20000 x weight 1/2 = 10000 points, tier first" in points
    assert points.rstrip().endswith("rank 1 of 8")


def test_the_points_after_the_last_rule_are_the_points(
    oomrules: Run, recorded: Path, rules: Write
) -> None:
    path = rules("score rss\nprefer uid 1000 by 3\nspare uid 1000 by 7\nprefer uid 1000 by 1.1\n")
    done = oomrules("explain", 908, "--snapshot", recorded, "--rules", path)
    lines = [line for line in done.out.splitlines() if str(path) in line]
    after = [int(line.split()[0 if number == 0 else 1]) for number, line in enumerate(lines)]
    # 5 x 33/70, rounded down once and not at each step.
    assert after[0] == 5 and after[-1] == 2
    assert "5 x weight 33/70 = 2 points" in done.out


def test_the_rank_is_that_of_rank(explain: Run) -> None:
    ranks = {907: 1, 902: 2, 901: 3, 900: 4, 903: 5, 908: 6}
    for pid, rank in ranks.items():
        done = explain(pid)
        assert done.code == 0
        assert done.out.rstrip().endswith(f"rank {rank} of 6")


def test_a_protected_process_has_its_rule_and_what_it_would_be_without(explain: Run) -> None:
    done = explain(812)
    assert done.code == 1
    assert "no candidate: never killed" in done.out
    assert (
        "  never kill oom_score_adj -1000 when uid < 1000 or cap(SYS_RESOURCE)\n  at " in done.out
    )
    assert "20-protect.oom:" in done.out
    assert "without that rule it would be:" in done.out
    assert "base 3853 x weight 1/16 = 240 points" in done.out
    assert "rank" not in done.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("pid", "reason"),
    [
        (1, "the init process"),
        (2, "a kernel thread"),
        (904, "a zombie"),
        (905, "exiting already"),
        (906, "oomrules itself"),
    ],
)
def test_what_no_rule_can_kill_has_its_reason(pid: int, reason: str, explain: Run) -> None:
    done = explain(pid)
    assert done.code == 1
    assert f"no candidate: {reason}" in done.out
    assert "points" not in done.out


def test_what_is_unknown_is_said_and_that_it_protects(explain: Run) -> None:
    done = explain(909)
    assert done.code == 1
    assert "never killed, in doubt" in done.out
    assert "uid = unknown, so in doubt it protects the process" in done.out
    assert "spare superuser (in doubt)" in done.out


def test_a_unit_that_is_unknown_is_not_called_none(explain: Run) -> None:
    assert "in no unit" not in explain(909).out.splitlines()[0]
    assert "in no unit" in explain(2).out.splitlines()[0]


def test_a_score_that_is_unknown_has_its_reason(
    oomrules: Run, recorded: Path, rules: Write
) -> None:
    path = rules("score anon\n")
    done = oomrules("explain", 901, "--snapshot", recorded, "--rules", path)
    assert done.code == 1
    assert "no candidate: its score is unknown" in done.out


def test_no_points_is_a_reason(oomrules: Run, recorded: Path, rules: Write) -> None:
    path = rules("score rss / 1GiB\n")
    done = oomrules("explain", 901, "--snapshot", recorded, "--rules", path)
    assert done.code == 1
    assert "no candidate: its score is 0 or less" in done.out
    assert "base 0 x weight 1 = 0 points" in done.out


def test_only_kill_is_a_reason_with_its_rule(oomrules: Run, recorded: Path, rules: Write) -> None:
    path = rules('score rss\nin user.slice: only kill comm "firefox"\n')
    done = oomrules("explain", 901, "--snapshot", recorded, "--rules", path)
    assert done.code == 1
    assert "outside what may be killed" in done.out and f"at {path}:2" in done.out
    assert oomrules("explain", 902, "--snapshot", recorded, "--rules", path).code == 0
    assert oomrules("explain", 900, "--snapshot", recorded, "--rules", path).code == 0


def test_the_score_of_the_innermost_block_is_the_one_that_is_shown(
    oomrules: Run, recorded: Path, rules: Write
) -> None:
    path = rules(
        "score rss\nin user.slice {\n score total_vm\n in user unit app.slice: score threads\n}\n"
    )
    for pid, row in {
        900: "50000  score rss",
        901: "20000  in user.slice: score total_vm",
        902: "80  in user.slice: in user unit app.slice: score threads",
    }.items():
        assert row in oomrules("explain", pid, "--snapshot", recorded, "--rules", path).out


def test_a_pid_that_is_not_there_is_a_failure(explain: Run, oomrules: Run, recorded: Path) -> None:
    done = explain(4242)
    assert (done.code, done.out) == (2, "")
    assert f"there is no process 4242 in {recorded}" in done.err
    done = oomrules("explain", 2**31)
    assert done.code == 2 and "on this host" in done.err


@pytest.mark.parametrize("pid", ["sshd", "", "1.5", "0x10"])
def test_a_pid_is_a_number(pid: str, oomrules: Run) -> None:
    done = oomrules("explain", pid)
    assert done.code == 2 and "PID" in done.err


def test_a_name_cannot_reach_the_terminal(explain: Run) -> None:
    out = explain(908).out
    assert "\x1b" not in out
    assert out.splitlines()[0].startswith("908 evil")


def test_a_process_of_this_host_is_explained(oomrules: Run, child: Any, root: Path) -> None:
    done = oomrules("explain", child.pid, "--root", root)
    assert done.code == 0
    assert done.out.startswith(f"{child.pid} ")
    assert "rank " in done.out.splitlines()[-1]
    done = oomrules("explain", os.getpid(), "--root", root)
    assert done.code == 1 and "oomrules itself" in done.out


def test_the_ancestors_are_shown_and_by_which_of_them_a_rule_holds(
    oomrules: Run, rules: Write, tmp_path: Path
) -> None:
    host = {"clock_ticks": 100, "uptime": 100, "mem_total": 2**33, "users": {"0": "root"}}
    session = "/user.slice/user-1000.slice/session-1.scope"
    lines = [
        {"kind": "host", "schema": "oomrules.snapshot/1", "page_size": 4096, **host},
        {"kind": "scope", "cgroup": "/user.slice/user-1000.slice", "memory": 3 << 30},
        ordinary.process_line(1, ppid=0, comm="systemd", uid=0, starttime=1),
        ordinary.process_line(10, ppid=1, comm="sshd", uid=0, starttime=1),
        ordinary.process_line(11, ppid=10, comm="\x1b[2Jbash", starttime=1, cgroup=session),
        ordinary.process_line(12, ppid=11, comm="make", starttime=1, cgroup=session),
        ordinary.process_line(13, ppid=77, comm="orphan", starttime=1, exe=None),
    ]
    snapshot = tmp_path / "host.jsonl"
    snapshot.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    path = rules(
        'score rss\nprefer anything under uid 0 comm "sshd"\nspare anything not child of nice 19\n'
        'in "user-*.slice": prefer anything when scope.memory > 2GiB by 3\n'
    )
    done = oomrules("explain", 12, "--snapshot", snapshot, "--rules", path)
    assert "  ancestors: 11 " in done.out and "bash, 10 sshd, 1 systemd\n" in done.out
    assert "\x1b" not in done.out
    assert "  scope.memory of user-1000.slice = 786432 pages (3.0 GiB)\n" in done.out
    assert 'prefer anything under uid 0 comm "sshd" (under 10 sshd) ' in done.out
    assert "child of 11" not in done.out
    orphan = oomrules("explain", 13, "--snapshot", snapshot, "--rules", path).out
    assert "its own doing, which protects no process:\n  its parent" in orphan
