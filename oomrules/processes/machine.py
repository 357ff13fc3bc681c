"""The memory of the machine that the processes run on, as the kernel has it.

In a container ``/proc/meminfo`` may be a file of lxcfs, which tells what the container may have.
The kernel divides by the host's memory when the host runs out; what a container may have is the
limit of its control group. Such a file can also keep its reader waiting.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from struct import Struct

from oomrules.errors import Failure, reason
from oomrules.processes.cgroups import pressure, stalled

_KIB = 1024
# The lines of meminfo, by the name in a ``Host``.
_LINES = {
    "available": b"MemAvailable:",
    "free": b"MemFree:",
    "swap_free": b"SwapFree:",
    "shmem": b"Shmem:",
    "hugetlb": b"Hugetlb:",
}
# A kernel without them has no such line.
_NONE = {"hugetlb": 0, "shmem": 0}
# Larger than what PSI tells of the host.
_PRESSURE = 1 << 10
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
        # What was read last.
        self._data = b""
        if covered:
            self.close()

    def totals(self) -> tuple[int, int]:
        """Return RAM and swap in bytes: what oom_badness() takes for totalpages on the host."""
        if self._descriptor < 0:
            return _asked_of_kernel()
        data = self._data = os.pread(self._descriptor, _MEMINFO, 0)
        return _size(data, b"MemTotal:") or 0, _size(data, b"SwapTotal:") or 0

    def rest(self) -> dict[str, int]:
        """Return what ``totals`` has read besides, in bytes, by the name in a ``Host``.

        Nothing where the kernel was asked by sysinfo(2), which does not tell all of it.
        """
        if self._descriptor < 0:
            return {}
        sizes = {name: _size(self._data, key) for name, key in _LINES.items()}
        return _NONE | {name: size for name, size in sizes.items() if size is not None}

    def close(self) -> None:
        """Close the file; from then on the kernel is asked by sysinfo(2)."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Waiting:
    """How long tasks of this host wait for memory (PSI, /proc/pressure/memory).

    Unknown where the kernel does not measure it, and where another file lies over the kernel's.
    """

    def __init__(self, root: str) -> None:
        self._path, self._root, self._descriptor = f"{root}/pressure/memory", root, -1

    def read(self) -> tuple[float, int] | None:
        """Return how much some task and all of them waited; None if that is unknown.

        Returns:
            the share of the last 10 s in which some task waited, in percent, and the microseconds
            in which all of them did since the boot.
        """
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                if os.fstat(self._descriptor).st_dev != os.stat(self._root).st_dev:
                    self.close()
                    return None
            text = os.pread(self._descriptor, _PRESSURE, 0).decode("ascii", "replace")
            return pressure(text), stalled(text)
        except (OSError, ValueError, IndexError):
            return None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def trigger(path: str, wanted: Iterable[bytes]) -> int:
    """Have the kernel tell of it when tasks wait for memory (Documentation/accounting/psi.rst).

    A window is 500 ms to 10 s; before Linux 6.5 only with CAP_SYS_RESOURCE; since then for any
    process, if it is a multiple of 2 s. At most one event comes in a window.

    Args:
        path: a file of PSI.
        wanted: triggers, of which the first one counts that the kernel takes.

    Returns:
        a descriptor that is ready for POLLPRI then; -1 where the kernel takes none.
    """
    for one in wanted:
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(descriptor, one)
            return descriptor
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
    return -1


def _size(data: bytes, key: bytes) -> int | None:
    _, _, rest = data.partition(key)
    return int(rest.split(None, 1)[0]) * _KIB if rest else None


def _asked_of_kernel() -> tuple[int, int]:
    """Ask sysinfo(2), over which no file can be mounted."""
    # Hardly any host needs it.
    import ctypes

    # A kernel of 32 bits has more behind it.
    info = ctypes.create_string_buffer(_SYSINFO.size + 64)
    ctypes.CDLL(None).sysinfo(info)
    _, _, _, _, ram, _, _, _, swap, *_, unit = _SYSINFO.unpack_from(info)
    return ram * unit, swap * unit
