"""The agent in the guest: does what the tests ask over a virtio-serial port.

It must outlive what it starts, also when the guest is out of memory: its own oom_score_adj is
-1000 (the unit sets it) and its memory is locked. What it starts has neither.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tests.vm.wire import CHUNK, Header, Wire

# Without udev's rules the port has no name of its own, and it is the only one.
PORT = "/dev/vport*p1"
MCL_CURRENT, MCL_FUTURE = 1, 2
# How long a command has between SIGTERM and SIGKILL, in seconds.
MERCY = 2.0
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
}


def open_port() -> Wire:
    """Wait for the port to be there and open it."""
    while not (found := list(Path("/").glob(PORT.lstrip("/")))):
        time.sleep(0.05)
    descriptor = os.open(found[0], os.O_RDWR | os.O_CLOEXEC)

    def read() -> bytes:
        while not (data := os.read(descriptor, CHUNK)):
            time.sleep(0.05)  # nobody at the other end, which reads as the end of file
        return data

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    return Wire(read, write)


@dataclass
class Started:
    """A command that was started, and where its output goes.

    Files and not pipes: however much it writes, it never waits for anyone, and a child that it
    leaves behind does not keep the answer from being sent.
    """

    process: subprocess.Popen[bytes]
    stdout: BinaryIO
    stderr: BinaryIO
    begun: float


def _own_oom_score_adj() -> None:
    """In the child, before exec: the agent's own -1000 is not for what it starts."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("0")


def start(request: Header, stdin: BinaryIO) -> Started:
    """Start what the request names, in a session of its own."""
    # Not in /tmp: tests may put a tmpfs there, and that would be the guest's memory.
    # Not in a `with`: they are closed when the answer with their content was sent.
    stdout = tempfile.TemporaryFile(dir="/var/tmp")  # noqa: SIM115
    stderr = tempfile.TemporaryFile(dir="/var/tmp")  # noqa: SIM115
    begun = time.time()
    process = subprocess.Popen(
        request["argv"],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=request.get("cwd") or "/root",
        env=ENVIRONMENT | request.get("env", {}),
        start_new_session=True,
        preexec_fn=_own_oom_score_adj,
    )
    return Started(process, stdout, stderr, begun)


def wait(started: Started, timeout: float) -> bool:
    """Wait for the command, at most so many seconds; whether it ended."""
    if started.process.poll() is not None:
        return True
    descriptor = os.pidfd_open(started.process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(timeout * 1000)
    finally:
        os.close(descriptor)
    return started.process.poll() is not None


def end(started: Started) -> None:
    """Make the command and its process group end."""
    for number, patience in ((signal.SIGTERM, MERCY), (signal.SIGKILL, 30)):
        try:
            os.killpg(started.process.pid, number)
        except ProcessLookupError:
            pass
        if wait(started, patience):
            return


class Agent:
    """The operations, each a method named after it that answers with a header and bodies."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._started: dict[int, Started] = {}

    def serve(self) -> None:
        """Answer one request after the other, for ever."""
        self._wire.send({"id": 0})
        while True:
            request = self._wire.receive()
            # Taken off the wire before anything can fail, or the next request would be lost.
            with tempfile.TemporaryFile(dir="/var/tmp") as body:
                for piece in self._wire.body(sum(request["sizes"])):
                    body.write(piece)
                body.seek(0)
                operation: Callable[[Header, BinaryIO], tuple[Any, ...]]
                operation = getattr(self, f"do_{request['do']}")
                try:
                    header, *bodies = operation(request, body)
                except Exception as error:
                    header, bodies = {"error": f"{type(error).__name__}: {error}"}, []
                self._wire.send({"id": request["id"], **header}, *bodies)

    def do_hello(self, request: Header, _body: BinaryIO) -> tuple[Header]:
        """Set the clock: after a restored snapshot it is the time of the snapshot."""
        time.clock_settime(time.CLOCK_REALTIME, request["time"])
        return ({},)

    def do_start(self, request: Header, body: BinaryIO) -> tuple[Header]:
        """Start a command and go on."""
        started = start(request, body)
        self._started[started.process.pid] = started
        return ({"pid": started.process.pid},)

    def do_wait(self, request: Header, _body: BinaryIO) -> tuple[Header, BinaryIO, BinaryIO]:
        """Wait for a command that was started; its status and output. At the timeout it ends."""
        started = self._started.pop(request["pid"])
        in_time = wait(started, request["timeout"])
        if not in_time:
            end(started)
        header = {
            "status": started.process.returncode,
            "in_time": in_time,
            "begun": started.begun,
            "ended": time.time(),
        }
        return header, started.stdout, started.stderr

    def do_put(self, request: Header, body: BinaryIO) -> tuple[Header]:
        """Write a file, and the directories it needs."""
        path = Path(request["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            while piece := body.read(CHUNK):
                file.write(piece)
        path.chmod(request["mode"])
        return ({},)

    def do_get(self, request: Header, _body: BinaryIO) -> tuple[Header, bytes]:
        """Read a file. Whole: those of /proc and /sys have no size to be known before."""
        return {}, Path(request["path"]).read_bytes()


def main() -> None:
    """Serve the port."""
    if ctypes.CDLL(None).mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        print("<4>the agent's memory is not locked")
    # Every line of the kernel on the console from here on; the boot itself is quiet.
    Path("/proc/sys/kernel/printk").write_text("7")
    Agent(open_port()).serve()


if __name__ == "__main__":
    main()
