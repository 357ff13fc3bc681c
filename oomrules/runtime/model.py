"""What is known of a host at one moment: raw kernel values, as they were read.

``None`` is a value that could not be read. ``UNREAD`` is one that nobody has asked
for yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

PF_EXITING = 0x00000004
PF_KTHREAD = 0x00200000

# "No limit", as the kernel's page counter has it.
NO_LIMIT = 2**63 - 1


class _Unread:
    def __repr__(self) -> str:
        return "UNREAD"


UNREAD: Any = _Unread()


class Host(NamedTuple):
    """The machine: page size and memory in bytes, clock ticks per second, uptime in seconds.

    ``users`` and ``groups`` give names by id; None where nobody knows the names.
    """

    time: str
    kernel: str
    page_size: int
    clock_ticks: int
    uptime: float
    mem_total: int
    swap_total: int
    users: Mapping[int, str] | None = None
    groups: Mapping[int, str] | None = None


class Process:
    """One process.

    Times are in clock ticks, total_vm, rss and swap in pages, anon, shmem, locked and
    pgtables in bytes, capabilities the effective set as a number. ``judge`` belongs
    to the evaluator, ``descriptor`` and ``seen`` to the source.
    """

    __slots__ = (
        "anon",
        "capabilities",
        "cgroup",
        "cmdline",
        "comm",
        "descriptor",
        "egid",
        "euid",
        "exe",
        "flags",
        "gid",
        "judge",
        "locked",
        "nice",
        "oom_score_adj",
        "pgtables",
        "pid",
        "ppid",
        "rss",
        "seen",
        "session",
        "shmem",
        "starttime",
        "state",
        "stime",
        "swap",
        "threads",
        "total_vm",
        "tty_nr",
        "uid",
        "utime",
    )

    def __init__(self, pid: int) -> None:
        self.pid: int = pid
        self.ppid: int | None = UNREAD
        self.comm: str | None = None
        self.state: str | None = None
        self.flags: int | None = None
        self.utime: int | None = None
        self.stime: int | None = None
        self.nice: int | None = None
        self.threads: int | None = None
        self.starttime: int | None = None
        self.total_vm: int | None = None
        self.rss: int | None = None
        self.session: int | None = UNREAD
        self.tty_nr: int | None = UNREAD
        self.uid: int | None = UNREAD
        self.euid: int | None = UNREAD
        self.gid: int | None = UNREAD
        self.egid: int | None = UNREAD
        self.capabilities: int | None = UNREAD
        self.anon: int | None = UNREAD
        self.shmem: int | None = UNREAD
        self.locked: int | None = UNREAD
        self.swap: int | None = UNREAD
        self.pgtables: int | None = UNREAD
        self.oom_score_adj: int | None = UNREAD
        self.cgroup: str | None = UNREAD
        self.exe: str | None = UNREAD
        self.cmdline: list[str] | None = UNREAD
        self.judge: Any = UNREAD
        self.descriptor: int = -1
        self.seen: int = 0


class Scope(Protocol):
    """The control group of a unit: a value by the key it has in a snapshot."""

    def get(self, key: str) -> Any:
        """Give a figure in bytes, a property, or None if it is unknown."""


class Snapshot(Protocol):
    """What a ranking works on: one moment of a host."""

    host: Host
    own_pids: frozenset[int]
    # The evaluator whose judges the processes carry.
    prepared_for: Any

    @property
    def processes(self) -> Iterable[Process]:
        """The processes, in no particular order."""

    def scope(self, cgroup: str) -> Scope | None:
        """Find a control group; None if nothing is known of it."""

    def read(self, process: Process, field: str) -> Any:
        """Read a field of a process now that somebody asks for it."""
