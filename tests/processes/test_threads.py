"""A process is all its threads: what is known of one whose first thread has ended."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import threads
from oomrules.processes.proc_stat import living
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import PF_EXITING, UNREAD, Process
from oomrules.program.nodes import SELF_MADE
from oomrules.program.program import Program, make
from oomrules.ranking.evaluator import ineligible
from oomrules.ranking.ranker import Ranker
from oomrules.ranking.verdict import Why
from oomrules.sinks.oom_score_adj import origins, survey
from oomrules.sinks.oom_score_adj.record import Record

PAGE = os.sysconf("SC_PAGE_SIZE")
NOTHING = make((), {})
Spawn = Callable[..., Any]
Open = Callable[..., ProcSource]


def program(text: str) -> Program:
    return compiler.compile_texts([RuleText("f.oom", text)])


def field(source: ProcSource, process: Process, name: str) -> Any:
    value = getattr(process, name)
    return source.read(process, name) if value is UNREAD else value


def kib(child: Any, thread: int, key: str) -> int:
    lines = Path(f"/proc/{child.pid}/task/{thread}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def assert_is_as_its_thread(source: ProcSource, child: Any) -> None:
    """Every figure is that of the first thread that goes on."""
    thread = child.rest()
    process = source.refresh().by_pid[child.pid]
    stat = child.stat(thread)
    assert source.threads.stand_in(process.pid) == thread
    assert ineligible(process, source.own_pids) is None
    assert process.state == stat[0]
    assert process.flags == int(stat[6]) and not process.flags & PF_EXITING
    assert process.total_vm == int(stat[20]) // PAGE > 0
    assert process.rss == int(stat[21]) > 0
    assert source.read(process, "anon") == kib(child, thread, "RssAnon") * 1024 > 0
    assert source.read(process, "swap") == kib(child, thread, "VmSwap") * 1024 // PAGE
    assert source.read(process, "pgtables") == kib(child, thread, "VmPTE") * 1024 > 0
    assert field(source, process, "exe") == os.readlink(f"/proc/{child.pid}/task/{thread}/exe")
    assert "sys.stdin" in field(source, process, "cmdline")
    assert field(source, process, "uid") == kib(child, thread, "Uid")
    # And what is the process's stays so.
    leader = child.stat()
    assert process.threads == int(leader[17])
    assert process.starttime == int(leader[19])
    assert field(source, process, "ppid") == os.getpid()


@pytest.mark.parametrize("kept", [0, 4096])
def test_a_process_without_its_first_thread_is_what_its_other_threads_are(
    kept: int, spawn: Spawn, open_source: Open
) -> None:
    child = spawn(leaderless=True)
    child.do("ballast = b'x' * 10_000_000")
    assert child.stat()[0] == "Z" and child.stat()[20:22] == ["0", "0"]
    assert_is_as_its_thread(open_source(descriptors=kept), child)


def test_the_biggest_one_is_taken_first_even_if_its_first_thread_has_ended(
    spawn: Spawn, open_source: Open
) -> None:
    hog, small, other = spawn(leaderless=True), spawn(), spawn(leaderless=True)
    hog.do("ballast = b'x' * 60_000_000")
    small.do("ballast = b'x' * 20_000_000")
    made = program(f"only kill anything when ppid == {os.getpid()}\nscore rss\n")
    source = open_source(made)
    ranking = Ranker(made, source.host).rank(source)
    assert ranking.pids == [hog.pid, small.pid, other.pid]
    assert source.verify(ranking.candidates)
    assert Ranker(made, source.host).rank(source).pids == ranking.pids


def test_its_memory_is_looked_at_in_each_refresh(spawn: Spawn, open_source: Open) -> None:
    child = spawn(leaderless=True)
    source = open_source(program("score rss + swap"))
    before = source.by_pid[child.pid].rss or 0
    # The first thread's stat says nothing of it.
    child.do("ballast = b'x' * 40_000_000")
    assert (source.refresh().by_pid[child.pid].rss or 0) > before + 39_000_000 // PAGE
    child.do("del ballast")
    assert (source.refresh().by_pid[child.pid].rss or 0) < before + 10_000_000 // PAGE


def test_a_thread_that_ends_hands_over_to_the_next(spawn: Spawn, open_source: Open) -> None:
    child = spawn(leaderless=True)
    source = open_source(program("score rss + swap + anon"))
    process = source.by_pid[child.pid]
    seen = set()
    for _ in range(4):
        seen.add(source.threads.stand_in(process.pid))
        assert_is_as_its_thread(source, child)
        child.do("go_on()")
        _wait_for_threads(child, 1)
        # Between two refreshes too.
        assert field(source, process, "oom_score_adj") is not None
        assert "sys.stdin" in source.read(process, "cmdline")
        assert source.read(process, "exe")
        assert source.read(process, "anon") > 0
        assert process.state != "X"
        source.refresh()
        assert source.by_pid[child.pid] is process
    assert len(seen) == 4


@pytest.fixture
def traced() -> Iterator[Callable[[list[int]], None]]:
    """Trace threads, so that they stay when they have ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    held: list[int] = []

    def trace(threads: list[int]) -> None:
        for thread in threads:
            if libc.ptrace(0x4206, thread, None, None):  # PTRACE_SEIZE
                pytest.skip(f"no tracing here: {os.strerror(ctypes.get_errno())}")
            held.append(thread)

    yield trace
    for thread in held:
        try:
            os.kill(thread, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for thread in held:
        os.waitpid(thread, 0x40000000)  # __WALL


def _wait_for_threads(child: Any, number: int) -> None:
    for _ in range(1000):
        if len(child.threads()) == number:
            return
        signal.sigtimedwait([], 0.01)
    raise AssertionError(f"{len(child.threads())} threads go on")


def test_the_living_thread_is_found_behind_many_that_have_ended(
    spawn: Spawn,
    open_source: Open,
    traced: Callable[[list[int]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dead threads stay in the list while somebody traces them and does not look."""
    child = spawn(leaderless=True)
    child.do("more(300)")
    old = child.threads()
    traced(old)
    child.do("go_on()")
    child.do("less()")
    _wait_for_threads(child, 1)
    assert len(os.listdir(f"/proc/{child.pid}/task")) == len(old) + 2
    source = open_source()
    assert_is_as_its_thread(source, child)
    looks = Mock(wraps=living)
    monkeypatch.setattr(threads, "living", looks)
    for _ in range(5):
        source.refresh()
    # Only at the one that was found.
    assert looks.mock_calls == [call(f"/proc/{child.pid}/task/{child.threads()[0]}/stat")] * 5
    looks.reset_mock()
    child.do("go_on()")
    _wait_for_threads(child, 1)
    source.refresh()
    assert_is_as_its_thread(source, child)
    # Those before it need no second look.
    assert looks.call_count < 10


def test_threads_that_have_all_ended_are_not_looked_at_again_and_again(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(7, state="Z", total_vm=0)
    for thread in range(7, 7 + threads._MANY):
        proc.add_thread(7, thread, state="Z", total_vm=0)
    looks = Mock(wraps=living)
    monkeypatch.setattr(threads, "living", looks)
    source = ProcSource(NOTHING, root=str(proc.root))
    for uptime in range(5000, 5100):
        (proc.root / "uptime").write_text(f"{uptime}.25 1.0\n")
        source.refresh()
        assert source.by_pid[7].state == "Z"
    # Each time twice, since the list has to be the same again.
    assert looks.call_count <= 2 * 10 * threads._MANY
    # Should there be one after all, it is found.
    proc.add_thread(7, 99999, state="S")
    (proc.root / "uptime").write_text("6000.25 1.0\n")
    source.refresh()
    assert source.by_pid[7].state == "S" and source.by_pid[7].total_vm
    source.close()


def test_threads_that_vanish_while_they_are_looked_at_hide_nobody(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of threads skips some when others vanish from it meanwhile."""
    proc.add(7, state="Z", total_vm=0)
    for thread in (7, 8, 9):
        proc.add_thread(7, thread, state="Z" if thread < 9 else "S", total_vm=thread // 9)
    real = os.scandir
    tries = 0

    def scandir(path: str) -> Any:
        nonlocal tries
        tries += 1
        if tries > 1:
            return real(path)
        (proc.root / "7/task/8/stat").unlink()
        entries = [entry for entry in real(path) if entry.name != "9"]
        return _Listed(entries)

    monkeypatch.setattr(os, "scandir", scandir)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    assert source.threads.stand_in(7) == 9
    source.close()


class _Listed(list[Any]):
    def __enter__(self) -> _Listed:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_the_control_group_is_that_of_the_thread(proc: Any) -> None:
    """Version 1 shows "/" of a thread that ends, and version 2 where it was at the end."""
    proc.add(7, state="Z", total_vm=0, cgroup=b"1:name=systemd:/\n0::/old.service (deleted)\n")
    proc.add_thread(7, 8, cgroup=b"1:name=systemd:/here.service\n0::/here.service\n")
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    assert source.read(source.by_pid[7], "cgroup") == "/here.service"
    source.close()


def test_what_was_read_of_the_first_thread_is_forgotten_when_it_ends(proc: Any) -> None:
    proc.add(7, cgroup=b"0::/a.service\n")
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    process = source.by_pid[7]
    assert source.read(process, "cgroup") == "/a.service"
    proc.add(7, state="Z", total_vm=0, cgroup=b"0::/\n")
    proc.add_thread(7, 8, uid=1234, cgroup=b"0::/b.service\n")
    source.refresh()
    assert field(source, process, "cgroup") == "/b.service"
    assert field(source, process, "uid") == 1234
    # An exec: the thread that called it is the first one now.
    proc.add(7, uid=77, cgroup=b"0::/c.service\n")
    source.refresh()
    assert source.threads.stand_in(process.pid) == 0
    assert field(source, process, "cgroup") == "/c.service"
    assert field(source, process, "uid") == 77
    source.close()


def test_a_first_thread_that_is_about_to_end_counts_as_ended(proc: Any) -> None:
    """It has its memory until the end; all threads that end mean that the process does."""
    proc.add(7, flags=PF_EXITING)
    proc.add_thread(7, 7, flags=PF_EXITING)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    assert ineligible(source.by_pid[7], frozenset()) is Why.EXITING
    proc.add_thread(7, 8, flags=0x400040)
    (proc.root / "7/stat").write_bytes((proc.root / "7/stat").read_bytes() + b" ")
    source.refresh()
    assert ineligible(source.by_pid[7], frozenset()) is None
    assert source.by_pid[7].flags == 0x400040
    source.close()


def test_only_a_process_of_one_thread_is_a_zombie(child: Any, open_source: Open) -> None:
    child.rot()
    source = open_source()
    process = source.by_pid[child.pid]
    assert (process.state, process.threads) == ("Z", 1)
    assert ineligible(process, frozenset()) is Why.ZOMBIE
    assert source.threads.stand_in(process.pid) == 0


def test_a_thread_that_renames_itself_does_not_rename_the_process(
    spawn: Spawn, open_source: Open
) -> None:
    child = spawn(leaderless=True)
    name = Path(f"/proc/{child.pid}/comm").read_text().strip()
    child.do("comm(b'systemd')")
    assert open_source().by_pid[child.pid].comm == name != "systemd"


def test_a_plan_for_oom_score_adj_knows_its_size(
    spawn: Spawn, open_source: Open, tmp_path: Path
) -> None:
    hog, small = spawn(leaderless=True), spawn()
    hog.do("ballast = b'x' * 60_000_000")
    small.do("ballast = b'x' * 20_000_000")
    made = program(f"only kill anything when ppid == {os.getpid()}\nscore rss\n")
    source = open_source(made)
    ranking = Ranker(made, source.host).rank(source)
    found = survey.survey_live(ranking, source, _no_record(source, tmp_path))
    sizes = {task.pid: task.size for task in found.candidates}
    assert list(sizes) == [hog.pid, small.pid]
    thread = hog.threads()[0]
    tables, swap = kib(hog, thread, "VmPTE"), kib(hog, thread, "VmSwap")
    rss = int(hog.stat(thread)[21])
    assert sizes[hog.pid] == rss + (tables * 1024 // PAGE) + (swap * 1024 // PAGE)


def _no_record(source: ProcSource, tmp_path: Path) -> Record:
    return origins.see_originals(source, str(tmp_path / "adjustments.json"))


def test_threads_that_end_faster_than_they_are_looked_at_leave_no_doubt_that_protects(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay of threads: the one that was found a moment ago is always gone."""
    proc.add(7, state="Z", total_vm=0)
    proc.add_thread(7, 8)
    source = ProcSource(program("score rss + swap"), root=str(proc.root)).refresh()
    process = source.by_pid[7]
    lines = b"Name:\tx\nUid:\t5\t5\t5\t5\nCapEff:\t0\n"
    (proc.root / "7/status").write_bytes(lines)
    (proc.root / "7/exe").unlink()
    for file in ("status", "exe", "cmdline"):
        (proc.root / f"7/task/8/{file}").unlink()
    assert source.read(process, "swap") is SELF_MADE
    assert source.read(process, "exe") is SELF_MADE
    assert source.read(process, "cmdline") is SELF_MADE
    assert field(source, process, "uid") == 5
    (proc.root / "7/task/8/stat").unlink()
    assert source.read(process, "swap") is SELF_MADE
    assert process.state == "S" and process.rss
    source.close()


def test_a_relay_of_threads_is_no_zombie(proc: Any) -> None:
    """Whatever stood in is gone, and so is each that the list names: it goes on all the same."""
    directory = proc.add(7, state="Z", total_vm=0)
    proc.add_thread(7, 8)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    before = source.by_pid[7].rss
    (directory / "task/8/stat").unlink()
    for _ in range(3):
        source.refresh()
        process = source.by_pid[7]
        assert (process.state, process.rss) == ("S", before)
    # Without a doubt it has ended: none is missing, and none goes on.
    proc.add_thread(7, 8, state="Z", total_vm=0)
    source.refresh()
    assert source.by_pid[7].state == "Z"
    source.close()
