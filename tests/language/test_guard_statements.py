"""Sentences that say when: what they become, in whatever order and files they stand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.language import checker, compiler
from oomrules.language.text import RuleText
from oomrules.program import nodes, program
from oomrules.program.program import Guard, Program
from tests.oracle import guards as reference
from tests.oracle import strategies
from tests.oracle.strategies import RuleSet, thorough


def compiled(*texts: str) -> Program:
    return compiler.compile_texts(
        [RuleText(f"{number}.oom", text) for number, text in enumerate(texts)]
    )


def said(made: Program) -> Counter[str]:
    """Return the guards without the places that they stand at."""
    return Counter(
        str((targets, guard._replace(place="", text=""))) for targets, guard in made.guards
    )


# --- what a sentence becomes ---------------------------------------------------------------------


def test_a_guard_says_what_is_done_when_for_how_long_and_what_then() -> None:
    made = compiled(
        "in user.slice {\n"
        "    terminate when scope.stall > 40% then stop for 1min30s within 20s\n"
        "}\n"
        "kill when host.available < 5%\n"
    )
    assert made.guards == [
        ((), Guard("kill", made.guards[0][1].when, "0.oom:4", "kill when host.available < 5%")),
        (
            ("user.slice",),
            Guard(
                kind="terminate",
                when=[">", ["attr", "scope.stall"], ["number", 4000]],
                place="0.oom:2",
                text="terminate when scope.stall > 40% then stop for 1min30s within 20s",
                lasting=90_000,
                within=20_000,
                stop=True,
            ),
        ),
    ]
    assert made.size == 2


def test_what_a_guard_does_not_say_is_at_once_and_five_seconds() -> None:
    ((_, guard),) = compiled("terminate when host.swap_free < 10%").guards
    assert (guard.lasting, guard.within, guard.stop) == (0, 5000, False)


def test_what_only_guards_ask_for_is_read_of_no_process() -> None:
    made = compiled("score rss\nkill when host.available < 5% and host.stall > 10%")
    assert made.attributes == {"rss"}
    assert not made.uses_limit


@pytest.mark.parametrize("attribute", sorted(program.GUARDED))
def test_a_guard_may_ask_for_each_figure_of_the_host_and_of_its_unit(attribute: str) -> None:
    condition = f"{attribute} > 5%" if attribute.endswith(("pressure", "stall")) else ""
    condition = condition or f"{attribute} == {attribute}"
    assert compiled(f"in a.slice: kill when {condition}").guards
    outside = checker.check([RuleText("f", f"kill when {condition}")]).diagnostics
    assert [one.code for one in outside] == ["OOM212"] * attribute.startswith("scope.")


# --- mistakes in what a guard stands upon --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("define low = rss <\nkill when low", "OOM101"),
        ("define low = rsss < 5MiB\nkill when low", "OOM201"),
        ("define low = scope.memory < 5MiB\nin a.slice: kill when low", "OOM212"),
        ("in a.slice: define low = host.swap_free < 5%\nkill when low", "OOM210"),
        ("define low = high\ndefine high = low\nkill when low", "OOM207"),
        ("define low = other\ndefine other = rsss > 5MiB\nkill when low", "OOM201"),
    ],
)
def test_a_guard_is_not_blamed_for_a_definition_with_a_mistake(text: str, code: str) -> None:
    assert [one.code for one in checker.check([RuleText("f", text)]).diagnostics] == [code]


def test_a_definition_may_serve_rules_and_guards() -> None:
    made = compiled(
        "define low = host.available < 10%\n"
        "define very = low and host.stall > 20%\n"
        "kill when very\n"
        "prefer anything when low and rss > 1GiB\n"
        "kill first anything when host.available < 5%\n"
    )
    assert len(made.guards) == 1
    assert sum(len(scope.rules) for scope in made.scopes) == 2
    assert made.attributes >= {"host.available", "rss"}


# --- order ---------------------------------------------------------------------------------------


@thorough
@given(strategies.guard_sets(), st.data())
def test_the_order_of_guards_and_files_changes_nothing(
    rule_set: RuleSet, data: st.DataObject
) -> None:
    files = strategies.texts(rule_set, "whole")
    shuffled = data.draw(st.permutations(rule_set))
    cut = data.draw(st.integers(0, len(shuffled)))
    moved = [
        *strategies.texts(shuffled[cut:], "a"),
        *strategies.texts(shuffled[:cut], "b"),
    ]
    made, other = compiler.compile_texts(files), compiler.compile_texts(moved)
    assert said(other) == said(made)
    assert other.definitions == made.definitions
    assert other.attributes == made.attributes


def test_a_guard_that_is_said_twice_is_two_equal_ones() -> None:
    once = "kill when host.available < 5% for 2s"
    both = compiled(once, f"# again\n{once}\n")
    assert list(said(both).values()) == [2]
    assert [guard.place for _, guard in both.guards] == ["0.oom:1", "1.oom:2"]


# --- the second opinion --------------------------------------------------------------------------

_SIZES = st.sampled_from(
    (None, 0, 1, 4095, 4096, 2**20, 2**29, 805_306_368, 2**30, 1_610_612_736, 2**33)
)
_SHARES = st.sampled_from((None, 0, 1, 1250, 4000, 9999, 10_000))
_COUNTS = st.sampled_from((None, 0, 1, 3, 7, 4096))
HOSTS = st.fixed_dictionaries(
    {
        **dict.fromkeys(("memory", "available", "free", "shmem", "totalpages"), _SIZES),
        **dict.fromkeys(("swap", "swap_free"), _SIZES),
        **dict.fromkeys(("pressure", "stall"), _SHARES),
    }
)
UNITS = st.fixed_dictionaries(
    {
        **dict.fromkeys(("memory", "memory_max", "memory_high", "swap", "footprint"), _SIZES),
        **dict.fromkeys(("oom_kills", "processes"), _COUNTS),
        **dict.fromkeys(("pressure", "stall"), _SHARES),
        "limit": _SIZES,
    }
)


def evaluated(made: Program, guard: Guard, host: dict[str, Any], unit: dict[str, Any]) -> Any:
    """Return what the program's own walk over the nodes makes of a guard's condition."""

    def get(name: str) -> Any:
        if name == "(limit)":
            return unit.get("limit") if unit else host["memory"]
        whole = name.strip("()")
        where, _, word = whole.partition(".")
        figure = (host if where == "host" else unit)[word]
        return figure or None if whole != name else figure

    localised = {
        name: nodes.localise(node, 1, "(limit)") for name, node in made.definitions.items()
    }
    definitions = nodes.Definitions(localised, get)
    return nodes.reduce(nodes.localise(guard.when, 1, "(limit)"), get, definitions)


@settings(thorough, max_examples=4 * thorough.max_examples)
@given(strategies.guard_sets(), st.lists(st.tuples(HOSTS, UNITS), min_size=1, max_size=8))
def test_a_condition_holds_where_the_reference_says(
    rule_set: RuleSet, figures: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    sources = strategies.texts(rule_set)
    made = compiler.compile_texts(sources)
    rules, placed = reference.placed(sources)
    # A sentence that stands there twice is the same both times.
    by_text = {(targets, guard.text): guard for targets, guard in made.guards}
    assert len(placed) == len(made.guards)
    for one in placed:
        guard = by_text[one.targets, one.text]
        assert guard.lasting == reference.milliseconds(one.guard.lasting, 0)
        assert guard.within == reference.milliseconds(one.guard.within, 5000)
        for host, unit in figures:
            here = unit if one.targets else {}
            expected = reference.holds(rules, one.guard, host, unit if one.targets else None)
            assert evaluated(made, guard, host, here) is expected, (guard.text, host, here)
