"""Kills in the kernel's own words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.kills.kernel_log import KernelLog, Kill, recent
from oomrules.processes.units import placement

# As Linux 6.1 says it.
GLOBAL = (
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
    "task_memcg=/system.slice/hog.service,task=tail,pid=144,uid=0"
)
LIMIT = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    "oom_memcg=/a.slice,task_memcg=/a.slice/b.service,task=x, y,pid=9,uid=1000"
)


def said(
    pid: int,
    comm: str = "tail",
    uid: int = 0,
    signal: str = "Killed",
    what: str = "Out of memory",
) -> str:
    """The line of the kill itself, by the kernel or by the module."""
    return (
        f"{what}: {signal} process {pid} ({comm}) total-vm:400000kB, anon-rss:390000kB, "
        f"file-rss:4kB, shmem-rss:0kB, UID:{uid} pgtables:800kB oom_score_adj:0"
    )


class Log:
    """A log that gives a record for each read, as /dev/kmsg does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[bytes] = []
        self.at = 0
        self.sequence = 0
        monkeypatch.setattr(os, "read", self.read)

    def say(self, message: str | bytes, priority: int = 3, seconds: float | None = None) -> None:
        data = message.encode() if isinstance(message, str) else message
        moment = int(1e6 * (self.sequence if seconds is None else seconds))
        head = f"{priority},{self.sequence},{moment},-;".encode()
        self.records.append(head + escaped(data) + b"\n SUBSYSTEM=x\n")
        self.sequence += 1

    def read(self, descriptor: int, size: int) -> bytes:
        if self.at == len(self.records):
            raise BlockingIOError
        self.at += 1
        return self.records[self.at - 1]


def escaped(message: bytes) -> bytes:
    """kernel/printk/printk.c, append_char()."""
    return b"".join(
        b"\\x%02x" % char if char < 32 or char >= 127 or char == 0x5C else bytes([char])
        for char in message
    )


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Log:
    (tmp_path / "kmsg").touch()
    return Log(monkeypatch)


def test_a_kill_is_told_once_though_the_kernel_says_it_twice(log: Log, tmp_path: Path) -> None:
    log.say("hello")
    log.say(GLOBAL)
    log.say(said(144))
    (kill,), last, _ = recent(-1, str(tmp_path / "kmsg"))
    assert (kill.pid, kill.comm, kill.cgroup) == (144, "tail", "/system.slice/hog.service")
    assert (kill.constraint, kill.uid, kill.time, last) == ("CONSTRAINT_NONE", 0, 2.0, 2)


def test_what_the_module_kills_is_told_too(log: Log, tmp_path: Path) -> None:
    log.say(said(12, "a (b) c", 7))
    log.say(said(13, "d", 7))
    found, *_ = recent(-1, str(tmp_path / "kmsg"))
    assert [(kill.pid, kill.comm, kill.uid) for kill in found] == [(12, "a (b) c", 7), (13, "d", 7)]
    assert {(kill.constraint, kill.cgroup) for kill in found} == {("CONSTRAINT_NONE", "")}


def test_a_kill_at_a_limit_names_the_victims_group(log: Log, tmp_path: Path) -> None:
    log.say(LIMIT)
    log.say(said(9, "x, y", 1000, what="Memory cgroup out of memory"))
    (kill,), *_ = recent(-1, str(tmp_path / "kmsg"))
    assert (kill.constraint, kill.cgroup, kill.comm, kill.pid) == (
        *("CONSTRAINT_MEMCG", "/a.slice/b.service"),
        *("x, y", 9),
    )


def test_a_kill_without_its_summary_is_told_all_the_same(log: Log, tmp_path: Path) -> None:
    """The summary is rate-limited, and a group that is killed as a whole has one for its first."""
    log.say(LIMIT)
    for pid in (9, 10, 11):
        log.say(said(pid, "x, y", 1000, what="Memory cgroup out of memory"))
    log.say(said(12, what="Out of memory (oom_kill_allocating_task)"))
    found, *_ = recent(-1, str(tmp_path / "kmsg"))
    limit, whole = "CONSTRAINT_MEMCG", "CONSTRAINT_NONE"
    assert [(kill.pid, kill.constraint, kill.cgroup) for kill in found] == [
        *((9, limit, "/a.slice/b.service"), (10, limit, ""), (11, limit, "")),
        (12, whole, ""),
    ]


def test_a_signal_to_end_is_no_kill_and_a_second_word_on_one_no_second_kill(
    log: Log, tmp_path: Path
) -> None:
    log.say(said(144, signal="Terminated"))
    log.say(said(144), seconds=3)
    log.say(GLOBAL, seconds=3.1)
    log.say(said(144), seconds=3.2)
    # So much later it is another process with the same number.
    log.say(said(144, "other"), seconds=100)
    found, *_ = recent(-1, str(tmp_path / "kmsg"))
    assert [(kill.comm, kill.time) for kill in found] == [("tail", 3.0), ("other", 100.0)]


def test_a_summary_is_only_about_the_process_that_is_killed(log: Log, tmp_path: Path) -> None:
    log.say(GLOBAL, seconds=1)
    log.say(said(145), seconds=1)
    log.say(said(144, uid=1000), seconds=2)
    log.say(GLOBAL.replace("144", "146"), seconds=3)
    log.say(said(146), seconds=300)
    found, *_ = recent(-1, str(tmp_path / "kmsg"))
    assert [(kill.pid, kill.cgroup) for kill in found] == [(145, ""), (144, ""), (146, "")]


@pytest.mark.parametrize("priority", [8, 11, 14, 30, 191])
def test_what_programs_write_into_the_kernels_log_is_no_kill(
    priority: int, log: Log, tmp_path: Path
) -> None:
    log.say(GLOBAL, priority)
    log.say(said(144), priority)
    assert recent(-1, str(tmp_path / "kmsg"))[0] == []


@pytest.mark.parametrize("before", ["mallory[77]: ", "x\n", " "])
def test_a_kill_is_the_whole_message(before: str, log: Log, tmp_path: Path) -> None:
    log.say(before + GLOBAL)
    log.say(before + said(144))
    log.say(said(145) + "x")
    assert recent(-1, str(tmp_path / "kmsg"))[0] == []


def test_the_logs_escapes_are_undone(log: Log, tmp_path: Path) -> None:
    unit, comm = r"/system.slice/my\x2dapp.service", "caf\u00e9\n\\"
    log.say(GLOBAL.replace("/system.slice/hog.service", unit).replace("=tail", f"={comm}"))
    log.say(said(144, comm))
    (kill,), *_ = recent(-1, str(tmp_path / "kmsg"))
    assert (kill.cgroup, kill.comm) == (unit, comm)


# --- names that look like more of the message -------------------------------------------------

# Where systemd alone makes directories, and what it calls those that it hands over.
GIVEN = st.sampled_from(
    [
        "/user.slice/user-1000.slice/user@1000.service",
        "/user.slice/user-1000.slice/session-1.scope",
        "/system.slice/docker-0123.scope",
    ]
)
PIECES = (
    *(",task_memcg=", ",oom_memcg=", ",global_oom", ",task=", ",pid=812", ",uid=0", "sshd", "x"),
    *("user.slice", "system.slice", "ssh.service", "app.slice", "a.service", "\\x2c", "\xe9"),
)
NAME = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)
BELOW = st.lists(NAME | st.sampled_from(["system.slice", "ssh.service"]), max_size=6)


@given(
    given=GIVEN,
    below=BELOW,
    limit=st.integers(0, 9) | st.none(),
    again=st.lists(st.integers(0, 9), max_size=2),
    cpuset=NAME | st.just("/"),
    comm=NAME,
)
def test_a_kill_is_never_laid_at_the_door_of_a_unit_that_the_victim_was_not_in(
    given: str, below: list[str], limit: int | None, again: list[int], cpuset: str, comm: str
) -> None:
    # Paths within paths are what can be read in two ways.
    for cut in again:
        whole = "/".join([given, *below])
        below = [*below, *(",task_memcg=" + whole[: 4 * cut] + whole).split("/")]
    cgroup = "/".join([given, *below])
    parts = cgroup.split("/")
    group = ",global_oom" if limit is None else f",oom_memcg={'/'.join(parts[: max(2, limit + 2)])}"
    comm = comm.encode()[:15].decode("utf-8", "ignore")
    summary = (
        f"oom-kill:constraint=CONSTRAINT_X,nodemask=(null),cpuset={cpuset},mems_allowed=0-1{group}"
        f",task_memcg={cgroup},task={comm},pid=77,uid=1000"
    )
    with pytest.MonkeyPatch.context() as patched:
        log = Log(patched)
        log.say(summary)
        log.say(said(77, comm, 1000))
        (kill,), *_ = recent(-1, os.devnull)
    assert (kill.pid, kill.comm, kill.uid) == (77, comm, 1000)
    assert kill.cgroup == cgroup or cgroup.startswith(kill.cgroup.rstrip("/") + "/")
    chain = placement(cgroup).chain
    assert placement(kill.cgroup).chain == chain[: len(placement(kill.cgroup).chain)]
    if limit is None:
        assert kill.cgroup == cgroup


@pytest.mark.parametrize("piece", [*PIECES, ",oom_memcg=,task_memcg=", ",task=,pid=1,uid="])
@pytest.mark.parametrize("end", ["", ",task=x,pid=77,uid=1000", ",pid=77,uid=1000"])
def test_no_message_takes_long_to_read(piece: str, end: str) -> None:
    """A message has less than 1,024 bytes; this one is twenty times as long."""
    message = "oom-kill:constraint=CONSTRAINT_X,oom_memcg=/a" + piece * (20_000 // len(piece))
    with pytest.MonkeyPatch.context() as patched:
        log = Log(patched)
        log.say(message + end)
        log.say("Out of memory: Killed process 77 (" + piece * (20_000 // len(piece)))
        log.say(said(77, "x", 1000))
        assert len(recent(-1, os.devnull)[0]) == 1


# --- one kill, one record ----------------------------------------------------------------------

WHOLE = "Tasks in /a.slice/b.service are going to be killed due to memory.oom.group set"
MEMCG = "Memory cgroup out of memory"


def read(log: Log, path: Path, after: int = -1) -> list[Kill]:
    kernel_log = KernelLog(after, str(path / "kmsg"))
    found = kernel_log.read()
    kernel_log.close()
    return found


def test_of_a_group_that_is_killed_as_a_whole_every_process_is_told_once(
    log: Log, tmp_path: Path
) -> None:
    """The kernel goes through all of the group, the first victim too."""
    log.say(LIMIT, seconds=1)
    log.say(said(9, "x, y", 1000, what=MEMCG), seconds=1)
    log.say(WHOLE, 6, seconds=1)
    for pid in (8, 9, 10, 11):
        log.say(said(pid, "x, y", 1000, what=MEMCG), seconds=1)
        log.say(f"oom_reaper: reaped process {pid} (x, y), now anon-rss:0kB", 6, seconds=1)
    found = read(log, tmp_path)
    assert [kill.pid for kill in found] == [9, 8, 10, 11]
    # Those without a summary are in the group, since nothing else would have gone without one.
    assert {kill.cgroup for kill in found} == {"/a.slice/b.service"}


def test_where_reports_may_be_left_out_nobody_is_taken_for_one_of_the_group(
    log: Log, tmp_path: Path
) -> None:
    for pid in range(10, 20):
        log.say(LIMIT.replace("pid=9,", f"pid={pid},"), seconds=1)
        log.say(said(pid, "x, y", 1000, what=MEMCG), seconds=1)
    log.say(WHOLE, 6, seconds=2)
    log.say(said(50, "x", 1000, what=MEMCG), seconds=2)
    # After so long each kill has a report of its own again; then there was none about this group.
    log.say("x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0", seconds=9)
    log.say(said(51, "x", 1000, what=MEMCG), seconds=9)
    assert [(kill.pid, kill.cgroup) for kill in read(log, tmp_path)][10:] == [(50, ""), (51, "")]


@pytest.mark.parametrize("other", [{"uid": 1}, {"total_vm": 1}, {}])
def test_a_number_that_is_used_again_at_once_is_a_second_kill(
    other: dict[str, int], log: Log, tmp_path: Path
) -> None:
    second = said(144, uid=other.get("uid", 0))
    if "total_vm" in other:
        second = second.replace("400000kB", "400004kB")
    log.say(GLOBAL, seconds=1)
    log.say(said(144), seconds=1)
    if not other:
        # Each has a report of its own.
        log.say(GLOBAL, seconds=2)
    log.say(second, seconds=2)
    assert [kill.time for kill in read(log, tmp_path)] == [1.0, 2.0]


def test_who_was_asked_to_end_is_told_as_that(log: Log, tmp_path: Path) -> None:
    log.say(said(12, signal="Terminated"), seconds=1)
    log.say(said(13, signal="Terminated"), seconds=2)
    log.say(said(13), seconds=4)
    log.say(said(13), seconds=9)
    told = [(kill.pid, kill.polite) for kill in read(log, tmp_path)]
    assert told == [(12, True), (13, True), (13, False)]
    assert [kill.pid for kill in recent(-1, str(tmp_path / "kmsg"))[0]] == []  # all is read


def test_what_was_said_before_counts_for_what_is_read_later(log: Log, tmp_path: Path) -> None:
    """A service that starts between two words on one kill reads on after the first."""
    log.say(GLOBAL, seconds=1)
    log.say(said(144), seconds=1)
    log.say(LIMIT, seconds=2)
    log.say(said(9, "x, y", 1000, what=MEMCG), seconds=2)
    log.say(WHOLE, 6, seconds=2)
    log.say(said(9, "x, y", 1000, what=MEMCG), seconds=2)
    log.say(said(10, "x, y", 1000, what=MEMCG), seconds=2)
    (kill,) = read(log, tmp_path, after=4)
    assert (kill.pid, kill.cgroup) == (10, "/a.slice/b.service")


def test_who_is_left_by_others_is_told_yet(log: Log, tmp_path: Path) -> None:
    for pid in (1, 2, 3):
        log.say(said(pid))
    found, last, _ = recent(2, str(tmp_path / "kmsg"), left=[1])
    assert ([kill.pid for kill in found], last) == ([2], 2)


def test_what_was_overwritten_is_counted(log: Log, tmp_path: Path) -> None:
    log.sequence = 100
    log.say(GLOBAL)
    log.sequence = 150
    # The report of a kill is not about the one behind a gap.
    log.say(said(144))
    kernel_log = KernelLog(60, str(tmp_path / "kmsg"))
    (kill,) = kernel_log.read()
    assert (kernel_log.lost, kill.cgroup) == (39 + 49, "")
    log.at = 0
    assert recent(60, str(tmp_path / "kmsg"))[2] == 88
    log.at = 0
    # What came before anybody wanted to know is not lost.
    assert recent(-1, str(tmp_path / "kmsg"))[2] == 49


FIGURES = "total-vm:400000kB, anon-rss:390000kB, file-rss:4kB"


@pytest.mark.parametrize(
    ("before", "message", "constraint", "uid"),
    [
        # 2.6.32 and 3.10 of RHEL, 3.10 of CentOS, 4.9, 4.18, 5.0, 5.3, and at a limit.
        (
            "Out of memory: Kill process 7 (x) score 9 or sacrifice child",
            f"Killed process 7, UID 48, (x) {FIGURES}",
            *("CONSTRAINT_NONE", 48),
        ),
        (
            "Out of memory: Kill process 7 (x) score 9 or sacrifice child",
            f"Killed process 7 (x), UID 48, {FIGURES}, shmem-rss:0kB",
            *("CONSTRAINT_NONE", 48),
        ),
        (
            "Out of memory (oom_kill_allocating_task): Kill process 7 (x) score 0 or sacrifice "
            "child",
            f"Killed process 7 (x) {FIGURES}, shmem-rss:0kB",
            *("CONSTRAINT_NONE", -1),
        ),
        (
            "Memory cgroup out of memory: Kill process 6 (y) score 9 or sacrifice child",
            f"Killed process 7 (x) {FIGURES}, shmem-rss:0kB",
            *("CONSTRAINT_MEMCG", -1),
        ),
        ("", f"Killed process 7 (x) {FIGURES}, shmem-rss:0kB", "", -1),
        (
            "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),oom_memcg=/a,task_memcg=/a,task=x,"
            "pid=7,uid=5",
            f"{MEMCG}: Killed process 7 (x) {FIGURES}, shmem-rss:0kB",
            *("CONSTRAINT_MEMCG", 5),
        ),
        (
            "",
            f"Out of memory: Killed process 7 (x) {FIGURES}, shmem-rss:0kB",
            "CONSTRAINT_NONE",
            -1,
        ),
    ],
)
def test_older_kernels_are_understood(
    before: str, message: str, constraint: str, uid: int, log: Log, tmp_path: Path
) -> None:
    log.say(before)
    log.say(message)
    (kill,) = read(log, tmp_path)
    assert (kill.pid, kill.comm, kill.constraint, kill.uid) == (7, "x", constraint, uid)


@pytest.mark.parametrize(
    "message",
    [
        f"{MEMCG}: OOM victim 7 (x) is already exiting. Skip killing the task",
        "Out of memory: Kill process 7 (x) score 9 or sacrifice child",
        "oom_reaper: reaped process 7 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
        "oom: process 7 (x) goes first, number 1 of 9 listed",
        "[      7]     0     7     3539        0    69632        0             0 x",
    ],
)
def test_what_is_said_beside_a_kill_is_none(message: str, log: Log, tmp_path: Path) -> None:
    log.say(message)
    assert read(log, tmp_path) == []


BYTES = st.binary(min_size=0, max_size=15).filter(lambda name: b"\0" not in name)
PIECE = st.sampled_from(
    [b",task=", b") total-vm:", b"Out of memory: ", b"\\x2c", b"\xff", b"\n", b"("]
)
COMM = BYTES | st.lists(PIECE, max_size=3).map(lambda parts: b"".join(parts)[:15])
UNIT = st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & set(b"\0\n/"))
FOREIGN = st.sampled_from([12, 14, 29, 30, 191])
NOISE = st.sampled_from(
    [
        b"",
        b"hello",
        WHOLE.encode()[9:],
        LIMIT.encode()[:60],
        b"oom_kill_process: 5 callbacks suppressed",
    ]
)


@given(
    victims=st.lists(
        st.tuples(
            COMM, UNIT, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1), NOISE, FOREIGN
        ),
        max_size=12,
    )
)
def test_what_the_kernel_says_is_what_is_read(
    victims: list[tuple[bytes, bytes, bool, bool, int, bytes, int]],
) -> None:
    expected = []
    with pytest.MonkeyPatch.context() as patched:
        log = Log(patched)
        for number, (comm, unit, limit, summary, uid, noise, facility) in enumerate(victims):
            group = b"/system.slice/" + unit
            where = b"oom_memcg=" + group if limit else b"global_oom"
            report = b"oom-kill:constraint=%s,nodemask=(null),cpuset=/,mems_allowed=0,%s" % (
                b"CONSTRAINT_MEMCG" if limit else b"CONSTRAINT_NONE",
                where
                + b",task_memcg="
                + group
                + b",task="
                + comm
                + b",pid=%d,uid=%d" % (number, uid),
            )
            what = b"Memory cgroup out of memory" if limit else b"Out of memory"
            line = what + b": Killed process %d (%s) total-vm:5kB, anon-rss:4kB, " % (number, comm)
            line += b"file-rss:0kB, shmem-rss:0kB, UID:%d pgtables:0kB oom_score_adj:-5" % uid
            log.say(line, facility)
            if summary:
                log.say(report)
            log.say(noise)
            log.say(report, facility)
            log.say(line)
            constraint = "CONSTRAINT_MEMCG" if limit else "CONSTRAINT_NONE"
            told = comm.decode("utf-8", "backslashreplace")
            place = group.decode("utf-8", "backslashreplace") if summary else ""
            expected.append((number, told, uid, constraint, place))
        found, *_ = recent(-1, os.devnull)
    for kill, (pid, comm_, uid, constraint, place) in zip(found, expected, strict=True):
        assert (kill.pid, kill.comm, kill.uid, kill.constraint) == (pid, comm_, uid, constraint)
        assert kill.cgroup in (place, "/system.slice") if place else kill.cgroup == ""


def test_what_is_known_is_not_told_again_however_much_it_is(log: Log, tmp_path: Path) -> None:
    log.say(GLOBAL)
    for _ in range(10_000):
        log.say("noise")
    log.say(said(145))
    found, last, _ = recent(0, str(tmp_path / "kmsg"))
    assert [kill.pid for kill in found] == [145]
    assert last == 10_001


def test_one_reading_is_bounded_and_the_next_goes_on(log: Log, tmp_path: Path) -> None:
    for _ in range(10_000):
        log.say("noise")
    log.say(said(144))
    kernel_log = KernelLog(-1, str(tmp_path / "kmsg"))
    readings = []
    while not kernel_log.drained:
        readings.append(kernel_log.read())
    assert [len(found) for found in readings] == [0, 0, 1]
    kernel_log.close()


def test_from_now_on_is_what_comes_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text(f"3,5,1,-;{said(144)}\n")
    kernel_log = KernelLog(None, str(path))
    assert kernel_log.read() == []
    with path.open("a") as file:
        file.write(f"3,6,1,-;{said(144)}\n")
    assert [kill.pid for kill in kernel_log.read()] == [144]
    kernel_log.close()
