"""Links are written whole or not at all, and taken back without a trace."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.errors import Failure
from oomrules.roots import Root
from oomrules.setup import kinds
from oomrules.setup.links import RECORD, Links
from oomrules.setup.proposal import CHOICES, Asked
from tests.setup.trees import PRESETS, contents, propose, system, write

# What changes a directory, by the functions that do.
_CHANGES = ("mkdir", "rename", "symlink", "unlink", "rmdir", "fsync", "chmod", "fchmod")

TWO = Asked(kinds=("database", "server"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system without a directory for rules; others are copies of it."""
    return system(tmp_path_factory.mktemp("bare") / "root", directory=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return system(tmp_path / "root")


def links(root: Path) -> Links:
    return Links(Root(root))


def names(root: Path) -> list[str]:
    return sorted(os.listdir(root / "etc/oomrules.d"))


# --- there and back -------------------------------------------------------------------------------

_NAMES = (
    *(f"50-{kind.preset}.oom" for kind in kinds.KINDS),
    *("60-guard-server.oom", "60-guard-desktop.oom", "10-badness-2.6.10.oom"),
    *("60-guard.oom", "99-mine.oom", "50-server.oom.bak", "README", ".hidden.oom"),
)
_THINGS = st.one_of(
    st.tuples(st.just("file"), st.sampled_from(["", "prefer niced\n"])),
    st.tuples(
        st.just("link"),
        st.sampled_from(
            [
                *(
                    f"{PRESETS}/{stem}.oom"
                    for stem in ("server", "desktop", "guard-server", "kernel")
                ),
                *("/dev/null", "/nowhere/presets/server.oom", "99-mine.oom", "../../../x"),
            ]
        ),
    ),
    st.tuples(st.just("directory"), st.just("")),
)


@settings(max_examples=60)
@given(
    there=st.none() | st.dictionaries(st.sampled_from(_NAMES), _THINGS, max_size=6),
    names=st.lists(st.sampled_from(kinds.NAMES), max_size=3),
    guard=st.sampled_from(CHOICES),
)
def test_init_and_undo_leave_everything_as_it_was_whatever_it_was(
    bare: Path,
    tmp_path_factory: pytest.TempPathFactory,
    there: dict[str, tuple[str, str]] | None,
    names: list[str],
    guard: str,
) -> None:
    root = tmp_path_factory.mktemp("tree") / "root"
    shutil.copytree(bare, root, symlinks=True)
    directory = root / "etc/oomrules.d"
    if there is not None:
        directory.mkdir()
        for name, (kind, text) in there.items():
            path = directory / name
            if kind == "file":
                path.write_text(text)
            elif kind == "link":
                path.symlink_to(text)
            else:
                path.mkdir()
    before = contents(root)
    asked = Asked(kinds=tuple(names), guard=guard)
    write(root, asked)
    written = contents(root)
    # Nothing that was there is touched.
    assert {name: written.get(name) for name in before} == before
    again = write(root, asked)
    assert not again.pending and contents(root) == written
    assert links(root).undo().left == []
    assert contents(root) == before
    assert links(root).undo().removed == [] and contents(root) == before
    shutil.rmtree(root.parent)


def test_the_names_are_those_that_the_presets_advise(root: Path) -> None:
    write(root, TWO)
    made = ["50-database-host.oom", "50-server.oom", "60-guard-server.oom"]
    assert names(root) == [RECORD, *made]
    assert os.readlink(root / "etc/oomrules.d/50-server.oom") == f"{PRESETS}/server.oom"


def test_a_link_that_was_changed_since_is_left_and_named(root: Path) -> None:
    write(root, TWO)
    directory = root / "etc/oomrules.d"
    (directory / "50-server.oom").unlink()
    (directory / "50-server.oom").symlink_to("/etc/mine.oom")
    (directory / "60-guard-server.oom").unlink()
    (directory / "60-guard-server.oom").write_text("warn when host.available < 5%\n")
    undone = links(root).undo()
    assert undone.removed == ["50-database-host.oom"]
    assert [sentence.partition(" is left")[0] for sentence in undone.left] == [
        str(directory / "50-server.oom"),
        str(directory / "60-guard-server.oom"),
    ]
    assert "leads to /etc/mine.oom now" in undone.left[0]
    assert names(root) == ["50-server.oom", "60-guard-server.oom"]


def test_a_link_that_an_administrator_removed_stays_away(root: Path) -> None:
    write(root, TWO)
    (root / "etc/oomrules.d/50-database-host.oom").unlink()
    assert not write(root).pending
    assert "50-database-host.oom" not in names(root)
    assert links(root).undo().left == [] and names(root) == []


def test_files_that_came_later_keep_the_directory(tmp_path: Path) -> None:
    root = system(tmp_path / "root", directory=False)
    write(root)
    (root / "etc/oomrules.d/99-mine.oom").write_text("prefer niced\n")
    undone = links(root).undo()
    assert undone.removed and not undone.directory and names(root) == ["99-mine.oom"]


def test_what_undo_would_do_changes_nothing(root: Path) -> None:
    write(root, TWO)
    before = contents(root)
    assert len(links(root).undo(dry=True).removed) == 3
    assert contents(root) == before


# --- what ends it half-way ------------------------------------------------------------------------


class _Killed(BaseException):
    """What a test raises in the place of a signal, in a child that then ends at once."""


def interrupted(work: Callable[[], Any], at: int, how: Callable[[], None]) -> bool:
    """Do some work, and something else before its n-th change; return whether it came to that."""
    seen = 0
    originals = {name: getattr(os, name) for name in _CHANGES}

    def counted(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == at:
                how()
            return originals[name](*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHANGES:
            patch.setattr(os, name, counted(name))
        work()
    return seen >= at


def killed(work: Callable[[], Any], at: int) -> bool:
    """Do some work in a child that ends before its n-th change; return whether it did."""
    child = os.fork()
    if not child:
        code = 1
        try:
            interrupted(work, at, lambda: os._exit(9))
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def moments(bare: Path, path: Path, directory: bool) -> Iterator[tuple[int, Path]]:
    """Yield the numbers of changes, each with a system of its own."""
    for at in range(1, 60):
        root = path / str(at)
        shutil.copytree(bare, root, symlinks=True)
        if directory:
            (root / "etc/oomrules.d").mkdir()
        yield at, root


@pytest.mark.parametrize("directory", [True, False])
@pytest.mark.parametrize("heal", ["again", "undo"])
def test_a_kill_at_any_moment_is_healed(
    bare: Path, tmp_path: Path, directory: bool, heal: str
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(bare, whole, symlinks=True)
    if directory:
        (whole / "etc/oomrules.d").mkdir()
    before = contents(whole)
    write(whole, TWO)
    wanted = contents(whole)
    for at, root in moments(bare, tmp_path, directory):
        died = killed(lambda root=root: write(root, TWO), at)  # type: ignore[misc]
        if heal == "again":
            write(root, TWO)
            assert contents(root) == wanted, at
        links(root).undo()
        assert contents(root) == before, at
        if not died:
            assert at > 8
            return
    raise AssertionError("it never came to its end")


def test_what_was_begun_is_finished_without_a_word_about_kinds(bare: Path, tmp_path: Path) -> None:
    for at, root in moments(bare, tmp_path, directory=True):
        if not killed(lambda root=root: write(root, TWO), at):  # type: ignore[misc]
            return
        if (root / "etc/oomrules.d" / RECORD).exists():
            # By itself this host would be a server, and no database host.
            write(root)
            made = ["50-database-host.oom", "50-server.oom", "60-guard-server.oom"]
            assert names(root) == [RECORD, *made], at


def test_a_kill_while_it_is_taken_back_is_healed(bare: Path, tmp_path: Path) -> None:
    before = contents(bare)
    for at, root in moments(bare, tmp_path, directory=False):
        write(root, TWO)
        died = killed(lambda root=root: links(root).undo(), at)  # type: ignore[misc]
        links(root).undo()
        # Between the end of the record and that of the directory an empty one is left.
        assert contents(root) in (before, {**before, "etc/oomrules.d": _empty(root)}), at
        if not died:
            return
    raise AssertionError("it never came to its end")


def _empty(root: Path) -> tuple[int, str]:
    directory = root / "etc/oomrules.d"
    return (directory.stat().st_mode if directory.exists() else 0), ""


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("directory", [True, False])
def test_what_the_system_refuses_is_one_sentence_and_leaves_nothing(
    bare: Path, tmp_path: Path, code: int, directory: bool
) -> None:
    def refuse() -> None:
        raise OSError(code, os.strerror(code))

    for at, root in moments(bare, tmp_path, directory):
        before = contents(root)
        try:
            reached = interrupted(lambda root=root: write(root, TWO), at, refuse)  # type: ignore[misc]
        except Failure as failure:
            assert os.strerror(code).lower() in failure.message and failure.hint, at
            assert contents(root) == before, at
        else:
            if not reached:
                return
    raise AssertionError("it never came to its end")


# --- what cannot be trusted -----------------------------------------------------------------------


def test_a_directory_that_is_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "etc/oomrules.d").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (root / "etc/oomrules.d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure, match="is a symbolic link"):
        write(root)
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(("mode", "who"), [(0o777, "every user"), (0o757, "every user")])
def test_a_directory_that_others_may_write_is_refused(root: Path, mode: int, who: str) -> None:
    (root / "etc/oomrules.d").chmod(mode)
    with pytest.raises(Failure, match=who):
        write(root)
    assert names(root) == []


def test_no_link_on_the_way_leads_out_of_the_root(root: Path, tmp_path: Path) -> None:
    (root / "etc/oomrules.d").rmdir()
    (root / "etc").rmdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "etc").symlink_to("../../outside")
    with pytest.raises(Failure):
        write(root)
    assert os.listdir(outside) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\0",
        '{"schema": "oomrules.init-record/1", "links": {"../x.oom": "y"}, "made": false, '
        '"service": "", "whole": true}',
        '{"schema": "oomrules.init-record/1", "links": {}, "made": false, '
        '"service": "sshd.service", "whole": true}',
        '{"schema": "oomrules.init-record/1", "links": {"50-a.oom": 5}, "made": false, '
        '"service": "", "whole": true}',
        "[" * 10_000,
    ],
)
def test_a_damaged_record_is_not_followed(root: Path, text: str) -> None:
    (root / "etc/x.oom").write_text("prefer niced\n")
    (root / "etc/oomrules.d" / RECORD).write_text(text)
    before = contents(root)
    for work in (lambda: links(root).undo(), lambda: write(root)):
        with pytest.raises(Failure, match="damaged") as raised:
            work()
        assert raised.value.hint and RECORD in raised.value.hint
    assert contents(root) == before


@pytest.mark.parametrize("kind", ["fifo", "writable", "link"])
def test_a_record_that_others_could_have_made_is_not_believed(root: Path, kind: str) -> None:
    write(root, TWO)
    record = root / "etc/oomrules.d" / RECORD
    text = record.read_text()
    record.unlink()
    if kind == "fifo":
        os.mkfifo(record)
    elif kind == "link":
        (root / "x").write_text(text)
        record.symlink_to(root / "x")
    else:
        record.write_text(text)
        record.chmod(0o666)
    with pytest.raises(Failure):
        links(root).undo()
    assert "50-server.oom" in names(root)


def test_the_record_says_what_was_written(root: Path) -> None:
    write(root, TWO)
    links(root).note_service("oomrules.service")
    data = json.loads((root / "etc/oomrules.d" / RECORD).read_text())
    assert data == {
        "schema": "oomrules.init-record/1",
        "links": {
            "50-database-host.oom": f"{PRESETS}/database-host.oom",
            "50-server.oom": f"{PRESETS}/server.oom",
            "60-guard-server.oom": f"{PRESETS}/guard-server.oom",
        },
        "made": False,
        "service": "oomrules.service",
        "whole": True,
    }
    assert links(root).undo().service == "oomrules.service"


def test_nothing_is_proposed_by_looking(root: Path) -> None:
    before = contents(root)
    assert [state.preset.link for state in propose(root).pending] == [
        "50-server.oom",
        "60-guard-server.oom",
    ]
    assert contents(root) == before


def test_a_root_without_etc_is_none(tmp_path: Path) -> None:
    root = system(tmp_path / "root", directory=False)
    (root / "etc").rmdir()
    with pytest.raises(Failure, match="no such file") as raised:
        write(root)
    assert raised.value.hint and "/etc" in raised.value.hint
    assert not (root / "etc").exists()
