"""The values that make the kernel's own killer follow the list: a plan, and no I/O.

A plan moves as few processes as it can: exactly the fewest where there is one domain, by the
best of several attempts where there are more. What it claims is worked out anew from the
formula and the final values, never taken over from the search.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from oomrules.lean import NamedTuple
from oomrules.ranking.kernel_badness import LOWEST, UNKILLABLE, Domain, Task, badness
from oomrules.sinks.oom_score_adj.search import Claim, Field, Margin, attempt

# Margins to try, widest first. We use the widest one that still orders as many processes as the
# narrowest does, without moving more processes than the heads contain. A wide margin keeps a
# process behind the head from overtaking it by growing. The kernel's own counters are far more
# exact than the narrowest margin.
MARGINS = (Margin(800, 400), Margin(400, 200), Margin(200, 100), Margin(200, 10))

# What each ordinary user may have at -1000, and all of them together, in thousandths of the host's
# totalpages. A rule can bound one process, but nothing bounds how many a user starts.
USERS_SHARE, ALL_USERS_SHARE = 250, 500

# How much has to stay killable, in thousandths; else processes of users are not made unkillable.
KILLABLE_SHARE = 50

# How far every other process stays above a protected one at -999, in steps.
_LAST_GAP = 10


class Assignment(NamedTuple):
    """One value to write.

    Attributes:
        why: ``protected``, ``last`` (protected, but killable), ``order``, ``below`` or
            ``original``.
    """

    task: Task
    value: int
    why: str


class Plan(NamedTuple):
    """What to write, and what that achieves.

    Attributes:
        assignments: the writes, the protected first, then by rank.
        values: the final value of each process that was looked at, by pid.
        claims: one for each domain.
        kept: whether the values in force already do it, within half the margin, and stay.
        last: pids of protected processes that are only killed last, since their user has too many.
    """

    assignments: tuple[Assignment, ...]
    values: dict[int, int]
    claims: tuple[Claim, ...]
    kept: bool = False
    last: tuple[int, ...] = ()


def plan(
    candidates: Sequence[Task],
    rest: Sequence[Task],
    protected: Sequence[Task],
    domains: Sequence[Domain],
    margins: tuple[Margin, ...] = MARGINS,
) -> Plan:
    """Return what to write.

    The processes and the domains, the host first, are as in ``survey.Survey``. The margins are
    those to choose from, the widest first.
    """
    host = domains[0].totalpages
    last = beyond_shares(protected, host)
    planned = _plan(candidates, rest, protected, domains, margins, last)
    # Whoever becomes killable may stand in the way of another's -999, which then is -1000 again.
    while more := too_many(candidates, rest, protected, planned.values, host):
        last |= more
        planned = _plan(candidates, rest, protected, domains, margins, last)
    return planned


def _plan(
    candidates: Sequence[Task],
    rest: Sequence[Task],
    protected: Sequence[Task],
    domains: Sequence[Domain],
    margins: tuple[Margin, ...],
    last: set[int],
) -> Plan:
    tasks = (*candidates, *rest, *protected)
    values = {task.pid: task.original for task in tasks}
    loose = []
    for task in protected:
        if task.original == UNKILLABLE:
            continue
        if task.lowest != UNKILLABLE:
            # One that cannot be lowered competes like all others.
            loose.append(task)
        elif task.pid in last:
            values[task.pid] = LOWEST
            loose.append(task._replace(original=LOWEST, lowest=LOWEST))
        else:
            values[task.pid] = UNKILLABLE
    best, fields = _in_order(candidates, (*rest, *loose), domains, margins, values)
    current = {task.pid: task.current for task in tasks}
    held = [task for task in protected if best[task.pid] == UNKILLABLE]
    passing = _passing(held, (*candidates, *rest, *loose), domains[0], best, current)
    best |= dict.fromkeys(passing, LOWEST)
    firm = {task.pid for task in protected if task.lowest == UNKILLABLE}
    halved = [field.halved() for field in fields]
    # Nor may one that has no choice keep another value than its own.
    firm |= {task.pid for task in tasks if task.lowest == task.highest}
    kept = all(best[pid] == current[pid] for pid in firm) and _still_good(
        fields, halved, best, current, tasks
    )
    if kept:
        best, fields = current, halved
    heads = {task.pid for field in fields for task in field.candidates[: field.wanted]}
    assignments = tuple(
        Assignment(task, best[task.pid], _why(task, best[task.pid], heads, passing, last))
        for task in (*protected, *candidates, *rest)
        if best[task.pid] != task.current
    )
    return Plan(
        assignments=assignments,
        values=best,
        claims=tuple(field.claim(best, loose) for field in fields),
        kept=kept,
        last=tuple(sorted(last)),
    )


def _in_order(
    candidates: Sequence[Task],
    others: Sequence[Task],
    domains: Sequence[Domain],
    margins: tuple[Margin, ...],
    values: Mapping[int, int],
) -> tuple[dict[int, int], list[Field]]:
    """Return values that put the heads in order, and the domains with the margin that serves."""
    for margin in margins[-1:] + margins[:-1]:
        fields = [
            Field(number, domain, candidates, others, margin, few=margin != margins[-1])
            for number, domain in enumerate(domains)
        ]
        tried, lengths, changes = _search(fields, candidates, values)
        if margin == margins[-1]:
            narrowest, in_order = (tried, fields), lengths
            most = max(changes, sum(field.wanted for field in fields))
        elif lengths == in_order and changes <= most:
            return tried, fields
    return narrowest


def _why(task: Task, value: int, heads: set[int], passing: set[int], last: set[int]) -> str:
    if value == task.original:
        return "original"
    if value == UNKILLABLE or task.pid in passing:
        return "protected"
    if task.pid in last:
        return "last"
    return "order" if task.pid in heads else "below"


def beyond_shares(protected: Sequence[Task], totalpages: int) -> set[int]:
    """Return the pids of protected processes of ordinary users that may not be unkillable.

    They are the largest ones beyond what their user, or all users together, may have. Processes of
    root and of system users have what the rules say: an administrator has started them.
    """
    last: set[int] = set()
    had: dict[int, int] = {}
    everything = 0
    for task in sorted(protected, key=_by_size):
        if not _can_be_last(task):
            continue
        mine, all_ = had.get(task.uid, 0) + task.size, everything + task.size
        if mine * 1000 > totalpages * USERS_SHARE or all_ * 1000 > totalpages * ALL_USERS_SHARE:
            last.add(task.pid)
        else:
            had[task.uid], everything = mine, all_
    return last


def too_many(
    candidates: Sequence[Task],
    rest: Sequence[Task],
    protected: Sequence[Task],
    values: Mapping[int, int],
    totalpages: int,
) -> set[int]:
    """Return the pids of users' processes that must be killable, else too little memory is."""
    tasks = (*candidates, *rest, *protected)
    killable = sum(task.size for task in tasks if values[task.pid] != UNKILLABLE)
    freed: set[int] = set()
    for task in sorted(protected, key=_by_size, reverse=True):
        if killable * 1000 >= totalpages * KILLABLE_SHARE:
            break
        if values[task.pid] == UNKILLABLE and _can_be_last(task):
            freed.add(task.pid)
            killable += task.size
    return freed


def _can_be_last(task: Task) -> bool:
    return task.is_users and task.original != UNKILLABLE == task.lowest


def _by_size(task: Task) -> tuple[int, int, int]:
    return task.size, task.start, task.pid


def _passing(
    protected: Sequence[Task],
    others: Sequence[Task],
    host: Domain,
    values: Mapping[int, int],
    current: Mapping[int, int],
) -> set[int]:
    """Return the pids of protected processes that are as safe at -999 as at -1000.

    A process that they start has their value until oomrules sees it. At -999 it can still be
    killed, so the kernel never runs out of victims. They are safe if every process that may be
    killed has more points, before and after the change. When no other process is left they are
    killed; but at -1000 the kernel would panic then, which no process survives. In a group with a
    limit the kernel only fails the charge, so there they have -1000.

    Args:
        others: all processes that may be killed.
    """
    points = [
        found
        for task in others
        for value in (values[task.pid], current[task.pid])
        if (found := badness(task.size, value, host.step)) is not None
    ]
    if not points or not host.step:
        return set()
    # The highest points of a process at 0 that are low enough at -999.
    most = min(points) - LOWEST * host.step
    return {
        task.pid
        for task in protected
        if task.original != UNKILLABLE == task.lowest
        and (task.passes_on or task.is_users)
        and task.domains == (0,)
        and task.size + host.margin(0 if current[task.pid] == LOWEST else _LAST_GAP) <= most
    }


def _search(
    fields: Sequence[Field], candidates: Sequence[Task], values: Mapping[int, int]
) -> tuple[dict[int, int], list[int], int]:
    """Return values, how many of each domain they put in order, and how many they change."""
    best: tuple[int, ...] = ()
    # In which domains processes may be lowered for the order: the host, groups.
    ways = [(True, True), (True, False), (False, True), (False, False)]
    for lowering in ways if len(fields) > 1 else (ways[0], ways[-1]):
        tried = attempt(fields, candidates, dict(values), lowering)
        lengths = [field.length(tried) for field in fields]
        changes = sum(tried[pid] != value for pid, value in values.items())
        # A process that is born later has the usual 0; one that is lowered comes behind even those.
        lowered = sum(tried[pid] < value for pid, value in values.items())
        cost = (-lengths[0], -sum(lengths), changes, lowered)
        if not best or cost < best:
            best, found = cost, (tried, lengths, changes)
    return found


def verify(
    planned: Sequence[Claim],
    candidates: Sequence[Task],
    rest: Sequence[Task],
    protected: Sequence[Task],
    values: Mapping[int, int],
    last: Container[int] = (),
) -> tuple[Claim, ...]:
    """Return what is true of other values than the planned, such as those that got written."""
    loose = [task for task in protected if values[task.pid] != UNKILLABLE]
    if planned:
        # One that comes after all that may be killed is out of reach.
        low = [task for task in loose if values[task.pid] == LOWEST and task.pid not in last]
        high = [task for task in loose if values[task.pid] != LOWEST or task.pid in last]
        safe = _passing(low, (*candidates, *rest, *high), planned[0].domain, values, values)
        loose = [task for task in loose if task.pid not in safe]
    claims = []
    for number, claim in enumerate(planned):
        margin = Margin(claim.gap, claim.gap)
        field = Field(number, claim.domain, candidates, (*rest, *loose), margin, False)
        field.keep(claim.apart, claim.gap)
        claims.append(field.claim(values, loose))
    return tuple(claims)


def _still_good(
    fields: Sequence[Field],
    halved: Sequence[Field],
    best: Mapping[int, int],
    current: Mapping[int, int],
    tasks: Sequence[Task],
) -> bool:
    """Return whether the values in force do all that the plan would, at half the distances.

    This keeps values from changing at each run only because sizes did.
    """
    if any(
        UNKILLABLE in (best[pid], value) and best[pid] != value for pid, value in current.items()
    ):
        return False
    changed = sum(current[task.pid] != task.original for task in tasks)
    if not 0 < changed <= sum(best[task.pid] != task.original for task in tasks):
        return False
    return all(
        half.length(current) >= field.length(best)
        for half, field in zip(halved, fields, strict=True)
    )
