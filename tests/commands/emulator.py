"""Commands and tables on a terminal that is emulated: a test sees what a person would."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

import pyte
import pytest

from oomrules import terminal
from oomrules.terminal import Column, Paint
from tests.children import CHECKOUT

# How long a loaded machine may take for what a test waits for.
_PATIENCE = 120.0


class Seen(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


def shown(columns: tuple[Column, ...], rows: list[list[str]], wide: int) -> list[str]:
    """Lay out a table for a terminal of that width."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COLUMNS", str(wide))
        patched.setenv("NO_COLOR", "1")
        return terminal.table(columns, rows, Paint(Seen())).split("\n")


class Emulator:
    """A command on a terminal of its own, and what is to be seen on it."""

    def __init__(self, *argv: object, columns: int = 80, lines: int = 24, **env: str) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        self._set_size(slave, columns, lines)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oomrules", *(os.fsencode(str(word)) for word in argv)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "PYTHONPATH": CHECKOUT, "TERM": "xterm-256color", **env},
            start_new_session=True,
        )
        os.close(slave)
        self.said = b""

    def __enter__(self) -> Emulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    @staticmethod
    def _set_size(descriptor: int, columns: int, lines: int) -> None:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the terminal, which tells the command."""
        self.screen.resize(lines, columns)
        self._set_size(self._master, columns, lines)
        # It is not told by the kernel, since this is not its controlling terminal.
        self.process.send_signal(signal.SIGWINCH)

    def type(self, keys: bytes) -> None:
        """Type."""
        os.write(self._master, keys)

    @property
    def display(self) -> list[str]:
        """What is on the screen, line by line."""
        return [line.rstrip() for line in self.screen.display]

    def read(self, seconds: float) -> bool:
        """Take what the command writes; False once it has ended."""
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # The last writer is gone.
            return False
        self.said += piece
        # pyte takes the answer to a question about modes for text.
        self._stream.feed(piece)
        return bool(piece)

    def until(self, holds: Callable[[list[str]], Any]) -> list[str]:
        """Wait until something is to be seen."""
        end = time.monotonic() + _PATIENCE
        while not holds(self.display):
            assert self.read(0.1) or holds(self.display), self.display
            assert time.monotonic() < end, self.display
        return self.display

    def to_the_end(self) -> int:
        """Wait until the command has ended; give its exit code."""
        end = time.monotonic() + _PATIENCE
        while self.read(0.1):
            assert time.monotonic() < end, self.display
        return self.process.wait(_PATIENCE)
