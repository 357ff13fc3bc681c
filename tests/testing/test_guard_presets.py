"""The presets with guards: each of their guards is needed, and their tests say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from oomrules import resources
from oomrules.language import compiler, rulefiles
from oomrules.program.program import make
from oomrules.testing import cases, trial

PRESETS = {path.stem for path in (resources.rules() / "presets").glob("guard-*.oom")}
TESTS = sorted((resources.rules() / "tests").glob("guard-*.test.toml"))


def test_each_preset_of_guards_has_tests() -> None:
    tested = {Path(one).stem for path in TESTS for one in cases.read(path).rules or ()}
    assert PRESETS
    assert tested >= PRESETS


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_test_fails_for_each_guard_that_is_taken_away(preset: str) -> None:
    files = [cases.read(path) for path in TESTS]
    files = [file for file in files if any(Path(one).stem == preset for one in file.rules or ())]
    guards: dict[str, str] = {}
    needed: set[str] = set()
    for file in files:
        program = compiler.compile_rules(rulefiles.given(file.rules or ()))
        for _, taken in program.guards:
            guards[taken.place] = taken.text
            scopes = tuple(
                scope._replace(guards=tuple(one for one in scope.guards if one != taken))
                for scope in program.scopes
            )
            less = make(scopes, program.definitions)
            if any(outcome.problems for outcome in trial.run(file, less, set())):
                needed.add(taken.place)
    assert len(guards) > 3
    assert {place: text for place, text in guards.items() if place not in needed} == {}
