"""The record of the originals, on disk before a value is written, so it can always be restored.

An entry says which value a process had before oomrules changed it, and which values were, or were
about to be, written. That is enough at any moment, also after a crash in the middle: a process
with one of those values gets its original back; a process with any other value has been changed
by something else since.

Children inherit the value of their parent at fork (copy_signal() in kernel/fork.c). Such a child
has no entry, but the value of a process that has one. If it cannot be told which process that
was, ``origins`` decides what is believed.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator

from oomrules import files, state_directory
from oomrules.clock import boot
from oomrules.errors import Failure, reason
from oomrules.lean import Any, NamedTuple

SCHEMA = "oomrules.adjustments/1"

# More than 200,000 processes come to. What is larger is not ours, and parsing it takes ten times
# as much memory.
_LARGEST = 32 << 20

# No process tree is deeper unless it was made to be: each step up is a read.
_DEEPEST = 64

# How many processes that could lower themselves are remembered; users cannot make any.
MOST_WATCHED = 4096

# A pid and a start time, in clock ticks since the boot.
Identity = tuple[int, int]


class Entry(NamedTuple):
    """One process whose oom_score_adj was changed.

    Attributes:
        start: its start time, in clock ticks since the boot.
        original: its value before.
        values: the values from oomrules that it may have.
        since: when the first of them was written, in clock ticks since the boot.
        cgroup: its control group, if it is known.
        fading: it is gone, or has its original again. The entry stays for one more run, for a
            child that was born while the processes were read.
    """

    pid: int
    start: int
    original: int
    values: tuple[int, ...]
    since: int
    cgroup: str | None
    fading: bool = False

    @property
    def identity(self) -> Identity:
        """Its pid and its start time, which no other process of this boot has."""
        return self.pid, self.start


class Relative(NamedTuple):
    """What tells which process another one came from."""

    start: int
    ppid: int
    cgroup: str | None


class Record:
    """The entries, looked up by process, by ancestry and by control group.

    Args:
        since: when a value was lowered for the first time, in clock ticks since the boot; 0 if
            none was. A process that was born before has no value from oomrules.
        seen: every process that was born before has been dealt with (``Survey.newcomers``),
            except for those in ``watched``.
        watched: processes that had the right to lower themselves, and may have dropped it.

    Attributes:
        values: those that one of the entries has.
    """

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        since: int = 0,
        seen: int = 0,
        watched: Iterable[Identity] = (),
    ) -> None:
        self.entries = {entry.identity: entry for entry in entries}
        self.since, self.seen, self.watched = since, seen, frozenset(watched)
        self.values = {value for entry in self for value in entry.values}
        self._first = min((entry.since for entry in self), default=0)
        self._groups: dict[tuple[str | None, int], dict[int, int]] | None = None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def in_use(self) -> bool:
        """Whether a process may have a value from oomrules."""
        return bool(self.entries or self.since)

    def source(
        self,
        pid: int,
        start: int,
        current: int,
        find: Callable[[int], Relative | None],
        trusted: Callable[[int], bool],
    ) -> int | None:
        """Return the original that the value of a process comes from; None if it is its own.

        Args:
            current: the value that the process has.
            find: finds a living process by its pid; called only where that matters.
            trusted: whether a process, by its pid, could lower itself; called for orphans.
        """
        own = self.entries.get((pid, start))
        if own is not None:
            return own.original if current in own.values else None
        if current not in self.values or start < self._first:
            return None
        process = find(pid)
        if process is None or process.start != start:
            return None
        parent = process.ppid
        for _ in range(_DEEPEST):
            ancestor = find(parent)
            if ancestor is None:
                break
            entry = self.entries.get((parent, ancestor.start))
            if entry is not None and current in entry.values and start >= entry.since:
                return entry.original
            parent = ancestor.ppid
        # An orphan: its parent is gone, but it stays in the control group. If several originals
        # are possible it gets the lowest one, which protects it; or the highest, if the process may
        # have arranged the doubt itself, by a second fork.
        originals = self._related(process.cgroup, current, start)
        if not originals:
            return None
        if trusted(pid):
            return min(originals)
        return None if current < 0 else max(originals)

    def _related(self, cgroup: str | None, value: int, start: int) -> list[int]:
        """Return the originals of the processes in a control group that had a value by a time."""
        if self._groups is None:
            # By original, when the first process had the value.
            self._groups = {}
            for entry in self:
                for written in entry.values:
                    firsts = self._groups.setdefault((entry.cgroup, written), {})
                    first = firsts.get(entry.original, entry.since)
                    firsts[entry.original] = min(first, entry.since)
        firsts = {} if cgroup is None else self._groups.get((cgroup, value), {})
        return [original for original, first in firsts.items() if start >= first]


def load(path: str) -> Record:
    """Read the record of this boot; an empty one if there is none.

    Raises:
        Failure: there is a record that cannot be read.
    """
    try:
        text = files.read(path, _LARGEST, follow=False)
    except FileNotFoundError:
        return Record()
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EISDIR, errno.EFBIG):
            raise _broken(path) from error
        raise Failure(f"cannot read {path}: {reason(error)}", "run it as root") from error
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise ValueError
        if data["boot"] != boot():
            # Those processes ended with the boot.
            return Record()
        return Record(
            entries=[_entry(entry) for entry in data["processes"]],
            # A record of an earlier version has none of these.
            since=_number(data.get("since", 0), _LATEST),
            seen=_number(data.get("seen", 0), _LATEST),
            watched=[_identity(identity) for identity in data.get("watched", [])],
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _broken(path) from error


def save(path: str, record: Record) -> None:
    """Replace the record, and be sure that it is on the disk; an empty one is removed.

    Raises:
        Failure: it cannot be written.
    """
    if not record.in_use:
        files.remove(path)
        return
    data = {
        "schema": SCHEMA,
        "boot": boot(),
        "since": record.since,
        "seen": record.seen,
        "watched": sorted(record.watched),
        "processes": [entry._asdict() for entry in record],
    }
    text = json.dumps(data).encode()
    if len(text) > _LARGEST:
        raise Failure(
            f"the record of {len(record)} processes is larger than {_LARGEST >> 20} MiB",
            f"write rules that protect fewer processes, so that {path} can be read again",
        )
    files.replace(path, text, state_directory.FILE_MODE)


def _broken(path: str) -> Failure:
    return Failure(
        f"{path} is no record of oomrules, so nothing can be restored from it",
        "look at it; if you remove it, the values that are in force count as the originals",
    )


# Start times of a boot, in clock ticks.
_LATEST = 2**64

# How many values one process may have; oomrules writes two, the old one and the new one.
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
    pid, start = _identity([data["pid"], data["start"]])
    return Entry(
        pid=pid,
        start=start,
        original=_number(data["original"], 1000, -1000),
        values=tuple(_number(value, 1000, -1000) for value in values),
        since=_number(data["since"], _LATEST),
        cgroup=cgroup,
        fading=fading,
    )


def _identity(data: Any) -> Identity:
    pid, start = data
    # PID_MAX_LIMIT of the kernel.
    return _number(pid, 2**22, 1), _number(start, _LATEST)
