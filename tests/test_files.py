"""What others left under a name that root writes to, or reads."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules import files
from oomrules.errors import Failure, reason
from oomrules.processes import recorded

# These hold whatever fs.protected_symlinks, protected_fifos and protected_regular are.
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

ALICE, BOB = 1001, 1002


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory as /tmp is: everybody may make files, and remove his own."""
    path = Path("/tmp") / f"oomrules-shared-{os.getpid()}"
    path.mkdir()
    path.chmod(0o1777)
    yield path
    for inside in sorted(path.rglob("*"), reverse=True):
        inside.rmdir() if inside.is_dir() and not inside.is_symlink() else inside.unlink()
    path.rmdir()


def as_uid(uid: int, what: Callable[[], object]) -> str:
    """Do something as another user, in a child; give what it was refused."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                what()
            except Failure as failure:
                os.write(writing, f"{failure.message}; {failure.hint}".encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    assert os.waitpid(child, 0)[1] == 0
    return text


# --- links --------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("writer", [0, BOB])
def test_a_link_that_a_stranger_made_is_not_followed(writer: int, shared: Path) -> None:
    precious = shared / "precious"
    precious.write_text("mine")
    os.chown(precious, writer, writer)
    as_uid(ALICE, lambda: (shared / "list").symlink_to(precious))
    said = as_uid(writer, lambda: files.replace(str(shared / "list"), b"1\n"))
    assert f"list is a link that uid {ALICE} made" in said and "remove the link" in said
    assert precious.read_text() == "mine" and (shared / "list").is_symlink()


@needs_root
@pytest.mark.parametrize("maker", [0, BOB])
def test_a_link_that_root_or_oneself_made_is_followed(maker: int, shared: Path) -> None:
    target = shared / "target"
    as_uid(BOB, lambda: target.write_text("old"))
    as_uid(maker, lambda: (shared / "list").symlink_to("target"))
    assert as_uid(BOB, lambda: files.replace(str(shared / "list"), b"new")) == ""
    assert target.read_text() == "new" and (shared / "list").is_symlink()


@needs_root
def test_a_strangers_link_on_the_way_is_not_followed_either(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    as_uid(ALICE, lambda: (shared / "dir").symlink_to(tmp_path / "etc"))
    with pytest.raises(Failure, match="dir is a link that uid 1001 made"):
        files.replace(str(shared / "dir" / "passwd"), b"1\n")
    # Nor behind a link of one's own.
    (tmp_path / "own").symlink_to(shared / "dir" / "passwd")
    with pytest.raises(Failure, match="dir is a link that uid 1001 made"):
        files.replace(str(tmp_path / "own"), b"1\n")
    assert os.listdir(tmp_path / "etc") == []


def test_links_that_go_in_circles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Failure, match="too many levels of symbolic links"):
        files.replace(str(tmp_path / "a"), b"1\n")


NAMES = st.lists(
    st.sampled_from(["a", "b", "link", "up", "away", ".", "..", ""]), min_size=1, max_size=6
)


@settings(max_examples=200)
@given(NAMES)
def test_a_path_leads_where_the_kernel_says_it_does(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # So deep that no path leads out of it.
        root = Path(folder).resolve().joinpath(*"123456")
        root.mkdir(parents=True)
        _walk(root, names)
        assert not [found for found in Path(folder).rglob("*") if found.is_file()]


def _walk(root: Path, names: list[str]) -> None:
    made = [root, root / "a", root / "a" / "b", root / "b"]
    for directory in made:
        directory.mkdir(exist_ok=True)
    links = {"link": "a", "up": "a/../b", "away": str(root / "a" / "b")}
    for place, (name, target) in itertools.product(made, links.items()):
        (place / name).symlink_to(target)
    path = "/".join([str(root), *names, "file"])
    real, failure = os.path.realpath(path), ""
    try:
        files.replace(path, b"1\n")
    except Failure as refused:
        failure = refused.message
    if os.path.isdir(os.path.dirname(path)):
        assert not failure and Path(real).read_bytes() == b"1\n"
        Path(real).unlink()
    else:
        assert "no such file or directory" in failure
    left = [found for found in root.rglob("*") if found.is_file()]
    assert not left


# --- modes --------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@needs_root
@pytest.mark.parametrize("owner", [0, ALICE])
def test_what_is_secret_is_shut_whatever_was_there(owner: int, shared: Path) -> None:
    (shared / "snap").touch()
    (shared / "snap").chmod(0o666)
    os.chown(shared / "snap", owner, owner)
    with (shared / "snap").open() as reader:
        files.replace(str(shared / "snap"), b"secret", 0o600)
        assert reader.read() == ""
    assert mode(shared / "snap") == 0o600 and (shared / "snap").stat().st_uid == os.geteuid()


@needs_root
def test_the_mode_of_a_strangers_file_is_not_taken_over(shared: Path) -> None:
    as_uid(ALICE, (shared / "list").touch)
    (shared / "list").chmod(0o666)
    files.replace(str(shared / "list"), b"1\n")
    assert mode(shared / "list") == 0o644 and (shared / "list").stat().st_uid == 0


@needs_root
def test_a_hard_link_to_a_file_of_ours_gives_neither_its_mode_nor_its_content(
    shared: Path, tmp_path: Path
) -> None:
    (tmp_path / "open").write_text("mine")
    (tmp_path / "open").chmod(0o666)
    (shared / "list").hardlink_to(tmp_path / "open")
    files.replace(str(shared / "list"), b"1\n")
    assert (mode(shared / "list"), (tmp_path / "open").read_text()) == (0o644, "mine")


def test_before_its_mode_is_set_nobody_else_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fchmod = os.fchmod

    def look(descriptor: int, wanted: int) -> None:
        status = os.fstat(descriptor)
        seen.append((stat.S_IMODE(status.st_mode), status.st_size))
        fchmod(descriptor, wanted)

    monkeypatch.setattr(os, "fchmod", look)
    umask = os.umask(0)
    try:
        files.replace(str(tmp_path / "list"), b"1\n")
    finally:
        os.umask(umask)
    assert seen == [(0o600, 0)]


# --- pipes and devices ------------------------------------------------------------------------


@needs_root
def test_a_strangers_pipe_is_not_written(shared: Path) -> None:
    as_uid(ALICE, lambda: os.mkfifo(shared / "snap"))
    reader = os.open(shared / "snap", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(Failure, match="it is no regular file, and uid 1001 made it"):
            files.replace(str(shared / "snap"), b"secret", 0o600)
        assert os.read(reader, 10) == b""
    finally:
        os.close(reader)


def test_what_is_exchanged_after_the_look_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "pipe", tmp_path / "other"
    os.mkfifo(path)
    os.mkfifo(other)
    reader = os.open(other, os.O_RDONLY | os.O_NONBLOCK)
    opened = os.open

    def race(name: str, flags: int, *arguments: int, **named: int) -> int:
        if name == "pipe" and flags & os.O_WRONLY:
            os.rename(other, path)
        return opened(name, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", race)
    with pytest.raises(Failure, match="it was exchanged meanwhile"):
        files.replace(str(path), b"secret")
    monkeypatch.undo()
    assert os.read(reader, 10) == b""
    os.close(reader)


# --- what a file must hold ----------------------------------------------------------------------


@needs_root
def test_a_file_that_is_mended_keeps_its_owner_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.oom"
    path.write_text("old")
    path.chmod(0o640)
    os.chown(path, ALICE, BOB)
    files.replace(str(path), b"new", expected=b"old")
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (ALICE, BOB, 0o640)
    assert path.read_text() == "new"


@pytest.mark.parametrize("now", [b"", b"ol", b"older", b"new"])
def test_a_file_that_was_changed_meanwhile_stays(now: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.oom"
    path.write_bytes(now)
    with pytest.raises(Failure, match="changed by another process"):
        files.replace(str(path), b"better", expected=b"old")
    assert path.read_bytes() == now and os.listdir(tmp_path) == ["x.oom"]


# --- reading ------------------------------------------------------------------------------------


def test_only_regular_files_are_read_and_no_device_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    opened: list[str] = []
    monkeypatch.setattr(os, "open", lambda path, *_: opened.append(path))
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx"):
        with pytest.raises(OSError, match=r"no regular file|No such"):
            files.read(str(path), 100)
    with pytest.raises(IsADirectoryError):
        files.read(str(tmp_path), 100)
    assert opened == []


def test_a_file_is_read_to_its_bound_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 4096)
    assert len(files.read(str(path), 4096)) == 4096
    os.truncate(path, 2**40)
    with pytest.raises(OSError, match="larger than 4 KiB"):
        files.read(str(path), 4096)


def test_what_the_caller_has_opened_may_be_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"never kill uid 0\n")
    os.close(writing)
    assert files.read(f"/dev/fd/{reading}", 100) == b"never kill uid 0\n"
    os.close(reading)


def test_lines_are_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("short\n" + "x" * 2000 + "\n")
    found = files.lines(str(path), 1024)
    assert next(found) == "short\n"
    with pytest.raises(OSError, match="line 2 is longer than 1 KiB"):
        next(found)


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["\0", "a\0b", "/dev/stdin\0", "/tmp/a\0", "/dev/stdout\0x", "\0/x"]
)
def test_a_name_with_a_null_character_is_no_file(path: str) -> None:
    with pytest.raises(OSError, match="null"):
        files.read(path, 10)
    with pytest.raises(OSError, match="null"):
        list(files.lines(path, 10))
    with pytest.raises(Failure, match="null"):
        files.replace(path, b"x")
    with pytest.raises(Failure, match="null"):
        recorded.load(path)


def test_what_is_too_large_is_said_in_units_that_people_know(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * (1 << 17))
    with pytest.raises(OSError) as refused:
        files.read(str(tmp_path / "f"), 1 << 16)
    assert reason(refused.value) == "it is larger than 64 KiB"


# --- what to do about a file that cannot be written ---------------------------------------------


def remedy(path: str) -> str:
    with pytest.raises(Failure) as raised:
        files.replace(path, b"1")
    assert raised.value.message.startswith(f"cannot write {path}: ")
    assert raised.value.hint
    return raised.value.hint


@pytest.mark.parametrize("name", ["a", "a/b", "it's a name", "-p", "$(touch x)", "ä\\"])
def test_what_is_proposed_for_a_missing_directory_makes_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (f"{tmp_path}/{name}/file", f"{name}/file"):
        _, command, _ = remedy(path).split("`")
        subprocess.run(["sh", "-c", command], check=True)
        files.replace(path, b"1")
        shutil.rmtree(tmp_path / name.partition("/")[0])
    assert os.listdir(tmp_path) == []


def test_what_is_proposed_shows_what_stands_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere/at/all")
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for name, shown in {
        "link": "nowhere/at/all",
        "link/x": "nowhere/at/all",
        "file/x": "-rw",
        "loop/x": "loop",
    }.items():
        _, command, _ = (remedy(f"{tmp_path}/{name}") + " ").split("`")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        assert shown in done.stdout


@needs_root
def test_rights_that_are_missing_are_roots(tmp_path: Path) -> None:
    said = as_uid(ALICE, lambda: files.replace("/oomrules-file", b"1"))
    assert said.endswith("permission denied; run it as root, or name a file elsewhere")


def test_a_full_device_is_said_with_what_shows_it() -> None:
    full = files.unwritten("/run/a b/list", OSError(28, "No space left on device"))
    assert full.full == (
        "cannot write /run/a b/list: no space left on device; make room there: "
        "`df -h -- '/run/a b'` shows how full it is"
    )


def test_a_name_that_cannot_be_pasted_is_not_proposed() -> None:
    assert "`" not in remedy("/no\x1bsuch/file")
    assert "`" not in remedy("/proc/none/such")
