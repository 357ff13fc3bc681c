"""Control groups as the kernel shows them: v2, v1 and the hybrid of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from oomrules.lean import Any
from oomrules.runtime.model import NO_LIMIT

# The page counter of v1 shows "no limit" as its maximum rounded down to a page.
_V1_NO_LIMIT = NO_LIMIT - 2**20


class Hierarchy:
    """The mounted control group hierarchies.

    Args:
        mounts: a file in the format of /proc/self/mounts.
    """

    def __init__(self, mounts: str = "/proc/self/mounts") -> None:
        self.unified: str | None = None
        self.memory: str | None = None
        # Where systemd makes a directory for each unit.
        self.units: str | None = None
        for fields in _mounts(mounts):
            where = fields[1].replace("\\040", " ")
            if fields[2] == "cgroup2" and self.unified is None:
                self.unified = where
                self.units = self.units or where
            elif fields[2] == "cgroup" and "memory" in fields[3].split(","):
                self.memory = where
            elif fields[2] == "cgroup" and "name=systemd" in fields[3].split(","):
                self.units = where

    @property
    def layout(self) -> str:
        """``v2``, ``hybrid``, ``v1`` or ``none``."""
        if self.memory:
            return "hybrid" if self.unified else "v1"
        return "v2" if self.unified else "none"

    def scope(self, path: str) -> LiveScope:
        """Look at a control group; its files are read as they are asked for."""
        if self.memory:
            return LiveScope(self.memory + path, self.unified and self.unified + path, _V1)
        return LiveScope((self.unified or "/nonexistent") + path, None, _V2)


def path_of(lines: bytes) -> str | None:
    """Find the control group of a process in its ``cgroup`` file.

    systemd's own hierarchy tells where it put the process; without one the unified
    hierarchy does, and on a host with neither the memory controller's.
    """
    found: dict[bytes, bytes] = {}
    for line in lines.split(b"\n"):
        _, _, rest = line.partition(b":")
        controllers, colon, path = rest.partition(b":")
        for controller in controllers.split(b",") if colon else ():
            found[controller] = path
    for hierarchy in (b"name=systemd", b"", b"memory"):
        path = found.get(hierarchy, b"")
        if path.strip(b"/") or (path and hierarchy == b"memory"):
            # Bytes that are no text have to come back as they were, to open its files.
            return path.decode("utf-8", "surrogateescape")
    return "/" if found else None


def as_bytes(path: str) -> bytes:
    """Give the path of a control group as the kernel has it, whatever the locale."""
    return path.encode("utf-8", "surrogateescape")


def _mounts(path: str) -> Iterator[list[str]]:
    """Read a list of mounts line by line: others decide how many there are."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(" ")
                if len(fields) >= 4:
                    yield fields
    except OSError:
        return


def _read(path: str) -> str:
    descriptor = os.open(as_bytes(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(descriptor, 65536):
            pieces.append(piece)
        return b"".join(pieces).decode("utf-8", "backslashreplace")
    finally:
        os.close(descriptor)


def _limit(text: str) -> int:
    value = NO_LIMIT if text.strip() == "max" else int(text)
    return NO_LIMIT if value >= _V1_NO_LIMIT else value


def _pressure(text: str) -> float:
    """The share of the last 10 s in which some task waited, in percent (PSI, ``some``)."""
    return float(text.split("avg10=", 1)[1].split(" ", 1)[0])


def _kills(text: str) -> int:
    return int(text.split("oom_kill ", 1)[1].split("\n", 1)[0])


_V2: dict[str, tuple[str, Callable[[str], Any]]] = {
    "memory": ("memory.current", int),
    "memory_max": ("memory.max", _limit),
    "memory_high": ("memory.high", _limit),
    "swap": ("memory.swap.current", int),
    "swap_max": ("memory.swap.max", _limit),
    "pressure": ("memory.pressure", _pressure),
    "oom_kills": ("memory.events", _kills),
}
_V1: dict[str, tuple[str, Callable[[str], Any]]] = {
    "memory": ("memory.usage_in_bytes", int),
    "memory_max": ("memory.limit_in_bytes", _limit),
    "swap": ("memory.memsw.usage_in_bytes", int),
    "swap_max": ("memory.memsw.limit_in_bytes", _limit),
    "oom_kills": ("memory.oom_control", _kills),
}
FIGURES = tuple(_V2)
# Those for which a missing file, or null in a snapshot, means that there is none.
LIMITS = ("memory_max", "memory_high", "swap_max")


class LiveScope:
    """One control group, read lazily; each figure once, so that one ranking sees one value."""

    __slots__ = ("_directory", "_files", "_pressure_directory", "_values")

    def __init__(
        self,
        directory: str,
        pressure_directory: str | None,
        files: dict[str, tuple[str, Callable[[str], Any]]],
    ) -> None:
        self._directory = directory
        self._pressure_directory = pressure_directory
        self._files = files
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """Give a figure; None if it cannot be read or the group is gone."""
        if key not in self._values:
            self._values[key] = self._figure(key)
        return self._values[key]

    def _figure(self, key: str) -> Any:
        directory = self._directory
        if key == "pressure" and self._pressure_directory:
            directory, (file, convert) = self._pressure_directory, _V2[key]
        elif key in self._files:
            file, convert = self._files[key]
        else:
            return NO_LIMIT if key in LIMITS else None
        try:
            value = convert(_read(f"{directory}/{file}"))
        except FileNotFoundError:
            # No such file in a group that is there: its controller is off, so no limit.
            return NO_LIMIT if key in LIMITS and os.path.isdir(as_bytes(directory)) else None
        except (OSError, ValueError, IndexError):
            return None
        if file.startswith("memory.memsw.") and value < NO_LIMIT:
            # These are of memory and swap together.
            memory = self.get("memory" if key == "swap" else "memory_max")
            return None if memory is None else max(0, value - memory)
        return value
