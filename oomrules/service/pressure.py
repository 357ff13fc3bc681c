"""Whether memory is short: the kernel wakes us, and where it cannot, a look now and then."""

from __future__ import annotations

import os

from oomrules.files import read_small
from oomrules.processes.machine import trigger

MEMORY = "/proc/pressure/memory"
MEMINFO = "/proc/meminfo"

# Microseconds in which some task waits for memory, of a window in microseconds.
_TRIGGERS = (b"some 50000 1000000\0", b"some 100000 2000000\0")

# Without a trigger: seconds between two looks, and the share of them that is pressure.
_LOOK = 5.0
_SHARE = 0.05

# Without PSI: memory is short when less than this share of it is available.
_AVAILABLE = 0.08


class Pressure:
    """Memory pressure of the host.

    Attributes:
        source: ``trigger``, ``psi`` (read now and then), ``meminfo`` (the same, for a kernel
            without PSI) or ``none``.
        descriptor: ready for POLLPRI when there is pressure; -1 without a trigger.
    """

    def __init__(self, path: str = MEMORY, meminfo: str = MEMINFO) -> None:
        self._path, self._meminfo = path, meminfo
        self._before: tuple[float, float] | None = None
        self.descriptor, self.source = -1, "none"
        self.open()

    def open(self) -> None:
        """Set the trigger, or find out which source there is instead."""
        self.close()
        self.descriptor = trigger(self._path, _TRIGGERS)
        if self.descriptor >= 0:
            self.source = "trigger"
            return
        self.source = "psi" if self.shares() else "meminfo" if self._available() else "none"

    def close(self) -> None:
        """Close the trigger."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @property
    def look(self) -> float | None:
        """Seconds until ``high`` should be asked; None if the kernel wakes us or cannot tell."""
        return _LOOK if self.source in ("psi", "meminfo") else None

    def high(self, now: float) -> bool:
        """Return whether there was pressure since the last call."""
        if self.source == "meminfo":
            available = self._available()
            return available is not None and available < _AVAILABLE
        waited = _numbers(self._path, b"total=")
        before, self._before = self._before, (now, waited[0]) if waited else None
        if before is None or waited is None or now <= before[0]:
            return False
        return (waited[0] - before[1]) / 1e6 >= _SHARE * (now - before[0])

    def shares(self) -> tuple[float, float] | None:
        """Return ``some`` and ``full`` of the last 10 s, in percent; None without PSI."""
        shares = _numbers(self._path, b"some avg10=", b"full avg10=")
        return (shares[0], shares[1]) if shares else None

    def _available(self) -> float | None:
        sizes = _numbers(self._meminfo, b"MemAvailable:", b"MemTotal:")
        return sizes[0] / sizes[1] if sizes and sizes[1] else None


def _numbers(path: str, *keys: bytes) -> list[float] | None:
    """Return the number behind the first of each of these words; None if one is missing."""
    try:
        data = read_small(path)
        return [float(data.split(key, 1)[1].split(None, 1)[0]) for key in keys]
    except (OSError, ValueError, IndexError):
        return None
