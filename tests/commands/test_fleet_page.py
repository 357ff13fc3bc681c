"""The example in docs/fleet.md is what its commands print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.done import Done
from tests.fleet import hosts

Run = Callable[..., Done]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "fleet.md"


def steps() -> list[tuple[list[str], str]]:
    """Give each command of the example, with what stands below it."""
    example = PAGE.read_text().partition("## An example")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^(?:    .*)?\n)+", example, re.MULTILINE)
    text = "".join(re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks)
    found = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    return [(shlex.split(command), below.strip("\n")) for command, below in found]


def test_the_example_prints_what_the_page_says(
    oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    codes = []
    for words, shown in steps():
        if words[0] == "python3":
            assert words[1] == "bench/fleet_hosts.py"
            hosts.write(Path(words[2]), int(words[3]))
        elif words[0] == "cat":
            Path(words[1]).write_text(shown + "\n")
        else:
            done = oomrules(*words[1:])
            lines = [line.rstrip() for line in done.out.strip("\n").splitlines()]
            # Of what is long, the page has the beginning.
            assert lines[: len(shown.splitlines())] == shown.splitlines() or not shown
            codes.append(done.code)
    assert codes == [1, 1, 0]
