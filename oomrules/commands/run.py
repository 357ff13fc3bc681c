"""The service: keep the list true, woken by memory pressure and by units that come and go.

It stays in the foreground; systemd starts it as oomrules.service. `oomrules status` shows how
it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress

from oomrules import config, service
from oomrules.commands.parts import selection, shared
from oomrules.errors import Failure
from oomrules.language import rulefiles
from oomrules.service import main, pace
from oomrules.service.loop import Options
from oomrules.service.metrics import FILE
from oomrules.state import State

EXITS = {0: "the service was asked to end"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    shared.add_rules(parser)
    selection.add_target(parser)
    parser.add_argument(
        "--heartbeat",
        type=shared.number(float, 1, 3600),
        default=pace.HEARTBEAT,
        metavar="SECONDS",
        help="refresh the list this often when nothing happens (%(default)g)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="let the guards do all but send signals, whatever oomrules.conf says",
    )
    parser.add_argument(
        "--metrics",
        metavar="FILE",
        help="where to leave figures for node_exporter (in the state directory)",
    )


def run(options: argparse.Namespace) -> int:
    """Become the service: this process goes on as a bare interpreter, without these modules."""
    state = State()
    # A mistake in the options is told here, where a person may be looking.
    shared.rules(options)
    named = [os.path.abspath(path) for path in options.rules or ()]
    directories = [path for path in named if os.path.isdir(path)]
    prepare = [f"--root={os.path.abspath(options.root)}"]
    prepare += [f"--rules={path}" for path in named]
    prepare += [f"--to={target}" for target in options.to or ()]
    settled = None
    # The child says what is wrong with oomrules.conf, again and again until it is mended.
    with suppress(Failure):
        settled = selection.settled(options)
    settings = Options(
        path=[os.path.abspath(path) for path in sys.path if path],
        prepare=prepare,
        directories=directories if named else list(map(str, rulefiles.directories(options.root))),
        suffix=rulefiles.SUFFIX,
        files=[path for path in named if path not in directories],
        heartbeat=options.heartbeat,
        metrics=os.path.abspath(options.metrics) if options.metrics else state.path(FILE),
        given=bool(named),
        to=list(settled.to) if settled else None,
        head=settled.head if settled else None,
        guard=config.DRY if options.dry_run else "",
        # Where the configuration is wrong, it is not known whether the guard may act.
        mode=settled.guard if settled else config.OFF,
    )
    program = os.path.abspath(service.__file__).replace("__init__", "__main__")
    argv = [sys.executable, "-I", "-S", "-E", program]
    environment = {**os.environ, main.OPTIONS: json.dumps(settings._asdict())}
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(sys.executable, argv, environment)  # noqa: S606
    except OSError as error:
        raise Failure(f"cannot start {sys.executable}: {error.strerror}") from error
