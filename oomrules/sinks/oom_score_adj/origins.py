"""Whose an oom_score_adj is: the process's own, or inherited from one that we have lowered.

fork copies oom_score_adj, and with it oom_score_adj_min: who has no CAP_SYS_RESOURCE may write
any value down to that (copy_signal() in kernel/fork.c, __set_oom_adj() in fs/proc/base.c). So a
child of a process that we have lowered may have our value or choose another one, and neither is
its own, wherever it has gone meanwhile. A value below 0 is believed only of who could have set
it, or where something that root made explains it.
"""

from __future__ import annotations

import os

from oomrules.lean import Any
from oomrules.processes.cgroups import as_bytes
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import UNREAD, Process
from oomrules.processes.units import Placement
from oomrules.processes.values import place_of
from oomrules.sinks.oom_score_adj import record as adjusted
from oomrules.sinks.oom_score_adj.record import Record, Relative

CAP_SETUID = 7
CAP_SYS_RESOURCE = 24

# The kinds of unit whose processes the service manager starts, with OOMScoreAdjust=.
_STARTED = (".service", ".socket", ".mount", ".swap")

# The first user namespace maps every id to itself.
_FIRST = [b"0", b"0", b"4294967295"]


class Origins:
    """What is known of where the values of this host's processes come from.

    What was read is kept until the source is refreshed.

    Args:
        source: the processes.
        record: what was adjusted.
    """

    def __init__(self, source: ProcSource, record: Record) -> None:
        self._source, self.record, self.root = source, record, source.root
        self._of: Any = None
        self._relatives: dict[int, Relative | None] = {}
        self._known: dict[tuple[int, int], int] = {}
        self._lowered: dict[str, int] | None = None

    def own(self, process: Process, value: int) -> int:
        """Give the value that a process would have without us.

        Args:
            value: the one that it has.
        """
        if self._of is not self._source.host:
            self._of, self._lowered = self._source.host, None
            self._relatives.clear()
            self._known.clear()
        # Up to the first of whom it is plain, and down again.
        doubtful: list[tuple[Process, int]] = []
        seen: set[int] = set()
        found = self._plain(process, value)
        while found is None:
            doubtful.append((process, value))
            seen.add(process.pid)
            parent = self._parent(process)
            has = None if parent is None else adjustment(self.root, parent.pid)
            if parent is None or has is None or parent.pid in seen:
                found = 0
                break
            process, value = parent, has
            found = self._plain(process, value)
            if found == value and (process.pid, value) not in self._known:
                # It may keep what it could have set, but that explains nothing of its children.
                found = 0 if self.is_like_ours(process, value) else found
        for process, value in reversed(doubtful):
            found = self._known[process.pid, value] = self._believed(process, value, found)
        return found

    def is_like_ours(self, process: Process, value: int) -> bool:
        """Tell whether a value may be from here though nothing says so but that we write such."""
        start = process.starttime or 0
        known = (process.pid, start) in self.record.entries
        young = 0 < self.record.since <= start
        return value < 0 and young and not known and self.record.writes(value)

    def _plain(self, process: Process, value: int) -> int | None:
        """Tell what needs no looking around; None if it does."""
        pid, start, record = process.pid, process.starttime or 0, self.record
        if (pid, value) in self._known:
            return self._known[pid, value]
        found = record.source(pid, start, value, self._find, self.able)
        if found is not None:
            return found
        own = record.entries.get((pid, start))
        if own is not None:
            # It has another value than ours. Down to ours it can have gone by itself.
            return value if value >= min(0, own.original) or self.able(pid) else own.original
        if value >= 0 or not record.since or start < record.since or self.able(pid):
            return value
        return None

    def _believed(self, process: Process, value: int, parents: int) -> int:
        """Judge a value below 0 that a process was born with, or could go down to since."""
        floor = min(0, parents)
        unit, direct = self._system_unit(process)
        said = None if unit is None else self._source.fact(unit, "OOMScoreAdjust")
        if type(said) is int:
            floor = min(floor, said)
        elif unit is not None and direct and self._is_roots(unit):
            # Nobody has asked systemd. It is the unit's value, unless it can be from us.
            of_unit = self._lowered_units().get(unit.path)
            if of_unit is None:
                return value
            floor = min(floor, of_unit)
        if value >= floor:
            return value
        return floor if floor < 0 or type(said) is not int else said

    def able(self, pid: int) -> bool:
        """Tell whether a process may lower itself: capable() asks for the first user namespace."""
        # Only who is elsewhere makes a status long at will.
        if not in_first_namespace(self.root, pid):
            return False
        try:
            status = read(f"{self.root}/{pid}/status")
            capabilities = int(status.split(b"\nCapEff:", 1)[1].split(b"\n", 1)[0], 16)
        except (OSError, ValueError, IndexError):
            return False
        return bool(capabilities >> CAP_SYS_RESOURCE & 1)

    # --- around a process --------------------------------------------------------------

    def _find(self, pid: int) -> Relative | None:
        if pid not in self._relatives:
            self._relatives[pid] = self._relative(pid)
        return self._relatives[pid]

    def _relative(self, pid: int) -> Relative | None:
        if pid not in self._source.by_pid:
            return None
        directory = f"{self.root}/{pid}"
        try:
            stat = read(f"{directory}/stat")
            fields = stat[stat.rindex(b")") + 2 :].split(None, 20)
            cgroup = self._source.hierarchy.path_of(read(f"{directory}/cgroup"))
            return Relative(pid, int(fields[19]), int(fields[1]), cgroup)
        except (OSError, ValueError, IndexError):
            return None

    def _parent(self, process: Process) -> Process | None:
        relative = self._find(process.pid)
        if relative is None or relative.start != process.starttime:
            return None
        parent = self._source.by_pid.get(relative.ppid)
        above = self._find(relative.ppid)
        if parent is None or above is None or above.start > relative.start:
            return None
        return parent if above.start == parent.starttime else None

    def _system_unit(self, process: Process) -> tuple[Placement | None, bool]:
        """Find the system's unit around a process, and whether it is the innermost one."""
        relative = self._find(process.pid)
        if relative is None or relative.cgroup is None:
            return None, False
        place = place_of(relative.cgroup, self._source)
        direct = not place.manager
        while place.manager and place.above is not None:
            place = place.above
        return (place, direct) if place.unit.endswith(_STARTED) else (None, False)

    def _is_roots(self, unit: Placement) -> bool:
        """Tell whether nobody but root can have moved a process into a unit."""
        tree = self._source.hierarchy.units
        directory = tree.directory(unit.path) if tree else None
        try:
            return directory is not None and os.stat(as_bytes(directory)).st_uid == 0
        except (OSError, ValueError):
            return False

    def _lowered_units(self) -> dict[str, int]:
        """Give the units in which a value was lowered, with the original that is believed there.

        That is the highest one. Where all who had one have ended, it is the lowest: the whole
        service may have been started anew.
        """
        if self._lowered is None:
            originals: dict[str, set[int]] = {}
            living: set[str] = set()
            for entry in self.record:
                original = entry.original
                if entry.cgroup is None or min(entry.values, default=original) >= original:
                    continue
                path = place_of(entry.cgroup, self._source).path
                originals.setdefault(path, set()).add(original)
                process = self._source.by_pid.get(entry.pid)
                if process is not None and process.starttime == entry.start:
                    living.add(path)
            self._lowered = {
                path: max(found) if path in living else min(found)
                for path, found in originals.items()
            }
        return self._lowered


def in_first_namespace(root: str, pid: int | str) -> bool:
    """Tell whether a process is in the first user namespace; in any other one it is nobody."""
    try:
        return read(f"{root}/{pid}/uid_map").split() == _FIRST
    except FileNotFoundError:
        # A kernel without user namespaces, or it is gone.
        return True
    except (OSError, ValueError):
        return False


def adjustment(root: str, pid: int) -> int | None:
    """Read the value of a process; None if it is gone."""
    try:
        return int(read(f"{root}/{pid}/oom_score_adj"))
    except (OSError, ValueError):
        return None


def read(path: str, directory: int | None = None) -> bytes:
    """Read a small file of proc."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def see_originals(source: ProcSource, path: str) -> Record:
    """Let a source report the values from before; rules must not ask what they caused.

    Args:
        path: of the record.

    Raises:
        Failure: the record cannot be read.
    """
    record = adjusted.load(path)
    source.original = Origins(source, record).own if record.in_use else None
    if source.original is not None:
        # What has been read already is the value of now.
        for process in source.by_pid.values():
            value = process.oom_score_adj
            if value is not None and value is not UNREAD:
                process.oom_score_adj = source.original(process, value)
                process.reconsider()
    return record
