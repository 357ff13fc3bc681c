"""Notices: to the desktops of users, over their own buses, and to all who listen on the system's.

A user chooses what listens on the user's bus. So each user is told by a process of its own, which
becomes that user, and which the kernel ends in time, whatever a library is waiting for.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

from oomrules.dbus import logind
from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.users_child import bus_of, limit
from oomrules.plain import printable

# Seconds for one user, with the start of the program that shows notices, and for all of them.
EACH, TOTAL = 10.0, 25.0

# Seconds for a call to logind, which may be short of memory too.
_TO_ANSWER = 5.0

# Users that are told at once.
_MOST_USERS = 8

# Below this, and at the number for nobody, a user is no person (login.defs(5), nsswitch.conf(5)).
_FIRST_PERSON, _NOBODY = 1000, 65534

_DIRECTORY = "/run/user"

# Desktop Notifications Specification 1.2, "D-BUS Protocol"; urgency 2 is critical.
_NOTIFICATIONS = "org.freedesktop.Notifications"
_URGENT = 2

# What earlyoom sends, and systembus-notify shows: a signal with a summary and a body.
_BROADCAST = "net.nuetzlich.SystemNotifications.Notify"

_LONGEST = 400

# How a process ends that found nothing on a user's bus that shows notices, and what the bus says.
_NO_DESKTOP = 3
_NOBODY_THERE = (".ServiceUnknown", ".NameHasNoOwner", ".UnknownObject", ".UnknownMethod")

_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}


@dataclass(frozen=True)
class Told:
    """An act of the guard, as people are told of it.

    Attributes:
        kind: ``warned``, ``asked`` or ``killed``.
        pid, uid, comm: the victim; None and empty for a warning.
        others: how many processes went with it.
        available, memory: of the host, in bytes; None if unknown.
    """

    kind: str
    pid: int | None = None
    uid: int | None = None
    comm: str = ""
    others: int = 0
    available: int | None = None
    memory: int | None = None


def text_for(user: int | None, acts: Iterable[Told], more: int = 0) -> tuple[str, str]:
    """Return a summary and a body for a user, plain text, or for everybody.

    Nobody is told more than every user may know: of processes of other users that there was one.

    Args:
        user: whom it is for; None: for everybody.
        more: acts that are not among ``acts``.
    """
    acts = list(acts)
    victims = [act for act in acts if act.pid is not None]
    lines = [_of_own(act) for act in victims if user is not None and act.uid == user]
    others = [act for act in victims if user is None or act.uid != user]
    if others:
        lines.append(_of_others(others, user is None))
    if more:
        lines.append(f"and {more} more")
    available = _available(acts)
    if available:
        lines.append(available)
    summary = "Memory ran short" if victims else "Memory is getting short"
    return summary, ". ".join(lines)[:_LONGEST] + ("." if lines else "")


def _of_own(act: Told) -> str:
    did = "was asked to end" if act.kind == "asked" else "was killed"
    along = f", and {act.others} more with it" if act.others else ""
    return f"{printable(act.comm)[:64]} ({act.pid}) {did}{along}"


def _of_others(acts: list[Told], everybody: bool) -> str:
    one = len(acts) == 1
    who = "A process" if one else f"{len(acts)} processes"
    whose = "" if everybody else " of another user" if one else " of other users"
    did = "asked to end" if all(act.kind == "asked" for act in acts) else "killed"
    return f"{who}{whose} {'was' if one else 'were'} {did}"


def _available(acts: list[Told]) -> str:
    known = [act for act in acts if act.available is not None and act.memory]
    if not known:
        return ""
    last = known[-1]
    assert last.available is not None and last.memory
    return f"{100 * last.available / last.memory:.0f} % of it was available"


def escaped(text: str) -> str:
    """Return a text as a body with markup has it: what is shown may be HTML."""
    return "".join(_MARKUP.get(char, char) for char in text)


def recipients(acts: Iterable[Told], at_seats: Iterable[int]) -> list[int]:
    """Return the users who are told: those of the victims who are persons, and those at seats."""
    victims = {act.uid for act in acts if act.pid is not None and act.uid is not None}
    people = sorted(uid for uid in victims if uid >= _FIRST_PERSON and uid != _NOBODY)
    # Those who sit there first: there are few of them, however many victims there are.
    return list(dict.fromkeys([*at_seats, *people]))[:_MOST_USERS]


def seats() -> tuple[list[int], str]:
    """Return the users at the host's seats, and why they are not known; empty if they are.

    A process of its own asks. The library talks to a bus in a thread, which a process that is
    forked later would not have, and would wait for without end.
    """
    Connection.load()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, TOTAL)
            os.write(write, json.dumps(_seats()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    users, why = json.loads(said) if said else ([], "logind does not say who is at the seat")
    return users, why


def _seats() -> tuple[list[int], str]:
    try:
        connection = Connection(timeout=_TO_ANSWER)
        return logind.at_seats(connection), ""
    except BusError as error:
        # Without logind there is nobody at a seat.
        missing = error.name.endswith((".ServiceUnknown", ".NameHasNoOwner"))
        return [], "" if missing else f"logind cannot be asked who is at the seat: {error}"


def broadcast(acts: Iterable[Told], more: int = 0) -> str:
    """Send earlyoom's signal on the system's bus; return why that failed, or an empty text.

    Nothing is forked after it (``seats``).
    """
    try:
        connection = Connection(timeout=_TO_ANSWER)
    except BusError as error:
        return f"the system bus takes no notice: {error}"
    try:
        summary, body = text_for(None, acts, more)
        connection.emit("/", _BROADCAST, ("(ss)", (summary, body)))
    except BusError as error:
        return f"the system bus takes no notice: {error}"
    finally:
        connection.close()
    return ""


def send(
    users: Iterable[int],
    acts: Iterable[Told],
    more: int = 0,
    directory: str = _DIRECTORY,
    each: float = EACH,
    total: float = TOTAL,
) -> list[int]:
    """Tell users at their desktops.

    Args:
        each, total: seconds for each user, and for all of them.
        directory: where each user has a directory with a bus in it.

    Returns:
        the users who could not be told. Those without a bus, or with nothing on it that shows
        notices, have no desktop.
    """
    acts = list(acts)
    # Before any user's time begins: the processes that tell are copies of this one.
    Connection.load()
    running: dict[int, int] = {}
    for user in users:
        if not os.path.exists(os.path.join(directory, str(user), "bus")):
            continue
        pid = os.fork()
        if pid == 0:
            _be_the_teller(user, text_for(user, acts, more), directory, each)
        running[pid] = user
    deadline = time.monotonic() + total
    failed = []
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in running:
            user = running.pop(pid)
            if os.waitstatus_to_exitcode(status) not in (0, _NO_DESKTOP):
                failed.append(user)
        elif time.monotonic() >= deadline:
            for left in running:
                os.kill(left, signal.SIGKILL)
            deadline = float("inf")
        else:
            time.sleep(0.02)
    return sorted(failed)


def _be_the_teller(user: int, text: tuple[str, str], directory: str, each: float) -> None:
    """Tell one user, and end."""
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, each)
        limit()
        if os.geteuid() != user:
            # A user's bus accepts only the user, not even root. The real id stays, so that the
            # user can neither stop nor debug this process.
            os.seteuid(user)
        _notify(user, text, directory, each)
        status = 0
    except BusError as error:
        status = _NO_DESKTOP if error.name.endswith(_NOBODY_THERE) else 1
    except Exception:
        # The user's own words are not repeated anywhere.
        status = 1
    finally:
        os._exit(status)


def _notify(user: int, text: tuple[str, str], directory: str, each: float) -> None:
    bus = bus_of(user, directory)
    connection = Connection(
        f"unix:path=/proc/self/fd/{bus}", each, time.monotonic() + each, largest=4096
    )
    summary, body = text
    hints = {"urgency": connection.variant("y", _URGENT)}
    connection.call(
        _NOTIFICATIONS,
        "/org/freedesktop/Notifications",
        f"{_NOTIFICATIONS}.Notify",
        "(u)",
        (
            "(susssasa{sv}i)",
            ("oomrules", 0, "dialog-warning", summary, escaped(body), [], hints, -1),
        ),
        # The program that shows them may be one that its bus starts.
        start=True,
    )
    connection.close()
