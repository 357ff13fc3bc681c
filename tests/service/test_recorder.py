"""A kill is recorded with what the list that was in force had said of the victim."""

from __future__ import annotations

import time
import types
from pathlib import Path
from typing import Any

import pytest

from oomrules.clock import now
from oomrules.kills import journal
from oomrules.kills.entry import KILL_ID
from oomrules.kills.kernel_log import Kill
from oomrules.processes.cgroups import Hierarchy
from oomrules.service.list import CurrentList, Listed
from oomrules.service.loop import Service
from oomrules.service.outbox import Outbox
from oomrules.service.pace import Pace
from oomrules.service.recorder import Recorder
from oomrules.state import State


class Kept(Outbox):
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[dict[str, str]] = []
        self.said: list[str] = []

    def send(
        self, message: str, priority: int = journal.INFO, fields: dict[str, str] | None = None
    ) -> bool:
        self.said.append(message)
        if fields:
            self.fields.append(fields)
        return True


def killed(ago: float, pid: int = 7) -> Kill:
    """A kill so many seconds ago, by the clock of the kernel's log, which nobody sets right."""
    at = time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - ago
    return Kill(1, "CONSTRAINT_NONE", "/system.slice/x.service", "x", pid, 1000, at)


def head(pid: int, points: int) -> list[dict[str, object]]:
    return [{"rank": 1, "pid": pid, "comm": "x", "unit": "x.service", "points": points}]


def test_a_process_whose_first_thread_has_ended_is_known_by_the_thread_that_was_taken() -> None:
    at, outbox = now(), Kept()
    entry = {**head(7, 30)[0], "thread": 12}
    Recorder(outbox).record(
        killed(1.0, pid=12), Listed(at - 5, at - 4, [7], [entry], ("list",)), None
    )
    (fields,) = outbox.fields
    assert (fields["OOMRULES_PID"], fields["OOMRULES_RANK"]) == ("7", "1")


@pytest.mark.parametrize("told", [True, False])
def test_a_users_unit_is_never_taken_for_the_systems_of_that_name(told: bool) -> None:
    cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/ssh.service" if told else ""
    kill = killed(1.0)._replace(cgroup=cgroup)
    entry = {**head(7, 30)[0], "unit": "ssh.service", "manager": "1000"}
    at, outbox = now(), Kept()
    Recorder(outbox).record(kill, Listed(at - 5, at - 4, [7], [entry], ("list",)), None)
    (fields,) = outbox.fields
    # `journalctl -u` and `systemctl status` go by UNIT=.
    assert fields["UNIT"] == fields["OOMRULES_UNIT"] == "user@1000.service"
    assert fields["OOMRULES_USER_UNIT"] == "ssh.service"


@pytest.mark.parametrize("root", ["", "/lxc/one"])
def test_the_unit_is_counted_from_where_systemd_begins(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hierarchy, "unit_root", lambda _: root)
    outbox = Kept()
    kill = killed(1.0)._replace(cgroup=f"{root}/system.slice/x.service")
    Recorder(outbox).record(kill, None, None)
    assert outbox.fields[0]["OOMRULES_UNIT"] == "x.service"


@pytest.mark.parametrize(
    ("ago", "rank", "points", "age"),
    [
        # The last list was read 5 s ago and handed over 4 s ago, the one before 20 and 19 s ago.
        (2.0, 1, 30, 3.0),
        (4.5, None, None, 15.5),
        (10.0, None, None, 10.0),
    ],
)
def test_the_list_that_counts_is_the_one_the_kernel_had(
    ago: float, rank: int | None, points: int | None, age: float
) -> None:
    at, outbox = now(), Kept()
    listed = Listed(at - 5, at - 4, [7, 8], head(7, 30), ("list",))
    before = Listed(at - 20, at - 19, [8], head(8, 40), ("list",))
    recorder = Recorder(outbox)
    recorder.record(killed(ago), listed, before)
    assert recorder.count == 1 and recorder.last
    assert (recorder.last["rank"], recorder.last["unit"]) == (rank, "x.service")
    assert recorder.last["list_age"] == pytest.approx(age, abs=0.2)
    assert outbox.fields[0]["OOMRULES_RANK"] == str(rank or "")
    assert outbox.fields[0]["OOMRULES_POINTS"] == ("" if points is None else str(points))


def test_without_any_list_the_kill_is_recorded_all_the_same() -> None:
    outbox = Kept()
    recorder = Recorder(outbox)
    recorder.record(killed(1.0), None, None)
    assert recorder.last and recorder.last["list_age"] is None and recorder.last["listed"] == 0
    assert outbox.fields[0]["OOMRULES_LIST_AGE"] == ""


@pytest.mark.parametrize(
    ("told", "unit"),
    [
        ({}, "x.service"),
        # The pid is used again: another user, another name.
        ({"uid": 1001}, ""),
        ({"comm": "y"}, ""),
        ({"pid": 8}, ""),
        # An old kernel does not tell the user.
        ({"uid": -1}, "x.service"),
    ],
)
def test_where_the_log_does_not_tell_the_unit_is_that_of_the_listed_process_or_unknown(
    told: dict[str, Any], unit: str
) -> None:
    at, outbox = now(), Kept()
    entry = {**head(7, 30)[0], "uid": 1000, "manager": ""}
    kill = killed(1.0)._replace(cgroup="", **told)
    Recorder(outbox).record(kill, Listed(at - 5, at - 4, [7], [entry], ("list",)), None)
    (fields,) = outbox.fields
    assert (fields["UNIT"], fields["OOMRULES_UNIT_FROM"]) == (unit, "list" if unit else "")
    assert fields["OOMRULES_RANK"] == ("1" if unit else "")
    assert ("its unit is not known" in outbox.said[0]) == (not unit)


@pytest.mark.parametrize(("began", "known"), [(-100.0, True), (+5.0, False)])
def test_who_is_not_at_the_head_is_known_by_what_was_read_unless_it_began_later(
    began: float, known: bool
) -> None:
    at, outbox = now(), Kept()
    seen = {"pid": 9, "uid": 1000, "comm": "x", "unit": "z.service", "manager": "1000"}
    seen["began"] = at + began
    listed = Listed(at - 5, at - 4, [7, 9], head(7, 30), ("list",))
    kill = killed(1.0, 9)._replace(cgroup="")
    Recorder(outbox).record(kill, listed, None, {9: seen}.get)
    (fields,) = outbox.fields
    expected = ("user@1000.service", "z.service") if known else ("", "")
    assert (fields["OOMRULES_UNIT"], fields["OOMRULES_USER_UNIT"]) == expected


def test_a_list_that_the_kernel_did_not_have_says_nothing() -> None:
    at, outbox = now(), Kept()
    listed = Listed(at - 5, at - 4, [7], head(7, 30), ("list",))
    before = Listed(at - 8, at - 7, [7], head(7, 40), ("list",))
    Recorder(outbox).record(killed(60.0), listed, before)
    (fields,) = outbox.fields
    assert (fields["OOMRULES_RANK"], fields["OOMRULES_LIST_AGE"]) == ("", "")
    assert float(fields["OOMRULES_AGO"]) == pytest.approx(60, abs=1)
    assert "the list of that time is not known" in outbox.said[0]


def test_who_was_asked_to_end_is_recorded_and_not_counted_as_killed() -> None:
    outbox = Kept()
    recorder = Recorder(outbox)
    recorder.record(killed(1.0)._replace(polite=True), None, None)
    (fields,) = outbox.fields
    assert fields["MESSAGE_ID"] != KILL_ID and fields["OOMRULES_PID"] == "7"
    assert (recorder.count, recorder.asked, recorder.last) == (0, 1, None)
    assert "asked to end" in outbox.said[0]


def test_what_was_overwritten_is_said_once_a_minute() -> None:
    outbox, at = Kept(), now()
    recorder = Recorder(outbox)
    recorder.lost = 5
    for later in (0, 1):
        recorder.sum_up(at + later)
        recorder.lost += 1
    recorder.sum_up(at + 70)
    recorder.sum_up(at + 700)
    assert [one.split("(")[1].split()[0] for one in outbox.said] == ["5", "2"]
    assert "kills may be missing" in outbox.said[0] and recorder.lost == 7


def at_limit(cgroup: str, constraint: str = "CONSTRAINT_MEMCG") -> Kill:
    return killed(0.1)._replace(cgroup=cgroup, constraint=constraint)


def test_nobody_floods_the_journal_with_kills_at_his_own_limit() -> None:
    outbox = Kept()
    recorder = Recorder(outbox)
    user = "/user.slice/user-1000.slice/user@1000.service/app.slice"
    for number in range(500):
        # However many units he makes for it.
        recorder.record(at_limit(f"{user}/x{number}.service"), None, None)
    assert 1 <= len(outbox.fields) < 50 and recorder.count == 500
    recorded = len(outbox.fields)
    # Others are no worse off, and a kill with the host is always recorded.
    recorder.record(at_limit("/system.slice/shop.service"), None, None)
    assert outbox.fields[-1]["OOMRULES_UNIT"] == "shop.service"
    for _ in range(400):
        recorder.record(at_limit(f"{user}/y.service", "CONSTRAINT_NONE"), None, None)
    assert len(outbox.fields) == recorded + 401
    recorder.sum_up(now())
    assert len(outbox.said) == recorded + 401
    recorder.sum_up(now() + 3600)
    assert f"{500 - recorded} more processes of user-1000.slice" in outbox.said[-1]
    assert len(outbox.said) == recorded + 402
    recorder.record(at_limit(f"{user}/x.service"), None, None)
    assert len(outbox.fields) == recorded + 402


def test_a_burst_in_a_unit_of_the_system_is_recorded_one_by_one() -> None:
    outbox = Kept()
    recorder = Recorder(outbox)
    for number in range(60):
        recorder.record(at_limit("/system.slice/shop.service")._replace(pid=number), None, None)
    assert [fields["OOMRULES_PID"] for fields in outbox.fields] == [str(n) for n in range(60)]


def test_what_is_counted_of_units_has_an_end() -> None:
    outbox = Kept()
    recorder = Recorder(outbox)
    for number in range(5000):
        recorder.record(at_limit(f"/system.slice/x@{number}.service"), None, None)
    recorded = len(outbox.fields)
    assert recorded < 500 and len(recorder._ration.tallies) < 500
    recorder.sum_up(float("inf"))
    assert not recorder._ration.tallies
    told = sum(int(one.split()[0]) for one in outbox.said[recorded:])
    assert recorded + told == 5000


def test_a_kill_at_a_limit_is_no_reason_to_hurry(tmp_path: Path) -> None:
    service = object.__new__(Service)
    service.recorder, service.current_list = Recorder(Kept()), CurrentList(State(str(tmp_path)))
    told: list[float] = []
    service.guarding = types.SimpleNamespace(kernel_killed=told.append)  # type: ignore[assignment]

    def due_after(*constraints: str) -> float:
        found = [at_limit("/system.slice/x.service", one) for one in constraints]
        log = types.SimpleNamespace(read=lambda: found, last=5, lost=0, descriptor=-1)
        service.kernel_log = log  # type: ignore[assignment]
        service.pace = Pace(3600.0, now())
        service.pace.done(now(), 0.5)
        begun = now()
        service._read_kernel_log()
        return service.pace.due - begun

    limit, host = "CONSTRAINT_MEMCG", "CONSTRAINT_NONE"
    assert due_after() > 3000
    # As for units that come and go: 20 times what it costs, so that it takes a twentieth at most.
    assert 9.0 < due_after(limit) < 11.0
    assert 9.0 < due_after(limit, limit) < 11.0
    # Nor is it a shortage of the host, after which the guard waits.
    assert told == []
    assert due_after(host) < 1.5
    assert len(told) == 1
    assert due_after(limit, host) < 1.5
