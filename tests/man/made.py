"""What the manual pages in docs/man have from the code: options, exit codes, attributes, commands.

`python -m tests.man.made docs/man` writes these parts of the pages anew.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from oomrules.attributes import ATTRIBUTES
from oomrules.commands import main

SOURCES = Path(__file__).resolve().parents[2] / "docs" / "man"

INDENT = 4 * " "

_PART = re.compile(r"(<!-- (\w+): made from the code -->\n)[\s\S]*?(<!-- end -->)")
# What stands in code on a page: options, paths, and what the code writes in backquotes already.
_CODE = re.compile(r"(?<![\w`/-])(--?[a-z][\w-]*|/[\w./-]+[\w/]|\w+_\w+)(?![\w`])")


def command_of(name: str) -> str:
    """Return the command that a page is about, as `check` of oomrules-check.1; empty if none."""
    found = re.fullmatch(r"oomrules-([a-z]+)\.1", name)
    return found[1] if found else ""


def parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of one command."""
    (commands,) = main.parser([command])._get_positional_actions()
    choices: dict[str, argparse.ArgumentParser] = dict(commands.choices or {})
    return choices[command]


def shown(action: argparse.Action) -> bool:
    """Return whether the help shows an option or argument."""
    return action.help != argparse.SUPPRESS or "--help" in action.option_strings


def renewed(name: str, text: str) -> str:
    """Return the text of a page with the parts that come from the code as they have to be.

    Args:
        name: of the page, such as ``oomrules-check.1``.
        text: what it says.
    """
    return _PART.sub(lambda found: f"{found[1]}{_MADE[found[2]](name)}{found[3]}", text)


def _options(name: str) -> str:
    actions = [one for one in parser(command_of(name))._actions if shown(one)]
    # Arguments first, as in the synopsis.
    ordered = sorted(actions, key=lambda one: bool(one.option_strings))
    return "\n".join(_item(_term(action), _help(name, action)) for action in ordered)


def _item(term: str, text: str) -> str:
    return f"{term}\n{textwrap.fill(text, 100, initial_indent=':   ', subsequent_indent=INDENT)}\n"


def _term(action: argparse.Action) -> str:
    values = "|".join(f"`{choice}`" for choice in action.choices or ())
    value = "" if action.nargs == 0 else values or f"*{action.metavar}*"
    if not action.option_strings:
        return value
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    return f"{names} {value}".strip()


def _help(name: str, action: argparse.Action) -> str:
    if "--help" in action.option_strings:
        return "show the usage, and end"
    formatter = parser(command_of(name))._get_formatter()
    text = formatter._expand_help(action)
    known = f"; `{action.default}` unless told" if action.choices and action.default else ""
    return _CODE.sub(r"`\1`", text) + known


def _exits(name: str) -> str:
    codes = main.exits(command_of(name)).items()
    return "\n".join(_item(str(code), _CODE.sub(r"`\1`", meaning)) for code, meaning in codes)


def _commands(name: str) -> str:
    return "\n".join(
        _item(f"[oomrules-{command}(1)](oomrules-{command}.1.md)", purpose)
        for command, purpose in main.COMMANDS.items()
    )


def _attributes(name: str) -> str:
    return "\n".join(
        _item(f"`{one.name}` ({one.type.value})", one.doc) for one in ATTRIBUTES.values()
    )


_MADE: dict[str, Callable[[str], str]] = {
    "options": _options,
    "exits": _exits,
    "commands": _commands,
    "attributes": _attributes,
}

if __name__ == "__main__":
    for page in sorted(Path(sys.argv[1]).glob("*.md")):
        before = page.read_text(encoding="utf-8")
        page.write_text(renewed(page.stem, before), encoding="utf-8")
