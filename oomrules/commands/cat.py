"""Print the rule files that are in force, file by file, and what is masked or replaced."""

from __future__ import annotations

import argparse
import sys

from oomrules.commands.parts import findings, shared
from oomrules.terminal import Paint, show

EXITS = {0: "the files are printed", 2: "usage or failure, or a file cannot be read"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``cat``."""
    shared.add_rules(parser)


def run(options: argparse.Namespace) -> int:
    """Print the files; 2 if one of them cannot be read."""
    found = shared.rules(options)
    paint = Paint(sys.stdout)
    for file in found.files:
        print(paint(f"# {file.name}", "bold"))
        end = "" if file.text.endswith("\n") or not file.text else "\n"
        show(f"{file.text}{end}\n")
    for path in found.masked:
        print(paint(f"# {path} is masked", "dim"))
    for lower, higher in found.replaced:
        print(paint(f"# {lower} is replaced by {higher}", "dim"))
    findings.print_full(found.diagnostics, sys.stderr)
    return 2 if found.diagnostics else 0
