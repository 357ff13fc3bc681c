"""Restore the oom_score_adj that every process had before ``emit --to oom_score_adj``."""

from __future__ import annotations

import argparse
import os
import sys

from oomrules import state_directory
from oomrules.sinks.oom_score_adj import write
from oomrules.state import ADJUSTMENTS, State
from oomrules.terminal import count, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``release``."""
    parser.add_argument("--dry-run", action="store_true", help="show what would be restored")


def run(options: argparse.Namespace) -> int:
    """Restore the values; 2 if the kernel refused one."""
    path = os.path.join(state_directory.standard(), ADJUSTMENTS)
    if not os.path.exists(path):
        print("nothing is adjusted", file=sys.stderr)
        return 0
    if options.dry_run:
        released = write.release(path, dry=True)
    else:
        with State().lock():
            released = write.release(path)
    for pid, name, before, original in released.restored:
        say(f"{pid} {name}: {before} -> {original}")
    would = "would be " if options.dry_run else ""
    print(f"{count(len(released.restored), 'value')} {would}restored", file=sys.stderr)
    if released.left:
        who = ", ".join(f"{name} ({pid})" for pid, name in released.left)
        say(f"note: another process has changed these since, and they are left: {who}", sys.stderr)
    if released.unsure:
        who = ", ".join(f"{name} ({pid})" for pid, name in released.unsure)
        say(
            "note: these may have set their oom_score_adj themselves or have it from oomrules, and "
            f"keep it: {who}; if it is not theirs, `choom -p PID -n 0` sets it to 0",
            sys.stderr,
        )
    if released.refused:
        raise write.unreached(released)
    return 0
