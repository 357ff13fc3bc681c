"""Standard input, output and error as a command needs them: open, and never in its way.

What a command does must not depend on whether its output can be written: a full disk that refuses
a note must not keep the list from being put into force. A write that fails therefore raises
nothing. The failure is remembered, later output is dropped, and `main` asks at the end whether
something is missing. Nothing is left in buffers for the interpreter, which would write them when
it ends, complain in its own words and return 120.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, cast


class Output(io.FileIO):
    """A standard stream under its buffer.

    Output that goes on after a hole is worse than output that ends: programs read a list of pids.
    Notes are lines that stand by themselves, and a service writes them for months.

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
        """The error that lost output which was still wanted: not that of a reader who has left."""
        return None if isinstance(self.lost, BrokenPipeError | InterruptedError) else self.lost

    def write(self, data: Any, /) -> int:
        """Write, or drop the data where that fails."""
        if self.lost is None or self._resumes:
            try:
                written = cast("int | None", super().write(data))
                if written is None:  # the descriptor is one that does not wait
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                self.lost = None
                return written
            except OSError as error:
                self.lost = error
            except KeyboardInterrupt:
                # A user who interrupts a write does not wait for the rest either.
                self.lost = InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
                raise
        return len(data)


def take() -> tuple[Output | None, Output | None]:
    """Make the standard streams fit for use.

    Streams that the caller has closed are opened, else the first files that are opened take their
    place. A closed standard error means that notes are not wanted. A closed standard output is
    opened for reading, so that the user still learns that the output went nowhere.
    Names of processes are bytes of any kind, so a character that a stream cannot show is escaped.

    Returns:
        what lies under standard output and standard error; None for a stream that is not Python's
        own, such as a test's.

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
        # A person sees each line at once.
        line_buffering=descriptor == 2 or raw.isatty(),
    )
    setattr(sys, name, fresh)
    return raw
