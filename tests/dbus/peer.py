"""What may listen at a user's bus: a manager that is honest, and many that are not.

``python peer.py SOCKET MODE`` listens until it is killed. A mode that is a JSON object says which
units are active, and which sessions there are, each by its properties.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any

from gi.repository import Gio, GLib

KEEP: list[Any] = []

# What an honest manager says of each unit (org.freedesktop.systemd1(5)): on the interface Unit,
# and on that of the unit's kind.
UNIT = {
    "Description": GLib.Variant("s", "A café"),
    "ActiveState": GLib.Variant("s", "active"),
    "NeedDaemonReload": GLib.Variant("b", True),
    "Wants": GLib.Variant("as", ["u1.service", "x" * 300, "u2.service"]),
}
KIND = {
    "OOMPolicy": GLib.Variant("s", "kill"),
    "OOMScoreAdjust": GLib.Variant("i", 100),
    "ManagedOOMPreference": GLib.Variant("s", "avoid"),
    "ManagedOOMMemoryPressure": GLib.Variant("s", "auto"),
    "Delegate": GLib.Variant("b", True),
}
ESCAPES = "\x1b]0;PWNED\x07\x1b[2J\x1b[31mnote: all is well\n"


def deep(levels: int) -> GLib.Variant:
    """A variant in a variant, and so on."""
    found = GLib.Variant("s", "x")
    for _ in range(levels):
        found = GLib.Variant("v", found)
    return found


def listed(names: list[str], mode: str) -> GLib.Variant:
    """What ListUnitsByNames answers, with the description that a mode has."""
    value = VALUES[mode]() if mode in VALUES else None
    says = value.unpack() if value is not None and value.get_type_string() == "s" else "A café"
    rows = [(name, says, "loaded", "active", "running", "", "/", 0, "", "/") for name in names]
    return GLib.Variant("(a(ssssssouso))", (rows,))


# The value of a property, by mode; the others are honest in this.
VALUES: dict[str, Any] = {
    "long": lambda: GLib.Variant("s", "ü" * 100_000),
    "many": lambda: GLib.Variant("s", "\x01" * 4096),
    "big": lambda: GLib.Variant("s", "x" * (100 << 20)),
    "array": lambda: GLib.Variant("as", ["x"] * 20_000),
    "deep": lambda: deep(60),
    "bytes": lambda: GLib.Variant("ay", b"\xff" * 100),
    "numbers": lambda: GLib.Variant("t", 2**64 - 1),
    "escapes": lambda: GLib.Variant("s", ESCAPES),
}
# The body of every answer, by mode.
BODIES: dict[str, Any] = {
    "types": lambda: GLib.Variant("(i)", (7,)),
    "nothing": lambda: GLib.Variant("()", ()),
    "plain": lambda: GLib.Variant("(s)", ("x",)),
}


def described(host: dict[str, Any], message: Any) -> Any:
    """Give the answer of a host that is described."""
    reply, sessions = message.new_method_reply(), host.get("sessions", [])
    member = message.get_member()
    if member == "ListUnits":
        reply.set_body(listed(host.get("units", []), ""))
    elif member == "ListSessions":
        rows = [
            (str(number), one["uid"], "ann", one.get("Seat", ""), f"/{number}")
            for number, one in enumerate(sessions)
        ]
        reply.set_body(GLib.Variant("(a(susso))", (rows,)))
    else:
        one = sessions[int(message.get_path()[1:])]
        values = {
            "Class": GLib.Variant("s", one.get("Class", "user")),
            "Type": GLib.Variant("s", one.get("Type", "tty")),
            "Remote": GLib.Variant("b", one.get("Remote", False)),
        }
        reply.set_body(GLib.Variant("(a{sv})", (values,)))
    return reply


def answer(mode: str, message: Any) -> Any:
    """Give the answer to a call, or None for none."""
    member = message.get_member()
    reply = message.new_method_reply()
    if member == "Hello":
        reply.set_body(GLib.Variant("(s)", (":1.1",)))
        return reply
    if mode.startswith("{"):
        return described(json.loads(mode), message)
    if mode == "errors":
        return message.new_method_error_literal("org.evil.Error", ESCAPES)
    if mode == "silent":
        return None
    time.sleep({"slow": 0.4, "lagging": 0.05}.get(mode, 0))
    if mode in BODIES:
        reply.set_body(BODIES[mode]())
        return reply
    if member == "NameHasOwner":
        reply.set_body(GLib.Variant("(b)", (mode != "absent",)))
    elif member == "GetUnit":
        path = "/org/freedesktop/systemd1/unit/real_2eservice"
        reply.set_body(GLib.Variant("(o)", (path,)))
    elif member == "ListSessions":
        rows = [("1", 1000, "ann", "seat0", "/1"), ("2", 1000, "ann", "", "/2")]
        reply.set_body(GLib.Variant("(a(susso))", (rows,)))
    elif member == "Notify":
        with open(f"{sys.argv[1]}.notified", "a", encoding="utf-8") as file:
            file.write(json.dumps(message.get_body().unpack()) + "\n")
        reply.set_body(GLib.Variant("(u)", (7,)))
    elif member == "GetAll":
        session = {
            "Active": GLib.Variant("b", True),
            "Class": GLib.Variant("s", "user" if mode == "seated" else "user" * 500),
            "Scope": GLib.Variant("s", f"session-{message.get_path()[1:]}.scope"),
        }
        reply.set_body(GLib.Variant("(a{sv})", (session,)))
    elif member == "ListUnits":
        reply.set_body(listed(["u1.service", "u2.scope", "x.device"], mode))
    elif member == "ListUnitsByNames":
        names = list(message.get_body().unpack()[0])
        if mode == "crowd":
            names += [f"u{number}.service" for number in range(10_000)]
        reply.set_body(listed([] if mode == "ghosts" else names, mode))
    else:
        interface, name = message.get_body().unpack()
        properties = UNIT if interface.endswith(".Unit") else KIND
        value = VALUES[mode]() if mode in VALUES else properties.get(name)
        if value is None:
            # As systemd does; it is no fault of the bus.
            unknown = "org.freedesktop.DBus.Error.UnknownProperty"
            return message.new_method_error_literal(unknown, "Unknown property.")
        reply.set_body(GLib.Variant("(v)", (value,)))
    return reply


def manager(path: str, mode: str) -> None:
    """Be a bus with a manager on it."""
    flags = Gio.DBusServerFlags.AUTHENTICATION_REQUIRE_SAME_USER
    guid = Gio.dbus_generate_guid()
    server = Gio.DBusServer.new_sync(f"unix:path={path}", flags, guid, None, None)

    def hear(connection: Any, message: Any, incoming: bool) -> Any:
        if not incoming or message.get_message_type() != Gio.DBusMessageType.METHOD_CALL:
            return message
        if mode == "signals":
            for _ in range(20_000):
                signal = Gio.DBusMessage.new_signal("/", "org.evil", "Noise")
                connection.send_message(signal, Gio.DBusSendMessageFlags.NONE)
        reply = answer(mode, message)
        if reply is not None:
            connection.send_message(reply, Gio.DBusSendMessageFlags.NONE)
        return None

    def meet(_: Any, connection: Any) -> bool:
        connection.add_filter(hear)
        KEEP.append(connection)
        return True

    server.connect("new-connection", meet)
    server.start()
    GLib.MainLoop().run()


def agree(connection: socket.socket) -> None:
    """Shake hands (D-Bus Specification, "Authentication Protocol")."""
    answers = {
        b"AUTH": b"REJECTED EXTERNAL\r\n",
        b"AUTH EXTERNAL": b"OK 0123456789abcdef0123456789abcdef\r\n",
        b"NEGOTIATE_UNIX_FD": b"AGREE_UNIX_FD\r\n",
    }
    said = b""
    while b"BEGIN\r\n" not in said:
        said += connection.recv(4096)
        *lines, rest = said.lstrip(b"\0").split(b"\r\n")
        for line in lines:
            if line == b"BEGIN":
                return
            known = [key for key in answers if line.startswith(key)]
            connection.sendall(answers[max(known, key=len)])
        said = rest


def raw(path: str, mode: str) -> None:
    """Be something that speaks no D-Bus to the end."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        connection, _ = listener.accept()
        KEEP.append(connection)
        try:
            if mode == "gone":
                connection.close()
            elif mode == "half":
                connection.recv(4096)
                connection.sendall(b"OK 0123")
            elif mode == "trickle":
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.05)
            elif mode == "line":
                while True:
                    connection.sendall(b"x" * 65536)
            elif mode == "header":
                # Agree, and then a message that says it has 128 MiB, and comes slowly.
                agree(connection)
                connection.sendall(b"l\x02\x01\x01\x00\x00\xff\x07\x01\x00\x00\x00\x08\x00\x00\x00")
                while True:
                    connection.sendall(b"\0" * 4096)
                    time.sleep(0.02)
            elif mode == "garbage":
                connection.sendall(os.urandom(65536))
        except OSError:
            continue


RAW = ("mute", "gone", "half", "trickle", "line", "header", "garbage")

if __name__ == "__main__":
    (raw if sys.argv[2] in RAW else manager)(sys.argv[1], sys.argv[2])
