"""Serve editors over standard input and output by the Language Server Protocol."""

from __future__ import annotations

import argparse
import os
import sys

from oomrules.errors import Failure

EXITS = {0: "the editor has ended the connection"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``lsp``."""
    parser.add_argument("--stdio", action="store_true", help="has no effect; some editors pass it")


def run(options: argparse.Namespace) -> int:
    """Serve until the editor ends it."""
    try:
        from oomrules.editor import server
    except ImportError as error:
        raise Failure(
            f"the Python library {error.name} is not installed",
            "in a checkout `.venv/bin/pip install '.[lsp]'` installs the language server",
        ) from error
    server.make().start_io()
    if sys.stdout.closed:
        # The server closed it at the end; nothing may write there any more.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return 0
