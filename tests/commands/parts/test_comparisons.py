"""How far a guard is from acting: comparisons in words that say the same as the rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.commands.parts import comparisons
from oomrules.commands.parts.comparisons import View
from oomrules.guard import figures
from oomrules.guard.figures import Look
from oomrules.guard.model import HOST, Sample
from oomrules.language.compiler import compile_rules
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.program.program import GUARDED_HOST, Program
from tests.oracle.strategies import guarded

GIB = 1 << 30
HOST_NAMES = sorted(GUARDED_HOST)


def compiled(text: str) -> Program:
    return compile_rules(Found((RuleText("x.oom", text, 0),)))


def view(live: bool = True, **host: int | None) -> View:
    """Return figures of a host; ``some`` and ``full`` grow by what is given as percentages."""
    stall, pressure = host.pop("stall", 0), host.pop("pressure", 0)
    some = None if pressure is None else pressure * 100_000
    full = None if stall is None else stall * 10_000
    no_some = None if some is None else 0
    no_full = None if full is None else 0
    points = ((0.0, no_some, no_full), (9.0, some, no_full), (10.0, some, full))
    last = {"some": some, "full": full}
    figures_ = {"memory": 16 * GIB, "available": 8 * GIB, "swap": 0, "swap_free": 0, **host, **last}
    return View(Look(Sample(10.0, figures_, {}), HOST, {HOST: points}), {}, live)


def only(condition: str, seen: View) -> comparisons.Comparison:
    (one,) = found(condition, seen)
    return one


def found(condition: str, seen: View) -> list[comparisons.Comparison]:
    made = compiled(f"kill when {condition}\n")
    ((_, guard),) = made.guards
    seen = seen._replace(definitions=made.definitions)
    return list(comparisons.compared(guard.when, seen))


# --- the same words ---------------------------------------------------------------------------


def quantities(name: str) -> st.SearchStrategy[str]:
    match ATTRIBUTES[name].type:
        case Type.PERCENTAGE:
            return st.integers(0, 10_000).map(lambda n: f"{n / 100:g}%")
        case Type.MEMORY:
            sizes = st.builds("{}{}".format, st.integers(0, 9999), st.sampled_from(["B", "MiB"]))
            shares = st.integers(0, 200).map(lambda n: f"{n / 2:g}%")
            return st.one_of(sizes, shares) if ATTRIBUTES[name].whole else sizes
        case _:
            return st.integers(0, 10**6).map(str)


@st.composite
def stated(draw: st.DrawFn) -> str:
    """Make a comparison."""
    name = draw(st.sampled_from(HOST_NAMES))
    operator = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    sides = [name, operator, draw(quantities(name))]
    if draw(st.booleans()) and ATTRIBUTES[name].type is Type.MEMORY:
        other = draw(st.sampled_from([one for one in HOST_NAMES if one != name]))
        if ATTRIBUTES[other].type is Type.MEMORY:
            sides[0] = draw(
                st.sampled_from(
                    [
                        f"{name} - ({other} + 3MiB)",
                        f"{name} / 2 - {other} * 3",
                        f"max({name}, {other})",
                    ]
                )
            )
            sides[2] = f"{draw(st.integers(0, 99))}MiB"
    return " ".join(sides if draw(st.booleans()) else [sides[2], operator, sides[0]])


@given(stated())
def test_a_comparison_is_shown_as_it_can_be_written_and_means_the_same(text: str) -> None:
    one = only(text, view())
    again = only(one.text, view())
    assert (again.text, again.holds, again.value, again.limit) == (
        *(one.text, one.holds, one.value),
        one.limit,
    )


@given(stated(), stated(), st.booleans(), st.booleans(), st.integers(0, 16), st.integers(0, 100))
def test_the_comparisons_decide_what_the_condition_decides(
    left: str, right: str, both: bool, negated: bool, available: int, stall: int
) -> None:
    seen = view(available=available * GIB, stall=stall)
    condition = f"({left}) {'and' if both else 'or'} ({right})"
    condition = f"not ({condition})" if negated else condition
    made = compiled(f"kill when {condition}\n")
    ((_, guard),) = made.guards
    holds = figures.truth(figures.compiled(guard.when, made.definitions), seen.look)
    parts = [one.holds for one in found(condition, seen)]
    every = both is not negated
    settled = not every
    expected = settled if settled in parts else None if None in parts else every
    assert holds is expected


SIZES = st.none() | st.sampled_from([0, 1, 4095, GIB]) | st.integers(0, 64 * GIB)
HOSTS = st.fixed_dictionaries(
    {
        "memory": SIZES,
        "available": SIZES,
        "free": SIZES,
        "shmem": SIZES,
        "swap": SIZES,
        "swap_free": SIZES,
        "totalpages": SIZES,
        "stall": st.none() | st.integers(0, 100),
        "pressure": st.none() | st.integers(0, 100),
    }
)


@given(guarded(block=False), HOSTS)
def test_any_condition_is_taken_apart_without_another_meaning(
    condition: str, host: dict[str, Any]
) -> None:
    seen = view(**host)
    made = compiled(f"kill when {condition}\n")
    ((_, guard),) = made.guards
    for one in found(condition, seen):
        assert comparisons.reading(one) and comparisons.missing(one)
        assert only(one.text, seen).holds is one.holds, one.text
        assert one.holds is not None or one.unknown
    if figures.truth(figures.compiled(guard.when, made.definitions), seen.look):
        assert comparisons.can_hold(guard.when, seen)


# --- how far ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "says", "missing"),
    [
        ("host.available < 5%", "8.0 GiB of 16.0 GiB = 50.0 %", "7.2 GiB to go (at 819 MiB)"),
        ("host.available < 2GiB", "8.0 GiB", "6.0 GiB to go"),
        ("not host.available >= 2GiB", "8.0 GiB", "6.0 GiB to go"),
        ("2GiB > host.available", "8.0 GiB", "6.0 GiB to go"),
        ("host.available < 60%", "8.0 GiB of 16.0 GiB = 50.0 %", "holds"),
        ("host.available < 8GiB", "8.0 GiB", "next to nothing to go"),
        ("host.stall > 10%", "3.0 %", "7.0 % to go"),
        ("host.swap == 0B", "0 B", "holds"),
        ("host.swap > 0B", "0 B", "next to nothing to go"),
        ("host.memory - host.available > 12GiB", "8.0 GiB", "4.0 GiB to go"),
    ],
)
def test_the_way_that_is_left_is_said(condition: str, says: str, missing: str) -> None:
    one = only(condition, view(stall=3))
    assert (comparisons.reading(one), comparisons.missing(one)) == (says, missing)


def test_a_definition_is_opened() -> None:
    made = compiled("define scarce = host.available < 10%\nkill when scarce and host.stall > 5%\n")
    ((_, guard),) = made.guards
    texts = [
        one.text
        for one in comparisons.compared(guard.when, view()._replace(definitions=made.definitions))
    ]
    assert texts == ["host.available < 10%", "host.stall > 5%"]


# --- what is unknown ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "figures_", "why"),
    [
        ("host.swap_free < 10%", {}, "there is no swap to be a share of"),
        ("host.stall > 10%", {"stall": None}, "this kernel does not measure pressure (PSI)"),
        ("host.available < 10%", {"available": None}, "host.available cannot be read"),
        ("host.available < 10%", {"memory": None}, "what it is a share of cannot be read"),
    ],
)
def test_what_this_host_has_not_is_said_and_the_guard_can_never_act(
    condition: str, figures_: dict[str, Any], why: str
) -> None:
    seen = view(**figures_)
    one = only(condition, seen)
    assert one.holds is None and one.lasting and one.unknown.startswith(why)
    ((_, guard),) = compiled(f"kill when {condition}\n").guards
    assert not comparisons.can_hold(guard.when, seen)
    recorded = only(condition, seen._replace(live=False))
    assert recorded.lasting is ("no swap" in why)


@pytest.mark.parametrize(
    ("condition", "can"),
    [
        ("host.stall > 1%", False),
        ("not host.stall > 1%", False),
        ("host.stall > 1% and host.available < 5%", False),
        ("host.stall > 1% or host.available < 5%", True),
        ("not (host.stall > 1% and host.available < 5%)", True),
        ("not (host.stall > 1% or host.available < 5%)", False),
        ("host.available < 5% and (host.swap == 0B or host.swap_free < 10%)", True),
    ],
)
def test_whether_a_guard_can_ever_act_is_decided_by_what_it_needs(
    condition: str, can: bool
) -> None:
    ((_, guard),) = compiled(f"kill when {condition}\n").guards
    assert comparisons.can_hold(guard.when, view(stall=None)) is can


def test_a_share_of_ten_seconds_is_not_known_after_one() -> None:
    look = Look(
        Sample(1.0, {"some": 500_000, "full": 0}, {}),
        HOST,
        {HOST: ((0.0, 0, 0), (1.0, 500_000, 0))},
    )
    one = only("host.pressure > 20%", View(look, {}))
    assert one.holds is None and not one.lasting
    assert comparisons.reading(one) == "5.0 % to 95.0 %"
    assert comparisons.missing(one) == (
        "unknown, it takes longer to measure: `oomrules guard --wait 10s`"
    )
