"""What was valid stays valid and means the same: rule files and the programs they once became."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.program import program

# Made on 2026-11-26 by the version that knew terms in selectors and comparisons in conditions
# only: made-up rules, the examples of the pages, and definitions that are called as words are
# called since. A line is never changed.
_PROGRAMS = Path(__file__).with_name("programs.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("line", range(len(_PROGRAMS)))
def test_an_old_rule_file_becomes_the_program_that_it_was(line: int) -> None:
    kept: dict[str, Any] = json.loads(_PROGRAMS[line])
    made = compiler.compile_texts(RuleText(*file) for file in kept["files"])
    assert json.loads(program.dumps(made)) == kept["program"]


def test_these_files_have_all_that_there_was() -> None:
    text = "\n".join(said for line in _PROGRAMS for _, said, _ in json.loads(line)["files"])
    words = (
        "never only first last prefer spare by score define list in with without when and or not"
    )
    assert all(f" {word} " in f" {text} ".replace("\n", " ") for word in words.split())
    assert len(_PROGRAMS) > 80
