"""The clock: the kernel's own, which goes on while the machine is suspended."""

from __future__ import annotations

import time

_BOOT = "/proc/sys/kernel/random/boot_id"


def now() -> float:
    """Return the seconds since the boot, suspended ones included (CLOCK_BOOTTIME).

    It is the clock of ``starttime`` in ``/proc/PID/stat``, also for a reader in a time
    namespace, whose offset the kernel adds to both (timens_add_boottime_ns()). ``/proc/uptime`` may
    be another one: in a container lxcfs tells there since when the container runs.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str:
    """Return the id of this boot; empty if the kernel does not tell."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
