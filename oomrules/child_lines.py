"""What a child prints, line by line, within a time and a size."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from typing import IO


def until(stream: IO[bytes], deadline: float, most: int) -> Iterator[bytes]:
    """Read whole lines until the stream ends; what comes behind the last line end is left out.

    Args:
        stream: a pipe; nothing else has read from it.
        deadline: no longer than this, by ``time.monotonic``.
        most: no more is read once so many bytes have come.
    """
    poll, rest, size = select.poll(), b"", 0
    poll.register(stream)
    while size <= most:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return
        piece = os.read(stream.fileno(), 65536)
        if not piece:
            return
        size += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
