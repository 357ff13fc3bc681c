"""The host -> samples, as often as memory could be gone.

At rest the guard sleeps: until the kernel says that tasks wait for memory (a PSI trigger), or until
memory could have been taken without anybody waiting. Once something holds or is near it looks ten
times a second.

In a container with a memory limit of its own the host is what the container may have: memory is the
limit, and what is available, swap and the waiting are those of its control group.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from oomrules.clock import now
from oomrules.errors import reason
from oomrules.guard.levels import FAR, ToGo, to_go
from oomrules.guard.model import HOST, NOBODY, Decision, Figures, Flight, Ready, Sample
from oomrules.guard.places import PRESSURE, UnitFiles, counted, limit, opened, totals
from oomrules.guard.ready import Listed, asked
from oomrules.lean import NamedTuple
from oomrules.processes.cgroups import Hierarchy, as_bytes
from oomrules.processes.machine import Memory, trigger
from oomrules.processes.snapshot import NO_LIMIT
from oomrules.program import nodes

# Another directory than /proc for the figures of the host, for tests and benchmarks.
FIGURES = "OOMRULES_FIGURES"

_LARGEST = 1 << 14
# Microseconds in which some task waits for memory, of a window in microseconds. The list is made
# anew at half of it.
_TRIGGERS = (b"some 50000 500000\0", b"some 200000 2000000\0")
# For so many seconds after the kernel has said so the guard looks often.
_STIRRED = 2.0

# Seconds between two looks: with a victim in flight, while something holds or is near, and while
# that has hardly changed for so many looks. A duration is counted only if no two samples are more
# than 2.5 s apart (``decision.GAP``).
IN_FLIGHT, HOT, STILL = 0.03, 0.1, 0.5
_STILL_LOOKS = 20
# What is no change: this part of the memory, and microseconds of waiting.
_LITTLE, _MOMENT = 1000, 1000

# A level is far if it is farther than this part of the memory; ``decision`` takes a fiftieth.
_NEAR = 20

# At rest: the least and the most seconds, and by how many bytes a second memory may be taken. A
# faster one makes tasks wait, for which the kernel wakes us. Where it does not, memory is taken as
# fast as any machine of today does it (6 GiB/s in earlyoom's main.c).
_REST, _RATE = (0.1, 10.0), 2 * 2**30
_REST_UNTOLD, _RATE_UNTOLD = (0.1, 1.0), 6 * 2**30
# Without a trigger, some task having waited for this share of the time makes the guard look often.
_SHARE = 0.05

# Without PSI these say that memory is being reclaimed: pages that come back soon after they were
# dropped or swapped out, and allocations that waited (mm/workingset.c, mm/vmscan.c).
_EVENTS = (
    *(b"workingset_refault_anon", b"workingset_refault_file", b"pswpin"),
    *(b"allocstall_dma32", b"allocstall_normal", b"allocstall_movable"),
)
# In so many of them within a second nothing is seen.
_FEW = 100


class Places(NamedTuple):
    """A ready list, and the open files of the units in it.

    Attributes:
        listed: the units' figures that come from the list.
        keys: the figures that are asked for of each unit.
        missing: how many units could not be opened.
        switched_off: of the units whose pressure is asked for and switched off, by which files.
        levels: how far each guard is from holding.
        surely: how far it is from a level without which it cannot hold, whatever else is so.
    """

    ready: Ready = NOBODY
    units: Mapping[str, UnitFiles] = {}
    listed: Mapping[str, Figures] = {}
    keys: Mapping[str, frozenset[str]] = {}
    missing: int = 0
    switched_off: tuple[str, ...] = ()
    levels: tuple[ToGo, ...] = ()
    surely: tuple[ToGo, ...] = ()


class Sampler:
    """Takes samples. ``prepare`` is for the main loop, all else for the guard's thread.

    Args:
        root: where proc is mounted.
        hierarchy: the mounted control groups.

    Attributes:
        source: what wakes the guard: ``trigger``; or it looks by itself: by ``psi``, by ``vmstat``
            where there is no PSI, or by levels alone (``none``).
        descriptor: ready for POLLPRI when tasks wait for memory; -1 without a trigger.
        contained: the control group with the limit, in a container that has one; or empty.
        problem: what conditions can ask for and is unknown here, and why; empty for nothing.

    Raises:
        Failure: the figures of the host cannot be read.
    """

    def __init__(self, root: str = "", hierarchy: Hierarchy | None = None) -> None:
        self._root = root or os.environ.get(FIGURES) or "/proc"
        self._hierarchy = hierarchy or Hierarchy()
        self._memory = Memory(self._root)
        self._limit = _Limited.find(self._hierarchy, self._memory.totals()[0])
        self.contained = self._limit.directory if self._limit else ""
        self._path = f"{self.contained or self._root + '/pressure'}/{_named(self.contained)}"
        self._waiting = self._vmstat = self.descriptor = -1
        self.source, self.problem = "none", ""
        self._stirred = self._reopened = float("-inf")
        self._still, self._before = 0, Sample(0.0, {}, {})
        self._events: tuple[float, int] = (0.0, 0)
        self.open()

    def open(self) -> None:
        """Open what wakes the guard, once more if the kernel has taken it back."""
        self.close_trigger()
        self.problem = ""
        if not self._memory.rest() and not self.contained:
            self.problem = (
                f"host.available is unknown ({self._root}/meminfo is not the kernel's own), so "
                "guards that need it do not act; run oomrules on the host"
            )
        if self._waiting < 0:
            self._waiting = self._open_waiting()
        self.source = "none"
        if self._waiting >= 0:
            # A file in the place of the kernel's would be overwritten.
            real = self._root == "/proc"
            self.descriptor = trigger(self._path, _TRIGGERS) if real else -1
            self.source = "trigger" if self.descriptor >= 0 else "psi"
        elif self._vmstat >= 0 or self._open_vmstat():
            self.source = "vmstat"

    def reopen(self, at: float) -> None:
        """Open what wakes the guard once more, unless that was done a moment ago in vain."""
        if at < self._reopened + _STIRRED:
            self.close_trigger()
            self.source = "psi" if self.source == "trigger" else self.source
            return
        self._reopened = at
        self.open()

    def _open_waiting(self) -> int:
        """Open the file of PSI, and see whether it can be read; -1 and a problem if not."""
        descriptor = -1
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            totals(os.pread(descriptor, _LARGEST, 0))
            return descriptor
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else "it has another form"
            self.problem = (
                f"host.stall and host.pressure are unknown ({self._path}: {why}), so guards that "
                "need them do not act; boot the kernel with psi=1"
            )
            if descriptor >= 0:
                os.close(descriptor)
            return -1

    def _open_vmstat(self) -> bool:
        with suppress(OSError):
            self._vmstat = os.open(f"{self._root}/vmstat", os.O_RDONLY | os.O_CLOEXEC)
        return self._vmstat >= 0

    def close_trigger(self) -> None:
        """Close the trigger."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def close(self) -> None:
        """Close all files but those of units, which go with their last reference."""
        self.close_trigger()
        self._memory.close()
        if self._limit:
            self._limit.close()
        for descriptor in (self._waiting, self._vmstat):
            if descriptor >= 0:
                os.close(descriptor)
        self._waiting = self._vmstat = -1

    # --- what is read ----------------------------------------------------------------------

    def prepare(self, ready: Ready, listed: Listed, before: Places) -> Places:
        """Open what a ready list makes the guard read.

        Args:
            listed: the figures of units that come from the list (``Arming.listed``).
            before: what was prepared last.
        """
        same = (ready.armed, ready.definitions) == (before.ready.armed, before.ready.definitions)
        keys, levels, surely = before.keys, before.levels, before.surely
        if not same:
            keys = _keys(ready)
            levels = tuple(to_go(one, ready.definitions) for one in ready.armed)
            surely = tuple(to_go(one, ready.definitions, 0.0) for one in ready.armed)
        units = opened(keys, before.units, self._hierarchy)
        return Places(
            ready=ready,
            units=units,
            listed=listed,
            keys=keys,
            missing=len(keys) - len(units),
            switched_off=tuple(
                files.switched_off for _, files in sorted(units.items()) if files.switched_off
            ),
            levels=levels,
            surely=surely,
        )

    def read(self, places: Places, killed: float = float("-inf")) -> Sample:
        """Take a sample.

        Args:
            killed: when the kernel last killed for the whole host, as far as it is known.
        """
        at = now()
        ram, host = self._host()
        if self._waiting >= 0:
            # PSI can be switched off for a control group while it is open.
            with suppress(OSError, ValueError):
                host["some"], host["full"] = totals(os.pread(self._waiting, _LARGEST, 0))
        units: dict[str, Figures] = {}
        for path, files in places.units.items():
            found = None if files.gone else files.read(places.listed.get(path, {}))
            if found is not None:
                if found.get("limit") == NO_LIMIT:
                    found["limit"] = ram
                units[path] = found
        return Sample(at, host, units, killed)

    def _host(self) -> tuple[int, dict[str, int | None]]:
        """Return the RAM, and the figures of the host."""
        try:
            ram, swap = self._memory.totals()
        except OSError:
            return 0, {}
        rest = self._memory.rest()
        figures: dict[str, int | None] = {
            "memory": max(0, ram - rest["hugetlb"]) if "hugetlb" in rest else None,
            "available": rest.get("available"),
            "free": rest.get("free"),
            "shmem": rest.get("shmem"),
            "swap": swap,
            "swap_free": rest.get("swap_free"),
            "totalpages": ram + swap,
        }
        return ram, self._limit.within(figures) if self._limit else figures

    def rests(self, sample: Sample, places: Places) -> bool:
        """Return whether no guard can hold, or nearly hold, whatever the stalls are."""
        near = (sample.host.get("memory") or 0) / _NEAR
        return sample.at >= self._stirred + _STIRRED and all(
            far(sample) > near for far in places.surely
        )

    # --- how often -------------------------------------------------------------------------

    def stir(self, at: float) -> None:
        """Take note that the kernel has said that tasks wait for memory."""
        self._stirred = at

    def pause(
        self, decision: Decision, sample: Sample, places: Places, flight: Flight | None
    ) -> float:
        """Return after how many seconds the next sample is due, if nothing happens before."""
        before, self._before = self._before, sample
        if flight is not None and not flight.dry:
            self._still = 0
            waits = flight.killed is None and flight.escalate > sample.at
            return min(HOT, flight.escalate - sample.at) if waits else IN_FLIGHT
        moving = self._moves(before, sample)
        self._still = 0 if moving else self._still + 1
        stirred = sample.at < self._stirred + _STIRRED
        if decision.action or decision.hot or decision.counting or stirred:
            return HOT if self._still < _STILL_LOOKS else STILL
        if self.source == "trigger":
            (least, most), rate = _REST, _RATE
        else:
            (least, most), rate = _REST_UNTOLD, _RATE_UNTOLD
            if self._struggles(before, sample):
                return HOT
        soonest = min((far(sample) for far in places.levels), default=FAR)
        return min(most, max(least, soonest / rate))

    def _moves(self, before: Sample, sample: Sample) -> bool:
        """Return whether memory is taken or given back, or tasks wait, since the last sample."""
        was, is_, memory = (
            *(one.host.get("available") for one in (before, sample)),
            sample.host.get("memory"),
        )
        if was is None or is_ is None or not memory:
            return True
        waited = _grown(before, sample, "some")
        return abs(was - is_) * _LITTLE > memory or (waited is not None and waited > _MOMENT)

    def _struggles(self, before: Sample, sample: Sample) -> bool:
        """Return whether memory is short as far as it can be told without a trigger."""
        seconds = sample.at - before.at
        waited = _grown(before, sample, "some")
        if waited is not None:
            return waited / 1e6 >= _SHARE * seconds
        if self._vmstat < 0:
            return False
        try:
            data = os.pread(self._vmstat, _LARGEST, 0)
            events = sum(counted(data, key) or 0 for key in _EVENTS)
        except (OSError, ValueError):
            return False
        (at, was), self._events = self._events, (sample.at, events)
        return at > 0 and events - was > _FEW * max(0.1, sample.at - at)


_OF_LIMITED = (
    *("memory.max", "memory.current", "memory.stat"),
    *("memory.swap.max", "memory.swap.current"),
)


class _Limited:
    """A container's own memory limit: the files of its control group, which is the root in sight.

    Only a group below the true root has a limit.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._files: dict[str, int] = {}
        for name in _OF_LIMITED:
            with suppress(OSError):
                flags = os.O_RDONLY | os.O_CLOEXEC
                self._files[name] = os.open(as_bytes(f"{directory}/{name}"), flags)

    @classmethod
    def find(cls, hierarchy: Hierarchy, ram: int) -> _Limited | None:
        """Return that of the container that this process is in; None without one."""
        tree = hierarchy.unified
        directory = tree.directory("/") if tree and not hierarchy.memory else None
        if not directory:
            return None
        found = cls(directory)
        try:
            if limit(found.read("memory.max")) < ram:
                return found
        except (OSError, ValueError, KeyError):
            pass
        found.close()
        return None

    def read(self, name: str) -> bytes:
        """Return what is in a file; raise OSError or KeyError."""
        return os.pread(self._files[name], _LARGEST, 0)

    def within(self, host: Mapping[str, int | None]) -> dict[str, int | None]:
        """Return the figures of the container, within those of the host that it runs on.

        Available is what the group does not use yet, with the files that it can let go, as lxcfs
        tells it; but no more than the host has.
        """
        figures = dict.fromkeys(host, None) | {"free": None}
        try:
            most, used = limit(self.read("memory.max")), int(self.read("memory.current"))
            stat = self.read("memory.stat")
        except (OSError, ValueError, KeyError):
            return figures
        whole = host.get("memory")
        if whole is not None and most >= whole:
            return dict(host)
        left = [counted(stat, key) for key in (b"active_file", b"inactive_file")]
        left.append(counted(stat, b"slab_reclaimable"))
        figures["memory"] = most
        figures["free"] = _least(max(0, most - used), host.get("free"))
        figures["shmem"] = counted(stat, b"shmem")
        if None not in left:
            available = min(most, max(0, most - used) + sum(one or 0 for one in left))
            figures["available"] = _least(available, host.get("available"))
        figures |= self._swap(host)
        swap = figures["swap"]
        figures["totalpages"] = None if swap is None else most + swap
        return figures

    def _swap(self, host: Mapping[str, int | None]) -> dict[str, int | None]:
        try:
            most = limit(self.read("memory.swap.max"))
            used = int(self.read("memory.swap.current"))
        except KeyError:
            # A kernel that does not count it by group.
            return {key: host.get(key) for key in ("swap", "swap_free")}
        except (OSError, ValueError):
            return {"swap": None, "swap_free": None}
        swap = _least(most, host.get("swap"))
        return {"swap": swap, "swap_free": _least(max(0, swap - used), host.get("swap_free"))}

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])


def _named(contained: str) -> str:
    return PRESSURE if contained else "memory"


def _least(one: int, other: int | None) -> int:
    return one if other is None else min(one, other)


def _grown(before: Sample, sample: Sample, key: str) -> int | None:
    was, is_ = before.host.get(key), sample.host.get(key)
    return None if was is None or is_ is None else max(0, is_ - was)


def _keys(ready: Ready) -> dict[str, frozenset[str]]:
    """Return the figures that guards ask for of each unit."""
    words: dict[str, set[str]] = {}
    # Guards are at many units, and few.
    of_guard: dict[int, set[str]] = {}
    for armed in ready.armed:
        if armed.unit == HOST:
            continue
        if armed.number not in of_guard:
            names = asked([armed.guard], ready.definitions)
            found = {name.removeprefix("scope.") for name in names if name.startswith("scope.")}
            of_guard[armed.number] = found | (
                {"limit"} if _asks_limit(armed.guard.when, ready) else set()
            )
        words.setdefault(armed.unit, set()).update(of_guard[armed.number])
    return {path: frozenset(found) for path, found in words.items()}


def _asks_limit(when: nodes.Node, ready: Ready) -> bool:
    used = [when, *nodes.needed([when], ready.definitions).values()]
    return any(map(nodes.asks_limit, used))
