"""Figures of a host and of units, for the checks of guards: in words, and as this host has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from oomrules.attributes import ATTRIBUTES, Provider, Type, with_sources
from oomrules.lint.host_facts import HostFacts
from oomrules.processes.cgroups import enclosing
from oomrules.processes.snapshot import NO_LIMIT, Process, Snapshot
from oomrules.processes.units import Placement
from oomrules.processes.values import GETTERS, LIMIT, innermost_place, of_group
from oomrules.program.program import Program
from oomrules.ranking.blocks import meant
from oomrules.reason.witness.witness import in_words
from oomrules.terminal import memory

Figures = dict[str, "int | None"]

HOST = tuple(name for name, one in ATTRIBUTES.items() if one.provider is Provider.HOST)
UNIT = tuple(name for name, one in ATTRIBUTES.items() if one.provider is Provider.BLOCK)


def said(figures: Mapping[str, int], read: bool = False) -> dict[str, str]:
    """Return figures in words, in the order of the table of attributes.

    Args:
        read: whether they were read from a host, so that they are rounded; others are given as
            the language writes them.
    """
    found = {name: _said(name, figures[name], read) for name in (*HOST, *UNIT) if name in figures}
    if LIMIT in figures:
        found["nearest memory limit"] = _size(figures[LIMIT], read)
    return found


def _said(name: str, value: int, read: bool) -> str:
    match ATTRIBUTES[name].type:
        case Type.MEMORY:
            return _size(value, read)
        case Type.PERCENTAGE:
            return f"{value / 100:g}%"
    return str(value)


def _size(value: int, read: bool) -> str:
    if value == 0:
        return "0B"
    return memory(value) if read and value < NO_LIMIT else in_words(value)


def asking_for_guards(program: Program) -> Program:
    """Return a program for a source that should read the figures of guards as well."""
    if not program.guards:
        return program
    asked = set(HOST)
    if any(targets for targets, _ in program.guards):
        asked |= set(UNIT)
    return program._replace(attributes=program.attributes | with_sources(asked))


# --- of this host ----------------------------------------------------------------------------


def of_host(snapshot: Snapshot) -> Figures:
    """Return the figures of a host, in bytes and hundredths of a percent; None if not known."""
    page = snapshot.host.page_size
    found: Figures = {LIMIT: snapshot.host.mem_total}
    for name in HOST:
        # The figures of a host are the same for every process.
        value = GETTERS[name](_NOBODY, snapshot)
        found[name] = _in_bytes(name, value, page)
    return found


_NOBODY = Process(0)


def _in_bytes(name: str, value: int | None, page: int) -> int | None:
    return value if value is None or ATTRIBUTES[name].type is not Type.MEMORY else value * page


class Unit(NamedTuple):
    """A unit of the host that a guard's block is about, with the processes in it."""

    place: Placement
    processes: tuple[Process, ...]

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.place.unit or self.place.chain[-1]


def units(targets: tuple[str, ...], host: HostFacts) -> list[Unit]:
    """Return the units with processes that a block is about, by the paths of their groups."""
    around: dict[Placement, list[Placement]] = {}
    found: dict[str, tuple[Placement, list[Process]]] = {}
    for process in host.processes():
        place = innermost_place(process, host.snapshot)
        if place is None:
            continue
        if place not in around:
            around[place], _ = meant(targets, place, host.snapshot)
        for unit in around[place]:
            found.setdefault(unit.path, (unit, []))[1].append(process)
    return [Unit(place, tuple(inside)) for _, (place, inside) in sorted(found.items())]


def of_unit(place: Placement, snapshot: Snapshot) -> Figures:
    """Return the figures of a unit, in bytes and hundredths of a percent; None if not known."""
    page = snapshot.host.page_size
    found: Figures = {}
    for name in UNIT:
        value = of_group(place.path, ATTRIBUTES[name].field, snapshot)
        found[name] = _in_bytes(name, value, page)
    found[LIMIT] = _limit(place.path, snapshot)
    return found


def _limit(path: str, snapshot: Snapshot) -> int | None:
    """Return the nearest memory limit of a control group, else the RAM."""
    for group in enclosing(path):
        scope = snapshot.scope(group)
        value = None if scope is None else scope.get("memory_max")
        if value is not None and value < NO_LIMIT:
            return int(value)
    return snapshot.host.mem_total
