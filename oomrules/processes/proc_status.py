"""/proc/PID/status, taken apart (proc_pid_status(5))."""

from __future__ import annotations

import os
from collections.abc import Callable

from oomrules.fields import Field, Unit
from oomrules.lean import Any

# A longer status has a long line of groups, of which a process may be in 65,536: it takes the
# kernel as long as a thousand others.
_PIECE = 8192
_LONGEST_LINE = 256

Take = Callable[[bytes], Any]


def taking(field: Field, page_size: int) -> Take:
    """Return a function that takes a field out of a status file; None where it has no such line.

    Args:
        page_size: of this host, in bytes.
    """
    key, word = f"\n{field.key}:".encode(), field.word
    unit = page_size if field.unit is Unit.PAGES else 1

    def size(data: bytes) -> int | None:
        # As in "123 kB".
        text = line_of(data, key)
        return int(text[:-3]) * 1024 // unit if text else None

    def bits(data: bytes) -> int | None:
        text = line_of(data, key)
        return int(text, 16) if text else None

    def levels(data: bytes) -> int:
        # Its pid in each namespace from this proc's on. A kernel without them has no line.
        return max(0, len(line_of(data, key).split()) - 1)

    def number(data: bytes) -> int | None:
        words = line_of(data, key).split(None, word + 1)
        return int(words[word]) if len(words) > word else None

    if field.unit.is_memory:
        return size
    if field.unit is Unit.BITS:
        return bits
    return levels if field.key == "NSpid" else number


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
