"""Protection that a process can give itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oomrules.language import syntax
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.lint.ruleset import Check, RuleSet

# What any process can change as it likes: its name (prctl(2), PR_SET_NAME), its command line
# (PR_SET_MM_ARG_START, or writing over it), a higher nice value, how many threads it has.
AT_WILL = {
    "comm": "its name",
    "cmdline": "its command line",
    "nice": "its nice value",
    "threads": "its number of threads",
}


def asked(node: list[Any], definitions: dict[str, list[Any]]) -> set[str]:
    """Collect what a condition asks for, with the definitions that it uses."""
    kind = node[0]
    if kind == "attr":
        return {node[1]}
    if kind == "cap":
        return {"capabilities"}
    if kind == "name":
        return asked(definitions.get(node[1], ["or"]), definitions)
    parts = (part for part in node[1:] if isinstance(part, list))
    return {name for part in parts for name in asked(part, definitions)}


def _self_made(rules: RuleSet) -> Iterator[Diagnostic]:
    for stated, rule, made in rules.rules():
        # Whoever is in a unit was put there by somebody; that is said beside the name.
        if rule.kind is not syntax.Kind.NEVER or made.targets:
            continue
        names = asked(made.when, rules.checked.definitions)
        if names and names <= AT_WILL.keys():
            what = " and ".join(sorted(AT_WILL[name] for name in names))
            yield SELF_MADE.at(
                stated.source,
                rule.selector.span,
                f"any process can protect itself with this: it chooses {what}",
                'say also whose it is, as in `uid 0 comm "sshd"`, or spare it instead',
            )


SELF_MADE = Check(
    "OOM531", "a protection that a process can give itself", Level.WARNING, _self_made, whole=True
)
CHECKS = (SELF_MADE,)
