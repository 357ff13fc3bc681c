"""Login sessions over D-Bus (org.freedesktop.login1(5))."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from oomrules.dbus import bounds
from oomrules.dbus.bus import BusError, Connection

_SERVICE = "org.freedesktop.login1"
_PATH = "/org/freedesktop/login1"
# Sessions that are asked about; there is no time for more.
_MOST = 4096


class Session(NamedTuple):
    """A login session.

    Attributes:
        uid: of its user.
        seat: the name of its seat; empty if it has none.
        kind: its class, such as ``user`` or ``greeter``.
        type: such as ``tty``, ``x11`` or ``wayland``.
        remote: whether the user is elsewhere.
    """

    uid: int
    seat: str
    kind: str
    type: str
    remote: bool


def sessions(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return the sessions by the units that hold their processes; those that end are left out.

    A user's manager starts the programs of a desktop outside the session's own scope. They
    belong to the active session if there is one, since that is what the user looks at.

    Raises:
        BusError: logind did not answer.
    """
    by_unit: dict[str, dict[str, Any]] = {}
    of_users: dict[str, list[dict[str, Any]]] = {}
    for uid, _, values in _each(connection):
        facts = {
            "active": bool(values.get("Active")),
            "remote": bool(values.get("Remote")),
            "idle": bool(values.get("IdleHint")),
            "class": bounds.text(str(values.get("Class", "")), bounds.MOST_NAME),
            "type": bounds.text(str(values.get("Type", "")), bounds.MOST_NAME),
        }
        if values.get("Scope"):
            by_unit[str(values["Scope"])] = facts
        of_users.setdefault(f"user@{uid}.service", []).append(facts)
    for manager, theirs in of_users.items():
        by_unit[manager] = min(
            theirs,
            key=lambda facts: (not facts["active"], facts["remote"], facts["idle"], facts["class"]),
        )
    return by_unit


def at_seats(connection: Connection) -> list[int]:
    """Return the users whose sessions are seen at the host's seats now, without greeters.

    Raises:
        BusError: logind did not answer.
    """
    found: list[int] = []
    for uid, _, values in _each(connection, lambda uid, seat: bool(seat) and uid not in found):
        if values.get("Active") and values.get("Class") == "user":
            found.append(uid)
    return found


def everyone(connection: Connection) -> Iterator[Session]:
    """Yield the sessions that there are; those that end are left out.

    Raises:
        BusError: logind did not answer.
    """
    for uid, seat, values in _each(connection):
        yield Session(
            uid=uid,
            seat=bounds.text(str(seat), bounds.MOST_NAME),
            kind=bounds.text(str(values.get("Class", "")), bounds.MOST_NAME),
            type=bounds.text(str(values.get("Type", "")), bounds.MOST_NAME),
            remote=bool(values.get("Remote")),
        )


def _each(
    connection: Connection, wanted: Callable[[int, str], bool] = lambda uid, seat: True
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield the user, the seat and the properties of sessions, but of none that ends meanwhile.

    Args:
        wanted: which are asked about, by user and seat.
    """
    answer = connection.call(_SERVICE, _PATH, f"{_SERVICE}.Manager.ListSessions", "(a(susso))")
    (listed,) = answer.unpack()
    get_all = "org.freedesktop.DBus.Properties.GetAll"
    of_session = ("(s)", (f"{_SERVICE}.Session",))
    for _, uid, _, seat, path in listed[:_MOST]:
        if not wanted(uid, seat):
            continue
        try:
            answer = connection.call(_SERVICE, path, get_all, "(a{sv})", of_session)
        except BusError as error:
            if error.final:
                raise
            continue
        (values,) = answer.unpack()
        yield uid, seat, values
