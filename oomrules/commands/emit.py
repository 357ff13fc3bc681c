"""Write the list of candidates to the kernel's /proc/oom, to a file, or to ``-``."""

from __future__ import annotations

import argparse
import os
import sys

from oomrules.commands import sources
from oomrules.commands.rank import nobody
from oomrules.commands.terminal import count
from oomrules.errors import Failure
from oomrules.runtime import sinks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``emit``."""
    parser.add_argument(
        "--to",
        metavar="TARGET",
        help="/proc/oom (the default where it exists), a file, or - for standard output",
    )
    sources.add_rules(parser)
    sources.add_host(parser)
    sources.add_selection(parser)


def run(options: argparse.Namespace) -> int:
    """Write the list; 1 if it is empty, which is written too: an old list must not stay."""
    target = sinks.KERNEL_LIST if options.to is None else options.to
    _check(target, options)
    ranked = sources.ranked(options, verified=True)
    pids = ranked.ranking.pids
    if target == "-":
        sys.stdout.write(sinks.format_pids(pids))
    elif target == sinks.KERNEL_LIST:
        sinks.write_kernel(pids)
    else:
        sinks.write_file(target, pids)
    sources.print_notes(ranked.notes())
    if target != "-":
        print(f"{count(len(pids), 'pid')} written to {target}", file=sys.stderr)
    if not pids:
        print(nobody(ranked.ranking, options.within), file=sys.stderr)
        return 1
    return 0


def _check(target: str, options: argparse.Namespace) -> None:
    """Refuse what cannot go well, before anything is read."""
    if target == "oom_score_adj":
        raise Failure(
            "emit --to oom_score_adj is not there yet",
            "it comes in a later version; write to /proc/oom, a file or - until then",
        )
    if not target:
        raise Failure("--to has an empty target", "name /proc/oom, a file, or -")
    if target == sinks.KERNEL_LIST:
        if options.snapshot:
            raise Failure(
                "the pids of a snapshot mean nothing to this kernel",
                "write a snapshot's list to a file or to -",
            )
        if not os.path.exists(target):
            raise Failure(
                f"there is no {target} on this host: the kernel module is not loaded",
                "load it with `modprobe oom`, or name a file, or - for standard output, with --to",
            )
