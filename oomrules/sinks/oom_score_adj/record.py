"""What was adjusted, kept on disk before it happens so that it can always be undone.

An entry says which value a process had before anybody here touched it, and which values were,
or were about to be, written. That is enough at any moment, a crash in the middle included: who
has one of those values gets the original back; who has another had it from somebody else since.

Children inherit the value of their parent at fork (copy_signal() in kernel/fork.c). Such a
child has no entry, but the value of one that it must have come from. Where nothing tells that,
``origins`` decides what is believed.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator

from oomrules import kept
from oomrules.errors import Failure, reason
from oomrules.lean import Any, NamedTuple
from oomrules.sinks import kernel_list

SCHEMA = "oomrules.adjustments/1"
FILE = "adjustments.json"

_BOOT = "/proc/sys/kernel/random/boot_id"

# More than 200,000 processes come to. What is larger is not ours, and parsing it takes ten times
# as much memory.
_LARGEST = 32 << 20

# Process trees are not deeper, but for those that somebody has made so: each step is a read.
_DEEPEST = 64

# Of processes that could lower themselves; users cannot make any.
MOST_WATCHED = 4096

# A pid and a start time, in clock ticks since the boot.
Identity = tuple[int, int]


class Entry(NamedTuple):
    """One process that was adjusted.

    Attributes:
        start: its start time, in clock ticks since the boot; with the pid it is an identity.
        original: the value before.
        values: those that it may have from here.
        since: when the first of them was written, in clock ticks since the boot.
        cgroup: its control group, if it is known.
        fading: it is gone, or has its original back. It stays for one more run, for a child
            that was born while the processes were read.
    """

    pid: int
    start: int
    original: int
    values: tuple[int, ...]
    since: int
    cgroup: str | None
    fading: bool = False


class Relative(NamedTuple):
    """What tells where a process came from."""

    pid: int
    start: int
    ppid: int
    cgroup: str | None


# Finds a living process by its pid; None if there is none.
Find = Callable[[int], Relative | None]


def _trusted(pid: int) -> bool:
    return True


class Record:
    """The entries, looked up by process, by ancestry and by control group.

    Args:
        since: when a value was lowered for the first time, in clock ticks since the boot; 0 if
            none was. Who was born before has nothing from here.
        seen: every process that was born before has been dealt with (``Survey.newcomers``).
        watched: but for these: they had the right to lower themselves, and may have dropped it.
    """

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        since: int = 0,
        seen: int = 0,
        watched: Iterable[Identity] = (),
    ) -> None:
        self.entries = {(entry.pid, entry.start): entry for entry in entries}
        self.since, self.seen, self.watched = since, seen, frozenset(watched)
        self._values = {value for entry in self for value in entry.values}
        self._first = min((entry.since for entry in self), default=0)
        self._groups: dict[tuple[str, int], dict[int, int]] | None = None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def in_use(self) -> bool:
        """Whether somebody may have a value from here."""
        return bool(self.entries or self.since)

    def writes(self, value: int) -> bool:
        """Tell whether one of the processes has a value."""
        return value in self._values

    def source(
        self,
        pid: int,
        start: int,
        value: int,
        find: Find,
        trusted: Callable[[int], bool] = _trusted,
    ) -> int | None:
        """Find the original that the value of a process comes from; None if it is its own.

        Args:
            value: the adjustment that the process has.
            find: asked for the process and its ancestors, and only where that matters.
            trusted: whether a process, by its pid, could lower itself; asked of orphans.
        """
        own = self.entries.get((pid, start))
        if own is not None:
            return own.original if value in own.values else None
        if value not in self._values or start < self._first:
            return None
        whose = find(pid)
        if whose is None or whose.start != start:
            return None
        parent = whose.ppid
        for _ in range(_DEEPEST):
            ancestor = find(parent)
            if ancestor is None:
                break
            entry = self.entries.get((ancestor.pid, ancestor.start))
            if entry is not None and value in entry.values and start >= entry.since:
                return entry.original
            parent = ancestor.ppid
        # An orphan: its parent is gone, but it stays in the control group. In doubt, it is
        # protected: the lowest original. Who may have made that doubt by itself, by a second
        # fork, gets nothing for it.
        originals = self._related(whose.cgroup, value, start)
        if not originals:
            return None
        if trusted(pid):
            return min(originals)
        return None if value < 0 else max(originals)

    def _related(self, cgroup: str | None, value: int, start: int) -> list[int]:
        """Give the originals of those in a control group from which one of a start can be."""
        if self._groups is None:
            # Of all with one original, the one that had the value first speaks for the others.
            self._groups = {}
            for entry in self:
                for one in entry.values if entry.cgroup is not None else ():
                    firsts = self._groups.setdefault((entry.cgroup or "", one), {})
                    first = firsts.get(entry.original, entry.since)
                    firsts[entry.original] = min(first, entry.since)
        if cgroup is None:
            return []
        firsts = self._groups.get((cgroup, value), {})
        return [original for original, first in firsts.items() if start >= first]


def load(path: str) -> Record:
    """Read what was adjusted since the boot; empty if nothing was.

    Raises:
        Failure: there is a record that cannot be read.
    """
    try:
        text = kept.read(path, _LARGEST)
    except FileNotFoundError:
        return Record()
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EFBIG):
            raise _broken(path) from error
        raise Failure(f"cannot read {path}: {reason(error)}", "run it as root") from error
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise ValueError
        if data["boot"] != _boot():
            # Those processes ended with the boot.
            return Record()
        return Record(
            [_entry(one) for one in data["processes"]],
            # A record of an earlier version has none of these.
            _number(data.get("since", 0), _LATEST),
            _number(data.get("seen", 0), _LATEST),
            [_identity(one) for one in data.get("watched", [])],
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _broken(path) from error


def save(path: str, record: Record) -> None:
    """Replace the record, and be sure that it is on the disk; an empty one is removed.

    Raises:
        Failure: it cannot be written.
    """
    if not record.in_use:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Failure(f"cannot remove {path}: {reason(error)}", "run it as root") from error
        return
    processes = [
        {
            "pid": entry.pid,
            "start": entry.start,
            "original": entry.original,
            "values": list(entry.values),
            "since": entry.since,
            "cgroup": entry.cgroup,
            "fading": entry.fading,
        }
        for entry in record
    ]
    data = {
        "schema": SCHEMA,
        "boot": _boot(),
        "since": record.since,
        "seen": record.seen,
        "watched": sorted(record.watched),
        "processes": processes,
    }
    text = json.dumps(data).encode()
    if len(text) > _LARGEST:
        raise Failure(
            f"the record of {len(processes)} processes is larger than {_LARGEST >> 20} MiB",
            f"write rules that protect fewer processes, so that {path} can be read again",
        )
    kernel_list.replace(path, text, kept.FILE_MODE)


def _broken(path: str) -> Failure:
    return Failure(
        f"{path} is no record of oomrules, so nothing can be restored from it",
        "look at it; once it is removed, the values that are in force count as the originals",
    )


# Start times of a boot, in clock ticks.
_LATEST = 2**64

# What one process may have, by what is written at once: the old value and the new one.
_MOST_VALUES = 16


def _number(data: Any, most: int, least: int = 0) -> int:
    if type(data) is not int or not least <= data <= most:
        raise ValueError
    return data


def _entry(data: Any) -> Entry:
    values, cgroup, fading = data["values"], data["cgroup"], data["fading"]
    if not isinstance(values, list) or len(values) > _MOST_VALUES:
        raise ValueError
    if not isinstance(cgroup, str | None) or not isinstance(fading, bool):
        raise ValueError
    return Entry(
        *_identity([data["pid"], data["start"]]),
        _number(data["original"], 1000, -1000),
        tuple(_number(value, 1000, -1000) for value in values),
        _number(data["since"], _LATEST),
        cgroup,
        fading,
    )


def _identity(data: Any) -> Identity:
    pid, start = data
    # PID_MAX_LIMIT of the kernel.
    return _number(pid, 2**22, 1), _number(start, _LATEST)


def _boot() -> str:
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
