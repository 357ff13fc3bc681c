"""What came of all storms, as a page."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from tests.vm.duel.contenders import CONTENDERS, Contender
from tests.vm.duel.stage import Outcome
from tests.vm.duel.storms import MEMORY, STORMS, SWAP, SWAPS, TERMINAL, Storm

Key = tuple[str, str, str]  # storm, contender, swap
Outcomes = Mapping[Key, list[Outcome]]

_TITLES = {
    "none": "Without swap",
    "disk": f"With {SWAP} MiB of swap on a disk",
    "zram": f"With {SWAP} MiB of swap in zram",
}
_HEAD = """<!-- Made by `make duel`; do not edit it here. -->
# Side by side: storms of memory

[All pages](../README.md)

Each storm is played in a guest of its own: {memory} MiB of memory, two emulated processors,
{release}. A desktop is there (a terminal, a browser with two pages, an editor) and a database. The
terminal is interactive: every 50 ms it touches 12 MiB of its own, looks at 8 MiB of a file, and
takes 256 KiB for a moment. The virtual disk is fast, so swapping costs less than on hardware. A
tenth of a second means nothing: the guest is emulated in software beside other work. A run in which
all of the guest stood still is played again.

| word | means |
|---|---|
| lost | seconds by which the terminal was late, beyond 0.2 s each time |
| worst | how late it was at worst |
| over | seconds from the beginning of the storm to the last death |
| storm | how many of the storm's own processes died |
| **names** | who else died |
| kernel | how many of all these the kernel's own killer took |

Each cell has the median of {repeats}; a range follows where they differ. Names are of any run.

"""


def page(release: str, outcomes: Outcomes) -> str:
    """Return the page, of what was played so far."""
    repeats = sorted({len(some) for some in outcomes.values() if some}) or [0]
    shown = f"{repeats[0]}" if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    shown += " run" if repeats[-1] == 1 else " runs"
    text = _HEAD.format(memory=MEMORY, release=f"Linux {release}", repeats=shown)
    there = [one for one in CONTENDERS if any(key[1] == one.name for key in outcomes)]
    text += "| contender | settings |\n|---|---|\n"
    text += "".join(f"| {one.name} | {one.settings or 'none'} |\n" for one in there)
    text += "\n## All storms together\n\n" + _summary(there, outcomes)
    for swap in SWAPS:
        if any(key[2] == swap for key in outcomes):
            text += f"\n## {_TITLES[swap]}\n\n" + _grid(there, swap, outcomes)
    return text + _reactions(outcomes)


def _reactions(outcomes: Outcomes) -> str:
    """Return how long the signal took from the sample that showed that it was needed, by swap."""
    text = ""
    for swap, title in _TITLES.items():
        found = sorted(
            1000 * one
            for key, some in outcomes.items()
            if key[2] == swap
            for each in some
            for one in each.reactions
        )
        if found:
            late = statistics.quantiles(found, n=20)[-1] if found[1:] else found[0]
            text += (
                f"| {title.lower()} | {len(found)} | {statistics.median(found):.0f} "
                f"| {late:.0f} | {found[-1]:.0f} |\n"
            )
    if not text:
        return ""
    return (
        "\n## From the sample to the signal\n\nOf oomrules, in all runs above, in milliseconds.\n\n"
        "| | signals | median | 95 of 100 within | longest |\n|---|---|---|---|---|\n" + text
    )


def _summary(there: Iterable[Contender], outcomes: Outcomes) -> str:
    text = (
        "| contender | runs | lost, median | lost, most | runs with an innocent death "
        "| innocent deaths | runs with a kernel kill |\n|---|---|---|---|---|---|---|\n"
    )
    for one in there:
        runs = [each for key, some in outcomes.items() if key[1] == one.name for each in some]
        if not runs:
            continue
        lost = [each.lost for each in runs]
        text += (
            f"| {one.name} | {len(runs)} | {statistics.median(lost):.1f} | {max(lost):.1f} "
            f"| {sum(bool(each.wrong) for each in runs)} | {sum(len(each.wrong) for each in runs)} "
            f"| {sum(bool(each.kernel) for each in runs)} |\n"
        )
    return text


def _grid(there: Iterable[Contender], swap: str, outcomes: Outcomes) -> str:
    text = "| storm | contender | lost | worst | over | storm | others | kernel |\n"
    text += "|---|---|---|---|---|---|---|---|\n"
    for storm in STORMS:
        for one in there:
            if some := outcomes.get((storm.name, one.name, swap)):
                text += f"| {_row(storm, one, some)} |\n"
    return text


def _row(storm: Storm, contender: Contender, some: list[Outcome]) -> str:
    def middle(figure: Callable[[Outcome], float], form: str = ".1f") -> str:
        values = sorted(figure(one) for one in some)
        low, high = format(values[0], form), format(values[-1], form)
        median = format(statistics.median(values), form)
        return median if low == high else f"{median} ({low} to {high})"

    wrong: Counter[str] = Counter()
    for one in some:
        wrong |= Counter(one.wrong)
    others = ", ".join(
        f"**{name}**" + (f" x{n}" if n > 1 else "") for name, n in sorted(wrong.items())
    )
    stuck = sum(bool(one.stuck) for one in some)
    died = sum(TERMINAL in one.wrong for one in some)
    cells = [
        storm.title,
        contender.name,
        middle(lambda one: one.lost) + (", then it died" if died else ""),
        middle(lambda one: one.worst),
        middle(lambda one: one.ended, ".0f") + (f", **stuck** x{stuck}" if stuck else ""),
        middle(lambda one: one.right, ".0f"),
        others or "-",
        middle(lambda one: len(one.kernel), ".0f"),
    ]
    return " | ".join(cells)
