"""The socket where the service answers: one word comes in, one JSON document goes out.

Nobody who connects can make the service wait, or grow: a document is written only if it
goes out at once, a connection that says nothing is closed, and beyond a number of
connections the others wait in the kernel's queue.
"""

from __future__ import annotations

import os
import socket

from oomrules.errors import Failure, reason

NAME = "status.sock"
SCHEMA = "oomrules.status/1"

STATUS, REFRESH = "status", "refresh"

_MOST = 32
_PATIENCE = 20.0
_LONGEST = 64


class Client:
    """Somebody who has connected; ``waits`` for the next refresh once they asked for one."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self.socket = connection
        self.until = until
        self.said = b""
        self.waits = False


class Listener:
    """Listens for those who want to know.

    Args:
        path: of the socket; one that is there is of a service that has died.

    Attributes:
        clients: who is connected, by descriptor.

    Raises:
        Failure: it cannot be made.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.clients: dict[int, Client] = {}
        self.socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            if os.path.lexists(path):
                os.unlink(path)
            # Root's alone: it tells of everybody's processes.
            before = os.umask(0o177)
            try:
                self.socket.bind(path)
            finally:
                os.umask(before)
            self.socket.listen(128)
        except OSError as error:
            self.socket.close()
            raise Failure(
                f"cannot listen on {path}: {reason(error)}",
                "`oomrules status` does not work until the service is restarted",
            ) from error

    @property
    def room(self) -> bool:
        """Whether another one may connect."""
        return len(self.clients) < _MOST

    def accept(self, now: float) -> Client | None:
        """Let one in."""
        try:
            connection, _ = self.socket.accept()
        except OSError:
            return None
        connection.setblocking(False)
        client = Client(connection, now + _PATIENCE)
        self.clients[connection.fileno()] = client
        return client

    def hear(self, client: Client) -> str:
        """Read what a client has to say; the word once it is complete, else an empty text."""
        try:
            data = client.socket.recv(_LONGEST)
        except (BlockingIOError, InterruptedError):
            return ""
        except OSError:
            self.dismiss(client)
            return ""
        client.said += data
        if data and b"\n" not in client.said and len(client.said) < _LONGEST:
            return ""
        word = client.said.split(b"\n", 1)[0].strip().decode("ascii", "replace")
        if not data and not word:
            self.dismiss(client)
        return word

    def answer(self, client: Client, document: bytes) -> None:
        """Write the document and let the client go."""
        try:
            client.socket.send(document, socket.MSG_NOSIGNAL)
        except OSError:
            pass
        self.dismiss(client)

    def expire(self, now: float) -> None:
        """Let those go who have been here for too long."""
        for client in list(self.clients.values()):
            if now >= client.until:
                self.dismiss(client)

    @property
    def due(self) -> float:
        """When ``expire`` has something to do."""
        return min((client.until for client in self.clients.values()), default=float("inf"))

    def dismiss(self, client: Client) -> None:
        """Close a connection."""
        self.clients.pop(client.socket.fileno(), None)
        client.socket.close()

    def close(self) -> None:
        """Let everybody go, and listen no more."""
        for client in list(self.clients.values()):
            self.dismiss(client)
        self.socket.close()
        try:
            os.unlink(self.path)
        except OSError:
            pass
