"""Facts fit into an entry of the journal, and are read back as they were or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.kills import facts
from oomrules.kills.facts import Facts

NUMBERS = st.integers(0, 2**40)
LINES = st.fixed_dictionaries(
    {"pid": st.integers(1, 2**22), "uid": NUMBERS, "comm": st.text(max_size=15)},
    optional={
        "starttime": NUMBERS,
        "cgroup": st.text(max_size=300),
        "nice": st.integers(-20, 19),
        "capabilities": st.just("0000000000000002"),
        "oom_score_adj": st.integers(-1000, 1000),
    },
)


def made(lines: list[dict[str, Any]]) -> Facts:
    return Facts(
        read=5.5,
        at=None,
        ticks=100,
        adjusted=True,
        processes={line["pid"]: line for line in lines},
        unit_root="/lxc/one",
        originals={},
    )


@given(st.lists(LINES, max_size=20, unique_by=lambda line: line["pid"]))
def test_they_are_read_back_as_they_were(lines: list[dict[str, Any]]) -> None:
    before = made(lines)
    text = facts.encode(before)
    assert "\n" not in text and facts.decode(text) == before


def test_the_names_of_users_are_kept_if_they_are_known() -> None:
    lines = [{"pid": 1, "uid": 5}, {"pid": 2, "uid": 6}, {"pid": 3}]
    named = made(lines)._replace(users={5: "kim", 7: "lee", 6: "x" * 4000})
    again = facts.decode(facts.encode(named))
    # Of others there is nothing to know, and a name has a length.
    assert again is not None and again.users == {5: "kim"}


def test_what_oomrules_wrote_and_what_was_there_before_are_kept() -> None:
    before = made([{"pid": 1}])._replace(
        originals={pid: -pid % 1000 for pid in range(2, 500)}, written=frozenset({-1000, 7})
    )
    again = facts.decode(facts.encode(before))
    assert again is not None and again == before
    assert [again.own(*one) for one in ((3, 7), (900, 7), (900, 8), (900, -8))] == [
        *(997, None, 8, None)
    ]
    assert before._replace(adjusted=False).own(900, 7) == 7


@pytest.mark.parametrize("path", ["/a" * 150, "/\udcff" * 150, "/" + "x" * 4000])
def test_they_have_a_size_whatever_users_call_their_groups(path: str) -> None:
    lines = [{"pid": pid, "uid": 0, "comm": "\\" * 15, "cgroup": path} for pid in range(1, 1000)]
    originals = dict.fromkeys(range(1000, 100000), -1000)
    written = frozenset(range(-1000, 1001))
    text = facts.encode(made(lines)._replace(originals=originals, written=written))
    assert len(text.encode()) <= facts.LONGEST
    again = facts.decode(text)
    assert again is not None
    # Those that matter most come first.
    assert list(again.processes) == list(range(1, len(again.processes) + 1))
    assert 20 <= len(again.processes) <= facts.MOST


def test_a_path_that_no_manager_makes_is_unknown() -> None:
    again = facts.decode(facts.encode(made([{"pid": 1, "cgroup": "/" + "x" * 4000}])))
    assert again is not None and again.processes == {1: {"pid": 1}}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "oomrules.facts/2"},
        {"rows": [[1, 2]]},
        {"rows": [None]},
        {"rows": None},
        {"rows": [[None] * len(facts.KEPT)]},
        {"keys": 5},
        {"clock_ticks": "x"},
        {"read": []},
        {"read": float("nan"), "clock_ticks": float("inf")},
    ],
)
def test_what_is_damaged_is_none(change: dict[str, Any]) -> None:
    data = json.loads(facts.encode(made([{"pid": 1}])))
    assert facts.decode(json.dumps(data | change)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", "[" * 100_000])
def test_what_is_no_facts_is_none(text: str) -> None:
    assert facts.decode(text) is None
