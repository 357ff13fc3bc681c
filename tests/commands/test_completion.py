"""Completion of the command line, made from the parser itself."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from oomrules.commands import main as main_module
from oomrules.commands.completion import SHELLS

Run = Callable[..., Any]


def bash(script: str, *words: str) -> list[str]:
    """Ask bash itself what it would offer for the last word."""
    typed = " ".join(map(shlex.quote, ("oomrules", *words)))
    ask = f"{script}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words)}; _oomrules\n"
    done = subprocess.run(
        ["bash", "--norc", "-c", ask + 'printf "%s\\n" "${COMPREPLY[@]}"'],
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ra",), ["rank"]),
        (("",), [*main_module.COMMANDS, "--help", "--version"]),
        (("check", "--fo"), ["--format"]),
        (("check", "--fi"), ["--fix"]),
        (("check", "--format", ""), ["full", "concise", "json", "sarif", "github"]),
        (("check", "--explain", "OOM51"), [f"OOM51{n}" for n in range(1, 6)]),
        (("replay", "--explain", "RPL10"), [f"RPL10{n}" for n in range(1, 10)]),
        (("rank", "--by", ""), ["unit"]),
        (("completion", ""), list(SHELLS)),
        (("fmt", "--"), ["--help", "--root", "--check", "--diff"]),
        (("fmt", "/etc/host"), None),
        (("fleet", "ra"), ["rank"]),
        (("fleet", "rank", "/etc/host"), None),
        (("fleet", "diff", "x", "/etc/host"), None),
        (("rank", "--rules", "/etc/host"), None),
    ],
)
def test_bash_offers_what_the_command_line_takes(
    words: tuple[str, ...], offered: list[str] | None, oomrules: Run
) -> None:
    found = bash(oomrules("completion", "bash").out, *words)
    if offered is None:
        assert "/etc/hosts" in found or "/etc/hostname" in found
    else:
        assert found == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_command_is_there(shell: str, oomrules: Run) -> None:
    script = oomrules("completion", shell).out
    for command in main_module.COMMANDS:
        for option in re.findall(r"(?<![\w-])--([a-z-]+)", oomrules(command, "--help").out):
            assert re.search(rf"(-l |--){option}\b", script), (command, option)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_every_line_is_quoted_to_its_end(shell: str, oomrules: Run) -> None:
    for line in oomrules("completion", shell).out.splitlines():
        shlex.split(line.rstrip("\\").removesuffix(";;"), comments=True)


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("zsh", "'*:file:_files' \\\n            '1:argument:(rank diff check test)' ;;"),
        ("fish", "'__fish_seen_subcommand_from fleet' -a 'rank diff check test'"),
    ],
)
def test_files_are_offered_behind_a_word(shell: str, line: str, oomrules: Run) -> None:
    assert line in oomrules("completion", shell).out
