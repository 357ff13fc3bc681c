"""Structured entries for the journal (systemd's native protocol, journald's own socket)."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

from oomrules.plain import printable_lines

SOCKET = "/run/systemd/journal/socket"

# systemd.journal-fields(7), the levels of syslog(3).
ERROR, WARNING, INFO = 3, 4, 6

# journald may be short of memory itself; it is waited for no longer than this, in seconds.
_PATIENCE = 5.0

# Sends an entry, as ``send`` does.
Send = Callable[[str, int, "dict[str, str] | None"], bool]


def send(message: str, priority: int = INFO, fields: dict[str, str] | None = None) -> bool:
    """Send an entry.

    Args:
        fields: more fields, by names in capital letters.

    Returns:
        whether the journal took it: False if there is none, or not in time, or it is too large.
    """
    try:
        deliver(entry(message, priority, fields), _PATIENCE)
    except OSError:
        return False
    return True


def entry(message: str, priority: int, fields: dict[str, str] | None = None) -> bytes:
    """Return an entry as journald takes it."""
    # journalctl shows a message with a control character as a blob; other fields stay as they are.
    message = printable_lines(message)
    own = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "oomrules"}
    return encode({**own, **(fields or {})})


def deliver(data: bytes, patience: float) -> None:
    """Hand an entry to journald.

    Args:
        patience: how long journald may take, in seconds.

    Raises:
        BlockingIOError, TimeoutError: it has too many waiting.
        OSError: there is no journal, or the entry is too large.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as journal:
        journal.settimeout(patience)
        journal.sendto(data, os.environ.get("OOMRULES_JOURNAL", SOCKET))


def encode(fields: dict[str, str]) -> bytes:
    """Return fields in the native protocol: a value with a line end gets its length in front."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        start = b"\n" + struct.pack("<Q", len(data)) if b"\n" in data else b"="
        parts.append(name.encode() + start + data + b"\n")
    return b"".join(parts)


def say(
    message: str, priority: int = INFO, fields: dict[str, str] | None = None, send: Send = send
) -> None:
    """Send an entry; print it where there is no journal, or where a person is looking."""
    if not send(message, priority, fields) or sys.stderr.isatty():
        with suppress(OSError):
            print(f"oomrules: {printable_lines(message)}", file=sys.stderr, flush=True)
