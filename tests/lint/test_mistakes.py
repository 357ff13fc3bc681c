"""docs/generated/mistakes.md: that it says what is said today, and that this is worth reading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lint import mistakes
from tests.lint.mistakes import Mistake

ALL = [mistake for section in mistakes.SECTIONS.values() for mistake in section]
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "generated" / "mistakes.md"
_PLACE = re.compile(r"^ +--> (\S+):(\d+):(\d+)$", re.MULTILINE)


def test_the_document_says_what_is_said_today(tmp_path: Path) -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == mistakes.document(tmp_path)


@pytest.mark.parametrize("mistake", ALL, ids=lambda mistake: mistake.title)
def test_a_mistake_is_one_finding_with_its_place_and_what_to_do(
    mistake: Mistake, tmp_path: Path
) -> None:
    said = mistakes.answer(mistake, tmp_path)
    ((name, line, column),) = _PLACE.findall(said)
    lines = mistake.text.splitlines()
    assert name == mistake.name
    assert 1 <= int(line) <= len(lines) and 1 <= int(column) <= len(lines[int(line) - 1]) + 1
    (help_,) = re.findall(r"= help: (.*)", said)
    # What the language has no word for is answered with the sentence, not with the grammar.
    assert "a statement begins with" not in help_ and "form is" not in help_


def test_each_mistake_is_told_once() -> None:
    assert len(ALL) >= 20
    assert len({mistake.text for mistake in ALL if mistake.name == mistakes.FILE}) == len(ALL) - 1
