"""The portable source: processes from ``/proc``.

Which files are read matters more than anything else. ``stat`` is read at each refresh,
from a descriptor that is kept open; the identity of a process (ids, capabilities,
control group, adjustment) once, and again after an exec, when ``verify`` or ``look_anew`` asks,
and in turn: that of each within five minutes.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.clock import now
from oomrules.errors import Failure, reason
from oomrules.fields import FIELDS, Field
from oomrules.files import read_small
from oomrules.lean import Any
from oomrules.processes import hidden
from oomrules.processes.cgroups import Hierarchy, LiveScope, is_in_sight
from oomrules.processes.cmdlines import BATCH, Cmdlines
from oomrules.processes.descriptors import Descriptors
from oomrules.processes.facts import Facts
from oomrules.processes.history import Growth, Stalls
from oomrules.processes.machine import Memory, Waiting
from oomrules.processes.namespaces import Namespaces
from oomrules.processes.proc_stat import (
    FLAGS,
    LARGEST,
    NICE,
    RSS,
    SIZE,
    START,
    STATE,
    STIME,
    THREADS,
    USED,
    UTIME,
    position_of,
    split,
)
from oomrules.processes.proc_status import Statuses, taking
from oomrules.processes.snapshot import HOST_SHARES, PF_EXITING, UNREAD, Host, Process
from oomrules.processes.threads import GONE, LOOKS, Threads
from oomrules.processes.turns import Turns
from oomrules.processes.units import Placement
from oomrules.processes.values import held
from oomrules.program.nodes import SELF_MADE
from oomrules.program.program import Program

_PAGE_SIZE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")

# Of stat, but seldom asked for.
_FAMILY = tuple(
    (field.name, position_of(field.name))
    for field in FIELDS.values()
    if field.rare and field.file == "stat"
)
_STATUS = tuple(field for field in FIELDS.values() if field.file == "status")
# No user has logged in.
_NO_LOGIN = 2**32 - 1

# What a process can make long, and how many bytes of it are kept of all processes together.
_LONG = ("cmdline", "exe")
_MOST_TEXTS = 8 << 20

# One field of each file that the identity of a process is read from.
IDENTITY_FILES = ("uid", "gid", "oom_score_adj", "cgroup", "exe", "cmdline", "ppid")
# Those that tell where a process is, and those that tell what it may; none waits for its memory.
PLACE_FILES = ("cgroup",)
QUICK_FILES = ("uid", "gid", "oom_score_adj", "cgroup", "ppid")


class ProcSource:
    """Reads the processes of this host; it is itself the snapshot of its last refresh.

    Args:
        program: decides which attributes are read at each refresh.
        root: where proc is mounted.
        descriptors: how many ``stat`` files are kept open at the most.
        own: processes that are never candidates, besides this one.
        names: user and group names by id.
        facts: what systemd, logind and the containers' runtimes say.
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
        self.ranker: Any = None
        self.facts = facts or Facts()
        self.hierarchy = Hierarchy()
        self._unit_root = self.hierarchy.unit_root(root)
        # Where oomrules itself has adjusted a process, rules are told the value from before.
        self.original: Callable[[Process, int], int] | None = None
        # Processes whose control group lies outside of our namespace, where not all names are
        # known.
        self.out_of_sight: set[int] = set()
        # By field, the processes of which it could not be read for want of rights.
        self._denied: dict[str, set[int]] = {}
        # Those that the last refresh found in proc, and of which it could read nothing.
        self.refused: set[int] = set()
        # As it was found out last.
        self.hidden = hidden.Hidden()
        self._prefix = f"{root}/"
        self._names = names or (None, None)
        self._memory, self._waiting = Memory(root), Waiting(root)
        self._stalls, self._growth = Stalls(), Growth()
        # The figures of the host that rules ask for.
        self._of_host: frozenset[str] = frozenset()
        self._totalpages_too = False
        self.by_pid: dict[int, Process] = {}
        self.threads = Threads(self._prefix)
        self.namespaces = Namespaces(self.threads)
        # How many long files of status a refresh reads at the most.
        self.most_long = sys.maxsize
        self._statuses = Statuses(self.threads, self.namespaces)
        self._cmdlines = Cmdlines(
            lambda process: f"{self.threads.directory(process.pid)}cmdline", self._user
        )
        self._turns = Turns()
        # About how many bytes of _LONG are kept.
        self._texts = 0
        # What is read anew of every process at the next refresh.
        self._files_anew: frozenset[str] = frozenset()
        self._scopes: dict[str, LiveScope | None] = {}
        # Flags and capabilities: a host has a handful of different ones, and each is kept once.
        self.numbers: dict[Any, Any] = {}
        self.host: Host = self._host()
        self.descriptors = Descriptors(descriptors, self.host.mem_total, self._prefix)
        attributes = [ATTRIBUTES[name] for name in program.attributes]
        self._of_host = frozenset(
            attribute.field for attribute in attributes if attribute.provider is Provider.HOST
        )
        self._growth_too = "growth" in program.attributes
        self._totalpages_too = "totalpages" in program.attributes
        # The fields that rules ask for, and which of them are in status.
        asked = {(attribute.field, attribute.provider.value) for attribute in attributes}
        self.asked = {field.name for field in FIELDS.values() if (field.name, field.file) in asked}
        self.asked.update(field for attribute in attributes for field in attribute.needs)
        self._in_status = self._wanted("")
        self._family = any(name in self.asked for name, _ in _FAMILY)
        self._status_each_time = any(field.changes for field in self._in_status)
        self._taking = {field.name: taking(field, self.host.page_size) for field in _STATUS}

    # --- the snapshot --------------------------------------------------------------

    @property
    def own_pids(self) -> frozenset[int]:
        """Return the processes that are never candidates: those of oomrules."""
        return self._own | self._cmdlines.reader.pids

    @own_pids.setter
    def own_pids(self, pids: frozenset[int]) -> None:
        self._own = pids

    def look_anew(self, files: Iterable[str] = IDENTITY_FILES) -> None:
        """Have the identity of all processes, or some files of it, read at the next refresh."""
        self._files_anew |= frozenset(files)

    def is_as_it_was(self) -> bool:
        """Look at some processes in turn, without a refresh; False if one of them has changed."""
        self.begin()
        return self.look_in_turn(IDENTITY_FILES)

    def look_for_hidden(self) -> hidden.Hidden:
        """Count the processes that the last refresh was not shown."""
        self.hidden = hidden.look(self.root, self.by_pid, len(self.refused), self.hierarchy)
        return self.hidden

    @property
    def unreadable(self) -> dict[str, int]:
        """Return of how many processes each field could not be read for want of rights."""
        return {field: len(pids) for field, pids in self._denied.items() if pids}

    @property
    def hides_processes(self) -> bool:
        """Return whether proc is mounted so that this process does not see those of other users."""
        try:
            with open(f"{self._prefix}self/mounts", "rb") as mounts:
                return any(hidden.is_hiding(line, os.fsencode(self.root)) for line in mounts)
        except OSError:
            return False

    def scope(self, cgroup: str) -> LiveScope | None:
        """Look at a control group, at most once a refresh."""
        if cgroup not in self._scopes:
            share = self._stalls.of(cgroup, self.host.uptime)
            self._scopes[cgroup] = self.hierarchy.scope(cgroup, share)
        return self._scopes[cgroup]

    def fact(self, place: Placement, name: str) -> Any:
        """Look up what systemd or logind said of a unit."""
        return self.facts.get(place, name)

    def container_fact(self, process: Process, id_: str, name: str) -> Any:
        """Look up what a runtime said of a container."""
        return self.facts.of_container(id_, name)

    def read(self, process: Process, field: str) -> Any:
        """Read a field that was not asked for yet, with all that its file holds."""
        new = getattr(process, field) is UNREAD
        value = None
        try:
            self._read_file_of(field, process)
            value = getattr(process, field)
        except GONE:
            # A kernel thread has no exe; the other files are there as long as the process.
            if field != "exe":
                process.state = "X"
                process.changed()
        except PermissionError:
            self._deny(process, field)
        except (OSError, ValueError):
            pass
        if value is None or value is UNREAD:
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

        What has been worked out from it stays. Asked for once more, it is read again.
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
        if FIELDS[field].file == "cgroup":
            process.cgroup, memory = self.cgroups_of(process.pid)
            if memory != process.cgroup or process.memory_cgroup is not UNREAD:
                process.memory_cgroup = memory
        elif field == "oom_score_adj":
            own = int(read_small(f"{self._prefix}{process.pid}/oom_score_adj"))
            if self.original is not None:
                own = self.original(process, own)
            process.oom_score_adj = own
        elif FIELDS[field].file == "stat":
            data = read_small(f"{self._prefix}{process.pid}/stat")
            self._update_family(process, split(data))
        elif field == "growth":
            process.growth = self._growth.of(process, held(process, self), self.host.uptime)
        elif field == "exe":
            process.exe = self._exe(process.pid)
        elif field == "cmdline":
            process.cmdline = self._cmdline(process)
        else:
            self._read_status(process, self._statuses.read(process), field)

    def cgroups_of(self, pid: int) -> tuple[str | None, str | None]:
        """Return the control group of a process, and the one that its memory is charged to."""
        memory = None
        try:
            lines = self.threads.read(pid, "cgroup", read_small)
            path, memory = self.hierarchy.path_of(lines), self.hierarchy.memory_path_of(lines)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            # Below a group that is delegated to him, a user has gone deeper than the kernel can
            # say. He must gain nothing by it: what root says of the user holds.
            path = self._manager_of(pid)
        if path is None or not is_in_sight(path, self._unit_root):
            if path is not None:
                self.out_of_sight.add(pid)
            return None, None
        self.out_of_sight.discard(pid)
        path = sys.intern(path)
        return path, path if memory is None else sys.intern(memory)

    def _manager_of(self, pid: int) -> str:
        """Return the control group of the manager of the user that a process was logged in as.

        The kernel keeps that user (proc_pid_loginuid(5)), whatever other user the process becomes.
        """
        try:
            user = int(self.threads.read(pid, "loginuid", read_small))
        except (FileNotFoundError, ValueError):
            # A kernel without audit.
            user = _NO_LOGIN
        if user == _NO_LOGIN:
            user = self._taking["uid"](self.threads.read(pid, "status", read_small)) or 0
        path = f"{self._unit_root}/user.slice/user-{user}.slice/user@{user}.service"
        directory = self.hierarchy.units and self.hierarchy.units.directory(path)
        return path if directory and os.path.isdir(directory) else self._unit_root or "/"

    def _exe(self, pid: int) -> Any:
        leaderless = pid in self.threads.stand_ins
        try:
            raw = self.threads.read(pid, "exe", lambda path: os.readlink(os.fsencode(path)))
        except OSError as error:
            # The user put the program so deep, or has threads that end faster than they are looked
            # at.
            if error.errno == errno.ENAMETOOLONG or (leaderless and isinstance(error, GONE)):
                return SELF_MADE
            raise
        # A program that was replaced by an upgrade is still that program.
        return raw.decode("utf-8", "backslashreplace").removesuffix(" (deleted)")

    # --- command lines ---------------------------------------------------------------

    def _user(self, process: Process) -> Any:
        """Return the real user id, without taking it over: no rule has asked for it."""
        if isinstance(process.uid, int):
            return process.uid
        try:
            return self._taking["uid"](self._statuses.read(process))
        except (OSError, ValueError):
            return None

    def _cmdline(self, process: Process) -> Any:
        self._cmdlines.fetch_ahead(process, self.by_pid)
        leaderless = process.pid in self.threads.stand_ins
        for _ in range(LOOKS):
            try:
                return self._cmdlines.take(process)
            except GONE:
                if not leaderless:
                    raise
                self.threads.find(process.pid)
        # Its threads end faster than they are asked.
        return SELF_MADE

    # --- refreshing ----------------------------------------------------------------

    def refresh(self) -> ProcSource:
        """Bring every process up to date.

        Raises:
            Failure: proc itself cannot be read.
        """
        self.begin()
        self.refused.clear()
        table = self.by_pid
        try:
            names = os.listdir(self.root)
        except OSError as error:
            raise Failure(f"cannot list {self.root}: {reason(error)}") from error
        self._look_again(table.values())
        pids = [int(name) for name in names if name[0] in "0123456789"]
        new = {pid: Process(pid) for pid in pids if pid not in table}
        table |= new
        self._look_again(new.values())
        self.look_at_growth()
        self.look_in_turn(IDENTITY_FILES)
        return self

    def look_at_growth(self) -> None:
        """Note what each process holds, if rules ask how it grows."""
        if self._growth_too:
            present = [process for process in self.by_pid.values() if process.total_vm]
            sizes = [(process, held(process, self)) for process in present]
            self._growth.look(sizes, self.host.uptime)

    def begin(self) -> None:
        """Begin a refresh, with nothing known of what it is about to find."""
        self.host = self._host()
        self._stalls.forget(self.host.uptime)
        self.threads.uptime = self.host.uptime
        self._scopes.clear()
        self._cmdlines.begin()
        for process in self._statuses.begin(self.most_long):
            # Those that were not read have their turn.
            for field in _STATUS:
                if getattr(process, field.name) is SELF_MADE:
                    setattr(process, field.name, UNREAD)
            process.reconsider()

    def _look_again(self, processes: Iterable[Process]) -> None:
        """Read what changes of processes; those that are gone are dropped."""
        # One loop and no call for each of them: what is left is the kernel's work.
        pread, read_stat = os.pread, self.descriptors.read_stat
        status_too, gone = self._status_each_time, []
        for process in processes:
            descriptor = process.descriptor
            try:
                data = pread(descriptor, LARGEST, 0) if descriptor >= 0 else read_stat(process)
                # Most processes of a host sleep, and nothing of them has changed. A hash takes a
                # tenth of the memory of what it stands for; it errs once in 2**61 readings, by
                # one refresh, and the head of the list is read once more anyway.
                seen = hash(data)
                if seen != process.seen:
                    process.seen = seen
                    self.update(process, data)
                if status_too and process.total_vm:
                    self.read_status_again(process)
            except (OSError, ValueError, IndexError) as error:
                gone.append(process)
                if isinstance(error, PermissionError):
                    self.refused.add(process.pid)
        for process in gone:
            self.drop(process)

    def read_status_again(self, process: Process) -> None:
        """Read the figures of memory that the rules ask for."""
        try:
            self._read_status(process, self._statuses.read(process))
        except PermissionError:
            for field in self._in_status:
                if field.changes:
                    _take_over(process, field, None)
                    self._deny(process, field.name)

    def look_in_turn(self, files: Iterable[str]) -> bool:
        """Read the identity of some processes anew: those that were read the longest time ago.

        Args:
            files: those of IDENTITY_FILES that have to be read for it.

        Returns:
            whether nothing changed that a rule could ask for.
        """
        asked, self._files_anew = self._files_anew, frozenset()
        same = not asked or self._reread(
            _with_identity(self.by_pid.values()), [file for file in files if file in asked]
        )
        due = self._turns.due(self.by_pid, self.host.uptime)
        return self._reread(_with_identity(due), files) and same

    def _reread(self, processes: list[tuple[Process, Any]], fields: Iterable[str]) -> bool:
        """Read anew what was read of the identity of processes, and forget one that has changed."""
        same = True
        for number, (process, before) in enumerate(processes):
            if number % BATCH == 0:
                batch = (one for one, _ in processes[number : number + BATCH])
                self._cmdlines.fetch([one for one in batch if one.cmdline is not UNREAD])
            for field in fields:
                if getattr(process, field) is not UNREAD:
                    self.read(process, field)
            if _identity(process) != before:
                process.forget()
                process.seen = None
                same = False
        return same

    def drop(self, process: Process) -> None:
        """Forget a process that is gone."""
        self.threads.forget(process.pid)
        self._cmdlines.forget(process)
        self.out_of_sight.discard(process.pid)
        for denied in self._denied.values():
            denied.discard(process.pid)
        self.descriptors.release(process)
        process.changed()
        self.by_pid.pop(process.pid, None)

    def verify(self, processes: Iterable[Process]) -> bool:
        """Read the identity of processes afresh; a vanished one is dropped.

        Returns:
            True if nothing changed that a rule could ask for.
        """
        before = _with_identity(processes)
        present = []
        for process, identity in before:
            try:
                self.update(process, read_small(f"{self._prefix}{process.pid}/stat"))
                present.append((process, identity))
            except (OSError, ValueError, IndexError):
                self.drop(process)
        if self._reread(present, IDENTITY_FILES) and len(present) == len(before):
            return True
        for process, _ in present:
            process.seen = None
        return False

    def close(self) -> None:
        """Close every descriptor."""
        for process in list(self.by_pid.values()):
            self.drop(process)
        self._memory.close()
        self._waiting.close()

    def update(self, process: Process, data: bytes) -> None:
        """Take over what stat says."""
        # As ``Process.changed`` and ``proc_stat.split`` do; two calls less, for every process that
        # was on a processor.
        process.until = -1
        end = data.rindex(b")")
        fields = data[end + 2 :].split(None, USED)
        start = int(fields[START])
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
        process.utime = int(fields[UTIME])
        process.stime = int(fields[STIME])
        process.nice = int(fields[NICE])
        process.threads = threads = int(fields[THREADS])
        process.state = fields[STATE].decode("ascii", "replace")
        flags = int(fields[FLAGS])
        process.flags = self.numbers.setdefault(flags, flags)
        process.total_vm = size = int(fields[SIZE]) // _PAGE_SIZE
        process.rss = int(fields[RSS])
        ended = threads > 1 and (not size or flags & PF_EXITING)
        if ended or process.pid in self.threads.stand_ins:
            self._update_by_threads(process)
            if self.threads.are_needed(process.pid):
                # What the first thread's stat says is not all.
                process.seen = None

    def _update_by_threads(self, process: Process) -> None:
        """Take over what belongs to a thread from the first that goes on, if the first has not."""
        pid, threads = process.pid, self.threads
        before = threads.stand_ins.get(pid)
        if process.total_vm and not (process.flags or 0) & PF_EXITING:
            # An exec has made another thread the first one.
            del threads.stand_ins[pid]
            threads.merged.pop(pid, None)
            process.forget()
            return
        fields = threads.find(pid) if (process.threads or 0) > 1 else None
        if fields is None and (process.threads or 0) > 1 and not threads.all_ended:
            # It goes on, though its threads end faster than they are looked at.
            fields = threads.merged.get(pid)
        if fields is None:
            threads.merged.pop(pid, None)
            return
        threads.merged[pid] = fields
        process.state = fields[STATE].decode("ascii", "replace")
        process.flags = int(fields[FLAGS])
        process.total_vm = int(fields[SIZE]) // _PAGE_SIZE
        process.rss = int(fields[RSS])
        if before is None or (before[0] and before != threads.stand_ins.get(pid)):
            # Whatever was read was of another thread.
            process.forget()

    def _update_family(self, process: Process, fields: list[bytes]) -> None:
        """Take over the rare fields: the parent, which changes when it dies, the session, …."""
        for name, position in _FAMILY:
            value = int(fields[position])
            if getattr(process, name) != value:
                setattr(process, name, value)
                if not FIELDS[name].changes:
                    process.reconsider()

    def _wanted(self, asked: str) -> list[Field]:
        """Return the fields of status to take over: those that rules ask for, and another one."""
        wanted = {asked, *self.asked}
        return [field for field in _STATUS if not field.rare or field.name in wanted]

    def _read_status(self, process: Process, data: bytes, asked: str = "") -> None:
        """Take over what status says; a missing line is unknown."""
        wanted = self._wanted(asked) if asked else self._in_status
        if not data:
            # It was not read, because the process has made it long. What is known of it stays.
            for field in wanted:
                if getattr(process, field.name) is UNREAD:
                    setattr(process, field.name, SELF_MADE)
            return
        # Where they end faster than they are looked at, or the last one has just ended.
        own_doing = process.total_vm and ((process.threads or 0) > 1 or b"\nVm" not in data)
        for field in wanted:
            value = self._taking[field.name](data)
            if field.name == "capabilities":
                value = self.namespaces.worth(process, value)
                value = self.numbers.setdefault(value, value)
            elif value is None and field.unit.is_memory and own_doing:
                value = SELF_MADE
            _take_over(process, field, value)

    # --- the host ------------------------------------------------------------------

    def _host(self) -> Host:
        users, groups = self._names
        mem_total, swap_total = self._memory.totals()
        at = now()
        figures: dict[str, Any] = self._memory.rest() if self._of_host else {}
        waiting = self._waiting.read() if self._of_host & {*HOST_SHARES} else None
        if waiting is not None:
            stall = self._stalls.share("", at, waiting[1])
            figures |= {"pressure": waiting[0], "stall": stall}
        if self._totalpages_too:
            figures["swappiness"] = self._swappiness()
        return Host(
            time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            kernel=os.uname().release,
            page_size=_PAGE_SIZE,
            clock_ticks=_TICKS,
            uptime=at,
            mem_total=mem_total,
            swap_total=swap_total,
            users=users,
            groups=groups,
            unit_root=self._unit_root,
            **figures,
        )

    def _swappiness(self) -> int | None:
        try:
            return int(read_small(f"{self._prefix}sys/vm/swappiness"))
        except (OSError, ValueError):
            return None


def _take_over(process: Process, field: Field, value: Any) -> None:
    """Set a field, and have rules decide anew if they know another value of it."""
    before = getattr(process, field.name)
    if before is value or before == value:
        return
    setattr(process, field.name, value)
    if before is not UNREAD:
        if field.changes:
            process.changed()
        else:
            process.reconsider()


# Rules also treat a process by its nice value.
_identity = attrgetter(*(field.name for field in FIELDS.values() if not field.changes), "nice")


def _with_identity(processes: Iterable[Process]) -> list[tuple[Process, Any]]:
    return [(process, _identity(process)) for process in processes]
