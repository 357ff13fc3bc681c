"""Show what a kept descriptor of /proc/PID/stat costs the kernel, in bytes.

    python3 bench/descriptors.py

Opens one file many times, reads each once as the portable source does, and looks at
how much the kernel's own memory has grown: the least of some tries, because the memory of
other processes counts too. The buffer of a page that the kernel keeps for each makes up most.
"""

from __future__ import annotations

import os
import resource

COUNT = 8192
TRIES = 5


def slab() -> int:
    """Return the kernel's slab memory in bytes."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Slab:"))


def cost() -> float:
    """Return the growth for each descriptor in one try."""
    before = slab()
    descriptors = []
    try:
        for _ in range(COUNT):
            descriptors.append(os.open("/proc/self/stat", os.O_RDONLY))
            os.pread(descriptors[-1], 1024, 0)
        return (slab() - before) / COUNT
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, COUNT + 64), hard))
    print(f"{min(cost() for _ in range(TRIES)):.0f} bytes for each of {COUNT} descriptors")


main()
