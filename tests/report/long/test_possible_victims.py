"""Whom rules would have taken in every public report, and what has to be known for certainty.

The rules are the shipped ones, by memory held. FILLINGS is how many fillings of what a report lacks
are compared with its answer, REPORTS of which reports: ``1-20,47``.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations

import pytest

from oomrules.processes import recorded
from oomrules.ranking.possible import Possible, possible
from oomrules.report import hosts
from oomrules.report.choice import choose
from oomrules.report.model import LIMIT
from tests.oracle import strategies
from tests.oracle.fillings import filled
from tests.oracle.strategies import Object
from tests.ranking.test_possible import first
from tests.report.oom_reports import NUMBERS, report
from tests.report.test_kernel_order import WHOLE
from tests.report.test_possible_victims import program

FILLINGS = int(os.environ.get("FILLINGS", "200"))

# What the shipped rules ask for that no report tells of all processes.
ASKED: Mapping[str, tuple[str, ...]] = {
    "capabilities": ("capabilities", "euid"),
    "nice": ("nice",),
    "unit": ("cgroup", "pid_depth"),
    "user names": ("users",),
}


def numbers() -> list[int]:
    """Return the reports that are asked for."""
    found: list[int] = []
    for part in filter(None, os.environ.get("REPORTS", "").split(",")):
        start, _, end = part.partition("-")
        found += range(int(start), int(end or start) + 1)
    return [number for number in NUMBERS if not found or number in found]


def host(number: int, assume: bool = False) -> list[Object]:
    """Return the lines of the host of a report."""
    return list(hosts.made(report(number), choose(report(number)), assume=assume).lines)


def within(number: int) -> str:
    """Return the group in or below which every process of a report is."""
    return report(number).group if report(number).kind == LIMIT else ""


def answer(number: int, lines: list[Object]) -> Possible:
    """Return who may be first."""
    snapshot = recorded.parse(strategies.lines(lines), "host")
    group = within(number)
    places = dict.fromkeys(snapshot.by_pid, group) if group else None
    return possible(snapshot, program(), places=places)


@pytest.mark.parametrize("number", numbers())
def test_every_winner_is_possible(number: int) -> None:
    lines = host(number)
    found = answer(number, lines)
    may = {each.process.pid for each in (found.certain, *found.open) if each}
    rng, winners = random.Random(number), Counter[int]()
    for _ in range(FILLINGS):
        victim = first(program(), filled(lines, rng, within(number)))
        assert victim in may if victim else found.nobody
        winners[victim or 0] += 1
    nobody = " and nobody" if found.nobody else ""
    print(f"\n{number:3d} {found.answer:7s} {len(may):4d}{nobody}, {len(winners)} found", end=" ")


def test_what_decides_in_each_report() -> None:
    asked = [number for number in numbers() if number in WHOLE]
    found = {number: " or ".join(_decides(number)) for number in asked}
    for number, what in found.items():
        print(f"{number:3d} {what or 'open'}")
    assert all(found.values())
    for size in range(len(ASKED) + 1):
        known = tuple(ASKED)[:size]
        certain = sum(
            answer(number, _with(host(number), host(number, assume=True), known)).answer != "open"
            for number in asked
        )
        print(f"{certain} of {len(asked)} with {' and '.join(known) or 'the report alone'}")


def _decides(number: int) -> Iterator[str]:
    """Yield the fewest things that have to be known, as on ordinary processes, for certainty."""
    told, assumed = host(number), host(number, assume=True)
    for size in range(len(ASKED) + 1):
        done = False
        for known in combinations(ASKED, size):
            if answer(number, _with(told, assumed, known)).answer != "open":
                done = True
                yield " and ".join(known) or "the report alone"
        if done:
            return


def _with(told: list[Object], assumed: list[Object], known: tuple[str, ...]) -> list[Object]:
    """Return the lines of a host of which some of what is unknown is as it is assumed to be."""
    keys = {key for one in known for key in ASKED[one]}
    keys |= {"unknown"} if "unit" in known else set()
    by_pid = {one["pid"]: one for one in assumed if one["kind"] == "process"}
    found = []
    for line in told:
        other = assumed[0] if line["kind"] == "host" else by_pid.get(line.get("pid"), {})
        found.append(line | {key: other[key] for key in keys & other.keys()})
    return found
