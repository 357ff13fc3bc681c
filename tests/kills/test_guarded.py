"""What the guard did is said in a sentence and in fields, whatever the victim calls itself."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.kills import guarded, journal
from oomrules.kills.guarded import Act

KILLED = Act(
    kind="killed",
    text="kill when host.available < 5% and host.stall > 10%",
    place="/etc/oomrules.d/60-guard.oom:3",
    host={
        "memory": 1000 << 20,
        "available": 31 << 20,
        "stall": 1400,
        "swap": 0,
        "swap_free": 0,
    },
    pid=4711,
    uid=1000,
    comm="hog",
    unit="build-x.service",
    cgroup="/system.slice/build-x.service",
    rank=1,
    points=30,
    listed=212,
    age=0.25,
    reaction=0.004,
    expected=2 << 30,
)


def test_a_kill_is_one_sentence_for_an_administrator() -> None:
    assert guarded.sentence(KILLED) == (
        "killed `hog` (4711) of build-x.service by `kill when host.available < 5% and "
        "host.stall > 10%` (60-guard.oom:3): 3.1 % available (31.0 MiB), stalled 14 %; it was at "
        "rank 1 of 212"
    )
    ended = KILLED._replace(kind="ended", won=19 << 27, lasted=0.4)
    assert guarded.sentence(ended) == (
        "`hog` (4711) of build-x.service is gone: 2.4 GiB came back in 0.4 s (2.0 GiB expected)"
    )


def test_each_figure_has_a_field_of_its_own() -> None:
    said = guarded.fields(KILLED)
    assert said["MESSAGE_ID"] == guarded.KILLED_ID
    assert (said["OOMRULES_FILE"], said["OOMRULES_LINE"]) == ("/etc/oomrules.d/60-guard.oom", "3")
    assert (said["OOMRULES_HOST_AVAILABLE"], said["OOMRULES_HOST_STALL"]) == (
        str(31 << 20),
        "14.00",
    )
    assert (said["OOMRULES_RANK"], said["OOMRULES_LISTED"], said["OOMRULES_REACTION"]) == (
        "1",
        "212",
        "0.004",
    )
    # Unknown is not 0.
    assert said["OOMRULES_HOST_FREE"] == said["OOMRULES_WON"] == said["OOMRULES_LASTED"] == ""
    assert said["UNIT"] == said["OBJECT_SYSTEMD_UNIT"] == "build-x.service"


def test_a_users_unit_never_stands_where_one_of_the_system_does() -> None:
    act = KILLED._replace(unit="sshd.service", manager="1000")
    said = guarded.fields(act)
    assert said["UNIT"] == said["OBJECT_SYSTEMD_UNIT"] == said["OOMRULES_UNIT"]
    assert said["UNIT"] == "user@1000.service" and said["OOMRULES_USER_UNIT"] == "sshd.service"
    warned = Act(kind="warned", at_unit="sshd.service", at_manager="1000")
    assert guarded.fields(warned)["UNIT"] == "user@1000.service"


def test_a_dry_run_is_no_kill() -> None:
    for kind, words in (("killed", "would have killed `hog`"), ("asked", "would have asked `hog`")):
        act = KILLED._replace(kind=kind, dry=True)
        assert guarded.sentence(act).startswith(words)
        assert guarded.fields(act)["MESSAGE_ID"] == guarded.DRY_ID


def test_the_ids_differ() -> None:
    ids = [*guarded.IDS.values(), guarded.DRY_ID]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


@pytest.mark.parametrize("kind", guarded.IDS)
@given(text=st.text(max_size=20_000))
def test_any_name_makes_one_bounded_line(kind: str, text: str) -> None:
    act = KILLED._replace(
        kind=kind, comm=text, unit=text, cgroup=text, text=text, problem=text, at_unit=text
    )
    said = guarded.sentence(act)
    assert said.isprintable() and len(said) < 4000
    entry = journal.entry(said, journal.WARNING, guarded.fields(act))
    assert len(entry) < 200_000
    assert entry.count(b"\nMESSAGE_ID=") == 1


@given(name=st.text(min_size=1, max_size=200))
def test_what_it_proposes_about_a_unit_is_one_word_for_a_shell(name: str) -> None:
    said = guarded.sentence(Act(kind="again", unit=name, pid=1, times=3, text="x", place="f:1"))
    shown = guarded.sentence(KILLED._replace(unit=name))
    assert shown.isprintable()
    if name.isprintable() and "`" not in name:
        command = said.partition("see `")[2].partition("`")[0]
        assert shlex.split(command) == ["systemctl", "status", name]


def test_a_victim_that_does_not_end_is_said_with_what_to_look_at() -> None:
    said = guarded.sentence(KILLED._replace(kind="ended", lasted=None))
    assert "has not ended after its signal" in said and "`ps -o pid,stat,wchan:32 4711`" in said


def test_a_journal_that_is_not_there_is_told_to_the_caller() -> None:
    assert guarded.record(KILLED, lambda *_: False) is False
    assert guarded.record(KILLED, lambda *_: True) is True
