"""Directories that are watched: those of the rules, and the slices that units are in.

systemd makes a control group's directory when a unit starts and removes it when the unit ends.
A watch on the directory of its slice shows both, without D-Bus. Only slices are watched, and
users' managers, which have slices of their own: a handful on most hosts.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterable

from oomrules.lean import NamedTuple

# <sys/inotify.h>
_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_Q_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLY_DIRECTORIES, _ADD = 0x1000000, 0x20000000

_GONE = _DELETE_SELF | _MOVE_SELF | _IGNORED
_COMES = _CREATE | _MOVED_TO
_GOES = _MOVED_FROM | _DELETE | _DELETE_SELF | _MOVE_SELF
_RULES = _COMES | _GOES | _CLOSE_WRITE | _MODIFY | _ATTRIB
_UNITS = _CREATE | _DELETE

_EVENT = struct.Struct("iIII")

MOST = 1024

# A user can make any number of slices, so at most this many of each user are watched. Users'
# slices get at most half of all watches.
_MOST_OF_USER = 32


class Event(NamedTuple):
    """A change of a watched directory, or of the file in it that is named."""

    watch: int
    mask: int
    name: str


class Inotify:
    """A bounded number of watched directories: inotify(7), which the standard library lacks.

    Args:
        most: the greatest number of directories; more are not watched.

    Attributes:
        descriptor: readable when something happened; -1 if the kernel gives none.
        paths: the directories that are watched, by watch.
    """

    def __init__(self, most: int) -> None:
        self._libc = ctypes.CDLL(None)
        self._most = most
        self.paths: dict[int, str] = {}
        self.descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, path: str, mask: int) -> bool:
        """Watch a directory, for these events too; return False if it cannot be watched."""
        if self.descriptor < 0 or len(self.paths) >= self._most:
            return False
        wanted = mask | _ONLY_DIRECTORIES | _ADD
        watch = self._libc.inotify_add_watch(self.descriptor, os.fsencode(path), wanted)
        if watch >= 0:
            self.paths[watch] = path
        return bool(watch >= 0)

    def read(self) -> list[Event]:
        """Return the events that one reading gives."""
        try:
            data = os.read(self.descriptor, 65536)
        except (BlockingIOError, InterruptedError):
            return []
        events, at = [], 0
        while at + _EVENT.size <= len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            if mask & _IGNORED:
                self.paths.pop(watch, None)
            events.append(Event(watch, mask, name))
        return events

    def close(self) -> None:
        """Stop watching, and close the descriptor."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        self.paths.clear()


class RuleWatch(Inotify):
    """A watch for changes of rule files.

    Args:
        directories: the directories that have rule files, or may have some later.
        suffix: the suffix of rule files; other names do not matter.
        files: rule files that were named one by one.
    """

    def __init__(self, directories: Iterable[str], suffix: str, files: Iterable[str] = ()) -> None:
        super().__init__(64)
        self._suffix = suffix
        self._directories = tuple(map(os.path.abspath, directories))
        self._files = frozenset(map(os.path.abspath, files))
        self.watch()

    def watch(self) -> None:
        """Watch each directory, or the nearest one above it if it is missing."""
        for directory in self._directories:
            mask = _RULES
            while not self.add(directory, mask) and directory != "/":
                directory, mask = os.path.dirname(directory), _COMES
        for file in self._files:
            self.add(os.path.dirname(file), _RULES)

    def changed(self) -> bool:
        """Read the events, and return whether the rules may have changed."""
        mattered = any(self._matters(event) for event in self.read())
        if mattered:
            self.watch()
        return mattered

    def _matters(self, event: Event) -> bool:
        if event.mask & _Q_OVERFLOW:
            return True
        where = self.paths.get(event.watch)
        if where is None or event.mask & _GONE:
            return bool(event.mask & _GONE)
        path = os.path.join(where, event.name)
        if where in self._directories and not event.name.startswith("."):
            return event.name.endswith(self._suffix)
        # A directory is missing and one above it is watched: the next part of its path has come.
        return path in self._files or any(
            directory == path or directory.startswith(path + "/") for directory in self._directories
        )


class UnitWatch(Inotify):
    """A watch for units that come or go.

    Args:
        root: where the control groups are mounted that systemd names after units.
    """

    def __init__(self, root: str, most: int = MOST) -> None:
        super().__init__(most)
        self._root = root
        self._theirs: Counter[str] = Counter()
        self._watch(root)

    @property
    def watches(self) -> int:
        """The number of directories that are watched."""
        return len(self.paths)

    def changed(self) -> bool:
        """Read the events, and return whether a unit came or went."""
        changed = False
        events = self.read()
        # The number of directories that are watched for each user's manager.
        self._theirs = Counter(map(_manager, self.paths.values()))
        for event in events:
            if event.mask & _Q_OVERFLOW:
                # A lost event may have been about a slice.
                self._watch(self._root)
                changed = True
            elif event.mask & _UNITS:
                changed = True
                where = self.paths.get(event.watch)
                if event.mask & _CREATE and where is not None and _holds_units(event.name):
                    self._watch(f"{where}/{event.name}")
        return changed

    def _watch(self, directory: str) -> None:
        """Watch a directory before it is listed, so that nothing slips through between."""
        manager = _manager(directory)
        if manager and (
            self._theirs[manager] >= _MOST_OF_USER
            or self._theirs.total() - self._theirs[""] >= self._most // 2
        ):
            return
        if not self.add(directory, _UNITS):
            return
        self._theirs[manager] += 1
        try:
            with os.scandir(directory) as entries:
                inside = [entry.path for entry in entries if _holds_units(entry.name)]
        except OSError:
            return
        for path in inside:
            self._watch(path)


def _manager(path: str) -> str:
    """Return the directory of the user's manager that a path is in; empty if it is in none."""
    start = path.find("/user@")
    end = path.find("/", start + 1)
    return path[: end if end > 0 else len(path)] if start >= 0 else ""


def _holds_units(name: str) -> bool:
    return name.endswith(".slice") or (name.startswith("user@") and name.endswith(".service"))
