"""How commands speak to the service."""

from __future__ import annotations

import json
import os
import socket
import time

from oomrules import state_directory
from oomrules.lean import Any
from oomrules.service.listener import NAME, SCHEMA


def ask(word: str, timeout: float) -> dict[str, Any] | None:
    """Return the document of the service; None if none runs, or it does not answer.

    Args:
        word: ``status`` as it is, or ``refresh`` for the one after a fresh list.
        timeout: in seconds, for the whole conversation.

    Raises:
        PermissionError: the socket is root's.
    """
    until = time.monotonic() + timeout
    pieces = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as service:
            service.settimeout(timeout)
            service.connect(os.path.join(state_directory.standard(), NAME))
            service.sendall(word.encode() + b"\n")
            while True:
                service.settimeout(max(0.001, until - time.monotonic()))
                piece = service.recv(65536)
                if not piece:
                    break
                pieces.append(piece)
        answer = json.loads(b"".join(pieces))
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) and answer.get("schema") == SCHEMA else None
