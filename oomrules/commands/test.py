"""Run the tests of rules: which process is first, protected, above another, or taken."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from oomrules.commands.parts import shared
from oomrules.errors import Failure
from oomrules.language import rulefiles
from oomrules.roots import Root
from oomrules.terminal import Paint, count, say

if TYPE_CHECKING:
    from oomrules.program.program import Program

EXITS = {
    0: "every test holds",
    1: "one does not",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``test``."""
    paths = "test files (NAME.test.toml) or directories; else `tests` beside the rules in force"
    shared.add_paths(parser, "*", paths)
    shared.add_rules(parser)
    shared.add_flag(parser, "--untested", "list the rules that no test exercises")
    shared.add_format(parser, "text", "tap", "junit")


def run(options: argparse.Namespace) -> int:
    """Run the tests; 1 if one failed."""
    from oomrules.testing import cases, report, trial

    outcomes: list[trial.Outcome] = []
    exercised: set[str] = set()
    programs: dict[tuple[str, ...] | None, Program] = {}
    tree = Root(options.root)
    for path in cases.files(_paths(options, tree), tree):
        file = cases.read(path, tree)
        if file.rules not in programs:
            rules = options.rules or file.rules
            chosen = argparse.Namespace(rules=rules, root=options.root)
            programs[file.rules] = shared.program(chosen)
        outcomes += trial.run(file, programs[file.rules], exercised)
    if not outcomes:
        raise Failure("there are no tests", "write one, NAME.test.toml; see docs/testing.md")
    if options.format == "tap":
        print(report.tap(outcomes))
    elif options.format == "junit":
        print(report.junit(outcomes))
    else:
        print(report.text(outcomes, Paint(sys.stdout)))
    untested = _untested(programs.values(), exercised)
    if untested:
        stream = sys.stdout if options.format == "text" else sys.stderr
        what = f"{count(len(untested), 'rule')} exercised by no test"
        print(what if options.untested else f"{what} (--untested lists them)", file=stream)
        for place, text in untested.items() if options.untested else ():
            say(f"  {place}: {text}", stream)
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def _paths(options: argparse.Namespace, tree: Root) -> list[Path]:
    if options.paths:
        return [Path(path) for path in options.paths]
    folders = [folder / "tests" for folder in rulefiles.directories(options.root)]
    return [folder for folder in folders if tree.is_dir(folder)]


def _untested(programs: Iterable[Program], exercised: set[str]) -> dict[str, str]:
    """Return the rules that decided nothing, by their place, in file and line order."""
    found: dict[str, str] = {}
    for scope in (scope for program in programs for scope in program.scopes):
        block = "".join(f"in {target}: " for target in scope.targets)
        found |= {rule.place: block + rule.text for rule in scope.rules}
        found |= {guard.place: block + guard.text for guard in scope.guards}
    found = {place: text for place, text in found.items() if place not in exercised}

    def place(where: str) -> tuple[str, int]:
        name, _, line = where.rpartition(":")
        return name, int(line)

    return {where: found[where] for where in sorted(found, key=place)}
