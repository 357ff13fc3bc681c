"""Processes that cannot be seen are counted: no fewer than is known, and never one too many."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.processes import hidden
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.hidden import Hidden, look, notes
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import make
from tests.children import CHECKOUT
from tests.fake_proc import FakeProc

NOTHING = make((), {})
Groups = Callable[..., Hierarchy]


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    """Make control groups by their path, with the pids that are in each."""
    top = tmp_path / "cgroup"
    mounts = tmp_path / "mounts"
    mounts.write_text(f"28 1 0:28 / {top} rw - cgroup2 cgroup2 rw\n")

    def make(**pids: str) -> Hierarchy:
        top.mkdir(exist_ok=True)
        for name, text in pids.items():
            group = top / name.replace("__", "/").replace("root", ".")
            group.mkdir(parents=True, exist_ok=True)
            (group / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in text.split()))
        return Hierarchy(str(mounts))

    return make


@pytest.fixture
def inside(proc: FakeProc) -> FakeProc:
    """A proc of the first pid namespace."""
    (proc.root / "self" / "ns").mkdir()
    (proc.root / "self" / "ns" / "pid").symlink_to("pid:[4026531836]")
    return proc


def test_who_is_in_a_control_group_and_not_in_proc_is_counted(
    inside: FakeProc, groups: Groups
) -> None:
    inside.add(7)
    found = look(str(inside.root), {7}, 0, groups(a="7 8", a__b="9", c=""))
    assert found == Hidden(0, 2, 0)
    assert found.processes == 2


def test_the_kernel_s_own_threads_are_not_missed(inside: FakeProc, groups: Groups) -> None:
    hierarchy = groups(root="2 3 4", a="7")
    assert look(str(inside.root), {7}, 0, hierarchy) == Hidden(0, 0, 0)
    # The first group of a container is like any other.
    assert hierarchy.unified
    Path(hierarchy.unified.mounts[0].point, "cgroup.events").write_text("populated 1\n")
    assert look(str(inside.root), {7}, 0, hierarchy) == Hidden(0, 3, 0)


def test_one_that_has_come_since_proc_was_listed_is_not_hidden(
    inside: FakeProc, groups: Groups
) -> None:
    inside.add(8)
    assert look(str(inside.root), set(), 0, groups(a="8")) == Hidden(0, 0, 0)


def test_one_that_ends_meanwhile_is_not_hidden(
    inside: FakeProc, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    hierarchy = groups(a="8 9")
    real = hidden._is_missing

    def ends(root: str, pid: int) -> bool:
        groups(a="9")
        return real(root, pid)

    monkeypatch.setattr(hidden, "_is_missing", ends)
    assert look(str(inside.root), set(), 0, hierarchy) == Hidden(0, 1, 0)


def test_a_number_that_is_cut_off_is_nobody_s(
    inside: FakeProc, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidden, "_MOST_BYTES", 5)
    inside.add(11)
    inside.add(1234)
    assert look(str(inside.root), {11, 1234}, 0, groups(a="11 1234")) == Hidden(0, 0, 0)


def test_of_another_pid_namespace_there_are_only_numbers_of_none(
    inside: FakeProc, groups: Groups
) -> None:
    hierarchy = groups(a="7 0 0", b="0")
    assert look(str(inside.root), {7}, 0, hierarchy) == Hidden(0, 0, 0)
    (inside.root / "self" / "ns" / "pid").unlink()
    (inside.root / "self" / "ns" / "pid").symlink_to("pid:[4026532999]")
    assert look(str(inside.root), {7}, 0, hierarchy) == Hidden(0, 0, 3)


def test_no_more_control_groups_are_looked_at_than_is_good(
    inside: FakeProc, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidden, "MOST_GROUPS", 5)
    hierarchy = groups(**{f"g{number}": str(100 + number) for number in range(20)})
    assert look(str(inside.root), set(), 0, hierarchy) == Hidden(0, 5, 0)


def test_without_control_groups_nothing_is_said(inside: FakeProc, tmp_path: Path) -> None:
    assert look(str(inside.root), set(), 0, Hierarchy(str(tmp_path / "none"))).processes == 0


def test_nobody_is_hidden_from_root_here() -> None:
    source = ProcSource(NOTHING).refresh()
    assert source.look_for_hidden() == Hidden(0, 0, source.hidden.elsewhere)
    source.close()


def test_who_can_be_listed_and_not_read_is_counted_and_not_lost_in_silence(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in (7, 8, 9):
        proc.add(pid)
    source = ProcSource(NOTHING, root=str(proc.root))
    real = os.open

    def deny(path: Any, *arguments: Any, **options: Any) -> int:
        if "/8/" in os.fsdecode(path):
            raise PermissionError(13, "denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", deny)
    source.refresh()
    assert (sorted(source.by_pid), source.refused) == ([7, 9], {8})
    assert source.look_for_hidden().refused == 1
    monkeypatch.undo()
    source.refresh()
    assert (sorted(source.by_pid), source.refused) == ([7, 8, 9], set())
    source.close()


def test_a_status_that_may_not_be_read_makes_its_figures_unknown(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in (7, 8):
        proc.add(pid, swap=40)
    made = NOTHING._replace(attributes=frozenset({"swap"}))
    source = ProcSource(made, root=str(proc.root)).refresh()
    real = os.open

    def deny(path: Any, *arguments: Any, **options: Any) -> int:
        if os.fsdecode(path).endswith("/8/status"):
            raise PermissionError(13, "denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", deny)
    for _ in range(3):
        source.refresh()
    # As often as it was looked at, it is one process.
    assert (source.by_pid[8].swap, source.unreadable) == (None, {"swap": 1})
    assert source.by_pid[7].swap
    monkeypatch.undo()
    shutil.rmtree(proc.root / "8")
    source.refresh()
    assert (list(source.by_pid), source.unreadable) == ([7], {})
    source.close()


def test_what_is_said_names_the_number_the_reason_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert notes(Hidden(), False) == []
    assert notes(Hidden(0, 2, 0), True) == [
        "2 processes cannot be seen and are in no list: /proc hides the processes of other users "
        "(hidepid); run as root to see them"
    ]
    # Where nothing tells how many there are, it is said that there may be some.
    assert notes(Hidden(), True) == [
        "/proc hides the processes of other users (hidepid); run as root to see them"
    ]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert notes(Hidden(), True) == []
    (said,) = notes(Hidden(1, 0, 0), False)
    assert said.startswith("1 process cannot be seen and is in no list: ")
    assert "CAP_SYS_PTRACE" in said
    assert len(notes(Hidden(1, 1, 1), False)) == 2


HIDDEN = """
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import make
source = ProcSource(make((), {})).refresh()
print(len(source.by_pid), source.hides_processes, *source.look_for_hidden())
"""


@pytest.mark.parametrize(
    ("option", "refused"), [("hidepid=1", 1), ("hidepid=2", 0), ("hidepid=4", 0), ("hidepid=0", 0)]
)
def test_a_proc_that_hides_is_noticed(option: str, refused: int, nobody: dict[str, Any]) -> None:
    """In a pid namespace with one more process, which is root's, seen by nobody."""
    assert nobody
    script = (
        f"mount -t proc -o {option} proc /proc && sleep 1000 & "
        f"until [ $(cat /proc/self/stat | cut -d ' ' -f 1) -lt 100 ]; do sleep 0.1; done; "
        'exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0" -c "$1"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, sys.executable, HIDDEN],
        env={"PYTHONPATH": CHECKOUT, "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    seen, hides, found, *_ = done.stdout.split()
    assert (hides, int(found)) == (str(option != "hidepid=0"), refused)
    assert int(seen) == (2 if option == "hidepid=0" else 1)
