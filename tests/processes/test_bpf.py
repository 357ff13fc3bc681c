"""The rows of the BPF iterator, made by hand: what is believed of them, and what is not.

What a kernel really writes is compared in the guest: tests/vm/test_iterator.py.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oomrules.attributes import ATTRIBUTES
from oomrules.language import compiler, rulefiles
from oomrules.language.text import RuleText
from oomrules.processes import bpf, procfs
from oomrules.processes.bpf import HEAD, ROW, ROW_FIELDS, TAIL, IteratorSource
from oomrules.processes.machine import Memory
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import PF_KTHREAD, UNREAD
from oomrules.processes.values import GETTERS
from oomrules.program.program import Program, make
from oomrules.ranking.ranker import Ranker
from oomrules.resources import rules
from tests.children import CHECKOUT

NAMES = [field.partition(":")[0] for field in ROW_FIELDS]
TICK = 10**9 // os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
EVERYTHING = make((), {})._replace(attributes=frozenset(ATTRIBUTES))
NOTHING = make((), {})
Rows = dict[int, dict[str, Any]]


def start_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def row(pid: int, **values: Any) -> dict[str, Any]:
    """A process that sleeps."""
    sleeping = {"state": 1, "threads": 1, "total_vm": 500, "rss": 100, "start": 5 * 10**9}
    return {
        **dict.fromkeys(NAMES, 0),
        "comm": b"x",
        "uid": 1000,
        "euid": 1000,
        **sleeping,
        "pid": pid,
        **values,
    }


def ourselves() -> dict[str, Any]:
    pid = os.getpid()
    return row(pid, start=start_of(pid) * TICK + 4321, comm=b"me")


def head(magic: int = bpf.MAGIC, version: int = 1, size: int = ROW.size, notes: int = 0) -> bytes:
    return HEAD.pack(0, version, magic, size, notes).ljust(ROW.size, b"\0")


def tail(magic: int = bpf.END, version: int = 1) -> bytes:
    return TAIL.pack(0, version, magic).ljust(ROW.size, b"\0")


def packed(*rows: dict[str, Any]) -> bytes:
    return b"".join(ROW.pack(*(one[name] for name in NAMES)) for one in rows)


def listing(*rows: dict[str, Any], notes: int = 0) -> bytes:
    return head(notes=notes) + packed(*rows, ourselves()) + tail()


class File:
    """Stands in for the pinned iterator."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def says(self, data: bytes) -> None:
        self.path.write_bytes(data)


@pytest.fixture
def tasks(tmp_path: Path) -> File:
    return File(tmp_path / "tasks")


@pytest.fixture
def open_source(tasks: File) -> Iterator[Callable[..., IteratorSource]]:
    sources: list[IteratorSource] = []

    def opened(made: Program = NOTHING, **options: Any) -> IteratorSource:
        sources.append(IteratorSource(made, tasks=str(tasks.path), **options))
        return sources[-1]

    yield opened
    for source in sources:
        source.close()


def believed(source: IteratorSource) -> IteratorSource:
    source.refresh()
    assert source.note == ""
    assert source.by_iterator
    return source


# --- the format ------------------------------------------------------------------------


def test_c_and_python_agree_about_the_rows(tmp_path: Path) -> None:
    source = ["#include <stddef.h>", "#include <stdio.h>", "#include <linux/types.h>"]
    source += [f'#include "{CHECKOUT}/bpf/rows.h"', "int main(void) {"]
    source += [
        f'printf("{name} %zu %zu\\n", offsetof(struct row, {name}),'
        f" sizeof(((struct row *)0)->{name}));"
        for name in NAMES
    ]
    source += [
        'printf("%zu %zu %zu\\n", sizeof(struct row), sizeof(struct head), sizeof(struct tail));',
        'printf("%zu %zu %zu\\n", offsetof(struct head, magic), offsetof(struct head, row_size),'
        " offsetof(struct head, notes));",
        'printf("%zu\\n", offsetof(struct tail, magic));',
        'printf("%llu %llu %d %d %d\\n", ROWS_MAGIC, ROWS_END, ROWS_VERSION,'
        " ROWS_SWAP_IS_ROUGH, ROW_TIMES_IN_DOUBT);",
        'printf("%d\\n", ROW_FIRST_THREAD_ENDED);',
        "}",
    ]
    (tmp_path / "layout.c").write_text("\n".join(source))
    subprocess.run(["gcc", "-o", "layout", "layout.c"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True).stdout
    ours, offset = [], 0
    for field in ROW_FIELDS:
        name, _, code = field.partition(":")
        ours.append(f"{name} {offset} {struct.calcsize('=' + code)}")
        offset += struct.calcsize("=" + code)
    ours.append(f"{ROW.size} {ROW.size} {ROW.size}")
    ours += ["8 16 20", "8"]
    numbers = (bpf.MAGIC, bpf.END, bpf.VERSION)
    notes = (bpf.SWAP_IS_ROUGH, bpf.TIMES_IN_DOUBT)
    ours.append(" ".join(map(str, (*numbers, *notes))))
    ours.append(str(bpf.FIRST_THREAD_ENDED))
    assert said.splitlines() == ours


KERNEL = """
#include <stdio.h>
typedef unsigned long long u64;
int main(void)
{
    u64 utime, stime, rtime, put, pst;
    while (scanf("%llu %llu %llu %llu %llu", &utime, &stime, &rtime, &put, &pst) == 5) {
        if (put + pst >= rtime)
            goto out;
        if (stime == 0) {
            utime = rtime;
            goto update;
        }
        if (utime == 0) {
            stime = rtime;
            goto update;
        }
        stime = (u64)((unsigned __int128)stime * rtime / (stime + utime));
update:
        if (stime < pst)
            stime = pst;
        utime = rtime - stime;
        if (utime < put) {
            utime = put;
            stime = rtime - utime;
        }
        pst = stime;
        put = utime;
out:
        printf("%llu %llu\\n", put, pst);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cputime_adjust() as the kernel has it, with its arithmetic."""
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "adjust.c").write_text(KERNEL)
    subprocess.run(["gcc", "-O1", "-o", "adjust", "adjust.c"], cwd=folder, check=True)
    return folder / "adjust"


TIMES = st.one_of(st.sampled_from((0, 1, TICK)), st.integers(0, 2**40), st.integers(0, 2**56))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.tuples(TIMES, TIMES, TIMES, TIMES, TIMES), min_size=50, max_size=400))
def test_times_are_scaled_as_the_kernel_does(
    kernel: Path, cases: list[tuple[int, int, int, int, int]]
) -> None:
    lines = "".join(f"{' '.join(map(str, case))}\n" for case in cases)
    said = subprocess.run([kernel], input=lines, capture_output=True, text=True, check=True).stdout
    expected = [tuple(map(int, line.split())) for line in said.splitlines()]
    assert [bpf.shown_times(*case) for case in cases] == expected


@pytest.mark.parametrize(
    ("state", "exit_state", "shown"),
    [
        (0, 0, "R"), (1, 0, "S"), (2, 0, "D"), (4, 0, "T"), (8, 0, "t"), (0x80, 0x10, "X"),
        (0x80, 0x20, "Z"), (0x402, 0, "I"), (0x2402, 0, "I"), (0x2001, 0, "S"), (0x102, 0, "D"),
        (0x104, 0, "T"), (0x1000, 0, "D"), (0x40, 0, "P"), (0x8000, 0, None), (0x200, 0, "R"),
    ],
)  # fmt: skip
def test_states_have_the_letters_of_proc(state: int, exit_state: int, shown: str | None) -> None:
    assert bpf.letter(state, exit_state) == shown


# --- rows that are believed --------------------------------------------------------------


def _as_rows(source: ProcSource) -> list[dict[str, Any]]:
    """What an iterator would have said at the moment of a refresh by /proc."""
    states = {"R": 0, "S": 1, "D": 2, "T": 4, "t": 8, "I": 0x402, "Z": 0x80, "P": 0x40, "X": 0x80}
    rows = []
    for process in sorted(source.by_pid.values(), key=lambda process: process.pid):

        def get(name: str, process: Any = process) -> int:
            value = getattr(process, name)
            return (source.read(process, name) if value is UNREAD else value) or 0

        identity = "ppid session tty_nr uid euid gid egid capabilities oom_score_adj".split()
        values = {name: get(name) for name in identity}
        if process.state == "X" or None in [getattr(process, name) for name in identity]:
            # It ended while it was read. A row has no way to say that something is unknown.
            del source.by_pid[process.pid]
            continue
        assert process.starttime is not None
        assert process.comm is not None and process.state is not None
        rows.append(
            row(
                process.pid,
                **values,
                start=process.starttime * TICK + process.pid % TICK,
                comm=process.comm.encode()[:16] if (process.flags or 0) & PF_KTHREAD == 0 else b"k",
                state=states[process.state],
                exit_state={"Z": 0x20, "X": 0x10}.get(process.state, 0),
                shown_utime=(process.utime or 0) * TICK + 999,
                shown_stime=(process.stime or 0) * TICK,
                total_vm=process.total_vm,
                rss=process.rss,
                flags=process.flags,
                threads=process.threads,
                nice=process.nice,
                swap=get("swap"),
                locked=get("locked") // PAGE,
                pgtables=get("pgtables"),
                pid_depth=get("pid_depth"),
            )
        )
    return rows


DEFAULT = compiler.compile_rules(rulefiles.given([str(rules())]))
BY_IDENTITY = compiler.compile_texts(
    [
        RuleText(
            "f.oom",
            "score total_vm + footprint + locked\nprefer anything when ppid > 100 by 3\n"
            'spare anything when tty == "" by 5\nprefer uid 0 by 7\nspare gid 0 by 11\n'
            "prefer anything with SYS_ADMIN by 13\nspare anything when oom_score_adj > 0 by 17\n"
            'spare anything when state == "S" by 19\nprefer anything when session > 500 by 23\n',
        )
    ]
)


@pytest.mark.parametrize("made", [DEFAULT, BY_IDENTITY], ids=["default", "identity"])
def test_this_host_has_the_same_ranking_by_rows_as_by_proc(
    made: Program, tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    everything = ProcSource(EVERYTHING).refresh()
    tasks.says(head() + packed(*_as_rows(everything)) + tail())
    by_rows = believed(open_source(made))
    by_proc = ProcSource(made)
    by_proc.host = by_rows.host = everything.host
    by_proc.by_pid = everything.by_pid
    rankings = [Ranker(made, s.host).rank(s) for s in (by_rows, by_proc)]
    assert rankings[0].pids == rankings[1].pids
    assert len(rankings[0].pids) >= 1
    for one, other in zip(*(ranking.candidates for ranking in rankings), strict=True):
        assert rankings[0].verdict(one) == rankings[1].verdict(other)


def test_more_rows_than_one_read_gives(
    tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    pids = [pid for pid in range(100001, 101500) if pid != os.getpid()]
    tasks.says(listing(*(row(pid, rss=pid) for pid in pids)))
    source = believed(open_source())
    assert {pid: process.rss for pid, process in source.by_pid.items() if pid in pids} == {
        pid: pid for pid in pids
    }
    assert len(source.by_pid) == len(pids) + 1


@pytest.mark.parametrize("name", [b"a b) R (\n1", b"\xff\xfe", b"\xc3\xa4" * 7, b"(", b""])
def test_a_name_may_have_any_bytes(
    name: bytes, tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    tasks.says(listing(row(100001, comm=name)))
    process = believed(open_source()).by_pid[100001]
    assert process.comm == name.decode("utf-8", "backslashreplace")


def test_processes_come_and_go(tasks: File, open_source: Callable[..., IteratorSource]) -> None:
    source = open_source()
    tasks.says(listing(row(100001), row(100002)))
    believed(source)
    stayed = source.by_pid[100002]
    tasks.says(listing(row(100002), row(100003)))
    believed(source)
    assert set(source.by_pid) == {100002, 100003, os.getpid()}
    assert source.by_pid[100002] is stayed
    # As many as before, and yet others.
    tasks.says(listing(row(100004), row(100005)))
    believed(source)
    assert set(source.by_pid) == {100004, 100005, os.getpid()}


@pytest.mark.parametrize("depth", [0, 2])
def test_a_row_tells_how_many_pid_namespaces_below_the_reader_s_a_process_is(
    depth: int, tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    source = open_source(NOTHING._replace(attributes=frozenset(["pid_depth"])))
    tasks.says(listing(row(100001, pid_depth=depth)))
    assert believed(source).by_pid[100001].pid_depth == depth


def test_a_recycled_pid_is_another_process(
    tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    source = open_source()
    tasks.says(listing(row(100001)))
    process = believed(source).by_pid[100001]
    process.cmdline, process.decider = "old", lambda *_: None
    tasks.says(listing(row(100001, start=6 * 10**9)))
    believed(source)
    assert process.decider is UNREAD
    assert process.cmdline is UNREAD
    assert process.starttime == 6 * 10**9 // TICK


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"uid": 1001}, "spare uid 1001"),
        ({"euid": 0}, "spare anything when euid == 0"),
        ({"gid": 7}, "spare gid 7"),
        ({"egid": 7}, "spare anything when egid == 7"),
        ({"capabilities": 1 << 17}, "spare anything with RAWIO"),
        ({"oom_score_adj": -1000}, "never kill oom_score_adj -1000"),
        ({"ppid": 100002}, "spare ppid 100002"),
        ({"session": 100001}, "spare session 100001"),
        ({"tty_nr": 136 << 8 | 3}, 'spare tty "pts/3"'),
        ({"nice": -5}, "spare anything when nice < 0"),
        ({"threads": 9}, "spare anything when threads > 1"),
        ({"state": 2}, 'spare anything when state == "D"'),
        ({"rss": 90}, "spare anything when rss < 100 * 4KiB"),
        ({"swap": 50}, "spare anything when swap > 0KiB"),
        ({"locked": 50}, "spare anything when locked > 0KiB"),
        ({"pgtables": 40960}, "spare anything when pgtables > 0KiB"),
        ({"comm": b"sshd"}, 'never kill comm "sshd"'),
        ({"runtime": 10**9}, "spare anything when cpu_time > 500ms"),
        ({"flags": 4}, "prefer anything"),
        ({"total_vm": 0}, "prefer anything"),
    ],
    ids=str,
)
def test_a_change_is_seen_by_the_rules_at_the_next_refresh(
    change: dict[str, Any],
    rule: str,
    tasks: File,
    open_source: Callable[..., IteratorSource],
) -> None:
    made = compiler.compile_texts([RuleText("f.oom", f"score 1000 * threads\n{rule}\n")])
    source = open_source(made)
    ranker = Ranker(made, source.host)

    def points() -> int | None:
        ranking = ranker.rank(believed(source))
        found = [process for process in ranking.candidates if process.pid == 100001]
        return ranking.verdict(found[0]).points if found else None

    tasks.says(listing(row(100001), row(100002)))
    before = points()
    assert before
    tasks.says(listing(row(100001, **change), row(100002)))
    after = points()
    assert after != before
    tasks.says(listing(row(100001), row(100002)))
    assert points() == before


def test_doubtful_times_and_frozen_states_are_asked_of_proc(
    spawn: Callable[..., Any], tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    child = spawn()
    child.stop()
    start = start_of(child.pid) * TICK
    wrong = {"start": start, "shown_utime": 10**15, "comm": b"python"}
    for one in ({"doubt": 1, "state": 4}, {"state": 0x8000}):
        tasks.says(listing(row(child.pid, **wrong, **one)))
        source = open_source()
        for _ in range(2):
            process = believed(source).by_pid[child.pid]
            assert process.state == "T"
            assert process.utime is not None and process.utime < 1000


def test_rough_swap_is_asked_of_status(
    spawn: Callable[..., Any],
    tasks: File,
    open_source: Callable[..., IteratorSource],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = spawn()
    made = make((), {})._replace(attributes=frozenset({"swap"}))
    rows = [row(child.pid, start=start_of(child.pid) * TICK, swap=77)]
    for notes, swap_total, expected in ((0, 1, 77), (1, 0, 77), (1, 1, 0)):
        tasks.says(listing(*rows, notes=notes))
        source = open_source(made)
        monkeypatch.setattr(Memory, "totals", lambda _, swap=swap_total: (1 << 30, swap))
        assert believed(source).by_pid[child.pid].swap == expected


def test_what_rows_lack_comes_from_proc(
    spawn: Callable[..., Any], tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    child = spawn("--argument")
    made = make((), {})._replace(attributes=frozenset({"anon", "cmdline"}))
    tasks.says(listing(row(child.pid, start=start_of(child.pid) * TICK)))
    source = believed(open_source(made))
    process = source.by_pid[child.pid]
    assert process.anon > 0
    assert source.read(process, "cmdline").endswith("\0--argument")
    assert source.read(process, "cgroup") is not None


def test_verifying_and_going_on_keeps_the_rows_true(
    spawn: Callable[..., Any], tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    child = spawn()
    tasks.says(listing(row(child.pid, start=start_of(child.pid) * TICK, comm=b"other", uid=5)))
    source = believed(open_source(BY_IDENTITY))
    process = source.by_pid[child.pid]
    assert not source.verify([process])
    believed(source)
    assert (process.comm, process.uid) == ("other", 5)


def test_nothing_is_read_behind_the_tail(
    open_source: Callable[..., IteratorSource], tasks: File
) -> None:
    # The kernel goes on if a process was started between the tail and the next read.
    os.mkfifo(tasks.path)

    def kernel() -> None:
        with open(tasks.path, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(listing(row(100001)))
            time.sleep(0.3)
            pipe.write(packed(row(100002)))

    writer = threading.Thread(target=kernel)
    writer.start()
    source = open_source()
    believed(source)
    writer.join()
    assert set(source.by_pid) == {100001, os.getpid()}


# --- rows that are not believed ------------------------------------------------------------

GOOD = listing(row(100001), row(100002))


def test_rows_of_capabilities_in_another_user_namespace_are_worth_nothing(
    tmp_path: Path, spawn: Callable[..., Any], tasks: File, open_source: Callable[..., Any]
) -> None:
    child = spawn()
    child.stop()
    one = row(child.pid, start=start_of(child.pid) * TICK, capabilities=1 << 17)
    source = open_source()
    for ids, expected in ({}, 1 << 17), ({"_own_ids": [b"0", b"1000", b"1"]}, 0):
        vars(source.namespaces).update(ids)
        tasks.says(listing({**one, "rss": 100 + expected}))
        assert believed(source).by_pid[child.pid].capabilities == expected
    # Root's are believed without a look, and whose are known is not looked at again.
    source.namespaces._own_ids, source.threads.prefix = [], "/nonexistent/"
    tasks.says(listing({**one, "rss": 7}))
    with open(tasks.path, "rb") as rows:
        assert source._take_all(rows.fileno())
    assert source.by_pid[child.pid].capabilities == 0
    source.threads.prefix = "/proc/"
    tasks.says(listing({**one, "uid": 0, "euid": 0}))
    assert believed(source).by_pid[child.pid].capabilities == 1 << 17


DAMAGED = {
    "empty": b"",
    "only a head": head(),
    "half a head": head()[:20],
    "no head": GOOD[ROW.size :],
    "no tail": GOOD[: -ROW.size],
    "half a tail": GOOD[:-7],
    "half a row": GOOD[: 2 * ROW.size - 5],
    "more behind the tail": GOOD + packed(row(100003)),
    "two lists": GOOD + GOOD,
    "a row without a pid": head() + packed(row(0), ourselves()) + tail(),
    "another magic": head(magic=7) + GOOD[ROW.size :],
    "another version": head(version=2) + GOOD[ROW.size :],
    "another size of rows": head(size=192) + GOOD[ROW.size :],
    "another tail": GOOD[: -ROW.size] + tail(version=2),
    "without this process": head() + packed(row(100001)) + tail(),
    "this process at another time": head() + packed({**ourselves(), "start": 1}) + tail(),
    "text": b"".join(b"%d root sleep\n" % n for n in range(9999)),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_is_a_note_and_the_list_is_that_of_proc(
    damage: str, spawn: Callable[..., Any], tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    child = spawn()
    child.stop()
    lie = row(child.pid, start=start_of(child.pid) * TICK, uid=77, rss=7**7, capabilities=2**20)
    tasks.says(listing(lie, row(100001)))
    source = open_source(DEFAULT)
    assert believed(source).by_pid[child.pid].uid == 77
    tasks.says(DAMAGED[damage])
    source.refresh()
    assert not source.by_iterator
    assert str(tasks.path) in source.note and "/proc is read instead" in source.note
    assert 100001 not in source.by_pid
    honest = ProcSource(DEFAULT).refresh()
    ours, theirs = source.by_pid[child.pid], honest.by_pid[child.pid]
    for name in ("rss", "utime", "total_vm", "comm", "state", "starttime"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.uid, ours.capabilities) == (UNREAD, UNREAD)
    assert source.read(ours, "uid") == honest.read(theirs, "uid")
    assert ours.capabilities == theirs.capabilities
    # And back again.
    tasks.says(listing(lie))
    assert believed(source).by_pid[child.pid].uid == 77


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
@example(None)
def test_whatever_is_in_the_file_nothing_but_a_whole_list_is_believed(data: Any) -> None:
    with tempfile.NamedTemporaryFile() as file:
        garbage = bytearray(GOOD)
        if data is not None:
            for _ in range(data.draw(st.integers(1, 5))):
                place = data.draw(st.integers(0, ROW.size - 1))
                garbage[place] = data.draw(st.integers(0, 255))
            cut = data.draw(st.integers(1, len(garbage)))
            garbage = garbage[: len(garbage) - cut]
        file.write(garbage if data is not None else b"\0" * 10 * ROW.size)
        file.flush()
        source = IteratorSource(NOTHING, tasks=file.name)
        source.refresh()
        assert not source.by_iterator and source.note
        assert 100001 not in source.by_pid and os.getpid() in source.by_pid
        source.close()


def test_a_directory_in_its_place_is_a_note(tmp_path: Path) -> None:
    source = IteratorSource(NOTHING, tasks=str(tmp_path)).refresh()
    assert str(tmp_path) in source.note
    assert os.getpid() in source.by_pid


@pytest.mark.parametrize("expected", [True, False])
def test_no_iterator_is_worth_a_note_only_to_those_who_asked(
    expected: bool, open_source: Callable[..., IteratorSource]
) -> None:
    source = open_source(expected=expected).refresh()
    assert bool(source.note) is expected
    assert not source.by_iterator
    assert os.getpid() in source.by_pid


def test_an_iterator_that_is_pinned_later_is_taken_up_and_frees_the_descriptors(
    tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    source = open_source(descriptors=8).refresh()
    assert source.descriptors.kept > 0
    tasks.says(listing(row(100001)))
    believed(source)
    assert source.descriptors.kept == 0
    assert set(source.by_pid) == {100001, os.getpid()}


# --- what is kept from one ranking to the next -----------------------------------------------

KEPT = (
    "score total_vm / root(cpu_time / 8192ms) / root(root(run_time / 1024s))",
    "score total_vm / root(run_time / 2s) / root(run_time / 3s)",
    "score rss\nprefer anything when run_time < 7s by 3",
    "score rss\nspare anything when run_time / 1500ms > 3 by 7",
    "score rss\nspare uid 1001 when rss > 50 * 4KiB by 3\nprefer uid 1002 when nice > 0 by 5",
    "define old = run_time / 5s > 2\nscore rss\nkill last uid 1001 when old\nnever kill uid 1002",
    "score rss\nkill first anything when old or nice > 0\ndefine old = not run_time / 4s < 2",
    'score rss + unit.memory\nprefer anything when state == "S"',
    "score footprint\nspare anything when swap > 40KiB or pgtables > 8KiB by 3",
    # What other processes do, and the host, changes the place of one that sleeps.
    "score rss + user.footprint / 2\nspare anything when user.processes > 2 by 3",
    "score rss\nkill first anything when host.free > 1B and user.processes > 3",
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "rss": st.integers(1, 200),
        "total_vm": st.integers(0, 200),
        "swap": st.integers(0, 20),
        "pgtables": st.sampled_from((0, PAGE, 4 * PAGE)),
        "nice": st.integers(-2, 2),
        "uid": st.sampled_from((0, 1001, 1002)),
        "state": st.sampled_from((0, 1, 2)),
        "runtime": st.integers(0, 10**12),
        "start": st.sampled_from((5 * 10**9, 8 * 10**9, 10**10, 10**12 + 1)),
    },
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from(KEPT),
    st.lists(
        st.tuples(
            # None: it ends.
            st.dictionaries(st.integers(100001, 100006), st.none() | CHANGES, max_size=3),
            st.sampled_from((0, 0, 1, 2, 3, 5, 1024, 5000, -3)),
        ),
        min_size=2,
        max_size=8,
    ),
)
def test_places_that_are_kept_are_those_that_would_be_found_anew(
    text: str, steps: list[tuple[dict[int, dict[str, Any] | None], int]]
) -> None:
    made = compiler.compile_texts([RuleText("f.oom", text)])
    pids = range(100001, 100006)
    rows = {pid: row(pid, uid=1000 + pid % 3, rss=pid % 100000 * 17) for pid in pids}
    uptime = 1000.5
    with tempfile.NamedTemporaryFile() as file:
        kept = IteratorSource(made, tasks=file.name)
        ranker = Ranker(made, kept.host)
        for changes, later in steps:
            for pid, change in changes.items():
                if change is None:
                    rows.pop(pid, None)
                else:
                    rows[pid] = {**rows.get(pid, row(pid)), **change}
            uptime += later
            Path(file.name).write_bytes(listing(*(rows[pid] for pid in sorted(rows))))
            believed(kept)
            fresh = believed(IteratorSource(made, tasks=file.name))
            kept.host = fresh.host = kept.host._replace(uptime=uptime)
            expected = Ranker(made, fresh.host).rank(fresh).pids
            assert ranker.rank(kept).pids == expected
            fresh.close()
        kept.close()


def test_rows_tell_how_a_process_grows(
    tasks: File, open_source: Callable[..., IteratorSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(procfs, "now", lambda: clock[0])
    made = compiler.compile_texts(
        [RuleText("f.oom", "score rss\nprefer anything when growth > 1B")]
    )
    source = open_source(made)
    ranker = Ranker(made, source.host)
    found = []
    for at, rss, swap in (
        (1000, 10, 0),
        (1002, 10, 40),
        (1004, 90, 40),
        (1014, 90, 40),
        (1024, 90, 40),
    ):
        clock[0] = at
        rows = (row(100001, rss=rss, swap=swap, pgtables=PAGE), row(100002, rss=80))
        tasks.says(listing(*rows))
        ranking = ranker.rank(believed(source))
        points = [
            ranking.verdict(source.by_pid[pid]).points // held
            for pid, held in ((100001, rss), (100002, 80))
        ]
        found.append((GETTERS["growth"](source.by_pid[100001], source), points))
    assert found == [(None, [1, 1]), (20, [2, 1]), (30, [2, 1]), (8, [2, 1]), (0, [1, 1])]


def test_a_place_is_kept_for_as_long_as_time_does_not_count(
    tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    made = compiler.compile_texts([RuleText("f.oom", KEPT[0])])
    source = open_source(made)
    tasks.says(listing(row(100001, start=100 * 10**9)))
    ranker = Ranker(made, source.host)
    believed(source)
    source.host = source.host._replace(uptime=1100.0)
    ranker.rank(source)
    # Its run time is divided by 1024 s: that changes at an uptime of 1124 s.
    assert source.by_pid[100001].until == 1124
    tasks.says(listing(row(100001, start=100 * 10**9, rss=5)))
    believed(source)
    assert source.by_pid[100001].until == -1


# --- threads -----------------------------------------------------------------------------


def test_a_row_of_a_process_without_its_first_thread_is_believed(
    spawn: Callable[..., Any], tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    """Its memory is in the row; what the row lacks is read of the thread that goes on."""
    child = spawn(leaderless=True)
    made = make((), {})._replace(attributes=frozenset({"anon", "swap"}))
    start = start_of(child.pid) * TICK
    tasks.says(listing(row(child.pid, start=start, doubt=2, threads=2, rss=77)))
    source = open_source(made)
    for _ in range(3):
        process = believed(source).by_pid[child.pid]
        assert (process.state, process.rss) == ("S", 77)
        assert process.anon > 0
        assert "sys.stdin" in source.read(process, "cmdline")
        assert source.read(process, "exe")
        assert source.threads.stand_in(process.pid) == child.threads()[0]
    # An exec: there is a first thread again.
    tasks.says(listing(row(child.pid, start=start)))
    assert believed(source).threads.stand_in(child.pid) == 0


def test_an_object_that_knows_only_first_threads_is_not_believed_about_one_that_ended(
    spawn: Callable[..., Any], tasks: File, open_source: Callable[..., IteratorSource]
) -> None:
    """One that was pinned by an older version."""
    child = spawn(leaderless=True)
    child.do("ballast = b'x' * 10_000_000")
    ended = {"state": 0x80, "exit_state": 0x20, "flags": 4, "total_vm": 0, "rss": 0, "threads": 2}
    tasks.says(listing(row(child.pid, start=start_of(child.pid) * TICK, comm=b"python3", **ended)))
    source = open_source()
    for _ in range(2):
        process = believed(source).by_pid[child.pid]
        assert process.state in ("S", "R", "D")
        assert process.rss and process.rss > 10_000_000 // PAGE


def test_programs_and_command_lines_are_looked_at_in_turn(
    tasks: File, open_source: Callable[..., IteratorSource], proc: Any
) -> None:
    """A program that another one of the same name replaces leaves its row as it was."""
    pid = os.getpid()
    tasks.says(head() + packed(row(7), ourselves()) + tail())
    proc.add(7, exe="/old")
    (proc.root / "self/stat").write_bytes(Path("/proc/self/stat").read_bytes())
    source = believed(open_source(root=str(proc.root)))
    assert source.read(source.by_pid[7], "exe") == "/old"
    proc.add(7, exe="/new")
    (proc.root / "uptime").write_text("5001.25 1.0\n")
    process = believed(source).by_pid[7]
    assert process.exe is UNREAD
    assert source.read(process, "exe") == "/new"
    assert pid in source.by_pid
