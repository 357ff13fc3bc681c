"""Safe fixes, put into the text of their file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from oomrules.language import rulefiles
from oomrules.language.diagnostics import Diagnostic, Edit, Level
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint.ruleset import RuleSet

# A fix may uncover another; no text needs more rounds than this.
_ROUNDS = 10

Lint = Callable[[Found], tuple[RuleSet, list[Diagnostic]]]


def fixed(text: str, findings: Iterable[Diagnostic]) -> str:
    """Return the text of a file with its fixes; if two overlap, only the first is made."""
    taken: list[Edit] = []
    for finding in findings:
        edits = finding.fix.edits if finding.fix else ()
        if not any(
            edit.span.start <= other.span.end and other.span.start <= edit.span.end
            for edit in edits
            for other in taken
        ):
            taken += edits
    for edit in sorted(taken, key=lambda edit: edit.span, reverse=True):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


def fix(found: Found, lint: Lint) -> Found:
    """Make all safe fixes, until none is left.

    Args:
        lint: runs the linter over files.

    Returns:
        the files with their new texts.
    """
    for _ in range(_ROUNDS):
        rules, findings = lint(found)
        changed = {
            source: fixed(source.text, [one for one in findings if one.source == source])
            for source in rules.sources
            # Directories of lower precedence than /etc belong to packages and programs.
            if source.level < rulefiles.PACKAGED
        }
        files = tuple(
            replace(file, text=changed[file]) if file in changed else file for file in found.files
        )
        if files == found.files:
            break
        better = replace(found, files=files)
        if _errors(lint(better)[1]) > _errors(findings):
            break  # a fix must not make more errors
        found = better
    return found


def _errors(findings: list[Diagnostic]) -> int:
    return sum(finding.level is Level.ERROR for finding in findings)


def changes(before: Found, after: Found) -> list[tuple[RuleText, RuleText]]:
    """Return the files whose text has changed, each before and after."""
    pairs = zip(before.files, after.files, strict=True)
    return [(old, new) for old, new in pairs if old.text != new.text]
