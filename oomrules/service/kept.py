"""The processes after a kill: what is known of them, and which one the kernel alone had taken.

The source has what the last list was made of, so nothing is kept besides but the head of the last
two lists: a process that was killed while a list was made is in no source any more.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator

from oomrules.clock import now
from oomrules.fields import FIELDS
from oomrules.files import read_small
from oomrules.kills.facts import KEPT, Facts
from oomrules.kills.kernel_log import Kill
from oomrules.lean import Any, NamedTuple
from oomrules.processes.proc_stat import family
from oomrules.processes.proc_status import line_of, read_status
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import UNREAD, Process
from oomrules.processes.values import place_of
from oomrules.program.nodes import SELF_MADE
from oomrules.ranking.kernel_badness import UNKILLABLE, Domain, badness
from oomrules.sinks import adjusted

# How many processes are kept of the list, and of the kernel's own order.
FIRST = 64

# How long all processes are looked at after a kill, in seconds: a user can make his slow to read.
_PATIENCE = 0.25
# Who the kernel alone would have taken is said if it is first by this part of all memory: the
# others are read a moment after the kill.
_MARGIN = 100
# Nor is it said of a second kill within this time, in seconds: the first victim is missing then.
_APART = 10.0
# Since 5.1 no child is sacrificed, and no points are taken off for root
# (oom_badness(), oom_kill_process() in mm/oom_kill.c).
_PLAIN = (5, 1)

# The files that what is kept is read from, if no rule asked for it, by a field of each. None of
# them waits for a process's memory.
_READ = ("uid", "oom_score_adj", "cgroup")

# Some processes, each with the start time by which it is told from a later one with its pid.
Head = list[tuple[Process, "int | None"]]


def head(processes: Iterable[Process]) -> Head:
    """Return the head of a list, to be known later."""
    return [(process, process.starttime) for process in processes]


class Found(NamedTuple):
    """What is known at a kill.

    Attributes:
        alone: the process that the kernel would have taken without oomrules, as
            ``state.described`` has it; None if that is not certain.
    """

    facts: Facts
    alone: dict[str, Any] | None


class Aftermath:
    """Looks at the processes after a kill."""

    def __init__(self) -> None:
        self._host_killed_at = -_APART

    def look(
        self, kill: Kill, at: float, read: float | None, heads: list[Head], source: ProcSource
    ) -> Found:
        """Return what is known of the victim, of the head of the list and of the largest ones.

        Args:
            kill: with the pid of the process, not that of a thread.
            at: when it was, in seconds since the boot.
            read: when the processes on the list were read.
            heads: those of the last lists, the one that the kernel had first.
        """
        of_host = kill.constraint == "CONSTRAINT_NONE"
        points = None
        if of_host:
            apart = at - self._host_killed_at >= _APART
            self._host_killed_at = at
            points = _points(kill, at, heads, source) if apart else None
        first = _first(points, source) if points is not None else _largest(source)
        victim = filter(None, [source.by_pid.get(kill.pid)])
        known = (*(pair for one in heads for pair in one), *head(first), *head(victim))
        chosen: dict[int, Process] = {}
        for process, start in known:
            # A process object serves the next one with its pid.
            if process.starttime == start and (start or 0) <= at * source.host.clock_ticks:
                chosen.setdefault(process.pid, process)
        ordered = sorted(chosen, key=lambda pid: pid != kill.pid)
        originals, written = adjusted(source)
        facts = Facts(
            read=read,
            at=at,
            ticks=source.host.clock_ticks,
            adjusted=source.original is not None,
            unit_root=source.host.unit_root,
            users=None if source.host.users is None else dict(source.host.users),
            processes={pid: _line(chosen[pid], source) for pid in ordered},
            originals={pid: value for pid, value in originals.items() if pid not in chosen},
            written=written,
        )
        first_pid = _certain_first(points, source) if points else None
        return Found(facts, _described(facts.processes.get(first_pid or 0), source))


def _described(line: dict[str, Any] | None, source: ProcSource) -> dict[str, Any] | None:
    if line is None:
        return None
    place = place_of(line["cgroup"], source) if "cgroup" in line else None
    return {
        "pid": line["pid"],
        "uid": line.get("uid"),
        "comm": line.get("comm"),
        "unit": place and place.unit,
        "manager": place.manager if place else "",
    }


def _line(process: Process, source: ProcSource) -> dict[str, Any]:
    """Return what is known of a process; what no rule asked for is read, and forgotten again."""
    unread = [name for name in FIELDS if getattr(process, name) is UNREAD]
    if source.by_pid.get(process.pid) is process:
        for name in _READ:
            if name in unread and getattr(process, name) is UNREAD:
                source.read(process, name)
    line = {name: getattr(process, name) for name in KEPT}
    # Else it would be read anew at each look at the process.
    for name in unread:
        if process.more is not None and name in process.more:
            del process.more[name]
        elif name in Process.__slots__:
            setattr(process, name, UNREAD)
    if type(line["capabilities"]) is int:
        line["capabilities"] = f"{line['capabilities']:x}"
    return {
        name: value
        for name, value in line.items()
        if value is not UNREAD and value is not SELF_MADE and value is not None
    }


def _largest(source: ProcSource) -> list[Process]:
    """Return the processes with the most resident memory, by the last look."""
    return heapq.nlargest(FIRST, source.by_pid.values(), key=lambda process: process.rss or 0)


# --- the kernel's own order ------------------------------------------------------------------

# The least and the most points of each process, in pages; the kernel takes the one with the most.
Points = dict[int, tuple[int, int]]


def _first(points: Points, source: ProcSource) -> list[Process]:
    pids = heapq.nlargest(FIRST, points, key=lambda pid: points[pid][1])
    return [source.by_pid[pid] for pid in pids if pid in source.by_pid]


def _points(kill: Kill, at: float, heads: list[Head], source: ProcSource) -> Points | None:
    """Return the points of all processes by the values that they had without oomrules.

    The others are read as they are now, and the victim is known by what the kernel said of it.

    Returns:
        None if it takes too long.
    """
    host = source.host
    step = Domain("", (host.mem_total + host.swap_total) // host.page_size, 0).step
    points: Points = {}
    until = now() + _PATIENCE
    for pid in _others(kill.pid, source):
        if now() > until:
            return None
        size = _size(pid, source)
        if size is not None:
            value = _original(pid, source)
            if value is None:
                if _began(pid, source) > at * host.clock_ticks:
                    continue
                # It was born before the kill, and is on no list. What it has may be from a process
                # that oomrules adjusted.
                points[pid] = size - 1000 * step, size + 1000 * step
            elif (exact := badness(size, value, step)) is not None:
                points[pid] = exact, exact
    victim = next((one for one, start in _known(heads) if one.pid == kill.pid), None)
    victim = victim or source.by_pid.get(kill.pid)
    value = None if victim is None else _of_victim(victim, kill, source)
    if victim is None or kill.held is None or value is None:
        # Nothing can be said of the others without it.
        return points | {kill.pid: (-(2**62), 2**62)}
    if value != UNKILLABLE:
        size = (kill.held << 10) // host.page_size + value * step
        swap = victim.swap if host.swap_total else 0
        most = host.swap_total // host.page_size
        points[kill.pid] = (size + swap, size + swap) if type(swap) is int else (size, size + most)
    return points


def _of_victim(victim: Process, kill: Kill, source: ProcSource) -> int | None:
    """Return the oom_score_adj that the victim had before oomrules; None if that is unknown."""
    if type(victim.oom_score_adj) is int:
        return victim.oom_score_adj
    value = kill.oom_score_adj
    return value if value is None or source.original is None else source.original(victim, value)


def _known(heads: list[Head]) -> Iterator[tuple[Process, int | None]]:
    return ((one, start) for each in heads for one, start in each if one.starttime == start)


def _others(victim: int, source: ProcSource) -> Iterator[int]:
    for name in os.listdir(source.root):
        # The kernel never takes the init process.
        if name.isdigit() and int(name) not in (1, victim):
            yield int(name)


def _size(pid: int, source: ProcSource) -> int | None:
    """Return what oom_badness() adds up, in pages; None if it has no memory."""
    try:
        data, _ = read_status(f"{source.root}/{pid}/status")
        sizes = [line_of(data, key) for key in (b"\nVmRSS:", b"\nVmSwap:", b"\nVmPTE:")]
        if not sizes[0]:
            return None
        return sum(int(size[:-3]) << 10 for size in sizes if size) // source.host.page_size
    except (OSError, ValueError):
        return None


def _began(pid: int, source: ProcSource) -> int:
    """Return when a process began, in clock ticks since the boot; 0 if that cannot be read."""
    try:
        return family(read_small(f"{source.root}/{pid}/stat"))[0]
    except (OSError, ValueError, IndexError):
        return 0


def _original(pid: int, source: ProcSource) -> int | None:
    """Return the oom_score_adj that a process had before oomrules; None if that is unknown."""
    process = source.by_pid.get(pid)
    if process is not None and type(process.oom_score_adj) is int:
        return process.oom_score_adj
    try:
        value = int(read_small(f"{source.root}/{pid}/oom_score_adj"))
        if source.original is None:
            return value
        return None if process is None else source.original(process, value)
    except (OSError, ValueError):
        return None


def _certain_first(points: Points, source: ProcSource) -> int | None:
    """Return the pid that the kernel would have taken by the points; None if it is not certain."""
    if _release(source.host.kernel) < _PLAIN or _takes_the_allocating(source.root):
        return None
    host = source.host
    margin = (host.mem_total + host.swap_total) // host.page_size // _MARGIN
    first = max(points, key=lambda pid: points[pid][0])
    least = points[first][0] - margin
    near = any(most >= least for pid, (_, most) in points.items() if pid != first)
    return None if near else first


def _release(kernel: str) -> tuple[int, ...]:
    parts = kernel.split(".")[:2]
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in parts)


def _takes_the_allocating(root: str) -> bool:
    try:
        return read_small(f"{root}/sys/vm/oom_kill_allocating_task").strip() != b"0"
    except OSError:
        return True
