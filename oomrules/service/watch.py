"""Directories that are watched: those of the rules, and the slices that units are in.

systemd makes a control group's directory when a unit starts and removes it when the unit
ends, so its slice's directory tells of both, without D-Bus. Only slices are watched, and
users' managers, which have slices of their own: a handful on most hosts.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from oomrules.service import inotify
from oomrules.service.inotify import Event, Inotify

_GONE = inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.IGNORED
_COMES = inotify.CREATE | inotify.MOVED_TO
_RULES = (
    inotify.CLOSE_WRITE
    | inotify.MODIFY
    | inotify.ATTRIB
    | inotify.MOVED_FROM
    | inotify.DELETE
    | _COMES
    | inotify.DELETE_SELF
    | inotify.MOVE_SELF
)
_UNITS = inotify.CREATE | inotify.DELETE

MOST = 1024

# A user can make any number of slices, so only this many of one user's are watched. Users'
# slices get at most half of all watches.
_MOST_OF_USER = 32


class _Watch:
    """Directories that are watched; how many is bounded."""

    def __init__(self, most: int) -> None:
        self._inotify = Inotify(most)

    @property
    def descriptor(self) -> int:
        """Readable when something happened; -1 if nothing can be watched."""
        return self._inotify.descriptor

    def close(self) -> None:
        """Watch nothing any more."""
        self._inotify.close()


class RuleWatch(_Watch):
    """Tells when a rule file may have changed.

    Args:
        directories: where rule files are or may come to be.
        suffix: of rule files; other names do not matter.
        files: rule files that were named one by one.
    """

    def __init__(self, directories: Iterable[str], suffix: str, files: Iterable[str] = ()) -> None:
        super().__init__(64)
        self._suffix = suffix
        self._directories = tuple(map(os.path.abspath, directories))
        self._files = frozenset(map(os.path.abspath, files))
        self.watch()

    def watch(self) -> None:
        """Watch what is there now; of a directory that is missing, the nearest above it."""
        for directory in self._directories:
            mask = _RULES
            while not self._inotify.add(directory, mask) and directory != "/":
                directory, mask = os.path.dirname(directory), _COMES
        for file in self._files:
            self._inotify.add(os.path.dirname(file), _RULES)

    def changed(self) -> bool:
        """Read what happened; return whether the rules may have changed."""
        events = self._inotify.read()
        mattered = [event for event in events if self._matters(event)]
        if mattered:
            self.watch()
        return bool(mattered)

    def _matters(self, event: Event) -> bool:
        if event.mask & inotify.Q_OVERFLOW:
            return True
        where = self._inotify.path(event.watch)
        if where is None or event.mask & _GONE:
            return bool(event.mask & _GONE)
        path = os.path.join(where, event.name)
        if where in self._directories and not event.name.startswith("."):
            return event.name.endswith(self._suffix)
        # A parent of what is missing was watched, and the next part has come.
        return path in self._files or any(
            directory == path or directory.startswith(path + "/") for directory in self._directories
        )


class UnitWatch(_Watch):
    """Tells when a unit came or went.

    Args:
        root: where the control groups are mounted that systemd names after units.
    """

    def __init__(self, root: str, most: int = MOST) -> None:
        super().__init__(most)
        self._root, self._most = root, most
        self._theirs: Counter[str] = Counter()
        self._add(root)

    @property
    def watches(self) -> int:
        """How many directories are watched."""
        return len(self._inotify)

    def changed(self) -> bool:
        """Read what happened; return whether a unit came or went."""
        changed = False
        events = self._inotify.read()
        self._count_theirs()
        for event in events:
            if event.mask & inotify.Q_OVERFLOW:
                # What was lost may have been a slice.
                self._add(self._root)
                changed = True
            elif event.mask & _UNITS:
                changed = True
                where = self._inotify.path(event.watch)
                if event.mask & inotify.CREATE and where is not None and _holds_units(event.name):
                    self._add(f"{where}/{event.name}")
        return changed

    def _add(self, directory: str) -> None:
        """Watch a directory before it is listed, so that nothing slips through between."""
        manager = _manager(directory)
        if manager and (
            self._theirs[manager] >= _MOST_OF_USER
            or self._theirs.total() - self._theirs[""] >= self._most // 2
        ):
            return
        if not self._inotify.add(directory, _UNITS):
            return
        self._theirs[manager] += 1
        try:
            with os.scandir(directory) as entries:
                inside = [entry.path for entry in entries if _holds_units(entry.name)]
        except OSError:
            return
        for path in inside:
            self._add(path)

    def _count_theirs(self) -> None:
        """Count the directories of each user's manager that are watched."""
        self._theirs = Counter(map(_manager, self._inotify.paths))


def _manager(path: str) -> str:
    """Return the directory of the user's manager that a path is in; empty if it is in none."""
    start = path.find("/user@")
    end = path.find("/", start + 1)
    return path[: end if end > 0 else len(path)] if start >= 0 else ""


def _holds_units(name: str) -> bool:
    return name.endswith(".slice") or (name.startswith("user@") and name.endswith(".service"))
