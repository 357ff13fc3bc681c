"""Every code keeps its promise: a page, an example that has the mistake, a text without it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oomrules.language.diagnostics import CODES as ERRORS
from oomrules.language.diagnostics import Level
from oomrules.lint import fixes, linter, registry
from oomrules.lint.ruleset import Check
from tests.lint import pages

# What no text shows: bytes, names and modes of files, the state of a host. These have
# tests of their own, named here.
ELSEWHERE = {
    "OOM001": "tests/language/test_diagnostics.py",
    "OOM002": "tests/language/test_diagnostics.py",
    "OOM003": "tests/lint/checks/test_filenames.py",
    "OOM004": "tests/lint/checks/test_filenames.py",
    "OOM106": "tests/language/test_diagnostics.py",
    "OOM107": "tests/language/test_limits.py",
    "OOM703": "tests/lint/checks/test_host.py",
    "OOM707": "tests/lint/checks/test_host.py",
}
SHOWN = sorted(registry.TITLES.keys() - ELSEWHERE.keys())
CHECKS = {check.code: check for check in registry.CHECKS}


def test_no_code_is_given_twice() -> None:
    codes = [*ERRORS, *(check.code for check in registry.CHECKS)]
    assert len(codes) == len(set(codes))


def test_every_code_has_its_page_and_every_page_its_code() -> None:
    folder = Path(registry.__file__).parent / "pages"
    assert {path.stem for path in folder.iterdir()} == set(registry.TITLES)


@pytest.mark.parametrize("code", registry.TITLES)
def test_a_page_says_what_why_and_how_to_mend_it(code: str) -> None:
    page = pages.read(code)
    assert (page.code, page.title) == (code, registry.TITLES[code])
    assert list(page.sections) == ["Why", "Example", "Fix"]
    assert page.blocks("Example") and page.blocks("Fix")
    for section in ("Why", "Fix"):
        assert re.match(r"\s*\S.", page.sections[section])
    level = CHECKS[code].level if code in CHECKS else Level.ERROR
    assert page.about.split(";")[0].strip(" .\n").lower().startswith(level.value)
    host = code in CHECKS and CHECKS[code].host
    assert ("under `--host` only" in page.about) == host


@pytest.mark.parametrize("code", SHOWN)
def test_the_example_has_this_mistake_and_no_other(code: str) -> None:
    assert set(pages.codes(code, "Example")) == {code}


@pytest.mark.parametrize("code", SHOWN)
def test_the_near_miss_has_no_mistake(code: str) -> None:
    assert pages.codes(code, "Fix") == []


@pytest.mark.parametrize(("code", "where"), ELSEWHERE.items())
def test_what_no_text_can_show_has_a_test_elsewhere(code: str, where: str) -> None:
    checkout = Path(__file__).parent.parent.parent
    assert code in (checkout / where).read_text(encoding="utf-8")


@pytest.mark.parametrize("code", SHOWN)
def test_a_page_promises_a_fix_where_its_example_has_one_and_it_works(code: str) -> None:
    page = pages.read(code)
    found = page.rules("Example")
    fixable = [one for one in pages.findings(code, "Example") if one.fix is not None]
    if "`--fix` can mend it" not in page.about:
        assert not fixable
        return
    if fixable:
        better = fixes.fix(found, linter.lint)
        assert code not in [one.code for one in linter.lint(better)[1]]


@pytest.mark.parametrize("check", registry.CHECKS, ids=lambda check: check.code)
def test_messages_are_sentences_that_can_be_joined(check: Check) -> None:
    assert check.title and not check.title.endswith(".")
    if check.code in ELSEWHERE:
        return
    for one in pages.findings(check.code, "Example"):
        assert one.level is check.level
        for words in (one.message, one.help):
            assert words and words == words.strip()
            assert "\n" not in words and not words.endswith(".")
