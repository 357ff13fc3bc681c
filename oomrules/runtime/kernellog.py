"""The kernel's own record of OOM kills, from /dev/kmsg."""

from __future__ import annotations

import os
import re

from oomrules.lean import NamedTuple

PATH = "/dev/kmsg"

# Documentation/ABI/testing/dev-kmsg: "priority,sequence,microseconds,flags;message".
_RECORD = re.compile(rb"(\d{1,10}),(\d{1,20}),(\d{1,20}),[^;]*;([^\n]*)")

# Below this the facility is the kernel (syslog(3)), which it gives to nobody's words but its own.
_KERNEL = 8

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")

# mm/oom_kill.c, dump_oom_summary(); since Linux 5.0. What stands between the constraint and the
# pid has names in it that users choose: see ``_group``.
_SUMMARY = re.compile(
    rb"oom-kill:constraint=(CONSTRAINT_[A-Z_]+),(.*),pid=(\d+),uid=(-?\d+)", re.DOTALL
)
_LIMIT, _GLOBAL, _GROUP, _TASK = b",oom_memcg=", b",global_oom", b",task_memcg=", b",task="

# mm/oom_kill.c, __oom_kill_process(), and what oomrules' module writes like it; since Linux 5.4.
# A comm has 15 bytes at most (include/linux/sched.h, TASK_COMM_LEN).
_KILLED = re.compile(
    rb"(Memory cgroup out of memory|Out of memory)(?: \(oom_kill_allocating_task\))?: "
    rb"Killed process (\d+) \((.{0,15})\) total-vm:\d+kB, anon-rss:\d+kB, file-rss:\d+kB, "
    rb"shmem-rss:\d+kB, UID:(\d+) pgtables:\d+kB oom_score_adj:-?\d+",
    re.DOTALL,
)

# The summary and the kill, and what the kernel and the module say of one kill, are not further
# apart than this, in seconds.
_SAME = 10.0

# Messages that are read in one go; what is left waits for the next.
_MOST = 4096


class Kill(NamedTuple):
    """One OOM kill.

    Attributes:
        sequence: the number of the kernel's message.
        constraint: ``CONSTRAINT_NONE`` for a global one, ``CONSTRAINT_MEMCG`` for a limit.
        cgroup: the victim's control group, or the innermost group around it that is certain where
            the message can be read in more than one way; empty if it did not tell.
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
        self._summaries: dict[int, _Summary] = {}
        self._told: dict[int, float] = {}
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
                kill = None
                if int(matched[1]) < _KERNEL:
                    kill = self._parse(int(matched[3]) / 1e6, matched[4])
                found += [kill] if kill else []
        self.drained = False
        return found

    def close(self) -> None:
        """Close the log."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _parse(self, time: float, message: bytes) -> Kill | None:
        """Take a message of the kernel's; give the kill that it tells of, if it does.

        The summary comes before the kill, if it comes: it is rate-limited, and may be torn apart
        where another message comes in between. So it only adds to what the kill says.
        """
        text = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), message)
        if matched := _SUMMARY.fullmatch(text):
            self._summaries = {pid: one for pid, one in self._summaries.items() if one.near(time)}
            uid = int(matched[4]) % 2**32
            self._summaries[int(matched[3])] = _Summary(time, matched[1], matched[2], uid)
            return None
        matched = _KILLED.fullmatch(text)
        if not matched:
            return None
        pid, comm, uid = int(matched[2]), matched[3], int(matched[4])
        self._told = {one: at for one, at in self._told.items() if time - at < _SAME}
        if pid in self._told:
            return None
        self._told[pid] = time
        limit = matched[1].startswith(b"Memory cgroup")
        constraint, cgroup = b"CONSTRAINT_MEMCG" if limit else b"CONSTRAINT_NONE", b""
        summary = self._summaries.pop(pid, None)
        if summary and summary.near(time) and summary.uid == uid:
            constraint, cgroup = summary.constraint, _group(summary.said, comm)
        return Kill(self.last, _text(constraint), _text(cgroup), _text(comm), pid, uid, time)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


class _Summary(NamedTuple):
    """What the kernel says before it kills: of whom, and where it stands."""

    time: float
    constraint: bytes
    said: bytes
    uid: int

    def near(self, time: float) -> bool:
        """Tell whether it can be about a kill at this time."""
        return time - self.time < _SAME


def _group(said: bytes, comm: bytes) -> bytes:
    """Take the victim's control group out of what the kernel says of an OOM kill.

    Users name the groups below their own as they like, also so that a name looks like more of
    the message. What is certain: how it ends, that the first path is the first that begins with
    a slash, and that at a limit the victim is in the group that has the limit. Where that leaves
    more than one reading the group is the one around all of them. So it is the victim's own or
    one around it, whatever a user does.

    Args:
        said: the message between its constraint and the victim's pid.

    Returns:
        the group's path; empty if it is not told.
    """
    if not said.endswith(_TASK + comm):
        return b""
    said = said.removesuffix(_TASK + comm)
    # A cpuset's name stands before, and has no slash unless it is one.
    limit, whole = said.find(_LIMIT + b"/"), said.find(_GLOBAL + _GROUP + b"/")
    if whole >= 0 and not 0 <= limit < whole:
        return said[whole + len(_GLOBAL + _GROUP) :]
    if limit < 0:
        return b""
    said = said[limit + len(_LIMIT) :]
    found = []
    for between in re.finditer(_GROUP, said):
        limited, group = said[: between.start()], said[between.end() :]
        if group == limited or group.startswith(limited.rstrip(b"/") + b"/"):
            found.append(group)
    return _around(found) if found else b""


def _around(groups: list[bytes]) -> bytes:
    """Give the innermost group that is around all of these, or is all of them."""
    common = []
    for parts in zip(*(group.split(b"/") for group in groups), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return b"/".join(common) or b"/"


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
