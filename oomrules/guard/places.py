"""The figures of units, from files that stay open: a unit that is made anew is another one.

The main loop opens them, since that may wait; the guard reads them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from oomrules.guard.model import Figures
from oomrules.processes.cgroups import LIMITS, Hierarchy, as_bytes, enclosing
from oomrules.processes.snapshot import NO_LIMIT

# Larger than any file of them that is read.
_LARGEST = 1 << 13
# v1 shows no limit as its greatest number rounded down to a page.
_V1_NO_LIMIT = NO_LIMIT - 2**20

Convert = Callable[[bytes], "int | None"]


def limit(data: bytes) -> int:
    """Return a limit in bytes; NO_LIMIT for none."""
    if data.startswith(b"max"):
        return NO_LIMIT
    value = int(data)
    return NO_LIMIT if value >= _V1_NO_LIMIT else value


def counted(data: bytes, key: bytes) -> int | None:
    """Return the number behind a key in a file of keys and numbers; None without such a line."""
    start = 0 if data.startswith(key + b" ") else data.find(b"\n" + key + b" ") + 1
    if not start and not data.startswith(key + b" "):
        return None
    return int(data[start + len(key) :].split(None, 1)[0])


def totals(data: bytes) -> tuple[int | None, int | None]:
    """Return the microseconds in which some and all tasks waited, of a file of PSI."""
    found = [
        int(line.rpartition(b"total=")[2]) if b"total=" in line else None
        for line in data.split(b"\n", 2)[:2]
    ]
    return found[0], found[1] if len(found) > 1 else None


def _kills(data: bytes) -> int | None:
    return counted(data, b"oom_kill")


# The file that holds a figure, by the figure: of v2, and of v1.
_V2: dict[str, tuple[str, Convert]] = {
    "memory": ("memory.current", int),
    "memory_max": ("memory.max", limit),
    "memory_high": ("memory.high", limit),
    "swap": ("memory.swap.current", int),
    "oom_kills": ("memory.events", _kills),
}
_V1: dict[str, tuple[str, Convert]] = {
    "memory": ("memory.usage_in_bytes", int),
    "memory_max": ("memory.limit_in_bytes", limit),
    # This is of memory and swap together.
    "swap": ("memory.memsw.usage_in_bytes", int),
    "oom_kills": ("memory.oom_control", _kills),
}
PRESSURE = "memory.pressure"
# The switch of PSI in a group (since Linux 6.1), which its owner has. At 0 the kernel hides the
# file above (kernfs_show()), and reading what is open of it fails, on some kernels for good.
_SWITCH = "cgroup.pressure"
_SHARES = ("stall", "pressure")
# A file that each group has but the root: where nothing else is read it tells whether the group is
# still there.
_THERE_V2, _THERE_V1 = "cgroup.events", "notify_on_release"


class UnitFiles:
    """The open files of a unit. They are closed with the last reference to this.

    Args:
        path: of its control group.
        keys: the figures that are asked for, by the last word of their attributes; and ``limit``.

    Attributes:
        gone: the unit is not there any more, and whatever has its path is another one.
        switched_off: the file by which the pressure that is asked for is switched off; or empty.

    Raises:
        OSError: it is not there, or no more files can be opened.
    """

    __slots__ = (
        *("_files", "_limits", "_pressure", "_swap_with_memory", "_switch", "_there"),
        *("gone", "keys", "switched_off"),
    )

    def __init__(self, path: str, keys: Iterable[str], hierarchy: Hierarchy) -> None:
        self.keys, self.gone = frozenset(keys), False
        self.switched_off = self._switch = ""
        self._files: list[tuple[str, int, Convert]] = []
        self._limits: list[int] = []
        self._pressure = self._there = -1
        tree = hierarchy.memory or hierarchy.unified
        v2 = tree is hierarchy.unified
        self._swap_with_memory = not v2 and "swap" in self.keys
        directory = tree.directory(path) if tree else None
        if directory is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        table = _V2 if v2 else _V1
        wanted = self.keys | {"memory"} if self._swap_with_memory else self.keys
        shares = not wanted.isdisjoint(_SHARES)
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        group = os.open(as_bytes(directory), flags)
        try:
            for key in sorted(wanted & {*table, *LIMITS}):
                name, convert = table.get(key, ("", limit))
                # Groups of v1 have no such limit.
                self._files.append((key, _opened(name, group) if name else -1, convert))
            if shares and v2:
                self._pressure = _opened(PRESSURE, group)
            if all(descriptor < 0 for _, descriptor, _ in self._files):
                self._there = _opened(_THERE_V2 if v2 else _THERE_V1, group)
        finally:
            os.close(group)
        if "limit" in self.keys:
            self._open_limits(path, hierarchy, table["memory_max"][0])
        unified = hierarchy.unified.directory(path) if shares and hierarchy.unified else None
        if unified:
            self._switch = f"{unified}/{_SWITCH}"
            if not v2:
                self._pressure = _opened(f"{unified}/{PRESSURE}")
            if self._pressure < 0 and os.path.exists(as_bytes(self._switch)):
                self.switched_off = self._switch

    def _open_limits(self, path: str, hierarchy: Hierarchy, name: str) -> None:
        tree = hierarchy.memory or hierarchy.unified
        for group in enclosing(path):
            directory = tree and tree.directory(group)
            descriptor = _opened(f"{directory}/{name}") if directory else -1
            if descriptor >= 0:
                self._limits.append(descriptor)

    def read(self, listed: Figures) -> dict[str, int | None] | None:
        """Return the figures; None if the unit is gone.

        Args:
            listed: those that no file has.
        """
        found: dict[str, int | None] = dict(listed)
        try:
            if self._there >= 0:
                os.pread(self._there, _LARGEST, 0)
            for key, descriptor, convert in self._files:
                if descriptor >= 0:
                    found[key] = _converted(os.pread(descriptor, _LARGEST, 0), convert)
                else:
                    # Its controller is off.
                    found[key] = NO_LIMIT if key in LIMITS else None
        except OSError as error:
            if error.errno == errno.ENODEV:
                self.gone = True
                return None
        if self._swap_with_memory:
            memory, both = found.get("memory"), found.get("swap")
            known = memory is not None and both is not None
            found["swap"] = max(0, both - memory) if known else None  # type: ignore[operator]
        if self._pressure >= 0:
            # The kernel may have it switched off though the file is there.
            with suppress(ValueError):
                try:
                    found["some"], found["full"] = totals(os.pread(self._pressure, _LARGEST, 0))
                except OSError as error:
                    if error.errno == errno.ENODEV:
                        self.switched_off = self._switch
        if "limit" in self.keys:
            found["limit"] = self._limit()
        return found

    def _limit(self) -> int | None:
        """Return the nearest limit, NO_LIMIT if there is none; None if it is unknown."""
        for descriptor in self._limits:
            try:
                value = limit(os.pread(descriptor, _LARGEST, 0))
            except (OSError, ValueError):
                return None
            if value < NO_LIMIT:
                return value
        return NO_LIMIT

    def __del__(self) -> None:
        for descriptor in (self._pressure, self._there, *self._limits):
            _close(descriptor)
        for _, descriptor, _ in self._files:
            _close(descriptor)


def opened(
    keys: Mapping[str, frozenset[str]], before: Mapping[str, UnitFiles], hierarchy: Hierarchy
) -> dict[str, UnitFiles]:
    """Return the open files of units, those that are open already among them.

    A unit that cannot be opened is left out: it is gone, or too many files are open.

    Args:
        keys: the figures that are asked for, by the path of the unit.
    """
    found: dict[str, UnitFiles] = {}
    for path, wanted in keys.items():
        files = before.get(path)
        # What is switched off may be on again by now.
        if files is None or files.gone or files.switched_off or files.keys != wanted:
            try:
                files = UnitFiles(path, wanted, hierarchy)
            except OSError:
                continue
        found[path] = files
    return found


def _opened(name: str, directory: int | None = None) -> int:
    """Open a file; -1 if it is not there.

    Raises:
        OSError: it cannot be opened though it is there.
    """
    try:
        return os.open(as_bytes(name), os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return -1


def _converted(data: bytes, convert: Convert) -> int | None:
    try:
        return convert(data)
    except ValueError:
        return None


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
