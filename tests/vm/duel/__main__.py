"""Plays all storms under all contenders, and writes the table: python -m tests.vm.duel [FILE]."""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

from tests.vm import host, image
from tests.vm.duel.contenders import CONTENDERS, PEERS
from tests.vm.duel.stage import Outcome, keep, play, played
from tests.vm.duel.storms import STORMS, SWAPS
from tests.vm.duel.table import Key, page


def main() -> int:
    """Play what was not played yet; what a run has found is kept in the cache of the guest."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.duel", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="where the table goes")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is played")
    parser.add_argument("--storm", action="append", choices=[one.name for one in STORMS])
    parser.add_argument("--contender", action="append", help="one whose name has this in it")
    parser.add_argument("--swap", action="append", choices=list(SWAPS))
    options = parser.parse_args()
    release = image.build(PEERS).release
    storms = [one for one in STORMS if not options.storm or one.name in options.storm]
    names = options.contender or [""]
    contenders = [one for one in CONTENDERS if any(name in one.name for name in names)]
    swaps = options.swap or list(SWAPS)
    # One of each before any is repeated, so that an hour in which the machine is busy is nobody's.
    rounds = range(1, options.repeat + 1)
    for number, swap, contender, storm in product(rounds, swaps, contenders, storms):
        if len(played(storm, contender, swap)) < number:
            outcome = play(storm, contender, swap)
            keep(storm, contender, swap, outcome)
            print(
                f"{number}. {contender.name}, swap: {swap}, {storm.name}: "
                f"lost {outcome.lost:.1f} (worst {outcome.worst:.1f}), over {outcome.ended:.0f} s, "
                f"{outcome.right} of the storm, others: {', '.join(outcome.wrong) or 'none'}, "
                f"kernel: {len(outcome.kernel)} {outcome.stuck}",
                flush=True,
            )
    everything = product(STORMS, CONTENDERS, SWAPS)
    outcomes: dict[Key, list[Outcome]] = {}
    for storm, contender, swap in everything:
        if some := played(storm, contender, swap):
            outcomes[storm.name, contender.name, swap] = some[: options.repeat]
    text = page(release, outcomes)
    if options.file:
        options.file.write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(host.ended(main))
