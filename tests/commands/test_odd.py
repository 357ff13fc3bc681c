"""Inputs that are no inputs: pipes, devices, depth, length, terminals that are gone."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules import config
from oomrules.commands.parts import selection
from oomrules.dbus import cgroup_tree
from oomrules.errors import Failure
from oomrules.processes.namespaces import Namespaces
from oomrules.program.program import Program
from tests.children import CHECKOUT
from tests.commands.done import Done

Run = Callable[..., Done]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# --- files that never end, or never begin -------------------------------------------------------


@pytest.fixture(params=["pipe", "/dev/zero", "large"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What must neither be waited for nor read to its end."""
    path = tmp_path / "odd.oom"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "large":
        path.touch()
        os.truncate(path, 2**40)
    else:
        path.symlink_to(request.param)
    return path


WHERE = {
    "rules": ["rank", "--rules"],
    "check": ["check"],
    "check --fix": ["check", "--fix"],
    "fmt": ["fmt"],
    "fmt --check": ["fmt", "--check"],
    "cat": ["cat", "--rules"],
    "diff": ["diff", "--no-host", "rules.d"],
    "test": ["test"],
    "snapshot": ["rank", "--rules", "rules.d", "--snapshot"],
}


@pytest.mark.parametrize("command", WHERE.values(), ids=WHERE)
def test_a_file_that_is_none_is_refused_by_name(
    command: list[str], odd: Path, oomrules: Run
) -> None:
    words = [f"{CHECKOUT}/rules.d" if word == "rules.d" else word for word in command]
    done = oomrules(*words, odd)
    assert done.code in (1, 2)
    said = done.out + done.err
    assert str(odd) in said and "mistake in oomrules" not in said
    assert "no regular file" in said or "larger than" in said or "longer than" in said


def test_so_is_one_among_the_drop_ins(odd: Path, oomrules: Run) -> None:
    for done in (oomrules("check", odd.parent), oomrules("rank", "--rules", odd.parent)):
        assert done.code in (1, 2) and str(odd) in done.out + done.err


@pytest.mark.parametrize("command", ["check", "fmt"])
def test_standard_input_is_bounded_and_nothing_of_it_is_left_out_in_silence(
    command: str, process: Run
) -> None:
    with open("/dev/zero", "rb") as zeros:
        done = process(command, "-", stdin=zeros)
    assert done.code in (1, 2) and "<stdin>: it is larger than 1 MiB" in done.out + done.err


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "large"])
def test_so_is_the_configuration(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "oomrules.conf"
    if kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "large":
        path.touch()
        os.truncate(path, 2**40)
    else:
        path.symlink_to(kind)
    with pytest.raises(Failure, match=r"no regular file|larger than|writable by every user"):
        config.load(str(path))


@needs_root
@pytest.mark.parametrize(("uid", "mode"), [(1001, 0o644), (0, 0o666), (0, 0o602)])
def test_a_configuration_that_others_write_is_not_obeyed(
    uid: int, mode: int, tmp_path: Path
) -> None:
    """It says which files root replaces."""
    path = tmp_path / "oomrules.conf"
    path.write_text("[Emit]\nTo=/etc/passwd\n")
    path.chmod(mode)
    os.chown(path, uid, uid)
    with pytest.raises(Failure, match="is writable by") as failure:
        config.load(str(path))
    assert failure.value.hint and f"chown root {path}" in failure.value.hint


# --- numbers and depth --------------------------------------------------------------------------

DIGITS = "9" * 5000
DEEP = 100_000


@pytest.mark.parametrize("head", [DIGITS, "1" + "0" * 4999, "-" + DIGITS, "٣"])
def test_a_number_of_any_length_is_only_a_wrong_one(head: str, tmp_path: Path) -> None:
    path = tmp_path / "oomrules.conf"
    path.write_text(f"[Emit]\nHead={head}\n")
    with pytest.raises(Failure, match="is no number from 1 to 1000") as failure:
        config.load(str(path))
    assert len(failure.value.message) < 300


def test_zeros_before_a_number_are_none(tmp_path: Path) -> None:
    path = tmp_path / "oomrules.conf"
    path.write_text(f"[Emit]\nHead={'0' * 5000}7\n")
    assert config.load(str(path)).head == 7


SNAPSHOTS = {
    "digits": '{"kind":"host","uptime":' + DIGITS + "}",
    "depth": '{"kind":' + "[" * DEEP,
    "no end": '{"kind":"' + "x" * 17_000_000,
    "float": '{"kind":"host","schema":"oomrules.snapshot/1","uptime":1e999}',
    "path": '{"kind":"host","schema":"oomrules.snapshot/1","page_size":4096,"clock_ticks":100,'
    '"uptime":1,"mem_total":1}\n{"kind":"scope","cgroup":"' + "/a.slice" * 50_000 + '"}',
}


@pytest.mark.parametrize("text", SNAPSHOTS.values(), ids=SNAPSHOTS)
def test_a_snapshot_of_any_shape_is_only_a_wrong_one(
    text: str, tmp_path: Path, oomrules: Run
) -> None:
    path = tmp_path / "host.jsonl"
    path.write_text(text)
    done = oomrules("scopes", "--snapshot", path, "--root", tmp_path)
    assert done.code == 2 and str(path) in done.err and "mistake in oomrules" not in done.err
    assert len(done.err) < 1000


TESTS = {
    "digits": f"x = {DIGITS}\n",
    "hexadecimal digits": f"[process.x]\nuid = 0x{DIGITS}\n[[test]]\nname = 'a'\n",
    "depth": "x = " + "[" * DEEP,
    "tables": "[" + ".".join(["a"] * 3000) + "]\n",
    "terminal": f"[process.x]\ntty = 'pts/{DIGITS}'\n[[test]]\nname = 'a'\n",
    "size": f"[process.x]\nrss = '{DIGITS}GiB'\n[[test]]\nname = 'a'\n",
}


@pytest.mark.parametrize("text", TESTS.values(), ids=TESTS)
def test_a_test_of_any_shape_is_only_a_wrong_one(text: str, tmp_path: Path, oomrules: Run) -> None:
    path = tmp_path / "x.test.toml"
    path.write_text(text)
    done = oomrules("test", path)
    assert done.code == 2 and str(path) in done.err and "mistake in oomrules" not in done.err


def test_groups_may_be_nested_as_deep_as_the_kernel_takes(tmp_path: Path) -> None:
    path, made = f"{tmp_path}/x.slice", 0
    os.mkdir(path)
    while len(path) < 3900:
        path, made = f"{path}/ddd", made + 1
        os.mkdir(path)
    (tmp_path / "a.slice").mkdir()
    found = [name for name, _ in cgroup_tree.groups(str(tmp_path))]
    subprocess.run(["rm", "-rf", tmp_path / "x.slice"], check=True)
    assert made > 900 and len(found) == made + 3
    assert found[:3] == ["/", "/a.slice", "/x.slice"]
    assert found == sorted(found, key=lambda name: name.split("/"))


def test_groups_deeper_than_a_path_can_say_are_left_out(tmp_path: Path) -> None:
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tmp_path)
        for _ in range(30):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
        found = [name for name, _ in cgroup_tree.groups(str(tmp_path))]
    finally:
        os.fchdir(before)
        os.close(before)
        subprocess.run(["rm", "-rf", tmp_path / ("d" * 200)], check=True)
    assert 10 < len(found) < 30


# --- a terminal that is gone --------------------------------------------------------------------


def test_top_ends_with_its_terminal_though_it_ignores_the_signal(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    top = subprocess.Popen(
        [sys.executable, "-m", "oomrules", "top", "--root", tmp_path],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "PYTHONPATH": CHECKOUT, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN) and None,
    )
    os.close(slave)
    try:
        said = b""
        while b"PID" not in said:
            assert select.select([master], [], [], 60)[0]
            said += os.read(master, 65536)
        os.close(master)
        assert top.wait(60) == 1
    finally:
        top.kill()
        top.wait()


@pytest.mark.parametrize(
    "argv",
    [
        "rank --all",
        "rank --all --format json",
        "explain {pid}",
        "emit --to {list}",
        "emit --dry-run --to oom_score_adj --head 1000",
        "snapshot",
    ],
)
def test_what_was_not_read_of_a_process_is_unknown_and_no_mistake(
    argv: str, oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user can make the status of his processes too many and too long to read all of them."""
    rules = tmp_path / "own.oom"
    rules.write_text(
        'score rss + swap\nnever kill user "x*" with RAWIO when gid == 5 and pid_depth == 0\n'
        "never kill uid 0\n"
    )
    monkeypatch.setenv("OOMRULES_STATE", str(tmp_path / "state"))
    live = selection.live

    def hurried(made: Program, asked: Any = None, choice: str = "auto", most: int = 0) -> Any:
        return live(made, asked, choice, most)

    monkeypatch.setattr(selection, "live", hurried)
    monkeypatch.setattr(Namespaces, "is_elsewhere", lambda self, pid: True)
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        words = argv.format(pid=sleeping.pid, list=tmp_path / "list").split()
        takes_rules = words[0] != "snapshot"
        done = oomrules(*words, *([f"--rules={rules}"] if takes_rules else []))
        sleeping.kill()
    assert done.code == 0, done.err
    said = done.out + done.err
    assert "mistake" not in said and "SELF_MADE" not in said and "SelfMade" not in said
    assert str(sleeping.pid) in said or "list" in argv
    if "json" in argv:
        json.loads(done.out)
