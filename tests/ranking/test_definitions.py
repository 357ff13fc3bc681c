"""Definitions upon definitions cost what they are long, for every command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.children import CHECKOUT
from tests.commands.done import DATA

LEVELS = 60

# Each names the one before it more than once: written out, the last has 2 ** 60 parts.
CHAINS: dict[str, tuple[str, Callable[[int], str], str]] = {
    "of what is known": (
        "nice > 0",
        lambda n: f"a{n} and (a{n} or not a{n})",
        "never kill a60\n",
    ),
    "of what can be unknown": (
        "anon > 1MiB",
        lambda n: f"a{n} and (a{n} or rss > {n}MiB)",
        "never kill a60\nprefer a59\n",
    ),
    "compared": (
        "anon > 1MiB",
        lambda n: f"(a{n} == (a{n} or rss > {n}MiB)) or not a{n}",
        "spare a60\n",
    ),
    "of what a process can hide": (
        'cmdline ~ "x.*y"',
        lambda n: f'(a{n} or comm == "b{n}") and (not a{n} or swap > {n}MiB)',
        "only kill a60\nin user.slice: kill first a59\n",
    ),
}

# In a process of its own, so that what does not end is ended.
_EVERYTHING = """
import sys
from oomrules.commands.main import main
rules, fewer, host, list_ = sys.argv[1:]
for command in (
    ["check", rules],
    ["rank", "--all", "--rules", rules, "--snapshot", host],
    ["explain", "--rules", rules, "--snapshot", host, "812"],
    ["emit", "--rules", rules, "--snapshot", host, "--to", list_],
    ["fmt", "--check", rules],
    ["diff", "--no-host", rules, fewer],
    ["diff", "--snapshot", host, rules, fewer],
):
    code = main(command)
    assert code in (0, 1), (command, code)
"""


@pytest.mark.parametrize("case", CHAINS)
def test_sixty_levels_end(case: str, tmp_path: Path) -> None:
    first, following, rules = CHAINS[case]
    paths = [tmp_path / name for name in ("rules.oom", "fewer.oom")]
    for path, last in zip(paths, (rules, rules.replace("60", "58")), strict=True):
        lines = [f"define a0 = {first}"]
        lines += [f"define a{n} = {following(n - 1)}" for n in range(1, LEVELS + 1)]
        path.write_text("\n".join([*lines, last]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _EVERYTHING, *paths, DATA / "host.jsonl", tmp_path / "list"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": CHECKOUT},
    )
    assert done.returncode == 0, done.stderr[-2000:]
