"""Find mistakes in rule files, from their characters to what this host makes of them."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from oomrules.commands.parts import findings, rulesets
from oomrules.errors import Failure
from oomrules.language import rulefiles
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.roots import Root
from oomrules.terminal import count, print_json, say

if TYPE_CHECKING:
    from oomrules.language.text import RuleText
    from oomrules.lint.host_facts import HostFacts
    from oomrules.lint.ruleset import RuleSet

FORMATS = ("full", "concise", "json", "sarif", "github")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``check``."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="rule files, directories of them, or - for standard input; else the system's",
    )
    rulesets.add_rules(parser)
    parser.add_argument("--explain", metavar="CODE", help="print the page of a code, and no more")
    parser.add_argument(
        "--host", action="store_true", help="look at this host too: units, users, what is excluded"
    )
    rulesets.add_host(parser)
    parser.add_argument(
        "--least-freeable",
        type=_percent,
        default=25,
        metavar="PERCENT",
        help="with --host, the share of the memory in use that must stay killable (25)",
    )
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--fix", action="store_true", help="mend what is safe to mend")
    change.add_argument(
        "--diff", action="store_true", help="show what --fix would do; 1 if there is anything"
    )
    parser.add_argument("--format", choices=FORMATS, default="full")
    parser.add_argument(
        "--fatal-warnings", action="store_true", help="exit with 3 where there are only warnings"
    )


def _percent(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError("from 0 to 100")
    return number


def run(options: argparse.Namespace) -> int:
    """Print the findings; 1 if there are any, 3 for warnings that are fatal."""
    from oomrules.lint import fixes, linter, registry

    if options.explain:
        print(registry.page(options.explain), end="")
        return 0
    found, directories = _found(options)

    def lint(found: rulefiles.Found) -> tuple[RuleSet, list[Diagnostic]]:
        return linter.lint(found, directories)

    if options.fix or options.diff:
        better = fixes.fix(found, lint)
        changes = fixes.changes(found, better)
        if options.diff:
            return _show(changes)
        _write(changes, Root(options.root))
        found = better
    host = _host(options, found) if options.host or options.snapshot else None
    with _keeping_everything():
        rules, diagnostics = linter.lint(found, directories, host)
    _print(options.format, rules, diagnostics)
    if all(diagnostic.level is not Level.ERROR for diagnostic in diagnostics):
        rulesets.print_notes(rules.meaning.notes())
    levels = {diagnostic.level for diagnostic in diagnostics}
    if Level.ERROR in levels:
        return 1
    if Level.WARNING in levels:
        return 3 if options.fatal_warnings else 1
    return 0


@contextmanager
def _keeping_everything() -> Iterator[None]:
    """Keep the collector from looking for garbage: the linter uses what it makes to the end.

    Looking takes long, and the cycles that are not freed meanwhile take next to nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _found(options: argparse.Namespace) -> tuple[rulefiles.Found, tuple[Path, ...]]:
    """Return the rules, and the directories in which they were looked for."""
    paths = [*options.paths, *(options.rules or [])]
    if "-" not in paths:
        options.rules = paths
        directories = map(Path, paths) if paths else rulefiles.directories(options.root)
        tree = Root(options.root)
        return rulesets.rules(options), tuple(path for path in directories if tree.is_dir(path))
    found = rulefiles.given([path for path in paths if path != "-"], options.root)
    text = rulefiles.standard_input()
    if isinstance(text, Diagnostic):
        return replace(found, diagnostics=(*found.diagnostics, text)), ()
    return replace(found, files=(*found.files, text)), ()


def _show(changes: list[tuple[RuleText, RuleText]]) -> int:
    from oomrules.commands.parts import rewrite

    for before, after in changes:
        rewrite.print_difference(before, after.text)
    return 1 if changes else 0


def _write(changes: list[tuple[RuleText, RuleText]], tree: Root) -> None:
    from oomrules.commands.parts import rewrite

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
    from oomrules.lint import host_facts
    from oomrules.processes import recorded
    from oomrules.ranking.ranker import Ranker

    try:
        program = compiler.compile_rules(found)
    except Rejected:
        return None
    if options.snapshot:
        snapshot = recorded.load(options.snapshot)
        ranking = Ranker(program, snapshot.host).rank(snapshot)
        return host_facts.recorded(ranking, options.least_freeable)
    source = selection.live(
        program,
        gather.questions(program, properties=host_facts.PROPERTIES),
    )
    rulesets.print_notes(selection.notes(source))
    ranking = Ranker(program, source.host).rank(source)
    return host_facts.live(
        ranking,
        Root(options.root),
        exists=source.names.exists,
        least_freeable=options.least_freeable,
        booted=gather.booted_with_systemd(),
    )


def _print(form: str, rules: RuleSet, diagnostics: list[Diagnostic]) -> None:
    if form == "json":
        findings.print_json(diagnostics)
    elif form == "sarif":
        from oomrules.lint import sarif

        print_json(sarif.log(diagnostics), 2)
    elif form == "github":
        findings.print_github(diagnostics)
    elif form == "concise":
        findings.print_concise(diagnostics)
    else:
        findings.print_full(diagnostics)
        print(_summary(rules, diagnostics))


def _summary(rules: RuleSet, diagnostics: list[Diagnostic]) -> str:
    # Files that could not be read (OOM001, OOM002) count too.
    unread = {
        diagnostic.source.name
        for diagnostic in diagnostics
        if diagnostic.code in ("OOM001", "OOM002")
    }
    named = {source.name for source in rules.sources} | unread
    files = count(len(named), "file")
    if not named:
        return "no rule file was found; their names end in `.oom`"
    if not diagnostics:
        return f"{files}, {count(len(rules.checked.rules), 'rule')}: nothing to complain about"
    parts = []
    for level, noun in ((Level.ERROR, "error"), (Level.WARNING, "warning"), (Level.INFO, "note")):
        number = sum(diagnostic.level is level for diagnostic in diagnostics)
        parts += [count(number, noun)] if number else []
    fixable = sum(diagnostic.fix is not None for diagnostic in diagnostics)
    mend = f"; --fix mends {fixable}" if fixable else ""
    return f"{files}: {', '.join(parts)}{mend}"
