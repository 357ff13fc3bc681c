"""Memory that stays in memory, whatever the rest of the host is short of."""

from __future__ import annotations

import ctypes
import os

from oomrules.errors import reason

# <sys/mman.h>: what is there and what will come, each page once it has been touched.
_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4


def lock_memory() -> str:
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
