"""The history, with a journal that a test makes up."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomrules.commands import history
from oomrules.commands.parts import acts
from oomrules.kills import guarded
from oomrules.kills.entry import ASKED_ID, KILL_ID
from tests.commands.done import Done

Run = Callable[..., Done]

ENTRY = {
    "_SYSTEMD_UNIT": "oomrules.service",
    "__REALTIME_TIMESTAMP": "1700000000000000",
    "OOMRULES_UNIT": "shop.service",
    "OOMRULES_CGROUP": "/system.slice/shop.service",
    "OOMRULES_PID": "77",
    "OOMRULES_COMM": "shop",
    "OOMRULES_UID": "1000",
    "OOMRULES_CONSTRAINT": "CONSTRAINT_NONE",
    "OOMRULES_RANK": "1",
    "OOMRULES_LISTED": "9",
    "OOMRULES_POINTS": "30",
    "OOMRULES_LIST_AGE": "2.500",
}


class Journal:
    """Stands in for journalctl: says what it is told to, and writes down what it was asked."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        script = path / "journalctl"
        script.write_text(
            f"#!{sys.executable} -IS\nimport os, sys\n"
            f"open({str(path / 'asked')!r}, 'w').write('\\0'.join(sys.argv[1:]))\n"
            f"sys.stdout.buffer.write(open({str(path / 'says')!r}, 'rb').read())\n"
            f"if os.path.exists({str(path / 'fails')!r}):\n"
            f"    sys.stderr.write(open({str(path / 'fails')!r}).read()); sys.exit(1)\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")

    def say(self, *lines: bytes | dict[str, Any]) -> None:
        said = [json.dumps(one).encode() if isinstance(one, dict) else one for one in lines]
        (self.path / "says").write_bytes(b"".join(line + b"\n" for line in said))

    @property
    def asked(self) -> list[str]:
        return (self.path / "asked").read_text().split("\0")


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    made = Journal(tmp_path, monkeypatch)
    made.say()
    return made


def test_a_kill_is_shown(oomrules: Run, journal: Journal) -> None:
    journal.say(ENTRY)
    (kill,) = oomrules("history", "--format", "json").data["kills"]
    del kill["time"]
    assert kill == {
        "unit": "shop.service",
        "user_unit": "",
        "cgroup": "/system.slice/shop.service",
        "comm": "shop",
        "pid": 77,
        "uid": 1000,
        "constraint": "CONSTRAINT_NONE",
        "rank": 1,
        "listed": 9,
        "points": 30,
        "list_age": 2.5,
        "unit_from": "",
        "by": "kernel",
        "guard": None,
        "kernel_alone": None,
    }
    assert "1 of 9" in oomrules("history").out


ALONE = {
    "OOMRULES_KERNEL_PID": "812",
    "OOMRULES_KERNEL_COMM": "postgres",
    "OOMRULES_KERNEL_UID": "70",
    "OOMRULES_KERNEL_UNIT": "db.service",
    "OOMRULES_KERNEL_USER_UNIT": "",
}


def test_whom_the_kernel_alone_would_have_taken_is_shown(oomrules: Run, journal: Journal) -> None:
    journal.say(ENTRY | ALONE)
    (kill,) = oomrules("history", "--format", "json").data["kills"]
    assert kill["kernel_alone"] == {
        "pid": 812,
        "comm": "postgres",
        "uid": 70,
        "unit": "db.service",
        "user_unit": "",
    }
    *_, last = oomrules("history").out.splitlines()
    assert "instead of shop (77) the kernel alone would have taken postgres (812)" in last
    assert "of db.service" in last


def test_nothing_is_said_where_the_kernel_would_have_taken_the_same(
    oomrules: Run, journal: Journal
) -> None:
    journal.say(ENTRY | ALONE | {"OOMRULES_KERNEL_PID": "77"})
    assert "kernel alone" not in oomrules("history").out


def test_only_what_root_wrote_is_asked_for(oomrules: Run, journal: Journal) -> None:
    done = oomrules("history", "--unit", "a.service", "--since", "today")
    assert done.code == 0 and done.err == "no kill has been recorded\n"
    # journald alone writes fields that begin with an underscore.
    assert "_UID=0" in journal.asked and "OOMRULES_UNIT=a.service" in journal.asked
    assert "--since=today" in journal.asked


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        ("oomrules.service", True),
        # The hook of the unit itself.
        ("shop.service", True),
        # A container's root is uid 0 too, and may have the journal's socket.
        ("docker-0123.scope", False),
        ("systemd-nspawn@x.service", False),
        ("other.service", False),
        ("", False),
        (["oomrules.service", "docker-0123.scope"], False),
        (None, False),
    ],
)
def test_an_entry_is_the_services_or_that_of_the_hook_of_its_unit(
    sender: Any, shown: bool, oomrules: Run, journal: Journal
) -> None:
    journal.say({**ENTRY, "_SYSTEMD_UNIT": sender})
    kills = oomrules("history", "--format", "json").data["kills"]
    assert len(kills) == shown
    journal.say({key: value for key, value in ENTRY.items() if key != "_SYSTEMD_UNIT"})
    assert oomrules("history", "--format", "json").data["kills"] == []


def test_a_message_that_was_recorded_twice_is_one_kill(oomrules: Run, journal: Journal) -> None:
    one = {**ENTRY, "_BOOT_ID": "a", "OOMRULES_SEQUENCE": "5"}
    journal.say(one, one, {**one, "_BOOT_ID": "b"}, {**one, "OOMRULES_SEQUENCE": "6"}, ENTRY, ENTRY)
    assert len(oomrules("history", "--format", "json").data["kills"]) == 5


def test_the_time_is_when_the_kernel_killed(oomrules: Run, journal: Journal) -> None:
    journal.say(ENTRY, {**ENTRY, "OOMRULES_AGO": "3600.500"}, {**ENTRY, "OOMRULES_AGO": "x"})
    kills = oomrules("history", "--format", "json").data["kills"]
    first, earlier, third = [datetime.fromisoformat(kill["time"]) for kill in kills]
    assert first == third and 3600 <= (first - earlier).total_seconds() <= 3601


def test_who_was_asked_to_end_is_no_kill_and_told_once(oomrules: Run, journal: Journal) -> None:
    asked = {**ENTRY, "MESSAGE_ID": ASKED_ID}
    moment = int(ENTRY["__REALTIME_TIMESTAMP"])
    later = {**ENTRY, "__REALTIME_TIMESTAMP": str(moment + 5_000_000), "OOMRULES_PID": "78"}
    hours_later = {**later, "__REALTIME_TIMESTAMP": str(moment + 5_000_000_000)}
    journal.say(asked, {**asked, "OOMRULES_PID": "78"}, later, hours_later)
    data = oomrules("history", "--format", "json").data
    assert [kill["pid"] for kill in data["kills"]] == [78, 78]
    assert [kill["pid"] for kill in data["terminated"]] == [77]
    table = oomrules("history").out.splitlines()
    assert ["SIGTERM" in line for line in table] == [False, True, False, False]


ODD = ["abc", "²", "nan", "inf", "-1", "1e400", "9" * 5000, "", " 7", "0x7", "7\n", "\x1b[2J"]
ODD_VALUES = [*ODD, None, 7, [255, 0], [300], [-1], [True], ["7", "8"], {"a": 1}, 1.5, True]


@pytest.mark.parametrize("name", ENTRY)
@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value)[:20])
def test_a_field_that_makes_no_sense_is_unknown(
    name: str, value: Any, journal: Journal, oomrules: Run
) -> None:
    journal.say({**ENTRY, name: value}, ENTRY)
    done = oomrules("history", "--format", "json")
    assert done.code == 0 and done.err == ""
    *_, last = done.data["kills"]
    assert last["pid"] == 77
    for key in ("pid", "uid", "rank", "listed", "points"):
        assert all(kill[key] is None or type(kill[key]) is int for kill in done.data["kills"])
    assert oomrules("history").code == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ENTRY, "x"]), inner)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(entry=st.dictionaries(st.sampled_from([*ENTRY]), JSON))
def test_no_entry_is_a_mistake_of_ours(entry: dict[str, Any]) -> None:
    kill = history._kill(json.loads(json.dumps(entry)))
    assert kill is None or len(acts.row(kill)) == len(acts.COLUMNS)


def test_lines_that_are_no_entries_are_left_out(oomrules: Run, journal: Journal) -> None:
    journal.say(
        *(b"", b"null", b"[1]", b"{", b"\xff\xfe", b"[" * 30_000, b'{"a":' + b"1" * 5000 + b"}"),
        b'{"OOMRULES_PID":"5","x":"' + b"x" * 10_000_000 + b'"}',
        ENTRY,
    )
    kills = oomrules("history", "--format", "json").data["kills"]
    assert [kill["pid"] for kill in kills] == [77]


def test_why_journalctl_failed_is_told(oomrules: Run, journal: Journal) -> None:
    (journal.path / "fails").write_text("No journal files were found.\x1b[2J\n")
    done = oomrules("history")
    assert done.code == 2 and "journalctl: No journal files were found" in done.err
    assert "\x1b" not in done.err


# --- the guard ---------------------------------------------------------------------------------

ACT = guarded.Act(
    kind="killed",
    text="kill when host.available < 5%",
    place="/etc/oomrules.d/60-guard.oom:3",
    host={"memory": 1 << 30, "available": 1 << 25, "stall": 1400},
    pid=4711,
    uid=1000,
    comm="hog",
    unit="shop.service",
    rank=1,
    points=30,
    listed=212,
    age=0.5,
    expected=1 << 30,
    reaction=0.004,
)


def entry(act: guarded.Act, second: int) -> dict[str, Any]:
    """What journalctl says of an act, so many seconds after ENTRY."""
    return {
        **guarded.fields(act),
        "MESSAGE": guarded.sentence(act),
        "_SYSTEMD_UNIT": "oomrules.service",
        "__REALTIME_TIMESTAMP": str(int(ENTRY["__REALTIME_TIMESTAMP"]) + second * 1_000_000),
    }


def test_the_guards_kills_stand_among_the_kernels(oomrules: Run, journal: Journal) -> None:
    ended = ACT._replace(kind="ended", won=1 << 29, lasted=0.4)
    journal.say(
        {**ENTRY, "MESSAGE_ID": KILL_ID},
        entry(ACT, 10),
        entry(ended, 11),
        {**ENTRY, "MESSAGE_ID": KILL_ID, "__REALTIME_TIMESTAMP": "1700000020000000"},
    )
    data = oomrules("history", "--format", "json").data
    assert [kill["by"] for kill in data["kills"]] == ["kernel", "guard", "kernel"]
    guard = data["kills"][1]["guard"]
    assert (guard["text"], guard["file"], guard["line"]) == (
        "kill when host.available < 5%",
        "/etc/oomrules.d/60-guard.oom",
        3,
    )
    assert (guard["available"], guard["stall"], guard["won"], guard["lasted"]) == (
        1 << 25,
        14.0,
        1 << 29,
        0.4,
    )
    rows = oomrules("history").out.splitlines()[1:]
    assert ["60-guard.oom:3" in row for row in rows] == [False, True, False]


def test_what_came_of_a_victim_is_put_where_its_own_kill_stands(
    oomrules: Run, journal: Journal
) -> None:
    # The pid was used again, and the second one has not ended.
    ended = ACT._replace(kind="ended", won=7, lasted=0.4)
    journal.say(entry(ACT, 1), entry(ended, 2), entry(ACT, 3), entry(ACT._replace(pid=9), 4))
    kills = oomrules("history", "--format", "json").data["kills"]
    assert [kill["guard"]["won"] for kill in kills] == [7, None, None]


def test_who_ended_when_a_guard_asked_is_no_kill(oomrules: Run, journal: Journal) -> None:
    asked = ACT._replace(kind="asked")
    journal.say(entry(asked, 1), entry(asked._replace(pid=9), 2), entry(ACT, 3))
    data = oomrules("history", "--format", "json").data
    assert [kill["pid"] for kill in data["terminated"]] == [9]
    assert [kill["pid"] for kill in data["kills"]] == [4711]


def test_what_was_no_kill_is_told_apart(oomrules: Run, journal: Journal) -> None:
    warned = guarded.Act(kind="warned", text="warn when host.available < 15%", place="a.oom:1")
    journal.say(
        entry(warned, 1),
        entry(warned._replace(kind="nobody"), 2),
        entry(ACT._replace(dry=True), 3),
        entry(ACT._replace(kind="again", times=3), 4),
    )
    data = oomrules("history", "--format", "json").data
    assert data["kills"] == data["terminated"] == []
    assert [note["what"] for note in data["warnings"]] == ["warned", "nobody", "dry run", "again"]
    assert "would have killed `hog`" in data["warnings"][2]["message"]
    table = oomrules("history").out
    assert "dry run" in table and "nobody to take" in table and "a.oom:1" in table


def test_nobody_else_makes_up_what_the_guard_did(oomrules: Run, journal: Journal) -> None:
    for unit in ("other.service", "", "user@1000.service"):
        journal.say({**entry(ACT, 1), "_SYSTEMD_UNIT": unit})
        assert oomrules("history", "--format", "json").data["kills"] == []


def test_what_was_not_recorded_in_time_is_a_kill_of_which_little_is_known(
    oomrules: Run, journal: Journal
) -> None:
    journal.say(entry(ACT._replace(kind="unsure"), 1))
    (kill,) = oomrules("history", "--format", "json").data["kills"]
    assert kill["guard"]["unsure"] is True and kill["guard"]["won"] is None
