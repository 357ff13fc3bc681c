"""Files that end too soon: no command takes them for less than they were meant to say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.done import DATA, Done

Run = Callable[..., Done]

UNFINISHED = {
    "and": 'never kill user "anna" when rss > 1MiB and\n',
    "or": 'never kill user "anna" when rss > 1MiB or',
    "a list": 'list l = "a",\n\n# more\n',
    "capabilities": "never kill anything with RAWIO, \\\n",
    "in a block": "in a.slice: never kill anything when nice > 0 and # why\r\n",
}


@pytest.fixture(params=UNFINISHED)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "50-mine.oom"
    path.write_bytes(f"score rss\n{UNFINISHED[request.param]}".encode())
    return path


def test_every_command_refuses_it_and_names_the_line(
    oomrules: Run, path: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.oom"
    whole.write_text("score rss\n")
    host = DATA / "host.jsonl"
    commands = [
        ("check", path),
        ("rank", "--rules", path, "--snapshot", host),
        ("diff", "--no-host", whole, path),
        ("diff", "--no-host", path, whole),
        ("fmt", "--check", path),
        ("fmt", path),
    ]
    before = path.read_bytes()
    for command in commands:
        done = oomrules(*command)
        assert done.code != 0, command
        assert f"{path}:2:" in done.out + done.err, command
        assert "is not complete" in done.out + done.err, command
    assert path.read_bytes() == before
