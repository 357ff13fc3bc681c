"""docs/replay.md: what its examples show is what the commands print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.children import CHECKOUT
from tests.commands import replay_page

PAGE = Path(CHECKOUT) / "docs" / "replay.md"


@pytest.mark.parametrize(
    ("arguments", "printed"), replay_page.examples(PAGE.read_text(encoding="utf-8"))
)
def test_an_example_prints_what_the_page_shows(
    arguments: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CHECKOUT)
    assert replay_page.printed(arguments) == printed, "see tests/commands/replay_page.py"


def test_there_are_three_of_them() -> None:
    assert len(replay_page.examples(PAGE.read_text(encoding="utf-8"))) == 3
