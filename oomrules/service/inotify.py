"""inotify(7), which the standard library does not have."""

from __future__ import annotations

import ctypes
import os
import struct

from oomrules.lean import NamedTuple

# <sys/inotify.h>
MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
Q_OVERFLOW, IGNORED = 0x4000, 0x8000
_ONLY_DIRECTORIES, _ADD = 0x1000000, 0x20000000

_EVENT = struct.Struct("iIII")


class Event(NamedTuple):
    """Something happened to a watched directory, or to what is named in it."""

    watch: int
    mask: int
    name: str


class Inotify:
    """A bounded number of watched directories.

    Args:
        most: how many; more are not watched.

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
        """Return what happened, as much as one reading gives."""
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
            if mask & IGNORED:
                self.paths.pop(watch, None)
            events.append(Event(watch, mask, name))
        return events

    def close(self) -> None:
        """Watch nothing any more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        self.paths.clear()
