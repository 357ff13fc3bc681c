"""Regular expressions: what is looked for is what re finds, in work linear in the text."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program import automaton, expressions
from oomrules.program.automaton import WORK, Automaton
from oomrules.ranking.ranker import Ranker
from tests.oracle.strategies import thorough

# re's own parser, for the automaton alone.
from re import _parser as sre_parser  # isort: skip


def automaton_of(pattern: str) -> Automaton:
    expressions.check(pattern)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Automaton(sre_parser.parse(pattern))


# --- the same as re ------------------------------------------------------------------------

_PIECES = (
    *("a", "b", "A", "K", "k", "é", "ſ", "_", "1", " ", "\n", "/", r"\.", ".", ""),
    *("[ab]", "[^a]", "[a-k]", "[^\\W_]", "[K-k]", "[à-ü]", r"\w", r"\W", r"\d", r"\s", r"\S"),
    *("^", "$", r"\A", r"\Z", r"\b", r"\B"),
)
_CHARACTERS = "aabbAKk\u212aéÉſsS_1\u0663 \n\n/.àÜ\udcff"
_REPEATS = ("*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}?", "{2,}", "{0}", "{3,}?")
_SCOPES = ("(?:{})", "({})", "(?i:{})", "(?s:{})", "(?m:{})", "(?-i:{})", "(?im-s:{})")
_FLAGS = ("", "", "(?i)", "(?m)", "(?s)", "(?a)", "(?im)", "(?ia)", "(?x)")


def _wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join).map("(?:{})".format),
        st.tuples(inner, st.sampled_from(_REPEATS)).map(lambda two: f"(?:{two[0]}){two[1]}"),
        st.tuples(st.sampled_from(_SCOPES), inner).map(lambda two: two[0].format(two[1])),
    )


PATTERNS = st.tuples(
    st.sampled_from(_FLAGS), st.recursive(st.sampled_from(_PIECES), _wider, max_leaves=10)
).map("".join)
TEXTS = st.lists(st.sampled_from(_CHARACTERS), max_size=12).map("".join)


@settings(thorough, max_examples=20 * thorough.max_examples)
@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=8))
def test_both_ways_find_what_re_finds(pattern: str, texts: list[str]) -> None:
    try:
        compiled = re.compile(pattern)
        both = (automaton_of(pattern), expressions.finder(pattern))
    except (re.error, expressions.Refused):
        assume(False)
    for text in ("", "\n", *texts, *texts):
        for way in both:
            assert way(text) == (compiled.search(text) is not None), (pattern, text)


@settings(thorough, max_examples=5 * thorough.max_examples)
@given(PATTERNS, st.data())
def test_a_text_made_from_the_expression_is_found(pattern: str, data: st.DataObject) -> None:
    try:
        re.compile(pattern)
        way = automaton_of(pattern)
    except (re.error, expressions.Refused):
        assume(False)
    text = data.draw(st.from_regex(pattern))
    assert way(text) and expressions.finder(pattern)(text)
    for at in range(len(text)):
        shorter = text[:at] + text[at + 1 :]
        assert way(shorter) == (re.search(pattern, shorter) is not None)


@pytest.mark.parametrize(
    "pattern",
    [
        "[\\]^-]",
        "[^^]",
        "[a\\-z]",
        "[\\\\]",
        "[\\d_-]",
        "[^\\s\\W]",
        "\\x41",
        "[\\x00-\\x1f]",
        "\\*",
    ],
)
@pytest.mark.parametrize("flags", ["", "(?i)", "(?a)"])
def test_classes_mean_what_they_mean_to_re(pattern: str, flags: str) -> None:
    way, compiled = automaton_of(flags + pattern), re.compile(flags + pattern)
    for code in (*range(0x250), 0x212A, 0x0663, 0xDC80, 0xFB05, 0xFB06, 0x1F600):
        assert way(chr(code)) == (compiled.search(chr(code)) is not None)


def test_an_automaton_forgets_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automaton, "_MOST_STATES", 3)
    monkeypatch.setattr(automaton, "_MOST_STEPS", 5)
    monkeypatch.setattr(automaton, "_MOST_CHARACTERS", 2)
    pattern = "(a|b)*a(a|b){4}c"
    way = automaton_of(pattern)
    for number in range(200):
        text = f"{number:b}".replace("0", "a").replace("1", "b") + "c"
        assert way(text) == (re.search(pattern, text) is not None)


# --- linear work ---------------------------------------------------------------------------

HOSTILE: dict[str, Callable[[int], str]] = {
    "(a+)+$": lambda n: "a" * n + "!",
    "java.*-jar.*server": lambda n: "java -jar " * (n // 10),
    "^/usr/(.*/)*x$": lambda n: "/usr/" + "a/" * (n // 2),
    "(a?){30}a{30}": lambda n: ("a" * 29 + "b") * (n // 30),
    "(a|a)*b": lambda n: "a" * n,
    "(x+x+)+y": lambda n: "x" * n,
    "((a{1,5}){1,5}){1,5}b": lambda n: "a" * n,
    "(.*a){12}b": lambda n: "a" * n,
    r"^(\w+\s?)*$": lambda n: "aa " * (n // 3) + "!",
    "(a*)*(b*)*(c*)*d": lambda n: "abc" * (n // 3),
    "([a-z]+)*=": lambda n: "abcd" * (n // 4),
    r"\s+$": lambda n: " " * n + "x",
    ".*.*.*x": lambda n: "y" * n,
    # Each text of these two letters leads to states of its own.
    "(a|b)*a(a|b){60}c": lambda n: bin(3**n)[2 : n + 2].replace("0", "a").replace("1", "b"),
}


def work(pattern: str, text: str) -> int:
    """Count what one search costs, from nothing."""
    expressions.finder.cache_clear()
    way = expressions.finder(pattern)
    before = WORK.done
    found = way(text)
    spent = WORK.done - before
    assert not found
    return spent


@pytest.mark.parametrize("pattern", HOSTILE)
def test_the_work_is_linear_in_the_text(pattern: str) -> None:
    text = HOSTILE[pattern]
    short, long = (work(pattern, text(size)) for size in (1500, 12_000))
    # Eight times the text: linear is eight times as much, quadratic would be 64.
    assert short <= long <= 10 * short
    # What one character can cost is known.
    assert long <= len(text(12_000)) * (2 * expressions.MOST_PLACES + 5)


@given(PATTERNS, st.sampled_from("ab/\n "))
@settings(thorough, max_examples=3 * thorough.max_examples)
def test_whatever_is_let_through_is_linear(pattern: str, char: str) -> None:
    try:
        re.compile(pattern)
        expressions.check(pattern)
    except (re.error, expressions.Refused):
        assume(False)
    expressions.finder.cache_clear()
    spent = []
    for size in (1000, 8000):
        before = WORK.done
        expressions.finder(pattern)("ab" + char * size + "!")
        spent.append(WORK.done - before)
    assert spent[1] <= 10 * spent[0] + 10_000


@pytest.mark.parametrize(
    "pattern",
    ["jenkins", "^java.*jenkins", "^/machine[.]slice/(a[^/]+|[^/]+/b)$", "(^|/)(java|node)$"],
)
def test_plain_expressions_are_left_to_re(pattern: str) -> None:
    assert not isinstance(expressions.finder(pattern), Automaton)


@pytest.mark.parametrize(
    "pattern", [pattern for pattern in HOSTILE if "{1,5}" not in pattern] + ["java.*jenkins"]
)
def test_what_could_go_back_is_not(pattern: str) -> None:
    assert isinstance(expressions.finder(pattern), Automaton)


# --- what is refused -------------------------------------------------------------------------

REFUSED = {
    r"(a)\1": "back reference",
    r"(?P<x>a)(?P=x)": "back reference",
    "(a)?(?(1)b|c)": "choice",
    "a(?=b)": "look around",
    "(?<!a)b": "look around",
    "(?!a)b": "look around",
    "(?>a+)b": "gives nothing back",
    "a*+b": "gives nothing back",
    "(?a:b)": "what a letter is",
    "(a{1,1000}){1,1000}": "too large",
    "(a{30}b*){30}": "too large",
    "a" * 4097: "characters",
    "(?i)[!-\U0010ffff]": "case",
    "(" * 51 + "a" + ")" * 51: "nested",
    "((a*)*" * 60 + ")" * 60: "nested",
}


@pytest.mark.parametrize("pattern", REFUSED, ids=lambda pattern: pattern[:20])
def test_what_cannot_be_linear_is_refused_with_what_to_write_instead(pattern: str) -> None:
    with pytest.raises(expressions.Refused, match=REFUSED[pattern]) as refused:
        expressions.check(pattern)
    assert refused.value.help


@pytest.mark.parametrize(
    "pattern",
    [
        "(((a+)+)+)+",
        "|".join(f"w{number}" for number in range(140)),
        "(?i)[a-zà-ü]+x",
        "[0-9a-f]{64}.*x",
        "(?:a|b)*c{2,200}",
    ],
)
def test_what_is_linear_is_not_refused(pattern: str) -> None:
    expressions.check(pattern)
    expressions.finder(pattern)("abc")


def test_parsing_a_hostile_expression_is_not_followed_by_compiling_it() -> None:
    # re compiles a class that ignores case one character after the other; a thousand such
    # classes would take minutes.
    classes = "".join(f"[!-{chr(0x10FFFF - number)}]" for number in range(800))
    with pytest.raises(expressions.Refused):
        expressions.check(f"(?i){classes}")


# --- a budget for each process -----------------------------------------------------------------

HARD = "(a|b)*a(a|b){150}c"


def _host(*cmdlines: str) -> list[str]:
    host = {
        "kind": "host",
        "schema": "oomrules.snapshot/1",
        "page_size": 4096,
        "clock_ticks": 100,
        "uptime": 1000,
        "mem_total": 2**33,
    }
    processes = [
        {
            "kind": "process",
            "pid": 100 + number,
            "comm": "x",
            "cmdline": [cmdline],
            "uid": 1000,
            "cgroup": "/",
            "state": "S",
            "flags": 0,
            "nice": 0,
            "threads": 1,
            "utime": 0,
            "stime": 0,
            "starttime": number,
            "total_vm": 100,
            "rss": 100,
        }
        for number, cmdline in enumerate(cmdlines)
    ]
    return [json.dumps(line) for line in (host, *processes)]


HARD_TEXT = HOSTILE["(a|b)*a(a|b){60}c"](4000)


@pytest.mark.parametrize(
    "rules",
    list(
        itertools.permutations(
            [
                f'never kill anything when cmdline ~ "{HARD}"',
                f'kill last anything when not cmdline ~ "{HARD}"',
                'spare anything when cmdline ~ "a"',
                'prefer anything when cmdline ~ "b"',
            ]
        )
    )[::5],
)
def test_over_its_budget_an_attribute_is_unknown_to_all_rules_in_any_order(
    rules: tuple[str, ...],
) -> None:
    compiled = compiler.compile_texts([RuleText("rules", "\n".join(rules))])
    snapshot = recorded.parse(_host(HARD_TEXT, "bab"), "host")
    ranking = Ranker(compiled, snapshot.host).rank(snapshot)
    # Who hides behind the work that he makes wins nothing.
    assert ranking.pids == [100, 101]
    hidden, plain = (ranking.verdict(process) for process in ranking.candidates)
    assert (hidden.tier, hidden.weight, hidden.held) == (1, (1, 1), ())
    assert (plain.tier, plain.weight) == (2, (1, 2))
    assert ranking.evaluator.over_budget == {100: frozenset({"cmdline"})}
    (note,) = ranking.evaluator.notes(snapshot.by_pid)
    assert "100" in note and "cmdline" in note
    assert ranking.evaluator.notes([]) == []


def test_what_changes_is_searched_within_the_budget_too() -> None:
    rules = f'never kill anything when state ~ "S" and not unit.description ~ "{HARD}"'
    compiled = compiler.compile_texts([RuleText("rules", rules)])
    scope = {"kind": "scope", "cgroup": "/system.slice/a.service"}
    lines = _host("x")
    lines[1] = lines[1].replace('"cgroup": "/"', '"cgroup": "/system.slice/a.service"')
    for description, pids in ((HARD_TEXT, [100]), ("short", [])):
        told = json.dumps({**scope, "properties": {"Description": description}})
        snapshot = recorded.parse([lines[0], told, lines[1]], "host")
        assert Ranker(compiled, snapshot.host).rank(snapshot).pids == pids


def test_a_hundred_plain_expressions_are_within_the_budget() -> None:
    rules = [f'spare anything when cmdline ~ "java.*-D{number}=.*jar"' for number in range(100)]
    compiled = compiler.compile_texts([RuleText("rules", "\n".join(rules))])
    snapshot = recorded.parse(_host("java -Dx=1 " * 370, "java -D7=1 a.jar"), "host")
    ranking = Ranker(compiled, snapshot.host).rank(snapshot)
    assert ranking.evaluator.over_budget == {}
    assert len(ranking.verdict(snapshot.by_pid[101]).held) == 1


@pytest.mark.parametrize(
    ("pattern", "begins"),
    [
        ("^/a[.]b(c|d)", "/a.b"),
        (r"\A/x", "/x"),
        ("^/ab?", "/a"),
        ("/a", ""),
        ("^a|^b", ""),
        ("(?i)^/a", ""),
        ("(?m)^/a", ""),
    ],
)
def test_what_each_text_begins_with_that_has_a_match(pattern: str, begins: str) -> None:
    assert expressions.beginning(pattern) == begins
