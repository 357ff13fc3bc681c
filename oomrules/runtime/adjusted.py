"""What was adjusted, kept on disk before it happens so that it can always be undone.

An entry says which value a process had before anybody here touched it, and which values were,
or were about to be, written. That is enough at any moment, a crash in the middle included: who
has one of those values gets the original back; who has another had it from somebody else since.

Children inherit the value of their parent at fork (copy_signal() in kernel/fork.c). Such a
child has no entry, but the value of one that it must have come from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator

from oomrules.errors import Failure, reason
from oomrules.lean import Any, NamedTuple
from oomrules.runtime import kept, sinks

SCHEMA = "oomrules.adjustments/1"
FILE = "adjustments.json"

# Some 200 bytes for each process that was adjusted, and as much as a path can be long.
_LARGEST = 64 << 20

_BOOT = "/proc/sys/kernel/random/boot_id"


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


class Record:
    """The entries, looked up by process, by ancestry and by control group."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = {(entry.pid, entry.start): entry for entry in entries}
        self._values = {value for entry in self for value in entry.values}
        self._since = min((entry.since for entry in self), default=0)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)

    def source(self, pid: int, start: int, value: int, find: Find) -> Entry | None:
        """Find the entry that the value of a process comes from; None if it is its own.

        Args:
            value: the adjustment that the process has.
            find: asked for the process and its ancestors, and only where that matters.
        """
        own = self.entries.get((pid, start))
        if own is not None:
            return own if value in own.values else None
        if value not in self._values or start < self._since:
            return None
        whose = find(pid)
        if whose is None or whose.start != start:
            return None
        seen = {pid}
        parent = whose.ppid
        while parent not in seen and (ancestor := find(parent)) is not None:
            seen.add(parent)
            entry = self.entries.get((ancestor.pid, ancestor.start))
            if entry is not None and value in entry.values and start >= entry.since:
                return entry
            parent = ancestor.ppid
        # An orphan: its parent is gone, but it stays in the control group. In doubt, it is
        # protected: the lowest original.
        related = [
            entry
            for entry in self
            if entry.cgroup is not None
            and entry.cgroup == whose.cgroup
            and value in entry.values
            and entry.start <= start
            and start >= entry.since
        ]
        return min(related, key=lambda entry: entry.original, default=None)


def load(path: str) -> Record:
    """Read what was adjusted since the boot; empty if nothing was.

    Raises:
        Failure: there is a record that cannot be read.
    """
    try:
        data = json.loads(kept.read(path, _LARGEST))
    except FileNotFoundError:
        return Record()
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}", "run it as root") from error
    except (ValueError, RecursionError) as error:
        raise _broken(path) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise _broken(path)
    if data.get("boot") != _boot():
        # Those processes ended with the boot.
        return Record()
    try:
        return Record([_entry(one) for one in data["processes"]])
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path) from error


def save(path: str, record: Record) -> None:
    """Replace the record, and be sure that it is on the disk; an empty one is removed.

    Raises:
        Failure: it cannot be written.
    """
    if not record.entries:
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
    data = {"schema": SCHEMA, "boot": _boot(), "processes": processes}
    sinks.replace(path, json.dumps(data).encode(), kept.FILE_MODE)


def _broken(path: str) -> Failure:
    return Failure(
        f"{path} is no record of oomrules, so nothing can be restored from it",
        "look at it; once it is removed, the values that are in force count as the originals",
    )


def _entry(data: Any) -> Entry:
    whole = [data[key] for key in ("pid", "start", "original", "since")]
    values, cgroup = data["values"], data["cgroup"]
    if not all(type(one) is int for one in (*whole, *values)) or not isinstance(cgroup, str | None):
        raise ValueError
    pid, start, original, since = whole
    return Entry(pid, start, original, tuple(values), since, cgroup, bool(data["fading"]))


def _boot() -> str:
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
