"""Made-up figures of a host, in files that stand for those in /proc."""

from __future__ import annotations

import os
from pathlib import Path

GIB = 2**30
# 8 GiB of RAM and 2 GiB of swap at rest.
AT_REST = {
    "MemTotal": 8 * GIB,
    "MemFree": 4 * GIB,
    "MemAvailable": 6 * GIB,
    "SwapTotal": 2 * GIB,
    "SwapFree": 2 * GIB,
    "Shmem": 0,
    "Hugetlb": 0,
}


class Figures:
    """A directory with ``meminfo`` and ``pressure/memory``; a reader never sees half of them."""

    def __init__(self, root: Path, pressure: bool = True) -> None:
        self.root = root
        (root / "pressure").mkdir(parents=True)
        (root / "meminfo").touch()
        self.set()
        if pressure:
            (root / "pressure" / "memory").touch()
            self.wait(0, 0)

    def set(self, **sizes: int) -> None:
        """Set the figures of meminfo, in bytes; the others are as at rest."""
        lines = "".join(
            f"{name}:{size >> 10:>14} kB\n" for name, size in {**AT_REST, **sizes}.items()
        )
        self._write("meminfo", lines)

    def wait(self, some: int, full: int) -> None:
        """Set for how many microseconds tasks have waited since the boot."""
        shares = "avg10=0.00 avg60=0.00 avg300=0.00 total="
        self._write("pressure/memory", f"some {shares}{some:012}\nfull {shares}{full:012}\n")

    def _write(self, name: str, text: str) -> None:
        """Write in place, in one call, and always as much."""
        descriptor = os.open(self.root / name, os.O_WRONLY)
        os.pwrite(descriptor, text.encode(), 0)
        os.close(descriptor)
