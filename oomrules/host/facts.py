"""Asks systemd and logind what a program's rules need to know, and nothing more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from oomrules.attributes import ATTRIBUTES, Source
from oomrules.errors import Failure
from oomrules.host import logind
from oomrules.host.bus import BusError, Connection
from oomrules.host.systemd import Manager
from oomrules.runtime.facts import Facts, key
from oomrules.runtime.program import PART_OF, USER_UNIT, WANTED_BY, Node, Program
from oomrules.runtime.units import Placement

_GLOB = "*?["
_PROPERTIES = {a.name: a.field for a in ATTRIBUTES.values() if a.source is Source.SYSTEMD}
_SESSIONS = frozenset(a.name for a in ATTRIBUTES.values() if a.source is Source.LOGIND)

# How a unit lists the other side of the relations that targets name.
_RELATIONS = {WANTED_BY: ("Wants", "WantedBy"), PART_OF: ("ConsistsOf", "PartOf")}

Units = dict[str, dict[str, Any]]


def booted_with_systemd() -> bool:
    """Tell whether systemd is the init system (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


class Asked:
    """What the rules of a program want to know."""

    def __init__(self, program: Program) -> None:
        self.properties = sorted(
            {_PROPERTIES[name] for name in program.attributes if name in _PROPERTIES}
        )
        self.sessions = bool(program.attributes & _SESSIONS)
        targets = {target for scope in program.scopes for target in scope.targets}
        self.related = sorted(t for t in targets if t.startswith((WANTED_BY, PART_OF)))
        # What users call their units is nothing that the system's manager knows.
        named = {target for target in targets if not target.startswith(USER_UNIT)}
        named -= set(self.related)
        for node in _nodes(program):
            named |= _unit_names(node)
        # A glob is not looked up: it may mean any alias there is.
        self.named = sorted(n for n in named if "." in n and not any(c in n for c in _GLOB))

    def __bool__(self) -> bool:
        """Whether D-Bus is needed at all."""
        return bool(self.properties or self.sessions or self.related or self.named)


class Everything(Asked):
    """What a snapshot records: all that any rule could ask."""

    def __init__(self) -> None:
        self.properties = sorted({*_PROPERTIES.values(), "Names", "WantedBy", "PartOf"})
        self.sessions, self.related, self.named = True, [], []


def gather(asked: Asked, places: Iterable[Placement]) -> Facts:
    """Ask systemd and logind.

    Args:
        places: where the processes of this host are; only their units are asked about.

    Returns:
        what they said. What failed is among the problems, and unknown.
    """
    if not asked or not booted_with_systemd():
        # Without systemd there is nothing to know, which is not in doubt.
        return Facts({}, {})
    problems: list[str] = []
    with _system_bus(problems) as connection:
        if connection is None:
            return Facts(problems=tuple(problems))
        units = _attempt(problems, "systemd", lambda: _units(asked, places, connection, problems))
        sessions: Units | None = {}
        if asked.sessions:
            sessions = _attempt(problems, "logind", lambda: _sessions(connection))
    return Facts(units, sessions, tuple(problems))


@contextmanager
def _system_bus(problems: list[str]) -> Iterator[Connection | None]:
    connection = None
    try:
        connection = Connection()
    except BusError as error:
        problems.append(_sentence("the system bus", error))
    except Failure as error:
        problems.append(f"{error.message}, so systemd cannot be asked; {error.hint}")
    try:
        yield connection
    finally:
        if connection:
            connection.close()


def _attempt(problems: list[str], whom: str, ask: Callable[[], Units]) -> Units | None:
    try:
        return ask()
    except BusError as error:
        problems.append(_sentence(whom, error))
        return None


def _sentence(whom: str, error: BusError) -> str:
    return (
        f"{whom} cannot be asked ({error}), so what only it knows of units is unknown, and rules "
        "that ask for it protect"
    )


def _units(
    asked: Asked, places: Iterable[Placement], connection: Connection, problems: list[str]
) -> Units:
    manager = Manager(connection)
    found: Units = {}
    for alias in asked.named:
        unit = manager.primary(alias)
        if unit is not None and unit != alias:
            found.setdefault(unit, {}).setdefault("Names", []).append(alias)
    for target in asked.related:
        words = WANTED_BY if target.startswith(WANTED_BY) else PART_OF
        other = target.removeprefix(words)
        listed, relation = _RELATIONS[words]
        for unit in manager.properties(other, [listed]).get(listed, []):
            found.setdefault(unit, {}).setdefault(relation, []).append(other)
    if asked.properties:
        answers: Units = {}
        of_users: dict[str, list[Placement]] = {}
        for place in every_unit(places):
            if place.manager:
                of_users.setdefault(place.manager, []).append(place)
            else:
                answers[place.unit] = manager.properties(place.unit, asked.properties)
        # Afterwards, since a unit may have vanished before its properties were read.
        for unit in answers.keys() & manager.known():
            found.setdefault(unit, {}).update(answers[unit])
        for user, theirs in sorted(of_users.items()):
            _user_units(user, theirs, asked, found, problems)
    return found


def every_unit(places: Iterable[Placement]) -> list[Placement]:
    """Give each unit once, with those around it, in order of their names."""
    seen: dict[str, Placement] = {}
    for place in places:
        inner: Placement | None = place
        while inner is not None and inner.unit and key(inner) not in seen:
            seen[key(inner)] = inner
            inner = inner.above
    return [seen[name] for name in sorted(seen)]


def _user_units(
    user: str, places: list[Placement], asked: Asked, found: Units, problems: list[str]
) -> None:
    """Ask a user's manager about its units; what fails leaves them unknown."""
    try:
        with _as_user(int(user)):
            connection = Connection(f"unix:path=/run/user/{user}/bus")
    except (BusError, OSError, ValueError) as error:
        problems.append(f"the manager of user {user} cannot be asked about its units ({error})")
        return
    try:
        manager = Manager(connection)
        manager.wait()
        answers = [(place, manager.properties(place.unit, asked.properties)) for place in places]
        known = manager.known()
        for place, answer in answers:
            if place.unit in known:
                found.setdefault(key(place), {}).update(answer)
    except BusError as error:
        problems.append(f"the manager of user {user} did not answer ({error})")
    finally:
        connection.close()


@contextmanager
def _as_user(uid: int) -> Iterator[None]:
    """Be a user while a connection is made: a user's bus takes nobody else, not even root."""
    before = os.geteuid()
    if before == uid:
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)


def _sessions(connection: Connection) -> Units:
    listed = logind.sessions(connection)
    found = {session.unit: session.facts for session in listed if session.unit}
    for uid in {session.uid for session in listed}:
        theirs = [session for session in listed if session.uid == uid]
        found[f"user@{uid}.service"] = logind.of_user(theirs)
    return found


def _nodes(program: Program) -> Iterator[Node]:
    for scope in program.scopes:
        yield from (rule.when for rule in scope.rules)
    yield from program.definitions.values()


def _unit_names(node: Node) -> set[str]:
    """Find the names that a condition looks for in ``unit``."""
    if node[0] in ("glob", "among") and node[1] == ["attr", "unit"]:
        return set(node[2:])
    return {name for part in node[1:] if isinstance(part, list) for name in _unit_names(part)}
