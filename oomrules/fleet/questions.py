"""What is asked of one recorded host. A worker answers: it gets text and names, and gives data.

The rules come as the text of a program (``oomrules.program``), compiled once by who asks. A worker
knows no rule file, and needs no lark.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple

from oomrules import __version__
from oomrules.errors import Failure
from oomrules.fleet import recordings
from oomrules.processes.recorded import Recorded
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.values import held, innermost_unit, known
from oomrules.program import program
from oomrules.program.program import Program, Rule, Scope
from oomrules.ranking.ranker import Ranker, Ranking
from oomrules.ranking.tiers import TIERS
from oomrules.ranking.verdict import Why

# A worker has the programs of the question that it is asked, and of the one before.
_KEPT = 8
_LONGEST_MESSAGE = 2000
# What is quoted of a process, which may have chosen it.
_LONGEST_NAME = 256
# These are never candidates, whatever the rules say.
_NO_VICTIM = (Why.KERNEL_THREAD, Why.ZOMBIE, Why.EXITING, Why.NO_MEMORY)


class Question(NamedTuple):
    """What is asked of every host.

    Attributes:
        kind: ``rank``, ``diff``, ``check`` or ``test``.
        programs: the texts of its programs.
        details: whether to tell everything that was found, and not its kind alone.
        expected: of ``test``, what each expectation says (``expectations.Expectation.wanted``).
    """

    kind: str
    programs: tuple[str, ...]
    details: bool = False
    expected: tuple[str, ...] = ()


Answer = dict[str, Any]


def text_of(made: Program) -> str:
    """Return a program as the text that is sent to workers."""
    return json.dumps(program.to_data(made), separators=(",", ":"))


@lru_cache(maxsize=_KEPT)
def _program(text: str) -> Program:
    return program.from_data(json.loads(text))


def answer(question: Question, name: str) -> Answer:
    """Answer a question about one recorded host; ``error`` says why there is no answer."""
    host = recordings.shown(name)
    try:
        programs = [_program(text) for text in question.programs]
        found = _ANSWERS[question.kind](question, programs, recordings.load(name))
    except Failure as error:
        return {"host": host, "error": error.message[:_LONGEST_MESSAGE]}
    except MemoryError:
        return {"host": host, "error": f"{host}: there is not enough memory to judge it"}
    # One recording never ends the whole.
    except Exception as error:
        said = f"{host}: a mistake in oomrules itself: {type(error).__name__}: {error}"
        return {"host": host, "error": said[:_LONGEST_MESSAGE]}
    return {"host": host, **found}


def version() -> str:
    """Return the version of oomrules here."""
    return __version__


def answers(question: Question, names: tuple[str, ...]) -> list[Answer]:
    """Answer a question about several hosts."""
    return [answer(question, name) for name in names]


def _rank(_: Question, programs: list[Program], snapshot: Recorded) -> Answer:
    ranking = _ranked(programs[0], snapshot)
    return {
        "processes": len(snapshot.by_pid),
        "candidates": len(ranking.candidates),
        "first": _first(ranking),
    }


def _diff(question: Question, programs: list[Program], snapshot: Recorded) -> Answer:
    from oomrules.reason import hosts

    compared = hosts.compared(snapshot, *programs)
    old, new = compared.old, compared.new
    first_old, first_new = (one.candidates[:1] for one in (old, new))
    kinds = {
        "first": [one.pid for one in first_old] != [one.pid for one in first_new],
        "protected": any(one["what"] == "exclusion" for one in compared.changes),
        "nobody": bool(first_old) and not first_new,
        "order": old.pids != new.pids,
    }
    found = {
        "kinds": [kind for kind, holds in kinds.items() if holds],
        "old": _first(old),
        "new": _first(new),
        "changed": len(compared.changes),
        "protected": _shielded(compared.changes),
    }
    return found | ({"diff": compared.as_data} if question.details else {})


def _shielded(changes: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first process that is protected under one of the programs only."""
    for one in changes:
        if one["what"] == "exclusion":
            by = {side: one[side]["rule"] for side in ("old", "new")}
            return {"pid": one["pid"], "comm": one["comm"], **by}
    return None


def _check(_: Question, programs: list[Program], snapshot: Recorded) -> Answer:
    """Tell which rules are about somebody, and what part of the memory could be freed.

    The second program is the first one with every rule made one that spares (``unweighed``).
    """
    ranking = _ranked(programs[0], snapshot)
    about: set[str] = set()
    weighed = _ranked(programs[1], snapshot)
    candidates = set(ranking.pids)
    total = free = 0
    for process in snapshot.by_pid.values():
        about.update(one.rule.place for one in weighed.verdict(process).held)
        size = _held(process, snapshot)
        total += size
        free += size if process.pid in candidates else 0
    return {
        "about": sorted(about),
        "candidates": len(candidates),
        "held": total,
        "free": free,
    }


def unweighed(made: Program) -> Program:
    """Return a program in which every rule spares: a verdict then names each one that holds.

    In the program itself ``never`` ends the search, and hides the rules after it. A rule that is in
    doubt counts as one that is about the process. What is said of units, by ``kill whole`` and by
    guards in blocks, is about all processes in them.
    """
    scopes = []
    for scope in made.scopes:
        spares = [rule._replace(kind="spare", factor=(1, 2), degree=1) for rule in scope.rules]
        if scope.targets:
            spares += [_about_all(guard.place, guard.text) for guard in scope.guards]
        scopes.append(scope._replace(rules=tuple(spares), wholes=(), guards=()))
        scopes += [
            Scope((*scope.targets, one.target), None, (_about_all(one.place, one.text),))
            for one in scope.wholes
        ]
    return program.make(tuple(scopes), made.definitions)


def _about_all(place: str, text: str) -> Rule:
    return Rule(kind="spare", when=["and"], place=place, text=text, factor=(1, 2))


def _test(question: Question, programs: list[Program], snapshot: Recorded) -> Answer:
    """Tell of each expectation whether it holds, fails, or is about no process here.

    The second program has one rule for each expectation, in their order (``expectations``).
    """
    ranking, meant = _ranked(programs[0], snapshot), _ranked(programs[1], snapshot)
    ranks = {pid: rank for rank, pid in enumerate(ranking.pids)}
    last = len(ranks) - 1
    about: dict[str, list[Process]] = {}
    for process in snapshot.by_pid.values():
        verdict = ranking.verdict(process)
        if verdict.why not in _NO_VICTIM:
            for one in meant.verdict(process).held:
                if one.surely:
                    about.setdefault(one.rule.place, []).append(process)
    wrong: dict[str, Any] = {}
    idle = []
    for number, wanted in enumerate(question.expected):
        processes = about.get(expected_place(number), [])
        if not processes:
            idle.append(number)
            if wanted == "present":
                wrong[str(number)] = {"pid": None, "comm": None, "rank": None}
            continue
        where = {process.pid: ranks.get(process.pid) for process in processes}
        bad = _breaking(wanted, where, last)
        if bad is not None:
            rank = where[bad]
            comm = _short(snapshot.by_pid[bad].comm)
            wrong[str(number)] = {
                "pid": bad,
                "comm": comm,
                "rank": None if rank is None else rank + 1,
            }
    return {"wrong": wrong, "idle": idle}


def expected_place(number: int) -> str:
    """Return the place of the rule that stands for an expectation."""
    return f"{number}:2"


def _breaking(wanted: str, where: dict[int, int | None], last: int) -> int | None:
    """Return a process by which an expectation fails; ``where`` has ranks from 0 by pid."""
    places = list(where.values())
    if wanted == "first" and 0 not in places:
        return next(iter(where))
    if wanted == "last" and last not in places:
        return next(iter(where))
    fails = {"protected": _ranks, "candidate": _ranks_not, "not first": _ranks_first}.get(wanted)
    return next((pid for pid, rank in where.items() if fails and fails(rank)), None)


def _ranks(rank: int | None) -> bool:
    return rank is not None


def _ranks_not(rank: int | None) -> bool:
    return rank is None


def _ranks_first(rank: int | None) -> bool:
    return rank == 0


def _ranked(made: Program, snapshot: Recorded) -> Ranking:
    return Ranker(made, snapshot.host).rank(snapshot)


def _first(ranking: Ranking) -> dict[str, Any] | None:
    """Return the first victim; None if there is nobody."""
    if not ranking.candidates:
        return None
    process, snapshot = ranking.candidates[0], ranking.snapshot
    verdict = ranking.verdict(process)
    uid = known("uid", process, snapshot)
    return {
        "pid": process.pid,
        "program": _short(process.comm),
        "unit": _short(innermost_unit(process, snapshot)),
        "user": _short(known("user", process, snapshot)) or (None if uid is None else str(uid)),
        "tier": TIERS[verdict.tier],
        "points": verdict.points,
        "held": _held(process, snapshot),
    }


def _held(process: Process, snapshot: Snapshot) -> int:
    """Return the footprint in bytes; what is not known counts nothing."""
    size = held(process, snapshot)
    return size if type(size) is int else 0


def _short(name: str | None) -> str | None:
    return None if name is None else name[:_LONGEST_NAME]


_ANSWERS = {"rank": _rank, "diff": _diff, "check": _check, "test": _test}
