"""Safe fixes, put into the text of their file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from oomrules.language.diagnostics import Diagnostic, Edit, Level
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint.ruleset import RuleSet

# A fix may uncover another; no text needs more rounds than this.
_ROUNDS = 10

Lint = Callable[[Found], tuple[RuleSet, list[Diagnostic]]]


def fixed(text: str, findings: Iterable[Diagnostic]) -> str:
    """Put the fixes of one file into its text; of two that overlap the first counts."""
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
    """Fix what is safe to fix, until nothing is left.

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
            # What is below /etc belongs to packages and to programs.
            if source.level == 0
        }
        files = tuple(
            replace(file, text=changed[file]) if file in changed else file for file in found.files
        )
        if files == found.files:
            break
        better = replace(found, files=files)
        if _errors(lint(better)[1]) > _errors(findings):
            break  # a fix is never worse than what it mends
        found = better
    return found


def _errors(findings: list[Diagnostic]) -> int:
    return sum(finding.level is Level.ERROR for finding in findings)


def changes(before: Found, after: Found) -> list[tuple[RuleText, RuleText]]:
    """List the files whose text is another one now."""
    pairs = zip(before.files, after.files, strict=True)
    return [(old, new) for old, new in pairs if old.text != new.text]
