"""systemd's units over D-Bus (org.freedesktop.systemd1(5))."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

from oomrules.attributes import ATTRIBUTES
from oomrules.dbus import bounds
from oomrules.dbus.bus import TIMEOUT, BusError, Connection

_SERVICE = "org.freedesktop.systemd1"
_MANAGER_PATH = "/org/freedesktop/systemd1"
_UNIT = f"{_SERVICE}.Unit"
_UNIT_PREFIX = f"{_MANAGER_PATH}/unit/"

# Properties of every kind of unit; the others belong to the interface of its kind.
_OF_EVERY_UNIT = bounds.LISTS.union(a.field for a in ATTRIBUTES.values() if a.every_unit)
# What ListUnits says of a unit, and how many are asked for at once.
_LISTED = "(a(ssssssouso))"
# Properties that it says too, so that they cost no call of their own.
_LISTED_TOO = ("Description", "ActiveState")
_AT_ONCE = 256
_NO_SUCH = (".NoSuchUnit", ".UnknownObject", ".UnknownProperty", ".UnknownInterface")


class Manager:
    """A service manager: the system's, or a user's.

    Each question raises ``BusError`` where the manager does not answer.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def wait(self, until: float) -> None:
        """Wait for the manager to be on its bus, to which a user's may be the first to speak.

        Args:
            until: no longer than this, by ``time.monotonic``.
        """
        while not self._connection.has(_SERVICE) and time.monotonic() < until:
            time.sleep(TIMEOUT / 20)

    def known(self, units: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the units that there are, with their Description and ActiveState.

        A unit whose definition is gone is not among them: systemd gives properties of it too,
        but they are defaults and not the unit's.

        Args:
            units: those that are looked for; None lists all that are loaded.
        """
        if units is None:
            return _there(self._call("ListUnits", _LISTED))
        found: dict[str, dict[str, Any]] = {}
        wanted = [unit for unit in sorted(units) if bounds.names([unit])]
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            found |= _there(self._call("ListUnitsByNames", _LISTED, ("(as)", (some,))))
        return found

    def primary(self, name: str) -> str | None:
        """Return the unit behind a name, which may be an alias; None if none is loaded."""
        try:
            (path,) = self._call("GetUnit", "(o)", ("(s)", (name,)))
        except BusError as error:
            if error.name.endswith(_NO_SUCH):
                return None
            raise
        return unescape(path.removeprefix(_UNIT_PREFIX))

    def properties(self, unit: str, names: Iterable[str]) -> dict[str, Any]:
        """Return properties of a unit; those that its kind lacks are left out.

        So are those of an unexpected type (``bounds``), and those that ``known`` tells.
        """
        kind = unit.rpartition(".")[2].capitalize()
        path = _UNIT_PREFIX + escape(unit)
        values = {}
        for name in names:
            if name in _LISTED_TOO:
                continue
            interface = _UNIT if name in _OF_EVERY_UNIT else f"{_SERVICE}.{kind}"
            try:
                value = self._connection.get(_SERVICE, path, interface, name)
            except BusError as error:
                if not error.name.endswith((*_NO_SUCH, ".InvalidArgs")):
                    raise
                continue
            value = bounds.value(name, value)
            if value is not None:
                values[name] = value
        return values

    def described(self, units: list[str], names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return all of these properties of the units that there are."""
        properties = {unit: self.properties(unit, names) for unit in units}
        # Afterwards, since a unit may have vanished before its properties were read.
        known = self.known(units)
        listed = [name for name in _LISTED_TOO if name in names]
        return {
            unit: {**properties[unit], **{name: known[unit][name] for name in listed}}
            for unit in properties.keys() & known.keys()
        }

    def _call(
        self, method: str, returns: str, arguments: tuple[str, tuple[Any, ...]] | None = None
    ) -> Any:
        method = f"{_SERVICE}.Manager.{method}"
        answer = self._connection.call(_SERVICE, _MANAGER_PATH, method, returns, arguments)
        return answer.unpack()


def _there(listed: Any) -> dict[str, dict[str, Any]]:
    """Return the units in an answer that have a definition."""
    return {
        name: {
            "Description": bounds.value("Description", description),
            "ActiveState": bounds.value("ActiveState", state),
        }
        for name, description, load_state, state, *_ in listed[0]
        if load_state != "not-found"
    }


def escape(unit: str) -> str:
    """Return a unit's name as the last part of its object path (sd_bus_path_encode(3))."""
    return "".join(
        char
        if char.isascii() and char.isalnum() and not (number == 0 and char.isdigit())
        else "".join(f"_{byte:02x}" for byte in char.encode("utf-8", "replace"))
        for number, char in enumerate(unit)
    )


def unescape(path: str) -> str:
    """Return a unit's name from the last part of its object path; what is no escape stays."""

    def byte(escape: re.Match[bytes]) -> bytes:
        return bytes.fromhex(escape[1].decode())

    raw = re.sub(rb"_([0-9a-fA-F]{2})", byte, path.encode("utf-8", "replace"))
    return raw.decode("utf-8", "backslashreplace")
