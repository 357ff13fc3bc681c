"""D-Bus calls that always end: every one has a timeout, and the connection too.

pydbus makes the connection. Its own proxies introspect, build a class for each object
and wait without end, so the calls go to the connection underneath.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from oomrules.errors import Failure

# A bus that does not answer in this time does not answer; rules must not wait for it.
TIMEOUT = 2.0

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"


class BusError(Exception):
    """A call failed.

    Attributes:
        name: the D-Bus error's name, or an empty text.
        final: whether the bus itself is lost, so that no further call makes sense.
    """

    def __init__(self, message: str, name: str = "", final: bool = False) -> None:
        super().__init__(message)
        self.name = name
        self.final = final


class Connection:
    """A connection to a message bus.

    Args:
        address: where the bus listens; None is the system bus.
        timeout: seconds for the connection and for each call.

    Raises:
        BusError: there is no bus, or it does not answer.
        Failure: pydbus or gi is not installed.
    """

    def __init__(self, address: str | None = None, timeout: float = TIMEOUT) -> None:
        try:
            from gi.repository import Gio, GLib
            from pydbus.bus import Bus
        except ImportError as error:
            raise Failure(
                f"the Python library {error.name or 'gi'} is not installed",
                "install your distribution's python3-gi, and pydbus",
            ) from error
        self._gio, self._glib, self._timeout = Gio, GLib, timeout
        address = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS
        flags = Gio.DBusConnectionFlags
        cancel = Gio.Cancellable()
        # The handshake takes no timeout of its own.
        timer = threading.Timer(timeout, cancel.cancel)
        timer.daemon = True
        timer.start()
        try:
            self._bus = Bus(
                Gio.DBusConnection.new_for_address_sync(
                    address,
                    flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION,
                    None,
                    cancel,
                )
            )
        except GLib.Error as error:
            if error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.CANCELLED):
                raise BusError(f"no answer within {timeout:g} s", final=True) from error
            raise BusError(_words(error), final=True) from error
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close the connection."""
        try:
            self._bus.con.close_sync(None)
        except self._glib.Error:
            pass

    def call(
        self,
        destination: str,
        path: str,
        method: str,
        arguments: tuple[str, tuple[Any, ...]] | None = None,
    ) -> Any:
        """Call a method.

        Args:
            method: interface and name, joined by a dot.
            arguments: their signature and values.

        Returns:
            the answer's values, as a tuple of Python values.

        Raises:
            BusError: it failed, or there was no answer in time.
        """
        interface, _, name = method.rpartition(".")
        given = self._glib.Variant(*arguments) if arguments else None
        try:
            answer = self._bus.con.call_sync(
                destination,
                path,
                interface,
                name,
                given,
                None,
                self._gio.DBusCallFlags.NO_AUTO_START,
                int(self._timeout * 1000),
                None,
            )
        except self._glib.Error as error:
            io = self._gio.io_error_quark()
            codes = self._gio.IOErrorEnum
            remote = self._gio.DBusError.get_remote_error(error) or ""
            if error.matches(io, codes.TIMED_OUT) or remote.endswith((".NoReply", ".Timeout")):
                raise BusError(f"no answer within {self._timeout:g} s", remote, True) from error
            final = error.matches(io, codes.CLOSED) or remote.endswith(
                (".ServiceUnknown", ".Disconnected", ".NameHasNoOwner")
            )
            raise BusError(_words(error), remote, final) from error
        return answer.unpack()

    def has(self, name: str) -> bool:
        """Tell whether somebody on the bus has a name.

        Raises:
            BusError: as ``call``.
        """
        bus = "org.freedesktop.DBus"
        owned: bool = self.call(
            bus, "/" + bus.replace(".", "/"), f"{bus}.NameHasOwner", ("(s)", (name,))
        )[0]
        return owned

    def get(self, destination: str, path: str, interface: str, name: str) -> Any:
        """Read one property.

        Raises:
            BusError: as ``call``.
        """
        method = "org.freedesktop.DBus.Properties.Get"
        return self.call(destination, path, method, ("(ss)", (interface, name)))[0]


def _words(error: Any) -> str:
    """The message of a GLib error, without the error's name that GLib puts in front."""
    text = str(error.message)
    if text.startswith("GDBus.Error:"):
        text = text.partition(": ")[2] or text
    return text.strip().rstrip(".")
