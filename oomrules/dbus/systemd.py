"""systemd's units over D-Bus (org.freedesktop.systemd1(5))."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from oomrules.attributes import ATTRIBUTES
from oomrules.dbus import bounds
from oomrules.dbus.bus import TIMEOUT, Arguments, BusError, Connection

_SERVICE = "org.freedesktop.systemd1"
_MANAGER_PATH = "/org/freedesktop/systemd1"
_UNIT = f"{_SERVICE}.Unit"
_UNIT_PREFIX = f"{_MANAGER_PATH}/unit/"

# Properties of every kind of unit; the others belong to the interface of its kind.
_OF_EVERY_UNIT = bounds.LISTS.union(a.field for a in ATTRIBUTES.values() if a.every_unit)
# What ListUnits says of a unit.
_LISTED = "(a(ssssssouso))"
# Properties that it says too, so that they cost no call of their own.
_LISTED_TOO = ("Description", "ActiveState")
# Units that are asked about before it is looked which of them are still there.
_BATCH = 32
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
        wanted = bounds.names(sorted(units))
        return _there(self._call("ListUnitsByNames", _LISTED, ("(as)", (wanted,))))

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

    def state(self, unit: str) -> str:
        """Return the ActiveState of a unit; empty if there is no such unit."""
        return str(self.known([unit]).get(unit, {}).get("ActiveState") or "")

    def stop(self, unit: str) -> None:
        """Ask for a unit to be stopped; systemd answers before it has ended."""
        self._call("StopUnit", "(o)", ("(ss)", (unit, "replace")))

    def start_transient(self, unit: str, properties: list[tuple[str, str, Any]]) -> None:
        """Start a unit that is no file.

        Args:
            properties: names, signatures and values (org.freedesktop.systemd1(5)).
        """
        given = [(name, self._connection.variant(kind, value)) for name, kind, value in properties]
        self._call("StartTransientUnit", "(o)", ("(ssa(sv)a(sa(sv)))", (unit, "fail", given, [])))

    def forget_failure(self, unit: str) -> None:
        """Let go of a unit that has failed."""
        self._call("ResetFailedUnit", "()", ("(s)", (unit,)))

    def result(self, unit: str) -> str:
        """Return how a service ended, in systemd's word; empty if that is not known."""
        path = _UNIT_PREFIX + escape(unit)
        said = self._connection.get(_SERVICE, path, f"{_SERVICE}.Service", "Result")
        return said if isinstance(said, str) else ""

    def described(
        self, units: list[str], names: Iterable[str], most: int
    ) -> Iterator[tuple[list[str], dict[str, dict[str, Any]]]]:
        """Yield some units at a time, with all of these properties of those that there are.

        Args:
            most: the bytes that all of them may say; ``BusError`` is raised if it is more.
        """
        listed = [name for name in _LISTED_TOO if name in names]
        said = 0
        for start in range(0, len(units), _BATCH):
            some = units[start : start + _BATCH]
            properties = {unit: self.properties(unit, names) for unit in some}
            # Afterwards, since a unit may have vanished before its properties were read.
            known = self.known(some)
            described = {
                unit: {**properties[unit], **{name: known[unit][name] for name in listed}}
                for unit in properties.keys() & known.keys()
            }
            said += bounds.size(described)
            if said > most:
                raise BusError(f"more than {most / 2**20:g} MiB")
            yield some, described

    def _call(self, method: str, returns: str, given: Arguments | None = None) -> Any:
        method = f"{_SERVICE}.Manager.{method}"
        answer = self._connection.call(_SERVICE, _MANAGER_PATH, method, returns, given)
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

    def code(sign: re.Match[str]) -> str:
        return "".join(f"_{byte:02x}" for byte in sign[0].encode("utf-8", "replace"))

    return re.sub("^[0-9]|[^0-9A-Za-z]", code, unit)


def unescape(path: str) -> str:
    """Return a unit's name from the last part of its object path; what is no escape stays."""

    def byte(escape: re.Match[bytes]) -> bytes:
        return bytes.fromhex(escape[1].decode())

    raw = re.sub(rb"_([0-9a-fA-F]{2})", byte, path.encode("utf-8", "replace"))
    return raw.decode("utf-8", "backslashreplace")
