"""Asks systemd and logind what a program's rules need to know, and nothing more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from oomrules.attributes import ATTRIBUTES, Source
from oomrules.dbus import bounds, logind
from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.systemd import LISTED, Manager
from oomrules.dbus.users import Users
from oomrules.errors import Failure
from oomrules.processes.facts import Facts, key
from oomrules.processes.units import Placement
from oomrules.program.nodes import Node, is_glob, walk
from oomrules.program.program import PART_OF, USER_UNIT, WANTED_BY, Program

_PROPERTIES = {a.name: a.field for a in ATTRIBUTES.values() if a.source is Source.SYSTEMD}
_SESSIONS = frozenset(a.name for a in ATTRIBUTES.values() if a.source is Source.LOGIND)

# How a unit lists the other side of the relations that targets name.
_RELATIONS = {WANTED_BY: ("Wants", "WantedBy"), PART_OF: ("ConsistsOf", "PartOf")}

# Seconds for everything that the system's bus is asked.
PATIENCE = 15.0

# Units that are asked about before it is looked which of them there still are, and the bytes that
# all of them together may say.
_AT_ONCE, _MOST_SAID = 32, 4 << 20

Units = dict[str, dict[str, Any]]
_Answer = TypeVar("_Answer")


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
        for node in program.nodes:
            named |= _unit_names(node)
        self.named: list[str] = []
        for name in sorted(named):
            self.name(name)

    def name(self, unit: str) -> None:
        """Ask which unit has this name; a glob is not looked up: it may mean any alias."""
        if "." in unit and not is_glob(unit) and unit not in self.named:
            self.named.append(unit)

    def __bool__(self) -> bool:
        """Whether D-Bus is needed at all."""
        return bool(self.properties or self.sessions or self.related or self.named)


class Everything(Asked):
    """What a snapshot records: all that any rule could ask."""

    def __init__(self) -> None:
        self.properties = sorted({*_PROPERTIES.values(), "Names", "WantedBy", "PartOf"})
        self.sessions, self.related, self.named = True, [], []


def gather(asked: Asked, places: Iterable[Placement], patience: float = PATIENCE) -> Facts:
    """Ask systemd and logind.

    Args:
        places: where the processes of this host are; only their units are asked about.
        patience: seconds for the system's; users' managers have their own (``users``).

    Returns:
        what they said. What failed is among the problems, and unknown.
    """
    if not asked or not booted_with_systemd():
        # Without systemd there is nothing to know, which is not in doubt.
        return Facts({}, {})
    problems: list[str] = []
    every = every_unit(places) if asked.properties else []
    users = Users(every, asked.properties)
    try:
        with _system_bus(problems, time.monotonic() + patience) as connection:
            if connection is None:
                return Facts(problems=tuple(problems))
            sessions: Units | None = {}
            if asked.sessions:
                sessions = _attempt(problems, "logind", lambda: _sessions(connection))
            told = _attempt(problems, "systemd", lambda: _units(asked, every, connection, problems))
        units, whole = told or (None, False)
        if units is not None:
            units.update(users.collect())
        return Facts(units, sessions, (*problems, *users.problems), None, whole)
    finally:
        users.close()


@contextmanager
def _system_bus(problems: list[str], deadline: float) -> Iterator[Connection | None]:
    connection = None
    try:
        connection = Connection(deadline=deadline)
    except BusError as error:
        problems.append(_sentence("the system bus", error))
    except Failure as error:
        problems.append(f"{error.message}, so systemd cannot be asked; {error.hint}")
    try:
        yield connection
    finally:
        if connection:
            connection.close()


def _attempt(problems: list[str], whom: str, ask: Callable[[], _Answer]) -> _Answer | None:
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
    asked: Asked, every: list[Placement], connection: Connection, problems: list[str]
) -> tuple[Units, bool]:
    """Find what is known of units, and whether that is all."""
    found = _related(asked, connection)
    return found, _properties(asked, every, connection, found, problems)


def _related(asked: Asked, connection: Connection) -> Units:
    """Find aliases, and how units belong together."""
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
    return found


def _properties(
    asked: Asked,
    every: list[Placement],
    connection: Connection,
    found: Units,
    problems: list[str],
) -> bool:
    """Ask for the properties of the system's units, as many as there is time for.

    Returns:
        whether it told about all; what it did not tell is unknown.

    Raises:
        BusError: it told about none.
    """
    manager = Manager(connection)
    ours = [place.unit for place in every if not place.manager]
    known: set[str] = set()
    said = 0
    try:
        for start in range(0, len(ours), _AT_ONCE):
            some = ours[start : start + _AT_ONCE]
            answers = {unit: manager.properties(unit, asked.properties) for unit in some}
            said += sum(map(bounds.size, answers.values()))
            if said > _MOST_SAID:
                raise BusError(f"more than {_MOST_SAID >> 20} MiB")
            # Afterwards, since a unit may have vanished before its properties were read.
            listed = manager.known(some)
            for unit in answers.keys() & listed.keys():
                more = {name: listed[unit][name] for name in LISTED if name in asked.properties}
                found.setdefault(unit, {}).update({**answers[unit], **more})
                said += bounds.size(more)
            known.update(some)
    except BusError as error:
        if not known:
            raise
        problems.append(
            f"systemd told about {len(known)} of {len(ours)} units ({error}); what only it knows "
            "of the others is unknown, and rules that ask for it protect"
        )
        return False
    return True


def of_system(places: Iterable[Placement]) -> frozenset[str]:
    """Give the names of the system's units; those of users are as many as the users like."""
    return frozenset(place.unit for place in every_unit(places) if not place.manager)


def every_unit(places: Iterable[Placement]) -> list[Placement]:
    """Give each unit once, with those around it, in order of their names."""
    seen: dict[str, Placement] = {}
    for place in places:
        inner: Placement | None = place
        while inner is not None and inner.unit and key(inner) not in seen:
            seen[key(inner)] = inner
            inner = inner.above
    return [seen[name] for name in sorted(seen)]


def _sessions(connection: Connection) -> Units:
    listed = logind.sessions(connection)
    found = {session.unit: session.facts for session in listed if session.unit}
    for uid in {session.uid for session in listed}:
        theirs = [session for session in listed if session.uid == uid]
        found[f"user@{uid}.service"] = logind.of_user(theirs)
    return found


def _unit_names(node: Node) -> set[str]:
    """Return the names that a condition looks for in ``unit``."""
    return {
        name
        for kind, *operands in walk(node)
        if kind in ("glob", "among") and operands[0] == ["attr", "unit"]
        for name in operands[1:]
    }
