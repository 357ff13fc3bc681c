"""One walk serves every question about nodes; globs are what fnmatch says."""

from __future__ import annotations

import fnmatch
import itertools
import re

from oomrules.program import nodes

_TEXTS = ["".join(chars) for size in range(4) for chars in itertools.product("ab\n", repeat=size)]


def test_a_glob_matches_what_fnmatch_says() -> None:
    for size in range(6):
        for chars in itertools.product("a*?[b", repeat=size):
            pattern = "".join(chars)
            expected = re.compile(fnmatch.translate(pattern))
            for text in _TEXTS:
                assert nodes.glob(text, pattern) == bool(expected.match(text)), (text, pattern)


def test_a_glob_matches_a_name_by_its_aliases() -> None:
    name = nodes.Names("one.service", ["two.service"])
    for pattern in ("two.service", "two*", "*wo.service", "*wo*", "t*e", "t?o.*", "[t]wo*"):
        assert nodes.glob(name, pattern)
        assert not nodes.glob(nodes.Names("one.service", []), pattern)


_NODE: nodes.Node = [
    "and",
    ["or", ["name", "inner"], [">", ["attr", "rss"], ["bytes", 4096]]],
    ["among", ["attr", "comm"], "a*", "b*"],
    ["not", ["cap", 7]],
]


def test_a_walk_meets_every_node_once_and_from_left_to_right() -> None:
    kinds = [node[0] for node in nodes.walk(_NODE)]
    assert kinds == "and or name > attr bytes among attr not cap".split()


def test_a_capability_asks_for_the_attribute_that_has_it() -> None:
    assert nodes.attributes(_NODE) == {"rss", "comm", "capabilities"}
    assert nodes.names(_NODE) == {"inner"}


def test_definitions_are_needed_with_those_that_they_stand_upon() -> None:
    definitions: dict[str, nodes.Node] = {
        "inner": ["not", ["name", "deep"]],
        "deep": ["cap", 1],
        "idle": ["cap", 2],
    }
    assert set(nodes.needed([_NODE], definitions)) == {"inner", "deep"}


def test_what_program_files_may_hold_is_what_the_evaluator_takes() -> None:
    """Every kind of node but the leaves, those that become others on a host, and of others."""
    leaves = {"number", "bytes", "share", "text", "attr", "name", "cap", "not", "and", "or"}
    of_other_processes = {"child", "under"}
    assert set(nodes.FORMS) - leaves - of_other_processes == set(nodes.STRICT)
