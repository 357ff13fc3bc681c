"""Diagnostics as text, for editors, as JSON, as SARIF and for GitHub."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from oomrules import terminal
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.language.text import RuleText, Span
from oomrules.plain import printable
from oomrules.terminal import Paint, say, width

SCHEMA = "oomrules.check/1"

_COLOURS = {Level.ERROR: "red", Level.WARNING: "yellow", Level.INFO: "cyan"}


def print_full(diagnostics: Iterable[Diagnostic], out: TextIO | None = None) -> None:
    """Print each finding with its line, a caret and what to do."""
    out = sys.stdout if out is None else out
    paint = Paint(out)
    for diagnostic in diagnostics:
        print(_full(diagnostic, paint), end="\n\n", file=out)


def _full(diagnostic: Diagnostic, paint: Paint) -> str:
    colour = _COLOURS[diagnostic.level]
    line, column = diagnostic.source.position(diagnostic.span.start)
    head = paint(f"{diagnostic.level.value}[{diagnostic.code}]", colour, "bold")
    lines = [f"{head}{paint(f': {diagnostic.message}', 'bold')}"]
    margin, name = " " * len(str(line)), printable(diagnostic.source.name)
    lines.append(f"{margin}{paint('-->', 'blue')} {name}:{line}:{column}")
    text = diagnostic.source.line(line)
    if diagnostic.source.text:
        end = min(diagnostic.span.end - diagnostic.span.start, len(text) - column + 1)
        caret = paint("^" * max(1, end) + f" {diagnostic.label}".rstrip(), colour)
        bar = paint("|", "blue")
        lines += [
            f"{margin} {bar}",
            f"{paint(str(line), 'blue')} {bar} {printable(text)}",
            f"{margin} {bar} {' ' * width(printable(text[: column - 1]))}{caret}",
        ]
    for other in diagnostic.related:
        place = printable(other.source.place(other.span))
        lines.append(f"{margin}{paint(':::', 'blue')} {place}: {printable(other.says)}")
    bullet = paint("=", "blue")
    if diagnostic.witness is not None:
        seen = ", ".join(f"{key} {value}" for key, value in diagnostic.witness.items())
        lines.append(f"{margin} {bullet} {paint('for example:', 'bold')} {printable(seen)}")
    lines.append(f"{margin} {bullet} {paint('help:', 'bold')} {printable(diagnostic.help)}")
    if diagnostic.fix is not None:
        lines.append(f"{margin} {bullet} {paint('fix:', 'bold')} --fix does this")
    return "\n".join(lines)


def print_concise(diagnostics: Iterable[Diagnostic]) -> None:
    """Print one line per finding, in the form that editors and grep understand."""
    for diagnostic in diagnostics:
        say(concise(diagnostic))


def concise(diagnostic: Diagnostic) -> str:
    """Return a finding in one line."""
    line, column = diagnostic.source.position(diagnostic.span.start)
    place = f"{printable(diagnostic.source.name)}:{line}:{column}"
    level = f"{diagnostic.level.value}[{diagnostic.code}]"
    return f"{place}: {level} {printable(diagnostic.message)}; {printable(diagnostic.help)}"


def as_data(diagnostic: Diagnostic) -> dict[str, Any]:
    """Return a finding in the form of schema ``oomrules.check/1``."""
    data: dict[str, Any] = {
        "code": diagnostic.code,
        "level": diagnostic.level.value,
        "message": diagnostic.message,
        "file": diagnostic.source.name,
        **_range(diagnostic.source, diagnostic.span),
        "help": diagnostic.help,
    }
    if diagnostic.witness is not None:
        data["witness"] = dict(diagnostic.witness)
    if diagnostic.fix is not None:
        edits = [
            {**_range(diagnostic.source, edit.span), "text": edit.text}
            for edit in diagnostic.fix.edits
        ]
        data["fix"] = {"description": diagnostic.fix.says, "edits": edits}
    return data


def _range(source: RuleText, span: Span) -> dict[str, int]:
    line, column = source.position(span.start)
    end_line, end_column = source.position(span.end)
    return {"line": line, "column": column, "end_line": end_line, "end_column": end_column}


def print_json(diagnostics: Iterable[Diagnostic]) -> None:
    """Print all findings as one JSON object."""
    data = {"schema": SCHEMA, "findings": [as_data(diagnostic) for diagnostic in diagnostics]}
    terminal.print_json(data, 2)


def print_sarif(diagnostics: Iterable[Diagnostic]) -> None:
    """Print all findings as SARIF, which code scanning takes."""
    from oomrules.lint import sarif

    terminal.print_json(sarif.log(diagnostics), 2)


def print_github(diagnostics: Iterable[Diagnostic]) -> None:
    """Print workflow commands, which GitHub shows beside the lines of a change.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    for diagnostic in diagnostics:
        data = as_data(diagnostic)
        command = {"info": "notice"}.get(data["level"], data["level"])
        properties = {
            "file": data["file"],
            "line": data["line"],
            "col": data["column"],
            "endLine": data["end_line"],
            "endColumn": data["end_column"],
            "title": data["code"],
        }
        given = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in properties.items())
        text = f"{data['message']}; {data['help']}"
        say(f"::{command} {given}::{_escaped(text)}")


def _escaped(text: str, more: str = "") -> str:
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text


PRINT = {
    "full": print_full,
    "concise": print_concise,
    "json": print_json,
    "sarif": print_sarif,
    "github": print_github,
}
