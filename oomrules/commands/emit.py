"""Write the list of candidates to the kernel's /proc/oom, to a file, or to ``-``.

Or let the kernel's own killer follow it: ``--to oom_score_adj``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from oomrules import config, state_directory, targets
from oomrules.clock import now
from oomrules.commands.parts import selection, shared
from oomrules.commands.parts.selection import Ranked
from oomrules.commands.parts.verdicts import no_candidate
from oomrules.errors import Failure
from oomrules.plain import some
from oomrules.processes.procfs import ProcSource
from oomrules.processes.units import placement
from oomrules.processes.values import innermost_unit
from oomrules.ranking.kernel_badness import UNKILLABLE
from oomrules.ranking.ranker import Ranking
from oomrules.sinks import (
    Choice,
    Put,
    Sink,
    absence,
    chosen,
    coverage,
    kernel_list,
    put_all,
    sinks_of,
)
from oomrules.sinks.oom_score_adj import record
from oomrules.sinks.oom_score_adj.plan import Plan
from oomrules.sinks.oom_score_adj.search import Claim
from oomrules.sinks.oom_score_adj.survey import HEAD, Survey, survey_live, survey_recorded
from oomrules.sinks.oom_score_adj.write import OomScoreAdj
from oomrules.state import ADJUSTMENTS, LastList, State
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

EXITS = {
    0: "the list is written",
    1: "no process may be killed; an empty list is written",
    2: "usage or failure, though other targets may have the list",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``emit``."""
    parser.add_argument(
        "--to",
        metavar="TARGET",
        help="/proc/oom (the default where it exists, with oom_score_adj for what it does not "
        "cover), oom_score_adj (the default elsewhere), a file, or - for standard output; "
        f"{config.PATH} can settle it",
    )
    shared.add_flag(parser, "--dry-run", "with oom_score_adj: show the plan, write nothing")
    parser.add_argument(
        "--head",
        type=shared.number(int, 1),
        metavar="N",
        help=f"with oom_score_adj: put the first N in order ({HEAD} unless told)",
    )
    shared.add_rules(parser)
    shared.add_host(parser)
    selection.add_selection(parser)


def run(options: argparse.Namespace) -> int:
    """Write the list; 1 if it is empty, which is written too: an old list must not stay."""
    head: int | None = options.head
    choice = Choice((options.to,))
    if options.to is None:
        settled = config.load(root=options.root)
        head = head or settled.head
        choice = chosen(settled.to)
        if choice.limited and (options.within or options.top):
            # A value counts for all processes of its group, and this list is of some.
            choice = _without_values(choice)
    _check(choice, options)
    if options.dry_run:
        return _dry_run(options, head or HEAD, choice.limited)
    state, untraced = None, []
    with ExitStack() as stack:
        if _is_in_force(choice.targets, options):
            try:
                state = State()
                stack.enter_context(state.lock())
            except Failure as failure:
                if targets.OOM_SCORE_ADJ in choice.targets and not choice.limited:
                    raise
                # A list needs no state directory; its traces are missing.
                state, untraced = None, [failure]
                choice = _without_values(choice)
        last = state.last_list() if state else {}
        read = now()
        ranked = selection.ranked(options, verified=True)
        sinks = sinks_of(choice, state, head)
        put = put_all(
            sinks,
            ranked.ranking,
            ranked.source if isinstance(ranked.source, ProcSource) else None,
            state,
            LastList(read, last.get("kernel_log"), last.get("kills_left", ())),
            only=options.to is None,
        )
    put.failures.extend(untraced)
    return _report(put, sinks, ranked, options)


def _without_values(choice: Choice) -> Choice:
    """Return a choice without oom_score_adj."""
    kept = tuple(target for target in choice.targets if target != targets.OOM_SCORE_ADJ)
    return Choice(kept)


def _is_in_force(wanted: Sequence[str], options: argparse.Namespace) -> bool:
    """Return whether the list is put into force, and leaves its traces in the state directory.

    A file that is named on the command line, or ``-``, gets a copy, maybe by other rules and while
    the service has its own list. A user without a state directory leaves no traces; only values of
    oom_score_adj cannot be restored without one.
    """
    if targets.OOM_SCORE_ADJ in wanted:
        return True
    may = os.geteuid() == 0 or state_directory.standard() != state_directory.STANDARD
    return may and not options.snapshot and options.to in (None, targets.KERNEL_LIST)


def _report(put: Put, sinks: Sequence[Sink], ranked: Ranked, options: argparse.Namespace) -> int:
    """Print what was done, what limits it, and what failed; return the exit code."""
    adjusted = next((sink.adjusted for sink in sinks if isinstance(sink, OomScoreAdj)), None)
    if put.to or adjusted:
        shared.print_notes(ranked.notes())
        if adjusted:
            shared.print_notes(limits(adjusted.survey, adjusted.plan))
            for claim in claims(adjusted.outcome.claims, adjusted.survey):
                say(claim, sys.stderr)
        if adjusted and adjusted.survey.limited:
            shared.print_notes(_uncovered())
        shared.print_notes(put.one_by_one)
        for line in filter(None, put.done):
            say(line, sys.stderr)
    for failure in put.failures[1:]:
        say(f"oomrules: {failure.full}", sys.stderr)
    if put.failures:
        raise put.failures[0]
    if not ranked.ranking.candidates:
        say(no_candidate(ranked.ranking, options.within), sys.stderr)
        return 1
    return 0


def _uncovered() -> list[str]:
    """Return a note on what the module does not cover, and why."""
    found = coverage.read()
    if found is None or found.follows:
        return []
    return [coverage.uncovered(found)]


def _check(choice: Choice, options: argparse.Namespace) -> None:
    """Refuse what cannot succeed, before anything is read."""
    wanted = choice.targets
    if "" in wanted:
        raise Failure("--to has an empty target", "name /proc/oom, oom_score_adj, a file, or -")
    if targets.OOM_SCORE_ADJ in wanted:
        _check_adjusting(choice, options)
    if targets.OOM_SCORE_ADJ not in wanted or choice.limited:
        dry_run = options.dry_run and not choice.limited
        for given, option in ((dry_run, "--dry-run"), (options.head, "--head")):
            if given:
                raise Failure(
                    f"{option} goes with --to oom_score_adj only",
                    "`oomrules rank` shows a list without writing it, and --top shortens it",
                )
    if targets.KERNEL_LIST in wanted:
        if options.snapshot:
            raise Failure(
                "the pids of a snapshot mean nothing to this kernel",
                "write a snapshot's list to a file or to -",
            )
        if not kernel_list.is_there():
            raise Failure(
                f"there is no {targets.KERNEL_LIST} on this host: the kernel module is not loaded",
                f"{absence.advice()}; or let the kernel's own killer follow the order with "
                "--to oom_score_adj; or name a file, or - for standard output",
            )


def _check_adjusting(choice: Choice, options: argparse.Namespace) -> None:
    if options.snapshot and not options.dry_run:
        raise Failure(
            "the processes of a snapshot are not this kernel's",
            "--dry-run shows what would be done there",
        )
    for given, option in ((options.within, "--in"), (options.top, "--top")):
        if given:
            raise Failure(
                f"{option} does not go with --to oom_score_adj: a value counts on the whole host",
                "--head says how many are put in order",
            )
    if options.to is None and os.geteuid() != 0 and not options.dry_run:
        if choice.limited:
            raise Failure(
                f"the list goes to {targets.KERNEL_LIST}, and only root writes it",
                "run as root, or name a file, or - for standard output, with --to",
            )
        raise Failure(
            f"the list goes to oom_score_adj (there is no {targets.KERNEL_LIST} on this host, or "
            f"{config.PATH} says so), and only root can set that of all processes",
            "run as root, or name a file, or - for standard output, with --to; for "
            f"{targets.KERNEL_LIST}, {absence.advice()}",
        )


# --- the plan, and what came of it ------------------------------------------------------------


def _dry_run(options: argparse.Namespace, head: int, limited: bool) -> int:
    """Show what would be written, and write nothing; 1 if no process may be killed."""
    ranked = selection.ranked(options, verified=not options.snapshot)
    if isinstance(ranked.source, ProcSource):
        before = record.load(f"{state_directory.standard()}/{ADJUSTMENTS}")
        survey = survey_live(ranked.ranking, ranked.source, before, head, limited)
    else:
        survey = survey_recorded(ranked.ranking, head)
    plan = survey.plan()
    _print_plan(survey, plan, ranked.ranking)
    print()
    for line in claims(plan.claims, survey):
        say(line)
    uncovered = _uncovered() if limited else []
    shared.print_notes([*uncovered, *ranked.notes(), *limits(survey, plan)])
    if ranked.ranking.candidates:
        return 0
    print(no_candidate(ranked.ranking), file=sys.stderr)
    return 1


def limits(survey: Survey, plan: Plan) -> list[str]:
    """Return notes on what limits the plan."""
    said = []
    tasks = survey.served
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
    return [
        _claim(claim, names, survey) for claim in made if claim.candidates and claim.domain.head
    ]


def _claim(claim: Claim, names: Mapping[int, str], survey: Survey) -> str:
    page, domain = survey.page_size, claim.domain
    where = domain.name or "the host"
    place = placement(domain.name, survey.unit_root)
    if domain.name and place.path == domain.name:
        where = place.unit or where
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
