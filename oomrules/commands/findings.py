"""How diagnostics are shown: full for people, concise for editors, json for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from oomrules.commands.terminal import Paint, printable, width
from oomrules.language.diagnostics import Diagnostic, Level

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
    lines = [f"{head}{paint(f': {printable(diagnostic.message)}', 'bold')}"]
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
    lines.append(f"{margin} {paint('=', 'blue')} {paint('help:', 'bold')} {diagnostic.help}")
    return "\n".join(lines)


def print_concise(diagnostics: Iterable[Diagnostic]) -> None:
    """Print one line a finding, in the form that editors and grep understand."""
    for diagnostic in diagnostics:
        print(concise(diagnostic))


def concise(diagnostic: Diagnostic) -> str:
    """Say a finding in one line."""
    line, column = diagnostic.source.position(diagnostic.span.start)
    place = f"{printable(diagnostic.source.name)}:{line}:{column}"
    level = f"{diagnostic.level.value}[{diagnostic.code}]"
    return f"{place}: {level} {printable(diagnostic.message)}; {diagnostic.help}"


def as_data(diagnostic: Diagnostic) -> dict[str, Any]:
    """Give a finding in the form of schema ``oomrules.check/1``."""
    line, column = diagnostic.source.position(diagnostic.span.start)
    end_line, end_column = diagnostic.source.position(diagnostic.span.end)
    return {
        "code": diagnostic.code,
        "level": diagnostic.level.value,
        "message": diagnostic.message,
        "file": diagnostic.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "help": diagnostic.help,
    }


def print_json(diagnostics: Iterable[Diagnostic]) -> None:
    """Print all findings as one JSON object."""
    data = {"schema": SCHEMA, "findings": [as_data(diagnostic) for diagnostic in diagnostics]}
    print(json.dumps(data, indent=2, ensure_ascii=False))
