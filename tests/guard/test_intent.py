"""What is written down before a signal is found again, whatever becomes of the writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomrules.guard.intent import Intent, left
from oomrules.guard.model import Armed, Candidate, Sample
from oomrules.kills import guarded
from oomrules.program.program import Guard
from tests.children import CHECKOUT

GUARD = Guard("kill", ["true"], "/etc/oomrules.d/60-guard.oom:3", "kill when host.available < 5%")
ARMED = Armed(guard=GUARD, number=0)
SAMPLE = Sample(at=1.0, host={"memory": 1 << 30, "available": 1 << 25}, units={})
HOG = Candidate(
    pid=4711, start=99, rank=1, points=30, uid=1000, comm="hog", unit="x.service", held=7
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "guard.intent")


def test_what_was_written_down_and_not_recorded_is_found_at_the_next_start(path: str) -> None:
    intent = Intent(path)
    assert intent.problem == ""
    intent.note("kill", HOG, ARMED, SAMPLE, listed=212, age=0.5)
    intent.close()
    (noted,) = Intent(path).left
    act = noted.act
    assert (act.pid, act.comm, act.unit, act.listed, act.expected) == (
        4711,
        "hog",
        "x.service",
        212,
        7,
    )
    assert act.host["available"] == 1 << 25
    said = guarded.sentence(act)
    assert "`hog` (4711) of x.service" in said
    assert "`kill when host.available < 5%` (60-guard.oom:3)" in said


def test_what_is_in_the_journal_is_left_to_nobody(path: str) -> None:
    intent = Intent(path)
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.recorded(HOG, "kill")
    intent.close()
    assert Intent(path).left == ()


def test_a_note_that_comes_while_the_one_before_is_recorded_stays(path: str) -> None:
    intent = Intent(path)
    other = HOG._replace(pid=5)
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.note("kill", other, ARMED, SAMPLE)
    intent.recorded(HOG, "kill")
    intent.close()
    assert [noted.act.pid for noted in left(path)] == [5]


def test_a_signal_after_the_first_one_is_written_down_by_itself(path: str) -> None:
    intent = Intent(path)
    intent.note("terminate", HOG, ARMED, SAMPLE)
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.recorded(HOG, "terminate")
    intent.close()
    assert [noted.action for noted in left(path)] == ["kill"]


def test_a_candidate_that_could_not_be_signalled_is_taken_back(path: str) -> None:
    intent = Intent(path)
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.withdraw()
    intent.close()
    assert left(path) == ()


def test_in_a_dry_run_no_signal_follows_so_nothing_is_written_down(path: str) -> None:
    intent = Intent(path)
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.dry = True
    intent.note("kill", HOG._replace(pid=5), ARMED, SAMPLE)
    intent.withdraw()
    intent.close()
    assert [noted.act.pid for noted in left(path)] == [4711]


def test_it_is_settled_once(path: str) -> None:
    intent = Intent(path)
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.close()
    assert len(left(path)) == 1
    assert left(path) == ()
    # And a service that starts after that has nothing left either, and goes on.
    intent = Intent(path)
    assert intent.left == ()
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.close()
    assert len(left(path)) == 1


@given(
    text=st.text(max_size=3000),
    count=st.integers(0, 40),
    recorded=st.integers(0, 40),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_any_names_and_any_number_of_notes_are_held(
    path: str, text: str, count: int, recorded: int
) -> None:
    Path(path).unlink(missing_ok=True)
    intent = Intent(path)
    armed = ARMED._replace(guard=GUARD._replace(text=text, place=f"{text}:3"), name=text)
    for pid in range(1, count + 1):
        victim = HOG._replace(pid=pid, comm=text, unit=text, cgroup=text, manager=text)
        intent.note("kill", victim, armed, SAMPLE)
        if pid <= recorded:
            intent.recorded(victim, "kill")
    size = os.path.getsize(path)
    intent.close()
    # The oldest give way to the newest; the file never grows.
    expected = [pid for pid in range(1, count + 1) if pid > max(recorded, count - 8)]
    assert [noted.act.pid for noted in left(path)] == expected
    assert size == os.path.getsize(path)


@given(data=st.binary(max_size=64), at=st.integers(0, 20480), cut=st.integers(0, 20480))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_damaged_file_counts_as_none_or_says_what_was_written(
    path: str, data: bytes, at: int, cut: int
) -> None:
    Path(path).unlink(missing_ok=True)
    intent = Intent(path)
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.close()
    content = Path(path).read_bytes()
    Path(path).write_bytes((content[:at] + data + content[at + len(data) :])[: cut or None])
    intent = Intent(path)
    assert intent.problem == ""
    assert [noted.act.pid for noted in intent.left] in ([], [4711])
    intent.note("kill", HOG._replace(pid=8), ARMED, SAMPLE)
    intent.close()
    assert [noted.act.pid for noted in left(path)][-1] == 8


def test_what_was_written_before_the_boot_is_no_more(path: str) -> None:
    intent = Intent(path)
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.close()
    content = bytearray(Path(path).read_bytes())
    content[20:56] = b"00000000-0000-0000-0000-000000000000"
    Path(path).write_bytes(content)
    assert left(path) == ()


def test_a_service_that_is_killed_after_the_note_has_written_it(path: str) -> None:
    code = (
        "import sys, time; from tests.guard.test_intent import *; "
        "intent = Intent(sys.argv[1]); intent.note('kill', HOG, ARMED, SAMPLE); "
        "print('noted', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, path], cwd=CHECKOUT, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout and child.stdout.readline() == b"noted\n"
        # As long as it lives, what it writes down is its own business.
        assert left(path) == ()
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert [noted.act.pid for noted in left(path)] == [4711]


def test_without_room_the_guard_goes_on_and_it_is_said(tmp_path: Path) -> None:
    intent = Intent(str(tmp_path / "nowhere" / "guard.intent"))
    assert "the guards act all the same" in intent.problem
    intent.note("kill", HOG, ARMED, SAMPLE)
    intent.withdraw()
    intent.recorded(HOG, "kill")
    intent.settle()
    intent.close()


def test_a_full_file_system_is_found_at_the_start(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, start: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    intent = Intent(path)
    assert "no space left on device" in intent.problem
    intent.note("kill", HOG, ARMED, SAMPLE)


def test_only_its_owner_can_read_it(path: str) -> None:
    intent = Intent(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    intent.close()
    Path(path).chmod(0o666)
    intent = Intent(path)
    assert (intent.problem, os.stat(path).st_mode & 0o777) == ("", 0o600)


def test_a_link_in_its_place_is_not_followed(path: str, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    Path(path).symlink_to(target)
    intent = Intent(path)
    intent.note("kill", HOG, ARMED, SAMPLE)
    assert target.read_text() == "mine" and not Path(path).is_symlink()
