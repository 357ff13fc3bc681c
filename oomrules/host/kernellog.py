"""The kernel's own record of OOM kills, from /dev/kmsg."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

# Documentation/ABI/testing/dev-kmsg: "priority,sequence,microseconds,flags;message".
_RECORD = re.compile(rb"(\d+),(\d+),(\d+),[^;]*;([^\n]*)")

# mm/oom_kill.c, dump_oom_victim(); since Linux 5.0.
_KILL = re.compile(
    r"oom-kill:constraint=(?P<constraint>\w+),.*?(?:oom_memcg=(?P<oom_memcg>.*?),)?"
    r"task_memcg=(?P<cgroup>.*),task=(?P<comm>.*),pid=(?P<pid>\d+),uid=(?P<uid>\d+)$"
)


class Kill(NamedTuple):
    """One OOM kill.

    Attributes:
        sequence: the number of the kernel's message.
        constraint: ``CONSTRAINT_NONE`` for a global one, ``CONSTRAINT_MEMCG`` for a limit.
        cgroup: the victim's control group.
    """

    sequence: int
    constraint: str
    cgroup: str
    comm: str
    pid: int
    uid: int


def kills(after: int = -1, path: str = "/dev/kmsg") -> tuple[list[Kill], int]:
    """Read the OOM kills that the kernel's buffer still holds.

    Args:
        after: the number of the last message that is known already.

    Returns:
        the kills, and the number of the last message.

    Raises:
        OSError: the log cannot be read.
    """
    found: list[Kill] = []
    last = after
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            try:
                record = os.read(descriptor, 8192)
            except BlockingIOError:
                return found, last
            except BrokenPipeError:
                # Messages were overwritten while this was read; the next read goes on.
                continue
            if not record:
                return found, last
            matched = _RECORD.match(record)
            if matched and int(matched[2]) > last:
                last = int(matched[2])
                found += _parse(last, matched[4].decode("utf-8", "backslashreplace"))
    finally:
        os.close(descriptor)


def _parse(sequence: int, message: str) -> list[Kill]:
    matched = _KILL.search(message)
    if not matched:
        return []
    return [
        Kill(
            sequence,
            matched["constraint"],
            matched["cgroup"],
            matched["comm"],
            int(matched["pid"]),
            int(matched["uid"]),
        )
    ]
