"""The fast source: every process in one read, from a pinned BPF iterator.

``bpf/oom_iter.bpf.c`` writes the rows and ``bpf/rows.h`` describes them. They say what
``/proc`` would say at that moment, so a ranking is the same from either. What they lack
(command lines, executables) is read from ``/proc``, and so is everything when the
iterator is not there or its file is not what it should be.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Collection, Iterable
from functools import lru_cache
from struct import Struct, calcsize

from oomrules.errors import reason
from oomrules.fields import FIELDS, Unit
from oomrules.files import read_small
from oomrules.lean import Any
from oomrules.processes.cgroups import as_bytes
from oomrules.processes.proc_stat import family
from oomrules.processes.procfs import PLACE_FILES, ProcSource
from oomrules.processes.snapshot import Process
from oomrules.program.program import Program

# Where the unit's ExecStartPre= pins it.
PINNED = "/sys/fs/bpf/oomrules/tasks"

MAGIC = int.from_bytes(b"oomrules", "little")
END = int.from_bytes(b".oom.end", "little")
VERSION = 1
SWAP_IS_ROUGH = 1
TIMES_IN_DOUBT = 1
FIRST_THREAD_ENDED = 2

# struct row, in the order of bpf/rows.h; a test compares the two.
ROW_FIELDS = (
    *("pid:I ppid:I start:Q utime:Q stime:Q runtime:Q shown_utime:Q shown_stime:Q".split()),
    *("capabilities:Q cgroup:Q total_vm:Q rss:Q swap:Q locked:Q pgtables:Q".split()),
    *("flags:I state:I exit_state:I uid:I euid:I gid:I egid:I threads:I".split()),
    *("nice:i oom_score_adj:i session:I tty_nr:I doubt:I pid_depth:I comm:16s".split()),
)
_CODES = {name: code for name, _, code in (field.partition(":") for field in ROW_FIELDS)}


def _row_of(members: Collection[str]) -> Struct:
    """Return the layout of a row, of which only some members are unpacked."""
    codes = (
        code if name in members else f"{calcsize('=' + code)}x" for name, code in _CODES.items()
    )
    return Struct("=" + "".join(codes))


ROW = _row_of(_CODES)
HEAD = Struct("=IIQII")
TAIL = Struct("=IIQ")
_BYTES = Struct(f"{ROW.size}s")
# The members that belong to rare fields are unpacked only where rules ask for them.
_ALWAYS = _row_of(_CODES.keys() - {field.row for field in FIELDS.values() if field.rare})
# More than the kernel hands out at once.
_PIECE = 1 << 16

# Numbers of control groups that are remembered, with those of units that are gone.
_FEW_CGROUPS = 128
_NANOSECONDS = 10**9

# include/linux/sched.h
_REPORTED = 0x7F
_IDLE = 0x402
_RTLOCK_WAIT = 0x1000
_FROZEN = 0x8000
_LETTERS = "RSDTtXZP"


class Unusable(Exception):
    """What was read is no list of this host's processes; the text says why."""


def shown_times(
    utime: int, stime: int, runtime: int, shown_utime: int, shown_stime: int
) -> tuple[int, int]:
    """Scale the sampled times to the exact runtime, as /proc/PID/stat would show them now.

    This is cputime_adjust() of kernel/sched/cputime.c. All times are in ns; shown_utime
    and shown_stime are what it gave at the last look.
    """
    if shown_utime + shown_stime >= runtime:
        return shown_utime, shown_stime
    if stime == 0:
        scaled = 0
    elif utime == 0:
        scaled = runtime
    else:
        scaled = stime * runtime // (stime + utime)
    scaled = max(scaled, shown_stime)
    rest = runtime - scaled
    return (shown_utime, runtime - shown_utime) if rest < shown_utime else (rest, scaled)


@lru_cache(maxsize=256)
def letter(state: int, exit_state: int) -> str | None:
    """Name a state as /proc/PID/stat does; None where kernels differ in how they name it.

    This is __task_state_index() of include/linux/sched.h.
    """
    if state & _FROZEN:
        return None
    if state & _IDLE == _IDLE:
        return "I"
    if state & _RTLOCK_WAIT:
        return "D"
    return _LETTERS[((state | exit_state) & _REPORTED).bit_length()]


class IteratorSource(ProcSource):
    """Reads the processes of this host, by the iterator where it is pinned.

    Args:
        tasks: the pinned iterator; None reads /proc alone.
        expected: whether it is worth a note that it is not there.
        options: as for ProcSource.
    """

    def __init__(
        self,
        program: Program,
        *,
        tasks: str | None = PINNED,
        expected: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(program, **options)
        self.tasks = tasks
        # Why the last refresh was not by the iterator, if that is worth a note.
        self.note = ""
        self.by_iterator = False
        self._expected = expected
        self._cgroups: dict[int, str] = {}
        # A row has the group in the hierarchy of v2; where that is not all, /proc tells.
        self._v2 = self.hierarchy.is_single
        self._tick = _NANOSECONDS // self.host.clock_ticks
        asked = [FIELDS[name] for name in self.asked]
        # Of the rare fields that rules ask for: what a row has, and what only status has.
        rare = {field.row: field for field in asked if field.rare and field.row}
        factors: dict[Unit | None, int] = {Unit.PAGES: self.host.page_size}
        self._rare = [
            (field.name, field.unit.is_memory, factors.get(field.row_unit, 1), field.changes)
            for field in (rare[member] for member in _CODES if member in rare)
        ]
        self._rare_row = _row_of(rare)
        lacking = [one for one in asked if not one.row and one.file == "status"]
        self._is_lacking = any(one.changes for one in lacking)
        self._in_turn = (
            *(() if self._v2 else PLACE_FILES),
            *(("uid",) if any(not one.changes for one in lacking) else ()),
            *("exe", "cmdline"),
        )
        self._rough = self._ended = False
        self._self: tuple[int, int] | None = None

    def refresh(self) -> IteratorSource:
        """Bring every process up to date, as ``ProcSource`` does."""
        self.note, self.by_iterator = "", False
        self.refused.clear()
        if self.tasks:
            try:
                self._refresh_at_once(self.tasks)
                self.by_iterator = True
                self.look_at_growth()
                # The rest is in the rows.
                self.look_in_turn(self._in_turn)
                return self
            except (FileNotFoundError, PermissionError) as error:
                if self._expected:
                    self.note = f"{self.tasks}: {reason(error)}, so /proc is read instead"
            except (OSError, Unusable) as error:
                why = reason(error) if isinstance(error, OSError) else str(error)
                self.note = f"{self.tasks}: {why}, so /proc is read instead; pin it anew"
                # Whatever it has said is not to be believed.
                for process in self.by_pid.values():
                    process.forget()
                    process.seen = None
        super().refresh()
        return self

    # --- the whole list --------------------------------------------------------------

    def _refresh_at_once(self, path: str) -> None:
        with open(path, "rb", buffering=0) as rows:
            present = self._take_all(rows.fileno())
        if not self._ended:
            raise Unusable("it ends before its end")
        table = self.by_pid
        if len(present) != len(table):
            for pid in table.keys() - present:
                self.drop(table[pid])
        self._recognise_ourselves()
        if self.descriptors.kept:
            # They are from a time without the iterator.
            for process in table.values():
                self.descriptors.release(process)
        self._read_each_status()

    def _take_all(self, descriptor: int) -> array[int]:
        """Take over all rows; give the pids that they are about."""
        self.begin()
        self._ended = False
        present = array("I")
        find, size, column = self.by_pid.get, ROW.size, ROW.size // 4
        rest, start = b"", size
        while piece := os.read(descriptor, _PIECE):
            data = rest + piece
            whole = len(data) - len(data) % size
            rest = data[whole:]
            if start and whole:
                self._check_head(data)
            with memoryview(data)[start:whole] as rows:
                pids = rows.cast("I")[::column].tolist()
                present.extend(pids)
                for process, seen, at in zip(
                    map(find, pids),
                    map(hash, _BYTES.iter_unpack(rows)),
                    range(0, len(rows), size),
                    strict=True,
                ):
                    # Of most processes nothing has changed: see ProcSource._look_again.
                    if process is None or process.seen != seen:
                        self._take(process, rows, at, seen)
            start = 0 if whole else start
            if self._ended:
                # The kernel would go on with processes that have been started since.
                break
        if rest:
            raise Unusable("its last row is cut off")
        if present:
            present.pop()
        return present

    def _check_head(self, data: bytes) -> None:
        pid, version, magic, size, notes = HEAD.unpack_from(data)
        if pid or magic != MAGIC:
            raise Unusable("this is no list of tasks")
        if (version, size) != (VERSION, ROW.size):
            raise Unusable(f"its format is version {version}, and this is for {VERSION}")
        self._rough = bool(notes & SWAP_IS_ROUGH)

    def _check_tail(self, rows: memoryview, at: int) -> None:
        _, version, magic = TAIL.unpack_from(rows, at)
        if magic != END or version != VERSION:
            raise Unusable("a row of it has no pid")
        self._ended = True

    def _recognise_ourselves(self) -> None:
        """See that the list has this process as /proc has it: pids can mean other processes.

        They do so in another pid namespace, and times differ in another time namespace.
        """
        pid = os.getpid()
        if self._self is None or self._self[0] != pid:
            self._self = pid, family(read_small(f"{self.root}/self/stat"))[0]
        process = self.by_pid.get(pid)
        if process is None or process.starttime != self._self[1]:
            raise Unusable("it does not have this very process in it")

    # --- a row -----------------------------------------------------------------------

    def _take(self, process: Process | None, rows: memoryview, at: int, seen: int) -> None:
        """Take over a row that is not as it was: the one at an offset, of this hash."""
        if self._ended:
            raise Unusable("it goes on after its end")
        (
            pid, start, utime, stime, runtime, shown_utime, shown_stime, capabilities, cgroup,
            total_vm, rss, flags, state, exit_state, uid, euid, threads, nice, oom_score_adj,
            doubt, pid_depth, comm,
        ) = _ALWAYS.unpack_from(rows, at)  # fmt: skip
        if pid == 0:
            self._check_tail(rows, at)
            return
        if process is None:
            process = self.by_pid[pid] = Process(pid)
        # As ``Process.changed`` does; a call less.
        process.until = -1
        numbers = self.numbers
        leaderless = bool(doubt & FIRST_THREAD_ENDED)
        if leaderless != (pid in self.threads.stand_ins):
            # Whatever else was read was of another thread.
            process.forget()
            self.threads.stand_ins.pop(pid, None)
            if leaderless:
                self.threads.stand_ins[pid] = 0, 0
        start //= self._tick
        name = comm.rstrip(b"\0").decode("utf-8", "backslashreplace")
        if start != process.starttime or name != process.comm:
            if process.starttime is not None:
                process.forget()
            process.starttime = start
            process.comm = sys.intern(name)
        if self.original is not None:
            oom_score_adj = self.original(process, oom_score_adj)
        before = process.uid, process.euid, process.capabilities, process.oom_score_adj
        process.uid, process.euid, process.oom_score_adj = uid, euid, oom_score_adj
        # A process never leaves the pid namespace that it was born in.
        process.pid_depth = pid_depth
        worth = self.namespaces.worth(process, capabilities)
        process.capabilities = numbers.setdefault(worth, worth)
        if before != (uid, euid, process.capabilities, oom_score_adj):
            process.reconsider()
        if self._v2:
            self._take_cgroup(process, cgroup)
        if self._rare:
            self._take_rare(process, self._rare_row.unpack_from(rows, at), bool(total_vm))
        process.flags = numbers.setdefault(flags, flags)
        utime, stime = shown_times(utime, stime, runtime, shown_utime, shown_stime)
        process.utime, process.stime = utime // self._tick, stime // self._tick
        process.nice, process.threads = nice, threads
        process.total_vm, process.rss = total_vm, rss
        process.state = letter(state, exit_state)
        # An object from before would say of the first thread alone that it has no memory.
        if doubt & TIMES_IN_DOUBT or process.state is None or (not total_vm and threads > 1):
            self._ask_proc(process)
        else:
            process.seen = seen

    def _take_rare(self, process: Process, values: Iterable[int], has_memory: bool) -> None:
        """Take over what the rules ask for of the rest."""
        for (name, is_memory, unit, changes), number in zip(self._rare, values, strict=True):
            value = None if is_memory and not has_memory else number * unit
            if getattr(process, name) != value:
                setattr(process, name, value)
                if not changes:
                    process.reconsider()

    def _take_cgroup(self, process: Process, number: int) -> None:
        """Find the path of a control group by its number, which no other will ever have."""
        path = self._cgroups.get(number) or self._path(process.pid, number)
        if path != process.cgroup:
            process.cgroup = path
            process.reconsider()

    def _path(self, pid: int, number: int) -> str | None:
        path, unified = None, self.hierarchy.unified
        try:
            path, _ = self.cgroups_of(pid)
            directory = path and unified and unified.directory(path)
            # The process may have been moved since its row was written.
            if path and directory and os.stat(as_bytes(directory)).st_ino == number:
                # There are no more of them with processes than there are processes.
                if len(self._cgroups) >= max(_FEW_CGROUPS, len(self.by_pid)):
                    self._cgroups.clear()
                self._cgroups[number] = path
        except OSError:
            pass
        return path

    def _ask_proc(self, process: Process) -> None:
        """Read of a process what its row could not say; again at each refresh."""
        process.seen = None
        try:
            self.update(process, read_small(f"{self.root}/{process.pid}/stat"))
        except (OSError, ValueError, IndexError):
            process.state = "X"

    # --- what only /proc has -----------------------------------------------------------

    def _read_each_status(self) -> None:
        """Read the figures of memory that the rows lack, if the rules ask for them."""
        rough = self._rough and self.host.swap_total > 0 and "swap" in self.asked
        if not self._is_lacking and not rough:
            return
        for process in list(self.by_pid.values()):
            if process.total_vm:
                try:
                    self.read_status_again(process)
                except (OSError, ValueError):
                    self.drop(process)
