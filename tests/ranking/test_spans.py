"""Sets of truth values and intervals hold everything that exact values give."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.program import nodes
from oomrules.program.nodes import SELF_MADE
from oomrules.ranking import spans
from oomrules.ranking.spans import INFINITE, Span
from tests.oracle.strategies import thorough

TRUTHS = (True, False, None, SELF_MADE)
SETS = st.sets(st.sampled_from(TRUTHS))
BOUNDS = st.tuples(st.integers(-6, 6), st.integers(0, 4))


def as_set(values: set[object]) -> int:
    """Return the bits of truth values."""
    found = 0
    for value in values:
        found |= spans.only(value)
    return found


def reduced(kind: str, *values: object) -> object:
    """Return what the evaluator makes of truth values."""
    names = {f"v{number}": value for number, value in enumerate(values)}
    node = [kind, *(["attr", name] for name in names)]
    return nodes.reduce(node, names.__getitem__, names.__getitem__)


@thorough
@given(SETS, SETS)
def test_sets_of_truths_are_exact(one: set[object], other: set[object]) -> None:
    pairs = list(product(one, other))
    either = spans.disjunction(as_set(one), as_set(other))
    both = spans.conjunction(as_set(one), as_set(other))
    assert either == as_set({reduced("or", *pair) for pair in pairs})
    assert both == as_set({reduced("and", *pair) for pair in pairs})
    assert spans.negation(as_set(one)) == as_set({reduced("not", value) for value in one})


@pytest.mark.parametrize("kind", ["+", "-", "*", "/", "max", "min"])
@thorough
@given(one=BOUNDS, other=BOUNDS)
def test_arithmetic_holds_every_result(
    kind: str, one: tuple[int, int], other: tuple[int, int]
) -> None:
    spanned = [Span(least, least + size) for least, size in (one, other)]
    found = spans.calculated(kind, spanned)
    values = [range(part.least, part.most + 1) for part in spanned]
    results = {nodes.STRICT[kind](*pair) for pair in product(*values)}
    numbers = {value for value in results if value is not None}
    assert bool(found.also & spans.UNKNOWN) is (None in results)
    assert all(found.least <= value <= found.most for value in numbers)
    if numbers:
        assert (found.least, found.most) == (min(numbers), max(numbers))


@pytest.mark.parametrize("kind", ["negative", "root"])
@thorough
@given(bounds=BOUNDS)
def test_arithmetic_of_one_holds_every_result(kind: str, bounds: tuple[int, int]) -> None:
    span = Span(bounds[0], bounds[0] + bounds[1])
    found = spans.calculated(kind, [span])
    results = [nodes.STRICT[kind](value) for value in range(span.least, span.most + 1)]
    assert (found.least, found.most) == (min(results), max(results))


@pytest.mark.parametrize("kind", nodes.COMPARISONS)
@thorough
@given(one=BOUNDS, other=BOUNDS)
def test_comparisons_are_exact(kind: str, one: tuple[int, int], other: tuple[int, int]) -> None:
    spanned = [Span(least, least + size) for least, size in (one, other)]
    values = [range(part.least, part.most + 1) for part in spanned]
    results = {nodes.STRICT[kind](*pair) for pair in product(*values)}
    assert spans.compared(kind, *spanned) == as_set(set(results))


@pytest.mark.parametrize(
    ("kind", "one", "other", "found"),
    [
        ("+", Span(1, INFINITE), Span(2, 3), (3, INFINITE)),
        ("-", Span(1, 5), Span(0, INFINITE), (-INFINITE, 5)),
        ("*", Span(0, INFINITE), Span(-1, 2), (-INFINITE, INFINITE)),
        ("*", Span(0, 0), Span(-INFINITE, INFINITE), (0, 0)),
        ("/", Span(100, 100), Span(1, INFINITE), (0, 100)),
        ("/", Span(-100, 100), Span(5, INFINITE), (-20, 20)),
        ("/", Span(8, INFINITE), Span(2, 4), (2, INFINITE)),
        ("*", Span(10**400, INFINITE), Span(3, 3), (3 * 10**400, INFINITE)),
    ],
)
def test_what_nothing_bounds(kind: str, one: Span, other: Span, found: tuple[object, ...]) -> None:
    span = spans.calculated(kind, [one, other])
    assert (span.least, span.most) == found


def test_what_is_no_number_makes_none() -> None:
    span = spans.calculated("+", [spans.span_of(None), Span(1, 2)])
    assert not span.holds and span.also == spans.UNKNOWN
    assert spans.compared("<", span, Span(1, 2)) == spans.UNKNOWN
