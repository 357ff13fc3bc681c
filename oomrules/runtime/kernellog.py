"""The kernel's own record of OOM kills, from /dev/kmsg."""

from __future__ import annotations

import os
import re

from oomrules.lean import NamedTuple

PATH = "/dev/kmsg"

# Documentation/ABI/testing/dev-kmsg: "priority,sequence,microseconds,flags;message".
_RECORD = re.compile(rb"(\d+),(\d+),(\d+),[^;]*;([^\n]*)")

# mm/oom_kill.c, dump_oom_victim(); since Linux 5.0.
_KILL = re.compile(
    r"oom-kill:constraint=(?P<constraint>\w+),.*?(?:oom_memcg=(?P<oom_memcg>.*?),)?"
    r"task_memcg=(?P<cgroup>.*),task=(?P<comm>.*),pid=(?P<pid>\d+),uid=(?P<uid>\d+)$"
)

# What follows it, and what oomrules' module writes without it.
_KILLED = re.compile(
    r"^Out of memory: (?:Killed|Terminated) process (?P<pid>\d+) \((?P<comm>.*)\) total-vm:"
    r".* UID:(?P<uid>\d+) "
)

# Messages that are read in one go; what is left waits for the next.
_MOST = 4096


class Kill(NamedTuple):
    """One OOM kill.

    Attributes:
        sequence: the number of the kernel's message.
        constraint: ``CONSTRAINT_NONE`` for a global one, ``CONSTRAINT_MEMCG`` for a limit.
        cgroup: the victim's control group; empty if the message did not tell.
        time: when, in seconds of the kernel's clock, which stands still during a suspend.
    """

    sequence: int
    constraint: str
    cgroup: str
    comm: str
    pid: int
    uid: int
    time: float


class KernelLog:
    """The kernel's log, read as it grows.

    Args:
        after: the number of the last message that is known already; -1 is all that the
            buffer still holds, None only what comes from now on.

    Attributes:
        descriptor: readable when there is more.
        drained: whether the last reading came to the end.
        last: the number of the last message that was read.

    Raises:
        OSError: the log cannot be read.
    """

    def __init__(self, after: int | None = -1, path: str = PATH) -> None:
        self.last = -1 if after is None else after
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.drained = False
        self._victim = -1
        if after is None:
            os.lseek(self.descriptor, 0, os.SEEK_END)

    def read(self) -> list[Kill]:
        """Read on, a bounded number of messages; give the kills among them."""
        found: list[Kill] = []
        self.drained = True
        for _ in range(_MOST):
            try:
                record = os.read(self.descriptor, 8192)
            except BlockingIOError:
                return found
            except BrokenPipeError:
                # Messages were overwritten while this was read; the next read goes on.
                continue
            if not record:
                return found
            matched = _RECORD.match(record)
            if matched and int(matched[2]) > self.last:
                self.last = int(matched[2])
                found += self._parse(int(matched[3]) / 1e6, matched[4])
        self.drained = False
        return found

    def close(self) -> None:
        """Close the log."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _parse(self, time: float, message: bytes) -> list[Kill]:
        text = message.decode("utf-8", "backslashreplace")
        matched = _KILL.search(text)
        constraint, cgroup = (matched["constraint"], matched["cgroup"]) if matched else ("", "")
        if not matched:
            matched = _KILLED.match(text)
            # The kernel says it twice, the module once.
            if not matched or int(matched["pid"]) == self._victim:
                self._victim = -1 if matched else self._victim
                return []
            constraint = "CONSTRAINT_NONE"
        pid = int(matched["pid"])
        self._victim = pid if cgroup else -1
        return [
            Kill(self.last, constraint, cgroup, matched["comm"], pid, int(matched["uid"]), time)
        ]


def kills(after: int = -1, path: str = PATH) -> tuple[list[Kill], int]:
    """Read the OOM kills that the kernel's buffer still holds.

    Args:
        after: the number of the last message that is known already.

    Returns:
        the kills, and the number of the last message.

    Raises:
        OSError: the log cannot be read.
    """
    log = KernelLog(after, path)
    found: list[Kill] = []
    try:
        while not log.drained:
            found += log.read()
        return found, log.last
    finally:
        log.close()
