"""Threads that stand in for the first one of their process.

A process is all its threads. ``/proc/PID`` describes the first one, which may have ended. Then the
first one that goes on stands in for it, as in the kernel's find_lock_task_mm().
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice

from oomrules.lean import NamedTuple
from oomrules.processes.proc_stat import living

# What a process that is gone answers.
GONE = (FileNotFoundError, ProcessLookupError)

# Threads may end while they are looked at: the number of looks at all of them, and at those of a
# process that has only a few.
LOOKS, _LOOKS_AT_FEW = 3, 10
# So many threads, none of them alive, are not all looked at in each refresh: from the second look
# on twice as long passes each time, up to so many seconds.
_MANY = 256
_LIFELESS_FOR = 32.0


class _Walk(NamedTuple):
    """A walk over threads: how many there were, which was the last, and if some vanished."""

    threads: int
    last: str
    vanished: bool


class Threads:
    """The threads of all processes whose first one has ended.

    Args:
        prefix: the directory where proc is mounted, with a slash at its end.

    Attributes:
        stand_ins: by process, the thread that stands in for the first one, and how many of the
            list had ended before it; 0 where the thread is still to be found.
        merged: by process, the fields of stat that were taken over of that thread last.
        all_ended: whether the last search found for certain that no thread goes on.
        uptime: of the host at the last refresh, in seconds.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.uptime = 0.0
        self.stand_ins: dict[int, tuple[int, int]] = {}
        self.merged: dict[int, list[bytes]] = {}
        self.all_ended = False
        # When the many threads of a process, all of which had ended, are looked at again, and how
        # long that was, in seconds of uptime.
        self._lifeless: dict[int, tuple[float, float]] = {}
        self._walk = _Walk(threads=0, last="", vanished=False)

    def are_needed(self, pid: int) -> bool:
        """Return whether what the first thread's stat says of a process is not all."""
        return pid in self.merged or pid in self._lifeless

    def forget(self, pid: int) -> None:
        """Forget a process that is gone."""
        for known in (self.stand_ins, self.merged, self._lifeless):
            known.pop(pid, None)

    def stand_in(self, pid: int) -> int:
        """Return the thread that stands in for the first one; 0 for none."""
        if pid in self.stand_ins and not self.stand_ins[pid][0]:
            self.find(pid)
        return self.stand_ins.get(pid, (0, 0))[0]

    def directory(self, pid: int) -> str:
        """Return the directory of a process in proc, or that of the thread that stands in."""
        thread = self.stand_in(pid) if self.stand_ins else 0
        return f"{self.prefix}{pid}/task/{thread}/" if thread else f"{self.prefix}{pid}/"

    def read(self, pid: int, file: str, read: Callable[[str], bytes]) -> bytes:
        """Read a file of a process; if the thread that stood in has ended, of another one.

        Raises:
            OSError: it cannot be read, or the process is gone.
        """
        for _ in range(LOOKS):
            try:
                return read(self.directory(pid) + file)
            except GONE:
                if pid not in self.stand_ins or not self.find(pid):
                    break
        # Of the first thread there is something as long as there is a process.
        return read(f"{self.prefix}{pid}/{file}")

    def find(self, pid: int) -> list[bytes] | None:
        """Return the stat of the first thread that goes on; None if the process ends."""
        path = f"{self.prefix}{pid}/task"
        self.all_ended = False
        thread, ended = self.stand_ins.pop(pid, (0, 0))
        if thread and (fields := living(f"{path}/{thread}/stat")):
            self.stand_ins[pid] = thread, ended
            return fields
        until, wait = self._lifeless.get(pid, (0.0, 0.0))
        if self.uptime < until:
            self.all_ended = True
            return None
        before = None
        for look in range(_LOOKS_AT_FEW):
            # Those before it have ended long ago. Some of them may be gone from the list by now,
            # so that it is too far into it: then all are looked at.
            for skipped in (ended, 0) if ended else (0,):
                fields = self._first_living(pid, path, skipped)
                if fields is not None:
                    return fields
            # One may have started another and ended since it was listed. If the list is the same
            # again, all that are in it had ended before.
            if not self._walk.vanished and self._walk == before:
                self.all_ended = True
                break
            if look >= LOOKS and self._walk.threads >= _MANY:
                break
            before = self._walk
        if self._walk.threads >= _MANY:
            # Nearly surely they have all ended, and none is left to start another one.
            wait = min(max(1.0, wait * 2), _LIFELESS_FOR)
            self._lifeless[pid] = self.uptime + wait, wait
        return None

    def _first_living(self, pid: int, path: str, skipped: int) -> list[bytes] | None:
        threads, last, vanished, fields = skipped, "", False, None
        try:
            with os.scandir(path) as entries:
                for thread in islice(entries, skipped, None):
                    last = thread.name
                    fields = living(f"{path}/{last}/stat")
                    if fields:
                        if thread.name != str(pid):
                            self.stand_ins[pid] = int(thread.name), threads
                        self._lifeless.pop(pid, None)
                        break
                    # One that is gone may have taken others with it from under the list's eye.
                    vanished = vanished or fields is None
                    threads += 1
        except OSError:
            pass
        self._walk = _Walk(threads, last, vanished)
        return fields or None
