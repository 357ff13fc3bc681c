"""Who may be the first victim where values are unknown, in words and for programs."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from oomrules.commands.parts import doubts
from oomrules.processes.snapshot import Process
from oomrules.ranking.possible import Candidate, Possible, possible
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.tiers import named, tier_of
from oomrules.ranking.verdict import Verdict, Why
from oomrules.terminal import called, count, width

_COLUMNS = 80
_IN_DOUBT = (Why.UNKNOWN_SCORE, Why.UNREADABLE, Why.NEVER_IN_DOUBT)


def in_doubt(verdicts: Iterable[Verdict]) -> bool:
    """Return whether something was unknown where it decided about a process."""
    return any(doubts.of(verdict) or verdict.why in _IN_DOUBT for verdict in verdicts)


def found(ranking: Ranking, verdicts: Iterable[Verdict]) -> Possible:
    """Return who may be first; without a doubt that is the first of the list.

    Args:
        verdicts: of all processes.
    """
    if in_doubt(verdicts):
        return possible(ranking.snapshot, ranking.evaluator.program, keep=ranking.keep)
    if not ranking.candidates:
        return Possible(None, nobody=True)
    process = ranking.candidates[0]
    level, points = ranking.level(process), ranking.points(process)
    return Possible(Candidate(process, True, (level, level), (points, points)))


def differs(one: Possible, ranking: Ranking) -> bool:
    """Return whether the first of the list, if there is one, is not known to be the first."""
    first = ranking.candidates[0].pid if ranking.candidates else None
    return bool(one.open) or first != (one.certain and one.certain.process.pid)


def sentence(one: Possible) -> str:
    """Return the answer as one line; of open ones as many as fit are named."""
    if one.certain:
        return f"whatever the unknown values are, {_called(one.certain.process)} is the first"
    if not one.open:
        return "whatever the unknown values are, no process may be killed"
    names = [_called(candidate.process) for candidate in one.open]
    texts = [
        f"open {_between(names, shown, one.nobody)}{because}"
        for because in (*_reasons(one), "")
        for shown in (3, 2, 1)
        if shown == 1 or shown <= len(names)
    ]
    return next((text for text in texts if width(text) <= _COLUMNS), texts[-1])


def _called(process: Process) -> str:
    return f"{process.pid} {called(process.comm)}"


def _between(names: Sequence[str], shown: int, nobody: bool) -> str:
    left = len(names) - shown
    parts = [*names[:shown], *([count(left, "other")] if left > 0 else [])]
    parts += ["none"] if nobody else []
    return f"between {', '.join(parts[:-1])} and {parts[-1]}"


def _reasons(one: Possible) -> list[str]:
    """Return what keeps it open, the longest text first."""
    names = [unknown.name for unknown in one.unknown]
    if not names:
        return []
    texts = []
    if len(names) == 1 and one.unknown[0].processes == 1:
        pid = next(each.process.pid for each in one.open if names[0] in each.unknown)
        texts.append(f", because the {names[0]} of {pid} is not known")
    if len(names) <= 3:
        listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        texts.append(f", because {listed} {'are' if names[1:] else 'is'} unknown")
    if len(names) > 1:
        texts.append(f", because {names[0]} and {len(names) - 1} more are unknown")
    return texts


def advice(one: Possible, options: argparse.Namespace) -> str:
    """Return what to do next, as a line."""
    first = one.certain or one.open[0]
    words = ["oomrules", "explain", str(first.process.pid)]
    if options.snapshot:
        words += ["--snapshot", options.snapshot]
    for path in options.rules or ():
        words += ["--rules", str(path)]
    if str(options.root) != "/":
        words += ["--root", str(options.root)]
    return f"  what is not known, and which rules ask for it: `{shlex.join(words)}`"


def of_process(one: Possible, pid: int) -> list[str]:
    """Return what is to be said of one process, as lines."""
    if one.certain and one.certain.process.pid == pid:
        return ["the first victim, whatever the unknown values are"]
    candidate = next((each for each in one.open if each.process.pid == pid), None)
    if candidate is None:
        return ["not the first victim, whatever the unknown values are"]
    least, most = candidate.points
    where = dict.fromkeys(named(tier_of(level), abs(level) or 1) for level in candidate.levels)
    if most == least:
        points = count(least, "point")
    else:
        points = f"{least} to {'any number of' if most is None else most} points"
    lines = [
        f"may be the first victim: {points}, "
        f"tier {' to '.join(where)}{'' if candidate.sure else ', or protected'}"
    ]
    lines += [
        f"  {unknown.name} is not known; asked for at {', '.join(unknown.rules)}"
        for unknown in one.unknown
        if unknown.name in candidate.unknown
    ]
    return lines


def as_data(one: Possible) -> dict[str, Any]:
    """Return the answer for a program."""
    return {
        "answer": one.answer,
        "certain": one.certain and _candidate(one.certain),
        "open": [_candidate(candidate) for candidate in one.open],
        "nobody": one.nobody,
        "unknown": [
            {"attribute": each.name, "processes": each.processes, "rules": list(each.rules)}
            for each in one.unknown
        ],
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "pid": one.process.pid,
        "comm": one.process.comm,
        "sure": one.sure,
        "levels": list(one.levels),
        "points": list(one.points),
        "unknown": list(one.unknown),
    }
