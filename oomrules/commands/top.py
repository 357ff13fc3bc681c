"""Show the ranking as it changes: which process would be killed first, in which unit, and why."""

from __future__ import annotations

import argparse
import sys
from threading import Thread

from oomrules.commands.parts import selection, shared
from oomrules.errors import Failure
from oomrules.terminal import is_terminal

EXITS = {0: "the screen was left"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``top``."""
    shared.add_rules(parser)
    selection.add_selection(parser)
    parser.add_argument(
        "--interval",
        type=shared.number(float, 0.2, 3600),
        default=2.0,
        metavar="SECONDS",
        help="how long between two looks (%(default)g)",
    )


def run(options: argparse.Namespace) -> int:
    """Show it until the user quits."""
    try:
        from oomrules.commands.parts.screen import Screen, end_with_terminal
    except ModuleNotFoundError as error:
        raise Failure(
            f"oomrules top needs the Python library {error.name}",
            "in a checkout `.venv/bin/pip install '.[top]'` installs it; "
            "`watch oomrules rank --top 20` does without",
        ) from error
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        raise Failure("oomrules top is for a terminal", "take `oomrules rank` for a file or a pipe")
    # Errors in the rules are printed before the terminal is taken.
    screen = Screen(shared.program(options), options.within, options.top, options.interval)
    Thread(target=end_with_terminal, daemon=True).start()
    screen.run()
    if screen.failure:
        raise screen.failure
    return 0
