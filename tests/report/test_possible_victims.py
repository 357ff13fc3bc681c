"""Whom rules would have taken in public reports: no filling of what they lack contradicts that."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program.program import Program
from oomrules.ranking.possible import FOOTPRINT, possible
from oomrules.report import choice, hosts, lines, reading
from tests.oracle import strategies
from tests.oracle.fillings import filled
from tests.ranking.test_possible import first

HERE = Path(__file__).parent
RAW = HERE.parent / "data" / "oom-reports" / "raw"
SHIPPED = HERE.parents[1] / "rules.d"
# Some with few processes: a whole host and limits.
REPORTS = ("006", "007", "009", "013")


@lru_cache
def program(preset: str = "") -> Program:
    """Compile the shipped rules, with a preset, measuring memory held."""
    files = [RuleText(str(path), path.read_text(), 3) for path in sorted(SHIPPED.glob("*.oom"))]
    if preset:
        path = SHIPPED / "presets" / preset
        files.append(RuleText(str(path), path.read_text(), 1))
    return compile_texts([*files, RuleText("60-score.oom", "score footprint\n", 0)])


def host(number: str, assume: bool) -> list[dict[str, Any]]:
    """Return the host of the first report of a file."""
    with (RAW / f"{number}.txt").open("rb") as opened:
        report = next(iter(reading.reports(lines.lines(opened), number)))
    return list(hosts.made(report, choice.choose(report), None, assume).lines)


@pytest.mark.parametrize("number", REPORTS)
def test_every_winner_is_possible(number: str) -> None:
    compare(host(number, assume=False), program(), 200)


def test_every_winner_is_possible_with_a_preset() -> None:
    compare(host("009", assume=False), program("server.oom"), 200)


def compare(objects: list[dict[str, Any]], rules: Program, times: int) -> None:
    """Compare the answer with what comes of random fillings."""
    found = possible(recorded.parse(strategies.lines(objects), "host"), rules)
    may = {one.process.pid for one in (found.certain, *found.open) if one}
    rng = random.Random(1)
    for _ in range(times):
        victim = first(rules, filled(objects, rng))
        assert victim in may if victim else found.nobody


def test_with_all_assumed_it_is_certain() -> None:
    found = possible(recorded.parse(strategies.lines(host("006", assume=True)), "host"), program())
    assert found.certain


def test_by_memory_held_less_is_open_than_by_an_address_space_and_times() -> None:
    snapshot = recorded.parse(strategies.lines(host("006", assume=False)), "host")
    shipped = [RuleText(str(path), path.read_text(), 3) for path in SHIPPED.glob("*.oom")]
    by_score = possible(snapshot, compile_texts(shipped))
    by_memory = possible(snapshot, compile_texts(shipped), measure=FOOTPRINT)
    assert by_score.answer == "open"
    assert {"cpu_time", "run_time"} <= {one.name for one in by_score.unknown}
    assert by_memory.certain and by_memory.certain.process.pid in {
        one.process.pid for one in by_score.open
    }
