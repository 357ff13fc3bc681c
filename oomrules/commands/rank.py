"""Show the candidates for the OOM killer, worst first, and why each ranks where it does."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from oomrules.commands.parts import doubts, openness, selection, shared, wholes
from oomrules.commands.parts.verdicts import COLUMNS, Row, measure, no_candidate
from oomrules.errors import Failure
from oomrules.processes.snapshot import Process
from oomrules.processes.values import innermost_place, innermost_unit, known
from oomrules.ranking.possible import Possible
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.tiers import TIERS
from oomrules.ranking.verdict import Verdict, Why
from oomrules.sinks.kernel_list import format_pids
from oomrules.terminal import Paint, count, print_json, say, table

SCHEMA = "oomrules.ranking/1"

EXITS = {
    0: "there are candidates",
    1: "no process may be killed",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``rank``."""
    shared.add_rules(parser)
    shared.add_host(parser)
    selection.add_selection(parser)
    shared.add_flag(parser, "--all", "show the excluded processes too, and the reason")
    parser.add_argument(
        "--by", choices=("unit",), help="a list for each unit that has candidates of its own"
    )
    shared.add_format(parser, "table", "json", "pids")


def run(options: argparse.Namespace) -> int:
    """Print the ranking; 1 if there is no candidate."""
    ranked = selection.ranked(options)
    ranking = ranked.ranking
    if options.by and options.format == "pids":
        raise Failure(
            "--by unit gives many lists, and the kernel takes one",
            "take --in UNIT for the list of one unit, or --format json",
        )
    in_doubt: list[str] = []
    first: Possible | None = None
    if options.format == "pids":
        sys.stdout.write(format_pids(ranking.pids))
    elif options.format == "json":
        print_json(_as_data(ranking, bool(options.by)))
    else:
        shown = ranking.snapshot.by_pid.values() if options.all else ranking.candidates
        selection.show_names(shown, ranking.snapshot)
        if options.by:
            _print_by_unit(ranking)
            verdicts = [ranking.verdict(process) for process in ranking.candidates]
        else:
            excluded = list(ranking.excluded())
            verdicts = [ranking.verdict(process) for process in ranking.candidates]
            _print_table(ranking, excluded, options.all)
            first = openness.found(ranking, [*verdicts, *(one for _, one in excluded)])
            if openness.differs(first, ranking):
                say(openness.sentence(first))
                if first.answer != "nobody":
                    say(openness.advice(first, options))
        in_doubt = doubts.summary(verdicts)
        in_doubt += wholes.notes(ranking)
    shared.print_notes([*in_doubt, *ranked.notes()])
    if not ranking.candidates:
        say(no_candidate(ranking, options.within, first), sys.stderr)
        return 1
    return 0


def _as_data(ranking: Ranking, by_unit: bool) -> dict[str, Any]:
    snapshot = ranking.snapshot
    candidates = []
    verdicts = []
    for rank, process in enumerate(ranking.candidates, 1):
        verdict = ranking.verdict(process)
        verdicts.append(verdict)
        group = ranking.groups.of(process)
        rules = [verdict.score.place] if verdict.score else []
        candidates.append(
            {
                "rank": rank,
                "pid": process.pid,
                "comm": process.comm,
                "uid": known("uid", process, snapshot),
                "unit": innermost_unit(process, snapshot),
                "cgroup": known("cgroup", process, snapshot),
                "tier": TIERS[verdict.tier],
                "degree": verdict.degree,
                "whole": group.unit.place.path if group else None,
                "base": verdict.base,
                "weight": verdict.fraction,
                "points": verdict.points,
                "rules": rules + [held.rule.place for held in verdict.held],
                "doubts": doubts.as_data(verdict),
            }
        )
    others = list(ranking.excluded())
    excluded = [
        {
            "pid": process.pid,
            "comm": process.comm,
            "reason": verdict.reason,
            "rule": verdict.rule.place if verdict.rule else None,
            "doubts": doubts.as_data(verdict),
        }
        for process, verdict in others
        if not verdict.candidate
    ]
    data: dict[str, Any] = {"schema": SCHEMA, "candidates": candidates, "excluded": excluded}
    data["wholes"] = wholes.as_data(ranking)
    first = openness.found(ranking, [*verdicts, *(verdict for _, verdict in others)])
    data["first"] = openness.as_data(first)
    if by_unit:
        data["by_unit"] = [
            {"units": chain, "pids": [process.pid for _, process in members]}
            for chain, members in _by_unit(ranking)
        ]
    return data


def _by_unit(ranking: Ranking) -> list[tuple[tuple[str, ...] | None, list[tuple[int, Process]]]]:
    """Return each unit's candidates, with their ranks among all; None: the unit is unknown."""
    lists = defaultdict[tuple[str, ...] | None, list[tuple[int, Process]]](list)
    for number, process in enumerate(ranking.candidates, 1):
        place = innermost_place(process, ranking.snapshot)
        chain = None if place is None else place.chain
        lists[chain].append((number, process))
    return sorted(lists.items(), key=lambda item: item[0] or ())


def _print_by_unit(ranking: Ranking) -> None:
    paint = Paint(sys.stdout)
    for chain, members in _by_unit(ranking):
        unit = "unit unknown" if chain is None else " / ".join(chain)
        rows = [Row.of(process, ranking, rank).texts() for rank, process in members]
        print(f"{paint(unit, 'bold')}: {count(len(rows), 'candidate')}")
        print(table(COLUMNS, rows, paint), end="\n\n")


def _print_table(
    ranking: Ranking, excluded: Iterable[tuple[Process, Verdict]], everyone: bool
) -> None:
    rows = wholes.rows(ranking, opened=everyone)
    left_out = kernel_threads = others = 0
    for process, verdict in excluded:
        if verdict.candidate:
            # By --top.
            left_out += 1
        elif verdict.why is Why.KERNEL_THREAD:
            kernel_threads += 1
        else:
            others += 1
            if everyone:
                rows.append(Row.of(process, ranking))
    if rows:
        texts, styles = [one.texts() for one in rows], [one.style for one in rows]
        print(table(COLUMNS, texts, Paint(sys.stdout), styles), end="\n\n")
    shown = len(ranking.candidates)
    print(
        f"{f'the first {shown} of ' if left_out else ''}"
        f"{count(shown + left_out, 'candidate')}{wholes.summary(ranking, everyone)}, "
        f"{others} excluded"
        f"{'' if everyone or not others else ' (--all shows them)'}, "
        f"{count(kernel_threads, 'kernel thread')}"
    )
    say(measure(ranking.evaluator.program))
