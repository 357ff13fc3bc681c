"""A report of the kernel's is put together with what the service knew at that kill."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.commands.parts.kept import kept, of_own
from oomrules.kills import facts
from oomrules.kills.entry import FACTS_ID
from oomrules.kills.facts import Facts
from oomrules.report.model import Killed, Report, Row, Table
from oomrules.sinks.oom_score_adj.record import Entry, Record, save
from tests.commands.done import Done
from tests.commands.replays import TABLE
from tests.commands.test_history import Journal

FACTS = Facts(read=999.0, at=1000.0, ticks=100, adjusted=True, processes={7: {"pid": 7, "nice": 5}})
ENTRY = {
    "_SYSTEMD_UNIT": "oomrules.service",
    "MESSAGE_ID": FACTS_ID,
    "__REALTIME_TIMESTAMP": "1700000001500000",
    "OOMRULES_PID": "7",
    "OOMRULES_COMM": "db",
    "OOMRULES_UID": "33",
    "OOMRULES_KERNEL_TIME": "990.500000",
    "OOMRULES_FACTS": facts.encode(FACTS),
}


def report(**more: Any) -> Report:
    killed = Killed(**{"line": 9, "pid": 7, "name": "db", "uid": 33, **more.pop("killed", {})})
    usual: dict[str, Any] = {"time": "990.123456", "killed": (killed,)}
    return Report(source="dmesg", first=1, last=9, **(usual | more))


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    made = Journal(tmp_path, monkeypatch)
    made.say(ENTRY)
    return made


def test_the_facts_of_a_kill_are_found(journal: Journal) -> None:
    found = kept(report(), "-1")
    assert found is not None and found.processes == FACTS.processes and found.adjusted
    asked = journal.asked
    # A field of this length is left out without it.
    assert {"--all", "--boot=-1", "_UID=0", "OOMRULES_PID=7", f"MESSAGE_ID={FACTS_ID}"} <= {*asked}


@pytest.mark.parametrize(
    "time",
    [
        *("", "Nov 27 04:00:00", "990.000000", "951", "1700000000.5", "1700000000"),
        *("2023-11-14 22:13:20+00:00", "2023-11-14T23:13:19,123456+01:00"),
    ],
)
def test_the_time_counts_in_whatever_form_it_is(journal: Journal, time: str) -> None:
    assert kept(report(time=time), "0") is not None


@pytest.mark.parametrize(
    "other",
    [
        {"time": "100.000000"},
        {"time": "1500.0"},
        {"time": "1700000100"},
        {"time": "2023-11-14 21:13:20+00:00"},
        {"time": "2023-11-15 22:13:20+00:00"},
        {"killed": {"pid": 8}},
        {"killed": {"name": "web"}},
        {"killed": {"uid": 34}},
    ],
)
def test_another_kill_has_other_facts(journal: Journal, other: dict[str, Any]) -> None:
    assert kept(report(**other), "0") is None


@pytest.mark.parametrize(
    "other",
    [
        # A container's root has the uid 0, too.
        {"_SYSTEMD_UNIT": "docker-0123.scope"},
        {"OOMRULES_FACTS": "{}"},
        {"OOMRULES_FACTS": None},
    ],
)
def test_what_the_service_did_not_write_counts_for_nothing(
    journal: Journal, other: dict[str, Any]
) -> None:
    journal.say(ENTRY | other)
    assert kept(report(), "0") is None


def test_two_that_cannot_be_told_apart_are_none(journal: Journal) -> None:
    journal.say(ENTRY, ENTRY | {"OOMRULES_KERNEL_TIME": "400.0"})
    assert kept(report(), "0") is not None
    assert kept(report(time=""), "0") is None


def test_a_victim_named_by_a_thread_is_found_by_its_process(journal: Journal) -> None:
    row = Row(line=2, values={"pid": 12, "tgid": 7, "uid": 33}, name="db")
    table = Table(line=1, columns=("pid", "tgid", "uid", "name"), rows=(row,))
    assert kept(report(killed={"pid": 12}, table=table), "0") is not None


def test_a_report_without_a_kill_has_none(journal: Journal) -> None:
    assert kept(Report(source="x", first=1, last=1), "0") is None


def test_where_the_journal_cannot_be_read_nothing_is_known(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.say()
    (tmp_path / "fails").write_text("no such boot")
    assert kept(report(), "-5") is None
    monkeypatch.setenv("PATH", "/none")
    assert kept(report(), "0") is None


def test_of_this_boot_the_record_tells_what_oomrules_wrote(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.say()
    monkeypatch.setenv("OOMRULES_STATE", str(tmp_path))
    assert of_own(report()) is None
    ticks = os.sysconf("SC_CLK_TCK")
    entries = [
        Entry(pid=pid, start=start, original=5, values=(-900,), since=1, cgroup=None)
        for pid, start in ((7, 100 * ticks), (8, 2000 * ticks))
    ]
    save(str(tmp_path / "adjustments.json"), Record(entries, since=1))
    known = of_own(report())
    assert known is not None and known.processes == {}
    # Another process had that pid then, or one that has ended.
    assert [known.own(pid, -900) for pid in (7, 8, 9)] == [5, None, None]
    # It is about this boot alone.
    assert of_own(report(), -1) is None
    (tmp_path / "adjustments.json").write_text("{")
    assert of_own(report()) is None


def test_what_the_service_kept_says_more_than_the_record(journal: Journal) -> None:
    found = of_own(report())
    assert found is not None and found.processes == FACTS.processes


BOOT = "0123456789abcdef" * 2
UNITS = {10: "batch", 20: "web", 30: "ssh"}


@pytest.mark.parametrize(
    ("number", "code", "result"), [(BOOT, 0, "certain"), ("", 1, "open"), (BOOT[1:], 1, "open")]
)
def test_with_what_was_kept_the_answer_is_certain(
    number: str,
    code: int,
    result: str,
    journal: Journal,
    oomrules: Callable[..., Done],
    rules: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    processes = {
        pid: {"pid": pid, "starttime": 5, "cgroup": f"/system.slice/{name}.service"}
        for pid, name in UNITS.items()
    }
    known = facts.encode(FACTS._replace(processes=processes, adjusted=False))
    victim = {"OOMRULES_PID": "10", "OOMRULES_COMM": "hog", "OOMRULES_UID": "1000"}
    journal.say(ENTRY | victim | {"OOMRULES_KERNEL_TIME": "100.5", "OOMRULES_FACTS": known})
    # As `journalctl -k -o json` has it.
    text = TABLE.format(name="hog").replace(",task_memcg=/system.slice/x.service", "")
    entries = [
        {
            "_TRANSPORT": "kernel",
            "_BOOT_ID": number,
            "_SOURCE_MONOTONIC_TIMESTAMP": "100500000",
            "__REALTIME_TIMESTAMP": "1700000001500000",
            "MESSAGE": line.partition("] ")[2],
        }
        for line in text.splitlines()
    ]
    log = tmp_path / "log.json"
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    wanted = rules('score footprint\nkill first unit "batch.service"\n')
    done = oomrules("replay", log, "--rules", wanted, "--format", "json")
    assert (done.code, done.data["rules"]["result"]) == (code, result)
    assert bool(done.data["notes"]) == (result == "certain")
