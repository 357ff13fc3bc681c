"""Adjustments that make the kernel's own killer follow our order: a plan, and no I/O.

A plan moves as few processes as it can: exactly the fewest where there is one domain, by the
best of several attempts where there are more. What it claims is worked out anew from the
formula and the final values, never taken over from the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oomrules.lean import NamedTuple
from oomrules.runtime.adjustment_search import Claim, Field, attempt, attempts
from oomrules.runtime.killer import UNKILLABLE, Domain, Task

# Between two neighbours, in steps: 1 % of totalpages. Sizes drift between two runs; a whole
# head of 20 then takes a tenth of the scale, and the kernel's own counters are far more exact.
MARGIN = 10


class Assignment(NamedTuple):
    """One value to write; ``why`` is ``protected``, ``order``, ``below`` or ``original``."""

    task: Task
    value: int
    why: str


class Plan(NamedTuple):
    """What to write, and what that is good for.

    Attributes:
        assignments: the writes, the protected first, then by rank.
        values: the final value of each process that was looked at, by pid.
        claims: one for each domain.
        margin: between neighbours, in steps.
        kept: True if what is in force already does it, within half the margin.
    """

    assignments: tuple[Assignment, ...]
    values: dict[int, int]
    claims: tuple[Claim, ...]
    margin: int
    kept: bool = False


def plan(
    candidates: Sequence[Task],
    rest: Sequence[Task],
    protected: Sequence[Task],
    domains: Sequence[Domain],
    margin: int = MARGIN,
) -> Plan:
    """Find the adjustments.

    Args:
        candidates: worst first.
        rest: processes that are no candidates, but that no rule protects either.
        protected: whom the rules exclude.
        domains: the host first.
        margin: the distance between neighbours, in steps of a thousandth of totalpages.
    """
    values = {task.pid: task.original for task in (*candidates, *rest, *protected)}
    held = [task for task in protected if task.original != UNKILLABLE]
    for task in held:
        if task.lowest == UNKILLABLE:
            values[task.pid] = UNKILLABLE
    # Those that cannot be lowered compete like everybody else.
    loose = [task for task in held if task.lowest != UNKILLABLE]
    fields = [
        Field(number, domain, candidates, (*rest, *loose), margin)
        for number, domain in enumerate(domains)
    ]
    best: dict[int, int] = {}
    best_rank: tuple[int, int, int] | None = None
    for lowering in attempts(fields):
        found = attempt(fields, candidates, dict(values), lowering)
        lengths = [field.length(found) for field in fields]
        changes = sum(found[pid] != value for pid, value in values.items())
        rank = (-lengths[0], -sum(lengths), changes)
        if best_rank is None or rank < best_rank:
            best, best_rank = found, rank
    current = {task.pid: task.current for task in (*candidates, *rest, *protected)}
    kept = _still_good(fields, best, current, (*candidates, *rest, *protected))
    if kept:
        best = current
    used = max(1, margin // 2) if kept else margin
    loose_pids = {task.pid for task in loose}
    claims = tuple(field.claim(best, loose_pids, used) for field in fields)
    heads = {task.pid for field in fields for task in field.candidates[: field.wanted]}
    assignments = []
    for task in (*protected, *candidates, *rest):
        value = best[task.pid]
        if value != task.current:
            why = (
                "original"
                if value == task.original
                else "protected"
                if value == UNKILLABLE
                else "order"
                if task.pid in heads
                else "below"
            )
            assignments.append(Assignment(task, value, why))
    return Plan(tuple(assignments), best, claims, used, kept)


def verify(
    planned: Sequence[Claim],
    candidates: Sequence[Task],
    rest: Sequence[Task],
    protected: Sequence[Task],
    values: Mapping[int, int],
    margin: int,
) -> tuple[Claim, ...]:
    """Work out what is true of other values than the planned, such as those that got written.

    Args:
        planned: the claims of the plan.
        values: by pid, of all of them.
    """
    loose = [task for task in protected if values[task.pid] != UNKILLABLE]
    pids = {task.pid for task in loose}
    return tuple(
        Field(number, claim.domain, candidates, (*rest, *loose), margin).claim(values, pids, margin)
        for number, claim in enumerate(planned)
    )


def _still_good(
    fields: Sequence[Field],
    best: Mapping[int, int],
    current: Mapping[int, int],
    tasks: Sequence[Task],
) -> bool:
    """Tell whether what is in force does all that the plan would, with half the margin.

    So values do not change at each run only because sizes did.
    """
    originals = {task.pid: task.original for task in tasks}
    if any(
        UNKILLABLE in (best[pid], value) and best[pid] != value for pid, value in current.items()
    ):
        return False
    changed = sum(value != originals[pid] for pid, value in current.items())
    if not 0 < changed <= sum(value != originals[pid] for pid, value in best.items()):
        return False
    return all(
        field.length(current, max(1, field.steps // 2)) >= field.length(best) for field in fields
    )
