"""Users' managers: the honest ones are believed, and no other costs more than a bound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.dbus import bounds, users, users_child
from oomrules.dbus.users import Users
from oomrules.processes.units import Placement, placement
from tests.dbus.buses import GUARD, UID, Listen

NAMES = ("Description", "OOMPolicy", "OOMScoreAdjust")
# What ``peer.py`` says to a terminal.
ESCAPES = "\x1b]0;PWNED\x07\x1b[2J\x1b[31mnote: all is well\n"

SLOW = ("slow", "silent", "absent", "mute", "half", "trickle", "line", "header", "signals")


def place(user: object, unit: str) -> Placement:
    return placement(f"/user.slice/user-{user}.slice/user@{user}.service/app.slice/{unit}")


def ask(folder: str, units: list[str], **options: Any) -> tuple[dict[str, Any], list[str]]:
    """Ask, and look that nothing of it is left."""
    options = {"each": GUARD, "total": GUARD, **options}
    asked = Users([place(UID, unit) for unit in units], NAMES, directory=folder, **options)
    process = asked._child._process if asked._child else None
    found = asked.collect()
    if process is not None:
        assert process.returncode is not None
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    return found, asked.problems


def test_an_honest_manager_is_believed_and_asked_as_its_user(listen: Listen) -> None:
    # The peer takes nobody but its own user.
    found, problems = ask(listen("honest"), ["a.service", "b.scope"])
    says = {"Description": "A café", "OOMPolicy": "kill", "OOMScoreAdjust": 100}
    assert found == {f"{UID}/a.service": says, f"{UID}/b.scope": says}
    assert problems == []


def test_of_units_that_are_none_nothing_is_believed(listen: Listen) -> None:
    assert ask(listen("ghosts"), ["a.service"]) == ({}, [])


@pytest.mark.parametrize(
    ("mode", "left"),
    [
        ("long", {"Description": "ü" * 2048, "OOMPolicy": "ü" * 2048}),
        ("numbers", {"Description": "A café", "OOMScoreAdjust": 2**64 - 1}),
        ("escapes", {"Description": ESCAPES, "OOMPolicy": ESCAPES}),
        ("array", {"Description": "A café"}),
        ("deep", {"Description": "A café"}),
        ("bytes", {"Description": "A café"}),
        ("crowd", {"Description": "A café", "OOMPolicy": "kill", "OOMScoreAdjust": 100}),
    ],
)
def test_values_are_cut_and_those_of_other_types_are_dropped(
    mode: str, left: dict[str, Any], listen: Listen
) -> None:
    found, problems = ask(listen(mode), ["a.service"])
    assert found.get(f"{UID}/a.service") == left or (problems and not found)
    assert all("\x1b" not in problem for problem in problems)
    for values in found.values():
        assert bounds.size(values) < 6 * 2 * (bounds.MOST_TEXT + 64)


@pytest.mark.parametrize("mode", ["errors", "types", "nothing", "plain", "big", "many", "gone"])
def test_another_answer_is_no_answer_and_none_of_its_words_are_repeated(
    mode: str, listen: Listen
) -> None:
    # With room for all: what ends it is the answer and not the time.
    units = [f"u{number}.service" for number in range(60)]
    found, problems = ask(listen(mode), units)
    assert found == {}
    (problem,) = problems
    assert f"the manager of user {UID}" in problem and problem.isprintable()
    assert "PWNED" not in problem and "all is well" not in problem


@pytest.mark.parametrize("mode", [*SLOW, "garbage"])
def test_who_takes_too_long_is_not_waited_for(mode: str, listen: Listen) -> None:
    units = [f"u{number}.service" for number in range(200)]
    folder = listen(mode)
    begun = time.monotonic()
    found, problems = ask(folder, units, each=1.0, total=3.0)
    # One answer takes the slow one 0.4 s, and it has 600 to give.
    assert time.monotonic() - begun < GUARD
    assert found == {} and len(problems) == 1


def test_a_user_s_time_is_not_another_s(listen: Listen) -> None:
    if os.geteuid() != 0:
        folder, others = listen("honest"), []
    else:
        others = [UID + 1, UID + 2, UID + 3]
        for uid in others:
            folder = listen("mute", uid)
        folder = listen("honest")
    # Those who have few units come first, whoever they are.
    places = [place(uid, "x.service") for uid in others] + [place(UID, "a.service")]
    places.append(place(UID, "b.service"))
    asked = Users(places, NAMES, 1.0, GUARD, folder)
    found = asked.collect()
    assert set(found) == {f"{UID}/a.service", f"{UID}/b.service"}
    assert len(asked.problems) == len(others)


def test_who_is_not_asked_for_want_of_time_is_said(listen: Listen) -> None:
    folder = listen("honest")
    asked = Users([place(UID, "a.service")], NAMES, GUARD, 0.0, folder)
    assert asked.collect() == {}
    assert "no time left" in asked.problems[0]


def test_a_bus_is_a_socket_that_its_user_made(listen: Listen) -> None:
    folder = listen("honest")
    bus = os.path.join(folder, str(UID), "bus")
    real = f"{bus}.real"
    os.rename(bus, real)
    os.symlink(real, bus)
    for thing in ("a link", "a file", "a pipe", "a directory", "nothing"):
        found, problems = ask(folder, ["a.service"])
        assert (found, len(problems)) == ({}, 1), thing
        if thing == "a directory":
            os.rmdir(bus)
        elif thing != "nothing":
            os.unlink(bus)
        if thing == "a link":
            Path(bus).touch()
        elif thing == "a file":
            os.mkfifo(bus)
        elif thing == "a pipe":
            os.mkdir(bus)
    if os.geteuid() == 0:
        os.rename(real, bus)
        os.chown(bus, UID + 1, UID)
        assert ask(folder, ["a.service"])[0] == {}


def test_more_units_than_the_bound_are_not_asked_about_and_that_is_said(listen: Listen) -> None:
    folder = listen("honest")
    units = [f"u{number:04}.service" for number in range(users.MOST_UNITS + 50)]
    found, problems = ask(folder, units)
    assert len(found) == users.MOST_UNITS and f"{UID}/u0000.service" in found
    assert str(len(units)) in problems[0]


def test_odd_users_and_odd_units_are_nobody_s(tmp_path: Path) -> None:
    odd = [
        Placement((), "a.service", "", "", manager, None)
        for manager in ("", "²", "-1", "99999999999", "x", "1/../2")
    ]
    odd.append(Placement((), "\ud800.service", "", "", str(UID), None))
    odd.append(place(UID, f"{'x' * 300}.service"))
    asked = Users(odd, NAMES, directory=str(tmp_path))
    assert asked._child is None and asked.collect() == {}


def test_nobody_is_asked_where_rules_want_no_properties(tmp_path: Path) -> None:
    for wanted in ((), ("Names", "WantedBy", "PartOf")):
        assert Users([place(UID, "a.service")], wanted)._child is None


ANSWERS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a.service", *NAMES, "Names", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(ANSWERS)
def test_whatever_a_manager_s_process_says_only_what_was_asked_is_taken(answer: Any) -> None:
    asked = Users([], NAMES)
    found: dict[str, Any] = {}
    units = {"a.service": place(7, "a.service")}
    asked._take("7", units, json.dumps(answer), found)
    assert found.keys() <= {"7/a.service"}
    for name, value in found.get("7/a.service", {}).items():
        assert type(value) is {"OOMScoreAdjust": int, "Names": list}.get(name, str)
    assert all(len(problem) < 600 for problem in asked.problems)


@given(st.text(), st.integers(1, 40))
def test_a_text_is_cut_at_a_character(text: str, most: int) -> None:
    cut = bounds.text(text, most)
    whole = text.encode("utf-8", "replace").decode()
    assert len(cut.encode("utf-8", "replace")) <= most
    assert whole.startswith(cut) or text == cut
    assert len(cut.encode()) > most - 4 or cut in (whole, text)


def test_a_process_that_asks_has_little_memory() -> None:
    code = (
        "from oomrules.dbus import users_child; users_child.limit()\n"
        "try: bytes(users_child._MEMORY + (1 << 20))\n"
        "except MemoryError: print('little')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "little\n"
    assert users_child._MEMORY < 128 << 20
