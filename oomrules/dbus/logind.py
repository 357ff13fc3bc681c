"""Login sessions over D-Bus (org.freedesktop.login1(5))."""

from __future__ import annotations

from typing import Any, NamedTuple

from oomrules.dbus import bounds
from oomrules.dbus.bus import BusError, Connection

_SERVICE = "org.freedesktop.login1"
_MANAGER = "org.freedesktop.login1.Manager"
# Sessions that are asked about; there is no time for more.
_MOST = 4096
_PATH = "/org/freedesktop/login1"


class Session(NamedTuple):
    """A login session, and the unit that holds its processes."""

    uid: int
    unit: str
    facts: dict[str, Any]


def sessions(connection: Connection) -> list[Session]:
    """Return the sessions; one that ends meanwhile is left out.

    Raises:
        BusError: logind did not answer.
    """
    (listed,) = connection.call(_SERVICE, _PATH, f"{_MANAGER}.ListSessions", "(a(susso))")
    known = []
    for _, uid, _, _, path in listed[:_MOST]:
        try:
            (values,) = connection.call(
                _SERVICE,
                path,
                "org.freedesktop.DBus.Properties.GetAll",
                "(a{sv})",
                ("(s)", (f"{_SERVICE}.Session",)),
            )
        except BusError as error:
            if error.final:
                raise
            continue
        facts = {
            "active": bool(values.get("Active")),
            "remote": bool(values.get("Remote")),
            "idle": bool(values.get("IdleHint")),
            "class": bounds.text(str(values.get("Class", "")), bounds.MOST_NAME),
            "type": bounds.text(str(values.get("Type", "")), bounds.MOST_NAME),
        }
        known.append(Session(uid, str(values.get("Scope", "")), facts))
    return known


def of_user(of_one_user: list[Session]) -> dict[str, Any]:
    """Return the facts of the session to which processes belong that a user's sessions share.

    A user's manager starts the programs of a desktop outside the session's own scope. They
    belong to the active session if there is one, since that is what the user looks at.
    """
    return min(
        (session.facts for session in of_one_user),
        key=lambda facts: (not facts["active"], facts["remote"], facts["idle"], facts["class"]),
    )
