"""Comments that allow findings."""

from __future__ import annotations

import pytest

from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint import fixes, linter


def found(text: str) -> list[tuple[str, int]]:
    findings = linter.lint(Found((RuleText("x.oom", text),)))[1]
    return [(one.code, one.source.position(one.span.start)[0]) for one in findings]


def fixed(text: str) -> str:
    return fixes.fix(Found((RuleText("x.oom", text),)), linter.lint).files[0].text


ALLOWED = "# oomrules: allow OOM511 because of reasons"


@pytest.mark.parametrize(
    "text",
    [
        f"spare uid 0 by 1 {ALLOWED}",
        f"{ALLOWED}\nspare uid 0 by 1",
        f"{ALLOWED}\n# and more\nspare uid 0 by 1",
        f"in a.slice {{\n    {ALLOWED}\n    spare uid 0 by 1\n}}",
        f"spare uid 0 by 1 {ALLOWED.replace('OOM511', 'OOM511, OOM999')}".replace(", OOM999", ""),
        'spare comm "*" by 1  #oomrules:allow OOM511,OOM502 because both',
    ],
)
def test_a_comment_on_the_line_or_above_it_allows_the_finding(text: str) -> None:
    assert found(text) == []


def test_only_that_code_on_that_line_is_allowed() -> None:
    text = f'spare comm "*" by 1 {ALLOWED}\nspare uid 0 by 1\n'
    assert found(text) == [("OOM502", 1), ("OOM511", 2)]


def test_a_comment_in_a_text_is_none() -> None:
    assert found(f'spare cmdline "{ALLOWED}" by 1') == [("OOM511", 1)]


def test_a_comment_that_allows_nothing_is_found_and_removed() -> None:
    for text, without in (
        (f"spare uid 0 by 2 {ALLOWED}\n", "spare uid 0 by 2\n"),
        (f"{ALLOWED}\nspare uid 0 by 2\n", "spare uid 0 by 2\n"),
        (
            f"in a.slice {{\n    {ALLOWED}\n    spare uid 0\n}}\n",
            "in a.slice {\n    spare uid 0\n}\n",
        ),
    ):
        assert [code for code, _ in found(text)] == ["OOM801"]
        assert fixed(text) == without


def test_one_of_several_codes_that_is_not_needed_is_named() -> None:
    text = "spare uid 0 by 1 # oomrules: allow OOM511, OOM502 because both\n"
    assert found(text) == [("OOM801", 1)]
    assert fixed(text) == text  # the other code is needed


def test_a_reason_is_asked_for() -> None:
    assert found("spare uid 0 by 1 # oomrules: allow OOM511") == [("OOM802", 1)]
    assert found("spare uid 0 by 1 # oomrules: allow OOM511 because") == [("OOM802", 1)]


@pytest.mark.parametrize(
    "comment", ["allow", "ignore OOM511", "allow OOM511 for fun", "allow OOM12345 because x"]
)
def test_a_comment_that_is_not_understood_is_found(comment: str) -> None:
    assert found(f"spare uid 0 # oomrules: {comment}") == [("OOM803", 1)]


def test_errors_cannot_be_allowed() -> None:
    text = "spare usr 0 # oomrules: allow OOM201 because x"
    assert sorted(found(text)) == [("OOM201", 1), ("OOM803", 1)]


def test_what_was_not_looked_for_is_not_said_to_be_gone() -> None:
    assert found("spare uid 0 # oomrules: allow OOM701 because it comes with the image") == []
    # An error elsewhere keeps a check of the whole from running.
    text = 'never kill comm "a" # oomrules: allow OOM531 because nobody logs in here\n'
    assert found(text) == []
    assert found(text + "spare usr 0") == [("OOM201", 2)]


def test_other_comments_are_left_alone() -> None:
    assert found("# oomrules is great\nspare uid 0 # allow OOM511") == []
