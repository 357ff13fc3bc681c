"""/proc/PID/status, taken apart (proc_pid_status(5))."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from oomrules.fields import Field, Unit
from oomrules.lean import Any
from oomrules.processes.namespaces import Namespaces
from oomrules.processes.snapshot import Process
from oomrules.processes.threads import Threads

# A longer status has a long line of groups, of which a process may be in 65,536: it takes the
# kernel as long as a thousand others.
_PIECE = 8192
_LONGEST_LINE = 256
# So many long ones are read in one refresh of the service, half a second of them; what other
# processes of such a kind say waits for the next one.
MOST_LONG = 100

Take = Callable[[bytes], Any]


def taking(field: Field, page_size: int) -> Take:
    """Return a function that takes a field out of a status file; None where it has no such line."""
    key, word = f"\n{field.key}:".encode(), field.word
    unit = page_size if field.unit is Unit.PAGES else 1

    def size(data: bytes) -> int | None:
        # As in "123 kB".
        text = line_of(data, key)
        return int(text[:-3]) * 1024 // unit if text else None

    def bits(data: bytes) -> int | None:
        text = line_of(data, key)
        return int(text, 16) if text else None

    def levels(data: bytes) -> int:
        # Its pid in each namespace from this proc's on. A kernel without them has no line.
        return max(0, len(line_of(data, key).split()) - 1)

    def number(data: bytes) -> int | None:
        words = line_of(data, key).split(None, word + 1)
        return int(words[word]) if len(words) > word else None

    if field.unit.is_memory:
        return size
    if field.unit is Unit.BITS:
        return bits
    return levels if field.key == "NSpid" else number


def read_status(path: str) -> tuple[bytes, bool]:
    """Read a status file without lines that are longer than any used; say if those are all."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        piece = os.read(descriptor, _PIECE)
        # A short read is the end.
        if len(piece) < _PIECE:
            return piece, True
        kept: list[bytes] = []
        line = b""
        while piece:
            *lines, line = (line + piece).split(b"\n")
            kept += (one for one in lines if len(one) < _LONGEST_LINE)
            line = line[:_LONGEST_LINE]
            piece = os.read(descriptor, 1 << 16)
        return b"\n".join((*kept, b"")), False
    finally:
        os.close(descriptor)


def line_of(data: bytes, key: bytes) -> bytes:
    """Find a line of status by its key, with the newline before and the colon behind it."""
    start = data.find(key)
    return data[start + len(key) : data.find(b"\n", start + 1)].strip() if start >= 0 else b""


class Statuses:
    """Reads status of processes, of the thread that has the memory; too many long ones in turn.

    Attributes:
        most_long: how many long ones are read in a refresh.
        long: how many were, of new processes, and of those that are looked at once more.
    """

    def __init__(self, threads: Threads, namespaces: Namespaces) -> None:
        self.most_long, self.long = sys.maxsize, [0, 0]
        self._looks_again = False
        self._threads, self._namespaces = threads, namespaces
        # Those whose status was not read in this refresh, and those of which a long one was read
        # since each had its turn.
        self._put_off: list[Process] = []
        self._had_turn: set[int] = set()

    def begin(self, most_long: int) -> list[Process]:
        """Begin a refresh; return the processes that were put off in the last one."""
        if self.long[True] < self.most_long // 2:
            # No process has to wait any more.
            self._had_turn.clear()
        self.most_long, self.long = most_long, [0, 0]
        put_off, self._put_off = self._put_off, []
        return put_off

    def read(self, process: Process) -> bytes:
        """Read status, even if the first thread ends just now.

        Nothing if there have been too many long ones, and this may be another one of them.

        Raises:
            OSError: it cannot be read, or the process is gone.
        """
        # Half of them is for new processes, half for those that are looked at once more: none is
        # forgotten because of the others, however many come.
        known = isinstance(process.uid, int)
        full = self.long[known] >= self.most_long // 2
        waits = full or (known and process.pid in self._had_turn)
        if waits and self._namespaces.is_elsewhere(process.pid):
            self._put_off.append(process)
            return b""
        before, self._looks_again = self.long[known], known
        data = self._threads.read(process.pid, "status", self._read)
        if self.long[known] > before and self.most_long < sys.maxsize:
            # Without a bound no process waits for another one, whatever else is asked of it.
            self._had_turn.add(process.pid)
        has_threads = process.total_vm and (process.threads or 0) > 1
        if has_threads and b"\nVmPTE:" not in data and self._threads.find(process.pid):
            data = self._threads.read(process.pid, "status", self._read)
        return data

    def _read(self, path: str) -> bytes:
        data, whole = read_status(path)
        self.long[self._looks_again] += not whole
        return data
