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
_RULES = _COMES | inotify.MOVED_FROM | inotify.DELETE | inotify.DELETE_SELF | inotify.MOVE_SELF
_RULES |= inotify.CLOSE_WRITE | inotify.MODIFY | inotify.ATTRIB
_UNITS = inotify.CREATE | inotify.DELETE

MOST = 1024

# A user can make any number of slices, so only this many of one user's are watched. Users'
# slices get at most half of all watches.
_MOST_OF_USER = 32


class RuleWatch(Inotify):
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
            while not self.add(directory, mask) and directory != "/":
                directory, mask = os.path.dirname(directory), _COMES
        for file in self._files:
            self.add(os.path.dirname(file), _RULES)

    def changed(self) -> bool:
        """Read what happened; return whether the rules may have changed."""
        mattered = any(self._matters(event) for event in self.read())
        if mattered:
            self.watch()
        return mattered

    def _matters(self, event: Event) -> bool:
        if event.mask & inotify.Q_OVERFLOW:
            return True
        where = self.paths.get(event.watch)
        if where is None or event.mask & _GONE:
            return bool(event.mask & _GONE)
        path = os.path.join(where, event.name)
        if where in self._directories and not event.name.startswith("."):
            return event.name.endswith(self._suffix)
        # A parent of what is missing was watched, and the next part has come.
        return path in self._files or any(
            directory == path or directory.startswith(path + "/") for directory in self._directories
        )


class UnitWatch(Inotify):
    """Tells when a unit came or went.

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
        """How many directories are watched."""
        return len(self.paths)

    def changed(self) -> bool:
        """Read what happened; return whether a unit came or went."""
        changed = False
        events = self.read()
        # How many directories of each user's manager are watched by now.
        self._theirs = Counter(map(_manager, self.paths.values()))
        for event in events:
            if event.mask & inotify.Q_OVERFLOW:
                # What was lost may have been a slice.
                self._watch(self._root)
                changed = True
            elif event.mask & _UNITS:
                changed = True
                where = self.paths.get(event.watch)
                if event.mask & inotify.CREATE and where is not None and _holds_units(event.name):
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
