"""Notices: who is told what, and that no user's bus can keep others from being told."""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.dbus.notices import Told, escaped, recipients, text_for
from tests.dbus.buses import UID, Listen

HOG = Told(kind="killed", pid=4711, uid=1000, comm="hog", available=31, memory=1000)


def test_a_user_is_told_which_process_it_was() -> None:
    assert text_for(1000, [HOG]) == (
        "Memory ran short",
        "hog (4711) was killed. 3 % of it was available.",
    )
    warned = Told(kind="warned", available=120, memory=1000)
    assert text_for(1000, [warned]) == (
        "Memory is getting short",
        "12 % of it was available.",
    )


@given(comm=st.text(min_size=1, max_size=40), more=st.integers(0, 3))
def test_of_other_users_processes_nothing_is_told_but_that_there_was_one(
    comm: str, more: int
) -> None:
    act = Told(kind="killed", pid=471_100, uid=1000, comm=f"<{comm}>", others=9)
    for user in (1001, None):
        said = " ".join(text_for(user, [act], more))
        assert f"<{comm}>" not in said and "471100" not in said and "1000" not in said
        assert "process" in said.lower()


@given(comm=st.text(max_size=5000), others=st.integers(0, 10**9))
def test_a_text_is_bounded_and_no_markup(comm: str, others: int) -> None:
    summary, body = text_for(
        1000, [Told(kind="killed", pid=1, uid=1000, comm=comm, others=others)] * 40, 5
    )
    assert len(summary) + len(body) < 500 and body.isprintable()
    sent = escaped(body)
    assert not set("<>\"'") & set(sent) and html.unescape(sent) == body


def test_many_acts_are_one_text() -> None:
    others = [Told(kind="killed", pid=pid, uid=1, comm="x") for pid in (1, 2)]
    asked = [Told(kind="asked", pid=3, uid=1, comm="x")]
    assert "2 processes of other users were killed" in text_for(1000, others)[1]
    assert "A process of another user was asked to end" in text_for(1000, asked)[1]
    assert "A process was asked to end" in text_for(None, asked)[1]
    assert "and 7 more" in text_for(1000, [HOG, *others], 7)[1]


def test_the_victims_user_and_those_at_the_seat_are_told_and_no_system_user() -> None:
    acts = [
        Told(kind="killed", pid=number, uid=uid)
        for number, uid in enumerate((0, 33, 999, 65534, 1000, 1000, None))
    ]
    assert recipients(acts, [1002]) == [1002, 1000]
    assert recipients([Told(kind="warned")], [1002]) == [1002]
    assert len(recipients([Told("killed", 1, uid) for uid in range(1000, 2000)], [7])) <= 8


def run(code: str, given: object = None) -> Any:
    """Run code in a process of its own, as ``oomrules tell`` does; give what it says as JSON."""
    code = f"import sys, json; from oomrules.dbus.notices import *; {code}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def send(folder: str, users: list[int], acts: list[Told], each: float = 20.0) -> list[int]:
    """Send notices; give the users who could not be told."""
    failed = run(
        "users, acts, folder, each = json.load(sys.stdin); "
        "print(json.dumps(send(users, [Told(**act) for act in acts], 0, folder, each, each + 5)))",
        [users, [vars(act) for act in acts], folder, each],
    )
    assert isinstance(failed, list)
    return failed


def broadcast(act: Told) -> str:
    """Send earlyoom's signal; give why that failed."""
    return str(run("print(json.dumps(broadcast([Told(**json.load(sys.stdin))])))", vars(act)))


def heard(folder: str, uid: int) -> list[list[object]]:
    path = Path(folder, str(uid), "bus.notified")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_users_desktop_shows_it(listen: Listen) -> None:
    folder = listen("honest")
    act = Told(kind="killed", pid=4711, uid=UID, comm="<b>hog</b>", available=31, memory=1000)
    assert send(folder, [UID], [act]) == []
    ((name, _, _, summary, body, actions, hints, _),) = heard(folder, UID)
    assert (name, summary, actions, hints) == ("oomrules", "Memory ran short", [], {"urgency": 2})
    assert body == "&lt;b&gt;hog&lt;/b&gt; (4711) was killed. 3 % of it was available."


@pytest.mark.parametrize(
    "mode", ["silent", "mute", "half", "trickle", "garbage", "gone", "errors", "types", "header"]
)
def test_a_bus_that_answers_badly_or_never_is_given_up(mode: str, listen: Listen) -> None:
    assert send(listen(mode), [UID], [HOG], each=2.0) == [UID]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become two users")
def test_a_user_who_never_answers_keeps_no_other_from_being_told(listen: Listen) -> None:
    folder = listen("mute")
    other = UID + 1
    assert listen("honest", other) == folder
    act = Told(kind="killed", pid=4711, uid=other, comm="hog")
    assert send(folder, [UID, other], [act], each=10.0) == [UID]
    ((*_, body, _, _, _),) = heard(folder, other)
    assert body == "hog (4711) was killed."


def test_who_is_not_logged_in_is_not_told(tmp_path: Path) -> None:
    assert send(str(tmp_path), [UID], [HOG]) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a socket of another user")
def test_a_socket_that_another_user_made_is_no_bus_of_the_user(listen: Listen) -> None:
    folder = listen("honest")
    os.chown(os.path.join(folder, str(UID), "bus"), UID + 1, UID + 1)
    assert send(folder, [UID], [HOG]) == [UID]
    assert heard(folder, UID) == []


LISTENER = Path(__file__).with_name("listener.py")


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """A message bus; gives its address."""
    address = f"unix:path={tmp_path}/bus"
    argv = ["dbus-daemon", "--session", "--nofork", f"--address={address}", "--print-address=1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout and daemon.stdout.readline()
        yield address
        daemon.kill()


@contextmanager
def listening(*arguments: str) -> Iterator[IO[str]]:
    """Let something listen; gives what it prints."""
    argv = ["/usr/bin/python3", str(LISTENER), *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout and listener.stdout.readline() == "ready\n"
            yield listener.stdout
        finally:
            listener.kill()


def test_all_who_listen_on_the_systems_bus_hear_it_as_from_earlyoom(
    bus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus)
    with listening("signal", bus) as said:
        assert broadcast(HOG) == ""
        path, interface, member, summary, body = json.loads(said.readline())
    assert (path, f"{interface}.{member}") == ("/", "net.nuetzlich.SystemNotifications.Notify")
    assert summary == "Memory ran short"
    assert body == "A process was killed. 3 % of it was available."


@pytest.mark.parametrize("mode", ["desktop", "silent"])
def test_a_real_bus_delivers_it_and_who_never_answers_is_given_up(
    mode: str, bus: str, tmp_path: Path
) -> None:
    folder, uid = str(tmp_path / "run"), os.geteuid()
    Path(folder, str(uid)).mkdir(parents=True)
    # The very socket has to be there, so the bus gets a second name.
    os.link(tmp_path / "bus", Path(folder, str(uid), "bus"))
    with listening(mode, bus) as said:
        acts = [Told(kind="killed", pid=4711, uid=uid, comm="a & b")]
        assert send(folder, [uid], acts, each=20.0 if mode == "desktop" else 2.0) == (
            [] if mode == "desktop" else [uid]
        )
        name, _, _, summary, body, *_ = json.loads(said.readline())
    assert (name, summary) == ("oomrules", "Memory ran short")
    assert body == "a &amp; b (4711) was killed."


def test_a_user_without_a_desktop_is_no_problem(bus: str, tmp_path: Path) -> None:
    folder, uid = str(tmp_path / "run"), os.geteuid()
    Path(folder, str(uid)).mkdir(parents=True)
    os.link(tmp_path / "bus", Path(folder, str(uid), "bus"))
    assert send(folder, [uid], [HOG]) == []


def test_without_a_bus_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    assert "the system bus takes no notice" in broadcast(HOG)
    users, why = run("print(json.dumps(seats()))")
    assert users == [] and "logind cannot be asked" in why


@pytest.mark.parametrize(("mode", "users"), [("seated", [1000]), ("honest", []), ("types", None)])
def test_who_sits_at_the_host_is_the_user_of_an_active_session_with_a_seat(
    mode: str, users: list[int] | None, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second session has no seat, and the greeter's another class.
    uid = os.geteuid()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={listen(mode, uid)}/{uid}/bus")
    found, why = run("print(json.dumps(seats()))")
    assert (found, bool(why)) == (users or [], users is None)


def test_who_was_asked_before_keeps_nobody_from_being_told(
    listen: Listen, bus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The bus that answers is there: the library has its threads by then.
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus)
    folder = listen("honest")
    said = run(
        "seated, folder, uid = seats(), *json.load(sys.stdin); "
        "failed = send([uid], [Told('killed', 1, uid, 'hog')], 0, folder, 20, 25); "
        "print(json.dumps([seated, failed, broadcast([Told('killed', 1, uid, 'hog')])]))",
        [folder, UID],
    )
    assert said == [[[], ""], [], ""]
    assert len(heard(folder, UID)) == 1
