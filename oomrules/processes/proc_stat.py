"""/proc/PID/stat, taken apart (proc_pid_stat(5))."""

from __future__ import annotations

from oomrules.fields import FIELDS
from oomrules.files import read_small
from oomrules.processes.snapshot import PF_EXITING

# Larger than any stat.
LARGEST = 1024
_DEAD = (b"Z", b"X", b"x")
# The number of the first field behind the name, which may hold spaces and brackets; how many of
# them are used.
_FIRST, USED = 3, 22


def position_of(name: str) -> int:
    """Return the position of a field in what ``split`` gives."""
    key = FIELDS[name].key
    assert isinstance(key, int)
    return key - _FIRST


STATE, FLAGS, UTIME, STIME, NICE, THREADS, START, SIZE, RSS, _PARENT = map(
    position_of, "state flags utime stime nice threads starttime total_vm rss ppid".split()
)


def split(data: bytes) -> list[bytes]:
    """Return the fields behind the name; raise ValueError if this is no stat."""
    return data[data.rindex(b")") + 2 :].split(None, USED)


def family(data: bytes) -> tuple[int, int]:
    """Return the start time of a process, in clock ticks since the boot, and its parent's pid.

    Raises:
        ValueError, IndexError: this is no stat.
    """
    fields = split(data)
    return int(fields[START]), int(fields[_PARENT])


def living(path: str) -> list[bytes] | None:
    """Return the fields of a thread's stat; none if it ends or lacks memory, None if it is gone."""
    try:
        fields = split(read_small(path))
        if fields[STATE] in _DEAD or int(fields[FLAGS]) & PF_EXITING or not int(fields[SIZE]):
            return []
    except (OSError, ValueError, IndexError):
        return None
    return fields
