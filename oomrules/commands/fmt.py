"""Write rule files in their one form."""

from __future__ import annotations

import argparse
import sys

from oomrules.commands.parts import findings, rewrite, shared
from oomrules.language import rulefiles
from oomrules.language.diagnostics import Diagnostic, Rejected
from oomrules.language.text import RuleText
from oomrules.roots import Root
from oomrules.terminal import count, say, show

EXITS = {
    0: "the files are in their one form now",
    1: "with `--check` or `--diff`, a file is not",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fmt``."""
    shared.add_paths(parser, "+", "rule files, directories of them, or - for standard input")
    shared.add_root(parser)
    change = parser.add_mutually_exclusive_group()
    shared.add_flag(change, "--check", "name the files that are not in this form; 1 if any")
    shared.add_flag(change, "--diff", "show what would change; 1 if anything")


def run(options: argparse.Namespace) -> int:
    """Write the files; 1 if --check or --diff found something, 2 for files with errors."""
    from oomrules.language import formatter

    changed, wrong = False, 0
    looking = options.check or options.diff
    for file in _files(options):
        try:
            if isinstance(file, Diagnostic):
                raise Rejected([file])
            text = formatter.formatted(file)
        except Rejected as error:
            findings.print_full(error.diagnostics, sys.stderr)
            wrong += 1
            continue
        if file.name == rulefiles.STDIN and not looking:
            show(text)
        elif text == file.text:
            continue
        elif options.diff:
            rewrite.print_difference(file, text)
        elif options.check:
            say(file.name)
        else:
            rewrite.write(file, text, Root(options.root))
            say(f"formatted {file.name}", sys.stderr)
        changed = True
    if wrong:
        has = "has errors and is" if wrong == 1 else "have errors and are"
        print(f"{count(wrong, 'file')} {has} left unchanged", file=sys.stderr)
        return 2
    return 1 if changed and looking else 0


def _files(options: argparse.Namespace) -> list[RuleText | Diagnostic]:
    """Return the files, each that cannot be read as the diagnostic that says why."""
    typed = [rulefiles.standard_input()] if "-" in options.paths else []
    found = rulefiles.given([path for path in options.paths if path != "-"], options.root)
    return [*typed, *found.diagnostics, *found.files[found.adds_vocabulary :]]
