"""A list in a file is whole, or the old one stays; pipes and devices get it as they are."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.errors import Failure
from oomrules.sinks import file
from oomrules.state import State
from tests.children import CHECKOUT

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code that uses ``file`` and says what it was refused."""
    lines = [
        "import resource, sys",
        "sys.path.insert(0, sys.argv[1])",
        "from oomrules.errors import Failure",
        "from oomrules.sinks import file",
        "try:",
        *(f"    {line}" for line in code.splitlines()),
        "except Failure as error:",
        "    print(error.message, file=sys.stderr)",
    ]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", "\n".join(lines), CHECKOUT, *arguments],
        text=True,
        timeout=120,
        **options,
    )


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A file with an old list, beside which nothing may be left behind."""
    path = tmp_path / "list"
    path.write_text("1 2 3\n")
    yield path
    assert os.listdir(tmp_path) == ["list"]


# --- a file --------------------------------------------------------------------------


def test_a_file_is_made_readable_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "list"
    before = os.umask(0o077)
    try:
        file.File(str(path)).write([1, 22])
    finally:
        os.umask(before)
    assert path.read_text() == "1 22\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(mode: int, target: Path) -> None:
    target.chmod(mode)
    file.File(str(target)).write([5])
    assert target.read_text() == "5\n"
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_reader_sees_the_old_list_or_the_new_one_never_a_part(target: Path) -> None:
    with target.open() as reader:
        file.File(str(target)).write(list(range(1, 5000)))
        assert reader.read() == "1 2 3\n"
    assert len(target.read_text().split()) == 4999


def test_a_path_may_be_relative(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(target.parent)
    file.File("list").write([5])
    assert target.read_text() == "5\n"


def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    real, link = tmp_path / "a" / "list", tmp_path / "b" / "link"
    real.write_text("1\n")
    link.symlink_to("../a/list")
    file.File(str(link)).write([5])
    assert link.is_symlink() and real.read_text() == "5\n"
    assert os.listdir(tmp_path / "a") == ["list"] and os.listdir(tmp_path / "b") == ["link"]


def test_a_link_to_nothing_yet_gets_its_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "list")
    file.File(str(link)).write([5])
    assert link.is_symlink() and (tmp_path / "list").read_text() == "5\n"


@pytest.mark.parametrize("call", ["write", "fsync", "fchmod", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_whatever_fails_the_old_list_stays_and_nothing_is_left_behind(
    call: str, code: int, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError(code, os.strerror(code))

    opened = set(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(Failure) as failure:
            file.File(str(target)).write([5])
    assert str(target) in failure.value.message
    assert os.strerror(code).lower() in failure.value.message.lower()
    assert target.read_text() == "1 2 3\n"
    assert set(os.listdir("/proc/self/fd")) == opened


def test_a_list_is_written_on_after_a_short_write(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    file.File(str(target)).write([1234, 5678])
    assert target.read_text() == "1234 5678\n"


def test_a_file_beyond_the_limit_of_sizes_leaves_the_old_list(target: Path) -> None:
    done = run(
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "file.File(sys.argv[2]).write(list(range(1, 5000)))",
        str(target),
    )
    assert done.stderr == f"cannot write {target}: file too large\n"
    assert target.read_text() == "1 2 3\n"


FULL_DISK = """
mount -t tmpfs -o size=64k none "$1" || exit 77
cd "$1"
echo 1 2 3 > list
head -c 1000000 /dev/zero > ballast 2>/dev/null
shift
"$@"
echo $(ls)
cat list
"""


@needs_root
def test_a_full_disk_leaves_the_old_list(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {CHECKOUT!r})\n"
        "from oomrules.errors import Failure\nfrom oomrules.sinks import file\n"
        "try: file.File('list').write(list(range(1, 50000)))\n"
        "except Failure as error: print(error.message, flush=True)\n"
    )
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            FULL_DISK,
            "sh",
            tmp_path,
            sys.executable,
            "-I",
            "-S",
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        pytest.skip("no mounts here")
    assert done.stdout.splitlines() == [
        "cannot write list: no space left on device",
        "ballast list",
        "1 2 3",
    ]


def test_a_directory_that_may_not_be_written_leaves_the_old_list(nobody: dict[str, Any]) -> None:
    directory = Path("/tmp") / f"oomrules-{os.getpid()}"
    directory.mkdir(mode=0o755)
    path = directory / "list"
    try:
        path.write_text("1 2 3\n")
        done = run("file.File(sys.argv[2]).write([5])", str(path), **nobody)
        assert done.stderr == f"cannot write {path}: permission denied\n"
        assert path.read_text() == "1 2 3\n"
        assert os.listdir(directory) == ["list"]
    finally:
        path.unlink()
        directory.rmdir()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("missing/list", "no such file or directory"),
        ("file/list", "not a directory"),
        ("", "directory"),
        ("x" * 300, "file name too long"),
    ],
)
def test_a_path_that_cannot_be_written_is_named(name: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = os.path.join(tmp_path, name)
    with pytest.raises(Failure) as failure:
        file.File(path).write([5])
    assert path.rstrip("/") in failure.value.message
    assert word in failure.value.message
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_somebody_put_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    """In a directory that others may write, they know the name of the next temporary file."""
    precious, target = tmp_path / "precious", tmp_path / "list"
    precious.write_text("mine")
    (tmp_path / f"list.{os.getpid()}.new").symlink_to(precious)
    try:
        file.File(str(target)).write([5])
    except Failure:
        pass
    assert precious.read_text() == "mine"


def test_a_file_that_an_earlier_crash_left_behind_is_in_nobody_s_way(tmp_path: Path) -> None:
    """In a container a service that starts again may well have its old pid."""
    (tmp_path / f"list.{os.getpid()}.new").write_text("1 2")
    file.File(str(tmp_path / "list")).write([5])
    assert (tmp_path / "list").read_text() == "5\n"
    State(str(tmp_path)).tidy()
    assert os.listdir(tmp_path) == ["list"]


# --- pipes and devices ---------------------------------------------------------------


def test_a_named_pipe_is_written_and_stays_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    file.File(str(path)).write([1, 2])
    reader.join(10)
    assert read == ["1 2\n"]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_device_is_written_and_stays_a_device() -> None:
    file.File("/dev/null").write([1, 2])
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(Failure, match="cannot write /dev/full: no space left on device"):
        file.File("/dev/full").write([1, 2])


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_its_name_may_be_a_pipe(name: str) -> None:
    assert run("file.File(sys.argv[2]).write([1, 2])", name).stdout == "1 2\n"


def test_standard_output_by_its_name_may_be_a_file_with_something_in_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    with log.open("a") as out:
        done = run("file.File(sys.argv[2]).write([1, 2])", "/dev/stdout", stdout=out)
    assert done.stderr == ""
    assert log.read_text() == "before\n1 2\n"
    assert os.listdir(tmp_path) == ["log"]
