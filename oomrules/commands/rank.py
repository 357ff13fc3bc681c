"""Show the candidates for the OOM killer, worst first, and why each ranks where it does."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from oomrules.commands.parts import doubts, rulesets, selection
from oomrules.errors import Failure
from oomrules.language.diagnostics import did_you_mean
from oomrules.processes.snapshot import Process
from oomrules.processes.values import GETTERS, innermost_unit, known, place_of
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.verdict import FIRST, LAST, TIERS, Held, Verdict, Why
from oomrules.sinks.kernel_list import format_pids
from oomrules.terminal import (
    Column,
    Paint,
    called,
    count,
    memory,
    middle,
    print_json,
    rough,
    say,
    table,
)

SCHEMA = "oomrules.ranking/1"
# Why processes are no candidates, said of some of them.
_NOBODY = {Why.NO_POINTS: "without points", Why.UNKNOWN_SCORE: "with an unknown score"}

COLUMNS = (
    Column("RANK", right=True),
    Column("PID", right=True),
    Column("USER", least=4, enough=12, turn=2, goes=1),
    Column("UNIT", least=12, enough=24, turn=1, goes=2, cut=middle),
    Column("RSS", right=True),
    Column("POINTS", right=True, least=7, enough=12, turn=5, cut=rough),
    Column("COMMAND", least=10, enough=16, turn=4),
    Column("WHY", least=20, enough=32, turn=3, goes=3),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``rank``."""
    rulesets.add_rules(parser)
    rulesets.add_host(parser)
    selection.add_selection(parser)
    parser.add_argument(
        "--all", action="store_true", help="show the excluded processes too, and the reason"
    )
    parser.add_argument(
        "--by", choices=("unit",), help="a list for each unit that has candidates of its own"
    )
    parser.add_argument("--format", choices=("table", "json", "pids"), default="table")


def run(options: argparse.Namespace) -> int:
    """Print the ranking; 1 if there is nobody to kill."""
    ranked = selection.ranked(options)
    ranking = ranked.ranking
    if options.by and options.format == "pids":
        raise Failure(
            "--by unit gives many lists, and the kernel takes one",
            "take --in UNIT for the list of one unit, or --format json",
        )
    in_doubt: list[str] = []
    if options.format == "table":
        everybody = ranking.snapshot.by_pid.values()
        selection.show_names(everybody if options.all else ranking.candidates, ranking.snapshot)
    if options.by and options.format == "table":
        _print_by_unit(ranking)
        in_doubt = doubts.summary(map(ranking.verdict, ranking.candidates))
    elif options.format == "pids":
        sys.stdout.write(format_pids(ranking.pids))
    elif options.format == "json":
        data = as_data(ranking)
        if options.by:
            data["by_unit"] = [
                {"units": chain, "pids": [process.pid for _, process in members]}
                for chain, members in _by_unit(ranking)
            ]
        print_json(data)
    else:
        _print_table(ranking, options.all)
        in_doubt = doubts.summary(map(ranking.verdict, ranking.candidates))
    rulesets.print_notes([*in_doubt, *ranked.notes()])
    if not ranking.candidates:
        say(nobody(ranking, options.within), sys.stderr)
        return 1
    return 0


def nobody(ranking: Ranking, unit: str | None = None) -> str:
    """Say that there is no candidate, and why."""
    if unit and not any(True for _ in ranking.excluded()):
        return f"no process is in a unit that `{unit}` matches; {_meant(unit, ranking)}"
    where = f" in `{unit}`" if unit else ""
    reasons = Counter(
        "protected by a rule" if verdict.rule else _NOBODY.get(verdict.why, verdict.reason)
        for _, verdict in ranking.excluded()
        if verdict.eligible
    )
    if not reasons:
        return f"nobody may be killed{where}: there is no process that the kernel would take"
    said = ", ".join(f"{count(number, 'process')} {why}" for why, number in reasons.most_common())
    return f"nobody may be killed{where}: {said}; `oomrules rank --all` says why of each"


def _meant(unit: str, ranking: Ranking) -> str:
    """Say which unit was meant: a kind may be missing, or a letter."""
    snapshot = ranking.snapshot
    units: set[str] = set()
    for process in snapshot.by_pid.values():
        cgroup = GETTERS["cgroup"](process, snapshot)
        units.update(place_of(cgroup, snapshot).chain if cgroup else ())
    longer = sorted(one for one in units if one.startswith(f"{unit}."))
    words = longer or sorted(units)
    return did_you_mean(longer[0] if longer else unit, words, "`oomrules scopes` lists the units")


def as_data(ranking: Ranking) -> dict[str, Any]:
    """Give a ranking in the form of schema ``oomrules.ranking/1``."""
    snapshot = ranking.snapshot
    candidates = []
    for rank, process in enumerate(ranking.candidates, 1):
        verdict = ranking.verdict(process)
        rules = [verdict.score.place] if verdict.score else []
        candidates.append(
            {
                "rank": rank,
                "pid": process.pid,
                "comm": process.comm,
                "uid": known("uid", process, snapshot),
                "unit": innermost_unit(process, snapshot),
                "cgroup": GETTERS["cgroup"](process, snapshot),
                "tier": TIERS[verdict.tier],
                "base": verdict.base,
                "weight": verdict.fraction,
                "points": verdict.points,
                "rules": rules + [held.rule.place for held in verdict.held],
                "doubts": doubts.as_data(verdict),
            }
        )
    excluded = [
        {
            "pid": process.pid,
            "comm": process.comm,
            "reason": verdict.reason,
            "rule": verdict.rule.place if verdict.rule else None,
            "doubts": doubts.as_data(verdict),
        }
        for process, verdict in ranking.excluded()
        if not verdict.candidate
    ]
    return {"schema": SCHEMA, "candidates": candidates, "excluded": excluded}


def factor(held: Held) -> str:
    """Write what a rule does to the points: ``x2``, ``/4``, or the tier it puts into.

    A question mark says that the rule was in doubt.
    """
    above, below = held.rule.factor
    if held.rule.kind in ("first", "last"):
        text = held.rule.kind
    else:
        text = f"x{above}" if below == 1 else f"/{below}" if above == 1 else f"x{above}/{below}"
    return text if held.surely else f"{text}?"


def within_block(targets: Sequence[str], text: str) -> str:
    """Write a statement with the blocks around it, as in a rule file."""
    return "".join(f"in {target}: " for target in targets) + text


def why(verdict: Verdict) -> str:
    """Name the rules that held: what each does to the points, in which block, and whom it means.

    What was in doubt comes last, with what was unknown.
    """
    said = []
    for held in verdict.held:
        words = held.rule.text.split(" by ")[0].split()
        whom = " ".join(words[2:] if words[0] == "kill" else words[1:])
        effect = factor(held)
        if held.targets:
            around = "…/" if len(held.targets) > 1 else ""
            said.append(f"{effect} in {around}{held.targets[-1]}: {whom}")
        else:
            said.append(f"{effect}{':' if held.rule.kind in ('first', 'last') else ''} {whom}")
    text = ", ".join(said) or "by its score alone"
    return "; ".join((text, *doubts.said(verdict)))


def because(verdict: Verdict) -> str:
    """Say why a process is no candidate, by which rule, and what was unknown."""
    text = doubts.excluded(verdict)
    if verdict.rule:
        text += f": {within_block(verdict.targets, verdict.rule.text)} ({verdict.rule.place})"
    return text


def _row(rank: str, process: Process, ranking: Ranking, points: str, reason: str) -> list[str]:
    snapshot = ranking.snapshot
    rss = None if process.rss is None else process.rss * snapshot.host.page_size
    user, unit = known("user", process, snapshot), innermost_unit(process, snapshot)
    return [
        rank,
        str(process.pid),
        user or "?",
        "?" if unit is None else unit or "-",
        memory(rss),
        points,
        called(process.comm),
        reason,
    ]


Chain = tuple[str, ...]


def _by_unit(ranking: Ranking) -> list[tuple[Chain | None, list[tuple[int, Process]]]]:
    """Give each unit's candidates, with their ranks among all; None: the unit is unknown."""
    lists: dict[Chain | None, list[tuple[int, Process]]] = {}
    for number, process in enumerate(ranking.candidates, 1):
        cgroup = GETTERS["cgroup"](process, ranking.snapshot)
        chain = None if cgroup is None else place_of(cgroup, ranking.snapshot).chain
        lists.setdefault(chain, []).append((number, process))
    return sorted(lists.items(), key=lambda item: item[0] or ())


def _candidate_row(number: int, process: Process, ranking: Ranking) -> list[str]:
    verdict = ranking.verdict(process)
    return _row(str(number), process, ranking, str(verdict.points), why(verdict))


def _print_by_unit(ranking: Ranking) -> None:
    paint = Paint(sys.stdout)
    for chain, members in _by_unit(ranking):
        where = "unit unknown" if chain is None else " / ".join(chain)
        rows = [_candidate_row(number, process, ranking) for number, process in members]
        print(f"{paint(where, 'bold')}: {count(len(rows), 'candidate')}")
        print(table(COLUMNS, rows, paint), end="\n\n")


def _print_table(ranking: Ranking, everyone: bool) -> None:
    rows: list[list[str]] = []
    styles = []
    for number, process in enumerate(ranking.candidates, 1):
        verdict = ranking.verdict(process)
        rows.append(_candidate_row(number, process, ranking))
        styles.append({FIRST: "red", LAST: "green"}.get(verdict.tier, ""))
    kernel_threads = others = left_out = 0
    for process, verdict in ranking.excluded():
        if verdict.candidate:  # a candidate that --top left out
            left_out += 1
            continue
        if verdict.why is Why.KERNEL_THREAD:
            kernel_threads += 1
            continue
        others += 1
        if everyone:
            rows.append(_row("-", process, ranking, "-", because(verdict)))
            styles.append("dim")
    if rows:
        print(table(COLUMNS, rows, Paint(sys.stdout), styles), end="\n\n")
    candidates = len(ranking.candidates) + left_out
    print(
        f"{f'the first {len(ranking.candidates)} of ' if left_out else ''}"
        f"{count(candidates, 'candidate')}, {others} excluded"
        f"{'' if everyone or not others else ' (--all shows them)'}, "
        f"{count(kernel_threads, 'kernel thread')}"
    )
