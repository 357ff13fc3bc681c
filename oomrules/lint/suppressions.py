"""Comments that allow a finding: ``# oomrules: allow OOM501 because …``.

A comment behind a statement is about the findings of its line. A comment on a line of its own
is about those of the next line that is no comment.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from oomrules.language.diagnostics import CODES as ERRORS
from oomrules.language.diagnostics import Diagnostic, Edit, Fix
from oomrules.language.text import RuleText, Span
from oomrules.lint.ruleset import Check, Comment, RuleSet

_OURS = re.compile(r"#\s*oomrules:\s*(.*)")
_ALLOW = re.compile(r"allow\s+(\w+(?:\s*,\s*\w+)*)\s*(?:because\b\s*(.*))?$")


@dataclass
class Suppression:
    """One comment: the codes that it allows and the line that it is about."""

    comment: Comment
    codes: tuple[str, ...]
    reason: str
    line: int
    used: set[str] = field(default_factory=set)


def apply(
    rules: RuleSet,
    findings: Iterable[Diagnostic],
    ran: Collection[str],
    known: Collection[str],
) -> list[Diagnostic]:
    """Return the findings that no comment allows, and findings about comments without effect.

    Args:
        ran: the codes of the checks that ran; comments about others may be needed elsewhere.
        known: all codes.
    """
    suppressions, kept = [], []
    for comment in rules.comments:
        said = _OURS.match(comment.source.text[slice(*comment.span)].rstrip())
        if not said:
            continue
        allowed = _ALLOW.match(said.group(1))
        if not allowed:
            kept.append(
                UNCLEAR.at(
                    comment.source,
                    comment.span,
                    "this comment is addressed to oomrules, and is not understood",
                    "write `# oomrules: allow OOM501 because …`",
                )
            )
            continue
        codes = tuple(re.split(r"\s*,\s*", allowed.group(1)))
        reason = (allowed.group(2) or "").strip()
        suppressions.append(Suppression(comment, codes, reason, _line(comment)))
    by_line: defaultdict[tuple[RuleText, int], list[Suppression]] = defaultdict(list)
    for one in suppressions:
        by_line[one.comment.source, one.line].append(one)
    for finding in findings:
        line = finding.source.position(finding.span.start)[0]
        allowing = [one for one in by_line[finding.source, line] if finding.code in one.codes]
        for one in allowing:
            one.used.add(finding.code)
        if not allowing:
            kept.append(finding)
    for one in suppressions:
        kept += _complaints(one, ran, known)
    return kept


def _line(comment: Comment) -> int:
    """Return the line that a comment is about."""
    source = comment.source
    line = source.position(comment.span.start)[0]
    if not comment.alone:
        return line
    last = source.text.count("\n") + 1
    line += 1
    while line < last and source.line(line).lstrip().startswith("#"):
        line += 1
    return line


def _complaints(
    one: Suppression, ran: Collection[str], known: Collection[str]
) -> Iterable[Diagnostic]:
    source, span = one.comment.source, one.comment.span
    if not one.reason:
        yield NO_REASON.at(
            source,
            span,
            "this comment allows a finding and does not say why",
            f"write `# oomrules: allow {', '.join(one.codes)} because …`",
        )
    for code in one.codes:
        if code not in known:
            yield UNCLEAR.at(
                source, span, f"there is no code {code}", "`oomrules check` shows the code"
            )
        elif code in ERRORS:
            yield UNCLEAR.at(
                source,
                span,
                f"{code} is an error, and errors cannot be allowed",
                "mend what it complains of",
            )
        elif code in ran and code not in one.used:
            fix = _removal(one) if len(one.codes) == 1 else None
            help_ = "remove the comment" if fix else "remove the code"
            yield UNUSED.at(source, span, f"there is no {code} here any more", help_, fix=fix)


def _removal(one: Suppression) -> Fix:
    """Return a fix that removes the comment, and its line if nothing else is in it."""
    text, span = one.comment.source.text, one.comment.span
    start = len(text[: span.start].rstrip(" \t"))
    end = span.end
    if one.comment.alone and text[end : end + 1] == "\n":
        end += 1
    return Fix("remove the comment", (Edit(Span(start, end), ""),))


def _elsewhere(rules: RuleSet) -> Iterable[Diagnostic]:
    """Return nothing: ``apply`` makes these findings after all other checks have run."""
    return ()


UNUSED = Check("OOM801", "a comment that allows what is not there", _elsewhere)
NO_REASON = Check("OOM802", "a comment that allows without a reason", _elsewhere)
UNCLEAR = Check("OOM803", "a comment to oomrules that means nothing", _elsewhere)
CHECKS = (UNUSED, NO_REASON, UNCLEAR)
