"""Adjustments that make the kernel's own killer follow our order: a plan, and no I/O.

A plan moves as few processes as it can: exactly the fewest where there is one domain, by the
best of several attempts where there are more. What it claims is worked out anew from the
formula and the final values, never taken over from the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oomrules.lean import NamedTuple
from oomrules.runtime.adjustment_search import Claim, Field, Margin, attempt, attempts
from oomrules.runtime.killer import UNKILLABLE, Domain, Task

# The widest one counts that puts as many in order as the narrowest, and for which no more have
# to move than there are in the heads. Memory runs out because something grows: what is behind a
# head should not get past it by that. The kernel's own counters are far more exact than the
# least of these.
MARGINS = (Margin(800, 400), Margin(400, 200), Margin(200, 100), Margin(200, 10))


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
        kept: True if what is in force already does it, within half the margin.
    """

    assignments: tuple[Assignment, ...]
    values: dict[int, int]
    claims: tuple[Claim, ...]
    kept: bool = False


def plan(
    candidates: Sequence[Task],
    rest: Sequence[Task],
    protected: Sequence[Task],
    domains: Sequence[Domain],
    margins: tuple[Margin, ...] = MARGINS,
) -> Plan:
    """Find the adjustments.

    Args:
        candidates: worst first.
        rest: processes that are no candidates, but that no rule protects either.
        protected: whom the rules exclude.
        domains: the host first.
        margins: those to choose from, the widest first.
    """
    everybody = (*candidates, *rest, *protected)
    values = {task.pid: task.original for task in everybody}
    held = [task for task in protected if task.original != UNKILLABLE]
    values |= {task.pid: UNKILLABLE for task in held if task.lowest == UNKILLABLE}
    # Those that cannot be lowered compete like everybody else.
    loose = [task for task in held if task.lowest != UNKILLABLE]
    others = (*rest, *loose)
    for margin in margins[-1:] + margins[:-1]:
        fields = [
            Field(number, domain, candidates, others, margin, margin != margins[-1])
            for number, domain in enumerate(domains)
        ]
        found, lengths, changes = _search(fields, candidates, values)
        if margin == margins[-1]:
            least = found, lengths, fields
            most = max(changes, sum(field.wanted for field in fields))
        elif lengths == least[1] and changes <= most:
            best = found
            break
    else:
        best, _, fields = least
    current = {task.pid: task.current for task in everybody}
    kept = _still_good(fields, best, current, everybody)
    if kept:
        best = current
    claims = _claims(fields, best, loose)
    heads = {task.pid for field in fields for task in field.candidates[: field.wanted]}
    assignments = tuple(
        Assignment(task, best[task.pid], _why(task, best[task.pid], heads))
        for task in (*protected, *candidates, *rest)
        if best[task.pid] != task.current
    )
    return Plan(assignments, best, claims, kept)


def _why(task: Task, value: int, heads: set[int]) -> str:
    if value == task.original:
        return "original"
    if value == UNKILLABLE:
        return "protected"
    return "order" if task.pid in heads else "below"


def _search(
    fields: Sequence[Field], candidates: Sequence[Task], values: Mapping[int, int]
) -> tuple[dict[int, int], list[int], int]:
    """Find values, how many of each domain they put in order, and how many they change."""
    found: list[tuple[int, int, int, int, int]] = []
    tries: list[tuple[dict[int, int], list[int], int]] = []
    for lowering in attempts(fields):
        tried = attempt(fields, candidates, dict(values), lowering)
        lengths = [field.length(tried) for field in fields]
        changes = sum(tried[pid] != value for pid, value in values.items())
        # Who is born later has the usual 0; whoever is lowered comes behind even those.
        lowered = sum(tried[pid] < value for pid, value in values.items())
        found.append((-lengths[0], -sum(lengths), changes, lowered, len(found)))
        tries.append((tried, lengths, changes))
    return tries[min(found)[-1]]


def _claims(
    fields: Sequence[Field], values: Mapping[int, int], loose: Sequence[Task]
) -> tuple[Claim, ...]:
    pids = {task.pid for task in loose}
    return tuple(field.claim(values, pids) for field in fields)


def verify(
    planned: Sequence[Claim],
    candidates: Sequence[Task],
    rest: Sequence[Task],
    protected: Sequence[Task],
    values: Mapping[int, int],
) -> tuple[Claim, ...]:
    """Work out what is true of other values than the planned, such as those that got written.

    Args:
        planned: the claims of the plan.
        values: by pid, of all of them.
    """
    loose = [task for task in protected if values[task.pid] != UNKILLABLE]
    fields = []
    for number, claim in enumerate(planned):
        margin = Margin(claim.gap, claim.gap)
        field = Field(number, claim.domain, candidates, (*rest, *loose), margin, False)
        field.keep(claim.apart, claim.gap)
        fields.append(field)
    return _claims(fields, values, loose)


def _still_good(
    fields: Sequence[Field],
    best: Mapping[int, int],
    current: Mapping[int, int],
    tasks: Sequence[Task],
) -> bool:
    """Tell whether what is in force does all that the plan would, at half the distances.

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
    lengths = [field.length(best) for field in fields]
    kept = [(field.apart, field.gap) for field in fields]
    for field in fields:
        field.halve()
    good = all(
        field.length(current) >= length for field, length in zip(fields, lengths, strict=True)
    )
    if not good:
        for field, (apart, gap) in zip(fields, kept, strict=True):
            field.keep(apart, gap)
    return good
