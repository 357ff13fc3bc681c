"""Asks users' managers about their units, each from a process of its own.

What listens at a user's bus is the user's to choose. It may answer slowly, with anything, or with
more than there is memory for, and the library that reads it ends the process where memory is
short. So each user has a process that has little memory and little time, and that is the user
while it connects. ``oomrules.dbus.users`` starts this one, which starts those; it says a line of
JSON for each user as soon as it is known.
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

from oomrules.dbus import bounds
from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.systemd import LISTED, Manager

# An answer to one question, and all that one user's manager says, in bytes.
_LARGEST = 1 << 20
MOST_SAID = 256 << 10

# Two at a time: the service's unit allows few processes.
_AT_ONCE = 2

# Beside what the libraries take: memory of its own, and processor time in seconds.
_MEMORY = 64 << 20
_PROCESSOR = 5


class _Asked:
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
        """Read what it says; False at the end."""
        piece = os.read(self.descriptor, 65536)
        self.said += piece
        return bool(piece) and len(self.said) <= MOST_SAID

    def end(self) -> bool:
        """Collect it; True if it came to its end by itself."""
        os.close(self.descriptor)
        if len(self.said) > MOST_SAID or time.monotonic() >= self.deadline:
            os.kill(self.pid, signal.SIGKILL)
        return os.waitpid(self.pid, 0)[1] == 0


def main() -> None:
    """Ask for everything that standard input wants, and say it on standard output."""
    request = json.load(sys.stdin)
    # Before anybody's time begins: the processes that ask are copies of this one.
    Connection.load()
    until = time.monotonic() + request["total"]
    waiting = deque(request["users"])
    running: dict[int, _Asked] = {}
    poll = select.poll()
    while running or waiting:
        while waiting and len(running) < _AT_ONCE and time.monotonic() < until:
            user, units = waiting.popleft()
            one = _Asked(user, units, request)
            running[one.descriptor] = one
            poll.register(one.descriptor)
        if not running:
            break
        first = min(one.deadline for one in running.values())
        ready = {found for found, _ in poll.poll(max(0, first - time.monotonic()) * 1000 + 1)}
        for descriptor, one in list(running.items()):
            late = time.monotonic() >= one.deadline
            if (descriptor in ready and not one.read()) or late:
                poll.unregister(descriptor)
                del running[descriptor]
                _say(one.user, one.said if one.end() else b"")


def _say(user: str, said: bytes | bytearray) -> None:
    # As a text, which it is whatever it is: who asked reads it with care.
    print(json.dumps([user, said.decode("utf-8", "replace")]), flush=True)


def _be_the_child(
    user: int, units: list[str], request: dict[str, Any], write: int, deadline: float
) -> None:
    """Ask one manager, say it, and end."""
    status = 1
    try:
        # The kernel keeps to it, whatever a library is waiting for.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, request["each"])
        said = json.dumps(_ask(user, units, request, deadline)).encode()
        while said:
            said = said[os.write(write, said) :]
        status = 0
    finally:
        os._exit(status)


def _ask(user: int, units: list[str], request: dict[str, Any], deadline: float) -> Any:
    """Give the units' properties, or why they are not known, as a text."""
    try:
        _limit()
        if os.geteuid() != user:
            # A user's bus takes nobody else, not even root. The real id stays, so that the user
            # can neither stop nor debug this.
            os.seteuid(user)
        bus = _bus(user, request["directory"])
        connection = Connection(
            f"unix:path=/proc/self/fd/{bus}", request["each"], deadline, _LARGEST
        )
        manager = Manager(connection)
        manager.wait(deadline)
        return _properties(manager, units, request["properties"])
    except OSError as error:
        return os.strerror(error.errno).lower() if error.errno else "there is no socket of the user"
    except BusError as error:
        # Its own words are left out: they are the user's.
        return "it did not answer in time" if error.late else "it answered with an error"
    except Exception:
        return "it answered with something else"


def _properties(manager: Manager, units: list[str], names: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    said = 0
    for unit in units:
        found[unit] = manager.properties(unit, names)
        said += bounds.size(unit) + bounds.size(found[unit]) + 8
        if said > MOST_SAID:
            raise BusError("it says too much")
    # Afterwards, since a unit may have vanished before its properties were read.
    known = manager.known(units)
    for unit in found.keys() & known.keys():
        found[unit] |= {name: known[unit][name] for name in LISTED if name in names}
        said += bounds.size(known[unit])
    if said > MOST_SAID:
        raise BusError("it says too much")
    return {unit: values for unit, values in found.items() if unit in known}


def _bus(user: int, directory: str) -> int:
    """Open a user's bus, so that it is the socket that was looked at.

    Raises:
        OSError: there is none, or somebody else made it.
    """
    path = os.path.join(directory, str(user), "bus")
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != user:
        raise OSError("no socket of the user")
    return descriptor


def _limit() -> None:
    """Have little, so that whoever wants much of it ends it and nothing else."""
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
