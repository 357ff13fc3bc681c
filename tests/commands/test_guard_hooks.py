"""Hooks of the guard: which may run, what they are told, and that none runs longer than it may."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.commands.parts import hooks
from oomrules.kills import guarded

Add = Callable[..., Path]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """Make a hook."""
    (tmp_path / "hooks.d").mkdir(mode=0o755)

    def make(name: str, does: str = "exit 0", mode: int = 0o755) -> Path:
        path = tmp_path / "hooks.d" / name
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(mode)
        return path

    return make


def found(folder: Path) -> tuple[list[str], list[str]]:
    problems: list[str] = []
    paths = [os.path.basename(path) for path in hooks.found(str(folder / "hooks.d"), problems)]
    return paths, problems


@pytest.mark.parametrize(
    ("name", "mode", "why"),
    [
        ("10-mine", 0o755, ""),
        ("mine.sh", 0o700, ""),
        ("open", 0o777, "others may write to it"),
        ("group", 0o775, "others may write to it"),
        ("data", 0o644, "it is not executable; `chmod +x"),
        ("a b", 0o755, "other characters"),
        ("$(x)", 0o755, "other characters"),
        ("\x1b]0;x", 0o755, "other characters"),
    ],
)
def test_only_a_hook_that_nobody_else_can_change_runs(
    name: str, mode: int, why: str, add: Add, tmp_path: Path
) -> None:
    add(name, mode=mode)
    names, problems = found(tmp_path)
    assert names == ([] if why else [name])
    assert [why in problem and problem.isprintable() for problem in problems] == (
        [True] if why else []
    )


def test_what_editors_and_packages_leave_is_passed_over(add: Add, tmp_path: Path) -> None:
    for name in ("a~", ".a.swp", "a.dpkg-old", "a.rpmnew", "a.disabled"):
        add(name)
    assert found(tmp_path) == ([], [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_hook_of_another_user_is_refused(add: Add, tmp_path: Path) -> None:
    os.chown(add("theirs"), 61234, 61234)
    names, (problem,) = found(tmp_path)
    assert names == [] and "it belongs to uid 61234" in problem


def test_a_directory_that_others_may_write_to_is_refused(add: Add, tmp_path: Path) -> None:
    add("mine")
    (tmp_path / "hooks.d").chmod(0o777)
    names, (problem,) = found(tmp_path)
    assert names == [] and "everybody may write to" in problem


def test_a_link_counts_as_what_it_leads_to(add: Add, tmp_path: Path) -> None:
    target = add("target")
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    moved = target.rename(tmp_path / "elsewhere" / "target")
    (tmp_path / "hooks.d" / "link").symlink_to(moved)
    assert found(tmp_path) == (["target"], [])
    (tmp_path / "elsewhere").chmod(0o777)
    assert found(tmp_path)[0] == []


def test_there_are_only_so_many(add: Add, tmp_path: Path) -> None:
    for number in range(30):
        add(f"hook-{number:02}")
    names, (problem,) = found(tmp_path)
    assert len(names) == 16 and "30 hooks" in problem


def test_none_is_no_problem(tmp_path: Path) -> None:
    assert found(tmp_path) == ([], [])


@given(comm=st.text(max_size=50))
def test_variables_are_harmless_and_the_json_is_exact(comm: str) -> None:
    act = guarded.Act(
        kind="killed", pid=4711, uid=7, comm=comm, host={"available": 5, "stall": 1400}
    )
    event = {"event": "killed", "message": guarded.sentence(act), "fields": guarded.fields(act)}
    environment, said = hooks.told(event)
    assert all("\0" not in value and value.isprintable() for value in environment.values())
    data = json.loads(said)
    assert (data["comm"], data["pid"], data["uid"]) == (comm, 4711, 7)
    assert (data["host_available"], data["host_stall"], data["won"]) == (5, 14.0, None)
    assert data["guard"] == ""


def test_a_name_that_looks_like_a_number_stays_a_text() -> None:
    act = guarded.Act(kind="killed", pid=1, comm="123")
    _, said = hooks.told({"event": "killed", "message": "", "fields": guarded.fields(act)})
    assert json.loads(said)["comm"] == "123"


def ends(pid: int) -> bool:
    """Wait for the end of a process, which its new parent may not have collected yet."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_hook_that_hangs_ends_with_all_that_it_started(add: Add, tmp_path: Path) -> None:
    path = add("hangs", f"sleep 600 & echo $! > {tmp_path}/pid\nwait")
    begun = time.monotonic()
    assert "took longer than 1 s" in hooks.run_here(str(path), {"PATH": os.environ["PATH"]}, b"", 1)
    assert time.monotonic() - begun < 60
    pid = int((tmp_path / "pid").read_text())
    assert ends(pid)


def test_what_a_hook_leaves_in_the_background_ends_with_it(add: Add, tmp_path: Path) -> None:
    path = add("leaves", f"sleep 600 & echo $! > {tmp_path}/pid")
    assert hooks.run_here(str(path), {"PATH": os.environ["PATH"]}, b"") == ""
    pid = int((tmp_path / "pid").read_text())
    assert ends(pid)


def test_a_hook_that_is_gone_or_no_program_is_said(add: Add, tmp_path: Path) -> None:
    path = add("text")
    path.write_text("#!/nonexistent/interpreter\n")
    assert "cannot be started" in hooks.run_here(str(path), {}, b"")
    path.unlink()
    assert "cannot be started" in hooks.run_here(str(path), {}, b"")
