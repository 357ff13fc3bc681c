"""The examples in docs/replay.md: each block that begins with a command has what that prints.

python -m tests.commands.replay_page docs/replay.md runs them and writes the page anew.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

from oomrules.commands.main import main

_BLOCK = re.compile(r"^```console\n\$ oomrules (.*)\n([\s\S]*?)^```$", re.MULTILINE)


def examples(page: str) -> list[tuple[str, str]]:
    """Return the arguments of each command on a page, and what it prints there."""
    return _BLOCK.findall(page)


def printed(arguments: str) -> str:
    """Return what a command prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main(shlex.split(arguments))
    return out.getvalue()


def renewed(page: str) -> str:
    """Return a page with what its commands print today."""
    return _BLOCK.sub(
        lambda block: f"```console\n$ oomrules {block[1]}\n{printed(block[1])}```", page
    )


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
