"""``rank`` and ``explain`` on a host of which not everything is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Write = Callable[..., Path]

HOST = {
    "kind": "host",
    "schema": "oomrules.snapshot/1",
    "page_size": 4096,
    "clock_ticks": 100,
    "uptime": 5000,
    "mem_total": 2**33,
    "users": {},
}
SAID = {"kind": "process", "uid": 1000, "total_vm": 9000, "swap": 0, "pgtables": 0}
SERVICE = "/system.slice/web.service"
RULES = 'score footprint\nin "db-*.service": never kill anything\n'


@pytest.fixture
def gaps(tmp_path: Path) -> Callable[..., Path]:
    """Write a recorded host; of process 11572 the unit is not known."""

    def write(**known: Any) -> Path:
        processes = [
            {**SAID, "pid": 11572, "comm": "mysqld", "rss": 9000, **known},
            {**SAID, "pid": 230, "comm": "java", "rss": 8000, "cgroup": SERVICE},
            {**SAID, "pid": 231, "comm": "bash", "rss": 80, "cgroup": SERVICE},
        ]
        path = tmp_path / "gaps.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in [HOST, *processes]))
        return path

    return write


def test_the_first_may_be_open(oomrules: Run, rules: Write, gaps: Callable[..., Path]) -> None:
    snapshot, file = gaps(), rules(RULES)
    done = oomrules("rank", "--snapshot", snapshot, "--rules", file)
    assert done.code == 0
    line = "open between 11572 mysqld and 230 java, because the unit of 11572 is not known"
    assert line in done.out.splitlines() and len(line) <= 80
    # What it proposes works.
    proposed = done.out.split("`")[-2].split()
    assert proposed[:3] == ["oomrules", "explain", "11572"]
    shown = oomrules(*proposed[1:])
    assert "may be the first victim: 9000 points, tier normal, or protected" in shown.out
    assert f"unit is not known; asked for at {file}:2" in shown.out
    assert line in shown.out


def test_json_has_the_answer(oomrules: Run, rules: Write, gaps: Callable[..., Path]) -> None:
    file = rules(RULES)
    done = oomrules("rank", "--snapshot", gaps(), "--rules", file, "--format", "json")
    first = done.data["first"]
    assert (first["answer"], first["certain"], first["nobody"]) == ("open", None, False)
    assert first["unknown"] == [{"attribute": "unit", "processes": 1, "rules": [f"{file}:2"]}]
    assert first["open"][0] == {
        "pid": 11572,
        "comm": "mysqld",
        "sure": False,
        "levels": [0, 0],
        "points": [9000, 9000],
        "unknown": ["unit"],
    }
    assert [one["pid"] for one in first["open"]] == [11572, 230]


def test_with_nothing_in_doubt_it_is_the_first_of_the_list(
    oomrules: Run, rules: Write, gaps: Callable[..., Path]
) -> None:
    snapshot, file = gaps(cgroup=SERVICE), rules(RULES)
    done = oomrules("rank", "--snapshot", snapshot, "--rules", file)
    assert "open between" not in done.out
    done = oomrules("rank", "--snapshot", snapshot, "--rules", file, "--format", "json")
    first = done.data["first"]
    assert (first["answer"], first["certain"]["pid"]) == ("certain", 11572)
    assert (first["certain"]["points"], first["open"], first["unknown"]) == ([9000, 9000], [], [])


def test_an_empty_list_does_not_say_that_rules_protect(
    oomrules: Run, rules: Write, gaps: Callable[..., Path]
) -> None:
    file = rules("prefer uid 0\n")
    done = oomrules("rank", "--snapshot", gaps(), "--rules", file)
    assert done.code == 1
    assert "open between" in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines() if line.startswith("open"))
    assert "in doubt, which protects, no process is on the list: 3 processes with" in done.err
    assert "starttime and utime of 3 processes: it was not recorded" in done.err


def test_the_certain_one_may_be_another_than_the_first_of_the_list(
    oomrules: Run, rules: Write, gaps: Callable[..., Path]
) -> None:
    # In doubt it is last; whatever its unit is, only one of the two rules is not about it.
    file = rules('score footprint\nspare unit "a*" by 1.01\nspare not unit "a*" by 1.01\n')
    done = oomrules("rank", "--snapshot", gaps(rss=8050), "--rules", file)
    lines = done.out.splitlines()
    assert lines[1].split()[1] == "230"
    assert "whatever the unknown values are, 11572 mysqld is the first" in lines


def test_a_process_that_cannot_be_first_is_told_so(
    oomrules: Run, rules: Write, gaps: Callable[..., Path]
) -> None:
    done = oomrules("explain", 231, "--snapshot", gaps(), "--rules", rules(RULES))
    assert "not the first victim, whatever the unknown values are" in done.out
