"""Standard input, output and error as a command needs them: open, and never in its way.

What a command does must not depend on whether its output can be written: a list that is not put
into force because a note about it met a full disk is a list that nobody has. So a write that
fails raises nothing. It is remembered, what comes after it is dropped, and `main` asks at the
end whether something is missing. Nothing is left over then for the interpreter, which writes
what it finds in buffers when it ends, complains in its own words and returns 120.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, cast


class Output(io.FileIO):
    """A standard stream under its buffer.

    Output that goes on behind a hole is worse than output that ends: a list of pids is read by
    others. Notes are lines that stand by themselves, and a service writes them for months.

    Attributes:
        lost: why what was written last is lost; None while all goes well.
    """

    lost: OSError | None = None

    def __init__(self, descriptor: int, *, resumes: bool) -> None:
        """Take a descriptor that is open; ``resumes`` says whether holes are allowed."""
        super().__init__(descriptor, "wb", closefd=False)
        self._resumes = resumes

    @property
    def failed(self) -> OSError | None:
        """Why something is lost that somebody wanted; who left or gave up has lost nothing."""
        return None if isinstance(self.lost, BrokenPipeError | InterruptedError) else self.lost

    def write(self, data: Any, /) -> int:
        """Write, or drop the data where that fails."""
        if self.lost is None or self._resumes:
            try:
                written = cast("int | None", super().write(data))
                if written is None:  # it was opened for somebody who does not wait
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                self.lost = None
                return written
            except OSError as error:
                self.lost = error
            except KeyboardInterrupt:
                # Who is tired of a reader that does not read waits for the rest no more either.
                self.lost = InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
                raise
        return len(data)


def take() -> tuple[Output | None, Output | None]:
    """Make the standard streams fit for use.

    What the caller has closed is opened, else the first files that are opened take its place.
    Who closed standard error wants no notes; who closed standard output has still to learn that
    what he asked for went nowhere, so that one is opened for reading.
    Names of processes are bytes of any kind, so a character that a stream cannot show is escaped.

    Returns:
        what lies under standard output and standard error; None for one that somebody else, such
        as a test, has put in the place of Python's own.

    Raises:
        OSError: there is no /dev/null to open.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is this one.
            os.open(os.devnull, os.O_WRONLY if descriptor == 2 else os.O_RDONLY)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    return _replace("stdout", 1), _replace("stderr", 2)


def _replace(name: str, descriptor: int) -> Output | None:
    stream = getattr(sys, name)
    if stream is not getattr(sys, f"__{name}__"):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        return None
    raw = Output(descriptor, resumes=descriptor == 2)
    fresh = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",
        # Who looks on sees each line at once.
        line_buffering=descriptor == 2 or raw.isatty(),
    )
    setattr(sys, name, fresh)
    return raw
