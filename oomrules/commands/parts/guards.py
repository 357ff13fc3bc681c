"""Which guards are about a unit, and which may take a process."""

from __future__ import annotations

from collections.abc import Iterator

from oomrules.commands.parts.verdicts import within_block
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.units import Placement
from oomrules.processes.values import innermost_place
from oomrules.program.program import Guard, Program
from oomrules.ranking import blocks
from oomrules.ranking.ranker import Ranking

# The guard that kills nobody.
_WARN = "warn"


def of_host(program: Program) -> list[Guard]:
    """Return the guards that stand in no block."""
    return [guard for targets, guard in program.guards if not targets]


def of_unit(program: Program, place: Placement, snapshot: Snapshot) -> list[Guard]:
    """Return the guards whose block is about a unit itself."""
    return [
        guard
        for targets, guard in program.guards
        if targets
        and any(unit.path == place.path for unit in blocks.meant(targets, place, snapshot)[0])
    ]


def explained(process: Process, ranking: Ranking) -> Iterator[str]:
    """Yield a line for each guard that may take a candidate, and as which of its candidates."""
    snapshot = ranking.snapshot
    place = innermost_place(process, snapshot)
    for targets, guard in ranking.evaluator.program.guards:
        if guard.kind == _WARN:
            continue
        said = f"{within_block(targets, guard.text)} ({guard.place})"
        if not targets:
            rank = ranking.candidates.index(process) + 1
            yield f"{said}: candidate {rank} of {len(ranking.candidates)}"
            continue
        if place is None:
            yield f"{said}: unknown, as its unit is"
            continue
        found, in_doubt = blocks.meant(targets, place, snapshot)
        for unit in found:
            inside = _inside(unit, ranking)
            number = inside.index(process.pid) + 1
            yield f"{said}: candidate {number} of {len(inside)} in {unit.unit or unit.slice}"
        if in_doubt and not found:
            yield f"{said}: unknown, since systemd has not said enough of its units"


def _inside(unit: Placement, ranking: Ranking) -> list[int]:
    """Return the candidates in a unit and below it, worst first."""
    found = []
    for process in ranking.candidates:
        place = innermost_place(process, ranking.snapshot)
        if place is not None and any(around.path == unit.path for around in place.ancestors):
            found.append(process.pid)
    return found
