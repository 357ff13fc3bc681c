"""Files of stat that are kept open, as many as there is room for."""

from __future__ import annotations

import os
import resource

from oomrules.processes.proc_stat import LARGEST
from oomrules.processes.snapshot import Process

# A kept descriptor costs the kernel about 4.5 KiB (bench/descriptors.py): all of them together at
# the most this share of the memory, so that a host with room for many processes keeps one for
# each, and a small one does not pay for it.
_COST = 4608
_SHARE = 256
# And no more than this, whatever the memory; the unit's LimitNOFILE= is above it.
DESCRIPTORS = 32768
# Left for everything else that has descriptors.
_SPARE = 64


class Descriptors:
    """The kept descriptors of processes.

    A kept descriptor answers ESRCH once its process is gone, so it cannot name a recycled pid.

    Args:
        wanted: how many are kept at the most.
        memory: of the host, in bytes.
        prefix: the directory where proc is mounted, with a slash at its end.
    """

    def __init__(self, wanted: int, memory: int, prefix: str) -> None:
        # How many there are.
        self.kept = 0
        self._most = _budget(min(wanted, memory // _SHARE // _COST))
        self._prefix = prefix

    def read_stat(self, process: Process) -> bytes:
        """Open and read stat, or raise OSError; keep the descriptor while any are to spare."""
        descriptor = os.open(f"{self._prefix}{process.pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, LARGEST)
        except OSError:
            os.close(descriptor)
            raise
        if self.kept < self._most:
            process.descriptor = descriptor
            self.kept += 1
        else:
            os.close(descriptor)
        return data

    def release(self, process: Process) -> None:
        """Close the descriptor of a process, if it has one."""
        if process.descriptor >= 0:
            os.close(process.descriptor)
            process.descriptor = -1
            self.kept -= 1


def _budget(wanted: int) -> int:
    """Raise the soft limit of open files as needed and allowed; return how many may be kept."""
    if wanted <= 0:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + _SPARE
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(0, min(wanted, soft - _SPARE))
