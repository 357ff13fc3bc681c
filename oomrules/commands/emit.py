"""Write the list of candidates to the kernel's /proc/oom, to a file, or to ``-``.

Or let the kernel's own killer follow it: ``--to oom_score_adj``.
"""

from __future__ import annotations

import argparse
import os
import sys

from oomrules import config
from oomrules.commands.parts import adjustment, rulesets, selection
from oomrules.commands.parts.verdicts import nobody
from oomrules.errors import Failure
from oomrules.sinks import emitting, kernel_list
from oomrules.sinks.oom_score_adj import write
from oomrules.terminal import count, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``emit``."""
    parser.add_argument(
        "--to",
        metavar="TARGET",
        help="/proc/oom (the default where it exists), oom_score_adj (the default elsewhere), a "
        f"file, or - for standard output; {config.PATH} can settle it",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="with oom_score_adj: show the plan, write nothing"
    )
    parser.add_argument(
        "--head",
        type=selection.positive,
        metavar="N",
        help=f"with oom_score_adj: put the first N in order ({write.HEAD} unless told)",
    )
    rulesets.add_rules(parser)
    rulesets.add_host(parser)
    selection.add_selection(parser)


def run(options: argparse.Namespace) -> int:
    """Write the list; 1 if it is empty, which is written too: an old list must not stay."""
    if options.to is not None:
        return _emit(options.to, options)
    settled = config.load(root=options.root)
    options.head = options.head or settled.head
    where = emitting.targets(settled.to)
    live = not options.dry_run and not options.snapshot
    if where == (adjustment.TARGET,) and os.geteuid() != 0 and live:
        raise Failure(
            f"there is no {kernel_list.KERNEL_LIST} on this host, and only root can set the "
            "oom_score_adj of everybody",
            "load the module with `modprobe oom`, run as root, or name a file, or - for standard "
            "output, with --to",
        )
    return max(_emit(target, options) for target in where)


def _emit(target: str, options: argparse.Namespace) -> int:
    if target == adjustment.TARGET:
        return adjustment.emit(options)
    _check(target, options)
    ranked = selection.ranked(options, verified=True)
    pids = ranked.ranking.pids
    if target == "-":
        sys.stdout.write(kernel_list.format_pids(pids))
    elif target == kernel_list.KERNEL_LIST:
        kernel_list.write_kernel(pids)
    else:
        kernel_list.write_file(target, pids)
    rulesets.print_notes(ranked.notes())
    if target != "-":
        say(f"{count(len(pids), 'pid')} written to {target}", sys.stderr)
    if not pids:
        say(nobody(ranked.ranking, options.within), sys.stderr)
        return 1
    return 0


def _check(target: str, options: argparse.Namespace) -> None:
    """Refuse what cannot go well, before anything is read."""
    if not target:
        raise Failure("--to has an empty target", "name /proc/oom, oom_score_adj, a file, or -")
    for given, option in ((options.dry_run, "--dry-run"), (options.head, "--head")):
        if given:
            raise Failure(
                f"{option} goes with --to oom_score_adj only",
                "`oomrules rank` shows a list without writing it, and --top shortens it",
            )
    if target == kernel_list.KERNEL_LIST:
        if options.snapshot:
            raise Failure(
                "the pids of a snapshot mean nothing to this kernel",
                "write a snapshot's list to a file or to -",
            )
        if not os.path.exists(target):
            raise Failure(
                f"there is no {target} on this host: the kernel module is not loaded",
                "load it with `modprobe oom`; or let the kernel's own killer follow the order with "
                "--to oom_score_adj; or name a file, or - for standard output",
            )
