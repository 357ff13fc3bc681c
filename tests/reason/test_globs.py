"""What is said of sets of texts at a glance is what their automata say."""

from __future__ import annotations

import itertools

from oomrules.program import nodes
from oomrules.reason import globs

_PATTERNS = [
    "".join(chars) for size in range(5) for chars in itertools.product("ab*?", repeat=size)
]
_ODD = ["[ab]*", "*[!a]", "a[b", "*]", "[]*]b", "a*[b]*a", "[*", "a]b*"]
_TEXTS = ["".join(chars) for size in range(5) for chars in itertools.product("ab[]", repeat=size)]


def test_a_glob_that_is_said_to_lie_inside_another_does() -> None:
    wide = [pattern for pattern in (*_PATTERNS, *_ODD) if pattern.count("*") == 1]
    matching = {
        pattern: {text for text in _TEXTS if nodes.glob(text, pattern)}
        for pattern in (*_PATTERNS, *_ODD)
    }
    said = 0
    for narrow, one in itertools.product((*_PATTERNS, *_ODD), wide):
        left = globs.matching((narrow,)) - globs.matching((one,))
        if matching[narrow] - matching[one]:
            assert left
        elif not left:
            said += 1
    assert said > 1000


def test_what_a_set_says_of_its_texts_is_so() -> None:
    for pattern in (*_PATTERNS, *_ODD):
        there = globs.matching((pattern,))
        run = globs.longest_run(pattern)
        for text in _TEXTS:
            if text in there:
                assert run in text
                assert text.startswith(globs.beginning(pattern))
        assert there.member() in there
