"""Where an oom_score_adj comes from: the process itself, or one that oomrules has lowered.

fork copies oom_score_adj, and with it oom_score_adj_min: a process without CAP_SYS_RESOURCE may
write any value down to that (copy_signal() in kernel/fork.c, __set_oom_adj() in fs/proc/base.c).
So a child of a lowered process may have the value that oomrules wrote, or choose another one.
Neither is its own, wherever it has moved meanwhile. A value below 0 is believed only of a process
that could have set it, or where something that root made explains it.
"""

from __future__ import annotations

import os

from oomrules.files import read_small
from oomrules.lean import Any
from oomrules.processes.cgroups import as_bytes
from oomrules.processes.proc_stat import family
from oomrules.processes.proc_status import line_of
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import UNREAD, Process
from oomrules.processes.units import Placement
from oomrules.processes.values import place_of
from oomrules.sinks.oom_score_adj.record import Record, Relative, load

CAP_SETUID = 7
CAP_SYS_RESOURCE = 24

# The kinds of unit whose processes the service manager starts, with OOMScoreAdjust=.
_STARTED = (".service", ".socket", ".mount", ".swap")

# The first user namespace maps every id to itself.
_FIRST = [b"0", b"0", b"4294967295"]


class Origins:
    """Where the values of this host's processes come from.

    What is read is remembered until the source is refreshed.
    """

    def __init__(self, source: ProcSource, record: Record) -> None:
        self.source, self.record, self.root = source, record, source.root
        self._of: Any = None
        self._relatives: dict[int, Relative | None] = {}
        self._known: dict[tuple[int, int], int] = {}
        self._lowered: dict[str, int] | None = None

    def original(self, process: Process, current: int) -> int:
        """Return the value that a process would have without oomrules."""
        if self._of is not self.source.host:
            self._of, self._lowered = self.source.host, None
            self._relatives.clear()
            self._known.clear()
        # Up to the first ancestor whose original is plain, and down again.
        doubtful: list[tuple[Process, int]] = []
        seen: set[int] = set()
        original = self._plain(process, current)
        while original is None:
            doubtful.append((process, current))
            seen.add(process.pid)
            parent = self._parent(process)
            parents = None if parent is None else current_value(self.root, parent.pid)
            if parent is None or parents is None or parent.pid in seen:
                original = 0
                break
            process, current = parent, parents
            original = self._plain(process, current)
            if original == current and (process.pid, current) not in self._known:
                # It may keep what it could have set, but that explains nothing of its children.
                original = 0 if self.is_like_ours(process, current) else original
        for process, current in reversed(doubtful):
            original = self._known[process.pid, current] = self._believed(
                process, current, original
            )
        return original

    def is_like_ours(self, process: Process, current: int) -> bool:
        """Return whether a value may be from oomrules, only because oomrules writes that value."""
        start = process.starttime or 0
        known = (process.pid, start) in self.record.entries
        young = 0 < self.record.since <= start
        return current < 0 and young and not known and current in self.record.values

    def _plain(self, process: Process, current: int) -> int | None:
        """Return the original if its ancestors and its unit need not be looked at, else None."""
        pid, start, record = process.pid, process.starttime or 0, self.record
        if (pid, current) in self._known:
            return self._known[pid, current]
        inherited = record.source(pid, start, current, self._find, self.able)
        if inherited is not None:
            return inherited
        entry = record.entries.get((pid, start))
        if entry is not None:
            # It has another value than ours. Down to ours it can have gone by itself.
            believed = current >= min(0, entry.original) or self.able(pid)
            return current if believed else entry.original
        if current >= 0 or not record.since or start < record.since or self.able(pid):
            return current
        return None

    def _believed(self, process: Process, current: int, parents: int) -> int:
        """Return the original of a process with a value below 0 that it may have inherited.

        Args:
            parents: the original of its parent; 0 if that is unknown.
        """
        floor = min(0, parents)
        unit, direct = self._system_unit(process)
        of_unit = None if unit is None else self.source.fact(unit, "OOMScoreAdjust")
        if type(of_unit) is int:
            floor = min(floor, of_unit)
        elif unit is not None and direct and self._is_roots(unit):
            # systemd was not asked. It is the unit's value, unless it can be from oomrules.
            lowered_from = self._lowered_units().get(unit.path)
            if lowered_from is None:
                return current
            floor = min(floor, lowered_from)
        if current >= floor:
            return current
        return floor if floor < 0 or type(of_unit) is not int else of_unit

    def able(self, pid: int) -> bool:
        """Return whether a process may lower itself."""
        return may_lower(self.root, pid)

    def _find(self, pid: int) -> Relative | None:
        if pid in self.source.by_pid and pid not in self._relatives:
            try:
                start, ppid = family(read_small(f"{self.root}/{pid}/stat"))
                cgroup = self.source.hierarchy.path_of(read_small(f"{self.root}/{pid}/cgroup"))
                self._relatives[pid] = Relative(start=start, ppid=ppid, cgroup=cgroup)
            except (OSError, ValueError, IndexError):
                self._relatives[pid] = None
        return self._relatives.get(pid)

    def _parent(self, process: Process) -> Process | None:
        relative = self._find(process.pid)
        if relative is None or relative.start != process.starttime:
            return None
        parent, above = self.source.by_pid.get(relative.ppid), self._find(relative.ppid)
        if parent is None or above is None or above.start > relative.start:
            return None
        return parent if above.start == parent.starttime else None

    def _system_unit(self, process: Process) -> tuple[Placement | None, bool]:
        """Return the system's unit around a process, and whether it is the innermost one."""
        relative = self._find(process.pid)
        if relative is None or relative.cgroup is None:
            return None, False
        place = place_of(relative.cgroup, self.source)
        unit = place.system
        return (unit, not place.manager) if unit.unit.endswith(_STARTED) else (None, False)

    def _is_roots(self, unit: Placement) -> bool:
        """Return whether only root can have moved a process into a unit."""
        tree = self.source.hierarchy.units
        directory = tree.directory(unit.path) if tree else None
        try:
            return directory is not None and os.stat(as_bytes(directory)).st_uid == 0
        except (OSError, ValueError):
            return False

    def _lowered_units(self) -> dict[str, int]:
        """Return the units in which a value was lowered, with the original that is believed there.

        It is the highest original of the lowered processes. If all of them have ended it is the
        lowest one, since the whole service may have been restarted.
        """
        if self._lowered is None:
            originals: dict[str, set[int]] = {}
            living: set[str] = set()
            for entry in self.record:
                original = entry.original
                if entry.cgroup is None or min(entry.values, default=original) >= original:
                    continue
                path = place_of(entry.cgroup, self.source).path
                originals.setdefault(path, set()).add(original)
                process = self.source.by_pid.get(entry.pid)
                if process is not None and process.starttime == entry.start:
                    living.add(path)
            self._lowered = {
                path: max(found) if path in living else min(found)
                for path, found in originals.items()
            }
        return self._lowered


def in_first_namespace(root: str, pid: int | str) -> bool:
    """Return whether a process is in the first user namespace; no other has rights on the host."""
    try:
        return read_small(f"{root}/{pid}/uid_map").split() == _FIRST
    except FileNotFoundError:
        # A kernel without user namespaces, or it is gone.
        return True
    except (OSError, ValueError):
        return False


def may_lower(root: str = "/proc", pid: int | str = "self") -> bool:
    """Return whether a process may lower values (__set_oom_adj() in fs/proc/base.c asks capable()).

    That takes CAP_SYS_RESOURCE in the first user namespace; a container's root has another one.
    """
    # Only a process in another namespace can make its status long at will.
    if not in_first_namespace(root, pid):
        return False
    try:
        capabilities = int(line_of(read_small(f"{root}/{pid}/status"), b"\nCapEff:"), 16)
    except (OSError, ValueError):
        return False
    return bool(capabilities >> CAP_SYS_RESOURCE & 1)


def current_value(root: str, pid: int) -> int | None:
    """Return the oom_score_adj of a process; None if it is gone."""
    return number_in(f"{root}/{pid}/oom_score_adj")


def number_in(path: str) -> int | None:
    """Return the number in a file of proc; None if it cannot be read."""
    try:
        return int(read_small(path))
    except (OSError, ValueError):
        return None


def see_originals(source: ProcSource, path: str) -> Record:
    """Let a source report the values from before, since rules must not see what they caused.

    Returns:
        the record, read from ``path``.

    Raises:
        Failure: it cannot be read.
    """
    record = load(path)
    source.original = Origins(source, record).original if record.in_use else None
    if source.original is not None:
        # What has been read already is the current value.
        for process in source.by_pid.values():
            value = process.oom_score_adj
            if value is not None and value is not UNREAD:
                process.oom_score_adj = source.original(process, value)
                process.reconsider()
    return record


def adjusted(source: ProcSource) -> tuple[dict[int, int], frozenset[int]]:
    """Return what ``sinks.adjusted`` does, by the record that a source sees originals by."""
    seen_by = getattr(source.original, "__self__", None)
    if not isinstance(seen_by, Origins):
        return {}, frozenset()
    originals = {}
    for entry in seen_by.record:
        process = source.by_pid.get(entry.pid)
        if process is not None and process.starttime == entry.start and not entry.fading:
            originals[entry.pid] = entry.original
    return originals, frozenset(seen_by.record.values)
