"""The socket where the service answers: one word comes in, one JSON document goes out.

No client can make the service wait, or grow: a document is written only if it goes out at
once, a connection that says nothing is closed, and beyond a number of connections the others
wait in the kernel's queue.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress

from oomrules.clock import now
from oomrules.errors import Failure, reason
from oomrules.service.pace import NEVER
from oomrules.service.poll import PollTable

NAME = "status.sock"
SCHEMA = "oomrules.status/1"

STATUS, REFRESH = "status", "refresh"

# The rules on disk: without errors, or with errors (``broken``: the last good ones stay;
# ``missing``: there are none yet), or not compiled for a reason that is not theirs (``unknown``).
GOOD, BROKEN, MISSING, UNKNOWN = "good", "broken", "missing", "unknown"

# What each means for the rules in force. Nothing is to be said of good ones.
WORDS = {
    BROKEN: "the rules on disk have errors; the last good ones stay in force",
    MISSING: "the rules on disk have errors, and there are no earlier ones",
    UNKNOWN: "the rules on disk could not be compiled; what was in force stays",
}

_MOST = 32
_PATIENCE = 20.0
_LONGEST = 64


class Client:
    """A connection, closed in any case at ``until``; ``waits`` if a refresh will answer it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.until = now() + _PATIENCE
        self.received = b""
        self.waits = False


class Listener:
    """Answers the clients that connect.

    Args:
        path: of the socket; one that is there is of a service that has died.
        poll: where the socket and its connections are waited for.
        document: writes the status as it is.
        refresh: sees to it that ``answer_waiting`` is called when there is a fresh list; False
            if there will be none.

    Raises:
        Failure: the socket cannot be made.
    """

    def __init__(
        self, path: str, poll: PollTable, document: Callable[[], bytes], refresh: Callable[[], bool]
    ) -> None:
        self._path, self._poll = path, poll
        self._document, self._refresh = document, refresh
        self._clients: list[Client] = []
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            with suppress(FileNotFoundError):
                os.unlink(path)
            # Root's alone: it tells of all users' processes.
            before = os.umask(0o177)
            try:
                self._socket.bind(path)
            finally:
                os.umask(before)
            self._socket.listen(128)
        except OSError as error:
            self._socket.close()
            raise Failure(
                f"cannot listen on {path}: {reason(error)}",
                "`oomrules status` does not work until the service is restarted",
            ) from error
        self._listen()

    @property
    def due(self) -> float:
        """When ``expire`` has something to do."""
        return min((client.until for client in self._clients), default=NEVER)

    def expire(self, at: float) -> None:
        """Close the connections that have been there for too long."""
        for client in self._clients.copy():
            if at >= client.until:
                self._dismiss(client)

    def answer_waiting(self) -> None:
        """Answer the clients that asked for a refresh: there is a fresh list, or there is none."""
        waiting = [client for client in self._clients if client.waits]
        if waiting:
            document = self._document()
            for client in waiting:
                self._answer(client, document)

    def close(self) -> None:
        """Close every connection, and listen no more."""
        self.expire(NEVER)
        self._poll.remove(self._socket.fileno())
        self._socket.close()
        with suppress(OSError):
            os.unlink(self._path)

    def _listen(self) -> None:
        """Wait for connections, as long as there is room for them."""
        if len(self._clients) < _MOST:
            self._poll.add(self._socket.fileno(), lambda events: self._accept())
        else:
            self._poll.remove(self._socket.fileno())

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        connection.setblocking(False)
        client = Client(connection)
        self._clients.append(client)
        self._poll.add(connection.fileno(), lambda events: self._hear(client))
        self._listen()

    def _hear(self, client: Client) -> None:
        if client.waits:
            # It has said all it has to say; this is its end of the connection that closed.
            self._dismiss(client)
            return
        try:
            data = client.socket.recv(_LONGEST)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._dismiss(client)
            return
        client.received += data
        if data and b"\n" not in client.received and len(client.received) < _LONGEST:
            return
        word = client.received.split(b"\n", 1)[0].strip().decode("ascii", "replace")
        if word == REFRESH and self._refresh():
            client.waits = True
            # Only its end is waited for.
            self._poll.add(client.socket.fileno(), lambda events: self._hear(client), 0)
        elif word in (STATUS, REFRESH):
            self._answer(client, self._document())
        else:
            self._dismiss(client)

    def _answer(self, client: Client, document: bytes) -> None:
        with suppress(OSError):
            client.socket.send(document, socket.MSG_NOSIGNAL)
        self._dismiss(client)

    def _dismiss(self, client: Client) -> None:
        self._clients.remove(client)
        self._poll.remove(client.socket.fileno())
        client.socket.close()
        self._listen()
