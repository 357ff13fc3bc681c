"""Buses of users that a test makes up, each served by ``peer.py``."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# No test waits longer for anything; what is asserted is what came of it.
GUARD = 60.0

# A user with no rights, where the test may become one.
UID = 61234 if os.geteuid() == 0 else os.geteuid()

PEER = Path(__file__).with_name("peer.py")

Listen = Callable[..., str]


def wait_for(path: str) -> None:
    end = time.monotonic() + GUARD
    while True:
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(path)
                return
            except OSError:
                assert time.monotonic() < end, "nobody listens"
        time.sleep(0.02)


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Let users have buses; gives the directory with all of theirs."""
    # Not pytest's own directory, which is closed to others.
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    shutil.copy(PEER, folder)
    peers: list[subprocess.Popen[bytes]] = []

    def start(mode: str, uid: int = UID) -> str:
        own = os.path.join(folder, str(uid))
        os.makedirs(own)
        options: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(own, uid, uid)
            options = {"user": uid, "group": uid, "extra_groups": []}
        bus = os.path.join(own, "bus")
        # The distribution's interpreter, which anybody may run.
        argv = ["/usr/bin/python3", "-I", os.path.join(folder, "peer.py"), bus, mode]
        peers.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL, **options))
        wait_for(bus)
        return folder

    yield start
    for process in peers:
        process.kill()
        process.wait()
    shutil.rmtree(folder)
