"""The rules that a command is about, and options and messages that commands share.

The processes that a command is about are in ``selection``, which loads much more.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oomrules.attributes import Type
from oomrules.commands.parts import findings
from oomrules.errors import Failure
from oomrules.language import rulefiles
from oomrules.language.diagnostics import Rejected
from oomrules.processes.bpf import PINNED
from oomrules.terminal import count, memory, say
from oomrules.terminal import duration as words

if TYPE_CHECKING:
    from oomrules.program.program import Program


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which rules."""
    text = "a rule file, or a directory of them, in place of the system's; repeatable"
    add_value(parser, "--rules", "PATH", text, action="append")
    add_root(parser)


def add_paths(parser: argparse.ArgumentParser, nargs: str, text: str) -> None:
    """Add the arguments that are files or directories."""
    parser.add_argument("paths", nargs=nargs, type=named("PATH"), metavar="PATH", help=text)


def add_value(
    parser: argparse._ActionsContainer, name: str, metavar: str, text: str, **more: Any
) -> None:
    """Add an option with a value that must not be empty."""
    parser.add_argument(name, type=named(name), metavar=metavar, help=text, **more)


def add_flag(parser: argparse._ActionsContainer, name: str, text: str) -> None:
    """Add an option that is given or not."""
    parser.add_argument(name, action="store_true", help=text)


def add_format(parser: argparse.ArgumentParser, *forms: str) -> None:
    """Add the option that says in which of some forms the answer is printed; the first is usual."""
    parser.add_argument("--format", choices=forms, default=forms[0], help="how it is printed")


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which directory stands for /."""
    parser.add_argument(
        "--root",
        type=_directory,
        default=Path("/"),
        metavar="DIR",
        help="the directory that stands for /: the system's rules are looked for below it, and "
        "no link in it leads out of it",
    )


def _directory(text: str) -> Path:
    path = Path(named("--root")(text))
    if not path.is_dir():
        raise Failure(f"no such directory: {path}", "--root takes the directory that stands for /")
    return path


def add_host(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which processes."""
    add_value(parser, "--snapshot", "FILE", "a recorded host in place of this one")
    add_source(parser)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how processes are read."""
    text = "proc reads /proc alone, a path names a pinned BPF iterator; "
    text += f"without it {PINNED} is used where it is there"
    add_value(parser, "--source", "SOURCE", text, default="auto")


def named(option: str) -> Callable[[str], str]:
    """Return a type of argument that must not be empty, as an unset variable of a script is."""

    def check(text: str) -> str:
        if not text:
            raise Failure(f"{option} is empty", "give it a value, or leave it out")
        return text

    return check


def number(kind: type[float], least: float, most: float = math.inf) -> Callable[[str], float]:
    """Return a type of argument: an int or a float within limits."""
    kinds = "a whole number" if kind is int else "a number"
    limits = f"of at least {least}" if most == math.inf else f"from {least} to {most}"

    def check(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"`{text}` is not {kinds} {limits}")
        return value

    return check


def duration(option: str, least: float, most: float) -> Callable[[str], float]:
    """Return a type of argument: a duration as in rules, ``1h30min``, in seconds within limits."""

    def check(text: str) -> float:
        seconds = _quantity(option, text, Type.DURATION, "a duration, as in 90s or 1h30min") / 1000
        if not least <= seconds <= most:
            raise argparse.ArgumentTypeError(
                f"`{text}` is not from {words(round(1000 * least))} to {words(round(1000 * most))}"
            )
        return seconds

    return check


def size(option: str, least: int) -> Callable[[str], int]:
    """Return a type of argument: a size as in rules, ``512MiB``, in bytes, of at least so many."""

    def check(text: str) -> int:
        found = int(_quantity(option, text, Type.MEMORY, "a size, as in 512MiB"))
        if found < least:
            raise argparse.ArgumentTypeError(f"`{text}` is less than {memory(least)}")
        return found

    return check


def _quantity(option: str, text: str, wanted: Type, form: str) -> float:
    """Return what a quantity on the command line means, in the smallest unit of its type.

    Raises:
        Failure: it is none of this type.
    """
    from oomrules.language import quantities

    named(option)(text)
    try:
        if not text[0].isdigit():
            raise quantities.BadQuantity("", f"`{text}` is no quantity", f"write {form}")
        value = quantities.read(text)
    except quantities.BadQuantity as error:
        raise Failure(f"{option}: {error.message}", error.help) from error
    if value.type is not wanted:
        raise Failure(f"{option}: `{text}` has no unit, or another one", f"write {form}")
    return float(value.amount)


def rules(options: argparse.Namespace) -> rulefiles.Found:
    """Return the rule files that the options name."""
    if options.rules:
        return rulefiles.given(options.rules, options.root)
    return rulefiles.system(options.root)


def program(options: argparse.Namespace) -> Program:
    """Return the program of the rules that the options name.

    Raises:
        Failure: they have errors, which have been printed.
    """
    # lark is loaded here: the commands that need no rules start without it.
    from oomrules.language import compiler

    try:
        return compiler.compile_rules(rules(options))
    except Rejected as error:
        findings.print_full(error.diagnostics, sys.stderr)
        raise Failure(
            f"the rules have {count(len(error.diagnostics), 'error')}, so none of them is used",
            "fix the errors above; `oomrules check` shows them again",
        ) from error


def print_notes(said: list[str]) -> None:
    """Print notes where they do not mix with the output."""
    for note in said:
        say(f"note: {note}", sys.stderr)
