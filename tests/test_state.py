"""What is kept between two runs: it is ours alone, and broken it is as good as none."""

from __future__ import annotations

import copy
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oomrules import state_directory
from oomrules.commands import hook
from oomrules.errors import Failure
from oomrules.kills import kernel_log
from oomrules.kills.kernel_log import Kill
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program import program
from oomrules.ranking.ranker import Ranker
from oomrules.service import memory
from oomrules.service.list import CurrentList
from oomrules.service.outbox import Outbox
from oomrules.service.recorder import Recorder
from oomrules.sinks.oom_score_adj import record
from oomrules.state import ADJUSTMENTS, LastList, State, entries

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

RULES = 'list mad = "x*"\nscore total_vm + rss\nnever kill comm "init"\nprefer comm @mad by 2\n'
CANDIDATE = {"rank": 1, "pid": 7, "comm": "x", "unit": "x.service", "points": 3}
KILL = Kill(9, "CONSTRAINT_NONE", "/system.slice/x.service", "x", 7, 0, 1.0)

MADE = compiler.compile_texts([RuleText("mine.oom", RULES)])
FINGERPRINT = [["oomrules", "1"], ["/etc/oomrules.d/mine.oom", 1, 2, 3], ["/etc/oomrules.d", 2]]
LIST = {"schema": "oomrules.list/1", "time": 5.0, "kernel_log": 12, "candidates": [CANDIDATE]}
PROGRAM = {"fingerprint": FINGERPRINT, "program": program.to_data(MADE)}
ADJUSTED = {
    "schema": record.SCHEMA,
    "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    "processes": [
        {
            "pid": (1 << 22) - 1,
            "start": 1,
            "original": 0,
            "values": [-1000],
            "since": 1,
            "cgroup": "/x",
            "fading": False,
        }
    ],
}
FILES = {"list.json": LIST, "program.json": PROGRAM, ADJUSTMENTS: ADJUSTED}

nested: Any = []
for _ in range(400):
    nested = [nested]
JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 1 << 70, 10**4000, 1e308, float("nan"), float("-inf")),
    *("", "x", "\ud800", "\0", "\x1b[2J", "x" * 5000, [], {}, [{}], [[]], {"": []}, nested),
)


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in plain data where something else could be."""
    keys = range(len(data)) if isinstance(data, list) else data if isinstance(data, dict) else ()
    for key in keys:
        yield data, key
        yield from places(data[key])


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, bytes]:
    """A state file with some things in it replaced, or removed, or cut off."""
    name = draw(st.sampled_from(sorted(FILES)))
    data = copy.deepcopy(FILES[name])
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(data))
        if not found:
            break
        inside, key = found[draw(st.integers(0, len(found) - 1))]
        if draw(st.booleans()):
            inside[key] = copy.deepcopy(draw(st.sampled_from(JUNK)))
        else:
            del inside[key]
    text = json.dumps(data).encode()
    return name, text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


def begin(folder: str) -> CurrentList:
    """All that a service, a hook and a release read when they begin."""
    state = State(folder)
    keeper = CurrentList(state)
    keeper.recall()
    keeper.resume()
    keeper.direct([f"{folder}/list"], None)
    assert keeper.stale in (True, False)
    Recorder(Outbox()).record(KILL, keeper.listed, keeper.before)
    last = state.last_list()
    hook._record("x.service", last)
    assert last.get("kernel_log") is None or last["kernel_log"] >= -1
    keeper.refresh()
    keeper.close()
    try:
        record.load(state.path(ADJUSTMENTS))
    except Failure as error:
        assert "is no record of oomrules" in error.message
    return keeper


@pytest.fixture(autouse=True, scope="module")
def no_journal() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    # It would go through all that the tests have loaded, each time.
    patch.setattr(memory, "settle", lambda: None)
    patch.setenv("OOMRULES_JOURNAL", "/nonexistent")
    patch.setattr(kernel_log, "recent", lambda after, left: ([KILL], 9, 0))
    yield
    patch.undo()


@given(mutations())
@example(("list.json", b'{"schema": "oomrules.list/1", "time": 1, "candidates": [{}]}'))
@example(("list.json", json.dumps({**LIST, "kernel_log": 1 << 70}).encode()))
@example(("program.json", json.dumps({**PROGRAM, "fingerprint": -1}).encode()))
@example(("program.json", json.dumps({**PROGRAM, "fingerprint": [[]]}).encode()))
@example(("program.json", b'{"program": ' + b"[" * 100_000))
@example(("program.json", b"\xff\xfe\x00"))
@settings(max_examples=150, deadline=None)
def test_a_broken_state_file_keeps_nobody_from_beginning(broken: tuple[str, bytes]) -> None:
    name, data = broken
    with tempfile.TemporaryDirectory() as folder:
        for other, good in FILES.items():
            Path(folder, other).write_text(json.dumps(good))
        Path(folder, name).write_bytes(data)
        begin(folder)


def test_good_state_files_are_believed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, good in FILES.items():
            Path(folder, name).write_text(json.dumps(good))
        assert len(record.load(f"{folder}/{ADJUSTMENTS}")) == 1
        keeper = begin(folder)
        assert keeper.program == MADE and keeper.fingerprint == FINGERPRINT
        assert keeper.before is not None and keeper.before.pids == [7]


def test_what_is_too_much_to_be_read_again_is_not_kept_and_said(tmp_path: Path) -> None:
    state = State(str(tmp_path))
    rules = "".join(f'prefer comm "name{n}" when rss > {n}MiB by 3\n' for n in range(9999))
    many = compiler.compile_texts([RuleText("mine.oom", "score rss\n" + rules)])
    state.save_program(many, FINGERPRINT)
    assert state.program() == (many, FINGERPRINT)
    with pytest.raises(Failure, match=f"more than {state_directory.LARGEST} are not kept"):
        state.save_program(many, [["x" * state_directory.LARGEST]])
    # The last one that was kept is there.
    assert state.program() == (many, FINGERPRINT)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.mkdir()


def a_link(path: Path) -> None:
    good = path.with_name("elsewhere")
    good.write_text(json.dumps(FILES[path.name]))
    path.symlink_to(good)


def a_circle(path: Path) -> None:
    path.symlink_to(path)


def a_gigabyte(path: Path) -> None:
    path.write_text(json.dumps(FILES[path.name]))
    os.truncate(path, 1 << 30)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def empty(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("name", ["list.json", "program.json"])
@pytest.mark.parametrize("make", [fifo, a_directory, a_link, a_circle, a_gigabyte, a_socket, empty])
def test_what_is_no_state_file_is_none(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / name)
    keeper = begin(str(tmp_path))
    assert keeper.program is None and keeper.listed is None


@pytest.mark.parametrize("make", [fifo, a_directory, a_circle, a_gigabyte, a_socket])
def test_what_is_no_record_of_values_is_said_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / ADJUSTMENTS)
    with pytest.raises(Failure, match=r"adjustments\.json"):
        record.load(str(tmp_path / ADJUSTMENTS))


# --- whose the directory is ------------------------------------------------------------


def test_everything_kept_is_its_owners_alone_whatever_it_was_and_whatever_the_umask(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state"
    before = os.umask(0)
    try:
        state = State(str(folder))
        old = folder / "adjustments.json"
        old.write_text("{}")
        (folder / "list").write_text("1 2\n")
        State(str(folder)).save_list([CANDIDATE], LastList(5.0, None))
        state.save_program(MADE, FINGERPRINT)
        with state.lock():
            pass
        os.close(state.only_one())
    finally:
        os.umask(before)
    files = (ADJUSTMENTS, "list", "list.json", "lock", "program.json", "service.lock")
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in folder.iterdir()}
    assert modes == dict.fromkeys(files, 0o600)
    assert folder.stat().st_mode & 0o777 == 0o711
    before = os.umask(0o777)
    try:
        State(str(tmp_path / "other")).save_list([CANDIDATE], LastList(5.0, None))
    finally:
        os.umask(before)
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o711
    assert (tmp_path / "other" / "list.json").stat().st_mode & 0o777 == 0o600


def of_another_user(path: Path) -> None:
    path.mkdir()
    os.chown(path, 65534, 65534)


def groups(path: Path) -> None:
    path.mkdir()
    path.chmod(0o775)


def everybodys(path: Path) -> None:
    path.mkdir()
    path.chmod(0o1777)


def linked(path: Path) -> None:
    path.with_name("target").mkdir()
    path.symlink_to(path.with_name("target"))


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def a_file(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(of_another_user, "belongs to user id 65534", marks=needs_root),
        (groups, "mode 0775"),
        (everybodys, "mode 1777"),
        (linked, "symbolic link"),
        (dangling, "symbolic link"),
        (a_file, "no directory"),
        (fifo, "no directory"),
    ],
)
def test_a_directory_that_others_have_a_hand_in_is_refused(
    tmp_path: Path, make: Callable[[Path], None], why: str
) -> None:
    make(tmp_path / "state")
    with pytest.raises(Failure, match=why) as refused:
        State(str(tmp_path / "state"))
    assert str(tmp_path / "state") in refused.value.message
    assert "OOMRULES_STATE" in (refused.value.hint or "")


@needs_root
@pytest.mark.parametrize(
    ("mode", "owner", "why"), [(0o777, 0, "everybody may write"), (0o755, 65534, "user id 65534")]
)
def test_nor_is_one_that_others_could_replace(
    tmp_path: Path, mode: int, owner: int, why: str
) -> None:
    above = tmp_path / "above"
    (above / "deep").mkdir(parents=True)
    above.chmod(mode)
    os.chown(above, owner, owner)
    with pytest.raises(Failure, match=why):
        State(str(above / "deep" / "state"))
    # As in /tmp: nobody but its owner moves it.
    os.chown(above, 0, 0)
    above.chmod(0o1777)
    State(str(above / "deep" / "state"))


# --- locks -----------------------------------------------------------------------------


def test_one_at_a_time_holds_a_lock_and_its_end_lets_go(tmp_path: Path) -> None:
    state = State(str(tmp_path))
    with (
        state.lock(),
        pytest.raises(Failure, match="another oomrules holds it"),
        State(str(tmp_path)).lock(wait=False),
    ):
        pass
    with state.lock(wait=False):
        pass
    held = state.only_one()
    with pytest.raises(Failure, match="a service runs already"):
        State(str(tmp_path)).only_one()
    os.close(held)
    os.close(state.only_one())


def test_the_holder_of_a_lock_can_take_it_again_and_keeps_it_to_the_first_end(
    tmp_path: Path,
) -> None:
    state, other = State(str(tmp_path)), State(str(tmp_path), wait=False)
    with state.lock():
        with state.lock(wait=False):
            pass
        with pytest.raises(Failure, match="another oomrules holds it"), other.lock():
            pass
    with other.lock():
        pass


def readable(path: Path) -> None:
    path.touch()
    path.chmod(0o644)


def given_away(path: Path) -> None:
    path.touch()
    path.chmod(0o600)
    os.chown(path, 65534, 65534)


@pytest.mark.parametrize(
    "make", [readable, pytest.param(given_away, marks=needs_root), fifo, linked, dangling]
)
def test_a_lock_that_others_could_hold_is_made_anew(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "lock")
    os.close(state_directory.lock(str(tmp_path / "lock"), wait=False))
    status = (tmp_path / "lock").lstat()
    assert (status.st_mode, status.st_uid) == (0o100600, os.geteuid())


def test_a_lock_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    state = State(str(tmp_path))
    with pytest.raises(Failure, match=r"cannot lock .*/lock: is a directory"), state.lock():
        pass


def test_who_is_killed_with_a_unit_is_remembered_with_it() -> None:
    text = 'score rss\nkill whole "postgresql@*.service"\n'
    made = compiler.compile_texts([RuleText("x.oom", text)])
    host = recorded.load(str(Path(__file__).parent / "data" / "host.jsonl"))
    ranking = Ranker(made, host.host).rank(host)
    threads = SimpleNamespace(stand_in=lambda pid: 0)
    found = entries(ranking, SimpleNamespace(threads=threads))  # type: ignore[arg-type]
    wholes = {one["unit"]: one.get("whole") for one in found}
    assert wholes.pop("postgresql@15.service") == "postgresql@15.service"
    assert set(wholes.values()) == {None}
