"""Control groups as the kernel shows them: v2, v1 and the hybrid of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from oomrules.files import read_small
from oomrules.lean import Any
from oomrules.processes.mounts import MOUNTINFO, Table, Tree, below
from oomrules.processes.snapshot import NO_LIMIT

# The page counter of v1 shows "no limit" as its maximum rounded down to a page.
_V1_NO_LIMIT = NO_LIMIT - 2**20

# Makes the share of the last second, in percent, of what was stalled since the boot, in us.
Share = Callable[[int], float | None]

_INIT, _SYSTEMD = "/init.scope", "name=systemd"


class Hierarchy:
    """The mounted control group hierarchies.

    Args:
        mounts: a file in the format of /proc/self/mountinfo.
        own: our own control groups, in the format of /proc/PID/cgroup.

    Attributes:
        unified: that of v2, None where it is not mounted.
        memory: that of v1 which has the memory controller.
        units: that in which systemd makes a directory for each unit.
    """

    def __init__(self, mounts: str = MOUNTINFO, own: str = "/proc/self/cgroup") -> None:
        table, ours = Table(mounts), _places(_lines(own))
        self.unified = _tree(table, "", ours)
        self.memory = _tree(table, "memory", ours)
        named = _tree(table, _SYSTEMD, ours)
        self.units = named or self.unified
        trees = {"": self.unified, "memory": self.memory, _SYSTEMD: named}
        self._trees = {key: tree for key, tree in trees.items() if tree}

    @property
    def layout(self) -> str:
        """``v2``, ``hybrid``, ``v1`` or ``none``."""
        if self.memory:
            return "hybrid" if self.unified else "v1"
        return "v2" if self.unified else "none"

    @property
    def is_single(self) -> bool:
        """Return whether units and memory are in the hierarchy of v2: a process has one group."""
        return self.layout == "v2" and self.units is self.unified

    def scope(self, path: str, share: Share | None = None) -> LiveScope | None:
        """Look at a control group; its files are read as they are asked for.

        ``share`` is that of ``LiveScope``. None for one above the part of the tree that is in
        sight: it is as if that were all.
        """
        tree = self.memory or self.unified
        if tree is None:
            return LiveScope(_V2, None)
        directory = tree.directory(path)
        if directory is None and tree.is_above(path):
            return None
        if tree is self.unified:
            return LiveScope(_V2, directory, share=share)
        others = (self.unified, self.units)
        unified, units = (tree.directory(path) if tree else None for tree in others)
        return LiveScope(_V1, directory, unified, units, share)

    def path_of(self, lines: bytes) -> str | None:
        """Find the control group of a process in its ``cgroup`` file.

        systemd's own hierarchy tells where it put the process; without one the unified
        hierarchy does, and on a host with neither the memory controller's.
        """
        found = _places(lines)
        for key in (_SYSTEMD, "", "memory"):
            path = self._seen(key, found.get(key, ""))
            if path.strip("/") or (path and key == "memory"):
                return path
        return "/" if found else None

    def memory_path_of(self, lines: bytes) -> str | None:
        """Find the group of v1 that memory of a process is charged to; None where there is none."""
        path = _places(lines).get("memory") if self.memory else None
        return path and self._seen("memory", path)

    def _seen(self, key: str, path: str) -> str:
        return self._trees[key].seen(path) if path and key in self._trees else path

    def unit_root(self, proc: str = "/proc") -> str:
        """Find the control group below which systemd makes units; empty where that is the root.

        systemd calls its own group ``init.scope``, and begins where that lies, which is not at the
        root where it was started inside another group (manager_setup_cgroup(), src/core/cgroup.c).
        """
        path = self.path_of(_lines(f"{proc}/1/cgroup")) or ""
        return path.removesuffix(_INIT) if path.endswith(_INIT) else ""


def _tree(table: Table, key: str, ours: Mapping[str, str]) -> Tree | None:
    """Find a hierarchy by what lines of /proc/PID/cgroup call it; that of v2 has no name."""
    mounts = [
        mount
        for mount in table.groups
        if (key in mount.options if mount.kind == "cgroup" else not key)
    ]
    return Tree(table, mounts, ours.get(key, "")) if mounts else None


def _lines(path: str) -> bytes:
    try:
        return read_small(path)
    except OSError:
        return b""


def _places(lines: bytes) -> dict[str, str]:
    """Return the path of a process in each hierarchy, by its controllers and its name."""
    found: dict[str, str] = {}
    # Bytes that are no text have to come back as they were, to open its files.
    for line in lines.decode("utf-8", "surrogateescape").split("\n"):
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        found |= dict.fromkeys(controllers.split(",") if colon else (), path)
    return found


def is_in_sight(path: str, root: str) -> bool:
    """Return whether the units around a group are known.

    They are not where a group or systemd itself (``Hierarchy.unit_root``) lies outside of our
    control group namespace and the one is not below the other: the names in between are unknown.
    """
    outside = any(below(one, "/") is None for one in (path, root))
    return not outside or below(path, root) is not None


def enclosing(path: str) -> Iterator[str]:
    """Return a group and those around it, innermost first, the root last."""
    path = path.rstrip("/")
    while path and not path.endswith("/.."):
        yield path
        path = path.rpartition("/")[0]
    yield path or "/"


def as_bytes(path: str) -> bytes:
    """Return the path of a control group as the kernel has it, whatever the locale."""
    return path.encode("utf-8", "surrogateescape")


def _limit(text: str) -> int:
    value = NO_LIMIT if text.strip() == "max" else int(text)
    return NO_LIMIT if value >= _V1_NO_LIMIT else value


def pressure(text: str) -> float:
    """Return the share of the last 10 s in which some task waited, in percent (PSI, ``some``)."""
    return float(text.split("avg10=", 1)[1].split(" ", 1)[0])


def stalled(text: str) -> int:
    """Return the microseconds in which all tasks waited, since the boot (PSI, ``full``)."""
    return int(text.split("full ", 1)[1].split("total=", 1)[1].split("\n", 1)[0])


def _kills(text: str) -> int:
    return int(text.split("oom_kill ", 1)[1].split("\n", 1)[0])


_V2: dict[str, tuple[str, Callable[[str], Any]]] = {
    "memory": ("memory.current", int),
    "memory_max": ("memory.max", _limit),
    "memory_high": ("memory.high", _limit),
    "memory_min": ("memory.min", _limit),
    "memory_low": ("memory.low", _limit),
    "swap": ("memory.swap.current", int),
    "swap_max": ("memory.swap.max", _limit),
    "pressure": ("memory.pressure", pressure),
    "stall": ("memory.pressure", stalled),
    "oom_kills": ("memory.events", _kills),
}
_V1: dict[str, tuple[str, Callable[[str], Any]]] = {
    "memory": ("memory.usage_in_bytes", int),
    "memory_max": ("memory.limit_in_bytes", _limit),
    "swap": ("memory.memsw.usage_in_bytes", int),
    "swap_max": ("memory.memsw.limit_in_bytes", _limit),
    "oom_kills": ("memory.oom_control", _kills),
    "swappiness": ("memory.swappiness", int),
}
FIGURES = tuple(_V2)
# Those for which a missing file, or null in a snapshot, means that there is none.
LIMITS = ("memory_max", "memory_high", "swap_max")
# Those for which a missing file means that nothing is kept for the group.
_KEPT = ("memory_min", "memory_low")
_NONE = {**dict.fromkeys(LIMITS, NO_LIMIT), **dict.fromkeys(_KEPT, 0)}
# Those that v2 has of a group whose memory v1 counts.
_PRESSURES = ("pressure", "stall")


class LiveScope:
    """One control group, read lazily; each figure once, so that one ranking sees one value.

    ``share`` makes the share of the last second of the time that was stalled in all.
    """

    __slots__ = ("_directory", "_files", "_places", "_share", "_unified", "_values")

    def __init__(
        self,
        files: dict[str, tuple[str, Callable[[str], Any]]],
        directory: str | None,
        unified: str | None = None,
        units: str | None = None,
        share: Share | None = None,
    ) -> None:
        self._share = share
        self._files, self._directory, self._unified = files, directory, unified
        self._places = directory, unified, units
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """Return a figure; None if it cannot be read or the group is gone."""
        if key not in self._values:
            self._values[key] = self._figure(key)
        return self._values[key]

    def _figure(self, key: str) -> Any:
        directory = self._directory
        if key in _PRESSURES and self._unified:
            directory, (file, convert) = self._unified, _V2[key]
        elif key in self._files:
            file, convert = self._files[key]
        else:
            return _NONE.get(key)
        if directory is None:
            return None
        try:
            data = read_small(as_bytes(f"{directory}/{file}"))
            value = convert(data.decode("utf-8", "backslashreplace"))
        except FileNotFoundError:
            # No such file in a group that is there: its controller is off, so no limit. The same
            # holds for a group that is there in other hierarchies than the controller's.
            there = any(one and os.path.isdir(as_bytes(one)) for one in self._places)
            return _NONE.get(key) if there else None
        except (OSError, ValueError, IndexError):
            return None
        if key == "stall":
            return self._share(value) if self._share else None
        if file.startswith("memory.memsw.") and value < NO_LIMIT:
            # These are of memory and swap together.
            memory = self.get("memory" if key == "swap" else "memory_max")
            return None if memory is None else max(0, value - memory)
        return value
