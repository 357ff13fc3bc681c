"""The child that asks users' managers about their units, each in a process of its own.

A user chooses what listens on the user's bus. It may answer slowly, with anything, or with more
than there is memory for, and the library that reads the answer aborts where memory is short. So
each user is asked by a process that has little memory and little time, and that takes the user's
id to connect. ``oomrules.dbus.users`` starts this child, which forks those processes. It prints a
line of JSON for each user as soon as the answer is complete.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import stat
import sys
import time
from collections import deque
from typing import Any

from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.systemd import Manager

# Bytes of one answer, and of all that one user's manager says.
_LARGEST = 1 << 20
MOST_SAID = 256 << 10

# Processes at a time: the service's unit allows few.
_AT_ONCE = 2

# Of each process: bytes of memory beside what the libraries take, and seconds of CPU time.
_MEMORY = 64 << 20
_PROCESSOR = 5


class _Questioner:
    """A process that asks one user's manager."""

    def __init__(self, user: str, units: list[str], request: dict[str, Any]) -> None:
        self.user = user
        self.deadline = time.monotonic() + request["each"]
        self.said = bytearray()
        self.descriptor, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _be_the_child(int(user), units, request, write, self.deadline)
        os.close(write)

    def read(self) -> bool:
        """Read what it says; return False at the end."""
        piece = os.read(self.descriptor, 65536)
        self.said += piece
        return bool(piece) and len(self.said) <= MOST_SAID

    def end(self) -> bool:
        """Collect the process; return whether it came to its end by itself."""
        os.close(self.descriptor)
        if len(self.said) > MOST_SAID or time.monotonic() >= self.deadline:
            os.kill(self.pid, signal.SIGKILL)
        return os.waitpid(self.pid, 0)[1] == 0


def main() -> None:
    """Answer the request on standard input, on standard output."""
    request = json.load(sys.stdin)
    # Before any user's time begins: the processes that ask are copies of this one.
    Connection.load()
    until = time.monotonic() + request["total"]
    waiting = deque(request["users"])
    running: dict[int, _Questioner] = {}
    poll = select.poll()
    while running or waiting:
        while waiting and len(running) < _AT_ONCE and time.monotonic() < until:
            user, units = waiting.popleft()
            questioner = _Questioner(user, units, request)
            running[questioner.descriptor] = questioner
            poll.register(questioner.descriptor)
        if not running:
            break
        first = min(questioner.deadline for questioner in running.values())
        events = poll.poll(max(0, first - time.monotonic()) * 1000 + 1)
        ready = {descriptor for descriptor, _ in events}
        for descriptor, questioner in list(running.items()):
            late = time.monotonic() >= questioner.deadline
            if (descriptor in ready and not questioner.read()) or late:
                poll.unregister(descriptor)
                del running[descriptor]
                # As a text, whatever it holds: the parent checks it.
                said = questioner.said.decode("utf-8", "replace") if questioner.end() else ""
                print(json.dumps([questioner.user, said]), flush=True)


def _be_the_child(
    user: int, units: list[str], request: dict[str, Any], write: int, deadline: float
) -> None:
    """Ask one manager, write its answer, and end."""
    status = 1
    try:
        # The kernel ends it in time, whatever a library is waiting for.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, request["each"])
        said = json.dumps(_ask(user, units, request, deadline)).encode()
        while said:
            said = said[os.write(write, said) :]
        status = 0
    finally:
        os._exit(status)


def _ask(user: int, units: list[str], request: dict[str, Any], deadline: float) -> Any:
    """Return the units' properties, or as a text why they are not known."""
    try:
        limit()
        if os.geteuid() != user:
            # A user's bus accepts only the user, not even root. The real id stays, so that the
            # user can neither stop nor debug this process.
            os.seteuid(user)
        bus = bus_of(user, request["directory"])
        connection = Connection(
            f"unix:path=/proc/self/fd/{bus}", request["each"], deadline, _LARGEST
        )
        manager = Manager(connection)
        manager.wait(deadline)
        found: dict[str, dict[str, Any]] = {}
        for _, described in manager.described(units, request["properties"], MOST_SAID):
            found |= described
        return found
    except OSError as error:
        return os.strerror(error.errno).lower() if error.errno else "there is no socket of the user"
    except BusError as error:
        # The bus's own words are left out: they are the user's.
        return "it did not answer in time" if error.late else "it answered with an error"
    except Exception:
        return "it answered with something else"


def bus_of(user: int, directory: str) -> int:
    """Return a descriptor of the very socket that is a user's bus; raise OSError if none is."""
    path = os.path.join(directory, str(user), "bus")
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != user:
        raise OSError("no socket of the user")
    return descriptor


def limit() -> None:
    """Limit this process, so that an answer that takes too much ends it and nothing else."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        data = next(int(line.split()[1]) for line in file if line.startswith("VmData"))
    limits = {
        resource.RLIMIT_DATA: (data << 10) + _MEMORY,
        resource.RLIMIT_CPU: _PROCESSOR,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
    }
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (least, least))


if __name__ == "__main__":
    main()
