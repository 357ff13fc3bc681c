"""Plays all scenarios and writes the table: python -m tests.vm.scenarios [FILE] [NUMBER...]."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.vm import image, module
from tests.vm.scenarios.stage import KERNEL, WAYS, Outcome, actor_program, play
from tests.vm.scenarios.table import SCENARIOS, Scenario

_HEAD = """<!-- Made by `make scenarios`; do not edit it here. -->
# Which process the rules name, and which one was killed

Each scenario is played in a guest of its own, with 512 MiB of memory, no swap and
{release}, by the kernel alone, with the module's `/proc/oom`, and with
`oomrules emit --to oom_score_adj`. The rules beside each are added to the shipped ones. The list
is written once, before the memory runs out. Values of `oom_score_adj` hold as long as no process
grows by more than the distances that `emit` states. [All pages](../README.md)

| # | scenario | wanted | kernel alone | module | oom_score_adj |
|---|---|---|---|---|---|
"""


def _cell(scenario: Scenario, way: str, outcome: Outcome) -> str:
    killed = list({kill.pid: kill.comm for kill in outcome.kills}.values())
    who = ", ".join(
        f"{comm} x{killed.count(comm)}" if killed.count(comm) > 1 else comm
        for comm in dict.fromkeys(killed)
    )
    who = who or "nobody"
    if outcome.panic:
        who += ", panic"
    if way == KERNEL:
        return who
    if outcome.right is None:
        return f"{who} (not covered)"
    return f"{who}, {'right' if outcome.right else '**WRONG**'}"


def main(arguments: list[str]) -> int:
    """Play the scenarios; 1 if one ended otherwise than the rules say."""
    to = Path(arguments[0]) if arguments else None
    wanted = [int(word) for word in arguments[1:]] or range(1, len(SCENARIOS) + 1)
    built = image.build()
    actor, oom_ko = actor_program(), (module.built() / "oom.ko").read_bytes()
    rows, details, wrong = [], [], 0
    for number in wanted:
        scenario = SCENARIOS[number - 1]
        cells, lines = [], []
        for way in WAYS:
            outcome = play(scenario, way, actor, oom_ko)
            cells.append(_cell(scenario, way, outcome))
            wrong += way != KERNEL and outcome.right is False
            print(f"{number} {scenario.title}: {way}: {cells[-1]}", flush=True)
            lines += [f"    {way}: {kill.line.strip()}" for kill in outcome.kills[:3]]
            if len(outcome.kills) > 3:
                lines.append(f"    {way}: … and {len(outcome.kills) - 3} more")
        rows.append(
            f"| {number} | {scenario.title} | {', '.join(scenario.victims)} | {' | '.join(cells)} |"
        )
        rules = scenario.rules.strip().replace("\n", "`, `")
        details += [f"\n{number}. {scenario.title}" + (f": `{rules}`" if rules else ""), ""]
        details += [f"   {way}: {why}." for way, why in scenario.uncovered.items()]
        details += [*lines] if not scenario.uncovered else ["", *lines]
        text = _HEAD.format(release=f"Linux {built.release}") + "\n".join(rows)
        text += "\n\n## What the kernel's log says\n" + "\n".join(details) + "\n"
        if to:
            to.write_text(text)
    if not to:
        print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
