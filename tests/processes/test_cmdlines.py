"""Command lines: bounded, and read by a child that is given up where it is stuck."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import tempfile
import termios
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import cmdlines, cmdlines_child, procfs
from oomrules.processes.cmdlines import READER, Answers, Reader, bounded, cut
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import UNREAD
from oomrules.program.nodes import SELF_MADE
from oomrules.program.program import Program, make
from oomrules.ranking.ranker import Ranker
from tests.fake_proc import FakeProc

NOTHING = make((), {})


def program(text: str) -> Program:
    return compiler.compile_texts([RuleText("f.oom", text)])


class Blocked:
    """A fake proc in which command lines come, or never do."""

    def __init__(self, proc: Any) -> None:
        self.proc = proc
        self.source = ProcSource(NOTHING, root=str(proc.root))

    def block(self, pid: int) -> None:
        """Have whoever opens the file wait for ever."""
        path = self.proc.root / str(pid) / "cmdline"
        path.unlink()
        os.mkfifo(path)

    def read(self, pid: int) -> Any:
        process = self.source.by_pid[pid]
        value = process.cmdline
        return self.source.read(process, "cmdline") if value is UNREAD else value


@pytest.fixture
def blocked(proc: Any) -> Iterator[Blocked]:
    made = Blocked(proc)
    yield made
    made.source.close()
    READER.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the child is asked for, request by request."""
    requests: list[list[str]] = []
    real = Reader.read

    def read(self: Reader, paths: list[str]) -> Answers:
        requests.append([path.split("/")[-2] for path in paths])
        return real(self, paths)

    monkeypatch.setattr(Reader, "read", read)
    return requests


# --- the text --------------------------------------------------------------------------


@given(st.binary(max_size=6000))
@example(b"\xff" * 5000)
@example(b"x" * 4095 + "\u65e5".encode())
@example(b"\0" * 5000)
@example(b"a\0\0b\0\0")
def test_a_text_is_bounded_and_stays_what_it_is(raw: bytes) -> None:
    text = bounded(raw)
    assert len(text.encode()) <= 4096
    assert cut(text) == text
    assert raw[:4096].rstrip(b"\0").decode("utf-8", "backslashreplace").startswith(text)
    assert len(raw) > 1000 or text.encode() == raw.rstrip(b"\0") or "\\x" in text


@given(st.text(max_size=3000))
def test_a_recorded_text_is_cut_in_the_same_way(text: str) -> None:
    found = cut(text * 2)
    assert (text * 2).startswith(found)
    assert len(found.encode("utf-8", "surrogatepass")) <= 4096
    assert found == text * 2 or len((text * 2).encode("utf-8", "surrogatepass")) > 4096


# --- what does not come ------------------------------------------------------------------


def test_a_command_line_that_does_not_come_is_unknown_by_its_own_doing(
    blocked: Blocked, asked: list[list[str]]
) -> None:
    for pid in (7, 8, 9):
        blocked.proc.add(pid, cmdline=b"p%d\0x\0" % pid)
    blocked.block(8)
    blocked.source.refresh()
    assert [blocked.read(pid) for pid in (7, 8, 9)] == ["p7\0x", SELF_MADE, "p9\0x"]
    # It is not asked again at each refresh, and neither are the others.
    before = len(asked)
    for _ in range(20):
        blocked.source.refresh()
        assert [blocked.read(pid) for pid in (7, 8, 9)] == ["p7\0x", SELF_MADE, "p9\0x"]
    assert asked[before:] == []


def test_it_is_asked_again_after_a_growing_while(
    blocked: Blocked, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked.proc.add(7)
    blocked.block(7)
    blocked.source.refresh()
    assert blocked.read(7) is SELF_MADE
    stuck = blocked.source._cmdlines._stuck
    waits = [stuck[7].wait]
    for _ in range(6):
        stuck[7] = stuck[7]._replace(until=0.0)
        blocked.source.refresh()
        assert blocked.read(7) is SELF_MADE
        waits.append(stuck[7].wait)
    assert waits == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    # And when it comes at last, that is it.
    (blocked.proc.root / "7/cmdline").unlink()
    (blocked.proc.root / "7/cmdline").write_bytes(b"here\0")
    stuck[7] = stuck[7]._replace(until=0.0)
    blocked.source.refresh()
    assert blocked.read(7) == "here"
    assert stuck == {}
    assert len(asked) == 8


def test_another_process_with_its_pid_is_asked_at_once(blocked: Blocked) -> None:
    blocked.proc.add(7)
    blocked.block(7)
    blocked.source.refresh()
    assert blocked.read(7) is SELF_MADE
    (blocked.proc.root / "7/cmdline").unlink()
    blocked.proc.add(7, start=2000, cmdline=b"other\0")
    blocked.source.refresh()
    assert blocked.read(7) == "other"


def test_what_it_said_before_it_fell_silent_still_counts(blocked: Blocked) -> None:
    """It gains nothing by that, and one that waits for the disk loses nothing."""
    blocked.proc.add(7, cmdline=b"before\0")
    blocked.source.refresh()
    assert blocked.read(7) == "before"
    blocked.block(7)
    for _ in range(3):
        assert blocked.source.verify([blocked.source.by_pid[7]])
        assert blocked.read(7) == "before"
        blocked.source.refresh()


def test_one_user_s_silent_processes_cost_no_more_than_two_deadlines(
    blocked: Blocked, asked: list[list[str]]
) -> None:
    for pid in range(10, 16):
        blocked.proc.add(pid, uid=1000)
        blocked.block(pid)
    blocked.proc.add(16, uid=1000, cmdline=b"same user\0")
    blocked.proc.add(17, uid=1001, cmdline=b"another\0")
    blocked.source.refresh()
    assert [blocked.read(pid) for pid in range(10, 17)] == [SELF_MADE] * 7
    assert blocked.read(17) == "another"
    stuck = blocked.source._cmdlines._stuck
    assert len(stuck) == 2
    # His others have their turn in the next refreshes.
    for _ in range(3):
        blocked.source.refresh()
        for pid in range(10, 18):
            blocked.read(pid)
    assert len(stuck) == 6
    assert blocked.read(16) == "same user"


def test_of_root_only_the_silent_process_itself_is_in_doubt(blocked: Blocked) -> None:
    for pid in (10, 11, 12):
        blocked.proc.add(pid, uid=0)
        blocked.block(pid)
    blocked.proc.add(13, uid=0, cmdline=b"a daemon\0")
    blocked.source.refresh()
    assert [blocked.read(pid) for pid in range(10, 14)] == [SELF_MADE] * 3 + ["a daemon"]


def test_many_users_silence_holds_a_refresh_up_for_so_long_and_no_longer(
    blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = 0
    real = Reader._renew

    def renew(self: Reader) -> None:
        nonlocal given_up
        given_up += 1
        real(self)

    monkeypatch.setattr(Reader, "_renew", renew)
    for pid in range(10, 30):
        blocked.proc.add(pid, uid=1000 + pid)
        blocked.block(pid)
    blocked.proc.add(30, uid=2000, cmdline=b"honest\0")
    blocked.source.refresh()
    values = [blocked.read(pid) for pid in range(10, 31)]
    assert given_up <= 4
    # Who was not asked is in doubt by the others' doing.
    assert values.count(SELF_MADE) == given_up
    assert set(values) <= {SELF_MADE, None, "honest"}
    # And is asked in one of the next refreshes, before whoever came later: in the sixth at the
    # latest, unless the machine stands still for the time that is given to all of them.
    end = time.monotonic() + 60
    while blocked.read(30) != "honest":
        assert time.monotonic() < end
        blocked.source.refresh()
        for pid in range(10, 31):
            blocked.read(pid)


def test_a_judgement_made_in_doubt_is_made_again_when_the_doubt_is_over(blocked: Blocked) -> None:
    made = program('score rss\nprefer cmdline "*wanted*" by 8\n')
    blocked.source = ProcSource(made, root=str(blocked.proc.root))
    for pid in (7, 8):
        blocked.proc.add(pid, cmdline=b"wanted\0" if pid == 8 else b"x\0")
    _kill(_child(blocked))
    ranker = Ranker(made, blocked.source.host)
    # Nobody knows, so the elder and then the lower pid is first.
    assert ranker.rank(blocked.source.refresh()).pids == [7, 8]
    assert ranker.rank(blocked.source.refresh()).pids == [8, 7]


def _child(blocked: Blocked) -> int:
    """Have the child started that reads."""
    READER.read([str(blocked.proc.root / "uptime")])
    assert len(READER.pids) == 2
    return READER._child


def _kill(pid: int) -> None:
    """Kill a process that is not a child of this one, and wait until it has ended."""
    descriptor = os.pidfd_open(pid)
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)


# --- errors --------------------------------------------------------------------------------


def test_an_error_that_the_process_makes_is_its_own_doing(blocked: Blocked) -> None:
    blocked.proc.add(7)
    (blocked.proc.root / "7/cmdline").unlink()
    # Reading memory where there is none.
    (blocked.proc.root / "7/cmdline").symlink_to("/proc/self/mem")
    blocked.source.refresh()
    assert blocked.read(7) is SELF_MADE
    assert blocked.source.unreadable == {}


def test_a_command_line_that_was_wiped_is_empty_and_known(blocked: Blocked) -> None:
    blocked.proc.add(7, cmdline=b"\0" * 100)
    blocked.proc.add(8, cmdline=b"")
    blocked.source.refresh()
    assert [blocked.read(7), blocked.read(8)] == ["", ""]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_without_the_right_to_read_it_is_simply_unknown() -> None:
    """As an LSM or hidepid= has it."""
    with tempfile.TemporaryDirectory() as name:
        # Anybody may enter, unlike the directories of tests.
        os.chmod(name, 0o755)
        blocked = Blocked(FakeProc(Path(name) / "proc"))
        blocked.proc.add(7)
        (blocked.proc.root / "7/cmdline").chmod(0)
        blocked.source.refresh()
        READER.close()
        os.seteuid(65534)
        try:
            assert blocked.read(7) is None
        finally:
            os.seteuid(0)
            READER.close()
        assert blocked.source.unreadable == {"cmdline": 1}
        blocked.source.close()


def test_without_a_child_it_is_unknown_for_now(
    blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TasksMax= or RLIMIT_NPROC is reached."""
    blocked.proc.add(7, cmdline=b"here\0")
    READER.close()
    before = os.listdir("/proc/self/fd")

    def spawn(*_: object, **__: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as fault:
        fault.setattr(os, "posix_spawn", spawn)
        blocked.source.refresh()
        assert blocked.read(7) is None
        blocked.source.refresh()
        assert blocked.read(7) is None
    assert os.listdir("/proc/self/fd") == before
    READER._not_before = 0.0
    blocked.source.refresh()
    assert blocked.read(7) == "here"


# --- the child -------------------------------------------------------------------------------


def test_neither_children_nor_descriptors_add_up(blocked: Blocked) -> None:
    for pid in range(10, 14):
        blocked.proc.add(pid, uid=pid)
        blocked.block(pid)
    READER.close()
    before, children = len(os.listdir("/proc/self/fd")), _children()
    blocked.source.refresh()
    for pid in range(10, 14):
        blocked.read(pid)
    _child(blocked)
    assert len(os.listdir("/proc/self/fd")) == before + 3
    (keeper,) = _children() - children
    # Who was killed a moment ago may not be gone yet.
    assert len(_children(keeper)) <= 3
    READER.close()
    assert len(os.listdir("/proc/self/fd")) == before
    for _ in range(1000):
        cmdlines._reap()
        if _children() <= children:
            break
        signal.sigtimedwait([], 0.01)
    assert _children() <= children


def _children(pid: str | int = "self") -> set[str]:
    return set(
        Path(f"/proc/{pid}/task/{os.getpid() if pid == 'self' else pid}/children")
        .read_text()
        .split()
    )


def test_memory_of_ours_is_not_shared_with_a_child(
    blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page of it would be copied when it is written next, at a time when memory is short."""
    blocked.proc.add(10, uid=10)
    blocked.block(10)
    blocked.source.refresh()
    monkeypatch.delattr(os, "fork")
    assert blocked.read(10) is SELF_MADE
    assert _child(blocked)


def test_readers_that_cannot_end_are_left_alone_and_there_are_no_more_than_three(
    tmp_path: Path,
) -> None:
    """Those that wait without regard to signals: as if the kernel did not let them go."""
    never = tmp_path / "never"
    os.mkfifo(never)
    ends = [*os.pipe(), *os.pipe(), *os.pipe()]
    control, answers, requests = ends[1], ends[2], ends[5]
    keeper = os.fork()
    if keeper == 0:
        with suppress(BaseException):
            os.kill = lambda *_: None
            cmdlines_child.main(4096, ends[0], ends[3], ends[4])
        os._exit(0)
    for end in (ends[0], ends[3], ends[4]):
        os.close(end)
    readers = []
    for generation in range(3):
        header = cmdlines_child.HEADER.unpack(os.read(answers, cmdlines_child.HEADER.size))
        assert header[:2] == (generation, cmdlines_child.READY)
        readers.append(header[2])
        os.write(requests, b"%d %s\n" % (generation, os.fsencode(never)))
        # Else the next one may get it, which leaves it, and this one does not wait for ever.
        while any(fcntl.ioctl(requests, termios.FIONREAD, bytes(4))):
            time.sleep(0.01)
        os.write(control, b"\n")
    # The next one comes once one of them has gone.
    assert not select.select([answers], [], [], 0.5)[0]
    assert _children(keeper) == {str(pid) for pid in readers}
    _kill(readers.pop())
    header = cmdlines_child.HEADER.unpack(os.read(answers, cmdlines_child.HEADER.size))
    assert header[:2] == (3, cmdlines_child.READY)
    os.close(control)
    os.close(requests)
    os.waitpid(keeper, 0)
    for pid in readers:
        _kill(pid)
    os.close(answers)


@given(st.lists(st.binary(max_size=9000), min_size=1, max_size=6), st.integers(1, 5000))
def test_what_is_read_is_what_stands_there(texts: list[bytes], most: int) -> None:
    """Also in pieces, behind what an earlier reader has left behind."""
    reading, writing = os.pipe()
    _room(writing)
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name, str(number)) for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_bytes(text)
        stale = cmdlines_child._Reader(4, most, writing)
        fresh = cmdlines_child._Reader(5, most, writing)
        stale.answer(os.fsencode(paths[0]))
        for path in paths:
            fresh.answer(os.fsencode(path))
        reader = Reader()
        reader._answers, reader._generation, reader._child = reading, 5, os.getpid()
        found: list[bytes | int] = []
        assert not reader._collect(found, len(texts))
        assert found == [text[:most] for text in texts]
    os.close(reading)
    os.close(writing)


def _room(pipe: int) -> None:
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 17)


def test_requests_of_one_that_was_given_up_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    requests, asked = os.pipe()
    answers, said = os.pipe()
    # The end of a request of which a piece was read, then one of before, then one of now.
    path = os.fsencode(tmp_path / "a")
    os.write(asked, b"1 %s\n10 %s\n11 %s\n" % (path, path, path))
    os.close(asked)
    cmdlines_child._serve(cmdlines_child._Reader(11, 10, said), requests)
    size = cmdlines_child.HEADER.size
    found = os.read(answers, 1000)
    assert cmdlines_child.HEADER.unpack_from(found)[:2] == (11, cmdlines_child.READY)
    assert found[size:] == cmdlines_child.HEADER.pack(11, 0, 1) + b"a"
    for end in (requests, answers, said):
        os.close(end)


def test_the_child_has_nothing_of_its_parent_s(blocked: Blocked) -> None:
    """Else a lock, or the other end of somebody's pipe, would live on in it."""
    here, there = os.pipe()
    os.set_inheritable(there, True)
    READER.close()
    child = _child(blocked)
    assert len(os.listdir(f"/proc/{child}/fd")) == 2
    assert len(os.listdir(f"/proc/{READER._keeper}/fd")) == 3
    os.close(here)
    os.close(there)


@pytest.mark.parametrize("stuck", [False, True])
def test_the_child_ends_with_its_parent(blocked: Blocked, stuck: bool) -> None:
    child = _child(blocked)
    descriptors = [os.pidfd_open(pid) for pid in (READER._keeper, child)]
    if stuck:
        blocked.proc.add(7)
        blocked.block(7)
        os.write(READER._requests, f"{READER._generation} {blocked.proc.root}/7/cmdline\n".encode())
    READER.close()
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], 60)[0]
        os.close(descriptor)


@pytest.mark.parametrize("which", ["_child", "_keeper"])
def test_a_child_that_somebody_kills_is_replaced(blocked: Blocked, which: str) -> None:
    for pid in (7, 8):
        blocked.proc.add(pid, cmdline=b"p%d\0" % pid)
    blocked.source.refresh()
    assert blocked.read(7) == "p7"
    _kill(getattr(READER, which))
    if which == "_child":
        # Not by the doing of the one that was asked about.
        assert blocked.read(8) is None
        blocked.source.refresh()
    assert blocked.read(8) == "p8"
    blocked.block(7)
    blocked.proc.add(9, cmdline=b"p9\0")
    blocked.source.verify([blocked.source.by_pid[7]])
    blocked.source.refresh()
    blocked.read(9)
    blocked.source.refresh()
    assert blocked.read(9) == "p9"


def test_without_the_program_it_is_unknown_and_that_is_not_tried_again_and_again(
    blocked: Blocked, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    READER.close()
    monkeypatch.setattr(cmdlines, "_KEEPER", str(blocked.proc.root / "nothing.py"))
    for pid in (7, 8, 9):
        blocked.proc.add(pid, cmdline=b"here\0")
    blocked.source.refresh()
    assert [blocked.read(pid) for pid in (7, 8, 9)] == [None] * 3
    assert capfd.readouterr().err.count("nothing.py") <= 1
    READER._not_before = 0.0


def test_after_a_fork_each_has_a_child_of_its_own(blocked: Blocked) -> None:
    blocked.proc.add(7, cmdline=b"p7\0")
    before = _child(blocked)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            blocked.source.refresh()
            code = 0 if blocked.read(7) == "p7" and READER._child not in (0, before) else 2
        finally:
            READER.close()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    blocked.source.refresh()
    assert blocked.read(7) == "p7"
    assert READER._child == before


def test_the_child_is_no_candidate() -> None:
    made = program('score rss\nspare cmdline "*nothing like it*"\n')
    source = ProcSource(made).refresh()
    ranker = Ranker(made, source.host)
    ranker.rank(source)
    both = READER.pids
    assert len(both) == 2 and both <= source.own_pids
    source.own_pids = frozenset({os.getpid(), 1234})
    assert {*both, os.getpid(), 1234} <= source.own_pids
    ranking = ranker.rank(source.refresh())
    assert both <= set(source.by_pid)
    assert not both & set(ranking.pids)
    source.close()


def test_where_no_rule_asks_there_is_no_child() -> None:
    READER.close()
    made = program("score rss\nprefer uid 0\nspare comm 'x*'\n".replace("'", '"'))
    source = ProcSource(made).refresh()
    ranking = Ranker(made, source.host).rank(source)
    source.verify(ranking.candidates)
    source.refresh()
    assert READER.pids == frozenset()
    source.close()


@pytest.mark.parametrize("number", [1, 10, 500])
def test_many_are_asked_for_at_once_and_never_more_than_twice_as_many_as_needed(
    number: int, proc: Any, asked: list[list[str]]
) -> None:
    pids = range(1000, 2000)
    for pid in pids:
        proc.add(pid, cmdline=b"p%d\0" % pid)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    order = list(source.by_pid.values())[:number]
    for process in order:
        assert source.read(process, "cmdline") == f"p{process.pid}"
    assert sum(map(len, asked)) <= 2 * number
    assert len(asked) <= 8 + 2 * number / cmdlines.BATCH
    asked.clear()
    # The head of the list is one request.
    source.verify(order[:64])
    assert len(asked) == 1
    source.close()


def test_a_pid_that_comes_again_has_not_the_line_that_was_read_ahead(proc: Any) -> None:
    for pid in (10, 11, 12, 13):
        proc.add(pid, cmdline=b"old\0")
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    order = list(source.by_pid.values())
    for process in order[:2]:
        assert source.read(process, "cmdline") == "old"
    for process in order[2:]:
        proc.add(process.pid, start=2000, cmdline=b"new\0")
        source.verify([process])
        assert source.read(process, "cmdline") == "new"
    source.close()


def test_what_is_kept_of_all_command_lines_together_is_bounded(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wide character makes a text four times as large: 16 KiB for each process."""
    monkeypatch.setattr(procfs, "_MOST_TEXTS", 1 << 20)
    for pid in range(1000, 1600):
        proc.add(pid, cmdline=b"p%d " % pid + b"x" * 4000 + "\U0001f600".encode())
    made = program('score rss\nprefer cmdline "p1234 *" by 8\n')
    source = ProcSource(made, root=str(proc.root)).refresh()
    ranker = Ranker(made, source.host)
    tracemalloc.start()
    try:
        assert ranker.rank(source).pids[0] == 1234
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        source.look_anew()
        assert ranker.rank(source.refresh()).pids[0] == 1234
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    process = source.by_pid[1000]
    value = process.cmdline
    assert (source.read(process, "cmdline") if value is UNREAD else value).startswith("p1000 x")
    source.close()


def test_few_command_lines_stay_although_many_have_come_and_gone(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procfs, "_MOST_TEXTS", 100_000)
    proc.add(7, cmdline=b"stays\0")
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    source.read(source.by_pid[7], "cmdline")
    for start in range(1000, 1200):
        proc.add(8, start=start, cmdline=b"x" * 4000)
        source.refresh()
        source.read(source.by_pid[8], "cmdline")
    assert source.by_pid[7].cmdline == "stays"
    source.close()
