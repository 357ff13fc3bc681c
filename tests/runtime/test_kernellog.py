"""Kills in the kernel's own words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oomrules.runtime.kernellog import KernelLog, kills

# As Linux 6.1 says it.
GLOBAL = (
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
    "task_memcg=/system.slice/hog.service,task=tail,pid=144,uid=0"
)
SAID = (
    "Out of memory: {} process {} ({}) total-vm:400000kB, anon-rss:390000kB, file-rss:4kB, "
    "shmem-rss:0kB, UID:7 pgtables:800kB oom_score_adj:0"
)
LIMIT = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    "oom_memcg=/a.slice,task_memcg=/a.slice/b.service,task=x, y,pid=9,uid=1000"
)


class Log:
    """A log that gives a record for each read, as /dev/kmsg does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[bytes] = []
        self.at = 0
        self.sequence = 0
        monkeypatch.setattr(os, "read", self.read)

    def say(self, message: str) -> None:
        line = f"3,{self.sequence},{self.sequence * 1000000},-;{message}\n SUBSYSTEM=x\n"
        self.records.append(line.encode())
        self.sequence += 1

    def read(self, descriptor: int, size: int) -> bytes:
        if self.at == len(self.records):
            raise BlockingIOError
        self.at += 1
        return self.records[self.at - 1]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    return Log(monkeypatch)


def test_a_kill_is_told_once_though_the_kernel_says_it_twice(log: Log, tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    log.say("hello")
    log.say(GLOBAL)
    log.say(SAID.format("Killed", 144, "tail"))
    (kill,), last = kills(-1, str(tmp_path / "kmsg"))
    assert (kill.pid, kill.comm, kill.cgroup) == (144, "tail", "/system.slice/hog.service")
    assert (kill.constraint, kill.uid, kill.time, last) == ("CONSTRAINT_NONE", 0, 1.0, 2)


def test_what_the_module_kills_is_told_too(log: Log, tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    log.say(SAID.format("Terminated", 12, "a (b) c"))
    log.say(SAID.format("Killed", 13, "d"))
    found, _ = kills(-1, str(tmp_path / "kmsg"))
    assert [(kill.pid, kill.comm, kill.uid) for kill in found] == [(12, "a (b) c", 7), (13, "d", 7)]
    assert {(kill.constraint, kill.cgroup) for kill in found} == {("CONSTRAINT_NONE", "")}


def test_a_kill_at_a_limit_names_the_victims_group(log: Log, tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    log.say(LIMIT)
    (kill,), _ = kills(-1, str(tmp_path / "kmsg"))
    assert (kill.constraint, kill.cgroup, kill.comm, kill.pid) == (
        *("CONSTRAINT_MEMCG", "/a.slice/b.service"),
        *("x, y", 9),
    )


def test_what_is_known_is_not_told_again_however_much_it_is(log: Log, tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    log.say(GLOBAL)
    for _ in range(10_000):
        log.say("noise")
    log.say(GLOBAL.replace("144", "145"))
    found, last = kills(0, str(tmp_path / "kmsg"))
    assert [kill.pid for kill in found] == [145]
    assert last == 10_001


def test_one_reading_is_bounded_and_the_next_goes_on(log: Log, tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    for _ in range(10_000):
        log.say("noise")
    log.say(GLOBAL)
    kernel_log = KernelLog(-1, str(tmp_path / "kmsg"))
    readings = []
    while not kernel_log.drained:
        readings.append(kernel_log.read())
    assert [len(found) for found in readings] == [0, 0, 1]
    kernel_log.close()


def test_from_now_on_is_what_comes_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text(f"3,5,1,-;{GLOBAL}\n")
    kernel_log = KernelLog(None, str(path))
    assert kernel_log.read() == []
    with path.open("a") as file:
        file.write(f"3,6,1,-;{GLOBAL}\n")
    assert [kill.pid for kill in kernel_log.read()] == [144]
    kernel_log.close()
