"""Restore the oom_score_adj and memory.oom.group from before ``emit``.

What a service wrote down of its guard's last signal, and could not record, is recorded too.
"""

from __future__ import annotations

import argparse
import os
import sys

from oomrules import state_directory
from oomrules.errors import Failure
from oomrules.guard import intent
from oomrules.kills import guarded
from oomrules.sinks import oom_group
from oomrules.sinks.oom_score_adj import write
from oomrules.state import ADJUSTMENTS, GROUPS, State
from oomrules.terminal import count, say

EXITS = {
    0: "every value is given back, or none was changed",
    2: "usage or failure, or a value could not be given back",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``release``."""
    parser.add_argument("--dry-run", action="store_true", help="show what would be restored")


def run(options: argparse.Namespace) -> int:
    """Restore the values; 2 if the kernel refused one."""
    directory = state_directory.standard()
    if not options.dry_run:
        _record_intents(directory)
    path, groups = (os.path.join(directory, name) for name in (ADJUSTMENTS, GROUPS))
    adjusted, grouped = os.path.exists(path), os.path.exists(groups)
    if not adjusted and not grouped:
        print("nothing is adjusted", file=sys.stderr)
        return 0
    failure = _release_groups(groups, options.dry_run) if grouped else None
    if adjusted:
        _release_values(path, options.dry_run)
    if failure:
        raise failure
    return 0


def _record_intents(directory: str) -> None:
    """Record whom the guard of a service that is gone was signalling at its end."""
    for noted in intent.left(os.path.join(directory, intent.NAME)):
        guarded.record(noted.act)
        say(guarded.sentence(noted.act), sys.stderr)


def _release_groups(path: str, dry: bool) -> Failure | None:
    """Give memory.oom.group back; return why it is not given back everywhere."""
    if dry:
        entries = oom_group.load(path).values()
        given, would = [entry.path for entry in entries if not entry.left], "would be "
    else:
        try:
            with State().lock():
                given, would = oom_group.release(path), ""
        except Failure as failure:
            return failure
    for group in given:
        say(f"memory.oom.group of {group}: 1 -> 0")
    print(f"{count(len(given), 'control group')} {would}restored", file=sys.stderr)
    return None


def _release_values(path: str, dry: bool) -> None:
    """Restore oom_score_adj.

    Raises:
        Failure: the kernel refused a value.
    """
    if dry:
        released = write.release(path, dry=True)
    else:
        with State().lock():
            released = write.release(path)
    for pid, name, before, original in released.restored:
        say(f"{pid} {name}: {before} -> {original}")
    would = "would be " if dry else ""
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
