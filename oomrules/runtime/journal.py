"""Structured entries for the journal (systemd's native protocol, journald's own socket)."""

from __future__ import annotations

import os
import socket
import struct
import sys

SOCKET = "/run/systemd/journal/socket"

# systemd.journal-fields(7), the levels of syslog(3).
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6


def send(message: str, priority: int = INFO, fields: dict[str, str] | None = None) -> bool:
    """Send an entry.

    Args:
        fields: more fields, by names in capital letters.

    Returns:
        False if there is no journal to take it, or it is too large.
    """
    entry = {
        "MESSAGE": message,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "oomrules",
        **(fields or {}),
    }
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as journal:
            journal.sendto(encode(entry), os.environ.get("OOMRULES_JOURNAL", SOCKET))
    except OSError:
        return False
    return True


def encode(fields: dict[str, str]) -> bytes:
    """Write fields in the native protocol: a value with a line end gets its length in front."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def say(message: str, priority: int = INFO, fields: dict[str, str] | None = None) -> None:
    """Send an entry; print it where there is no journal, or where a person is looking."""
    if not send(message, priority, fields) or sys.stderr.isatty():
        try:
            print(f"oomrules: {message}", file=sys.stderr, flush=True)
        except OSError:
            pass
