"""How much of memory is a process's, in proportion where it is shared: /proc/PID/smaps_rollup.

The kernel walks through the page tables for it, and waits for a process that changes its mappings.
So it is asked only for a picture, and for so long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from threading import Thread
from typing import NamedTuple

_KIB = 1024
# Larger than the file, which has some 25 lines.
_MOST = 1 << 13
# The lines that are needed, by the name of the value (Documentation/filesystems/proc.rst).
_LINES = {b"Pss_Anon:": "anon", b"Pss_File:": "file", b"Pss_Shmem:": "shmem"}
_STARTTIME = 22


class Proportional(NamedTuple):
    """A process's share of each kind of memory, in bytes."""

    anon: int
    file: int
    shmem: int


def parse(data: bytes) -> Proportional | None:
    """Return the shares in a file of smaps_rollup; None if it does not tell them."""
    found: dict[str, int] = {}
    for line in data.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in _LINES and words[1].isdigit():
            found[_LINES[words[0]]] = _KIB * int(words[1])
    return Proportional(**found) if len(found) == len(_LINES) else None


def proportional(
    wanted: Mapping[int, int | None], seconds: float, proc: str = "/proc"
) -> dict[int, Proportional]:
    """Return the shares of processes, as far as the kernel tells them within a time.

    Args:
        wanted: when each started, in clock ticks, by its pid. Another process of the same pid
            is left out.
        seconds: how long to wait at most.
        proc: the directory of proc.
    """
    found: dict[int, Proportional] = {}
    # The kernel may keep the reader waiting, and a thread that waits ends with the command.
    reader = Thread(target=_read_all, args=(wanted.items(), seconds, proc, found), daemon=True)
    reader.start()
    reader.join(seconds)
    return dict(found)


def _read_all(
    wanted: Iterable[tuple[int, int | None]],
    seconds: float,
    proc: str,
    found: dict[int, Proportional],
) -> None:
    end = time.monotonic() + seconds
    for pid, started in wanted:
        if time.monotonic() > end:
            break
        # It has ended, or belongs to another user.
        with suppress(OSError, ValueError, IndexError):
            directory = os.open(f"{proc}/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                stat = _read("stat", directory).rpartition(b")")[2].split()
                if started is None or int(stat[_STARTTIME - 3]) == started:
                    share = parse(_read("smaps_rollup", directory))
                    if share is not None:
                        found[pid] = share
            finally:
                os.close(directory)


def _read(name: str, directory: int) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(descriptor, _MOST)
    finally:
        os.close(descriptor)
