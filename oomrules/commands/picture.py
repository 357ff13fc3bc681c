"""Draw who holds this host's memory, and who would be taken first: one file, SVG or HTML."""

from __future__ import annotations

import argparse
import sys

from oomrules import extras, files
from oomrules.commands.parts import selection, shared
from oomrules.errors import Failure
from oomrules.terminal import count, memory, say

_ENDINGS = (".svg", ".html", ".htm")
EXITS = {0: "the file is written", 1: "no process is in it"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``picture``."""
    shared.add_rules(parser)
    shared.add_host(parser)
    parser.add_argument(
        "--in",
        dest="within",
        type=shared.named("--in"),
        metavar="UNIT",
        help="only this unit (a glob) and what is below it",
    )
    shared.add_value(
        parser,
        "--of",
        "FILE",
        "over time: memory, stalls, guards and kills of a recording of `oomrules record`, or the "
        "kills that `oomrules history` has written as JSON",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=_drawable,
        metavar="FILE",
        help="where to put it: a page if it ends in .html, a drawing if it ends in .svg",
    )


def _drawable(text: str) -> str:
    if not text.endswith(_ENDINGS):
        what = f"-o {text}: its ending does not say what to draw" if text else "-o is empty"
        raise Failure(
            what, "write a name that ends in .html (a page with a table and reasons) or in .svg"
        )
    return text


def run(options: argparse.Namespace) -> int:
    """Draw the picture; 1 if no process is in it."""
    try:
        from oomrules.commands.parts import pictured, recounted
        from oomrules.picture import draw, plot
    except ModuleNotFoundError as error:
        raise Failure(
            f"oomrules picture needs the Python library {error.name}",
            extras.install("jinja2", "squarify"),
        ) from error
    drawing = options.output.endswith(".svg")
    if options.of:
        if options.snapshot or options.within:
            raise Failure(
                "--of draws a recording, which has no --snapshot and no --in",
                "leave these out, or leave out --of",
            )
        course = recounted.of_history(options.of) if options.of != "-" else None
        course = course or recounted.of(shared.program(options), options.of)
        text = (plot.svg if drawing else plot.html)(course)
        files.replace(options.output, text.encode(), 0o600)
        say(
            f"{options.output}: {count(len(course.marks), 'event')} in {course.lasting}; "
            "open it in a browser",
            sys.stderr,
        )
        return 0
    ranked = selection.ranked(options, everything=True)
    picture = pictured.of(ranked, options)
    make = draw.svg if drawing else draw.html
    # The rules may ask for command lines, which others must not read.
    files.replace(options.output, make(picture).encode(), 0o600)
    say(
        f"{options.output}: {count(len(picture.holders), 'process')}, "
        f"{memory(picture.held)} of {memory(picture.total)}; open it in a browser",
        sys.stderr,
    )
    shared.print_notes(list(picture.notes))
    if not picture.holders:
        hint = "; `oomrules scopes` lists the units" if options.within else ""
        say(f"no process is in {picture.what}{hint}", sys.stderr)
        return 1
    return 0
