"""Write the list of candidates to the kernel's /proc/oom, to a file, or to ``-``.

Or let the kernel's own killer follow it: ``--to oom_score_adj``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from oomrules import config, kept, targets
from oomrules.commands.parts import adjustment, rulesets, selection
from oomrules.commands.parts.selection import Ranked
from oomrules.commands.parts.verdicts import no_candidate
from oomrules.errors import Failure
from oomrules.processes.procfs import ProcSource
from oomrules.sinks import Put, Sink, chosen, kernel_list, named, put_all
from oomrules.sinks.oom_score_adj.survey import HEAD
from oomrules.sinks.oom_score_adj.write import OomScoreAdj
from oomrules.state import LastList, State, now
from oomrules.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``emit``."""
    parser.add_argument(
        "--to",
        metavar="TARGET",
        help="/proc/oom (the default where it exists), oom_score_adj (the default elsewhere), a "
        f"file, or - for standard output; {config.PATH} can settle it",
    )
    rulesets.add_flag(parser, "--dry-run", "with oom_score_adj: show the plan, write nothing")
    parser.add_argument(
        "--head",
        type=rulesets.number(int, 1),
        metavar="N",
        help=f"with oom_score_adj: put the first N in order ({HEAD} unless told)",
    )
    rulesets.add_rules(parser)
    rulesets.add_host(parser)
    selection.add_selection(parser)


def run(options: argparse.Namespace) -> int:
    """Write the list; 1 if it is empty, which is written too: an old list must not stay."""
    head: int | None = options.head
    wanted: tuple[str, ...] = (options.to,)
    if options.to is None:
        settled = config.load(root=options.root)
        head = head or settled.head
        wanted = chosen(settled.to)
    _check(wanted, options)
    if options.dry_run:
        return adjustment.dry_run(options, head or HEAD)
    state = State() if _is_in_force(wanted, options) else None
    with state.lock() if state else nullcontext():
        last = state.last_list() if state else {}
        read = now()
        ranked = selection.ranked(options, verified=True)
        sinks = [named(target, state, head) for target in wanted]
        put = put_all(
            sinks,
            ranked.ranking,
            ranked.source if isinstance(ranked.source, ProcSource) else None,
            state,
            LastList(read, last.get("kernel_log"), last.get("kills_left", ())),
            only=options.to is None,
        )
    return _report(put, sinks, ranked, options)


def _is_in_force(wanted: Sequence[str], options: argparse.Namespace) -> bool:
    """Return whether the list is put into force, and leaves its traces in the state directory.

    A file that is named on the command line, or ``-``, gets a copy, maybe by other rules and while
    the service has its own list. A user without a state directory leaves no traces; only values of
    oom_score_adj cannot be restored without one.
    """
    if targets.OOM_SCORE_ADJ in wanted:
        return True
    may = os.geteuid() == 0 or kept.standard() != kept.STANDARD
    return may and not options.snapshot and options.to in (None, targets.KERNEL_LIST)


def _report(put: Put, sinks: Sequence[Sink], ranked: Ranked, options: argparse.Namespace) -> int:
    """Print what was done, what limits it, and what failed; return the exit code."""
    adjusted = next((sink.adjusted for sink in sinks if isinstance(sink, OomScoreAdj)), None)
    if put.to or adjusted:
        rulesets.print_notes(ranked.notes())
        if adjusted:
            rulesets.print_notes(adjustment.notes(adjusted.survey, adjusted.plan))
            for claim in adjustment.claims(adjusted.outcome.claims, adjusted.survey):
                say(claim, sys.stderr)
        for line in filter(None, put.done):
            say(line, sys.stderr)
    for failure in put.failures[1:]:
        say(f"oomrules: {failure.message}; {failure.hint}", sys.stderr)
    if put.failures:
        raise put.failures[0]
    if not ranked.ranking.candidates:
        say(no_candidate(ranked.ranking, options.within), sys.stderr)
        return 1
    return 0


def _check(wanted: Sequence[str], options: argparse.Namespace) -> None:
    """Refuse what cannot succeed, before anything is read."""
    if "" in wanted:
        raise Failure("--to has an empty target", "name /proc/oom, oom_score_adj, a file, or -")
    if targets.OOM_SCORE_ADJ in wanted:
        _check_adjusting(options)
    else:
        for given, option in ((options.dry_run, "--dry-run"), (options.head, "--head")):
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
                "load it with `modprobe oom`; or let the kernel's own killer follow the order with "
                "--to oom_score_adj; or name a file, or - for standard output",
            )


def _check_adjusting(options: argparse.Namespace) -> None:
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
        raise Failure(
            f"the list goes to oom_score_adj (there is no {targets.KERNEL_LIST} on this host, or "
            f"{config.PATH} says so), and only root can set that of all processes",
            "load the module with `modprobe oom`, run as root, or name a file, or - for standard "
            "output, with --to",
        )
