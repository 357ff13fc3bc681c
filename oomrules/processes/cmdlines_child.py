"""The keeper: the child that reads command lines where the reading can be given up.

It runs as a file of its own, isolated and without site-packages (-I -S), and imports nothing of
the package. It keeps a reader, a child of its own, and ends it and makes another one when it is
told to. So whoever wants to know forks no process himself: each page of his memory would be copied
when he next writes to it, while memory is short.

It has three pipes. A byte in the first one means "another reader". In the second one are the
answers. The third one has the requests, a line each: a generation, a space, a path. Readers are
counted in generations: what one that was given up has left in a pipe is told by that, and left.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from struct import Struct

# A generation; the number of an error, 0 or one of the two below; how many bytes follow.
HEADER = Struct("=Iii")
# The reader is there: its pid stands where the length does. More of the same answer follows.
READY, MORE = -1, -2

# What is written at once, so that half an answer never stays behind: PIPE_BUF, which Linux has.
_AT_ONCE = 4096 - HEADER.size
# Readers that were killed and are not gone yet; with more of them no new one is made.
_MOST_DYING = 2
# Seconds until a reader is made once more where none could be.
_AGAIN = 1.0
_SIGKILL = 9


def main(most: int, control: int, answers: int, requests: int) -> None:
    """Keep a reader until nobody wants one any more.

    Args:
        most: how many bytes of each file are read.
        control, answers, requests: its ends of the pipes.
    """
    _close_others(control, answers, requests)
    dying: list[int] = []
    generation = 0
    while True:
        reader = _fork()
        if not reader:
            os.close(control)
            _serve(_Reader(generation, most, answers), requests)
            return
        wanted = os.read(control, 1)
        os.kill(reader, _SIGKILL)
        if not wanted:
            return
        dying.append(reader)
        _reap(dying)
        generation += 1


def _close_others(*kept: int) -> None:
    """Close what was inherited: a pipe of the parent's must not live on in a reader."""
    first = 0
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _reap(dying: list[int]) -> None:
    """Collect those that are gone, and wait while too many are not."""
    for pid in list(dying):
        if os.waitpid(pid, os.WNOHANG)[0]:
            dying.remove(pid)
    while len(dying) > _MOST_DYING:
        dying.remove(os.waitpid(-1, 0)[0])


def _fork() -> int:
    while True:
        try:
            return os.fork()
        except OSError:
            # RLIMIT_NPROC or TasksMax= is reached, or there is no memory.
            time.sleep(_AGAIN)


def _serve(reader: _Reader, requests: int) -> None:
    reader.say(READY, os.getpid())
    rest = b""
    while data := os.read(requests, 1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            generation, _, path = line.partition(b" ")
            if generation == b"%d" % reader.generation:
                reader.answer(path)


class _Reader:
    """Reads files, and answers."""

    def __init__(self, generation: int, most: int, answers: int) -> None:
        self.generation, self._most, self._answers = generation, most, answers

    def answer(self, path: bytes) -> None:
        number, content = _read(path, self._most)
        while len(content) > _AT_ONCE:
            piece, content = content[:_AT_ONCE], content[_AT_ONCE:]
            self.say(MORE, len(piece), piece)
        self.say(number, len(content), content)

    def say(self, number: int, length: int, content: bytes = b"") -> None:
        os.write(self._answers, HEADER.pack(self.generation, number, length) + content)


def _read(path: bytes, most: int) -> tuple[int, bytes]:
    """Return the number of an error, and what stands in a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return 0, os.read(descriptor, most)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or errno.EIO, b""


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
