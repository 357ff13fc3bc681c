"""What is proved about the conditions of guards is so on every small host."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.program.nodes import Node
from oomrules.reason.situations import FAILS, HOLDS, LACKS, MAY, Situations, unknown
from oomrules.reason.situations import given as are
from tests.oracle.strategies import thorough

Figures = Mapping[str, int | None]

# A condition here: its text, and what it is on a host, written down a second time.
Condition = tuple[str, Callable[[Figures], bool | None]]

ORDERS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
WHOLE = {"host.available": "host.memory", "host.free": "host.memory", "host.swap_free": "host.swap"}
# Each in bytes, percent or hundredths of one, with what is between the limits below.
SMALL: dict[str, tuple[int | None, ...]] = {
    "host.memory": (1, 3, 8, 20, None),
    "host.available": (0, 1, 2, 3, 7, 20, None),
    "host.swap": (0, 2, 10),
    "host.swap_free": (0, 1, 2, 9, 10),
    "host.stall": (0, 100, 4000, 10_000, None),
}


def compared(name: str, order: str, amount: str) -> Condition:
    def is_so(figures: Figures) -> bool | None:
        value = figures[name]
        if amount.endswith("B"):
            limit, times = int(amount[:-1]), 1
        elif name in WHOLE:
            whole = figures[WHOLE[name]]
            if not whole:
                return None
            limit, times = int(amount[:-1]) * whole, 100
        else:
            limit, times = int(amount[:-1]) * 100, 1
        return None if value is None else bool(ORDERS[order](value * times, limit))

    return f"{name} {order} {amount}", is_so


def between(one: str, order: str, two: str, times: int) -> Condition:
    def is_so(figures: Figures) -> bool | None:
        left, right = figures[one], figures[two]
        return None if left is None or right is None else ORDERS[order](left * times, right)

    return f"{one} * {times} {order} {two}", is_so


def halved(name: str, order: str, amount: int) -> Condition:
    def is_so(figures: Figures) -> bool | None:
        value = figures[name]
        return None if value is None else ORDERS[order](value // 3, amount)

    return f"{name} / 3 {order} {amount}B", is_so


def larger(order: str, amount: int) -> Condition:
    def is_so(figures: Figures) -> bool | None:
        one, two = figures["host.available"], figures["host.swap_free"]
        return None if one is None or two is None else ORDERS[order](max(one, two), amount)

    return f"max(host.available, host.swap_free) {order} {amount}B", is_so


def negated(inner: Condition) -> Condition:
    text, value = inner

    def is_so(figures: Figures) -> bool | None:
        found = value(figures)
        return None if found is None else not found

    return f"not ({text})", is_so


def joined(word: str, parts: tuple[Condition, Condition]) -> Condition:
    (one, left), (two, right) = parts

    def is_so(figures: Figures) -> bool | None:
        both = (left(figures), right(figures))
        settles = word == "or"
        if settles in both:
            return settles
        return None if None in both else not settles

    return f"({one}) {word} ({two})", is_so


orders = st.sampled_from(sorted(ORDERS))
plain = st.one_of(
    st.builds(
        compared,
        st.sampled_from(["host.available", "host.swap_free"]),
        orders,
        st.sampled_from(["0%", "5%", "10%", "50%", "90%", "100%", "0B", "2B", "8B"]),
    ),
    st.builds(compared, st.sampled_from(["host.swap", "host.memory"]), orders, st.just("2B")),
    st.builds(compared, st.just("host.stall"), orders, st.sampled_from(["0%", "1%", "40%"])),
    st.builds(
        between, st.just("host.available"), orders, st.just("host.memory"), st.integers(1, 3)
    ),
    st.builds(halved, st.just("host.available"), orders, st.integers(0, 3)),
    st.builds(larger, orders, st.sampled_from([0, 2, 8])),
)
conditions = st.recursive(
    plain,
    lambda inner: st.one_of(
        inner.map(negated),
        st.builds(joined, st.sampled_from(["and", "or"]), st.tuples(inner, inner)),
    ),
    max_leaves=4,
)


@cache
def hosts() -> list[dict[str, int | None]]:
    """Every small host: a part is at most its whole."""
    found = []
    for values in itertools.product(*SMALL.values()):
        host = dict(zip(SMALL, values, strict=True))
        memory, available = host["host.memory"], host["host.available"]
        swap, free = host["host.swap"], host["host.swap_free"]
        assert swap is not None and free is not None
        if free <= swap and (memory is None or available is None or available <= memory):
            found.append(host)
    return found


def compiled(*texts: str) -> tuple[Situations, list[Node]]:
    rules = "".join(f"warn when {text} for {number + 1}s\n" for number, text in enumerate(texts))
    program = compiler.compile_texts([RuleText("x.oom", rules)])
    guards = sorted((guard for _, guard in program.guards), key=lambda guard: guard.lasting)
    return Situations(program.definitions), [guard.when for guard in guards]


ANSWERS: dict[str, tuple[bool | None, ...]] = {
    HOLDS: (True,),
    FAILS: (False,),
    LACKS: (False, None),
    MAY: (True, None),
}
ways = st.sampled_from(sorted(ANSWERS))


@thorough
@given(conditions, ways, conditions, ways)
def test_what_is_proved_impossible_is_so_on_no_small_host(
    one: Condition, how: str, two: Condition, other: str
) -> None:
    situations, (left, right) = compiled(one[0], two[0])
    so = [
        host for host in hosts() if one[1](host) in ANSWERS[how] and two[1](host) in ANSWERS[other]
    ]
    if situations.surely_not((left, how), (right, other)):
        assert so == []
    # Where there is one, an example is found, and it is one.
    example = situations.example((left, how), (right, other))
    if so:
        assert example is not None
    if example is not None:
        host = {name: example.get(name) for name in SMALL}
        assert one[1](host) in ANSWERS[how] and two[1](host) in ANSWERS[other]


@thorough
@given(conditions)
def test_a_condition_has_the_value_of_the_second_evaluation(one: Condition) -> None:
    situations, (node,) = compiled(one[0])
    for host in hosts()[::7]:
        assert situations.value(node, host) is one[1](host)


def _limits(names: tuple[str, ...]) -> st.SearchStrategy[Condition]:
    return st.one_of(
        st.builds(compared, st.sampled_from(names), orders, st.sampled_from(["4B", "8B"])),
        st.builds(between, st.sampled_from(names), orders, st.sampled_from(names), st.just(1)),
    )


LEVELS = ("host.memory", "host.available", "host.free")


@cache
def levels() -> list[dict[str, int | None]]:
    """Every host with these levels: enough of them to be between the limits in any order."""
    found = itertools.product(range(1, 13), range(13), range(13))
    return [dict(zip(LEVELS, values, strict=True)) for values in found if max(values) == values[0]]


@thorough
@given(
    st.recursive(
        _limits(LEVELS),
        lambda inner: st.one_of(
            inner.map(negated),
            st.builds(joined, st.sampled_from(["and", "or"]), st.tuples(inner, inner)),
        ),
        max_leaves=4,
    )
)
def test_among_levels_everything_that_is_impossible_is_proved(one: Condition) -> None:
    situations, (node,) = compiled(one[0])
    answers = {one[1](host) for host in levels()}
    assert situations.surely_not((node, HOLDS)) is (True not in answers)
    assert situations.surely_not((node, FAILS)) is (False not in answers)


def ask(text: str) -> tuple[Situations, Node]:
    situations, (node,) = compiled(text)
    return situations, node


@pytest.mark.parametrize(
    "text",
    [
        "host.available < 5% and host.available > 10%",
        "host.available > 100%",
        "host.available < 0%",
        "host.pressure > 100%",
        "host.swap == 0B and host.swap_free < 10%",
        "host.swap_free > host.swap",
        "host.memory < 1GiB and host.available > 1GiB",
        "host.available < 5% and host.memory < 10GiB and host.available > 1GiB",
        "max(host.available, host.free) < 1GiB and host.free > 2GiB",
        "host.available / 2 > 1GiB and host.available < 2GiB",
        "(host.stall > 5%) == (host.stall <= 5%)",
        "host.totalpages < host.swap",
    ],
)
def test_no_host_is_so(text: str) -> None:
    situations, node = ask(text)
    assert situations.surely_not((node, HOLDS))
    assert situations.undecided == 0


@pytest.mark.parametrize(
    "text",
    [
        "host.available < 5% and host.available > 2GiB",
        "host.swap == 0B or host.swap_free < 10%",
        "host.available * 3 > host.free * 7",
        "host.available < 5% and host.swap_free < 5% and host.stall > 10%",
        "(host.available < 5%) == (host.swap == 0B)",
        "host.shmem > 1GiB and host.memory - host.available > 3GiB",
    ],
)
def test_some_host_is_so_and_is_shown(text: str) -> None:
    situations, node = ask(text)
    example = situations.example((node, HOLDS))
    assert example is not None
    assert situations.value(node, example) is True


def test_an_ordinary_host_is_shown_where_the_condition_allows_it() -> None:
    situations, node = ask("host.available < 5% and host.stall > 10%")
    gib, mib = 2**30, 2**20
    assert situations.example((node, HOLDS)) == {
        "host.memory": 8 * gib,
        "host.available": 300 * mib,
        "host.stall": 5000,
    }


def test_a_condition_that_asks_for_what_is_unknown_does_not_hold() -> None:
    situations, node = ask("host.available < 5% and (host.stall > 10% or host.free < 1%)")
    waiting = unknown(["host.stall", "host.pressure"])
    rest = {"host.memory": 2**33, "host.free": 2**30}
    assert not situations.surely_not((node, HOLDS), waiting)
    assert situations.surely_not((node, HOLDS), waiting, are(rest))


def test_a_condition_that_is_too_large_is_counted_and_nothing_is_claimed() -> None:
    parts = (
        f"(host.available * {one} < host.free + {one}GiB or host.shmem * {one} > host.free)"
        for one in range(2, 26)
    )
    situations, node = ask(" and ".join(parts))
    assert not situations.surely_not((node, HOLDS))
    assert situations.undecided == 1
    assert situations.example((node, HOLDS)) is None


def test_definitions_upon_definitions_take_no_time() -> None:
    rules = ["define d0 = host.available < 5%"]
    rules += [
        f"define d{n} = d{n - 1} and not (d{n - 1} and host.free < {n}%)" for n in range(1, 9)
    ]
    rules.append("warn when d8 and not d8")
    program = compiler.compile_texts([RuleText("x.oom", "\n".join(rules))])
    ((_, guard),) = program.guards
    situations = Situations(program.definitions)
    assert situations.surely_not((guard.when, HOLDS)) or situations.undecided == 1
