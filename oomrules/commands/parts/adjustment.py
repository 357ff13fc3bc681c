"""``emit --to oom_score_adj``: the plan as people read it, and what came of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from oomrules import kept
from oomrules.commands.parts import rulesets, selection
from oomrules.commands.parts.verdicts import no_candidate
from oomrules.plain import some
from oomrules.processes.procfs import ProcSource
from oomrules.processes.units import placement
from oomrules.processes.values import innermost_unit
from oomrules.ranking.ranker import Ranking
from oomrules.sinks.oom_score_adj import record
from oomrules.sinks.oom_score_adj.formula import UNKILLABLE
from oomrules.sinks.oom_score_adj.plan import Plan
from oomrules.sinks.oom_score_adj.search import Claim
from oomrules.sinks.oom_score_adj.survey import Survey, survey_live, survey_recorded
from oomrules.state import ADJUSTMENTS
from oomrules.terminal import Column, Paint, called, count, memory, middle, say, table

_COLUMNS = (
    Column("RANK", right=True),
    Column("PID", right=True),
    Column("UNIT", least=12, enough=24, turn=1, goes=1, cut=middle),
    Column("SIZE", right=True),
    Column("ADJ", right=True),
    Column("TO", right=True),
    Column("COMMAND", least=10, enough=16, turn=3),
    Column("WHY", least=20, turn=2, goes=2),
)
_WHY = {
    "protected": "protected by a rule",
    "last": "protected by a rule, but only last",
    "order": "put in order",
    "below": "kept below the head",
    "original": "back to what it was",
    "": "as it is",
}


def dry_run(options: argparse.Namespace, head: int) -> int:
    """Show what would be written, and write nothing; 1 if no process may be killed."""
    ranked = selection.ranked(options, verified=not options.snapshot)
    if isinstance(ranked.source, ProcSource):
        before = record.load(f"{kept.standard()}/{ADJUSTMENTS}")
        survey = survey_live(ranked.ranking, ranked.source, before, head)
    else:
        survey = survey_recorded(ranked.ranking, head)
    plan = survey.plan()
    _print_plan(survey, plan, ranked.ranking)
    print()
    for line in claims(plan.claims, survey):
        say(line)
    rulesets.print_notes([*ranked.notes(), *notes(survey, plan)])
    if ranked.ranking.candidates:
        return 0
    print(no_candidate(ranked.ranking), file=sys.stderr)
    return 1


# --- words ---------------------------------------------------------------------------------


def notes(survey: Survey, plan: Plan) -> list[str]:
    """Return notes on what limits the plan."""
    said = []
    tasks = survey.tasks
    if any(task.lowest > UNKILLABLE for task in tasks):
        said.append(
            "no value can be lowered here (that takes CAP_SYS_RESOURCE on the host itself), so no "
            "process can be made safe from the kernel; candidates are put above the protected ones"
        )
    fixed = sum(task.lowest == task.highest for task in tasks)
    if fixed:
        said.append(f"{count(fixed, 'process')} of other users cannot be adjusted; run as root")
    if survey.unreadable:
        said.append(f"the oom_score_adj of {count(survey.unreadable, 'process')} cannot be read")
    if plan.last:
        names = {pid: called(survey.processes[pid].comm) for pid in plan.last}
        said.append(
            "killed last instead of never, since a user may not make more than a quarter of the "
            f"memory unkillable, nor nearly all that is in use: {_list(plan.last, names)}; run "
            "a process that must never be killed as a system user"
        )
    if plan.kept:
        said.append("the values in force still keep the order, at half the distances, so they stay")
    return said


def claims(made: Sequence[Claim], survey: Survey) -> list[str]:
    """Return how much of the order the kernel will keep in each domain."""
    names = {pid: called(process.comm) for pid, process in survey.processes.items()}
    return [_claim(claim, names, survey) for claim in made if claim.candidates]


def _claim(claim: Claim, names: Mapping[int, str], survey: Survey) -> str:
    page, domain = survey.page_size, claim.domain
    where = where_is(domain.name, survey.unit_root)
    said = f"{where}: none of {count(claim.candidates, 'candidate')} in order"
    if claim.claimed:
        between, gap = (memory(domain.margin(steps) * page) for steps in (claim.apart, claim.gap))
        first = f"the first {claim.claimed} of " if claim.claimed < claim.candidates else ""
        said = f"{where}: {first}{count(claim.candidates, 'candidate')} in order"
        if claim.claimed > 1:
            said += f", {between} or more apart"
        if claim.claimed < claim.candidates:
            said += f" and {gap} or more above the rest"
    parts = [said]
    if claim.stuck:
        why = "in a group of less than 1000 pages a step weighs nothing"
        if domain.step:
            why = f"the steps, of {memory(domain.step * page)} here, run out"
        parts.append(f"{_list([claim.stuck], names)} and those behind it are not: {why}")
    elif claim.claimed + len(claim.above) < claim.candidates:
        behind = claim.candidates - claim.claimed - len(claim.above)
        parts.append(f"the {behind} behind them as the kernel counts")
    if claim.above:
        parts.append(f"before all of them, out of reach of any step: {_list(claim.above, names)}")
    if claim.killable:
        parts.append(
            f"protected by the rules but not from the kernel: {_list(claim.killable, names)}"
        )
    return "; ".join(parts)


def where_is(cgroup: str, root: str) -> str:
    """Name a domain: the host, a unit, or a control group below a unit."""
    if not cgroup:
        return "the host"
    place = placement(cgroup, root)
    return place.unit if place.unit and place.path == cgroup else cgroup


def _list(pids: Sequence[int], names: Mapping[int, str]) -> str:
    return some([f"{names.get(pid, '?')} ({pid})" for pid in pids])


def _print_plan(survey: Survey, plan: Plan, ranking: Ranking) -> None:
    ranks = {task.pid: rank for rank, task in enumerate(survey.candidates, 1)}
    reasons = {assignment.task.pid: assignment.why for assignment in plan.assignments}
    rows, styles = [], []
    head = survey.domains[0].head
    for task in (*survey.candidates, *survey.rest, *survey.protected):
        rank = ranks.get(task.pid, 0)
        if not (0 < rank <= head or task.pid in reasons):
            continue
        process = survey.processes[task.pid]
        why = reasons.get(task.pid, "")
        unit = innermost_unit(process, ranking.snapshot)
        rows.append(
            [
                str(rank or "-"),
                str(task.pid),
                "?" if unit is None else unit or "-",
                memory(task.size * survey.page_size),
                str(task.current),
                str(plan.values[task.pid]),
                called(process.comm),
                _WHY[why],
            ]
        )
        styles.append({"protected": "green", "order": "red"}.get(why, ""))
    if rows:
        print(table(_COLUMNS, rows, Paint(sys.stdout), styles), end="\n\n")
    print(f"{count(len(reasons), 'value')} to write")
