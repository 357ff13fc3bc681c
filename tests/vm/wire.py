"""The messages between the tests and the agent in the guest; both ends use this module.

A message is one line of JSON and then raw bytes, as many as its "sizes" add up to: output is not
text, and a megabyte of it should not be quoted by an emulated processor.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

CHUNK = 1 << 16

Header = dict[str, Any]


class Wire:
    """One end.

    Args:
        read: gives the next bytes, at least one.
        write: takes all the bytes it is given.
    """

    def __init__(self, read: Callable[[], bytes], write: Callable[[bytes], None]) -> None:
        self._read = read
        self._write = write
        self._buffer = b""

    def send(self, header: Header, *bodies: bytes | BinaryIO) -> None:
        """Send a message; bodies are bytes, or files that are sent from their beginning."""
        sizes = [
            len(body) if isinstance(body, bytes) else os.fstat(body.fileno()).st_size
            for body in bodies
        ]
        self._write(json.dumps({**header, "sizes": sizes}).encode() + b"\n")
        for body, size in zip(bodies, sizes, strict=True):
            if isinstance(body, bytes):
                self._write(body)
                continue
            body.seek(0)
            # The file may grow while it is sent: a process left behind still writes to it.
            while size:
                chunk = body.read(min(size, CHUNK))
                self._write(chunk)
                size -= len(chunk)

    def receive(self) -> Header:
        """The next message's header; the bodies it announces are to be taken with `body`."""
        while b"\n" not in self._buffer:
            self._buffer += self._read()
        line, _, self._buffer = self._buffer.partition(b"\n")
        header: Header = json.loads(line)
        return header

    def body(self, size: int) -> Iterator[bytes]:
        """The next body, in pieces."""
        while size:
            piece = self._buffer or self._read()
            self._buffer = piece[size:]
            piece = piece[:size]
            size -= len(piece)
            yield piece
