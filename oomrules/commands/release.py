"""Give every process back the oom_score_adj that it had before ``emit --to oom_score_adj``."""

from __future__ import annotations

import argparse
import os
import sys

from oomrules.sinks.oom_score_adj import record, write
from oomrules.state import State, standard
from oomrules.terminal import count, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``release``."""
    parser.add_argument("--dry-run", action="store_true", help="show what would be restored")


def run(options: argparse.Namespace) -> int:
    """Restore the values; 2 if the kernel refused one."""
    path = os.path.join(standard(), record.FILE)
    if not os.path.exists(path):
        print("nothing is adjusted", file=sys.stderr)
        return 0
    if options.dry_run:
        done = write.release(path, dry=True)
    else:
        with State().lock():
            done = write.release(path)
    for pid, name, value, original in done.restored:
        say(f"{pid} {name}: {value} -> {original}")
    would = "would be " if options.dry_run else ""
    print(f"{count(len(done.restored), 'value')} {would}restored", file=sys.stderr)
    if done.left:
        who = ", ".join(f"{name} ({pid})" for pid, name in done.left)
        say(f"note: changed by somebody else since, and left so: {who}", sys.stderr)
    if done.unsure:
        who = ", ".join(f"{name} ({pid})" for pid, name in done.unsure)
        say(
            f"note: may have their oom_score_adj from here or from themselves, and keep it: {who}; "
            "if it is not theirs, `choom -p PID -n 0` sets it",
            sys.stderr,
        )
    if done.refused:
        raise write.unreached(done)
    return 0
