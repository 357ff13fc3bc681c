"""Notifications of the service to systemd (sd_notify(3)), without systemd's library."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

# A notification is one datagram. systemd reads none that is longer than this.
_LONGEST = 1024

# Messages that systemd is waiting for are kept until delivered. Beyond this many, the oldest no
# longer matters.
_MOST = 8


class Notifier:
    """A sender of notifications, which does nothing if systemd did not ask for them.

    Attributes:
        watchdog: seconds within which systemd wants to hear from this process; None if it
            does not.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        address = given.get("NOTIFY_SOCKET", "")
        # "@" stands for the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        micros, pid = given.get("WATCHDOG_USEC", ""), given.get("WATCHDOG_PID", "")
        number = micros.isascii() and micros.isdigit() and len(micros) < 20
        wanted = number and int(micros) > 0 and pid in ("", str(os.getpid()))
        self.watchdog = int(micros) / 1e6 if wanted else None
        self._said = ""
        self._owed: list[str] = []

    def ready(self) -> None:
        """Notify that the service works, by the rules in force."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Notify that the rules are being read again; ``ready`` ends that state."""
        micros = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={micros}")

    def stopping(self) -> None:
        """Notify that the service ends."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Notify that the main loop is running."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show a line in ``systemctl status``; the line that is already shown is not sent again."""
        line = " ".join(text.split())[:_LONGEST]
        if line != self._said and self._send(f"STATUS={line}"):
            self._said = line

    def flush(self) -> None:
        """Deliver the messages that systemd has not taken yet, since it was busy."""
        while self._owed:
            try:
                self._hand_over(self._owed[0])
            except BlockingIOError:
                return
            except OSError:
                pass  # systemd does not listen, so it does not wait either
            del self._owed[0]

    @property
    def waiting(self) -> bool:
        """Whether there is something to ``flush``."""
        return bool(self._owed)

    def _tell(self, message: str) -> None:
        """Send a message that systemd waits for, after earlier ones, and later if it is busy."""
        self._owed = [*self._owed[1 - _MOST :], message]
        self.flush()

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> bool:
        """Send a message that need not arrive; return whether it was sent."""
        try:
            self._hand_over(message)
        except OSError:
            return False
        return self._socket is not None

    def _hand_over(self, message: str) -> None:
        if self._socket is not None:
            # The address is given each time, since systemd may have been executed anew meanwhile.
            self._socket.sendto(message.encode("utf-8", "backslashreplace"), self._address)
