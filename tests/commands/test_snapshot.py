"""``oomrules snapshot``: this host as lines of JSON."""

from __future__ import annotations

import itertools
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from oomrules.commands import snapshot
from oomrules.commands.parts import selection
from oomrules.processes import hidden
from oomrules.processes import recorded as reader
from oomrules.processes.cmdlines import READER
from oomrules.processes.hidden import Hidden
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import make
from tests.children import OBEY_LEADERLESS, Child
from tests.fake_proc import FakeProc

Run = Callable[..., Any]


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_host_comes_first_then_scopes_then_processes(oomrules: Run) -> None:
    done = oomrules("snapshot")
    assert done.code == 0
    lines = lines_of(done.out)
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "host"
    assert [kind for kind, _ in itertools.groupby(kinds[1:])] in (["scope", "process"], ["process"])
    assert lines[0]["schema"] == "oomrules.snapshot/1"
    assert list(lines[0])[:9] == (
        "kind schema time kernel page_size clock_ticks uptime mem_total swap_total".split()
    )


def test_a_recording_for_fleets_is_for_its_owner_whole_and_named_by_host_and_time(
    oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "../we@b\n1/x")
    missing = oomrules("snapshot", "--to", tmp_path / "missing")
    assert missing.code == 2 and "mkdir -p -m 700 -- " in missing.err
    assert oomrules("snapshot", "--to", tmp_path, "-o", "x").code == 2
    before = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    assert oomrules("snapshot", "--to", tmp_path).code == 0
    (path,) = tmp_path.iterdir()
    host, at, rest = path.name.partition("@")
    assert (host, at, rest[16:]) == ("_we_b_1_x", "@", ".jsonl.zst")
    assert before <= rest[:16] <= time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert oomrules("rank", "--snapshot", path, "--format", "pids").out
    # Where Python has no zstd, the standard library packs.
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "plain").mkdir()
    assert oomrules("snapshot", "--to", tmp_path / "plain").code == 0
    (path,) = (tmp_path / "plain").iterdir()
    assert path.name.endswith(".jsonl.gz")
    assert oomrules("rank", "--snapshot", path, "--format", "pids").out


def test_a_redacted_recording_has_no_name_and_one_key_gives_the_same_names(
    oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "secrethost")
    rules, key = tmp_path / "a.oom", tmp_path / "key"
    rules.write_text('score footprint\nspare comm "seen-by-*"\n')
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    asked = ("snapshot", "--redact", "--redact-key", key, "--rules", rules)
    child = Child(("--password=secret1", "secret2"))
    try:
        child.do("comm(b'seen-by-secret3')")
        done = [oomrules(*asked, "--to", tmp_path), oomrules(*asked)]
        other = oomrules(*asked[:2], *asked[-2:])
    finally:
        child.end()
    assert [one.code for one in (*done, other)] == [0, 0, 0], done
    (path,) = tmp_path.glob("*.jsonl.zst")
    found = [
        next(line["comm"] for line in lines if line.get("pid") == child.pid)
        for lines in (lines_of(done[1].out), lines_of(other.out))
    ]
    for text in (done[1].out, other.out, path.name):
        assert "secret" not in text
    assert all(name.startswith("seen-by-") for name in found) and found[0] != found[1]
    ranked = oomrules("rank", "--snapshot", path, "--rules", rules, "--format", "json").data
    (one,) = [one for one in ranked["candidates"] if one["pid"] == child.pid]
    assert one["comm"] == found[0] and one["weight"] != "1"


def test_what_redacts_is_said_where_nothing_is_redacted(oomrules: Run, tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"guess me")
    for options, said in (
        (("--rules", tmp_path), "add --redact"),
        (("--redact-key", short), "add --redact"),
        (("--redact", "--redact-key", short), "head -c 32 /dev/urandom"),
        (("--redact", "--redact-key", tmp_path / "none"), "cannot read"),
        (("--to", short), "is no directory"),
    ):
        done = oomrules("snapshot", *options)
        assert done.code == 2 and said in done.err and not done.out


def test_a_key_is_proposed_and_taken_only_as_one_that_nobody_else_can_read(
    oomrules: Run, tmp_path: Path
) -> None:
    key = tmp_path / "my key"
    asked = ("snapshot", "--redact", "--redact-key", key)

    def paste() -> None:
        """Run what the message proposes."""
        done = oomrules(*asked)
        assert done.code == 2 and not done.out and str(key) in done.err
        subprocess.run(["sh", "-c", done.err.split("`")[1]], check=True)

    paste()
    assert oomrules(*asked).code == 0 and stat.S_IMODE(key.stat().st_mode) == 0o600
    for mode in (0o640, 0o604):
        key.chmod(mode)
        paste()
        assert oomrules(*asked).code == 0
    # What is no key is left as it is, whoever pastes what is proposed.
    for text, mode in ((b"root:x:0:0::/root:/bin/sh\n" * 9, 0o644), (b"short", 0o600)):
        (tmp_path / "other").write_bytes(text)
        (tmp_path / "other").chmod(mode)
        done = oomrules("snapshot", "--redact", "--redact-key", tmp_path / "other")
        (tmp_path / "other.key").unlink(missing_ok=True)
        subprocess.run(["sh", "-c", done.err.split("`")[1]], check=True)
        assert (tmp_path / "other").read_bytes() == text
        assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == mode
        assert oomrules("snapshot", "--redact", "--redact-key", tmp_path / "other.key").code == 0
    if os.geteuid() == 0:
        os.chown(key, 65534, 65534)
        assert "uid 65534" in oomrules(*asked).err


def test_a_recording_over_time_and_one_of_a_host_are_told_apart(
    oomrules: Run, tmp_path: Path
) -> None:
    host, course = tmp_path / "host.jsonl", tmp_path / "course.jsonl"
    assert oomrules("snapshot", "-o", host).code == 0
    course.write_text('{"schema":"oomrules.recording/1","kind":"start","at":1,"time":"x"}\n')
    for command, option in (("guard", "--replay"), ("picture", "--of")):
        more = ("-o", tmp_path / "x.svg") if command == "picture" else ()
        assert "this is a snapshot of a host" in oomrules(command, option, host, *more).err
    assert "this is a recording over time" in oomrules("rank", "--snapshot", course).err


def test_that_processes_could_not_be_seen_is_said_then_and_later(
    oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidden, "look", lambda *_: Hidden(1, 2))
    for command in (("snapshot", "-o", tmp_path / "snap"), ("rank", "--format", "pids")):
        assert "3 processes cannot be seen and are in no list" in oomrules(*command).err
    monkeypatch.undo()
    later = oomrules("rank", "--snapshot", tmp_path / "snap")
    assert "when the host was recorded: 3 processes cannot be seen" in later.err


def test_every_process_is_recorded_with_every_field(oomrules: Run, child: Any) -> None:
    child.do("comm(b'a b\\xff')")
    child.stop()
    before = set(psutil.pids())
    lines = lines_of(oomrules("snapshot").out)
    processes = {line["pid"]: line for line in lines if line["kind"] == "process"}
    assert before & set(psutil.pids()) <= processes.keys()
    line = processes[child.pid]
    expected = (
        "pid ppid comm cmdline exe uid euid gid egid capabilities nice utime stime starttime "
        "threads state flags total_vm rss anon shmem locked swap pgtables oom_score_adj "
        "pid_depth tty_nr session cgroup"
    ).split()
    # On v1 its memory may be charged elsewhere.
    assert set(line) - {"memory_cgroup"} == {"kind", *expected}
    assert (line["ppid"], line["state"], line["comm"]) == (os.getpid(), "T", "a b\\xff")
    assert line["cmdline"][1:4] == ["-I", "-S", "-c"]
    assert len(line["capabilities"]) == 16 and int(line["capabilities"], 16) >= 0
    assert None not in (line[key] for key in expected)
    assert processes[os.getpid()]["self"] is True
    assert line["rss"] > 0 and line["pgtables"] % 1024 == 0


def test_each_group_has_its_scope_and_so_have_those_above_it(oomrules: Run) -> None:
    lines = lines_of(oomrules("snapshot").out)
    scopes = {line["cgroup"] for line in lines if line["kind"] == "scope"}
    for line in lines:
        path = line["cgroup"] if line["kind"] == "process" else None
        while path and path.strip("/"):
            assert path in scopes
            path = path.rpartition("/")[0]


def test_users_and_groups_are_named(oomrules: Run) -> None:
    host, *lines = lines_of(oomrules("snapshot").out)
    uids = {
        str(line["uid"]) for line in lines if line["kind"] == "process" and line["uid"] is not None
    }
    assert host["users"].keys() == uids
    assert host["users"]["0"] == "root"


def test_a_file_is_for_the_eyes_of_its_owner(oomrules: Run, tmp_path: Path) -> None:
    path = tmp_path / "snap"
    done = oomrules("snapshot", "-o", path)
    assert (done.code, done.out) == (0, "")
    assert f"lines written to {path}" in done.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["snap"]
    loaded = reader.load(str(path))
    assert os.getpid() in loaded.by_pid
    assert loaded.own_pids - READER.pids == {os.getpid()}


def test_a_dash_is_standard_output(oomrules: Run) -> None:
    assert oomrules("snapshot", "-o", "-").out.startswith('{"kind":"host"')


def test_a_file_is_replaced_only_by_a_whole_snapshot(
    oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "snap"
    path.write_text("old\n")

    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", fail)
        done = oomrules("snapshot", "-o", path)
    assert done.code == 2 and "no space left on device" in done.err
    assert path.read_text() == "old\n"
    assert os.listdir(tmp_path) == ["snap"]
    assert oomrules("snapshot", "-o", path).code == 0
    assert path.read_text().startswith('{"kind":"host"')


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("{}/missing/x", "no such file or directory"),
        ("{}", "directory"),
        ("/dev/full", "no space left on device"),
        ("", "-o"),
    ],
)
def test_a_target_that_cannot_be_written_is_a_failure(
    target: str, word: str, oomrules: Run, tmp_path: Path
) -> None:
    done = oomrules("snapshot", "-o", target.format(tmp_path))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("oomrules: ") and word in done.err


def test_a_process_that_vanished_while_it_was_read_is_not_recorded(
    oomrules: Run, proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(7, b"stays")
    proc.add(8, b"goes")

    class Late(ProcSource):
        def refresh(self) -> ProcSource:
            super().refresh()
            proc.remove(8)
            return self

    monkeypatch.setattr(
        selection, "live", lambda *_: Late(make((), {}), root=str(proc.root)).refresh()
    )
    done = oomrules("snapshot")
    assert done.code == 0
    assert [line["pid"] for line in lines_of(done.out) if line["kind"] == "process"] == [7]


# --- progress ------------------------------------------------------------------------


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each process take a second."""
    seconds = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))


@pytest.mark.usefixtures("slowly")
def test_a_person_sees_progress_where_it_takes_long(
    oomrules: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "is_terminal", lambda stream: True)
    done = oomrules("snapshot", "-o", "/dev/null")
    assert "\rrecording process 2 of " in done.err
    assert "\r\033[K" in done.err  # and it is wiped away


@pytest.mark.usefixtures("slowly")
def test_nobody_else_sees_progress(oomrules: Run) -> None:
    assert "recording" not in oomrules("snapshot", "-o", "/dev/null").err


def test_a_quick_snapshot_shows_no_progress(oomrules: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "is_terminal", lambda stream: True)
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    assert "recording" not in oomrules("snapshot", "-o", "/dev/null").err


def test_what_a_process_made_unknown_is_recorded_as_such(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc")
    (proc.add(7) / "cmdline").unlink()
    os.mkfifo(proc.root / "7/cmdline")
    proc.add(8, cmdline=b"a b\0\0" + b"x" * 9000)
    source = ProcSource(make((), {}), root=str(proc.root)).refresh()
    silent, long = (snapshot._process(source.by_pid[pid], source) for pid in (7, 8))
    assert silent["cmdline"] is None
    assert silent["self_made"] == ["cmdline"]
    assert long["cmdline"] == ["a b", "", "x" * (4096 - 5)]
    assert "self_made" not in long
    host = {
        "kind": "host",
        "schema": reader.SCHEMA,
        "page_size": 4096,
        "clock_ticks": 100,
        "uptime": 1.5,
        "mem_total": 1 << 30,
    }
    again = reader.parse([json.dumps(line) for line in (host, silent, long)], "snap")
    for pid in (7, 8):
        assert again.by_pid[pid].cmdline == source.by_pid[pid].cmdline
    source.close()


def test_a_process_without_its_first_thread_is_recorded_by_another(
    oomrules: Run, tmp_path: Path
) -> None:
    child = Child(program=OBEY_LEADERLESS)
    try:
        child.wait_for_state("Z")
        assert oomrules("snapshot", "-o", tmp_path / "snap").code == 0
        process = reader.load(str(tmp_path / "snap")).by_pid[child.pid]
        assert process.state in ("S", "R", "D") and process.threads == 2
        assert process.rss and process.total_vm and process.anon
        assert "sys.stdin" in process.cmdline
        assert process.exe == os.readlink(f"/proc/{child.threads()[0]}/exe")
        said = oomrules("explain", child.pid)
        assert f"those of thread {child.threads()[0]}" in said.out
    finally:
        child.end()
