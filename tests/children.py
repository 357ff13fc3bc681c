"""Processes of the tests' own: children that do as they are told, and the rights of nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import oomrules

CHECKOUT = str(Path(oomrules.__file__).parent.parent)

# Each line on standard input is run; each answer is one line. The first says "ready".
_OBEY = """
import ctypes, os, signal, sys, time
def comm(name):
    ctypes.CDLL(None).prctl(15, name, 0, 0, 0)
print("ready", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


# The same by another thread: the first one ends, which Python knows nothing of. ``go_on()`` has
# yet another thread wait for orders, and ends the one that has done so; ``more(n)`` starts
# threads that end with ``less()``.
OBEY_LEADERLESS = """
import ctypes, os, sys, threading, time
libc = ctypes.CDLL(None)
idle = []
def comm(name):
    libc.prctl(15, name, 0, 0, 0)
def obey():
    for line in sys.stdin:
        exec(line, globals())
        print("done", flush=True)
def leave():
    # SYS_exit, of this thread alone
    libc.syscall({"x86_64": 60}.get(os.uname().machine, 93), 0)
def go_on():
    threading.Thread(target=lambda: print("done", flush=True) or obey()).start()
    leave()
def more(number):
    for _ in range(number):
        read, write = os.pipe()
        idle.append(write)
        threading.Thread(target=lambda: os.read(read, 1) and leave()).start()
        while len(os.listdir("/proc/self/task")) < len(idle) + 2:
            time.sleep(0.01)
def less():
    for write in idle:
        os.write(write, b"x")
threading.Thread(target=lambda: print("ready", flush=True) or obey()).start()
leave()
"""


class Child:
    """A process that waits for orders."""

    def __init__(
        self,
        arguments: Sequence[str] = (),
        executable: str = sys.executable,
        program: str = _OBEY,
    ) -> None:
        self.process = subprocess.Popen(
            [executable, "-I", "-S", "-c", program, *arguments],
            executable=executable,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self._answer("ready")

    def _answer(self, expected: str) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline().strip() == expected

    def do(self, statement: str) -> None:
        """Run one Python statement in the child and wait until it is done."""
        assert self.process.stdin
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        self._answer("done")

    def become(self, *command: str) -> None:
        """Replace the child's program; the new one says a word when it is there."""
        assert self.process.stdin
        self.process.stdin.write(f"os.execv({command[0]!r}, {list(command)!r})\n")
        self.process.stdin.flush()
        self._answer("ready")

    def wait_for_state(self, letter: str) -> None:
        """Wait until the first thread is in a state, by its letter in stat."""
        for _ in range(1000):
            if self.stat()[0] == letter:
                return
            time.sleep(0.01)
        raise AssertionError(f"process {self.pid} is in state {self.stat()[0]}")

    def stat(self, thread: int = 0) -> list[str]:
        """Read stat, of the process or of one thread, from the state on."""
        task = f"/task/{thread}" if thread else ""
        return Path(f"/proc/{self.pid}{task}/stat").read_text().rpartition(")")[2].split()

    def threads(self) -> list[int]:
        """List the threads that go on, in the kernel's order."""
        listed = map(int, os.listdir(f"/proc/{self.pid}/task"))
        return [thread for thread in listed if self._goes_on(thread)]

    def _goes_on(self, thread: int) -> bool:
        try:
            return self.stat(thread)[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def rest(self) -> int:
        """Wait until the first thread that goes on waits for orders, and give it."""
        for _ in range(1000):
            thread = self.threads()[0]
            before = self._switches(thread)
            time.sleep(0.02)
            if self.stat(thread)[0] == "S" and self._switches(thread) == before:
                return thread
        raise AssertionError(f"process {self.pid} does not come to rest")

    def _switches(self, thread: int) -> list[str]:
        status = Path(f"/proc/{self.pid}/task/{thread}/status").read_text()
        return [line for line in status.splitlines() if "ctxt_switches" in line]

    def stop(self) -> None:
        """Stop the child, so that nothing of it changes."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def die(self) -> None:
        """Kill the child and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def rot(self) -> None:
        """Kill the child and leave it as a zombie."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def end(self) -> None:
        """Clear up."""
        self.die()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                if stream:
                    stream.close()
            except BrokenPipeError:
                pass


@pytest.fixture
def spawn() -> Iterator[Callable[..., Child]]:
    """Start children that are gone when the test is."""
    children: list[Child] = []

    def start(*arguments: str, executable: str = sys.executable, leaderless: bool = False) -> Child:
        children.append(Child(arguments, executable, OBEY_LEADERLESS if leaderless else _OBEY))
        if leaderless:
            children[-1].wait_for_state("Z")
        return children[-1]

    yield start
    for child in children:
        child.end()


@pytest.fixture
def child(spawn: Callable[..., Child]) -> Child:
    """One child."""
    return spawn()


@pytest.fixture(scope="session")
def nobody() -> dict[str, Any]:
    """Options of ``subprocess.run`` for somebody without any rights."""
    if os.geteuid() != 0:
        pytest.skip("only root may become nobody")
    options: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    try:
        subprocess.run(
            [sys.executable, "-c", "import oomrules.commands.main, lark"],
            env={"PYTHONPATH": CHECKOUT, "PYTHONDONTWRITEBYTECODE": "1"},
            check=True,
            stderr=subprocess.DEVNULL,
            **options,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nobody may not read the checkout or the interpreter")
    return options
