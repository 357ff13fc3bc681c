"""Which kills a unit's hook takes for the unit's."""

from __future__ import annotations

from typing import Any

import pytest

from oomrules.clock import now
from oomrules.commands import hook
from oomrules.kills import entry as kills
from oomrules.kills import kernel_log
from oomrules.kills.kernel_log import Kill

USERS = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("cgroup", "listed", "manager", "recorded"),
    [
        ("/system.slice/shop.service", None, "", True),
        ("/system.slice/shop.service/worker", "other.service", "", True),
        ("/system.slice/other.service", "shop.service", "", False),
        (f"{USERS}/x,task_memcg=/system.slice/shop.service/y", None, "", False),
        # A user's own unit of the same name.
        (f"{USERS}/app.slice/shop.service", "shop.service", "1000", False),
        # The log did not say where it was.
        ("", "shop.service", "", True),
        ("", "shop.service", "1000", False),
        ("", "other.service", "", False),
        ("", None, "", False),
    ],
)
def test_a_kill_is_the_units_by_the_log_or_else_by_the_last_list(
    cgroup: str, listed: str | None, manager: str, recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = Kill(5, "CONSTRAINT_MEMCG", cgroup, "shop", 77, 1000, 1.0)
    monkeypatch.setattr(kernel_log, "recent", lambda after, left: ([kill], 5, 0))
    seen: list[Any] = []
    monkeypatch.setattr(kills, "record", lambda *given: seen.append(given))
    entry = {"rank": 1, "pid": 77, "unit": listed, "manager": manager, "points": 3}
    last = {"time": 0.0, "candidates": [entry] if listed else []}
    assert hook._record("shop.service", last) == 5
    assert bool(seen) == recorded


def test_a_victim_is_named_by_the_thread_that_stood_in_for_its_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill = Kill(5, "CONSTRAINT_MEMCG", "/system.slice/shop.service", "shop", 78, 1000, 1.0)
    monkeypatch.setattr(kernel_log, "recent", lambda after, left: ([kill], 5, 0))
    seen: list[Any] = []
    monkeypatch.setattr(kills, "record", lambda *given: seen.append(given))
    entry = {"rank": 2, "pid": 77, "thread": 78, "unit": "shop.service", "points": 3}
    hook._record("shop.service", {"time": 0.0, "candidates": [entry]})
    assert [(given[1].pid, given[2].rank) for given in seen] == [(77, 2)]


def test_the_kills_of_other_units_are_left_to_their_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units are killed at once, and each hook finds the kills of both."""
    told = [
        Kill(number, "CONSTRAINT_MEMCG", f"/system.slice/{unit}.service", "x", number, 0, 1.0)
        for number, unit in enumerate(["a", "b", "c", "b"], 5)
    ]

    def read(after: int, left: list[int]) -> tuple[list[Kill], int, int]:
        return [kill for kill in told if kill.sequence > after or kill.sequence in left], 8, 0

    seen: list[Any] = []
    monkeypatch.setattr(kernel_log, "recent", read)
    monkeypatch.setattr(kills, "record", lambda *given: seen.append(given))
    last: dict[str, Any] = {}
    for unit in ("a", "b", "a"):
        last["kernel_log"] = hook._record(f"{unit}.service", last)
    assert [(given[0], given[1].pid) for given in seen] == [
        *(("a.service", 5), ("b.service", 6), ("b.service", 8)),
    ]
    assert last == {"kernel_log": 8, "kills_left": [7]}


def test_a_list_that_is_newer_than_the_kill_has_no_rank_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill = Kill(5, "CONSTRAINT_MEMCG", "/system.slice/shop.service", "shop", 77, 1000, 1.0)
    monkeypatch.setattr(kernel_log, "recent", lambda after, left: ([kill], 5, 0))
    seen: list[Any] = []
    monkeypatch.setattr(kills, "record", lambda *given: seen.append(given))
    entry = {"rank": 2, "pid": 77, "unit": "shop.service", "points": 3}
    hook._record("shop.service", {"time": now() - 0.01, "candidates": [entry]})
    assert [given[2] for given in seen] == [kills.Listing(None, None, 0, None)]
