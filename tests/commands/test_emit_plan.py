"""``emit --to oom_score_adj`` and ``release``: what they show, what they write, what they undo."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.commands import emit
from oomrules.processes.snapshot import Process
from oomrules.ranking.kernel_badness import Domain, Task
from oomrules.sinks.oom_score_adj import record, survey, write
from oomrules.sinks.oom_score_adj.survey import Survey
from oomrules.state import ADJUSTMENTS

Run = Callable[..., Any]
Write = Callable[..., Path]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of the test's own."""
    path = tmp_path / "state"
    monkeypatch.setenv("OOMRULES_STATE", str(path))
    return path


@pytest.fixture
def plan(oomrules: Run, recorded: Path, root: Path, state: Path) -> Run:
    """Plan for the recorded host by the shipped rules."""
    return lambda *arguments: oomrules(
        *("emit", "--to", "oom_score_adj", "--snapshot", recorded, "--root", root, *arguments)
    )


@pytest.fixture
def mine(
    oomrules: Run, rules: Write, state: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Adjust the children of this test and nobody else: all others are protected by a rule,

    and as if without CAP_SYS_RESOURCE no protected process is ever touched.
    """
    monkeypatch.setattr(survey, "may_lower", lambda *_: False)
    path = rules(f"score total_vm\nonly kill anything when ppid == {os.getpid()}\n")
    return lambda *arguments: oomrules("emit", "--to", "oom_score_adj", "--rules", path, *arguments)


def value_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


# --- the plan ----------------------------------------------------------------------------


def test_a_dry_run_shows_ranks_values_and_claims_and_writes_nothing(plan: Run, state: Path) -> None:
    done = plan("--dry-run")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0] == ["RANK", "PID", "UNIT", "SIZE", "ADJ", "TO", "COMMAND", "WHY"]
    assert [row[1] for row in rows[1:7]] == ["907", "902", "901", "900", "903", "908"]
    assert "the host: 6 candidates in order" in done.out
    # A control group with a limit runs out by itself.
    assert "system.slice: 3 candidates in order" in done.out
    assert not state.exists()


def test_a_dry_run_shows_a_plan_by_which_the_kernel_would_choose_that_order(plan: Run) -> None:
    rows = [line.split() for line in plan("--dry-run").out.splitlines()[1:7]]
    total = 8589934592 // 4096
    assert [row[0] for row in rows] == list("123456")

    def pages(number: str, unit: str) -> float:
        return float(number) * {"KiB": 1, "MiB": 1024, "GiB": 1024**2}[unit] / 4

    points = [pages(row[3], row[4]) + int(row[6]) * (total // 1000) for row in rows]
    # The sizes are rounded to a tenth; the margin is a hundredth of the whole.
    assert all(one >= other + total // 200 for one, other in itertools.pairwise(points))


def test_head_says_how_many_are_put_in_order(plan: Run) -> None:
    done = plan("--dry-run", "--head", 2)
    assert "the host: the first 2 of 6 candidates in order" in done.out
    assert "the 4 behind them as the kernel counts" in done.out


def test_with_nobody_to_kill_it_says_so(
    oomrules: Run, recorded: Path, rules: Write, state: Path
) -> None:
    never = rules("never kill anything\n")
    done = oomrules(
        *("emit", "--to", "oom_score_adj", "--dry-run"), "--snapshot", recorded, "--rules", never
    )
    assert done.code == 1
    assert "no process may be killed" in done.err
    assert "protected by a rule" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("snapshot", "--dry-run")),
        (("--dry-run", "--in", "user.slice"), ("--in", "--head")),
        (("--dry-run", "--top", "3"), ("--top", "--head")),
    ],
)
def test_what_makes_no_sense_is_refused(
    plan: Run, arguments: tuple[str, ...], words: tuple[str, ...], state: Path
) -> None:
    done = plan(*arguments)
    assert (done.code, done.out) == (2, "")
    assert all(word in done.err for word in words)
    assert not state.exists()


@pytest.mark.parametrize("option", [("--dry-run",), ("--head", "3")])
def test_its_options_are_refused_elsewhere(
    oomrules: Run, option: tuple[str, ...], recorded: Path
) -> None:
    done = oomrules("emit", "--to", "-", "--snapshot", recorded, *option)
    assert (done.code, done.out) == (2, "")
    assert option[0] in done.err and "oom_score_adj" in done.err


def test_whom_a_plan_only_makes_last_is_named_with_what_to_do() -> None:
    crowd = [Task(pid, pid, 300_000, 0, 0, uid=1000) for pid in (20, 21)]
    domains = [Domain("", 1_000_000, 20)]
    processes = {task.pid: Process(task.pid) for task in crowd}
    for process in processes.values():
        process.comm = "sim"
    survey = Survey([Task(10, 10, 90_000, 0, 0)], [], crowd, domains, processes, 4096, 0)
    plan = survey.plan()
    (said,) = emit.limits(survey, plan)
    assert "killed last instead of never" in said and "sim (20), sim (21)" in said
    assert "system user" in said
    (claim,) = emit.claims(plan.claims, survey)
    assert "protected by the rules but not from the kernel: sim (20), sim (21)" in claim


def test_release_says_whom_it_could_not_reach(
    oomrules: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.mkdir()
    record.save(str(state / ADJUSTMENTS), record.Record([], 1))
    names = {7: "a\x1b[2Jb in x.service"}
    done = write.Released([], [], {7: "it is so"}, names, [(8, "b")])
    monkeypatch.setattr(write, "release", lambda *_, **__: done)
    shown = oomrules("release")
    assert shown.code == 2
    assert "7 a\N{REPLACEMENT CHARACTER}[2Jb in x.service (it is so)" in shown.err
    assert "oomrules release" in shown.err
    assert "and keep it: b (8)" in shown.err


# --- this host ---------------------------------------------------------------------------


def test_the_children_of_a_test_are_put_in_order_and_released(
    mine: Run, oomrules: Run, spawn: Run, state: Path
) -> None:
    children = [spawn() for _ in range(3)]
    for number, child in enumerate(children):
        # Much is mapped, nothing of it used: the rules rank otherwise than the kernel.
        child.do(f"import mmap; m = mmap.mmap(-1, {number + 1} << 30)")
    pids = [child.pid for child in reversed(children)]
    before = {pid: value_of(pid) for pid in pids}
    others = {pid: value_of(pid) for pid in (os.getpid(), os.getppid())}
    done = mine()
    assert done.code == 0
    assert "3 candidates in order" in done.err
    assert "no value can be lowered here" in done.err
    scores = [int(Path(f"/proc/{pid}/oom_score").read_text()) for pid in pids]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 3
    # Rules go on seeing what was there before.
    shown = oomrules("release", "--dry-run")
    assert f"{pids[0]} " in shown.out and "would be restored" in shown.err
    assert value_of(pids[0]) != before[pids[0]]
    released = oomrules("release")
    assert released.code == 0
    assert {pid: value_of(pid) for pid in pids} == before
    assert {pid: value_of(pid) for pid in others} == others
    assert not (state / ADJUSTMENTS).exists()
    assert oomrules("release").err == "nothing is adjusted\n"


def test_the_ranking_goes_on_seeing_the_originals(
    mine: Run, oomrules: Run, child: Any, rules: Write
) -> None:
    before = value_of(child.pid)
    assert mine().code == 0
    assert value_of(child.pid) != before
    asks = rules(
        f"score 1\nonly kill pid {child.pid}\nprefer anything when oom_score_adj == {before}\n",
        "asks.oom",
    )
    shown = oomrules("rank", "--rules", asks, "--format", "json").data
    assert [one["weight"] for one in shown["candidates"]] == ["2"]
    assert oomrules("release").code == 0


def test_a_broken_record_is_named_and_nothing_is_changed(
    mine: Run, oomrules: Run, child: Any, state: Path, recorded: Path
) -> None:
    state.mkdir()
    (state / ADJUSTMENTS).write_text("{")
    before = value_of(child.pid)
    for done in (mine(), oomrules("release")):
        assert done.code == 2
        assert str(state / ADJUSTMENTS) in done.err
    assert value_of(child.pid) == before
    # Whoever only looks is told.
    assert ADJUSTMENTS in oomrules("rank", "--top", 1).err


def test_a_refusal_names_the_pid_and_keeps_the_rest(
    mine: Run, child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_write", lambda *_: "permission denied")
    done = mine()
    assert done.code == 2
    assert str(child.pid) in done.err and "permission denied" in done.err
    assert "CAP_SYS_RESOURCE" in done.err


def test_the_missing_module_is_not_the_end(oomrules: Run) -> None:
    if os.path.exists("/proc/oom"):
        pytest.skip("the kernel module is loaded here")
    assert "--to oom_score_adj" in oomrules("emit", "--to", "/proc/oom").err
