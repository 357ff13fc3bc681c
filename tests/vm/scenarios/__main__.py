"""Plays the scenarios and writes the table: python -m tests.vm.scenarios [FILE] [--only N,N].

With --repeat those at the limit of a control group are played again and again with the module, and
nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.vm import host, image, module
from tests.vm.scenarios import page
from tests.vm.scenarios.stage import KERNEL, WAYS, Outcome, actor_program, play, play_again
from tests.vm.scenarios.table import MODULE, SCENARIOS, Scenario


def _cell(scenario: Scenario, way: str, outcome: Outcome) -> str:
    killed = list({kill.pid: kill.comm for kill in outcome.kills}.values())
    # At a limit only the first one was to be chosen.
    who = (", then " if scenario.limited else ", ").join(
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


def _replayed(number: int, way: str, outcome: Outcome) -> str:
    found = outcome.replayed
    if found is None:
        return f"| {number} | {way} | - | - | - |"
    cells = [f"{found.result} ({found.code})", _possible(*found.alone), _possible(*found.known)]
    return f"| {number} | {way} | {' | '.join(cells)} |"


def _possible(result: str, names: tuple[str, ...]) -> str:
    if result != "open":
        return ": ".join([result, *names[:1]])
    return f"open between {len(names)}"


def _details(number: int, scenario: Scenario, outcomes: dict[str, Outcome]) -> str:
    rules = scenario.rules.strip().replace("\n", "`, `")
    lines = [f"{number}. {scenario.title}" + (f": `{rules}`" if rules else ""), ""]
    if scenario.uncovered:
        lines += [*(f"   {way}: {why}." for way, why in scenario.uncovered.items()), ""]
    for way, outcome in outcomes.items():
        lines += [f"    {way}: {kill.line.strip()}" for kill in outcome.kills[:3]]
        if len(outcome.kills) > 3:
            lines.append(f"    {way}: … and {len(outcome.kills) - 3} more")
    return "\n".join(lines)


def _play_all(numbers: Iterable[int], to: page.Page, file: Path | None) -> int:
    """Play scenarios in every way; return how many ended otherwise than the rules say."""
    actor, oom_ko = actor_program(), (module.built() / "oom.ko").read_bytes()
    wrong = 0
    for number in numbers:
        scenario = SCENARIOS[number - 1]
        cells, outcomes, replayed = [], {}, []
        for way in WAYS:
            outcome = play(scenario, way, actor, oom_ko)
            outcomes[way] = outcome
            cells.append(_cell(scenario, way, outcome))
            replayed.append(_replayed(number, way, outcome))
            wrong += way != KERNEL and outcome.right is False
            print(f"{number} {scenario.title}: {way}: {cells[-1]}", replayed[-1], flush=True)
        wanted = ", ".join(scenario.victims)
        to.rows[number] = f"| {number} | {scenario.title} | {wanted} | {' | '.join(cells)} |"
        to.replayed[number] = replayed
        to.details[number] = _details(number, scenario, outcomes)
        # After each, since playing them takes long.
        if file:
            file.write_text(to.text(), encoding="utf-8")
    return wrong


def _repeat(numbers: Iterable[int], times: int) -> int:
    """Play scenarios many times with the module; return how often the first victim was wrong."""
    actor, oom_ko = actor_program(), (module.built() / "oom.ko").read_bytes()
    wrong = 0
    for number in numbers:
        scenario = SCENARIOS[number - 1]
        first: list[str] = []
        more = 0
        for kills in play_again(scenario, MODULE, times, actor, oom_ko):
            victims = list({kill.pid: kill.comm for kill in kills}.values())
            first += victims[:1] or ["nobody"]
            more += len(victims) > scenario.most
        right = sum(comm in scenario.victims for comm in first)
        others = ", ".join(sorted({*first} - {*scenario.victims}))
        print(
            f"{number} {scenario.title}: the first victim was right {right} times of {times}"
            + (f", else: {others}" if others else "")
            + (f"; {more} times another process was killed after it" if more else ""),
            flush=True,
        )
        wrong += times - right
    return wrong


def _numbers(text: str) -> list[int]:
    numbers = [int(word) for word in text.split(",")]
    if not all(1 <= number <= len(SCENARIOS) for number in numbers):
        raise argparse.ArgumentTypeError(f"scenarios have numbers from 1 to {len(SCENARIOS)}")
    return numbers


def main(arguments: list[str]) -> int:
    """Play the scenarios; 1 if one ended otherwise than the rules say."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.scenarios", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="the page; printed if there is none")
    parser.add_argument(
        "--only", type=_numbers, metavar="N,N", help="these; the file keeps what it says of others"
    )
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="N times by the module, those at a limit"
    )
    given = parser.parse_args(arguments)
    numbers = given.only or range(1, len(SCENARIOS) + 1)
    release = f"Linux {image.build().release}"
    if given.repeat:
        numbers = [number for number in numbers if SCENARIOS[number - 1].limited]
        return 1 if _repeat(numbers, given.repeat) else 0
    to = page.Page(release)
    if given.file and given.only and given.file.exists():
        to = page.read(given.file.read_text(encoding="utf-8"))
        if to.release != release:
            parser.error(f"{given.file} was played on {to.release}: play all of them on {release}")
    wrong = _play_all(numbers, to, given.file)
    if not given.file:
        print(to.text())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(host.ended(lambda: main(sys.argv[1:])))
