"""The table of raw fields: everything that is read of a process, before a rule can ask for it.

An entry says where a field is read, in which unit, and what is usual. The readers of ``/proc`` and
of the BPF rows, recordings, made-up processes, documentation and tests go by it. To add a field
that ``/proc/PID/status`` or ``stat`` has, add an entry. What rules ask for is an entry of
``attributes.py`` besides.
"""

from __future__ import annotations

from enum import Enum
from functools import partial

from oomrules.lean import Any, NamedTuple


class Unit(Enum):
    """What the value of a field counts; in the words of the documentation."""

    ID = "id"
    NUMBER = "number"
    PAGES = "pages"
    BYTES = "bytes"
    TICKS = "clock ticks"
    BITS = "bits"
    TEXT = "text"

    @property
    def is_memory(self) -> bool:
        """Return whether it is an amount of memory."""
        return self in (Unit.PAGES, Unit.BYTES)

    @property
    def is_signed(self) -> bool:
        """Return whether a value may be negative; -1 is also an id that the kernel cannot tell."""
        return self in (Unit.ID, Unit.NUMBER)


class Field(NamedTuple):
    """One raw field of a process.

    Attributes:
        name: in a ``Process``, and the key in a recording.
        unit: of its value.
        file: the file in ``/proc/PID``, or ``LOOKS``.
        key: where in the file: the number of the field in proc_pid_stat(5), or the name of the
            line in proc_pid_status(5).
        word: the place among several words of a line of status, from 0.
        ordinary: the value of a made-up process; None where it follows from other values.
        least, most: the range that rules can rely on; None is no limit.
        changes: whether it may change from one refresh to the next. The others are the identity
            of a process: read once, and again for the head of the list and in turn.
        rare: whether few rules ask for it, so that it is read and kept only where one does.
        row: the member of ``struct row`` (bpf/rows.h) that has it.
        row_unit: the unit of that member, where it is another one.
        self_made: whether the process can make it unknown by itself.
        optional: whether a process may lack it, and its line in a recording then too.
    """

    name: str
    unit: Unit
    file: str
    key: int | str = ""
    word: int = 0
    ordinary: Any = None
    least: int = 0
    most: int | None = None
    changes: bool = False
    rare: bool = False
    row: str = ""
    row_unit: Unit | None = None
    self_made: bool = False
    optional: bool = False


_ID, _NUMBER, _TEXT = Unit.ID, Unit.NUMBER, Unit.TEXT
_PAGES, _BYTES, _TICKS, _BITS = Unit.PAGES, Unit.BYTES, Unit.TICKS, Unit.BITS

# In place of a file, where a value is known from several looks.
LOOKS = "looks"

_PIDS = 2**22  # PID_MAX_LIMIT, include/linux/threads.h
_IDS = 2**32 - 2  # (uid_t)-1 is no user

_stat = partial(Field, file="stat")
_status = partial(Field, file="status")
# Figures of memory that change from one refresh to the next; a thread that ends can hide them.
_memory = partial(Field, file="status", changes=True, rare=True, self_made=True)

_TABLE: tuple[Field, ...] = (
    _stat("pid", _ID, key=1, least=1, most=_PIDS, row="pid"),
    _stat("ppid", _ID, key=4, ordinary=1, most=_PIDS, rare=True, row="ppid"),
    _stat("comm", _TEXT, key=2, ordinary="example", row="comm"),
    Field("cmdline", _TEXT, "cmdline", ordinary="example", rare=True, self_made=True),
    Field("exe", _TEXT, "exe", ordinary="/usr/bin/example", rare=True, self_made=True),
    _status("uid", _ID, key="Uid", ordinary=1000, most=_IDS, row="uid"),
    _status("euid", _ID, key="Uid", word=1, ordinary=1000, most=_IDS, row="euid"),
    _status("gid", _ID, key="Gid", ordinary=1000, most=_IDS, rare=True, row="gid"),
    _status("egid", _ID, key="Gid", word=1, ordinary=1000, most=_IDS, rare=True, row="egid"),
    _status("capabilities", _BITS, key="CapEff", ordinary=0, row="capabilities"),
    _stat("nice", _NUMBER, key=19, ordinary=0, least=-20, most=19, changes=True, row="nice"),
    _stat("utime", _TICKS, key=14, ordinary=0, changes=True, row="utime"),
    _stat("stime", _TICKS, key=15, ordinary=0, changes=True, row="stime"),
    _stat("starttime", _TICKS, key=22, row="start"),
    _stat("threads", _NUMBER, key=20, ordinary=1, changes=True, row="threads"),
    _stat("state", _TEXT, key=3, ordinary="S", changes=True, row="state"),
    _stat("flags", _BITS, key=9, ordinary=0, changes=True, row="flags"),
    _stat("total_vm", _PAGES, key=23, ordinary=65_536, changes=True, row="total_vm"),
    _stat("rss", _PAGES, key=24, ordinary=16_384, changes=True, row="rss"),
    _memory("anon", _BYTES, key="RssAnon", ordinary=64 << 20),
    _memory("shmem", _BYTES, key="RssShmem", ordinary=0),
    _memory("locked", _BYTES, key="VmLck", ordinary=0, row="locked", row_unit=_PAGES),
    _memory("swap", _PAGES, key="VmSwap", ordinary=0, row="swap"),
    _memory("pgtables", _BYTES, key="VmPTE", ordinary=65_536, row="pgtables"),
    # In bytes a second; kept by the source between its looks at the host.
    _memory("growth", _BYTES, file=LOOKS, ordinary=0, optional=True),
    Field(
        "oom_score_adj",
        _NUMBER,
        "oom_score_adj",
        ordinary=0,
        least=-1000,
        most=1000,
        row="oom_score_adj",
    ),
    # How many pid namespaces it is below the reader's.
    _status("pid_depth", _NUMBER, key="NSpid", ordinary=0, row="pid_depth"),
    _stat("tty_nr", _NUMBER, key=7, ordinary=0, rare=True, row="tty_nr"),
    _stat("session", _ID, key=6, most=_PIDS, rare=True, row="session"),
    Field("cgroup", _TEXT, "cgroup", ordinary="/system.slice/example.service", row="cgroup"),
    # The group that its memory is charged to, where that is another one.
    Field("memory_cgroup", _TEXT, "cgroup", rare=True, optional=True),
)
FIELDS: dict[str, Field] = {field.name: field for field in _TABLE}
