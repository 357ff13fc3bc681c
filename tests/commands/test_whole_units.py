"""Units that are killed as a whole, in what ``rank`` and ``explain`` say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.done import Done
from tests.ranking.test_groups import HOST, A, process

RULES = """score rss
kill whole "a-*.service"
never kill comm "safe"
kill last comm "tmux*" by 2
"""
CROWD = [
    {"kind": "scope", "cgroup": A, "properties": {"OOMPolicy": "stop", "Names": ["a-1.service"]}},
    process(10, 6000, A),
    process(11, 5000, f"{A}/sub", comm="tmux: server"),
    process(12, 7, A, comm="safe"),
    process(13, 0, A, comm="idle"),
    process(14, 9000, "/"),
]


@pytest.fixture
def host(tmp_path: Path) -> list[str]:
    (tmp_path / "rules.oom").write_text(RULES)
    lines = [json.dumps(line) for line in [HOST, *CROWD]]
    (tmp_path / "host.jsonl").write_text("\n".join(lines) + "\n")
    return ["--rules", f"{tmp_path}/rules.oom", "--snapshot", f"{tmp_path}/host.jsonl"]


def rows(text: str) -> list[list[str]]:
    """Pick rank and pid out of a table, and the rest."""
    return [line.split(None, 2) for line in text.splitlines() if line.strip()[:1].isdigit()]


def test_rank_has_one_row_for_a_whole_unit_and_all_opens_it(
    oomrules: Callable[..., Done], host: list[str]
) -> None:
    shut = oomrules("rank", *host)
    assert [row[:2] for row in rows(shut.out)][:2] == [["1", "14"], ["2", "10"]]
    assert "11000" in shut.out and "2 processes" in shut.out
    assert "1 unit as a whole (--all opens them)" in shut.out
    opened = oomrules("rank", "--all", *host)
    ranks = [row[:2] for row in rows(opened.out)]
    assert ranks[:4] == [["1", "14"], ["2", "10"], ["2", "10"], ["3", "11"]]
    for done in (shut, opened):
        assert "a-1.service is killed these stay" in done.err and "safe (12)" in done.err
        assert "with all its windows: tmux: server (11)" in done.err
        assert "OOMPolicy=stop" in done.err


def test_json_has_the_units_and_the_unit_of_each_candidate(
    oomrules: Callable[..., Done], host: list[str]
) -> None:
    data: Any = json.loads(oomrules("rank", "--format", "json", *host).out)
    (whole,) = data["wholes"]
    assert [one["whole"] for one in data["candidates"]] == [None, A, A]
    assert (whole["cgroup"], whole["points"], whole["tier"], whole["degree"]) == (
        *(A, 11000, "last", 2),
    )
    assert (whole["pids"], whole["others"], whole["at_once"]) == ([10, 11], [13], False)
    assert [one["pid"] for one in whole["protected"]] == [12]


def test_explain_says_who_goes_and_who_stays(
    oomrules: Callable[..., Done], host: list[str]
) -> None:
    member = oomrules("explain", "10", *host).out
    assert "goes with its unit a-1.service" in member and 'kill whole "a-*.service"' in member
    assert "11000 points together, of 2 processes, tier last by 2" in member
    assert "dies with it: tmux: server (11), idle (13)" in member
    assert "stays: safe (12)" in member
    assert "stays when its unit a-1.service is killed" in oomrules("explain", "12", *host).out
    assert "unit" not in oomrules("explain", "14", *host).out.partition("points:")[2]
