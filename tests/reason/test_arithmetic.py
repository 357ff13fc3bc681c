"""What is known of expressions equals brute force over the numbers that they can be made of."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.reason import arithmetic
from oomrules.reason.regions import Reasoner
from oomrules.reason.witness import proposals
from tests.oracle.strategies import thorough

# Both are whole numbers with two ends; between the edges of the constants nothing changes.
_NICE = range(-20, 20)
_ADJUSTED = (-1000, *range(-42, 43), 1000)

_LEAVES = st.one_of(
    st.sampled_from([["attr", "nice"], ["attr", "oom_score_adj"]]),
    st.integers(-20, 20).map(lambda number: ["number", number]),
)
_EXPRESSIONS = st.recursive(
    _LEAVES,
    lambda below: st.one_of(
        st.tuples(st.sampled_from(["max", "min"]), below, below).map(list),
        st.tuples(st.sampled_from(["max", "min"]), below, below, below).map(list),
        st.tuples(st.sampled_from(["+", "-"]), below, below).map(list),
        st.tuples(st.just("negative"), below).map(list),
    ),
    max_leaves=5,
)


def _values(node: Node) -> list[int]:
    return [
        nodes.reduce(node, {"nice": nice, "oom_score_adj": adjusted}.__getitem__, lambda _: None)
        for nice, adjusted in itertools.product(_NICE, _ADJUSTED)
    ]


@given(_EXPRESSIONS)
def test_an_expression_stays_within_its_bounds(node: Node) -> None:
    low, high = arithmetic.bounds(node)
    values = _values(node)
    assert low <= min(values) and max(values) <= high


@thorough
@given(_EXPRESSIONS, st.sampled_from(nodes.COMPARISONS), st.integers(-21, 21))
def test_a_comparison_of_the_larger_or_smaller_one_holds_where_it_does(
    node: Node, operator: str, bound: int
) -> None:
    found = set(_values([operator, node, ["number", bound]]))
    reasoner = Reasoner({})
    condition: Node = [operator, node, ["number", bound]]
    assert reasoner.empty(reasoner.holds(condition)) == (True not in found)
    assert reasoner.empty(reasoner.fails(condition)) == (False not in found)


@given(_EXPRESSIONS, _EXPRESSIONS, _EXPRESSIONS)
def test_the_order_and_number_of_alternatives_mean_nothing(a: Node, b: Node, c: Node) -> None:
    for most in ("max", "min"):
        alike = [[most, a, b, c], [most, c, [most, b, a]], [most, a, b, c, a]]
        assert len({arithmetic.canonical(node) for node in alike}) == 1


def test_the_larger_of_two_amounts_of_memory_has_a_witness() -> None:
    condition: Node = ["<", ["max", ["attr", "rss"], ["attr", "swap"]], ["attr", "anon"]]
    (box,) = Reasoner({}).holds(condition)
    process = next(proposals.proposals(box)).process
    assert max(process.rss or 0, process.swap or 0) < (process.anon or 0)
