"""The benchmark measures rules that there are."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from oomrules.attributes import ATTRIBUTES
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText

BENCH = Path(__file__).resolve().parent.parent / "bench"
RUN, GUARD = BENCH / "run.py", BENCH / "guard.py"


def test_the_rule_of_each_family_compiles_and_asks_for_something() -> None:
    families = runpy.run_path(str(RUN))["FAMILIES"]
    for name, rule in families.items():
        made = compile_texts([RuleText(f"{name}.oom", rule)])
        assert made.attributes, name
        assert made.attributes <= ATTRIBUTES.keys()
    assert {"growth", "the host", "sums of users"} <= families.keys()


def test_the_guards_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    rules = runpy.run_path(str(GUARD))["GUARDS"]
    made = compile_texts([RuleText("guards.oom", rules)])
    assert {guard.kind for _, guard in made.guards} == {"kill", "terminate", "warn"}
