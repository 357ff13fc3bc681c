"""A child that is told everything at once and answers in lines, within a time and a size."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress


class Child:
    """A child process that answers one request.

    Args:
        command: the program and its arguments.
        request: what it reads from its standard input.
        group: whether it gets a process group of its own, which ends with it: it has children.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: list[str], request: bytes, group: bool = False) -> None:
        self._group = group
        with tempfile.TemporaryFile() as file:
            file.write(request)
            file.seek(0)
            # What libraries write to standard error may be the words of a user.
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0 if group else None,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def lines(self, deadline: float, most: int) -> Iterator[bytes]:
        """Return whole lines as they come, then end the child.

        Args:
            deadline: no longer than this, by ``time.monotonic``.
            most: no more is read once so many bytes have come.
        """
        stream = self._process.stdout
        assert stream
        poll, rest, size = select.poll(), b"", 0
        poll.register(stream)
        try:
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
        finally:
            self.end()

    def end(self) -> None:
        """Kill the child, and its process group if that is its own."""
        if self._process.returncode is not None:
            return  # it was ended before, and its id may be another process's
        assert self._process.stdout
        self._process.stdout.close()
        if self._group:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            # It waits in the kernel, for a file server; it is collected when this process ends.
            pass
