"""Processes that change without an exec are looked at anew in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from oomrules.processes import turns
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranker
from tests.processes.support import (
    NOTHING,
    field,
    needs_root,
    program,
)

# --- what changes without a new process ----------------------------------------------


def advance(proc: Any, seconds: float) -> None:
    uptime = float((proc.root / "uptime").read_text().split()[0])
    (proc.root / "uptime").write_text(f"{uptime + seconds:.2f} 1.0\n")


def changed(proc: Any, pid: int) -> None:
    """Let a process become another user's, in another group, with another adjustment."""
    proc.add(pid, uid=77, adj=500, cgroup=b"0::/new.scope\n", capabilities=7, exe="/new")


def told(source: ProcSource, pid: int) -> list[Any]:
    return [field(source, pid, name) for name in ("uid", "oom_score_adj", "cgroup", "capabilities")]


OLD, NEW = [0, 0, "/x.service", 0], [77, 500, "/new.scope", 7]


@pytest.mark.parametrize(
    ("number", "seconds", "refreshes"), [(20, 30, 1), (20, 1, 2), (600, 30, 10), (600, 300, 1)]
)
def test_everybody_s_identity_is_read_anew_within_five_minutes(
    number: int, seconds: int, refreshes: int, proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if number > 20:
        # What is read of a few in any case would be enough for these.
        monkeypatch.setattr(turns, "_LEAST", 0.0)
    pids = range(1000, 1000 + number)
    for pid in pids:
        proc.add(pid)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    assert all(told(source, pid) == OLD for pid in pids)
    for pid in pids:
        changed(proc, pid)
    for _ in range(refreshes):
        advance(proc, seconds)
        source.refresh()
    assert all(told(source, pid) == NEW for pid in pids)
    source.close()


def test_refreshes_one_after_the_other_read_hardly_anybody_anew(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in range(1000, 2000):
        proc.add(pid)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    for pid in range(1000, 2000):
        told(source, pid)
    read = Mock(wraps=source.read)
    monkeypatch.setattr(source, "read", read)
    for _ in range(100):
        advance(proc, 0.02)
        source.refresh()
    # Two seconds have passed: ten processes each, of three files.
    assert 10 * 3 <= read.call_count <= 2 * 10 * 3
    source.close()


def test_at_a_reload_everybody_is_looked_at(proc: Any) -> None:
    for pid in range(1000, 2000):
        proc.add(pid)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    for pid in range(1000, 2000):
        assert told(source, pid) == OLD
        changed(proc, pid)
    source.refresh()
    assert told(source, 1999) == OLD
    source.look_anew()
    source.refresh()
    assert all(told(source, pid) == NEW for pid in range(1000, 2000))
    source.close()


def test_a_change_makes_the_rules_decide_anew(proc: Any) -> None:
    made = program("never kill uid 0\nscore total_vm")
    proc.add(7)
    source = ProcSource(made, root=str(proc.root)).refresh()
    ranker = Ranker(made, source.host)
    assert ranker.rank(source).pids == []
    changed(proc, 7)
    advance(proc, 1)
    assert ranker.rank(source.refresh()).pids == [7]
    source.close()


@needs_root
def test_a_process_that_becomes_another_user_s_is_seen_as_his(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    assert field(source, child.pid, "uid") == 0
    child.do("os.setresuid(65534, 65534, 65534)")
    source.look_anew()
    source.refresh()
    assert field(source, child.pid, "uid") == 65534
    assert field(source, child.pid, "capabilities") == 0
