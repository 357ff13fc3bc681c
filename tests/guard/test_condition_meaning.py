"""The conditions of guards against the second evaluator, which knows docs/language.md alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.guard import figures
from oomrules.guard.model import HOST, Sample
from oomrules.language import compiler
from tests.language.test_guard_statements import HOSTS, UNITS
from tests.oracle import guards as reference
from tests.oracle import strategies
from tests.oracle.strategies import RuleSet, thorough

UNIT = "/a.slice/b.service"
NOW, TOTAL = 1000.0, 10**9
Point = tuple[float, "int | None", "int | None"]


def _readings(said: dict[str, Any]) -> tuple[dict[str, Any], tuple[Point, ...]]:
    """Return figures as samples have them, with the earlier readings that their shares say.

    Stall is of the last second and of all tasks, pressure of the last 10 s and of some.
    """
    raw = {key: value for key, value in said.items() if key not in ("stall", "pressure")}
    stall, pressure = said["stall"], said["pressure"]
    raw["full"] = None if stall is None else TOTAL
    raw["some"] = None if pressure is None else TOTAL
    full = None if stall is None else TOTAL - stall * 100
    some = None if pressure is None else TOTAL - pressure * 1000
    return raw, ((NOW - 10, some, full), (NOW - 1, raw["some"], full))


@settings(thorough, max_examples=4 * thorough.max_examples)
@given(strategies.guard_sets(), st.lists(st.tuples(HOSTS, UNITS), min_size=1, max_size=8))
def test_a_condition_holds_in_a_sample_where_the_reference_says(
    rule_set: RuleSet, said: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    sources = strategies.texts(rule_set)
    made = compiler.compile_texts(sources)
    rules, placed = reference.placed(sources)
    by_text = {(targets, guard.text): guard for targets, guard in made.guards}
    for one in placed:
        guard = by_text[one.targets, one.text]
        evaluate = figures.compiled(guard.when, made.definitions)
        for host, unit in said:
            # A limit of nothing is none that a share could be of.
            unit = {**unit, "limit": unit["limit"] or None}
            of_host, totals = _readings(host)
            of_unit, unit_totals = _readings(unit)
            sample = Sample(NOW, of_host, {UNIT: of_unit})
            where = UNIT if one.targets else HOST
            look = figures.Look(sample, where, {HOST: totals, UNIT: unit_totals})
            expected = reference.holds(rules, one.guard, host, unit if one.targets else None)
            assert figures.truth(evaluate, look) is expected, (guard.text, host, unit)
