"""The memory of the machine that the processes run on, as the kernel has it.

In a container ``/proc/meminfo`` may be a file of lxcfs, which tells what the container may have.
The kernel divides by the host's memory when the host runs out; what a container may have is the
limit of its control group. Such a file can also keep its reader waiting.
"""

from __future__ import annotations

import os
from struct import Struct

from oomrules.errors import Failure, reason

_KIB = 1024
# Larger than any meminfo.
_MEMINFO = 1 << 14
_UNMOUNTED = "is /proc mounted, and without subset=pid?"
# struct sysinfo of <linux/sysinfo.h>: the uptime, three loads, RAM (in all, free, shared, of
# buffers), swap (in all, free), processes, two of high memory, and the unit of all of them.
_SYSINFO = Struct("@l3L4L2LHH2LI")


class Memory:
    """How much memory there is. It changes: swap and memory come and go while a host runs.

    Raises:
        Failure: proc is not there.
    """

    def __init__(self, root: str) -> None:
        path = f"{root}/meminfo"
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            covered = os.fstat(self._descriptor).st_dev != os.stat(root).st_dev
        except OSError as error:
            raise Failure(f"cannot read {path}: {reason(error)}", _UNMOUNTED) from error
        if covered:
            self.close()

    def totals(self) -> tuple[int, int]:
        """Return RAM and swap in bytes: what oom_badness() takes for totalpages on the host."""
        if self._descriptor < 0:
            return _asked_of_kernel()
        data = os.pread(self._descriptor, _MEMINFO, 0)
        return _size(data, b"MemTotal:"), _size(data, b"SwapTotal:")

    def close(self) -> None:
        """Close the file; from then on the kernel is asked by sysinfo(2)."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _size(data: bytes, key: bytes) -> int:
    _, _, rest = data.partition(key)
    return int(rest.split(None, 1)[0]) * _KIB if rest else 0


def _asked_of_kernel() -> tuple[int, int]:
    """Ask sysinfo(2), over which no file can be mounted."""
    # Hardly any host needs it.
    import ctypes

    # A kernel of 32 bits has more behind it.
    info = ctypes.create_string_buffer(_SYSINFO.size + 64)
    ctypes.CDLL(None).sysinfo(info)
    _, _, _, _, ram, _, _, _, swap, *_, unit = _SYSINFO.unpack_from(info)
    return ram * unit, swap * unit
