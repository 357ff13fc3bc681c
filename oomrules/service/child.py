"""A short-lived ``oomrules`` command that the service runs, with an output and a deadline."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import suppress

from oomrules.errors import Failure, reason

# A child that was killed may still be in the kernel, waiting for memory of another process.
_LAST_WAIT = 1.0

# -I keeps the environment out; what it may import is handed over. It has a bound of its own, since
# compiling rules takes more memory than applying them.
_CODE = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from oomrules.service import memory; memory.bound(memory.START); "
    "from oomrules.commands.main import main; sys.exit(main(sys.argv[1:]))"
)
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Child:
    """A running command, of which the output is collected when it has ended.

    Args:
        path: what it may import from.
        arguments: the command and its options.
        deadline: when it has to be done, in seconds of the caller's clock.
        request: what it reads from its standard input; None leaves it that of the service.
        group: whether it gets a process group of its own, which ends with it.
        hint: what follows from it if it cannot be started.

    Attributes:
        pid: the process.
        descriptor: readable when it has ended.
        deadline: as given.

    Raises:
        Failure: it cannot be started.
    """

    def __init__(
        self,
        path: list[str],
        arguments: list[str],
        deadline: float,
        request: bytes | None = None,
        group: bool = False,
        hint: str | None = None,
    ) -> None:
        self.deadline, self._group = deadline, group
        self._output = self.descriptor = self.pid = -1
        given = -1
        try:
            # In memory: it needs no room in /run, and nobody at the other end.
            if request is not None:
                given = os.memfd_create("oomrules-request", os.MFD_CLOEXEC)
                os.write(given, request)
                os.lseek(given, 0, os.SEEK_SET)
            self._output = os.memfd_create("oomrules-answer", os.MFD_CLOEXEC)
            inputs = [] if given < 0 else [(os.POSIX_SPAWN_DUP2, given, 0)]
            # By vfork, so that nothing of a locked memory is copied.
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-c", _CODE, json.dumps(path), *arguments],
                {key: value for key, value in os.environ.items() if key not in _OURS},
                file_actions=[*inputs, (os.POSIX_SPAWN_DUP2, self._output, 1)],
                setsigdef=[signal.SIGPIPE],
                setpgroup=0 if group else os.getpgrp(),
            )
            self.descriptor = os.pidfd_open(self.pid)
        except OSError as error:
            if self.pid > 0:
                # Nobody would ever learn of its end.
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self.close()
            raise Failure(f"cannot start {sys.executable}: {reason(error)}", hint) from error
        finally:
            if given >= 0:
                os.close(given)

    def end(self) -> int | None:
        """End the process, with its group if it has one, and collect it.

        Returns:
            its status as ``os.waitpid`` has it; None if it had not ended by itself.
        """
        ended = self._ended(0)
        if self._group:
            # What it has started ends with it. It is not collected yet, so the number is its own.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        if not ended:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)
        if not ended and not self._ended(_LAST_WAIT):
            return None
        _, status = os.waitpid(self.pid, 0)
        return status if ended else None

    @property
    def size(self) -> int:
        """How many bytes it has written."""
        return os.fstat(self._output).st_size

    def read(self, most: int, at: int = 0) -> bytes:
        """Return what it has written, from a place on."""
        return os.pread(self._output, most, at)

    def _ended(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Close the descriptors, and so drop what it wrote."""
        for descriptor in (self._output, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._output = self.descriptor = -1
