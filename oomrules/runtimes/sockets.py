"""One request over HTTP to a program of root that listens on a local socket."""

from __future__ import annotations

import http.client
import io
import os
import socket
import struct
import time

from oomrules.errors import reason
from oomrules.runtimes.answers import MOST_SAID, Unanswered


class _Received:
    """All that came, in place of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        """Return what came, as ``http.client`` asks for it."""
        return io.BytesIO(self._data)


def get(path: str, target: str, deadline: float, advice: str) -> bytes:
    """Return the body of the answer to a GET.

    Args:
        path: of the socket.
        target: what is asked for.
        deadline: when the whole answer has to be there, by ``time.monotonic``.
        advice: what to do if it does not come.

    Raises:
        Unanswered: it did not come, or not from a process of root.
    """
    try:
        data = _exchanged(path, target, deadline)
    except TimeoutError as error:
        raise Unanswered("it did not answer in time", advice) from error
    except PermissionError as error:
        raise Unanswered("only root may ask", "run this as root") from error
    except OSError as error:
        raise Unanswered(reason(error), advice) from error
    try:
        # All of it is here, so that nothing waits any more.
        answer = http.client.HTTPResponse(_Received(data))  # type: ignore[arg-type]
        answer.begin()
        body = answer.read()
    except (http.client.HTTPException, ValueError, OSError) as error:
        raise Unanswered("it answered with something else than HTTP", advice) from error
    if answer.status != http.client.OK:
        raise Unanswered(f"it answered with status {answer.status}", advice)
    return body


def _exchanged(path: str, target: str, deadline: float) -> bytes:
    """Return all that comes back, or raise OSError."""
    pieces, size = list[bytes](), 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _wait_until(connection, deadline)
        connection.connect(path)
        # Who listens, and not who owns the file: another's program could not be told apart.
        size_of = struct.calcsize("3i")
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size_of)
        if struct.unpack("3i", peer)[1] not in (0, os.geteuid()):
            raise OSError(0, "it is not root's")
        # Of 1.0, so that the end of the answer is the end of the connection.
        request = f"GET {target} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
        connection.sendall(request.encode())
        while size <= MOST_SAID:
            _wait_until(connection, deadline)
            piece = connection.recv(65536)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
    raise OSError(0, f"it answered with more than {MOST_SAID >> 20} MiB")


def _wait_until(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
