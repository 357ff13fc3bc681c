"""Show the tree of units, with memory, limits, pressure, and the rules that hold in each."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from oomrules.commands.parts import guards, selection, shared
from oomrules.processes import recorded
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import NO_LIMIT
from oomrules.processes.units import Placement, placement
from oomrules.processes.values import innermost_place, places
from oomrules.program.program import Guard, Scope
from oomrules.ranking.blocks import scopes_in
from oomrules.terminal import Column, Paint, branch, count, memory, print_json, rough, table

SCHEMA = "oomrules.scopes/1"

_COLUMNS = (
    Column("UNIT", least=16, enough=28, turn=1, cut=branch),
    Column("MEMORY", right=True),
    Column("LIMIT", right=True),
    Column("HIGH", right=True, goes=1),
    Column("SWAP", right=True, goes=2),
    Column("PRESSURE", right=True, goes=4),
    Column("KILLS", right=True, least=5, turn=3, goes=3, cut=rough),
    Column("CANDIDATES", right=True, goes=6),
    Column("RULES", least=12, enough=24, turn=2, goes=5),
)
_FIGURES = {
    "memory": "current",
    "memory_max": "max",
    "memory_high": "high",
    "swap": "swap",
    "pressure": "pressure",
}


class Unit(NamedTuple):
    """A unit as it is shown."""

    place: Placement
    figures: dict[str, Any]
    candidates: int
    scopes: tuple[Scope, ...]
    guards: tuple[Guard, ...]


EXITS = {
    0: "there are units",
    1: "there are no control groups of systemd here",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``scopes``."""
    shared.add_rules(parser)
    shared.add_host(parser)
    shared.add_format(parser, "tree", "json")


def run(options: argparse.Namespace) -> int:
    """Print the tree; 1 if there are no units."""
    ranked = selection.ranked(options)
    source, program = ranked.source, ranked.ranking.evaluator.program
    counts: Counter[str] = Counter()
    for process in ranked.ranking.candidates:
        place = innermost_place(process, source)
        counts.update(unit.path for unit in (place.ancestors if place else ()))
    units = [
        Unit(
            place=place,
            figures=figures,
            candidates=counts[place.path],
            scopes=scopes_in(program, place, source),
            guards=tuple(guards.of_unit(program, place, source)),
        )
        for place, figures in _units(source)
    ]
    if options.format == "json":
        everywhere = [guard.place for guard in guards.of_host(program)]
        known = [_as_data(unit) for unit in units]
        print_json({"schema": SCHEMA, "units": known, "guards": everywhere})
    else:
        _print(
            units,
            sum(len(scope.rules) for scope in program.scopes if not scope.targets),
            len(guards.of_host(program)),
        )
    shared.print_notes(ranked.notes())
    if len(units) < 2:
        print("no units: there are no control groups of systemd here", file=sys.stderr)
        return 1
    return 0


def _units(source: ProcSource | recorded.Recorded) -> Iterable[tuple[Placement, dict[str, Any]]]:
    """Yield each unit with its figures, in the order of the tree."""
    root = source.host.unit_root
    if isinstance(source, ProcSource) and source.hierarchy.layout == "v2":
        # cgroupspy is loaded here: no other command needs it.
        from oomrules.dbus import cgroup_tree

        unified = source.hierarchy.unified
        directory = unified and unified.directory(root or "/")
        for path, controller in cgroup_tree.groups(directory, root) if directory else ():
            figures = {name: controller.figure(file) for name, file in _FIGURES.items()}
            figures["oom_kills"] = (controller.figure("events") or {}).get("oom_kill")
            if placement(path, root).path == path:
                yield placement(path, root), figures
        return
    paths = {unit.path for place in places(source) for unit in place.ancestors} | {root or "/"}
    if isinstance(source, recorded.Recorded):
        paths |= {path for path in source.scopes if placement(path, root).path == path}
    for path in sorted(paths, key=lambda path: path.split("/")):
        scope = source.scope(path)
        names = (*_FIGURES, "oom_kills")
        yield placement(path, root), {name: scope.get(name) if scope else None for name in names}


def _as_data(unit: Unit) -> dict[str, Any]:
    figures = {
        name: None if name.startswith("memory_") and value == NO_LIMIT else value
        for name, value in unit.figures.items()
    }
    return {
        "unit": unit.place.unit or unit.place.slice,
        "cgroup": unit.place.path,
        **figures,
        "candidates": unit.candidates,
        "rules": [rule.place for scope in unit.scopes for rule in scope.rules],
        "guards": [guard.place for guard in unit.guards],
    }


def _print(units: list[Unit], everywhere: int, of_host: int) -> None:
    rows = [
        [
            "  " * (len(unit.place.chain) - 1) + unit.place.chain[-1],
            memory(unit.figures["memory"]),
            _limit(unit.figures["memory_max"]),
            _limit(unit.figures["memory_high"]),
            memory(unit.figures["swap"]),
            _known(unit.figures["pressure"], "{:.2f}%"),
            _known(unit.figures["oom_kills"], "{}"),
            str(unit.candidates),
            ", ".join(_held(unit)),
        ]
        for unit in units
    ]
    styles = ["dim" if not unit.candidates else "" for unit in units]
    print(table(_COLUMNS, rows, Paint(sys.stdout), styles))
    hold = "rule holds" if everywhere == 1 else "rules hold"
    print(f"\n{everywhere} {hold} everywhere; those of `in` blocks are shown beside their units")
    if of_host:
        print(f"{count(of_host, 'guard')} of the host; those of a unit are shown beside it")


def _known(value: float | None, form: str) -> str:
    return "?" if value is None else form.format(value)


def _limit(value: int | None) -> str:
    return "-" if value == NO_LIMIT else memory(value)


def _held(unit: Unit) -> Iterator[str]:
    for scope in unit.scopes:
        # A block may have guards alone, which are about some of its units.
        if scope.rules or scope.score or scope.wholes:
            yield _said(scope)
    if unit.guards:
        yield count(len(unit.guards), "guard")


def _said(scope: Scope) -> str:
    rules = len(scope.rules) + bool(scope.score)
    return f"{rules} in {' in '.join(scope.targets)}"
