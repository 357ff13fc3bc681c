"""The portable source: processes from ``/proc``.

Which files are read matters more than anything else. ``stat`` is read at each refresh,
from a descriptor that is kept open; the identity of a process (ids, capabilities,
control group, adjustment) once, and again after an exec, when ``verify`` or ``look_anew`` asks,
and in turn: everybody's within five minutes. A kept descriptor answers ESRCH once its process is
gone, so it cannot name a recycled pid.

A process is all its threads. ``/proc/PID`` describes the first one, which may have ended; then
another one stands in for it, the first that goes on, as in the kernel's find_lock_task_mm().
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from oomrules.attributes import ATTRIBUTES
from oomrules.errors import Failure, reason
from oomrules.lean import Any, NamedTuple
from oomrules.processes import hidden
from oomrules.processes.cgroups import Hierarchy, LiveScope, is_in_sight
from oomrules.processes.cmdlines import BATCH, Cmdlines
from oomrules.processes.facts import Facts
from oomrules.processes.machine import Memory, boot_seconds
from oomrules.processes.snapshot import PF_EXITING, UNREAD, Host, Process
from oomrules.processes.units import Placement
from oomrules.program.nodes import SELF_MADE
from oomrules.program.program import Program

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
_STATUS_FIELDS = ("uid", "euid", "gid", "egid", "capabilities", "pid_depth")
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

# Larger than any stat.
_STAT = 1024
# A longer status has a long line of groups, of which a process may be in 65,536: it takes the
# kernel as long as a thousand others.
_STATUS = 8192
# So many long ones are read in one refresh of the service, half a second of them; what other
# processes of such a kind say waits for the next one.
MOST_LONG = 100
_LONGEST_LINE = 256

# Nobody has logged in.
_NO_LOGIN = 2**32 - 1

# Threads may end while they are looked at: so many looks are taken at all of them, and at those
# of a process that has only a few.
_LOOKS, _LOOKS_AT_FEW = 3, 10
_DEAD = (b"Z", b"X", b"x")
# With so many threads, and none of them alive, they are not all looked at in each refresh: from
# a second on twice as long passes each time, up to so many seconds.
_MANY_THREADS = 256
_LIFELESS_FOR = 32.0

# What a process can make long, and how many bytes of it are kept of all processes together.
_LONG = ("cmdline", "exe")
_MOST_TEXTS = 8 << 20

# Everybody's identity is read anew within so many seconds, but of no fewer than so many
# processes a second: on a small host that is everybody's at each heartbeat.
_ANEW_WITHIN, _ANEW_LEAST = 300.0, 10.0

# One field of each file that tells who a process is.
IDENTITY_FILES = ("uid", "gid", "oom_score_adj", "cgroup", "exe", "cmdline", "ppid")
# Those that tell where a process is and what it may, none of which waits for its memory.
PLACE_FILES = ("cgroup",)
QUICK_FILES = ("uid", "gid", "oom_score_adj", "cgroup", "ppid")


class _Walk(NamedTuple):
    """A walk over threads: how many there were, which was the last, and if some vanished."""

    threads: int
    last: str
    vanished: bool


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
        self._own = frozenset((os.getpid(), *own))
        self.prepared_for: Any = None
        self.facts = facts or Facts()
        self.hierarchy = Hierarchy()
        self._unit_root = self.hierarchy.unit_root(root)
        # Where oomrules itself has adjusted a process, rules are told the value from before.
        self.original: Callable[[Process, int], int] | None = None
        # Whose control group lies outside of our namespace, where not all names are known.
        self.out_of_sight: set[int] = set()
        # Of whom a field could not be read for want of rights.
        self._denied: dict[str, set[int]] = {}
        # Those that the last refresh found in proc, and of which it could read nothing.
        self.refused: set[int] = set()
        # As it was found out last.
        self.hidden = hidden.Hidden()
        self._prefix = f"{root}/"
        self._names = names or (None, None)
        self._memory = Memory(root)
        self._page_size = os.sysconf("SC_PAGE_SIZE")
        self._ticks = os.sysconf("SC_CLK_TCK")
        self.by_pid: dict[int, Process] = {}
        # Which thread stands in for the first one, and how many of the list had ended before it;
        # 0 where that is still to be found out.
        self._stand_ins: dict[int, tuple[int, int]] = {}
        self._cmdlines = Cmdlines(self._cmdline_path, self._user)
        # What was taken over of it last.
        self._merged: dict[int, list[bytes]] = {}
        # When the many threads of a process, all of which had ended, are looked at again, and how
        # long that was, in seconds of uptime.
        self._lifeless: dict[int, tuple[float, float]] = {}
        self._walk = _Walk(0, "", False)
        # Whether the last search found for certain that no thread goes on.
        self._all_ended = False
        # About how many bytes of _LONG are kept.
        self._texts = 0
        # How many command lines were asked for in this refresh, and who may be asked about next.
        self._asked = 0
        self._ahead: Iterator[Process] | None = None
        # Who is looked at anew, in turn, and when somebody was the last time.
        self._anew: Iterator[int] = iter(())
        self._anew_at: float | None = None
        # What is read anew of everybody at the next refresh.
        self._files_anew: frozenset[str] = frozenset()
        self._scopes: dict[str, LiveScope | None] = {}
        # How many long ones of status are read in a refresh at the most, and how many were: of
        # those who are new, and of the others.
        self.most_long = sys.maxsize
        self._long, self._looks_again = [0, 0], False
        # Those whose status was not read in this refresh, and those who had a long one read since
        # everybody had his turn.
        self._put_off: list[Process] = []
        self._had_turn: set[int] = set()
        # The namespaces that we are in.
        self._ours: tuple[str, ...] | None = None
        self._same: dict[int, int] = {}
        self._id_map: list[bytes] | None = None
        # The start and the capabilities of those who have them in another user namespace.
        self._elsewhere: dict[int, tuple[int | None, int]] = {}
        self.host = self._host()
        most = self.host.mem_total // _SHARE // _DESCRIPTOR
        self._keep = _descriptor_budget(min(descriptors, most))
        self._kept = 0
        self._fields = {ATTRIBUTES[name].field for name in program.attributes}
        self._family = bool(self._fields & set(_FAMILY))
        self._status_each_time = bool(self._fields & set(_STATUS_MEMORY.values()))

    # --- the snapshot --------------------------------------------------------------

    @property
    def own_pids(self) -> frozenset[int]:
        """Processes that are never candidates: oomrules' own."""
        reader = self._cmdlines.reader.pid
        return self._own | {reader} if reader else self._own

    @own_pids.setter
    def own_pids(self, pids: frozenset[int]) -> None:
        self._own = pids

    def stand_in(self, process: Process) -> int:
        """Give the thread that stands in for the first one, which has ended; 0 if it has not."""
        return self._thread(process.pid)

    def look_anew(self, files: Iterable[str] = IDENTITY_FILES) -> None:
        """Have everybody's identity, or some files of it, read anew at the next refresh."""
        self._files_anew |= frozenset(files)

    def is_as_it_was(self) -> bool:
        """Look at some processes in turn, without a refresh; False if one of them has changed."""
        self._begin()
        return self._look_in_turn(IDENTITY_FILES)

    def look_for_hidden(self) -> hidden.Hidden:
        """Count the processes that the last refresh was not shown."""
        self.hidden = hidden.look(self.root, self.by_pid, len(self.refused), self.hierarchy)
        return self.hidden

    @property
    def unreadable(self) -> dict[str, int]:
        """Of how many processes which field could not be read for want of rights."""
        return {field: len(pids) for field, pids in self._denied.items() if pids}

    @property
    def kept_descriptors(self) -> int:
        """How many ``stat`` files are open."""
        return self._kept

    @property
    def hides_processes(self) -> bool:
        """Whether proc is mounted so that this process does not see those of other users."""
        try:
            with open(f"{self._prefix}self/mounts", "rb") as mounts:
                return any(hidden.is_hiding(line, os.fsencode(self.root)) for line in mounts)
        except OSError:
            return False

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
        new = getattr(process, field) is UNREAD
        try:
            self._read_file_of(field, process)
        except _GONE:
            setattr(process, field, None)
            # A kernel thread has no exe; the other files are there as long as the process.
            if field != "exe":
                process.state = "X"
                process.until = -1
        except (OSError, ValueError) as error:
            if isinstance(error, PermissionError):
                self._deny(process, field)
            setattr(process, field, None)
        value = getattr(process, field)
        if value is UNREAD:
            value = None
            setattr(process, field, None)
        if new and field in _LONG:
            self._texts += sys.getsizeof(value)
            if self._texts > _MOST_TEXTS:
                self._forget_texts()
        return value

    def _deny(self, process: Process, field: str) -> None:
        self._denied.setdefault(field, set()).add(process.pid)

    def _forget_texts(self) -> None:
        """Keep no more of what processes say of themselves than there is room for.

        What has been worked out from it stays; who asks again has it read again.
        """
        kept = [one.more for one in self.by_pid.values() if one.more]
        self._texts = sum(sys.getsizeof(more.get(name)) for more in kept for name in _LONG)
        if self._texts > _MOST_TEXTS // 2:
            for more in kept:
                for name in _LONG:
                    more.pop(name, None)
            self._texts = 0

    def _read_file_of(self, field: str, process: Process) -> None:
        """Read the file that a field is in."""
        if field == "cgroup":
            process.cgroup, memory = self._cgroups_of(process.pid)
            if memory != process.cgroup or process.memory_cgroup is not UNREAD:
                process.memory_cgroup = memory
        elif field == "oom_score_adj":
            own = int(read_file(f"{self._prefix}{process.pid}/oom_score_adj"))
            if self.original is not None:
                own = self.original(process, own)
            process.oom_score_adj = own
        elif field in _FAMILY:
            stat = read_file(f"{self._prefix}{process.pid}/stat", _STAT)
            self._update_family(process, stat[stat.rindex(b")") + 2 :].split(None, 5))
        elif field == "exe":
            process.exe = self._exe(process.pid)
        elif field == "cmdline":
            process.cmdline = self._cmdline(process)
        else:
            self._read_status(process, self._status(process), field)

    def _cgroups_of(self, pid: int) -> tuple[str | None, str | None]:
        """Give the control group of a process, and the one that its memory is charged to."""
        memory = None
        try:
            lines = self._of_thread(pid, "cgroup", read_file)
            path, memory = self.hierarchy.path_of(lines), self.hierarchy.memory_path_of(lines)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            # Below a group that was delegated to him somebody has gone deeper than the kernel can
            # say. That must be worth nothing: what root says of the user holds for him.
            path = self._manager_of(pid)
        if path is None or not is_in_sight(path, self._unit_root):
            if path is not None:
                self.out_of_sight.add(pid)
            return None, None
        self.out_of_sight.discard(pid)
        path = sys.intern(path)
        return path, path if memory is None else sys.intern(memory)

    def _manager_of(self, pid: int) -> str:
        """Give the control group of the manager of the user who has logged in, with a process.

        The kernel keeps who that was (proc_pid_loginuid(5)), whatever user the process takes on.
        """
        try:
            user = int(self._of_thread(pid, "loginuid", read_file))
        except (FileNotFoundError, ValueError):
            # A kernel without audit.
            user = _NO_LOGIN
        if user == _NO_LOGIN:
            uids = _value(self._of_thread(pid, "status", read_file), b"\nUid:").split(None, 1)
            user = int(uids[0]) if uids else 0
        path = f"{self._unit_root}/user.slice/user-{user}.slice/user@{user}.service"
        directory = self.hierarchy.units and self.hierarchy.units.directory(path)
        return path if directory and os.path.isdir(directory) else self._unit_root or "/"

    def _exe(self, pid: int) -> Any:
        leaderless = pid in self._stand_ins
        try:
            raw = self._of_thread(pid, "exe", lambda path: os.readlink(os.fsencode(path)))
        except OSError as error:
            # Only who puts a program there has one that deep, and only who has threads has some
            # that end faster than they are looked at.
            if error.errno == errno.ENAMETOOLONG or (leaderless and isinstance(error, _GONE)):
                return SELF_MADE
            raise
        # A program that was replaced by an upgrade is still that program.
        return raw.decode("utf-8", "backslashreplace").removesuffix(" (deleted)")

    def _status(self, process: Process) -> bytes:
        """Read status: of the thread that has the memory, even if the first one ends just now.

        Returns:
            nothing if there have been too many long ones, and this may be another one of them.
        """
        # Half of them is for those who are new, half for those who are looked at once more: nobody
        # is forgotten because of the others, however many come.
        known = isinstance(process.uid, int)
        full = self._long[known] >= self.most_long // 2
        if (full or (known and process.pid in self._had_turn)) and self._is_elsewhere(process.pid):
            self._put_off.append(process)
            return b""
        before, self._looks_again = self._long[known], known
        data = self._of_thread(process.pid, "status", self._read_status_file)
        if self._long[known] > before and self.most_long < sys.maxsize:
            # Without a bound nobody waits for another one, whatever else is asked of it.
            self._had_turn.add(process.pid)
        if (
            process.total_vm
            and b"\nVmPTE:" not in data
            and (process.threads or 0) > 1
            and self._find_stand_in(process.pid)
        ):
            data = self._of_thread(process.pid, "status", self._read_status_file)
        return data

    def _read_status_file(self, path: str) -> bytes:
        data, whole = read_status(path)
        self._long[self._looks_again] += not whole
        return data

    def _is_elsewhere(self, pid: int) -> bool:
        """Tell whether a process is in another user or pid namespace than we are.

        Elsewhere nobody without a right of root's can take on groups.
        """
        try:
            if self._ours is None:
                self._ours = self._namespaces("self")
            return self._namespaces(str(pid)) != self._ours
        except OSError:
            return False

    def _namespaces(self, pid: str) -> tuple[str, ...]:
        return tuple(os.readlink(f"{self._prefix}{pid}/ns/{kind}") for kind in ("user", "pid"))

    # --- command lines ---------------------------------------------------------------

    def _cmdline_path(self, process: Process) -> str:
        return f"{self._directory(process.pid)}cmdline"

    def _user(self, process: Process) -> Any:
        """Give the real user id, without taking it over: nobody has asked for it."""
        if isinstance(process.uid, int):
            return process.uid
        try:
            return int(_value(self._status(process), b"\nUid:").split(None, 1)[0])
        except (OSError, ValueError, IndexError):
            return None

    def _cmdline(self, process: Process) -> Any:
        """Read a command line; as many others along with it as have been asked for so far."""
        self._asked += 1
        if not self._cmdlines.is_known(process):
            self._cmdlines.fetch([process, *self._those_behind(process)])
        leaderless = process.pid in self._stand_ins
        for _ in range(_LOOKS):
            try:
                return self._cmdlines.take(process)
            except _GONE:
                if not leaderless:
                    raise
                self._find_stand_in(process.pid)
        # Its threads end faster than they are asked.
        return SELF_MADE

    def _those_behind(self, process: Process) -> list[Process]:
        """Guess who will be asked about next: where many are, one request is too slow for each."""
        if self._asked == 1:
            return []
        if self._ahead is None:
            self._ahead = iter(list(self.by_pid.values()))
            for other in self._ahead:
                if other is process:
                    break
        unread = (
            other
            for other in self._ahead
            if other is not process
            and other.cmdline is UNREAD
            and not self._cmdlines.is_known(other)
        )
        return list(islice(unread, min(self._asked, BATCH) - 1))

    # --- threads ---------------------------------------------------------------------

    def _thread(self, pid: int) -> int:
        """Find the thread that stands in for the first one; 0 for none."""
        if pid not in self._stand_ins:
            return 0
        thread = self._stand_ins[pid][0]
        if not thread and self._find_stand_in(pid) and pid in self._stand_ins:
            thread = self._stand_ins[pid][0]
        return thread

    def _directory(self, pid: int) -> str:
        """Give the directory in proc that tells of a process, or of the thread that stands in."""
        thread = self._thread(pid) if self._stand_ins else 0
        return f"{self._prefix}{pid}/task/{thread}/" if thread else f"{self._prefix}{pid}/"

    def _of_thread(self, pid: int, file: str, read: Callable[[str], bytes]) -> bytes:
        """Read a file of a process; if the thread that stood in has ended, of another one."""
        for _ in range(_LOOKS):
            try:
                return read(self._directory(pid) + file)
            except _GONE:
                if pid not in self._stand_ins or not self._find_stand_in(pid):
                    break
        # Of the first thread there is something as long as there is a process.
        return read(f"{self._prefix}{pid}/{file}")

    def _find_stand_in(self, pid: int) -> list[bytes] | None:
        """Find the first thread that goes on.

        Returns:
            the fields of its stat from the third on; None if there is none: the process ends.
        """
        path = f"{self._prefix}{pid}/task"
        self._all_ended = False
        thread, ended = self._stand_ins.pop(pid, (0, 0))
        if thread:
            fields = _living(f"{path}/{thread}/stat")
            if fields:
                self._stand_ins[pid] = thread, ended
                return fields
        until, wait = self._lifeless.get(pid, (0.0, 0.0))
        if self.host.uptime < until:
            self._all_ended = True
            return None
        before = None
        for look in range(_LOOKS_AT_FEW):
            # Those before it have ended long ago. Some of them may be gone from the list by now,
            # so that it is too far into it: then all are looked at.
            for skipped in (ended, 0) if ended else (0,):
                found = self._first_living(pid, path, skipped)
                if found is not None:
                    return found
            # One may have started another and ended since it was listed. If the list is the same
            # again, all that are in it had ended before.
            if not self._walk.vanished and self._walk == before:
                self._all_ended = True
                break
            if look >= _LOOKS and self._walk.threads >= _MANY_THREADS:
                break
            before = self._walk
        if self._walk.threads >= _MANY_THREADS:
            # Nearly surely they have all ended, and nobody is left to start another one.
            wait = min(max(1.0, wait * 2), _LIFELESS_FOR)
            self._lifeless[pid] = self.host.uptime + wait, wait
        return None

    def _first_living(self, pid: int, path: str, skipped: int) -> list[bytes] | None:
        threads, last, vanished, found = skipped, "", False, None
        try:
            with os.scandir(path) as entries:
                for thread in islice(entries, skipped, None):
                    last = thread.name
                    found = _living(f"{path}/{last}/stat")
                    if found:
                        if thread.name != str(pid):
                            self._stand_ins[pid] = int(thread.name), threads
                        self._lifeless.pop(pid, None)
                        break
                    # One that is gone may have taken others with it from under the list's eye.
                    vanished = vanished or found is None
                    threads += 1
        except OSError:
            pass
        self._walk = _Walk(threads, last, vanished)
        return found or None

    # --- refreshing ----------------------------------------------------------------

    def refresh(self) -> ProcSource:
        """Bring every process up to date.

        Raises:
            Failure: proc itself cannot be read.
        """
        self._begin()
        self.refused.clear()
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
        self._look_in_turn(IDENTITY_FILES)
        return self

    def _begin(self) -> None:
        """Begin a refresh, with nothing known of what it is about to find."""
        self.host = self._host()
        self._scopes.clear()
        self._cmdlines.begin()
        self._asked, self._ahead = 0, None
        if self._long[True] < self.most_long // 2:
            # Nobody has to wait any more.
            self._had_turn.clear()
        self._long = [0, 0]
        for process in self._put_off:
            # Those who were not read have their turn.
            for name in (*_STATUS_FIELDS, *_STATUS_MEMORY.values()):
                if getattr(process, name) is SELF_MADE:
                    setattr(process, name, UNREAD)
            process.reconsider()
        self._put_off.clear()

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
                    # What the first thread's says is not all, where that has ended.
                    pid = process.pid
                    process.seen = None if pid in self._merged or pid in self._lifeless else seen
                if status_too and process.total_vm:
                    self._read_status_again(process)
            except (OSError, ValueError, IndexError) as error:
                gone.append(process)
                if isinstance(error, PermissionError):
                    self.refused.add(process.pid)
        for process in gone:
            self._drop(process)

    def _read_status_again(self, process: Process) -> None:
        """Read the figures of memory that the rules ask for."""
        try:
            self._read_status(process, self._status(process))
        except PermissionError:
            for name in self._fields & set(_STATUS_MEMORY.values()):
                setattr(process, name, None)
                self._deny(process, name)

    def _look_in_turn(self, files: Iterable[str]) -> bool:
        """Read the identity of some processes anew: who was so the longest time ago.

        Args:
            files: those of IDENTITY_FILES that have to be read for it.

        Returns:
            True if nothing changed that a rule could ask for.
        """
        uptime, table = self.host.uptime, self.by_pid
        before, self._anew_at = self._anew_at, uptime
        passed = 0.0 if before is None else max(0.0, uptime - before)
        due = min(len(table), int(passed * max(len(table) / _ANEW_WITHIN, _ANEW_LEAST)))
        if not due:
            # Not counted yet.
            self._anew_at = uptime if before is None else before
        asked, self._files_anew = self._files_anew, frozenset()
        same = True
        if asked:
            everybody = [(process, _identity(process)) for process in table.values()]
            same = self._reread(everybody, [file for file in files if file in asked])
        chosen: list[Process] = []
        for _ in range(2):
            # Round again, once: those that have come since are behind the others.
            chosen += (table[pid] for pid in islice(self._anew, due - len(chosen)) if pid in table)
            if len(chosen) >= due:
                break
            self._anew = iter(list(table))
        return self._reread([(one, _identity(one)) for one in chosen], files) and same

    def _reread(self, processes: list[tuple[Process, Any]], fields: Iterable[str]) -> bool:
        """Read anew what was read of the identity of processes, and forget one that has changed.

        Args:
            processes: each with its identity of before.
            fields: one of each file.

        Returns:
            True if nothing changed that a rule could ask for.
        """
        same = True
        for number, (process, before) in enumerate(processes):
            if number % BATCH == 0:
                batch = [one for one, _ in processes[number : number + BATCH]]
                self._cmdlines.fetch([one for one in batch if one.cmdline is not UNREAD])
            for field in fields:
                if getattr(process, field) is not UNREAD:
                    self.read(process, field)
            if _identity(process) != before:
                process.forget()
                process.seen = None
                same = False
        return same

    def _drop(self, process: Process) -> None:
        self._stand_ins.pop(process.pid, None)
        self._lifeless.pop(process.pid, None)
        self._merged.pop(process.pid, None)
        self._cmdlines.forget(process)
        self.out_of_sight.discard(process.pid)
        for denied in self._denied.values():
            denied.discard(process.pid)
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
            data = os.read(descriptor, _STAT)
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
        present: list[tuple[Process, Any]] = []
        for process in processes:
            before = _identity(process)
            try:
                self._update(process, read_file(f"{self._prefix}{process.pid}/stat", _STAT))
            except (OSError, ValueError, IndexError):
                self._drop(process)
                same = False
                continue
            present.append((process, before))
        return self._reread(present, IDENTITY_FILES) and same

    def close(self) -> None:
        """Close every descriptor."""
        for process in list(self.by_pid.values()):
            self._drop(process)
        self._memory.close()

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
        ended = not process.total_vm or flags & PF_EXITING
        if (ended and process.threads > 1) or process.pid in self._stand_ins:
            self._update_by_threads(process)

    def _update_by_threads(self, process: Process) -> None:
        """Take over what belongs to a thread from the first that goes on, if the first has not."""
        pid, before = process.pid, self._stand_ins.get(process.pid)
        if process.total_vm and not (process.flags or 0) & PF_EXITING:
            # An exec has made another thread the first one.
            del self._stand_ins[pid]
            self._merged.pop(pid, None)
            process.forget()
            return
        fields = self._find_stand_in(pid) if (process.threads or 0) > 1 else None
        if fields is None and (process.threads or 0) > 1 and not self._all_ended:
            # It goes on, though its threads end faster than they are looked at.
            fields = self._merged.get(pid)
        if fields is None:
            self._merged.pop(pid, None)
            return
        self._merged[pid] = fields
        process.state = fields[0].decode("ascii", "replace")
        flags = int(fields[6])
        process.flags = self._same.setdefault(flags, flags)
        process.total_vm = int(fields[20]) // self._page_size
        process.rss = int(fields[21])
        if before is None or (before[0] and before != self._stand_ins.get(pid)):
            # Whatever was read was of another thread.
            process.forget()

    def _update_family(self, process: Process, fields: list[bytes]) -> None:
        """Take over who the parent is, which changes when it dies, and the session."""
        before = [getattr(process, name) for name in _FAMILY]
        for name, number in zip(_FAMILY, (fields[1], fields[3], fields[4]), strict=True):
            setattr(process, name, int(number))
        if before != [getattr(process, name) for name in _FAMILY]:
            process.reconsider()

    def _read_status(self, process: Process, data: bytes, asked: str = "") -> None:
        """Take over what proc(5) says status holds; a missing line is unknown."""
        if not data:
            self._leave_out_status(process, asked)
            return
        for key, (real, effective) in _STATUS_IDS.items():
            ids = _value(data, key).split(None, 2)
            for name, number in ((real, ids[:1]), (effective, ids[1:2])):
                if name in ("uid", "euid", asked) or name in self._fields:
                    setattr(process, name, int(number[0]) if number else None)
        effective_set = _value(data, b"\nCapEff:")
        self._take_capabilities(process, int(effective_set, 16) if effective_set else None)
        if "pid_depth" in (*self._fields, asked):
            # Its pid in each namespace from this proc's on. A kernel without them has no line.
            process.pid_depth = max(0, len(_value(data, b"\nNSpid:").split()) - 1)
        for key, name in _STATUS_MEMORY.items():
            if name != asked and name not in self._fields:
                continue
            size = _value(data, key)
            # "123 kB"
            amount: Any = int(size[:-3]) * 1024 if size else None
            if amount is None and process.total_vm and (process.threads or 0) > 1:
                # Its threads end faster than they are looked at.
                amount = SELF_MADE
            if name == "swap" and size:
                amount //= self._page_size
            setattr(process, name, amount)

    def _leave_out_status(self, process: Process, asked: str) -> None:
        """Keep what is known of a process whose status was not read; it has made it long."""
        for name in (*_STATUS_FIELDS, *_STATUS_MEMORY.values()):
            wanted = name in ("uid", "euid", "capabilities", asked) or name in self._fields
            if wanted and getattr(process, name) is UNREAD:
                setattr(process, name, SELF_MADE)

    def _take_capabilities(self, process: Process, effective: int | None) -> None:
        """Take over the effective set, as far as it is worth something on this host.

        Every user is almighty in a user namespace of his own. What a process of root has, root
        gave it, also in such a one.
        """
        if effective and process.euid != 0:
            pid, known = process.pid, (process.starttime, effective)
            if self._elsewhere.get(pid) == known:
                # Nobody comes back to where he has no rights.
                effective = 0
            else:
                effective = self._outside_of_own(pid, effective)
                if effective == 0:
                    self._elsewhere[pid] = known
        if effective is not None:
            # A host has a handful of different sets.
            effective = self._same.setdefault(effective, effective)
        process.capabilities = effective

    def _outside_of_own(self, pid: int, effective: int) -> int | None:
        """Give the capabilities that a process has in our user namespace."""
        try:
            theirs = self._of_thread(pid, "uid_map", read_file)
            return effective if theirs.split() == self._own_ids() else 0
        except FileNotFoundError:
            # A kernel without user namespaces, or it is gone.
            return effective
        except OSError:
            return None

    def _own_ids(self) -> list[bytes]:
        """Give how ids are mapped in our user namespace; nobody gets the same map elsewhere."""
        if self._id_map is None:
            self._id_map = read_file(f"{self._prefix}self/uid_map").split()
        return self._id_map

    # --- the host ------------------------------------------------------------------

    def _host(self) -> Host:
        return Host(
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            os.uname().release,
            self._page_size,
            self._ticks,
            boot_seconds(),
            *self._memory.totals(),
            self._names[0],
            self._names[1],
            self._unit_root,
        )


def read_file(path: str, size: int = 65536) -> bytes:
    """Read a file of proc: no more than its first bytes, which is all of most files."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def read_status(path: str) -> tuple[bytes, bool]:
    """Read a status file; lines that are longer than any that is used are left out.

    Returns:
        what was read, and whether that is all.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        piece = os.read(descriptor, _STATUS)
        # A short read is the end.
        if len(piece) < _STATUS:
            return piece, True
        kept: list[bytes] = []
        line = b""
        while piece:
            *lines, line = (line + piece).split(b"\n")
            kept += (one for one in lines if len(one) < _LONGEST_LINE)
            line = line[:_LONGEST_LINE]
            piece = os.read(descriptor, 1 << 16)
        return b"\n".join((*kept, b"")), False
    finally:
        os.close(descriptor)


def _living(path: str) -> list[bytes] | None:
    """Read the stat of a thread.

    Returns:
        its fields from the third on; nothing if it ends or has no memory, None if it is gone.
    """
    try:
        data = read_file(path, _STAT)
        fields = data[data.rindex(b")") + 2 :].split(None, 22)
        if fields[0] in _DEAD or int(fields[6]) & PF_EXITING or not int(fields[20]):
            return []
    except (OSError, ValueError, IndexError):
        return None
    return fields


def _value(data: bytes, key: bytes) -> bytes:
    """Find a line of status by its key, with the newline before and the colon behind it."""
    start = data.find(key)
    return data[start + len(key) : data.find(b"\n", start + 1)].strip() if start >= 0 else b""


_IDENTITY = (
    *("uid", "euid", "gid", "egid", "capabilities", "oom_score_adj", "cgroup", "memory_cgroup"),
    *("nice", "exe", "cmdline", *_FAMILY),
)


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
