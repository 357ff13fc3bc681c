"""Definitions that take the place of others, across files."""

from __future__ import annotations

from collections.abc import Iterator

from oomrules.language import syntax
from oomrules.language.checker import Stated
from oomrules.language.diagnostics import Diagnostic, Level, Related
from oomrules.lint.ruleset import Check, RuleSet


def _replaced(rules: RuleSet) -> Iterator[Diagnostic]:
    """Find definitions of a lower directory that are replaced: other files mean them too."""
    for stated in rules.checked.sound:
        statement = stated.statement
        if stated.targets or not isinstance(statement, syntax.Define | syntax.ListOf):
            continue
        name = statement.name.name
        higher: Stated[syntax.Define] | Stated[syntax.ListOf]
        if isinstance(statement, syntax.Define):
            higher = rules.checked.defined[name]
        else:
            higher = rules.checked.listed[name]
        if higher is stated or higher.source.level == stated.source.level:
            continue
        if higher.statement == statement:
            continue
        said = name if isinstance(statement, syntax.Define) else f"@{name}"
        yield REPLACED.at(
            higher.source,
            higher.statement.name.span,
            f"`{said}` replaces the one at {stated.place}, for the rules of every file",
            "take another name, unless it is meant to change what the rules of other files say",
            related=(Related(stated.source, stated.statement.span, "replaced here"),),
        )


REPLACED = Check("OOM221", "a definition that replaces another", _replaced, Level.INFO)
CHECKS = (REPLACED,)
