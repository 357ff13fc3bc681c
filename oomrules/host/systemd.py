"""systemd's units over D-Bus (org.freedesktop.systemd1(5))."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from oomrules.host.bus import TIMEOUT, BusError, Connection

_SERVICE = "org.freedesktop.systemd1"
_MANAGER_PATH = "/org/freedesktop/systemd1"
_MANAGER = f"{_SERVICE}.Manager"
_UNIT = f"{_SERVICE}.Unit"
_UNIT_PREFIX = f"{_MANAGER_PATH}/unit/"

# Properties of every kind of unit; the others belong to the interface of its kind.
_OF_EVERY_UNIT = frozenset(
    "Description ActiveState SubState LoadState WantedBy PartOf Names Wants ConsistsOf".split()
)
_NO_SUCH = (".NoSuchUnit", ".UnknownObject", ".UnknownProperty", ".UnknownInterface")


class Manager:
    """A service manager: the system's, or a user's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def wait(self) -> None:
        """Wait for the manager to be on its bus, to which a user's may be the first to speak.

        Raises:
            BusError: it is not there in the time that a call may take.
        """
        until = time.monotonic() + TIMEOUT
        while not self._connection.has(_SERVICE) and time.monotonic() < until:
            time.sleep(TIMEOUT / 20)

    def known(self) -> frozenset[str]:
        """List the units that there are, in one call.

        A unit whose definition is gone is not among them: of such a one systemd gives
        properties too, but they are defaults and not the unit's.

        Raises:
            BusError: the manager did not answer.
        """
        (units,) = self._call("ListUnits")
        return frozenset(name for name, _, load_state, *_ in units if load_state != "not-found")

    def primary(self, name: str) -> str | None:
        """Find the unit behind a name, which may be an alias; None if none is loaded.

        Raises:
            BusError: the manager did not answer.
        """
        try:
            (path,) = self._call("GetUnit", ("(s)", (name,)))
        except BusError as error:
            if error.name.endswith(_NO_SUCH):
                return None
            raise
        return unescape(path.removeprefix(_UNIT_PREFIX))

    def properties(self, unit: str, names: Iterable[str]) -> dict[str, Any]:
        """Read properties of a unit; those that this kind of unit lacks are left out.

        Raises:
            BusError: the manager did not answer.
        """
        kind = unit.rpartition(".")[2].capitalize()
        path = _UNIT_PREFIX + escape(unit)
        found = {}
        for name in names:
            interface = _UNIT if name in _OF_EVERY_UNIT else f"{_SERVICE}.{kind}"
            try:
                found[name] = self._connection.get(_SERVICE, path, interface, name)
            except BusError as error:
                if not error.name.endswith(_NO_SUCH) and not error.name.endswith(".InvalidArgs"):
                    raise
        return found

    def _call(self, method: str, arguments: tuple[str, tuple[Any, ...]] | None = None) -> Any:
        return self._connection.call(_SERVICE, _MANAGER_PATH, f"{_MANAGER}.{method}", arguments)


def escape(unit: str) -> str:
    """Write a unit's name as the last part of its object path (sd_bus_path_encode(3))."""
    return "".join(
        char
        if char.isascii() and char.isalnum() and not (number == 0 and char.isdigit())
        else "".join(f"_{byte:02x}" for byte in char.encode())
        for number, char in enumerate(unit)
    )


def unescape(path: str) -> str:
    """Read a unit's name from the last part of its object path."""
    raw = bytearray()
    rest = path
    while rest:
        if rest[0] == "_" and len(rest) > 2:
            raw.append(int(rest[1:3], 16))
            rest = rest[3:]
        else:
            raw += rest[0].encode()
            rest = rest[1:]
    return raw.decode("utf-8", "backslashreplace")
