"""A listener for notices; /usr/bin/python3 runs it, on this host and in the guest.

``listener.py desktop [ADDRESS]`` is what shows notices at a desktop, ``listener.py signal
[ADDRESS]`` hears earlyoom's signal. Without an address: the session's bus, or the system's. Both
print ``ready``, and then what comes as JSON, a line each. ``listener.py silent`` has the name and
never answers.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from gi.repository import Gio, GLib

NAME = "org.freedesktop.Notifications"
SIGNAL = "net.nuetzlich.SystemNotifications"
TYPES = ("s", "u", "s", "s", "s", "as", "a{sv}", "i")
TAKES = "".join(f'<arg type="{kind}" direction="in"/>' for kind in TYPES)
XML = f"""<node><interface name="{NAME}"><method name="Notify">{TAKES}
<arg type="u" direction="out"/></method></interface></node>"""


# Connections that nobody refers to are closed.
KEEP: list[Any] = []


def say(what: Any) -> None:
    print(what if isinstance(what, str) else json.dumps(what), flush=True)


def connect(address: str | None, kind: Any) -> Any:
    flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
    flags |= Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
    address = address or Gio.dbus_address_get_for_bus_sync(kind, None)
    KEEP.append(Gio.DBusConnection.new_for_address_sync(address, flags, None, None))
    return KEEP[-1]


def desktop(address: str | None, answers: bool) -> None:
    bus = connect(address, Gio.BusType.SESSION)

    def called(*given: Any) -> None:
        *_, parameters, invocation = given
        say(parameters.unpack())
        if answers:
            invocation.return_value(GLib.Variant("(u)", (1,)))

    (interface,) = Gio.DBusNodeInfo.new_for_xml(XML).interfaces
    bus.register_object("/org/freedesktop/Notifications", interface, called, None, None)
    bus.call_sync(
        *("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName"),
        *(GLib.Variant("(su)", (NAME, 0)), None, Gio.DBusCallFlags.NONE, -1, None),
    )


def hear(address: str | None) -> None:
    bus = connect(address, Gio.BusType.SYSTEM)

    def heard(*given: Any) -> None:
        _, _, path, interface, member, parameters = given[:6]
        say([path, interface, member, *parameters.unpack()])

    bus.signal_subscribe(None, SIGNAL, "Notify", None, None, Gio.DBusSignalFlags.NONE, heard)
    # The match is in force once the bus has answered what comes after it.
    bus.call_sync(
        *("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId"),
        *(None, None, Gio.DBusCallFlags.NONE, -1, None),
    )


mode, where = sys.argv[1], next(iter(sys.argv[2:]), None)
if mode == "signal":
    hear(where)
else:
    desktop(where, mode == "desktop")
say("ready")
GLib.MainLoop().run()
