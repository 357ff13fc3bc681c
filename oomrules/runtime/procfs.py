"""The portable source: processes from ``/proc``.

Which files are read matters more than anything else. ``stat`` is read at each refresh,
from a descriptor that is kept open; the identity of a process (ids, capabilities,
control group, adjustment) once, and again after an exec or when ``verify`` asks. A kept
descriptor answers ESRCH once its process is gone, so it cannot name a recycled pid.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from oomrules.attributes import ATTRIBUTES
from oomrules.errors import Failure, reason
from oomrules.lean import Any
from oomrules.runtime.cgroups import Hierarchy, LiveScope, path_of
from oomrules.runtime.facts import Facts
from oomrules.runtime.model import UNREAD, Host, Process
from oomrules.runtime.program import Program
from oomrules.runtime.units import Placement

# A kept descriptor costs the kernel about 4.5 KiB (bench/descriptors.py): all of them together at
# the most this share of the memory, so that a host with room for many processes keeps one for
# each, and a small one does not pay for it.
_DESCRIPTOR = 4608
_SHARE = 256
# And no more than this, whatever the memory; the unit's LimitNOFILE= is above it.
DESCRIPTORS = 32768

# Left for everything else that has descriptors.
_SPARE_DESCRIPTORS = 64

_STATUS_IDS = {
    b"\nUid:": ("uid", "euid"),
    b"\nGid:": ("gid", "egid"),
}
_STATUS_MEMORY = {
    b"\nRssAnon:": "anon",
    b"\nRssShmem:": "shmem",
    b"\nVmLck:": "locked",
    b"\nVmPTE:": "pgtables",
    b"\nVmSwap:": "swap",
}
# Of stat, but seldom asked for.
_FAMILY = ("ppid", "session", "tty_nr")
_GONE = (FileNotFoundError, ProcessLookupError)


class Vanished(Exception):
    """The process ended while it was read."""


class ProcSource:
    """Reads the processes of this host; it is itself the snapshot of its last refresh.

    Args:
        program: decides which attributes are read at each refresh.
        root: where proc is mounted.
        descriptors: how many ``stat`` files are kept open at the most.
        own: processes that are never candidates, besides this one.
        names: user and group names by id.
        facts: what systemd and logind say.
    """

    tells_changes = True

    def __init__(
        self,
        program: Program,
        root: str = "/proc",
        descriptors: int = 0,
        own: Iterable[int] = (),
        names: tuple[Mapping[int, str], Mapping[int, str]] | None = None,
        facts: Facts | None = None,
    ) -> None:
        self.root = root
        self.own_pids = frozenset((os.getpid(), *own))
        self.prepared_for: Any = None
        self.facts = facts or Facts()
        self.hierarchy = Hierarchy()
        # Where oomrules itself has adjusted a process, rules are told the value from before.
        self.original: Callable[[Process, int], int] | None = None
        # How often a field could not be read for want of rights.
        self.unreadable: dict[str, int] = {}
        self._prefix = f"{root}/"
        self._uptime = self._open("uptime")
        self._names = names or (None, None)
        self._memory = self._meminfo()
        self._page_size = os.sysconf("SC_PAGE_SIZE")
        self._ticks = os.sysconf("SC_CLK_TCK")
        self.by_pid: dict[int, Process] = {}
        self._scopes: dict[str, LiveScope] = {}
        self._same: dict[int, int] = {}
        most = self._memory[0] // _SHARE // _DESCRIPTOR
        self._keep = _descriptor_budget(min(descriptors, most))
        self._kept = 0
        self._fields = {ATTRIBUTES[name].field for name in program.attributes}
        self._family = bool(self._fields & set(_FAMILY))
        self._status_each_time = bool(self._fields & set(_STATUS_MEMORY.values()))
        self.host = self._host()

    # --- the snapshot --------------------------------------------------------------

    @property
    def kept_descriptors(self) -> int:
        """How many ``stat`` files are open."""
        return self._kept

    @property
    def hides_processes(self) -> bool:
        """Whether proc is mounted so that a user does not see the others' processes."""
        try:
            mounts = read_file(f"{self._prefix}self/mounts").splitlines()
        except OSError:
            return False
        return any(b" proc " in line and b"hidepid=" in line for line in mounts)

    def scope(self, cgroup: str) -> LiveScope | None:
        """Look at a control group, at most once a refresh."""
        if cgroup not in self._scopes:
            self._scopes[cgroup] = self.hierarchy.scope(cgroup)
        return self._scopes[cgroup]

    def fact(self, place: Placement, name: str) -> Any:
        """Look up what systemd or logind said of a unit."""
        return self.facts.get(place, name)

    def read(self, process: Process, field: str) -> Any:
        """Read a field that nobody has asked for yet, with all that its file holds."""
        directory = f"{self._prefix}{process.pid}/"
        try:
            if field == "cgroup":
                process.cgroup = path_of(read_file(directory + "cgroup"))
                if process.cgroup is not None:
                    process.cgroup = sys.intern(process.cgroup)
            elif field == "oom_score_adj":
                own = int(read_file(directory + "oom_score_adj"))
                if self.original is not None:
                    own = self.original(process, own)
                process.oom_score_adj = own
            elif field in _FAMILY:
                stat = read_file(directory + "stat")
                self._update_family(process, stat[stat.rindex(b")") + 2 :].split(None, 5))
            elif field == "exe":
                exe = os.readlink(os.fsencode(directory + "exe")).decode(
                    "utf-8", "backslashreplace"
                )
                # A program that was replaced by an upgrade is still that program.
                process.exe = exe.removesuffix(" (deleted)")
            elif field == "cmdline":
                raw = read_file(directory + "cmdline").rstrip(b"\0")
                words = raw.decode("utf-8", "backslashreplace").split("\0")
                process.cmdline = words if raw else []
            else:
                self._read_status(process, read_file(directory + "status"), field)
        except _GONE:
            setattr(process, field, None)
            # A kernel thread has no exe; the other files are there as long as the process.
            if field != "exe":
                process.state = "X"
                process.until = -1
        except (OSError, ValueError) as error:
            if isinstance(error, PermissionError):
                self.unreadable[field] = self.unreadable.get(field, 0) + 1
            setattr(process, field, None)
        value = getattr(process, field)
        if value is UNREAD:
            value = None
            setattr(process, field, None)
        return value

    # --- refreshing ----------------------------------------------------------------

    def refresh(self) -> ProcSource:
        """Bring every process up to date.

        Raises:
            Failure: proc itself cannot be read.
        """
        self.host = self._host()
        self._scopes.clear()
        table, digits = self.by_pid, "0123456789"
        try:
            names = os.listdir(self.root)
        except OSError as error:
            raise Failure(f"cannot list {self.root}: {reason(error)}") from error
        self._look_again(table.values())
        new = [Process(int(name)) for name in names if name[0] in digits and int(name) not in table]
        for process in new:
            table[process.pid] = process
        self._look_again(new)
        return self

    def _look_again(self, processes: Iterable[Process]) -> None:
        """Read what changes of processes; those that are gone are dropped."""
        # One loop and no call for each of them: what is left is the kernel's work.
        pread, status_too, gone = os.pread, self._status_each_time, []
        for process in processes:
            descriptor = process.descriptor
            try:
                data = pread(descriptor, 1024, 0) if descriptor >= 0 else self._read_stat(process)
                # Most processes of a host sleep, and nothing of them has changed. A hash takes a
                # tenth of the memory of what it stands for; it errs once in 2**61 readings, by
                # one refresh, and the head of the list is read once more anyway.
                seen = hash(data)
                if seen != process.seen:
                    self._update(process, data)
                    process.seen = seen
                if status_too and process.total_vm:
                    self._read_status(process, read_file(f"{self._prefix}{process.pid}/status"))
            except (OSError, ValueError, IndexError):
                gone.append(process)
        for process in gone:
            self._drop(process)

    def _drop(self, process: Process) -> None:
        self._release(process)
        process.until = -1
        self.by_pid.pop(process.pid, None)

    def _release(self, process: Process) -> None:
        if process.descriptor >= 0:
            os.close(process.descriptor)
            process.descriptor = -1
            self._kept -= 1

    def _read_stat(self, process: Process) -> bytes:
        """Open and read stat; keep the descriptor while there are any to spare."""
        descriptor = os.open(f"{self._prefix}{process.pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, 1024)
        except OSError:
            os.close(descriptor)
            raise
        if self._kept < self._keep:
            process.descriptor = descriptor
            self._kept += 1
        else:
            os.close(descriptor)
        return data

    def verify(self, processes: Iterable[Process]) -> bool:
        """Read the identity of processes afresh; a vanished one is dropped.

        Returns:
            True if nothing changed that a rule could ask for.
        """
        same = True
        for process in processes:
            before = _identity(process)
            try:
                self._update(process, read_file(f"{self._prefix}{process.pid}/stat", 1024))
            except (OSError, ValueError, IndexError):
                self._drop(process)
                same = False
                continue
            for field in _IDENTITY_FILES:
                if getattr(process, field) is not UNREAD:
                    self.read(process, field)
            if _identity(process) != before:
                process.forget()
                same = False
        return same

    def close(self) -> None:
        """Close every descriptor."""
        for process in list(self.by_pid.values()):
            self._drop(process)
        if self._uptime >= 0:
            os.close(self._uptime)
            self._uptime = -1

    def _update(self, process: Process, data: bytes) -> None:
        """Take over what proc(5) says stat holds; the name may hold spaces and brackets."""
        process.until = -1
        end = data.rindex(b")")
        fields = data[end + 2 :].split(None, 22)
        start = int(fields[19])
        name = data[data.index(b"(") + 1 : end].decode("utf-8", "backslashreplace")
        if start != process.starttime or name != process.comm:
            # An exec changes the name and may change everything else; another start is
            # another process with this pid.
            if process.starttime is not None:
                process.forget()
            process.starttime = start
            process.comm = sys.intern(name)
        if self._family or (process.more and "ppid" in process.more):
            self._update_family(process, fields)
        process.state = fields[0].decode("ascii", "replace")
        # A host has a handful of different flags; share the numbers.
        flags = int(fields[6])
        process.flags = self._same.setdefault(flags, flags)
        process.utime = int(fields[11])
        process.stime = int(fields[12])
        process.nice = int(fields[16])
        process.threads = int(fields[17])
        process.total_vm = int(fields[20]) // self._page_size
        process.rss = int(fields[21])

    def _update_family(self, process: Process, fields: list[bytes]) -> None:
        """Take over who the parent is, which changes when it dies, and the session."""
        before = [getattr(process, name) for name in _FAMILY]
        for name, number in zip(_FAMILY, (fields[1], fields[3], fields[4]), strict=True):
            setattr(process, name, int(number))
        if before != [getattr(process, name) for name in _FAMILY]:
            process.reconsider()

    def _read_status(self, process: Process, data: bytes, asked: str = "") -> None:
        """Take over what proc(5) says status holds; a missing line is unknown."""
        for key, (real, effective) in _STATUS_IDS.items():
            ids = _value(data, key).split(None, 2)
            for name, number in ((real, ids[:1]), (effective, ids[1:2])):
                if name in ("uid", "euid", asked) or name in self._fields:
                    setattr(process, name, int(number[0]) if number else None)
        effective_set = _value(data, b"\nCapEff:")
        if effective_set:
            # A host has a handful of different sets.
            capabilities = int(effective_set, 16)
            process.capabilities = self._same.setdefault(capabilities, capabilities)
        else:
            process.capabilities = None
        if "pid_depth" in (*self._fields, asked):
            # Its pid in each namespace from this proc's on. A kernel without them has no line.
            process.pid_depth = max(0, len(_value(data, b"\nNSpid:").split()) - 1)
        for key, name in _STATUS_MEMORY.items():
            if name != asked and name not in self._fields:
                continue
            size = _value(data, key)
            # "123 kB"
            amount = int(size[:-3]) * 1024 if size else None
            if name == "swap" and amount is not None:
                amount //= self._page_size
            setattr(process, name, amount)

    # --- the host ------------------------------------------------------------------

    def _open(self, name: str) -> int:
        try:
            return os.open(self._prefix + name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Failure(
                f"cannot read {self._prefix}{name}: {reason(error)}", "is /proc mounted?"
            ) from error

    def _meminfo(self) -> tuple[int, int]:
        sizes = {}
        for line in read_file(self._prefix + "meminfo").splitlines():
            key, _, rest = line.partition(b":")
            sizes[key] = int(rest.split()[0]) * 1024
        return sizes.get(b"MemTotal", 0), sizes.get(b"SwapTotal", 0)

    def _host(self) -> Host:
        uptime = float(os.pread(self._uptime, 64, 0).split()[0])
        return Host(
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            os.uname().release,
            self._page_size,
            self._ticks,
            uptime,
            *self._memory,
            *self._names,
        )


def read_file(path: str, size: int = 65536) -> bytes:
    """Read a file of proc from beginning to end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, size)
        # A short read of a proc file is its end; only long ones (cmdline) take another.
        if len(data) < size:
            return data
        pieces = [data]
        while data := os.read(descriptor, size):
            pieces.append(data)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def _value(data: bytes, key: bytes) -> bytes:
    """Find a line of status by its key, with the newline before and the colon behind it."""
    start = data.find(key)
    return data[start + len(key) : data.find(b"\n", start + 1)].strip() if start >= 0 else b""


_IDENTITY = (
    *("uid", "euid", "gid", "egid", "capabilities", "oom_score_adj", "cgroup", "nice"),
    *("exe", "cmdline", *_FAMILY),
)
# One field of each file that tells who a process is.
_IDENTITY_FILES = ("uid", "gid", "oom_score_adj", "cgroup", "exe", "cmdline", "ppid")


def _identity(process: Process) -> tuple[Any, ...]:
    return (process.starttime, process.comm, *(getattr(process, name) for name in _IDENTITY))


def _descriptor_budget(wanted: int) -> int:
    """Raise the soft limit of open files as far as it is needed and allowed."""
    if wanted <= 0:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return (
        wanted if soft == resource.RLIM_INFINITY else max(0, min(wanted, soft - _SPARE_DESCRIPTORS))
    )
