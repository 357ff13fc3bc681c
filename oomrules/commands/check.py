"""Find mistakes in rule files: syntax, names, types and units."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from oomrules.commands import findings, sources
from oomrules.commands.terminal import count
from oomrules.language import rulefiles
from oomrules.language.diagnostics import Diagnostic, Level


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``check``."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="rule files, directories of them, or - for standard input; else the system's",
    )
    sources.add_rules(parser)
    parser.add_argument("--format", choices=("full", "concise", "json"), default="full")
    parser.add_argument(
        "--fatal-warnings", action="store_true", help="exit with 3 where there are only warnings"
    )


def run(options: argparse.Namespace) -> int:
    """Print the findings; 1 if there are errors, 3 for warnings that are fatal."""
    from oomrules.language import checker

    found = _found(options)
    checked = checker.check(found.files)
    diagnostics = sorted(
        (*found.diagnostics, *checked.diagnostics), key=lambda diagnostic: diagnostic.sort_key
    )
    if options.format == "json":
        findings.print_json(diagnostics)
    elif options.format == "concise":
        findings.print_concise(diagnostics)
    else:
        findings.print_full(diagnostics)
        print(_summary(diagnostics, found, len(checked.rules)))
    levels = {diagnostic.level for diagnostic in diagnostics}
    if Level.ERROR in levels:
        return 1
    if Level.WARNING in levels:
        return 3 if options.fatal_warnings else 1
    return 0


def _found(options: argparse.Namespace) -> rulefiles.Found:
    paths = [*options.paths, *(options.rules or [])]
    if "-" not in paths:
        options.rules = paths
        return sources.rules(options)
    found = rulefiles.given([path for path in paths if path != "-"])
    text = rulefiles.decode(sys.stdin.buffer.read(), "<stdin>")
    if isinstance(text, Diagnostic):
        return replace(found, diagnostics=(*found.diagnostics, text))
    return replace(found, files=(*found.files, text))


def _summary(diagnostics: list[Diagnostic], found: rulefiles.Found, rules: int) -> str:
    # The vocabulary that is always present is not what was asked for.
    asked = len(found.files) - found.adds_vocabulary
    if not diagnostics:
        return f"{count(asked, 'file')}, {count(rules, 'rule')}: nothing to complain about"
    errors = sum(diagnostic.level is Level.ERROR for diagnostic in diagnostics)
    others = len(diagnostics) - errors
    parts = [count(errors, "error")] if errors else []
    parts += [count(others, "other finding")] if others else []
    return f"{count(asked, 'file')}: {', '.join(parts)}"
