"""/proc/PID/status, taken apart (proc_pid_status(5))."""

from __future__ import annotations

import os

# A longer status has a long line of groups, of which a process may be in 65,536: it takes the
# kernel as long as a thousand others.
_PIECE = 8192
_LONGEST_LINE = 256


def read_status(path: str) -> tuple[bytes, bool]:
    """Read a status file; lines that are longer than any that is used are left out.

    Returns:
        what was read, and whether that is all.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        piece = os.read(descriptor, _PIECE)
        # A short read is the end.
        if len(piece) < _PIECE:
            return piece, True
        kept: list[bytes] = []
        line = b""
        while piece:
            *lines, line = (line + piece).split(b"\n")
            kept += (one for one in lines if len(one) < _LONGEST_LINE)
            line = line[:_LONGEST_LINE]
            piece = os.read(descriptor, 1 << 16)
        return b"\n".join((*kept, b"")), False
    finally:
        os.close(descriptor)


def line_of(data: bytes, key: bytes) -> bytes:
    """Find a line of status by its key, with the newline before and the colon behind it."""
    start = data.find(key)
    return data[start + len(key) : data.find(b"\n", start + 1)].strip() if start >= 0 else b""
