"""``oomrules emit``: the list goes where it is wanted, or it says why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from oomrules import config, targets
from oomrules.config import Config
from oomrules.errors import Failure
from oomrules.sinks import kernel_list
from oomrules.sinks.kernel_list import KernelList, said
from oomrules.sinks.oom_score_adj.survey import HEAD

Run = Callable[..., Any]
Write = Callable[..., Path]

LIST = "907 902 901 900 903 908\n"

no_module = pytest.mark.skipif(kernel_list.is_there(), reason="the kernel module is loaded here")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of the test's own."""
    path = tmp_path / "state"
    monkeypatch.setenv("OOMRULES_STATE", str(path))
    return path


@pytest.fixture
def emit(oomrules: Run, recorded: Path, root: Path) -> Run:
    """Emit the list of the recorded host by the shipped rules."""
    return lambda *arguments: oomrules("emit", "--snapshot", recorded, "--root", root, *arguments)


def test_a_file_gets_the_list_in_the_format_of_the_kernel(emit: Run, tmp_path: Path) -> None:
    path = tmp_path / "list"
    done = emit("--to", path)
    assert (done.code, done.out) == (0, "")
    assert path.read_text() == LIST
    assert f"6 pids written to {path}" in done.err


def test_a_file_is_replaced_whole_and_keeps_its_mode(emit: Run, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("1 2 3 and a long tail that is gone afterwards, all of it\n")
    path.chmod(0o640)
    with path.open() as reader:
        assert emit("--to", path).code == 0
        assert reader.read().startswith("1 2 3 and")
    assert path.read_text() == LIST
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [name for name in os.listdir(tmp_path) if name.startswith("list")] == ["list"]


def test_a_dash_is_standard_output_with_nothing_but_the_list(emit: Run) -> None:
    done = emit("--to", "-")
    assert (done.code, done.out) == (0, LIST)
    assert all(line.startswith("note: ") for line in done.err.splitlines())


def test_emit_takes_the_options_of_rank(emit: Run) -> None:
    assert emit("--to", "-", "--top", 2).out == "907 902\n"
    assert emit("--to", "-", "--in", "system.slice").out == "907 900 903\n"


def test_an_empty_list_is_written_too_since_an_old_one_must_not_stay(
    oomrules: Run, recorded: Path, rules: Write, tmp_path: Path
) -> None:
    path = tmp_path / "list"
    path.write_text("1 2 3\n")
    never = rules("never kill anything\n")
    done = oomrules("emit", "--snapshot", recorded, "--rules", never, "--to", path)
    assert done.code == 1
    assert path.read_text() == "\n"
    assert "no process may be killed" in done.err


def test_this_host_is_emitted_as_it_is_ranked(
    oomrules: Run, spawn: Run, rules: Write, tmp_path: Path
) -> None:
    children = [spawn() for _ in range(3)]
    for number, child in enumerate(children):
        child.do(f"ballast = b'x' * {number * 30_000_000}")
        child.stop()
    mine = rules(f"score total_vm\nonly kill anything when ppid == {os.getpid()}\n")
    done = oomrules("emit", "--rules", mine, "--to", tmp_path / "list")
    assert done.code == 0
    expected = [child.pid for child in reversed(children)]
    assert (tmp_path / "list").read_text() == " ".join(map(str, expected)) + "\n"


def test_a_rule_set_in_error_leaves_the_old_list(
    oomrules: Run, rules: Write, tmp_path: Path
) -> None:
    path = tmp_path / "list"
    path.write_text("1 2 3\n")
    done = oomrules("emit", "--rules", rules("nevr\n"), "--to", path)
    assert (done.code, path.read_text()) == (2, "1 2 3\n")


# --- the kernel ----------------------------------------------------------------------


@no_module
def test_without_the_module_it_says_what_to_do(oomrules: Run) -> None:
    done = oomrules("emit", "--to", "/proc/oom")
    assert (done.code, done.out) == (2, "")
    assert "/proc/oom" in done.err and "modprobe" in done.err and "--to" in done.err


@no_module
def test_without_a_module_the_order_goes_into_oom_score_adj(
    oomrules: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Mock(return_value=0)
    monkeypatch.setattr("oomrules.commands.emit._dry_run", shown)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert oomrules("emit", "--dry-run").code == 0
    assert [call.args[1] for call in shown.mock_calls] == [HEAD]


@no_module
def test_without_a_module_and_without_root_it_says_what_to_do(
    oomrules: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = oomrules("emit")
    assert done.code == 2
    assert "/proc/oom" in done.err and "modprobe" in done.err and "--to" in done.err


def test_the_configuration_settles_where_the_list_goes(
    emit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    settled = Config((str(one), str(other)))
    monkeypatch.setattr(config, "load", lambda **_: settled)
    assert emit().code == 0
    assert one.read_text() == other.read_text() != "\n"
    # What is said on the command line counts more.
    assert emit("--to", "-").out == one.read_text()


@pytest.mark.parametrize("target", [(), ("--to", "/proc/oom")])
def test_the_pids_of_a_snapshot_never_go_to_the_kernel(
    target: tuple[str, ...], emit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("it was written")

    monkeypatch.setattr(KernelList, "write", refuse)
    done = emit(*target)
    assert done.code == 2
    assert "snapshot" in done.err


def test_who_is_not_root_is_told_of_the_snapshot_first(
    emit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Becoming root would not help."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(config, "load", lambda **_: Config(to=("oom_score_adj",)))
    done = emit()
    assert done.code == 2
    assert "snapshot" in done.err and "root" not in done.err


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Stand in for the module; gives the lists that it was given."""
    path = tmp_path / "oom"
    path.touch()
    (tmp_path / "oom_stat").write_text("memcg 1\nmemcg_error 0\nmemcg_ooms 0\n")
    written: list[list[int]] = []

    def write(_: KernelList, pids: list[int]) -> str:
        written.append(list(pids))
        return said(pids, str(path))

    monkeypatch.setattr(targets, "KERNEL_LIST", str(path))
    monkeypatch.setattr(KernelList, "write", write)
    return written


def test_the_kernel_is_the_default_where_it_has_the_file(
    oomrules: Run, rules: Write, child: Any, kernel: list[list[int]]
) -> None:
    mine = rules(f"score total_vm\nonly kill anything when ppid == {os.getpid()}\n")
    done = oomrules("emit", "--rules", mine)
    assert (done.code, kernel) == (0, [[child.pid]])
    assert "1 pid written" in done.err


def test_a_refusal_of_the_kernel_is_told(
    oomrules: Run, rules: Write, child: Any, kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise Failure("/proc/oom refused the list of 1 pids: invalid argument", "see the log")

    monkeypatch.setattr(KernelList, "write", refuse)
    done = oomrules("emit", "--rules", rules("score total_vm\n"))
    assert done.code == 2
    assert "refused" in done.err and "see the log" in done.err


# --- what cannot be written ----------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("", "--to"),
        ("{}/missing/list", "no such file or directory"),
        ("{}", "directory"),
        ("/dev/full", "no space left on device"),
    ],
)
def test_a_target_that_cannot_be_written_is_a_failure_with_its_reason(
    target: str, word: str, emit: Run, tmp_path: Path
) -> None:
    done = emit("--to", target.format(tmp_path))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("oomrules: ") and word in done.err
    assert "pids written" not in done.err


def test_standard_output_that_cannot_be_written_is_a_failure(
    process: Run, recorded: Path, root: Path
) -> None:
    with open("/dev/full", "w") as full:
        done = process("emit", "--to", "-", "--snapshot", recorded, "--root", root, stdout=full)
    assert done.code == 2
    assert "no space left on device" in done.err
    assert "Exception ignored" not in done.err
