"""Where commands show guards: whom they may take, and which units they are about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Write = Callable[..., Path]

RULES = """\
score rss
never kill comm "sshd"
kill when host.available < 5% for 2s
warn when host.available < 15%
in "user*.slice": terminate when scope.memory > 1GiB
in user.slice {
    prefer anything
    in "user-*.slice": kill when scope.stall > 40%
}
in user unit "app-*.scope": kill when scope.memory > 2GiB
in "app-*.scope": kill when scope.memory > 3GiB
in session-2.scope: warn when scope.memory > 1GiB
in other.slice: kill when scope.memory > 1GiB
"""


@pytest.fixture
def shown(oomrules: Run, recorded: Path, rules: Write) -> Callable[..., Any]:
    path = rules(RULES)
    return lambda command, *more: oomrules(command, *more, "--snapshot", recorded, "--rules", path)


def _lines(text: str) -> list[str]:
    _, _, below = text.partition("guards that may take it, before memory has run out:\n")
    return [line.strip() for line in below.splitlines()]


def test_explain_names_each_guard_that_may_take_the_process_and_how_soon(shown: Run) -> None:
    done = shown("explain", 902)
    said = [(line.split(" (")[0], line.rpartition(": ")[2]) for line in _lines(done.out)]
    assert sorted(said) == [
        (
            "in user unit app-*.scope: kill when scope.memory > 2GiB",
            "candidate 1 of 1 in app-firefox-1.scope",
        ),
        (
            "in user*.slice: terminate when scope.memory > 1GiB",
            "candidate 1 of 3 in user-1000.slice",
        ),
        (
            "in user*.slice: terminate when scope.memory > 1GiB",
            "candidate 1 of 3 in user.slice",
        ),
        (
            "in user.slice: in user-*.slice: kill when scope.stall > 40%",
            "candidate 1 of 3 in user-1000.slice",
        ),
        ("kill when host.available < 5% for 2s", "candidate 1 of 7"),
    ]


def test_a_process_in_another_place_of_the_list_and_of_the_units(shown: Run) -> None:
    lines = _lines(shown("explain", 901).out)
    assert any(line.endswith(": candidate 4 of 7") for line in lines)
    assert sum(line.endswith(": candidate 2 of 3 in user-1000.slice") for line in lines) == 2
    said = [line.split(" (")[0] for line in lines]
    assert not [one for one in said if "app-" in one or "warn" in one or "other" in one]


def test_no_guard_takes_a_process_that_is_no_candidate(shown: Run) -> None:
    done = shown("explain", 812)
    assert done.code == 1 and "never kill" in done.out
    assert "guards that" not in done.out


def test_a_process_whose_unit_is_unknown_may_be_taken_by_those_of_the_host(shown: Run) -> None:
    lines = _lines(shown("explain", 909).out)
    assert lines[0].startswith("kill when host.available < 5% for 2s (")
    assert all(line.endswith(": unknown, as its unit is") for line in lines[1:])


def test_scopes_shows_guards_at_the_units_that_they_are_about(shown: Run) -> None:
    data = shown("scopes", "--format", "json").data
    at = {
        unit["unit"]: [place.rpartition(":")[2] for place in unit["guards"]]
        for unit in data["units"]
        if unit["guards"]
    }
    assert at == {
        "user.slice": ["5"],
        "user-1000.slice": ["5", "8"],
        "app-firefox-1.scope": ["10"],
        "session-2.scope": ["12"],
    }
    assert [place.rpartition(":")[2] for place in data["guards"]] == ["3", "4"]
    text = shown("scopes").out
    (line,) = (line for line in text.splitlines() if line.strip().startswith("user-1000.slice"))
    assert line.endswith("1 in user.slice, 2 guards")
    assert "\n2 guards of the host; those of a unit are shown beside it\n" in text


def test_without_guards_nothing_is_said_of_them(
    oomrules: Run, recorded: Path, rules: Write
) -> None:
    path = rules("score rss\n")
    for command in (("explain", 902), ("scopes",)):
        done = oomrules(*command, "--snapshot", recorded, "--rules", path)
        assert "guards that" not in done.out and "guards of" not in done.out
