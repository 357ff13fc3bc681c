"""What a process does that stays: small, and the same size for as long as it runs."""

from __future__ import annotations

import gc
import resource

# What a process takes that compiles the rules, or has only begun.
START = 96 << 20

# More than this, or than this share of the host's memory, is a mistake of ours. It is no mistake to
# remember each process: 1 KiB, and up to 16 KiB if rules ask for its command line. A user can have
# a third of the tasks that a kernel allows, which are one for each 128 KiB (fork_init() in
# kernel/fork.c); that comes to 1/23 of the memory, and must not end the service.
_LEAST, _SHARE = 64 << 20, 20


def settle() -> None:
    """Stop looking for reference cycles, once everything is loaded.

    The run-time half makes none, and at each look the collector would walk over every
    process that is known. What is loaded by now stays for good.
    """
    # What was settled before may be out of use by now.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.disable()


def bound(base: int) -> int:
    """Bound what this process may take: beyond it there is a MemoryError (RLIMIT_DATA).

    Nothing else would end a mistake of ours before the host's end, since the service is protected
    from the OOM killer.

    Args:
        base: bytes that are in order; so much more as is in order on this host may follow.

    Returns:
        the limit, in bytes.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = base + max(_LEAST, memory_total() // _SHARE)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    _limit(limit, hard)
    return limit


def unbound() -> None:
    """Take the bound back as far as that is allowed: to end in order takes memory, too."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    _limit(hard, hard)


def _limit(soft: int, hard: int) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    except (OSError, ValueError):
        pass  # the bound of whoever started this is in force


def data_size() -> int:
    """Give the bytes that count for the bound (VmData in proc(5)); 0 if nobody knows."""
    return _kib("/proc/self/status", "VmData:")


def memory_total() -> int:
    """Give the memory of the host in bytes; 0 if nobody knows."""
    return _kib("/proc/meminfo", "MemTotal:")


def _kib(path: str, key: str) -> int:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(key))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0
