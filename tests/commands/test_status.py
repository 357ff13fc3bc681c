"""What ``status`` says beyond what the service knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.commands.parts import unheld
from oomrules.commands.status import overruling
from oomrules.service import client
from tests.commands.done import Done


@pytest.mark.parametrize(
    ("panic", "allocating", "names"),
    [
        ("0", "0", []),
        ("1", "0", ["panic_on_oom"]),
        ("2", "0", ["panic_on_oom"]),
        ("0", "-1", ["oom_kill_allocating_task"]),
        ("2", "1", ["panic_on_oom", "oom_kill_allocating_task"]),
    ],
)
def test_settings_that_overrule_the_list_are_told(
    tmp_path: Path, panic: str, allocating: str, names: list[str]
) -> None:
    values = {"panic_on_oom": panic, "oom_kill_allocating_task": allocating}
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
    found = overruling(tmp_path)
    assert len(found) == len(names)
    for text, name in zip(found, names, strict=True):
        assert text.startswith(f"vm.{name} is {values[name]}: ")
        assert f"`sysctl vm.{name}=0`" in text


def test_a_kernel_without_these_settings_is_not_complained_of(tmp_path: Path) -> None:
    assert overruling(tmp_path) == []


# --- the guard ------------------------------------------------------------------------------------

GIB = 1 << 30
DOCUMENT: dict[str, Any] = {
    "schema": "oomrules.status/1",
    "pid": 7,
    "uptime": 60.0,
    "memory": {"rss": 2**24, "peak": 2**24, "locked": 2**24, "lock": None},
    "rules": {"state": "good", "age": 5.0, "files": ["/etc/oomrules.d/60.oom"], "count": 2},
    "list": {
        "to": "/proc/oom",
        "age": 1.0,
        "took": 0.01,
        "candidates": 5,
        "head": [],
        "problem": None,
    },
    "refreshes": {"total": 1, "start": 1},
    "pressure": {"source": "trigger", "some": 0.0, "full": 0.0, "events": 0},
    "under_pressure": False,
    "kills": 0,
    "last_kill": None,
    "problems": [],
    "complaints": [],
}
STALL = {"text": "host.stall > 10%", "value": 200, "most": 200, "limit": 1000, "holds": False}
STANDING: dict[str, Any] = {
    "text": "kill when host.available < 5% and host.stall > 10%",
    "place": "/etc/oomrules.d/60.oom:1",
    "action": "kill",
    "unit": None,
    "manager": None,
    "holds": False,
    "since": None,
    "for": 0.0,
    "due": False,
    "never": None,
    "comparisons": [
        {
            "text": "host.available < 5%",
            "value": 3 * GIB,
            "most": 3 * GIB,
            "limit": GIB,
            "whole": 20 * GIB,
            "holds": False,
            "missing": [],
        },
        STALL,
    ],
    "would_take": {
        "pid": 4711,
        "comm": "hog\x1b[2J",
        "uid": 1000,
        "unit": "build.service",
        "rank": 1,
        "expected": 2 * GIB,
        "others": 3,
    },
    "kills": 0,
}
ON = {"state": "on", "why": None, "armed": 1, "hot": False, "guards": [STANDING]}


@pytest.fixture
def status(oomrules: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Ask a service whose guard is like this."""

    def ask(guard: Any, *arguments: str) -> Done:
        document = DOCUMENT if guard is None else {**DOCUMENT, "guard": guard}
        monkeypatch.setattr(client, "ask", lambda word, timeout: document)
        return oomrules("status", *arguments)

    return ask


def test_how_far_the_guard_is_and_whom_it_would_take(status: Callable[..., Done]) -> None:
    done = status(ON)
    assert done.code == 0
    assert "    guard  on; 1 guard armed, at rest\n" in done.out
    assert (
        "host: does not hold; host.available < 5%: 2.0 GiB to go, host.stall > 10%: 8.0 % to go\n"
    ) in done.out
    assert (
        "would take hog\N{REPLACEMENT CHARACTER}[2J (4711), build.service, rank 1, "
        "with 3 processes more: gives back 2.0 GiB\n"
    ) in done.out


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"holds": True, "since": 12.0, "for": 20.0}, "host: HOLDS for 12 s of 20 s"),
        ({"holds": None}, "host: unknown, which is not true"),
        ({"never": "there is no swap"}, "host: can never act here: there is no swap"),
        ({"unit": "a.slice", "manager": "1000"}, "a.slice of user 1000: does not hold"),
        ({"comparisons": [{**STALL, "holds": None, "most": 9900}]}, "host.stall > 10%: unknown"),
        (
            {"comparisons": [{**STALL, "most": 900}]},
            "host.stall > 10%: at least 1.0 % to go",
        ),
    ],
)
def test_a_guard_says_how_it_stands(
    status: Callable[..., Done], changed: dict[str, Any], words: str
) -> None:
    assert words in status({**ON, "guards": [{**STANDING, **changed}]}).out


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ({"state": "off", "why": "no rule says when", "armed": 0}, "off: nothing is done"),
        ({"state": "off", "why": "process_mrelease: EPERM"}, "; process_mrelease: EPERM"),
        (
            {"state": "off", "why": "no memory", "again": 80.0},
            "; no memory; tried again in 1min 20s",
        ),
        ({**ON, "state": "dry-run"}, "without signals (dry run); 1 guard armed"),
        ({**ON, "hot": True}, "looks often now"),
        ({**ON, "armed": 30}, "29 guards more: `oomrules guard`"),
        ({**ON, "late": {"times": 2, "most": 1.5}}, "was late 2 times, by up to 1.5 s"),
        ({**ON, "reaction": {"median": 0.0012}}, "signals after 1.2 ms (median)"),
        ({**ON, "flight": {"pid": 5, "comm": "x", "killed": True}}, "x (5) was killed; its memory"),
        ({**ON, "unknown": "host.stall is unknown"}, "host.stall is unknown"),
    ],
)
def test_what_is_off_late_or_under_way_is_said(
    status: Callable[..., Done], guard: dict[str, Any], words: str
) -> None:
    assert words in status(guard).out


def test_what_the_guard_did_last_is_said(status: Callable[..., Done]) -> None:
    last = {
        "act": "killed",
        "pid": 9,
        "comm": "old",
        "unit": "x.service",
        "guard": "kill when host.available < 5%",
        "rank": 1,
        "listed": 30,
        "lasted": 0.42,
        "won": 2 * GIB,
        "ago": 61.0,
    }
    said = {"last": last, "counts": {"killed": 2, "warned": 1}}
    out = status({**ON, **said}).out
    assert "so far: 2 killed, 1 warnings\n" in out
    assert (
        "last killed 1min 1s ago: old (9) in x.service, rank 1 of 30, gone after 0.4 s, 2.0 GiB "
        "came back (kill when host.available < 5%)"
    ) in out


@pytest.mark.parametrize("guard", [None, 5, {}, {"state": "on"}, {"guards": [5, {}]}, {"last": 5}])
def test_a_service_of_another_version_says_less(status: Callable[..., Done], guard: Any) -> None:
    done = status(guard)
    assert done.code == 0 and "pid 7, for 1.0 min" in done.out


def test_a_process_that_goes_with_its_unit_says_so(
    oomrules: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"rank": 1, "pid": 5, "comm": "x", "unit": "y.scope", "points": 3}
    head = [one, {**one, "rank": 2, "unit": "b.service", "whole": "build.slice"}]
    document = {**DOCUMENT, "list": {**DOCUMENT["list"], "head": head}}
    monkeypatch.setattr(client, "ask", lambda word, timeout: document)
    rows = [line.split() for line in oomrules("status").out.splitlines()[-2:]]
    assert rows[0][2] == "y.scope" and rows[1][2:4] == ["whole", "build.slice"]


LIMITED = "/proc/oom oom_score_adj"
WHY = "the probe does not fire; `sysctl kernel.ftrace_enabled=1` lets it"


@pytest.mark.parametrize(
    ("to", "memcg", "said"),
    [
        ("/proc/oom", {"by": "/proc/oom", "why": None, "ooms": 3}, "too, 3 OOMs so far"),
        ("/proc/oom", {"by": "/proc/oom", "why": None, "ooms": 1}, "too, 1 OOM so far"),
        (LIMITED, {"by": "oom_score_adj", "why": WHY, "ooms": 0}, f"{WHY}; oom_score_adj serves"),
        ("/proc/oom", {"by": None, "why": WHY, "ooms": 0}, f"{WHY}; the kernel chooses there"),
        ("oom_score_adj", {"by": "oom_score_adj", "why": None, "ooms": None}, "oom_score_adj is"),
    ],
)
def test_what_the_kernel_does_at_the_limit_of_a_control_group_is_said(
    to: str,
    memcg: dict[str, Any],
    said: str,
    oomrules: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = {**DOCUMENT["list"], "to": to, "limited": to == LIMITED}
    document = {**DOCUMENT, "list": listed, "memcg": memcg}
    monkeypatch.setattr(client, "ask", lambda word, timeout: document)
    done = oomrules("status")
    (line,) = [line for line in done.out.splitlines() if line.startswith("at limits  ")]
    assert done.code == 0 and said in line
    assert ("in oom_score_adj for groups with a limit" in done.out) == (to == LIMITED)
    # What is to be changed is what nothing serves.
    assert ("`To=auto` in /etc/oomrules.conf" in line) == (memcg["by"] is None)


@pytest.mark.parametrize("memcg", [{}, {"memcg": None}])
def test_a_list_that_is_in_force_nowhere_covers_no_limit(
    memcg: dict[str, Any], oomrules: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ask", lambda word, timeout: {**DOCUMENT, **memcg})
    assert "at limits" not in oomrules("status").out


def test_what_no_process_holds_is_said(
    status: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = unheld.uses({"MemTotal": 8 * GIB, "MemFree": GIB, "Cached": 7 * GIB, "Shmem": 7 * GIB})
    monkeypatch.setattr(unheld, "read", lambda: full)
    words = "unheld  7.0 GiB of 8.0 GiB (88 %), most of it tmpfs and shared memory 7.0 GiB"
    assert words in status(None).out
