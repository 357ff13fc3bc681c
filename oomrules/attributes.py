"""The attribute table: everything that a rule can ask of a process.

One entry describes an attribute to the checker, to the readers of ``/proc`` and of
the cgroup tree, to the documentation and to shell completion. To add an attribute,
add an entry here and its one line in ``oomrules.processes.values``.
"""

from __future__ import annotations

from enum import Enum

from oomrules.lean import NamedTuple


class Type(Enum):
    """The types of the language; the value is the word that messages use."""

    BOOLEAN = "yes or no"
    ID = "id"
    COUNT = "number"
    MEMORY = "memory"
    DURATION = "duration"
    PERCENTAGE = "percentage"
    TEXT = "text"
    CAPABILITIES = "capability set"


class Provider(Enum):
    """What an attribute is read from; the value is the file's name.

    The run-time half reads a file only if the program needs an attribute of it.
    """

    STAT = "stat"
    STATUS = "status"
    CGROUP = "cgroup"
    OOM_SCORE_ADJ = "oom_score_adj"
    EXE = "exe"
    CMDLINE = "cmdline"
    SCOPE = "the unit's cgroup"
    SYSTEMD = "systemd"
    LOGIND = "logind"


class Attribute(NamedTuple):
    """One attribute of a process or of its unit.

    ``changes`` says that the value may change from one refresh to the next; the
    others are the identity of a process, read once and again for the head of the
    list. ``read`` is the field of a process, or the key of a scope, that holds the
    raw value.
    """

    name: str
    type: Type
    provider: Provider
    changes: bool
    doc: str
    read: str = ""

    @property
    def field(self) -> str:
        """The raw field behind the attribute."""
        return self.read or self.name


def _table(*entries: Attribute) -> dict[str, Attribute]:
    return {entry.name: entry for entry in entries}


_STAT, _STATUS, _CGROUP = Provider.STAT, Provider.STATUS, Provider.CGROUP
_SCOPE, _SYSTEMD, _LOGIND = Provider.SCOPE, Provider.SYSTEMD, Provider.LOGIND

ATTRIBUTES: dict[str, Attribute] = _table(
    Attribute("pid", Type.ID, _STAT, False, "process id"),
    Attribute("ppid", Type.ID, _STAT, False, "process id of the parent"),
    Attribute("comm", Type.TEXT, _STAT, False, "command name, cut at 15 bytes by the kernel"),
    Attribute("cmdline", Type.TEXT, Provider.CMDLINE, False, "first 4 KiB of the command line"),
    Attribute("exe", Type.TEXT, Provider.EXE, False, "path of the executable"),
    Attribute("uid", Type.ID, _STATUS, False, "real user id"),
    Attribute("euid", Type.ID, _STATUS, False, "effective user id"),
    Attribute("gid", Type.ID, _STATUS, False, "real group id"),
    Attribute("egid", Type.ID, _STATUS, False, "effective group id"),
    Attribute("user", Type.TEXT, _STATUS, False, "name of the real user", "uid"),
    Attribute("group", Type.TEXT, _STATUS, False, "name of the real group", "gid"),
    Attribute("nice", Type.COUNT, _STAT, True, "nice value, -20 to 19"),
    Attribute(
        "capabilities",
        Type.CAPABILITIES,
        _STATUS,
        False,
        "effective capabilities, asked with `with CAP` or `cap(CAP)`",
    ),
    Attribute("cpu_time", Type.DURATION, _STAT, True, "user and system time used", "utime"),
    Attribute(
        "run_time", Type.DURATION, _STAT, True, "time since the start, whole seconds", "starttime"
    ),
    Attribute("threads", Type.COUNT, _STAT, True, "number of threads"),
    Attribute("state", Type.TEXT, _STAT, True, "state letter: R, S, D, T, t, I"),
    Attribute("total_vm", Type.MEMORY, _STAT, True, "address space mapped"),
    Attribute("rss", Type.MEMORY, _STAT, True, "resident memory"),
    Attribute("anon", Type.MEMORY, _STATUS, True, "resident anonymous memory"),
    Attribute("shmem", Type.MEMORY, _STATUS, True, "resident shared memory"),
    Attribute("locked", Type.MEMORY, _STATUS, True, "memory locked with mlock"),
    Attribute("swap", Type.MEMORY, _STATUS, True, "memory swapped out"),
    Attribute("pgtables", Type.MEMORY, _STATUS, True, "page tables"),
    Attribute(
        "pid_depth",
        Type.COUNT,
        _STATUS,
        False,
        "pid namespaces below this one, 0 outside containers",
    ),
    Attribute(
        "oom_score_adj",
        Type.COUNT,
        Provider.OOM_SCORE_ADJ,
        False,
        "the kernel's adjustment, -1000 to 1000",
    ),
    Attribute("tty", Type.TEXT, _STAT, False, "controlling terminal, empty if none", "tty_nr"),
    Attribute("session", Type.ID, _STAT, False, "process id of the session leader"),
    Attribute("cgroup", Type.TEXT, _CGROUP, False, "path of the control group"),
    Attribute("unit", Type.TEXT, _CGROUP, False, "innermost unit of the system", "cgroup"),
    Attribute(
        "slice",
        Type.TEXT,
        _CGROUP,
        False,
        "innermost slice of the system, -.slice at the root",
        "cgroup",
    ),
    Attribute(
        "user.unit",
        Type.TEXT,
        _CGROUP,
        False,
        "innermost unit of a user's manager; or empty",
        "cgroup",
    ),
    Attribute(
        "user.slice",
        Type.TEXT,
        _CGROUP,
        False,
        "innermost slice of a user's manager; or empty",
        "cgroup",
    ),
    Attribute(
        "unit.processes",
        Type.COUNT,
        _CGROUP,
        True,
        "processes with memory in the unit and below it",
        "cgroup",
    ),
    Attribute("unit.memory", Type.MEMORY, _SCOPE, True, "memory in use by the unit", "memory"),
    Attribute(
        "unit.memory_max",
        Type.MEMORY,
        _SCOPE,
        True,
        "the unit's own hard limit; none counts as the largest value",
        "memory_max",
    ),
    Attribute(
        "unit.memory_high",
        Type.MEMORY,
        _SCOPE,
        True,
        "the unit's own throttling limit; none counts as the largest value",
        "memory_high",
    ),
    Attribute("unit.swap", Type.MEMORY, _SCOPE, True, "swap in use by the unit", "swap"),
    Attribute(
        "unit.pressure",
        Type.PERCENTAGE,
        _SCOPE,
        True,
        "share of the last 10 s in which some task of the unit waited for memory",
        "pressure",
    ),
    Attribute(
        "unit.oom_kills", Type.COUNT, _SCOPE, True, "OOM kills in the unit so far", "oom_kills"
    ),
    Attribute("unit.description", Type.TEXT, _SYSTEMD, True, "Description=", "Description"),
    Attribute(
        "unit.active_state", Type.TEXT, _SYSTEMD, True, "active, activating, …", "ActiveState"
    ),
    Attribute("unit.oom_policy", Type.TEXT, _SYSTEMD, True, "OOMPolicy=", "OOMPolicy"),
    Attribute(
        "unit.oom_score_adjust", Type.COUNT, _SYSTEMD, True, "OOMScoreAdjust=", "OOMScoreAdjust"
    ),
    Attribute(
        "unit.managed_oom_preference",
        Type.TEXT,
        _SYSTEMD,
        True,
        "ManagedOOMPreference=: none, avoid or omit",
        "ManagedOOMPreference",
    ),
    Attribute(
        "unit.managed_oom_memory_pressure",
        Type.TEXT,
        _SYSTEMD,
        True,
        "ManagedOOMMemoryPressure=: auto or kill",
        "ManagedOOMMemoryPressure",
    ),
    Attribute(
        "session.active", Type.BOOLEAN, _LOGIND, True, "the login session is in front", "active"
    ),
    Attribute("session.remote", Type.BOOLEAN, _LOGIND, True, "the session is remote", "remote"),
    Attribute("session.idle", Type.BOOLEAN, _LOGIND, True, "nobody is active in it", "idle"),
    Attribute(
        "session.class", Type.TEXT, _LOGIND, True, "user, greeter, background, …; or empty", "class"
    ),
    Attribute("session.type", Type.TEXT, _LOGIND, True, "tty, x11, wayland, …; or empty", "type"),
)
