"""Findings as SARIF 2.1.0, which code-scanning services read.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from oomrules import __version__
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.language.text import RuleText, Span
from oomrules.lint import registry

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

_LEVELS = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "note"}


def log(findings: Iterable[Diagnostic]) -> dict[str, Any]:
    """Return the log of one run."""
    findings = list(findings)
    codes = sorted({finding.code for finding in findings})
    driver = {"name": "oomrules", "version": __version__, "rules": [_rule(code) for code in codes]}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, codes) for finding in findings],
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    page = registry.page(code)
    return {
        "id": code,
        "shortDescription": {"text": registry.TITLES[code]},
        "help": {"text": page, "markdown": page},
    }


def _result(finding: Diagnostic, codes: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": _LEVELS[finding.level],
        "message": {"text": f"{finding.message}; {finding.help}"},
        "locations": [_location(finding.source, finding.span)],
    }
    if finding.related:
        result["relatedLocations"] = [
            {"id": number, **_location(other.source, other.span), "message": {"text": other.says}}
            for number, other in enumerate(finding.related)
        ]
    if finding.fix is not None:
        replacements = [
            {
                "deletedRegion": _region(finding.source, edit.span),
                "insertedContent": {"text": edit.text},
            }
            for edit in finding.fix.edits
        ]
        change = {"artifactLocation": _artifact(finding.source), "replacements": replacements}
        result["fixes"] = [{"description": {"text": finding.fix.says}, "artifactChanges": [change]}]
    if finding.witness is not None:
        result["properties"] = {"witness": dict(finding.witness)}
    return result


def _location(source: RuleText, span: Span) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": _artifact(source)}
    if source.text:
        place["region"] = _region(source, span)
    return {"physicalLocation": place}


def _artifact(source: RuleText) -> dict[str, str]:
    """Return the URI of a file, which is relative if the file is below the working directory."""
    if not os.path.isabs(source.name):
        return {"uri": quote(source.name)}
    path = Path(source.name)
    here = Path.cwd()
    return {"uri": quote(str(path.relative_to(here))) if here in path.parents else path.as_uri()}


def _region(source: RuleText, span: Span) -> dict[str, int]:
    line, column = source.position(span.start)
    end_line, end_column = source.position(span.end)
    return {
        "startLine": line,
        "startColumn": column,
        "endLine": end_line,
        "endColumn": end_column,
    }
