"""Patterns of POSIX mean the same in the language's dialect; the C library is the judge."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.importing import patterns
from oomrules.importing.translation import Untranslatable, literal, quoted
from oomrules.language import checker, compiler
from oomrules.language.text import RuleText
from oomrules.program import nodes
from tests.importing import libc

PIECES = st.sampled_from(
    [
        *"abAB0_ .^$|()*+?-]{}/~&",
        *(
            "[ab]",
            "[^a]",
            "[a-c]",
            "[]a]",
            "[^]b]",
            "[a\\]",
            "[\\w]",
            "[[:alpha:]]",
            "[^[:space:]_]",
        ),
        *("[[:punct:]]", "[0-9[:upper:]]", "[a&&b]", "[a||b]", "[~~]", "[[]", "[a-]", "[.]"),
        *("\\.", "\\*", "\\[", "\\w", "\\W", "\\s", "\\<", "\\>", "\\b", "\\\\", "\\/", "\\-"),
        *("a{2}", "b{1,}", "a{0,2}", "(a|b)", "(^a)", "{,2}", "\\{", "x{"),
    ]
)
TEXTS = st.text("abAB0_ .-[]\\{}/~&|+*^$", max_size=8)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=5).map("".join), st.lists(TEXTS, min_size=1, max_size=8))
def test_a_pattern_that_is_taken_finds_what_the_c_library_finds(
    pattern: str, texts: list[str]
) -> None:
    try:
        made = re.compile(patterns.posix(pattern))
    except (Untranslatable, re.error):
        return
    for text in texts:
        expected = libc.found(pattern, text)
        if expected is not None:
            assert bool(made.search(text)) == expected, (pattern, made.pattern, text)


@pytest.mark.parametrize(
    "pattern",
    [
        "^(Web Content|Isolated Web Co)$",
        "(^|/)(init|Xorg|sshd)$",
        "^(java|chromium.*|[a-z]+[0-9]{1,3})$",
        "[[:upper:]][[:lower:]]*",
        "\\<code\\>",
        "^gnome-control-c$",
        "electron$|^slack",
    ],
)
def test_patterns_that_people_have_are_taken(pattern: str) -> None:
    made = patterns.posix(pattern)
    for text in ("Web Content", "sshd", "/sshd", "java", "Xorg", "code", "a code b", "slack1"):
        assert bool(re.search(made, text)) == libc.found(pattern, text)


@pytest.mark.parametrize(
    "pattern",
    ["(a)\\1", "a**", "a*?", "a{2}{3}", "(?:a)", "[[.a.]]", "[[=a=]]", "[a", "[[:vowel:]]"],
)
def test_what_python_takes_otherwise_is_refused(pattern: str) -> None:
    with pytest.raises(Untranslatable):
        patterns.posix(pattern)


def value(text: str) -> str:
    """Return the text that a rule has where it says `comm ~ TEXT`."""
    source = RuleText("x.oom", f"define x = comm ~ {text}\n")
    assert checker.check([source]).diagnostics == []
    (node,) = compiler.compile_texts([source]).definitions.values()
    (found,) = [one[2] for one in nodes.walk(node) if one[0] == "search"]
    return str(found)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=12).filter(str.isprintable))
def test_a_text_in_quotes_is_that_text(text: str) -> None:
    if text.endswith("\\"):
        with pytest.raises(Untranslatable):
            quoted(text)
    else:
        assert value(quoted(re.escape(text)) if text else '"x"') == (re.escape(text) or "x")


@pytest.mark.parametrize("text", ["a\nb", "a\0", "\udcff", "a\u202eb", "\\", "x" * 5000])
def test_what_cannot_stand_in_a_rule_is_refused(text: str) -> None:
    with pytest.raises(Untranslatable):
        quoted(text)


@settings(deadline=None)
@given(st.text("ab*?[]!\\- \"'.", min_size=1, max_size=8), st.text("ab*?[]!\\- \"'.", max_size=8))
def test_a_literal_matches_itself_and_nothing_else(name: str, other: str) -> None:
    if name.endswith("\\"):
        return
    source = RuleText("x.oom", f"define x = not (comm in @l)\nlist l = {literal(name)}\n")
    checked = checker.check([source])
    assert checked.diagnostics == []
    (items,) = [one.statement.items for one in checked.listed.values()]
    (item,) = items
    assert nodes.glob(name, item.value)
    assert nodes.glob(other, item.value) == (other == name)


@pytest.mark.parametrize(
    ("regex", "selector"),
    [
        ("^sshd$", 'comm "sshd"'),
        ("^Web Content$", 'comm "Web Content"'),
        ("^php\\.fpm$", 'comm "php.fpm"'),
        ("^c\\+\\+$", 'comm "c++"'),
        ("^a+$", 'anything when comm ~ "^a+$"'),
        ("^a.b$", 'anything when comm ~ "^a.b$"'),
        ("sshd", 'anything when comm ~ "sshd"'),
        ('a"b', 'anything when comm ~ "a\\"b"'),
        ("a\\\\", 'anything when comm ~ "a[\\\\]"'),
    ],
)
def test_a_whole_plain_name_is_a_term_and_all_else_a_condition(regex: str, selector: str) -> None:
    assert str(patterns.matching("comm", regex)) == selector
