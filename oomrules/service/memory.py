"""The memory of the process that stays: bounded, locked, and of one size while it runs."""

from __future__ import annotations

import ctypes
import gc
import os
import resource

from oomrules.errors import reason

# What a process takes that compiles the rules, or has only begun.
START = 96 << 20

# More than this, or than this share of the host's memory, is a mistake of ours. It is no mistake to
# remember each process: 1 KiB, and up to 16 KiB if rules ask for its command line. A user can have
# a third of the tasks that a kernel allows, which are one for each 128 KiB (fork_init() in
# kernel/fork.c); that comes to 1/23 of the memory, and must not end the service.
_LEAST, _SHARE = 64 << 20, 20

# <sys/mman.h>: the pages that are there and those that will come, each once it has been touched.
_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4


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


def lock() -> str:
    """Lock this process's memory (mlockall(2)).

    Call it after a round of everything that is needed later, so that all of that is in memory.

    Returns:
        why it could not be done; empty if it was.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_CURRENT | _FUTURE | _ON_FAULT) == 0:
        return ""
    number = ctypes.get_errno()
    return reason(OSError(number, os.strerror(number)))


def bound(base: int) -> None:
    """Bound what this process may take: beyond it there is a MemoryError (RLIMIT_DATA).

    Nothing else would end a mistake of ours before the host's end, since the service is protected
    from the OOM killer.

    Args:
        base: bytes that are in order; as many more as are in order on this host may follow.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = base + max(_LEAST, total() // _SHARE)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    _limit(limit, hard)


def unbound() -> None:
    """Take the bound back as far as that is allowed: to end in order takes memory, too."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    _limit(hard, hard)


def _limit(soft: int, hard: int) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    except (OSError, ValueError):
        pass  # the bound that this process was started with is in force


def sizes() -> dict[str, int]:
    """Return how much memory this process takes, in bytes, by the names of proc(5).

    A name that the kernel does not tell is missing.
    """
    return _sizes("/proc/self/status")


def total() -> int:
    """Return the memory of the host in bytes; 0 if it is not known."""
    return _sizes("/proc/meminfo").get("MemTotal", 0)


def _sizes(path: str) -> dict[str, int]:
    found = {}
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, size = line.partition(":")
                if size.endswith(" kB\n"):
                    found[name] = int(size.split()[0]) << 10
    except (OSError, ValueError):
        pass
    return found
