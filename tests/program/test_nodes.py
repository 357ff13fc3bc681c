"""Globs are what fnmatch says."""

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
