"""The attribute table: everything that a rule can ask of a process.

One entry describes an attribute to the checker, to the readers of ``/proc`` and of
the cgroup tree, to the documentation and to shell completion. CONTRIBUTING.md says what
else a new attribute takes: that depends on where it is read, and whether it is worked out.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import partial

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
    PARENT = "the parent"
    BLOCK = "the block's cgroup"
    RUNTIME = "the container's runtime"
    HOST = "the host"
    LOOKS = "two looks"


class Attribute(NamedTuple):
    """One attribute of a process or of its unit.

    ``changes`` says that the value may change from one refresh to the next; the
    others are the identity of a process, read once and again for the head of the
    list. ``read`` is the raw value's name, where the attribute's own last word is not; of a
    property of systemd, its name on D-Bus. ``every_unit`` says that the property belongs to
    the interface Unit, and not to that of the unit's kind, as Service. ``needs`` are the fields
    that a value is worked out from, where it is more than one. ``whole`` is the attribute of
    which a percentage beside this one is the share. ``over_time`` says that it takes two looks at
    the host, a second apart.
    """

    name: str
    type: Type
    doc: str
    provider: Provider
    changes: bool
    read: str = ""
    every_unit: bool = False
    needs: tuple[str, ...] = ()
    whole: str = ""
    over_time: bool = False

    @property
    def empty(self) -> bool | int | str:
        """The value that says nothing, of the Python type that each known value has."""
        if self.type is Type.BOOLEAN:
            return False
        return "" if self.type is Type.TEXT else 0

    @property
    def field(self) -> str:
        """The field of a process, or the key of a scope, that holds the raw value."""
        return self.read or self.name.rpartition(".")[2]


_BOOLEAN, _ID, _COUNT, _TEXT = Type.BOOLEAN, Type.ID, Type.COUNT, Type.TEXT
_MEMORY, _DURATION = Type.MEMORY, Type.DURATION

# What a process has as long as it lives, and what it has now.
_stat = partial(Attribute, provider=Provider.STAT, changes=False)
_stat_now = partial(Attribute, provider=Provider.STAT, changes=True)
_status = partial(Attribute, provider=Provider.STATUS, changes=False)
_status_now = partial(Attribute, provider=Provider.STATUS, changes=True)
_cgroup = partial(Attribute, provider=Provider.CGROUP, changes=False)
# What its unit or its session has now.
_scope = partial(Attribute, provider=Provider.SCOPE, changes=True)
_systemd = partial(Attribute, provider=Provider.SYSTEMD, changes=True)
_logind = partial(Attribute, provider=Provider.LOGIND, changes=True)
# What its parent has, which dies and is replaced by another; and what the unit has now that the
# block around a rule is about.
_parent = partial(Attribute, provider=Provider.PARENT, changes=True)
_block = partial(Attribute, provider=Provider.BLOCK, changes=True)
# What its place tells of its container and its pod, and what the runtime says of them.
_contained = partial(Attribute, provider=Provider.CGROUP, changes=False, read="cgroup")
_runtime = partial(Attribute, provider=Provider.RUNTIME, changes=False)
_own_group = partial(Attribute, provider=Provider.CGROUP, changes=True, read="cgroup")
# What the host has now.
_host = partial(Attribute, provider=Provider.HOST, changes=True)

# The fields that the kernel's own killer adds up (oom_badness(), mm/oom_kill.c).
FOOTPRINT = ("rss", "swap", "pgtables")

_TABLE: tuple[Attribute, ...] = (
    _stat("pid", _ID, "process id"),
    _stat("ppid", _ID, "process id of the parent"),
    _parent("parent.comm", _TEXT, "command name of the parent"),
    _parent("parent.exe", _TEXT, "path of the parent's executable"),
    _parent("parent.cmdline", _TEXT, "first 4 KiB of the parent's command line"),
    _parent("parent.uid", _ID, "real user id of the parent"),
    _parent("parent.user", _TEXT, "name of the parent's real user"),
    _stat("comm", _TEXT, "command name, cut at 15 bytes by the kernel"),
    Attribute("cmdline", _TEXT, "first 4 KiB of the command line", Provider.CMDLINE, changes=False),
    Attribute("exe", _TEXT, "path of the executable", Provider.EXE, changes=False),
    _status("uid", _ID, "real user id"),
    _status("euid", _ID, "effective user id"),
    _status("gid", _ID, "real group id"),
    _status("egid", _ID, "effective group id"),
    _status("user", _TEXT, "name of the real user", read="uid"),
    _status("group", _TEXT, "name of the real group", read="gid"),
    _stat_now("nice", _COUNT, "nice value, -20 to 19"),
    _status(
        "capabilities",
        Type.CAPABILITIES,
        "effective capabilities, asked with `with CAP` or `cap(CAP)`",
    ),
    _stat_now("cpu_time", _DURATION, "user and system time used", read="utime"),
    _stat_now("run_time", _DURATION, "time since the start, whole seconds", read="starttime"),
    _stat_now("threads", _COUNT, "number of threads"),
    _stat_now("state", _TEXT, "state letter: R, S, D, T, t, I"),
    _stat_now("total_vm", _MEMORY, "address space mapped"),
    _stat_now("rss", _MEMORY, "resident memory"),
    _status_now("anon", _MEMORY, "resident anonymous memory"),
    _status_now("shmem", _MEMORY, "resident shared memory"),
    _status_now("locked", _MEMORY, "memory locked with mlock"),
    _status_now("swap", _MEMORY, "memory swapped out"),
    _status_now("pgtables", _MEMORY, "page tables"),
    _status_now(
        "footprint",
        _MEMORY,
        "memory held: rss + swap + pgtables, as the kernel's killer counts it",
        needs=FOOTPRINT,
    ),
    Attribute(
        "growth",
        _MEMORY,
        "by how much the footprint grew each second of the last 10 s or so; 0 where it shrank",
        Provider.LOOKS,
        changes=True,
        needs=FOOTPRINT,
        over_time=True,
    ),
    _status("pid_depth", _COUNT, "pid namespaces below this one, 0 outside containers"),
    Attribute(
        "oom_score_adj",
        _COUNT,
        "the kernel's adjustment, -1000 to 1000",
        Provider.OOM_SCORE_ADJ,
        changes=False,
    ),
    _stat("tty", _TEXT, "controlling terminal, empty if none", read="tty_nr"),
    _stat("session", _ID, "process id of the session leader"),
    _cgroup("cgroup", _TEXT, "path of the control group"),
    _cgroup("unit", _TEXT, "innermost unit of the system", read="cgroup"),
    _cgroup("slice", _TEXT, "innermost slice of the system, -.slice at the root", read="cgroup"),
    _cgroup("user.unit", _TEXT, "innermost unit of a user's manager; or empty", read="cgroup"),
    _cgroup("user.slice", _TEXT, "innermost slice of a user's manager; or empty", read="cgroup"),
    _cgroup(
        "unit.processes",
        _COUNT,
        "processes with memory in the unit and below it",
        changes=True,
        read="cgroup",
    ),
    _cgroup(
        "totalpages",
        _MEMORY,
        "what the kernel's killer divides by: the nearest limit below the RAM and its swap, "
        "else RAM and swap",
        changes=True,
        read="cgroup",
    ),
    _scope("unit.memory", _MEMORY, "memory in use by the unit"),
    _scope(
        "unit.memory_max", _MEMORY, "the unit's own hard limit; none counts as the largest value"
    ),
    _scope(
        "unit.memory_high",
        _MEMORY,
        "the unit's own throttling limit; none counts as the largest value",
    ),
    _scope(
        "unit.memory_min",
        _MEMORY,
        "memory that is never reclaimed from the unit (MemoryMin=); 0 if there is none",
    ),
    _scope(
        "unit.memory_low",
        _MEMORY,
        "memory that is reclaimed from the unit last (MemoryLow=); 0 if there is none",
    ),
    _scope("unit.swap", _MEMORY, "swap in use by the unit"),
    _scope(
        "unit.pressure",
        Type.PERCENTAGE,
        "share of the last 10 s in which some task of the unit waited for memory",
    ),
    _scope("unit.oom_kills", _COUNT, "OOM kills in the unit so far"),
    _systemd("unit.description", _TEXT, "Description=", read="Description", every_unit=True),
    _systemd(
        "unit.active_state",
        _TEXT,
        "active, activating, …",
        read="ActiveState",
        every_unit=True,
    ),
    _systemd("unit.oom_policy", _TEXT, "OOMPolicy=", read="OOMPolicy"),
    _systemd("unit.oom_score_adjust", _COUNT, "OOMScoreAdjust=", read="OOMScoreAdjust"),
    _systemd(
        "unit.managed_oom_preference",
        _TEXT,
        "ManagedOOMPreference=: none, avoid or omit",
        read="ManagedOOMPreference",
    ),
    _systemd(
        "unit.managed_oom_memory_pressure",
        _TEXT,
        "ManagedOOMMemoryPressure=: auto or kill",
        read="ManagedOOMMemoryPressure",
    ),
    _block("scope.memory", _MEMORY, "memory in use by the unit that `in` names"),
    _block("scope.memory_max", _MEMORY, "its own hard limit; none counts as the largest value"),
    _block(
        "scope.memory_high", _MEMORY, "its own throttling limit; none counts as the largest value"
    ),
    _block("scope.swap", _MEMORY, "swap in use by it"),
    _block(
        "scope.pressure",
        Type.PERCENTAGE,
        "share of the last 10 s in which some task of it waited for memory",
    ),
    _block(
        "scope.stall",
        Type.PERCENTAGE,
        "share of the last second in which all tasks of it waited for memory",
        over_time=True,
    ),
    _block("scope.oom_kills", _COUNT, "OOM kills in it so far"),
    _block("scope.processes", _COUNT, "processes with memory in it and below it"),
    _block(
        "scope.footprint",
        _MEMORY,
        "rss + swap + page tables of all processes in it",
        needs=FOOTPRINT,
    ),
    _logind("session.active", _BOOLEAN, "the login session is in front"),
    _logind("session.remote", _BOOLEAN, "the session is remote"),
    _logind("session.idle", _BOOLEAN, "nobody is active in it"),
    _logind("session.class", _TEXT, "user, greeter, background, …; or empty"),
    _logind("session.type", _TEXT, "tty, x11, wayland, …; or empty"),
    _contained("container.id", _TEXT, "full id of the outermost container; or empty"),
    _contained(
        "container.runtime", _TEXT, "docker, podman, cri-o, containerd, lxc, nspawn; or empty"
    ),
    _runtime("container.name", _TEXT, "name of the container; or empty", read="name"),
    _runtime("container.image", _TEXT, "name of its image; or empty", read="image"),
    _contained("pod.uid", _TEXT, "uid of the pod; or empty"),
    _contained("pod.qos", _TEXT, "Guaranteed, Burstable, BestEffort; or empty"),
    _runtime("pod.name", _TEXT, "name of the pod; or empty", read="pod_name"),
    _runtime("pod.namespace", _TEXT, "namespace of the pod; or empty", read="pod_namespace"),
    _runtime("pod.priority", _COUNT, "priority of the pod; 0 in no pod", read="pod_priority"),
    _status_now(
        "user.footprint",
        _MEMORY,
        "footprint of all processes of the same real user",
        read="uid",
        needs=FOOTPRINT,
    ),
    _status_now(
        "user.processes", _COUNT, "processes of the same real user, with memory", read="uid"
    ),
    _own_group("cgroup.memory", _MEMORY, "memory in use by the process's own control group"),
    _own_group(
        "cgroup.memory_max",
        _MEMORY,
        "the own control group's hard limit; none counts as the largest value",
    ),
    _own_group(
        "cgroup.processes", _COUNT, "processes with memory in the own control group and below it"
    ),
    _host("host.memory", _MEMORY, "RAM, less what huge pages take"),
    _host(
        "host.available", _MEMORY, "memory that can be had without swapping", whole="host.memory"
    ),
    _host("host.free", _MEMORY, "memory that nothing is in", whole="host.memory"),
    _host("host.shmem", _MEMORY, "shared memory and tmpfs", whole="host.memory"),
    _host("host.swap", _MEMORY, "swap space, used or not"),
    _host("host.swap_free", _MEMORY, "swap space that is not used", whole="host.swap"),
    _host("host.totalpages", _MEMORY, "RAM and swap"),
    _host(
        "host.pressure",
        Type.PERCENTAGE,
        "share of the last 10 s in which some task waited for memory",
    ),
    _host(
        "host.stall",
        Type.PERCENTAGE,
        "share of the last second in which every task waited for memory",
        over_time=True,
    ),
)

ATTRIBUTES = {attribute.name: attribute for attribute in _TABLE}


def with_sources(names: Iterable[str]) -> frozenset[str]:
    """Return attributes with those that have to be read to know them.

    An attribute of the parent takes the parent's pid, and the same attribute of that process.
    """
    found = set(names)
    for name in names:
        if ATTRIBUTES[name].provider is Provider.PARENT:
            found |= {"ppid", name.removeprefix("parent.")}
    return frozenset(found)
