"""Say the settings of other tools in rules: earlyoom, nohang, systemd-oomd, ananicy, units."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from oomrules import files
from oomrules.commands.parts import shared
from oomrules.errors import Failure
from oomrules.roots import Root
from oomrules.terminal import count, say, show

if TYPE_CHECKING:
    from oomrules.importing.translation import Translation

# As in importing/recognition.py, which is loaded only to work; a test compares.
FORMATS = ("earlyoom", "nohang", "systemd", "ananicy")

EXITS = {0: "the rule file is written"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``import``."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="FILE",
        help="settings of another tool, a directory of them, or - for standard input; "
        "or `earlyoom -- ARGUMENTS`",
    )
    parser.add_argument("--format", choices=FORMATS, help="the tool that the files are for")
    shared.add_flag(
        parser, "--units", "take what systemd says of this host's units; with --root, unit files"
    )
    shared.add_root(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=shared.named("-o"),
        metavar="FILE",
        help="the rule file to write; else standard output",
    )


def run(options: argparse.Namespace) -> int:
    """Write the rule file."""
    from oomrules.importing import rulefile

    found, unknown = _translations(options)
    found = rulefile.sound(found)
    text = rulefile.written(found, unknown)
    if options.output and options.output != "-":
        files.replace(options.output, text.encode())
    else:
        show(text)
    rules, others = rulefile.summary(found)
    say(
        f"{count(rules, 'setting')} said in rules, {others} in comments that say why not; "
        "read what differs at the top of the file",
        sys.stderr,
    )
    return 0


def _translations(options: argparse.Namespace) -> tuple[list[Translation], list[str]]:
    """Return what was asked for, and the files in directories that are for no tool."""
    from oomrules.importing import earlyoom, recognition, sources, units

    # A file may have that name: /etc/default/earlyoom, in its own directory.
    is_file = options.paths == [earlyoom.TOOL] and os.path.isfile(earlyoom.TOOL)
    if options.paths[:1] == [earlyoom.TOOL] and not is_file:
        return [earlyoom.of_arguments(options.paths[1:])], []
    if not options.paths and not options.units:
        raise Failure(
            "there is nothing to import",
            "name a file, such as /etc/default/earlyoom, or give --units",
        )
    named = [shared.named("FILE")(path) for path in options.paths]
    found, unknown = recognition.translations(sources.read(named, options.root), options.format)
    if options.units:
        tree = Root(options.root)
        found.append(units.of_host() if tree.whole else units.of_files(tree))
    return found, unknown
