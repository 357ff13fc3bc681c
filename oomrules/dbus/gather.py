"""What a program's rules need to know of others, and the answers of systemd and logind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.dbus import logind
from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.systemd import Manager
from oomrules.dbus.users import Users
from oomrules.errors import Failure
from oomrules.processes.facts import CONTAINER_FACTS, RELATIONS, Facts, key
from oomrules.processes.units import Placement
from oomrules.program.nodes import Node, is_glob, walk
from oomrules.program.program import PART_OF, USER_UNIT, WANTED_BY, Program

_PROPERTIES = {a.name: a.field for a in ATTRIBUTES.values() if a.provider is Provider.SYSTEMD}
_RUNTIMES = {a.name: a.field for a in ATTRIBUTES.values() if a.provider is Provider.RUNTIME}
# Where only the runtime tells which one it is.
_RUNTIMES["container.runtime"] = "runtime"
_SESSIONS = frozenset(a.name for a in ATTRIBUTES.values() if a.provider is Provider.LOGIND)

# How a unit lists the other side of the relations that targets name.
_RELATIONS = {WANTED_BY: ("Wants", "WantedBy"), PART_OF: ("ConsistsOf", "PartOf")}

# Seconds for all questions to the system's bus.
PATIENCE = 15.0

# Bytes of all answers together.
_MOST_SAID = 4 << 20

Units = dict[str, dict[str, Any]]
_Answer = TypeVar("_Answer")


def booted_with_systemd() -> bool:
    """Return whether systemd is the init system (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


@dataclass(frozen=True)
class Questions:
    """What systemd, logind and the containers' runtimes are asked.

    Attributes:
        properties: of each unit that holds processes, by their D-Bus names.
        sessions: whether logind is asked about sessions.
        related: targets that say how a unit belongs to others, such as ``units part of x``.
        named: names of units that may be aliases.
        containers: of each container, by ``facts.CONTAINER_FACTS``; asked by ``runtimes``.
    """

    properties: tuple[str, ...] = ()
    sessions: bool = False
    related: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to ask."""
        return self.of_bus or bool(self.containers)

    @property
    def of_bus(self) -> bool:
        """Whether D-Bus is needed."""
        return bool(self.properties or self.sessions or self.related or self.named)


# What a snapshot records: all that any rule could ask.
EVERYTHING = Questions(
    properties=tuple(sorted({*_PROPERTIES.values(), *RELATIONS})),
    sessions=True,
    containers=tuple(CONTAINER_FACTS),
)


def questions(
    program: Program, names: Iterable[str] = (), properties: Iterable[str] = ()
) -> Questions:
    """Return what the rules of a program need to know.

    Args:
        names: names of units that may be aliases, beside those in the rules.
        properties: properties of units, beside those in the rules.
    """
    targets = {target for scope in program.scopes for target in scope.targets}
    targets |= {whole.target for scope in program.scopes for whole in scope.wholes}
    related = {target for target in targets if target.startswith((WANTED_BY, PART_OF))}
    # The system's manager does not know the units of users' managers.
    named = {target for target in targets - related if not target.startswith(USER_UNIT)}
    named = named.union(names, *map(_unit_names, program.nodes))
    used = {_PROPERTIES[name] for name in program.attributes if name in _PROPERTIES}
    return Questions(
        properties=tuple(sorted(used.union(properties))),
        sessions=bool(program.attributes & _SESSIONS),
        related=tuple(sorted(related)),
        # A glob may mean any alias, so none is looked up for it.
        named=tuple(sorted(name for name in named if "." in name and not is_glob(name))),
        containers=tuple(
            sorted(fact for name, fact in _RUNTIMES.items() if name in program.attributes)
        ),
    )


def gather(asked: Questions, places: Iterable[Placement], patience: float = PATIENCE) -> Facts:
    """Return what systemd and logind say.

    What could not be asked is unknown, and among the problems.

    Args:
        places: where the processes of this host are; only their units are asked about.
        patience: seconds for the system's bus; users' managers have their own (``users``).
    """
    if not asked.of_bus or not booted_with_systemd():
        # Without systemd there is nothing to know, so nothing is in doubt.
        return Facts(units={}, sessions={})
    problems: list[str] = []
    every = every_unit(places) if asked.properties else []
    deadline = time.monotonic() + patience
    with closing(Users(every, asked.properties)) as users:
        bus = _attempt(problems, "the system bus", lambda: Connection(deadline=deadline))
        if bus is None:
            return Facts(problems=tuple(problems))
        with closing(bus):
            sessions: Units | None = {}
            if asked.sessions:
                sessions = _attempt(problems, "logind", lambda: logind.sessions(bus))
            told = _attempt(problems, "systemd", lambda: _units(asked, every, bus, problems))
        units, whole = told or (None, False)
        if units is not None:
            units.update(users.collect())
        return Facts(
            units=units,
            sessions=sessions,
            problems=(*problems, *users.problems),
            whole=whole,
        )


def _attempt(problems: list[str], whom: str, ask: Callable[[], _Answer]) -> _Answer | None:
    try:
        return ask()
    except BusError as error:
        problems.append(
            f"{whom} cannot be asked ({error}), so what only it knows of units is unknown, and "
            "rules that ask for it protect"
        )
    except Failure as error:
        problems.append(f"{error.message}, so systemd cannot be asked; {error.hint}")
    return None


def _units(
    asked: Questions, every: list[Placement], connection: Connection, problems: list[str]
) -> tuple[Units, bool]:
    """Return aliases, how units belong together and properties, and whether these are all."""
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
    return found, _properties(asked, every, manager, found, problems)


def _properties(
    asked: Questions, every: list[Placement], manager: Manager, found: Units, problems: list[str]
) -> bool:
    """Add the properties of the system's units to ``found``, as many as there is time for.

    Return whether the manager told about all units; raise BusError if it told about none.
    """
    units = [place.unit for place in every if not place.manager]
    told = 0
    try:
        for some, described in manager.described(units, asked.properties, _MOST_SAID):
            for unit, properties in described.items():
                found.setdefault(unit, {}).update(properties)
            told += len(some)
    except BusError as error:
        if not told:
            raise
        problems.append(
            f"systemd told about {told} of {len(units)} units ({error}); what only it knows "
            "of the others is unknown, and rules that ask for it protect"
        )
        return False
    return True


def of_system(places: Iterable[Placement]) -> frozenset[str]:
    """Return the names of the system's units; users' units are as many as the users like."""
    return frozenset(place.unit for place in every_unit(places) if not place.manager)


def every_unit(places: Iterable[Placement]) -> list[Placement]:
    """Return each unit once, with those around it, in order of their names."""
    seen: dict[str, Placement] = {}
    for place in places:
        for unit in place.ancestors:
            if not unit.unit or key(unit) in seen:
                break
            seen[key(unit)] = unit
    return [seen[name] for name in sorted(seen)]


def _unit_names(node: Node) -> set[str]:
    """Return the names that a condition looks for in ``unit``."""
    return {
        name
        for kind, *operands in walk(node)
        if kind in ("glob", "among") and operands[0] == ["attr", "unit"]
        for name in operands[1:]
    }
