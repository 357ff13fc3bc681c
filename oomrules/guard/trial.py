"""The self-test: every step of a kill, on children of our own, with the rights of the service.

A call that the sandbox forbids is otherwise found at the first real kill.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys

from oomrules.capabilities import CAPABILITIES
from oomrules.errors import reason
from oomrules.files import read_small
from oomrules.guard.reaping import REAP_KILL, Reaper
from oomrules.lean import NamedTuple
from oomrules.processes.cgroups import Hierarchy, as_bytes
from oomrules.processes.proc_stat import family

# A child that has not ended by then does not end by our signals.
_PATIENCE_MS = 5000
_CODE = "import signal\nwhile True: signal.pause()"
_CAPABILITY = 1 << CAPABILITIES["KILL"]
# What the kernel lacks for a while: tasks, memory, descriptors.
_SHORT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class Found(NamedTuple):
    """What the self-test has found.

    Attributes:
        problem: the step that failed and what would allow it; empty if none did.
        reaps: whether the kernel kills and gives back memory in one call.
        remark: what goes less well than it could, and what would mend it; or empty.
        passes: whether the problem may be over by itself: something was short.
    """

    problem: str
    reaps: bool = False
    remark: str = ""
    passes: bool = False


class _Failed(Exception):
    """A step failed; the text says which, and what would allow it.

    Args:
        passes: whether the reason may be over by itself.
    """

    def __init__(self, text: str, passes: bool = False) -> None:
        super().__init__(text)
        self.passes = passes


def is_short(error: OSError) -> bool:
    """Return whether a call failed because something was used up, which may be over by itself."""
    return error.errno in _SHORT


def run(proc: str, reaper: Reaper, hierarchy: Hierarchy) -> Found:
    """Try all steps; see ``Killer.self_test``."""
    try:
        _look_at_rights(proc)
        with _Child(proc) as child:
            child.send(signal.SIGTERM)
            child.end()
        with _Child(proc) as child:
            reaps = reaper.release(child.pidfd, REAP_KILL) == 0
            child.send(signal.SIGKILL)
            # If this is refused, memory comes back a little later: no reason to kill nobody.
            reaper.release(child.pidfd)
            child.end()
    except _Failed as error:
        return Found(str(error), passes=error.passes)
    return Found("", reaps, _of_groups(proc, hierarchy))


def _of_groups(proc: str, hierarchy: Hierarchy) -> str:
    """Return why units cannot be killed at once; nobody is killed by opening the file."""
    try:
        path = hierarchy.path_of(read_small(f"{proc}/self/cgroup")) or ""
    except OSError:
        return ""
    directory = hierarchy.unified.directory(path) if hierarchy.unified else None
    # The root has no such file, nor has a kernel before Linux 5.14.
    if directory is None or not os.path.exists(as_bytes(f"{directory}/cgroup.kill")):
        return ""
    try:
        os.close(os.open(as_bytes(f"{directory}/cgroup.kill"), os.O_WRONLY | os.O_CLOEXEC))
    except OSError as error:
        return (
            "units are killed one process at a time, not at once: cgroup.kill cannot be written: "
            f"{reason(error)}; its unit needs ProtectControlGroups=no"
        )
    return ""


def _look_at_rights(proc: str) -> None:
    """Look whether processes of other users may be signalled."""
    try:
        lines = read_small(f"{proc}/self/status").split(b"\n")
        rights = next(int(line.split()[1], 16) for line in lines if line.startswith(b"CapEff:"))
    except (OSError, ValueError, IndexError, StopIteration):
        raise _Failed(f"its own rights cannot be read in {proc}/self/status") from None
    if not rights & _CAPABILITY:
        raise _Failed(
            "it may not signal processes of other users: it needs CAP_KILL, which "
            "CapabilityBoundingSet= of its unit has to name"
        )


class _Child:
    """A process that waits for signals, with its descriptor."""

    def __init__(self, proc: str) -> None:
        self.pid = self._start()
        try:
            self.pidfd = self._open(proc)
        except BaseException:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ChildProcessError, ProcessLookupError):
            pass
        os.close(self.pidfd)

    def _start(self) -> int:
        try:
            return os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _CODE],
                {},
                setsigmask=(),
                setsigdef=signal.valid_signals(),
            )
        except OSError as error:
            raise _Failed(
                f"no child to try it on can be started: {reason(error)}", is_short(error)
            ) from None

    def _open(self, proc: str) -> int:
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            raise _step("pidfd_open", error, "Linux 5.3") from None
        try:
            family(read_small(f"{proc}/{self.pid}/stat"))
        except (OSError, ValueError, IndexError) as error:
            os.close(pidfd)
            short = isinstance(error, OSError) and is_short(error)
            why = reason(error) if isinstance(error, OSError) else "it has an odd form"
            if short:
                raise _Failed(f"stat of a child cannot be read in {proc}: {why}", True) from None
            raise _Failed(
                f"stat of a child cannot be read in {proc}: {why}; ProtectProc= of its unit must "
                "not hide processes"
            ) from None
        return pidfd

    def send(self, number: signal.Signals) -> None:
        """Send a signal through the descriptor; a process that is gone is no error."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass
        except OSError as error:
            raise _step("pidfd_send_signal", error, "Linux 5.1") from None

    def end(self) -> None:
        """Wait until the descriptor tells that the child is gone."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(_PATIENCE_MS):
            raise _Failed(
                f"a child that was signalled has not ended within {_PATIENCE_MS // 1000} s", True
            )
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass


def _step(call: str, error: OSError, since: str) -> _Failed:
    if error.errno == errno.ENOSYS:
        return _Failed(f"the kernel has no {call}, which came with {since}")
    if is_short(error):
        return _Failed(f"{call} fails: {reason(error)}", True)
    return _Failed(
        f"{call} fails: {reason(error)}; SystemCallFilter= of its unit has to allow {call}"
    )
