"""Find mistakes in rule files, from their characters to what this host makes of them."""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from oomrules.commands.parts import findings, recording, rewrite, shared
from oomrules.errors import Failure
from oomrules.language import rulefiles, syntax
from oomrules.language.checker import only
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.roots import Root
from oomrules.terminal import count, say

if TYPE_CHECKING:
    from oomrules.language.text import RuleText
    from oomrules.lint.host_facts import HostFacts
    from oomrules.lint.ruleset import RuleSet

EXITS = {
    0: "nothing to complain about",
    1: "findings, or something for `--diff` to show",
    3: "warnings and no errors, with `--fatal-warnings`",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``check``."""
    paths = "rule files, directories of them, or - for standard input; else the system's"
    shared.add_paths(parser, "*", paths)
    shared.add_rules(parser)
    parser.add_argument("--explain", metavar="CODE", help="print the page of a code, and no more")
    shared.add_flag(parser, "--host", "look at this host too: units, users, what is excluded")
    shared.add_host(parser)
    parser.add_argument(
        "--least-freeable",
        type=shared.number(int, 0, 100),
        default=25,
        metavar="PERCENT",
        help="with --host, the share of the memory in use that must stay killable (25)",
    )
    change = parser.add_mutually_exclusive_group()
    shared.add_flag(change, "--fix", "mend what is safe to mend")
    shared.add_flag(change, "--diff", "show what --fix would do; 1 if there is anything")
    shared.add_format(parser, *findings.PRINT)
    shared.add_flag(parser, "--fatal-warnings", "exit with 3 where there are only warnings")


def run(options: argparse.Namespace) -> int:
    """Print the findings; 1 if there are any, 3 for warnings that are fatal."""
    from oomrules.lint import fixes, linter, registry

    if options.explain:
        print(registry.page(options.explain), end="")
        return 0
    found, directories = _found(options)
    if options.fix or options.diff:
        better = fixes.fix(found, lambda found: linter.lint(found, directories))
        changes = fixes.changes(found, better)
        if options.diff:
            for before, after in changes:
                rewrite.print_difference(before, after.text)
            return 1 if changes else 0
        _write(changes, Root(options.root))
        found = better
    host = _host(options, found) if options.host or options.snapshot else None
    # The linter uses what it makes to the end: to look for garbage takes long, and frees nothing.
    gc.disable()
    try:
        rules, diagnostics = linter.lint(found, directories, host)
    finally:
        gc.enable()
    findings.PRINT[options.format](diagnostics)
    if options.format == "full":
        print(_summary(rules, diagnostics))
    levels = {diagnostic.level for diagnostic in diagnostics}
    if Level.ERROR in levels:
        return 1
    shared.print_notes(rules.meaning.notes())
    if Level.WARNING in levels:
        return 3 if options.fatal_warnings else 1
    return 0


def _found(options: argparse.Namespace) -> tuple[rulefiles.Found, tuple[Path, ...]]:
    """Return the rules, and the directories in which they were looked for."""
    paths = [*options.paths, *(options.rules or [])]
    if "-" not in paths:
        options.rules = paths
        directories = map(Path, paths) if paths else rulefiles.directories(options.root)
        tree = Root(options.root)
        return shared.rules(options), tuple(path for path in directories if tree.is_dir(path))
    found = rulefiles.given([path for path in paths if path != "-"], options.root)
    text = rulefiles.standard_input()
    if isinstance(text, Diagnostic):
        return replace(found, diagnostics=(*found.diagnostics, text)), ()
    return replace(found, files=(*found.files, text)), ()


def _write(changes: list[tuple[RuleText, RuleText]], tree: Root) -> None:
    for before, after in changes:
        if before.name == rulefiles.STDIN:
            raise Failure("standard input cannot be mended in place", "use --diff, or name a file")
        rewrite.write(before, after.text, tree)
        say(f"mended {before.name}", sys.stderr)


def _host(options: argparse.Namespace, found: rulefiles.Found) -> HostFacts | None:
    """Look at the host, unless the rules are in error."""
    from oomrules.commands.parts import selection
    from oomrules.dbus import gather
    from oomrules.language import compiler
    from oomrules.language.diagnostics import Rejected
    from oomrules.lint import figures, host_facts
    from oomrules.ranking.ranker import Ranker

    try:
        program = compiler.compile_rules(found)
    except Rejected:
        return None
    if options.snapshot:
        snapshot = recording.load(options.snapshot)
        ranking = Ranker(program, snapshot.host).rank(snapshot)
        return host_facts.recorded(ranking, options.least_freeable)
    asking = figures.asking_for_guards(program)
    source = selection.live(asking, gather.questions(asking, properties=host_facts.PROPERTIES))
    shared.print_notes(selection.notes(source))
    return host_facts.live(
        Ranker(program, source.host).rank(source),
        Root(options.root),
        exists=source.names.exists,
        least_freeable=options.least_freeable,
        booted=gather.booted_with_systemd(),
    )


def _summary(rules: RuleSet, diagnostics: list[Diagnostic]) -> str:
    # Files that could not be read (OOM001, OOM002) count too.
    unread = [found.source for found in diagnostics if found.code in ("OOM001", "OOM002")]
    named = {source.name for source in (*rules.sources, *unread)}
    files = count(len(named), "file")
    if not named:
        return "no rule file was found; their names end in `.oom`"
    if not diagnostics:
        stated = len(rules.checked.rules) + len(only(rules.checked.sound, syntax.Whole))
        guards = len(rules.checked.guards)
        said = [count(stated, "rule")] + ([count(guards, "guard")] if guards else [])
        return f"{files}, {', '.join(said)}: nothing to complain about"
    levels = Counter(diagnostic.level for diagnostic in diagnostics)
    nouns = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "note"}
    parts = [count(levels[level], noun) for level, noun in nouns.items() if levels[level]]
    fixable = sum(diagnostic.fix is not None for diagnostic in diagnostics)
    mend = f"; --fix mends {fixable}" if fixable else ""
    return f"{files}: {', '.join(parts)}{mend}"
