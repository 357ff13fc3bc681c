"""/proc/PID/stat, taken apart (proc_pid_stat(5))."""

from __future__ import annotations

import os

from oomrules.processes.snapshot import PF_EXITING

# Larger than any stat.
LARGEST = 1024
_DEAD = (b"Z", b"X", b"x")


def read_file(path: str, size: int = 65536) -> bytes:
    """Read a file of proc: no more than its first bytes, which is all of most files."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def living(path: str) -> list[bytes] | None:
    """Read the stat of a thread.

    Returns:
        its fields from the third on; nothing if it ends or has no memory, None if it is gone.
    """
    try:
        data = read_file(path, LARGEST)
        fields = data[data.rindex(b")") + 2 :].split(None, 22)
        if fields[0] in _DEAD or int(fields[6]) & PF_EXITING or not int(fields[20]):
            return []
    except (OSError, ValueError, IndexError):
        return None
    return fields
