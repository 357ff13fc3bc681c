"""One run of the linter: the errors, the checks, and the findings that comments allow."""

from __future__ import annotations

from pathlib import Path

from oomrules.language import checker
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.language.rulefiles import Found
from oomrules.lint import registry, suppressions
from oomrules.lint.host_facts import HostFacts
from oomrules.lint.ruleset import RuleSet


def lint(
    found: Found,
    directories: tuple[Path, ...] = (),
    host: HostFacts | None = None,
) -> tuple[RuleSet, list[Diagnostic]]:
    """Find everything that is wrong with a rule set.

    Args:
        found: the files.
        directories: the directories of drop-ins, the highest precedence first.
        host: the facts of the host; None leaves its checks out.

    Returns:
        the rule set, and the findings in file and line order.
    """
    checked = checker.check(found.files)
    rules = RuleSet(found, checked, directories, host)
    errors = [*found.diagnostics, *checked.diagnostics]
    wrong = any(error.level is Level.ERROR for error in errors)
    findings: list[Diagnostic] = []
    ran: set[str] = set()
    for check in registry.CHECKS:
        if (check.host and host is None) or (check.whole and wrong):
            continue
        ran.add(check.code)
        findings += check.find(rules)
    # A statement with an error has no other findings.
    blamed = {(error.source, error.source.position(error.span.start)[0]) for error in errors}
    # Findings in the vocabulary count only if it was asked for.
    asked = set(rules.sources)
    findings = [
        finding
        for finding in {(*one.sort_key, one.message): one for one in findings}.values()
        if (finding.source, finding.source.position(finding.span.start)[0]) not in blamed
        and (finding.source in asked or finding.source not in found.files)
    ]
    findings = suppressions.apply(rules, findings, ran, registry.TITLES)
    return rules, sorted((*errors, *findings), key=lambda finding: finding.sort_key)
