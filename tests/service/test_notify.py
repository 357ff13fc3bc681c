"""What systemd is told, over a socket of the test's own."""

from __future__ import annotations

import os
import socket
import time
import uuid
from pathlib import Path

import pytest

from oomrules.service.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_each_word_is_one_datagram(tmp_path: Path, abstract: bool) -> None:
    name = f"@oomrules-test-{uuid.uuid4()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(60)
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready()
        notifier.alive()
        notifier.stopping()
        assert [systemd.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notifier.reloading()
        first, second = systemd.recv(100).decode().split("\n")
        assert first == "RELOADING=1"
        micros = int(second.removeprefix("MONOTONIC_USEC="))
        assert before <= micros <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notifier.close()


def test_a_status_is_one_line_and_sent_when_it_changes(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        notifier.status("one\nREADY=1")
        notifier.status("one\nREADY=1")
        notifier.status("x" * 5000)
        assert systemd.recv(100) == b"STATUS=one READY=1"
        assert len(systemd.recv(10000)) < 2048
        with pytest.raises(BlockingIOError):
            systemd.recv(100)
        notifier.close()


def test_a_systemd_that_is_executed_anew_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    notifier.ready()  # nobody there: not an error
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(path))
            systemd.settimeout(60)
            notifier.alive()
            assert systemd.recv(100) == b"WATCHDOG=1"
        path.unlink()
    notifier.close()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_ours_or_nobodys(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert Notifier(environment).watchdog == seconds


def test_what_systemd_waits_for_is_told_when_it_has_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(1000):
            notifier.alive()  # until the kernel queues no more
        notifier.reloading()
        notifier.ready()
        assert notifier.waiting
        heard: list[bytes] = []
        while notifier.waiting:
            heard.append(systemd.recv(100))
            notifier.flush()
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                heard.append(systemd.recv(100))
        assert set(heard[:-2]) == {b"WATCHDOG=1"}
        assert heard[-2].startswith(b"RELOADING=1") and heard[-1] == b"READY=1"
        notifier.close()
