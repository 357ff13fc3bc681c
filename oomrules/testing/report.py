"""Outcomes of tests: as text, as TAP 13, and as JUnit's XML."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from oomrules.plain import printable
from oomrules.terminal import Paint, count
from oomrules.testing.trial import Outcome

FORMATS = ("text", "tap", "junit")


def text(outcomes: Sequence[Outcome], paint: Paint) -> str:
    """Return what failed and why, for a terminal."""
    lines = []
    for outcome in outcomes:
        mark = paint("failed", "red") if outcome.problems else paint("ok", "green")
        place = printable(f"{outcome.file.path}: {outcome.case.name}")
        lines.append(f"{mark:8} {place}")
        lines += [f"           {printable(problem)}" for problem in outcome.problems]
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    lines.append(f"\n{count(len(outcomes), 'test')}, {failed} failed")
    return "\n".join(lines)


def tap(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes in the Test Anything Protocol, version 13 (https://testanything.org)."""
    lines = ["TAP version 13", f"1..{len(outcomes)}"]
    for number, outcome in enumerate(outcomes, 1):
        name = printable(f"{outcome.file.path}: {outcome.case.name}").replace("#", "\\#")
        lines.append(f"{'not ok' if outcome.problems else 'ok'} {number} - {name}")
        lines += [f"# {printable(problem)}" for problem in outcome.problems]
    return "\n".join(lines)


def junit(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as the XML that continuous integration reads from JUnit."""
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name="oomrules" tests="{len(outcomes)}" failures="{failed}" errors="0">',
    ]
    for outcome in outcomes:
        path, name = _attribute(str(outcome.file.path)), _attribute(outcome.case.name)
        lines.append(f"  <testcase classname={path} name={name}>")
        lines += [f"    <failure message={_attribute(said)}/>" for said in outcome.problems]
        lines.append("  </testcase>")
    return "\n".join([*lines, "</testsuite>"])


def _attribute(text: str) -> str:
    return quoteattr(printable(text))
