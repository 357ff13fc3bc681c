"""A service of the test's own: in the foreground, with a state directory, a systemd and a
journal that are the test's.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.service import client
from tests.children import CHECKOUT

RULES = 'score total_vm\nnever kill comm "init"\n'


def wait(until: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until something holds; a busy machine takes its time."""
    end = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.02)
    return found


class Service:
    """A running ``oomrules run``."""

    def __init__(self, folder: Path, *options: str, rules: str = RULES) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.rules = folder / "rules.d"
        self.rules.mkdir(exist_ok=True)
        self.file = self.rules / "10-mine.oom"
        if rules:
            self.file.write_text(rules)
        self.options = options
        self.systemd = self._socket("notify")
        self.journal = self._socket("journal")
        self.told: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def _socket(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(str(self.folder / name))
        listener.setblocking(False)
        return listener

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        self.told.clear()
        environment = {
            **os.environ,
            "OOMRULES_STATE": str(self.state),
            "OOMRULES_JOURNAL": str(self.folder / "journal"),
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": "3000000",
        }
        argv = [sys.executable, "-m", "oomrules", "run", f"--rules={self.rules}", *self.options]
        # Never to this machine's kernel.
        argv.append(f"--to={self.state}/list")
        self.process = subprocess.Popen(argv, env=environment, cwd=CHECKOUT)
        self.wait_for("READY=1")

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def notifications(self) -> list[str]:
        """What systemd has been told so far."""
        while True:
            try:
                self.told.append(self.systemd.recv(4096).decode())
            except BlockingIOError:
                return self.told

    def wait_for(self, word: str, times: int = 1) -> None:
        """Wait until systemd has been told something so often."""

        def told() -> bool:
            assert self.process and self.process.poll() is None, "the service has ended"
            return sum(word in message for message in self.notifications()) >= times

        wait(told)

    def reload(self) -> None:
        """Let it read the rules anew, and wait until it has."""
        self.notifications()
        self.told.clear()
        self.send(signal.SIGHUP)
        self.wait_for("RELOADING=1")
        begun = next(n for n, told in enumerate(self.told) if told.startswith("RELOADING=1"))
        wait(lambda: "READY=1" in self.notifications()[begun:])

    def entries(self) -> list[str]:
        """What has come to the journal since the last call."""
        found = []
        while True:
            try:
                found.append(self.journal.recv(1 << 20).decode("utf-8", "replace"))
            except BlockingIOError:
                return found

    def ask(self, word: str = "status") -> dict[str, Any]:
        """Ask it, as ``oomrules status`` does."""
        before = os.environ.get("OOMRULES_STATE")
        os.environ["OOMRULES_STATE"] = str(self.state)
        try:
            answer = client.ask(word, 60)
        finally:
            if before is None:
                del os.environ["OOMRULES_STATE"]
            else:
                os.environ["OOMRULES_STATE"] = before
        assert answer is not None
        return answer

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; gives its exit code."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(timeout=120)

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.systemd.close()
        self.journal.close()

    def listed(self) -> list[int]:
        """The pids in the file that stands for the kernel's list."""
        return [int(pid) for pid in (self.state / "list").read_text().split()]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start a service that is gone when the test is."""
    services: list[Service] = []

    def start(*options: str, rules: str = RULES) -> Service:
        services.append(Service(tmp_path, *options, rules=rules))
        return services[-1]

    yield start
    for service in services:
        service.close()
