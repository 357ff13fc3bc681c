"""Which guards are about a unit, and which may take a process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

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


def explained(
    process: Process,
    ranking: Ranking,
    rank: int,
    within: Mapping[str, Mapping[int, int]] | None = None,
) -> Iterator[str]:
    """Yield a line for each guard that may take a candidate, and as which of its candidates.

    Args:
        process: the candidate.
        ranking: where it stands.
        rank: its place in the list.
        within: ``inside`` of the ranking, if it is known already.
    """
    snapshot = ranking.snapshot
    place = innermost_place(process, snapshot)
    for targets, guard in ranking.evaluator.program.guards:
        if guard.kind == _WARN:
            continue
        said = f"{within_block(targets, guard.text)} ({guard.place})"
        if not targets:
            yield f"{said}: candidate {rank} of {len(ranking.candidates)}"
            continue
        if place is None:
            yield f"{said}: unknown, as its unit is"
            continue
        found, in_doubt = blocks.meant(targets, place, snapshot)
        if found and within is None:
            within = inside(ranking)
        for unit in found:
            members = within[unit.path] if within else {}
            number = members[process.pid]
            yield f"{said}: candidate {number} of {len(members)} in {unit.unit or unit.slice}"
        if in_doubt and not found:
            yield f"{said}: unknown, since systemd has not said enough of its units"


def inside(ranking: Ranking) -> dict[str, dict[int, int]]:
    """Return the candidates in each unit and below it, by its control group.

    Returns:
        the place of each among them, by its pid, worst first.
    """
    found = defaultdict[str, dict[int, int]](dict)
    for process in ranking.candidates:
        place = innermost_place(process, ranking.snapshot)
        for path in dict.fromkeys(around.path for around in (place.ancestors if place else ())):
            members = found[path]
            members[process.pid] = len(members) + 1
    return dict(found)
