"""Say why a process ranks where it does: from its base to its rank, rule by rule."""

from __future__ import annotations

import argparse
import sys

from oomrules.commands.parts import explained, selection, shared
from oomrules.errors import Failure
from oomrules.terminal import Paint, say

EXITS = {
    0: "the process is a candidate",
    1: "it is none",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``explain``."""
    parser.add_argument("pid", type=int, metavar="PID", help="the process")
    shared.add_rules(parser)
    shared.add_host(parser)


def run(options: argparse.Namespace) -> int:
    """Print the steps from base to rank; 1 if the process is no candidate."""
    ranked = selection.ranked(options)
    process = ranked.source.by_pid.get(options.pid)
    if process is None:
        where = f"in {options.snapshot}" if options.snapshot else "on this host"
        raise Failure(
            f"there is no process {options.pid} {where}", "`oomrules rank --all` lists them"
        )
    ranking = ranked.ranking
    selection.show_names([process], ranking.snapshot)
    verdict = ranking.verdict(process)
    paint = Paint(sys.stdout)
    print(paint(explained.title(process, ranking), "bold"))
    verdicts = [verdict]
    if options.snapshot:
        verdicts += [ranking.verdict(one) for one in ranking.snapshot.by_pid.values()]
    first = explained.first(verdicts, ranking)
    for line in explained.steps(process, verdict, ranking, first):
        say(line)
    shared.print_notes(ranked.notes())
    if not verdict.candidate:
        return 1
    print()
    print(paint(explained.rank(process, ranking), "bold"))
    for line in explained.taking(process, ranking):
        say(line)
    return 0
