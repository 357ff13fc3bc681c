"""What is known of a host at one moment: raw kernel values, as they were read.

``None`` is a value that could not be read. ``UNREAD`` is one that no rule has asked
for yet. ``SELF_MADE`` (``oomrules.program.nodes``) is one that is unknown because the process, or
its user, made it so: such a doubt protects no process.
"""

from __future__ import annotations

from collections.abc import Mapping

from oomrules.fields import FIELDS
from oomrules.lean import Any, NamedTuple, Protocol
from oomrules.processes.units import Placement

PF_EXITING = 0x00000004
PF_KTHREAD = 0x00200000

# What decides whether a process can be a victim at all.
DECISIVE = ("flags", "state", "total_vm")

# So many bytes of a command line are read; ps(1) shows no more.
CMDLINE_LENGTH = 4096

# "No limit", as the kernel's page counter has it.
NO_LIMIT = 2**63 - 1


class _Unread:
    def __repr__(self) -> str:
        return "UNREAD"


UNREAD: Any = _Unread()


class Host(NamedTuple):
    """The machine: page size and memory in bytes, clock ticks per second, uptime in seconds.

    ``users`` and ``groups`` give names by id; None where the names are not known. ``unit_root`` is
    the control group below which systemd makes units, empty where that is the root.

    The rest is None where it is unknown, or no rule asks for it. Memory is in bytes: what is
    ``available``, ``free``, in shared memory and tmpfs (``shmem``) and in huge pages (``hugetlb``).
    ``pressure`` and ``stall`` are percentages. ``swappiness`` is that of sysctl.

    ``totalpages`` is what the kernel's killer divided by for every process, where an OOM report
    tells it. ``unknown`` names the attributes that nothing in a recording tells, whatever could be
    worked out from what is in it: not all processes are there, or not where they were.
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
    unit_root: str = ""
    available: int | None = None
    free: int | None = None
    swap_free: int | None = None
    shmem: int | None = None
    hugetlb: int | None = None
    pressure: float | None = None
    stall: float | None = None
    swappiness: int | None = None
    totalpages: int | None = None
    unknown: frozenset[str] = frozenset()


# The figures of a host that are read where a rule asks for one: of memory, and the others.
HOST_MEMORY = ("available", "free", "swap_free", "shmem", "hugetlb")
HOST_SHARES = ("pressure", "stall")


class _Rare:
    """A field that few rules ask for: kept in a dictionary, and only where it was read.

    A slot for each in every process would cost a host of many processes half a MiB.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, process: Process, owner: type | None = None) -> Any:
        return UNREAD if process.more is None else process.more.get(self.name, UNREAD)

    def __set__(self, process: Process, value: Any) -> None:
        if process.more is None:
            process.more = {}
        process.more[self.name] = value


class Process:
    """One process, with the fields of ``FIELDS``.

    ``capabilities`` is the effective set. In ``cmdline``, arguments are separated by null
    characters; in ``cgroup``, bytes that are no UTF-8 are surrogates, so that its files can be
    opened. ``memory_cgroup`` is UNREAD where it is the same group. Where the first thread has
    ended, what belongs to a thread is that of the first one that goes on. ``descriptor``
    and ``seen`` belong to the source.

    ``decider``, ``key`` and ``until`` belong to the ranker: the function that decides, the place in
    the order that was found last, and before when it holds (seconds of uptime). Others call
    ``changed`` and ``reconsider``.
    """

    __slots__ = (
        *(field.name for field in FIELDS.values() if not field.rare),
        *("decider", "descriptor", "key", "more", "seen", "until"),
    )

    # Rare fields that are named somewhere.
    anon: Any
    cmdline: Any
    exe: Any
    gid: Any
    growth: Any
    memory_cgroup: Any
    pgtables: Any
    ppid: Any
    session: Any
    swap: Any
    # What the process answered conditions of ``under`` and ``child``, as long as it is the same.
    answers = _Rare("answers")
    # Which facts of DECISIVE a recorded process lacks, as a text; UNREAD where it has them.
    unreadable = _Rare("unreadable")

    def __init__(self, pid: int) -> None:
        self.pid: int = pid
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
        self.descriptor: int = -1
        self.seen: int | None = None
        self.key: int = 0
        self.forget()

    def forget(self) -> None:
        """Forget the identity: it is read again when a rule asks for it."""
        self.uid: int | None = UNREAD
        self.euid: int | None = UNREAD
        self.capabilities: int | None = UNREAD
        self.oom_score_adj: int | None = UNREAD
        self.pid_depth: int | None = UNREAD
        self.cgroup: str | None = UNREAD
        self.more: dict[str, Any] | None = None
        self.reconsider()

    def changed(self) -> None:
        """Have the ranker find the place anew: a value that it may rest on has changed."""
        self.until: int = -1

    def reconsider(self) -> None:
        """Have the ranker decide anew: what should last as long as the process has changed."""
        self.decider: Any = UNREAD
        if self.more is not None:
            self.more.pop("answers", None)
        self.changed()


for _field in FIELDS.values():
    if _field.rare:
        setattr(Process, _field.name, _Rare(_field.name))


class Scope(Protocol):
    """The control group of a unit: a figure by the key it has in a snapshot."""

    def get(self, key: str) -> Any:
        """Return a figure in bytes, or None if it is unknown."""


class Snapshot(Protocol):
    """What a ranking works on: one moment of a host."""

    host: Host
    own_pids: frozenset[int]
    # The ranker whose deciders and keys the processes carry, which it notes here.
    ranker: Any
    # Whether ``Process.changed`` is called with each value that changes, and when a process goes.
    tells_changes: bool

    @property
    def by_pid(self) -> Mapping[int, Process]:
        """Return the processes by pid, in no particular order."""

    def scope(self, cgroup: str) -> Scope | None:
        """Find a control group; None if nothing is known of it, not even that it is there."""

    def fact(self, place: Placement, name: str) -> Any:
        """Find what systemd or logind says of a unit; None if it is unknown."""

    def container_fact(self, process: Process, id_: str, name: str) -> Any:
        """Find what a runtime says of the container of a process; None if it is unknown.

        Args:
            id_: of the container.
            name: one of ``facts.CONTAINER_FACTS``.
        """

    def read(self, process: Process, field: str) -> Any:
        """Read a field of a process, now that it is asked for."""
