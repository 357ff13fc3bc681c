"""How far conditions are from holding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.guard import figures
from oomrules.guard.figures import Look
from oomrules.guard.levels import FAR, to_go
from oomrules.guard.model import Sample
from tests.guard.making import AT_REST, GIB, armed, program, sample

UNIT = "/a.service"


def far(sentence: str, now: Sample) -> float:
    made = program(sentence)
    return to_go(armed(made, {"a.service": UNIT})[0], made.definitions)(now)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("host.available < 2GiB", 4 * GIB),
        ("host.available < 25%", 4 * GIB),
        ("host.available > 2GiB", 0),
        ("not host.available > 2GiB", 4 * GIB),
        ("host.available < 2GiB and host.free < 1GiB", 4 * GIB),
        ("host.available < 5GiB and host.free < 1GiB", 3 * GIB),
        ("host.available < 2GiB or host.free < 1GiB", 3 * GIB),
        ("not (host.available > 2GiB and host.free > 1GiB)", 3 * GIB),
        # The kernel wakes the guard for stalls.
        ("host.stall > 10%", FAR),
        ("host.available < 2GiB and host.stall > 10%", FAR),
        ("host.available < 2GiB or host.stall > 10%", 4 * GIB),
        ("host.swap_free < 50%", 2 * GIB),
        ("host.available * 2 < 4GiB", 8 * GIB),
        ("max(host.available, host.free) < 2GiB", 4 * GIB),
    ],
)
def test_the_bytes_to_go(condition: str, expected: float) -> None:
    assert far(f"kill when {condition}", sample(0.0)) == expected


def test_definitions_are_followed() -> None:
    made = program("define scarce = host.available < 25%", "kill when scarce")
    assert to_go(armed(made)[0], made.definitions)(sample(0.0)) == 4 * GIB


def test_of_a_unit_its_own_figures_and_its_limit_count() -> None:
    block = "in a.service { kill when scope.memory > 75% }"
    now = sample(0.0, units={UNIT: {"memory": GIB, "limit": 2 * GIB}})
    assert far(block, now) == GIB / 2
    assert far(block, sample(0.0)) == FAR


def test_without_swap_no_share_of_it_is_near() -> None:
    assert far("kill when host.swap_free < 10%", sample(0.0, swap=0, swap_free=0)) == FAR
    assert far("kill when host.swap_free < 10%", sample(0.0, swap=None)) == FAR


_CONDITIONS = [
    *("host.available < 25%", "host.free < 1GiB", "host.available <= 0B", "host.swap_free < 10%"),
    "not host.available >= 3GiB",
]
_SIZES = st.integers(0, 8 * GIB)


def of(sizes: dict[str, int]) -> Sample:
    return Sample(0.0, {**AT_REST, **sizes}, {})


@given(
    conditions=st.lists(st.sampled_from(_CONDITIONS), min_size=1, max_size=3),
    word=st.sampled_from([" and ", " or "]),
    sizes=st.fixed_dictionaries({"available": _SIZES, "free": _SIZES, "swap_free": _SIZES}),
    part=st.floats(0, 0.999),
)
def test_nothing_holds_before_so_much_was_taken(
    conditions: list[str], word: str, sizes: dict[str, int], part: float
) -> None:
    made = program(f"kill when {word.join(conditions)}")
    (guard,) = armed(made)
    before = to_go(guard, made.definitions)(of(sizes))
    # And what holds has nothing to go.
    holds = figures.compiled(guard.guard.when, made.definitions)
    assert (before == 0) is (figures.truth(holds, Look(of(sizes), "", {})) is True)
    taken = int(before * part)
    if not taken:
        return
    after = {name: max(0, size - taken) for name, size in sizes.items()}
    look = Look(of(after), "", {})
    assert figures.truth(holds, look) is False


@given(
    conditions=st.lists(
        st.sampled_from([*_CONDITIONS, "host.stall > 10%", "not host.stall < 90%"]),
        min_size=1,
        max_size=4,
    ),
    words=st.lists(st.sampled_from([" and ", " or "]), min_size=3, max_size=3),
    sizes=st.fixed_dictionaries({"available": _SIZES, "free": _SIZES, "swap_free": _SIZES}),
)
def test_what_surely_does_not_hold_is_false_whatever_is_unknown(
    conditions: list[str], words: list[str], sizes: dict[str, int]
) -> None:
    text = conditions[0]
    for word, condition in zip(words, conditions[1:], strict=False):
        text = f"({text}){word}({condition})"
    made = program(f"kill when {text}")
    (guard,) = armed(made)
    now = of({**sizes, "swap": 4 * GIB})
    # Stalls are unknown here: there is no earlier reading of the totals.
    holds = figures.truth(figures.compiled(guard.guard.when, made.definitions), Look(now, "", {}))
    if to_go(guard, made.definitions, 0.0)(now) > 0:
        assert holds is False
    assert to_go(guard, made.definitions, 0.0)(now) <= to_go(guard, made.definitions)(now)
