"""D-Bus calls that always end: every one has a timeout, and the connection too.

pydbus makes the connection. Its own proxies introspect, build a class for each object
and wait without end, so the calls go to the connection underneath.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from oomrules.dbus import bounds
from oomrules.errors import Failure

# Seconds for a connection and for a call; rules must not wait longer.
TIMEOUT = 2.0

# Bytes of an answer; no question here has a larger one.
LARGEST = 16 << 20

# PyGObject raises a RuntimeError for an error whose message is no text.
_GARBLED = "an answer that is no text"

# The arguments of a call: their signature and values.
Arguments = tuple[str, tuple[Any, ...]]

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"


@dataclass(eq=False)
class BusError(Exception):
    """A call failed.

    Attributes:
        message: why, in words.
        name: the D-Bus error's name, or an empty text.
        final: whether the bus itself is lost, so that no further call makes sense.
        late: whether it was not there in time.
    """

    message: str
    name: str = ""
    final: bool = False
    late: bool = False

    def __str__(self) -> str:
        """Return the message."""
        return self.message


class Connection:
    """A connection to a message bus.

    Args:
        address: where the bus listens; None is the system bus.
        timeout: seconds for the connection and for each call.
        deadline: when the last call must be over, by ``time.monotonic``.
        largest: an answer of more bytes is refused.

    Raises:
        BusError: there is no bus, or it does not answer.
        Failure: pydbus or gi is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        timeout: float = TIMEOUT,
        deadline: float = float("inf"),
        largest: int = LARGEST,
    ) -> None:
        self._gio, self._glib, bus = self.load()
        self._timeout, self._deadline, self._largest = timeout, deadline, largest
        address = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS
        flags = self._gio.DBusConnectionFlags
        cancel = self._gio.Cancellable()
        # The handshake takes no timeout of its own.
        timer = threading.Timer(self._left(), cancel.cancel)
        timer.daemon = True
        timer.start()
        try:
            self._bus = bus(
                self._gio.DBusConnection.new_for_address_sync(
                    address,
                    flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION,
                    None,
                    cancel,
                )
            )
        except self._glib.Error as error:
            if error.matches(self._gio.io_error_quark(), self._gio.IOErrorEnum.CANCELLED):
                raise BusError(f"no answer within {timeout:g} s", final=True, late=True) from error
            raise BusError(_words(error), final=True) from error
        except RuntimeError as error:
            raise BusError(_GARBLED, final=True) from error
        finally:
            timer.cancel()

    @staticmethod
    def load() -> tuple[Any, Any, Any]:
        """Return Gio, GLib and pydbus' class of a bus, which takes longer to load than a call.

        Raises:
            Failure: one is not installed.
        """
        try:
            from gi.repository import Gio, GLib
            from pydbus.bus import Bus
        except ImportError as error:
            raise Failure(
                f"the Python library {error.name or 'gi'} is not installed",
                "install your distribution's python3-gi, and pydbus",
            ) from error
        return Gio, GLib, Bus

    def close(self) -> None:
        """Close the connection."""
        try:
            self._bus.con.close_sync(None)
        except self._glib.Error:
            pass

    def _left(self) -> float:
        """Return the seconds that the next step may take; raise BusError if there are none."""
        left = min(self._timeout, self._deadline - time.monotonic())
        if left <= 0:
            raise BusError("it took too long in all", final=True, late=True)
        return left

    def call(
        self,
        destination: str,
        path: str,
        method: str,
        returns: str,
        given: Arguments | None = None,
        start: bool = False,
    ) -> Any:
        """Call a method, and return the answer, a GLib variant that is a tuple of values.

        Args:
            method: interface and name, joined by a dot.
            returns: the signature of the answer; another one is refused.
            start: whether the bus may start what is to answer.

        Raises:
            BusError: it failed, or there was no such answer in time.
        """
        interface, _, name = method.rpartition(".")
        left, flags = self._left(), self._gio.DBusCallFlags
        try:
            answer = self._bus.con.call_sync(
                destination,
                path,
                interface,
                name,
                self._glib.Variant(*given) if given else None,
                self._glib.VariantType(returns),
                flags.NONE if start else flags.NO_AUTO_START,
                max(1, int(left * 1000)),
                None,
            )
        except self._glib.Error as error:
            io = self._gio.io_error_quark()
            codes = self._gio.IOErrorEnum
            remote = self._gio.DBusError.get_remote_error(error) or ""
            if error.matches(io, codes.TIMED_OUT) or remote.endswith((".NoReply", ".Timeout")):
                raise BusError(f"no answer within {left:.2g} s", remote, True, True) from error
            final = error.matches(io, codes.CLOSED) or remote.endswith(
                (".ServiceUnknown", ".Disconnected", ".NameHasNoOwner")
            )
            raise BusError(_words(error), remote, final) from error
        except RuntimeError as error:
            raise BusError(_GARBLED, final=True) from error
        if answer.get_size() > self._largest:
            raise BusError(f"an answer of {answer.get_size()} bytes", final=True)
        return answer

    def emit(self, path: str, signal: str, given: Arguments) -> None:
        """Send a signal to all who listen, and wait until the bus has it.

        Args:
            signal: interface and name, joined by a dot.

        Raises:
            BusError: it could not be sent.
        """
        interface, _, name = signal.rpartition(".")
        try:
            self._bus.con.emit_signal(None, path, interface, name, self._glib.Variant(*given))
        except self._glib.Error as error:
            raise BusError(_words(error), final=True) from error
        # The bus answers in order, so it has the signal when it has answered this.
        self.has("org.freedesktop.DBus")

    def variant(self, signature: str, value: Any) -> Any:
        """Return a value of a type, for what is given as ``v``."""
        return self._glib.Variant(signature, value)

    def has(self, name: str) -> bool:
        """Return whether a name on the bus has an owner; raise as ``call`` does."""
        bus, path = "org.freedesktop.DBus", "/org/freedesktop/DBus"
        answer = self.call(bus, path, f"{bus}.NameHasOwner", "(b)", ("(s)", (name,)))
        return bool(answer.unpack()[0])

    def get(self, destination: str, path: str, interface: str, name: str) -> Any:
        """Return a property, None if it has no type of ``bounds.SIGNATURES``; raise as ``call``."""
        method = "org.freedesktop.DBus.Properties.Get"
        answer = self.call(destination, path, method, "(v)", ("(ss)", (interface, name)))
        # Checked before it becomes a Python value: a nested one can take any amount of memory.
        inner = answer.get_child_value(0).get_variant()
        return inner.unpack() if inner.get_type_string() in bounds.SIGNATURES else None


def _words(error: Any) -> str:
    """Return the message of a GLib error, without the error's name that GLib puts in front."""
    text = bounds.text(str(error.message), 500)
    if text.startswith("GDBus.Error:"):
        text = text.partition(": ")[2] or text
    return text.strip().rstrip(".")
