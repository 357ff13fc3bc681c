"""What the kernel, or oomrules' module, says of an OOM kill: each message has one reading.

Users choose the names in these messages: a comm is any 15 bytes, a control group any name
without a slash or a line end. So a message is read as a whole, and its numbers from where only
the kernel writes.
"""

from __future__ import annotations

import os
import re

from oomrules.lean import NamedTuple

# mm/oom_kill.c, __oom_kill_process(), and what oomrules' module writes like it. In front of it
# the reason, since Linux 5.1; at the end the uid and more, since 5.4; the uid behind the number
# or behind the comm is Red Hat's. A comm has 15 bytes at most (include/linux/sched.h,
# TASK_COMM_LEN).
_KILLED = re.compile(
    rb"(?:(?P<why>Memory cgroup out of memory|Out of memory)(?: \((?P<how>[a-z_ ]+)\))?: )?"
    rb"(?P<signal>Killed|Terminated) process (?P<pid>\d+)(?:, UID (?P<early>\d+),)? "
    rb"\((?P<comm>.{0,15})\)(?:, UID (?P<late>\d+))?"
    rb"(?:,? (?:total-vm|vsz):(?P<vm>\d+)kB, anon-rss:(?P<anon>\d+)kB, "
    rb"file-rss:(?P<file>\d+)kB(?:, shmem-rss:(?P<shmem>\d+)kB)?"
    rb"(?:, UID:(?P<uid>\d+) pgtables:(?P<tables>\d+)kB oom_score_adj:(?P<adj>-?\d+))?)?",
    re.DOTALL,
)

# What comes before that, until Linux 5.1.
_CHOSEN = re.compile(
    rb"(Memory cgroup out of memory|Out of memory)(?: \([a-z_ ]+\))?: Kill process \d+ \(.{0,15}\) "
    rb"score \d+ or sacrifice child",
    re.DOTALL,
)

# mm/oom_kill.c, dump_oom_summary(); since Linux 5.0. What stands between the constraint and the
# pid has names in it that users choose: see ``group``.
_SUMMARY = re.compile(
    rb"oom-kill:constraint=(CONSTRAINT_[A-Z_]+),(.*),pid=(\d+),uid=(-?\d+)", re.DOTALL
)

# mm/memcontrol.c, mem_cgroup_print_oom_group(); since Linux 4.19.
_WHOLE = re.compile(
    rb"Tasks in (/.*) are going to be killed due to memory\.oom\.group set", re.DOTALL
)

# How a report of the kernel's begins, and its summary, which may be torn or cut short.
_REPORT = re.compile(rb".{0,15} invoked oom-killer: gfp_mask=|oom-kill:constraint=", re.DOTALL)

_LIMIT, _GLOBAL, _GROUP, _TASK = b",oom_memcg=", b",global_oom", b",task_memcg=", b",task="

_ALLOCATING = b"oom_kill_allocating_task"


class Victim(NamedTuple):
    """The process that got a signal.

    Attributes:
        polite: whether it was SIGTERM, by the module.
        limit: whether it was at a memory limit; None if the message does not tell.
        allocating: whether the kernel took the process that asked for memory, not the worst.
        uid: None if the message does not tell.
        total_vm: in KiB; None if the message does not tell.
        held: its resident memory and its page tables, in KiB; None if it does not tell both.
        oom_score_adj: None if the message does not tell.
    """

    polite: bool
    limit: bool | None
    allocating: bool
    pid: int
    comm: bytes
    uid: int | None
    total_vm: int | None
    held: int | None = None
    oom_score_adj: int | None = None


class Chosen(NamedTuple):
    """What old kernels announce: a process, or a child of it, is killed next."""

    limit: bool


class Summary(NamedTuple):
    """What the kernel says before it kills.

    Attributes:
        details: what stands between the constraint and the pid.
        pid, uid: the victim's.
    """

    constraint: bytes
    details: bytes
    pid: int
    uid: int


class Whole(NamedTuple):
    """A control group that is killed as a whole: the next victims are in it."""

    cgroup: bytes


class Report(NamedTuple):
    """The begin of a report, or a summary that cannot be read."""

    summary: bool


Line = Victim | Chosen | Summary | Whole | Report


def read(text: bytes) -> Line | None:
    """Return what one message of the kernel's says of a kill; None if it says nothing of one."""
    if match := _KILLED.fullmatch(text):
        return _victim(match)
    if match := _SUMMARY.fullmatch(text):
        constraint, details, pid, uid = match.groups()
        return Summary(constraint=constraint, details=details, pid=int(pid), uid=int(uid) % 2**32)
    if match := _WHOLE.fullmatch(text):
        return Whole(match[1])
    if match := _CHOSEN.fullmatch(text):
        return Chosen(_is_limit(match[1]))
    if _REPORT.match(text):
        return Report(text.startswith(b"oom-kill:"))
    return None


def _victim(match: re.Match[bytes]) -> Victim:
    uid = match["uid"] or match["early"] or match["late"]
    return Victim(
        polite=match["signal"] == b"Terminated",
        limit=_is_limit(match["why"]) if match["why"] else None,
        allocating=match["how"] == _ALLOCATING,
        pid=int(match["pid"]),
        comm=match["comm"],
        uid=int(uid) if uid else None,
        total_vm=int(match["vm"]) if match["vm"] else None,
        held=_held(match) if match["tables"] else None,
        oom_score_adj=int(match["adj"]) if match["adj"] else None,
    )


def _held(match: re.Match[bytes]) -> int:
    return sum(int(match[name] or 0) for name in ("anon", "file", "shmem", "tables"))


def _is_limit(why: bytes) -> bool:
    return why.startswith(b"Memory cgroup")


def group(details: bytes, comm: bytes) -> bytes:
    """Return the victim's control group, from what the kernel says of an OOM kill.

    Users name the groups below their own as they like. A name can look like more of the message.
    Certain is how the message ends, that the first path is the first that begins with a slash,
    and that at a limit the victim is in the group that has the limit. Where that leaves more than
    one reading, the group around all of them is returned. So the result is the victim's own group
    or one around it, whatever a user does.

    Args:
        details: the message between its constraint and the victim's pid.

    Returns:
        the group's path; empty if it is not told.
    """
    if not details.endswith(_TASK + comm):
        return b""
    details = details.removesuffix(_TASK + comm)
    # A cpuset's name stands before, and has no slash unless it is one.
    limit, whole = details.find(_LIMIT + b"/"), details.find(_GLOBAL + _GROUP + b"/")
    if whole >= 0 and not 0 <= limit < whole:
        return details[whole + len(_GLOBAL + _GROUP) :]
    if limit < 0:
        return b""
    details = details[limit + len(_LIMIT) :]
    readings = []
    for between in re.finditer(_GROUP, details):
        limited, path = details[: between.start()], details[between.end() :]
        if path == limited or path.startswith(limited.rstrip(b"/") + b"/"):
            readings.append(path.split(b"/"))
    # Of lists it is the parts of a path that are compared, and none is taken for another.
    return b"/".join(os.path.commonprefix(readings)) or b"/" if readings else b""  # noqa: RUF071
