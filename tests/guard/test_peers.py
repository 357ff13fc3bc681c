"""What the users of other tools had to learn: each case is a series in peers.test.toml."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from oomrules.language import compiler, rulefiles
from oomrules.testing import cases, trial

FILE = cases.read(Path(__file__).with_name("peers.test.toml"))
RULES = rulefiles.given([str(Path(__file__).with_name("peers.oom"))])
PROGRAM = compiler.compile_rules(RULES)


@cache
def run(number: int) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return what is not as a case says, and which guards held in it."""
    exercised: set[str] = set()
    (outcome,) = trial.run(
        FILE._replace(series=FILE.series[number : number + 1]), PROGRAM, exercised
    )
    return outcome.problems, frozenset(exercised)


@pytest.mark.parametrize(
    "number", range(len(FILE.series)), ids=[series.name for series in FILE.series]
)
def test_the_guard_has_learned_it(number: int) -> None:
    problems, _ = run(number)
    assert problems == ()


def test_every_guard_of_the_rules_has_a_case() -> None:
    exercised = frozenset[str]().union(*(held for _, held in map(run, range(len(FILE.series)))))
    assert {guard.place for _, guard in PROGRAM.guards} <= exercised
