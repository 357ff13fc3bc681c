"""Test files run against rules: which process is first, protected, above another, or taken."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from oomrules.processes.snapshot import Process, Snapshot
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker, Ranking
from oomrules.testing import course
from oomrules.testing.cases import Case, TestFile
from oomrules.testing.course import Course
from oomrules.testing.series import Series


class Outcome(NamedTuple):
    """The result of a test; without ``problems`` it succeeded."""

    file: TestFile
    case: Case | Series
    problems: tuple[str, ...]


def run(file: TestFile, program: Program, exercised: set[str]) -> Iterator[Outcome]:
    """Run the tests of a file, and return their outcomes.

    Args:
        exercised: the places of the rules that decided something are added to it.
    """
    ranked: dict[frozenset[int], Ranking] = {}
    for series in file.series:
        pids = {name: file.pid(name) for name in series.named}
        if not ranked:
            ranked[frozenset()] = _ranking(file, program, frozenset(), exercised)
        run_through = Course(program, ranked[frozenset()], series, pids)
        yield Outcome(file, series, tuple(course.problems(file, series, run_through, exercised)))
    for case in file.cases:
        there = frozenset(file.pid(name) for name in case.only)
        if there not in ranked:
            ranked[there] = _ranking(file, program, there, exercised)
        ranking = ranked[there]
        yield Outcome(file, case, tuple(_problems(file, case, ranking)))


def _ranking(
    file: TestFile, program: Program, there: frozenset[int], exercised: set[str]
) -> Ranking:
    """Return the ranking of these processes; of all of them if there are none."""

    def keep(process: Process, _: Snapshot) -> bool:
        return not there or process.pid in there

    ranking = Ranker(program, file.snapshot.host).rank(file.snapshot, keep)
    for process in file.snapshot.by_pid.values():
        if keep(process, file.snapshot):
            verdict = ranking.verdict(process)
            exercised |= {held.rule.place for held in verdict.held if held.surely}
            exercised |= {verdict.rule.place} if verdict.rule else set()
    return ranking


def _problems(file: TestFile, case: Case, ranking: Ranking) -> Iterator[str]:
    ranks = {process.pid: number for number, process in enumerate(ranking.candidates)}

    def place(name: str) -> str:
        pid = file.pid(name)
        verdict = ranking.verdict(file.snapshot.by_pid[pid])
        if pid in ranks:
            return f"{name} is number {ranks[pid] + 1}, with {verdict.points} points"
        rule = f" ({verdict.rule.text}, {verdict.rule.place})" if verdict.rule else ""
        return f"{name} is no candidate: {verdict.reason or 'it is not there'}{rule}"

    for key, number in (("first", 0), ("last", len(ranks) - 1)):
        for name in case.expected.get(key, ()):
            if ranks.get(file.pid(name)) != number:
                other = ranking.candidates[number].comm if ranks else "no process"
                yield f"{key} is {other}; {place(name)}"
    for name in case.expected.get("protected", ()):
        if file.pid(name) in ranks:
            yield place(name)
    for name in (*case.expected.get("candidates", ()), *case.expected.get("order", ())):
        if file.pid(name) not in ranks:
            yield place(name)
    for above, below in itertools.pairwise(case.expected.get("order", ())):
        first, second = ranks.get(file.pid(above)), ranks.get(file.pid(below))
        if first is not None and second is not None and first >= second:
            yield f"{place(above)}; {place(below)}"
