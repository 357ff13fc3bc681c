"""``oomrules record`` and ``oomrules guard --replay``: what was, and what guards make of it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomrules.commands.main import main
from oomrules.guard import recording
from oomrules.service import client
from tests.children import CHECKOUT
from tests.commands.done import Done
from tests.commands.test_harmless import EVIL, harmless, on_terminal

Run = Callable[..., Done]
Write = Callable[..., Path]

GIB = 1 << 30


# --- record ---------------------------------------------------------------------------------------


def read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_recording_has_samples_and_a_list_and_is_its_owner_s(
    oomrules: Run, rules: Write, tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    rule = rules("kill when host.available < 1%\n")
    old = os.umask(0)
    try:
        done = oomrules("record", "-o", path, "--for", "1s", "--every", "0.1s", "--rules", rule)
    finally:
        os.umask(old)
    assert done.code == 0 and f"written to {path}" in done.err
    assert path.stat().st_mode & 0o777 == 0o600
    start, *lines = read(path)
    assert start["schema"] == recording.SCHEMA and start["every"] == 0.1
    kinds = [line["kind"] for line in lines]
    assert kinds.count("list") == 1 and "sample" in kinds
    (listed,) = (line for line in lines if line["kind"] == "list")
    assert all("cmdline" not in one and "exe" not in one for one in listed["candidates"])
    # What was written can be read, and in order.
    with path.open(encoding="utf-8") as file:
        assert len([*recording.read(file, "x")]) == len(lines) + 1


def test_without_any_guard_the_host_is_recorded_all_the_same(
    oomrules: Run, rules: Write, tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    done = oomrules("record", "-o", path, "--for", "1s", "--rules", rules("score rss\n"))
    assert done.code == 0
    lines = read(path)
    assert lines[-1]["host"]["available"] > 0
    (listed,) = (line for line in lines if line["kind"] == "list")
    assert listed["length"] >= len(listed["candidates"]) > 0


def test_snapshots_let_other_rules_rank(oomrules: Run, rules: Write, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    sparing = rules("score rss\nnever kill anything\n", "sparing.oom")
    assert (
        oomrules("record", "-o", path, "--for", "1s", "--snapshots", "--rules", sparing).code == 0
    )
    taking = rules("score rss\nkill when host.memory > 1MiB\n", "taking.oom")
    done = oomrules("guard", "--json", "--replay", path, "--rules", taking)
    assert done.code == 1 and done.data["reranked"] is True
    assert done.data["events"][0]["event"] in ("killed", "asked")
    again = oomrules("guard", "--json", "--replay", path, "--rules", sparing)
    assert again.code == 0 and again.data["events"] == []


def test_what_the_guard_of_the_service_does_meanwhile_is_recorded_once(
    oomrules: Run, rules: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def ask(word: str, timeout: float) -> dict[str, Any]:
        asked.append(time.monotonic())
        last = {"act": "killed", "pid": 7, "comm": "hog", "guard": "kill when x", "place": "a:1"}
        # A kill of before, and from the second question on one of just now.
        ago = time.monotonic() - asked[1] if asked[1:] else 3600.0
        return {"guard": {"last": {**last, "ago": ago}}}

    monkeypatch.setattr(client, "ask", ask)
    path, rule = tmp_path / "x.jsonl", rules("kill when host.available < 1%\n")
    done = oomrules("record", "-o", path, "--for", "3s", "--lists", "1s", "--rules", rule)
    assert done.code == 0 and len(asked) >= 2
    said = [line for line in read(path) if line["kind"] == "event" and line["event"] != "kernel"]
    assert [(one["comm"], one["event"], one["guard"]) for one in said] == [
        ("hog", "killed", "kill when x")
    ]
    shown = oomrules("guard", "--replay", path, "--rules", rule).out
    assert "killed" in shown and "hog (7)" in shown


def test_a_file_that_is_there_is_left_alone(oomrules: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("precious")
    done = oomrules("record", "-o", path, "--for", "1s")
    assert done.code == 2 and "is there already" in done.err
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    done = oomrules("record", "-o", tmp_path / "no" / "x", "--for", "1s")
    assert done.code == 2 and "no such file or directory" in done.err.lower()
    assert f"`mkdir -p -- {tmp_path}/no`" in done.err
    assert path.read_text() == "precious"


def test_the_file_stays_below_its_bound_and_every_line_is_whole(
    oomrules: Run, rules: Write, tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    rule = rules("warn when host.available < 1%\n")
    arguments = ("--most", "64KiB", "--every", "0.1s", "--lists", "1s", "--snapshots")
    done = oomrules("record", "-o", path, "--for", "1h", "--rules", rule, *arguments)
    assert done.code == 1 and "`--most SIZE`" in done.err
    assert path.stat().st_size <= 64 * 1024 and read(path)


def started(path: object, *more: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "oomrules", "record", "-o", str(path), *more]
    environment = {**os.environ, "PYTHONPATH": CHECKOUT}
    return subprocess.Popen(command, env=environment, **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_whole_lines(tmp_path: Path, number: int) -> None:
    path = tmp_path / "x.jsonl"
    with started(path, "--every", "0.1s", stderr=subprocess.PIPE) as child:
        until = time.monotonic() + 60
        while not path.exists() or path.stat().st_size < 1000:
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 0 and b"Traceback" not in said
    assert read(path)[0]["kind"] == "start"


def test_a_full_disk_is_said_and_what_is_there_is_whole(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk; the kernel cuts the write in the middle."""
    path = tmp_path / "x.jsonl"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    arguments = ("--every", "0.1s", "--lists", "1s", "--snapshots")
    with started(path, *arguments, stderr=subprocess.PIPE, preexec_fn=limited) as child:
        _, said = child.communicate(timeout=60)
    assert child.returncode == 2
    assert b"the recording has ended early" in said and b"each of them whole" in said
    assert read(path)


def test_a_reader_who_leaves_ends_it(tmp_path: Path) -> None:
    with started("-", "--every", "0.1s", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout and child.stderr
        assert b'"kind":"start"' in child.stdout.readline()
        child.stdout.close()
        said = child.stderr.read()
    assert child.returncode == 0 and b"Traceback" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-o", ""),
        ("-o", "x", "--for", "1"),
        ("-o", "x", "--for", "0s"),
        ("-o", "x", "--for", "forever"),
        ("-o", "x", "--every", "1ms"),
        ("-o", "x", "--every", "1MiB"),
        ("-o", "x", "--most", "1"),
        ("-o", "x", "--most", "1B"),
        ("-o", "x", "--most", "9999999999999999999PiB"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(
    oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = oomrules("record", *arguments)
    assert done.code == 2 and done.err and "mistake in oomrules" not in done.err
    assert not (tmp_path / "x").exists()


# --- replay ---------------------------------------------------------------------------------------


def start(every: float = 1.0) -> dict[str, Any]:
    time_ = "2026-03-01T10:00:00+01:00"
    return {"schema": recording.SCHEMA, "kind": "start", "at": 100.0, "time": time_, "every": every}


def sample(at: float, available: int, **more: Any) -> dict[str, Any]:
    host = {"memory": 16 * GIB, "available": available, "swap": 0, "swap_free": 0}
    return {"kind": "sample", "at": at, "host": host, **more}


def listed(at: float, *names: str, **more: Any) -> dict[str, Any]:
    candidates = [
        {"pid": 1000 + rank, "start": 5, "rank": rank, "comm": name, "held": GIB, **more}
        for rank, name in enumerate(names, 1)
    ]
    return {"kind": "list", "at": at, "length": len(names), "candidates": candidates}


@pytest.fixture
def replay(oomrules: Run, rules: Write, tmp_path: Path) -> Callable[..., Done]:
    """Replay lines with a rule."""

    def run(rule: str, *lines: dict[str, Any], more: tuple[str, ...] = ("--json",)) -> Done:
        path = tmp_path / "recording.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return oomrules("guard", "--replay", path, "--rules", rules(rule), *more)

    return run


def shortage() -> Iterator[dict[str, Any]]:
    """Give ten seconds in which memory runs out."""
    yield start()
    yield listed(100, "hog", "sshd")
    for second in range(10):
        yield sample(101 + second, (10 - second) * GIB)


def events(done: Done) -> list[tuple[str, str, float]]:
    return [(one["event"], one["comm"], one["after"]) for one in done.data["events"]]


def test_the_victim_and_the_time_are_those_of_the_guard(replay: Any) -> None:
    done = replay("kill when host.available < 5GiB\n", *shortage())
    assert done.code == 1 and done.data["schema"] == "oomrules.guard-replay/1"
    assert events(done)[:2] == [("killed", "hog", 7.0), ("ended", "hog", 8.0)]
    first = done.data["events"][0]
    assert first["time"] == "2026-03-01T10:00:07.000+01:00" and first["by"] == "replay"
    assert (first["rank"], first["expected"], first["available"]) == (1, GIB, 4 * GIB)


def test_what_happened_stands_beside_it(replay: Any) -> None:
    killed = {"kind": "event", "at": 109.5, "event": "kernel", "pid": 7, "comm": "innocent"}
    done = replay("kill when host.available < 5GiB\n", *shortage(), killed)
    assert [one["by"] for one in done.data["events"] if one["comm"] == "innocent"] == ["recording"]
    text = replay("kill when host.available < 5GiB\n", *shortage(), killed, more=()).out
    assert "would kill" in text and "kernel kill" in text and "innocent (7)" in text
    assert "the guards would have sent 2 signals" in text


def test_how_bad_it_became_is_said(replay: Any) -> None:
    lines = [start(), listed(100, "hog")]
    for second, full in enumerate((0, 0, 300_000, 300_000, 200_000)):
        line = sample(101 + second, (8 - second % 4) * GIB)
        line["host"]["full"] = full
        lines.append(line)
    done = replay("kill when host.available < 1MiB\n", *lines)
    page = (Path(CHECKOUT) / "docs" / "guard.md").read_text(encoding="utf-8")
    assert done.data["worst"] == {
        "available": 5 * GIB,
        "available_at": 104.0,
        "stall": 30.0,
        "stall_at": 103.0,
    }
    assert all(f"`{key}`" in page for key in (*done.data, *done.data["worst"]))
    text = replay("kill when host.available < 1MiB\n", *lines, more=()).out
    assert (
        "5.0 GiB available after 4.0 s; all tasks stalled for 30.0 % of the time after 3.0" in text
    )


def test_every_key_of_an_event_is_on_the_page(replay: Any) -> None:
    done = replay("kill when host.available < 5GiB\n", *shortage())
    page = (Path(CHECKOUT) / "docs" / "guard.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in page for key in done.data["events"][0])


def test_guards_that_do_nothing_end_with_0(replay: Any) -> None:
    done = replay("kill when host.available < 1MiB\n", *shortage(), more=())
    assert done.code == 0 and "the guards would have killed nobody" in done.out
    assert replay("warn when host.available < 5GiB\n", *shortage()).code == 0


def test_a_recording_at_long_intervals_is_no_gap(replay: Any) -> None:
    rule = "kill when host.available < 2GiB for 20s\n"
    slow = [start(10), listed(100, "hog"), *(sample(100 + 10 * n, GIB) for n in range(6))]
    assert events(replay(rule, *slow))[0] == ("killed", "hog", 20.0)
    # The same times where a sample was due each second: the machine was suspended.
    gaps = [start(1), listed(100, "hog"), *(sample(100 + 10 * n, GIB) for n in range(6))]
    assert events(replay(rule, *gaps)) == []


def test_a_guard_at_a_unit_takes_a_process_of_that_unit(replay: Any) -> None:
    unit = {"/user.slice/user-1.slice": {"memory": 5 * GIB}}
    lines = [start(), listed(100, "other", "mine")]
    lines[1]["candidates"][1]["cgroup"] = "/user.slice/user-1.slice/session-1.scope"
    lines += [sample(101 + n, 8 * GIB, units=unit) for n in range(3)]
    done = replay('in "user-*.slice": kill when scope.memory > 4GiB\n', *lines)
    assert events(done)[0] == ("killed", "mine", 1.0)
    assert done.data["events"][0]["unit"] == "user-1.slice"
    unseen = replay('in "build-*.slice": kill when scope.memory > 4GiB\n', *lines)
    assert unseen.code == 0 and len(unseen.data["unseen"]) == 1


def test_standard_input_is_a_recording_too(process: Run, rules: Write, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in shortage()))
    rule = rules("kill when host.available < 5GiB\n")
    with path.open() as file:
        done = process("guard", "--replay", "-", "--rules", rule, stdin=file)
    assert done.code == 1 and "hog (1001)" in done.out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "nonsense\n",
        "{}\n",
        "[]\n",
        '{"kind":"start"}\n',
        '{"kind":"sample","at":1,"host":{}}\n',
        "\0\0\0\n",
        "[" * 100_000 + "\n",
    ],
)
def test_what_is_no_recording_is_said_with_its_line(
    oomrules: Run, rules: Write, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    rule = rules("kill when host.available < 5GiB\n")
    done = oomrules("guard", "--replay", path, "--rules", rule)
    assert done.code == 2 and str(path) in done.err and "mistake in oomrules" not in done.err


def test_a_file_that_is_no_text_or_no_file_is_said(
    oomrules: Run, rules: Write, tmp_path: Path
) -> None:
    rule = rules("kill when host.available < 5GiB\n")
    path = tmp_path / "x"
    path.write_bytes(b"\xff\xfe\n")
    for wrong in (path, tmp_path, tmp_path / "nothing"):
        done = oomrules("guard", "--replay", wrong, "--rules", rule)
        assert done.code == 2 and "mistake in oomrules" not in done.err


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_damaged_recording_gives_an_answer_or_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    lines = [*shortage(), {"kind": "event", "at": 111, "event": "killed", "pid": 3, "comm": "x"}]
    line = data.draw(st.sampled_from(lines))
    where: Any = line
    if data.draw(st.booleans()):
        inner = line.get("host") or next(iter(line.get("candidates", [])), None)
        where = inner or line
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(VALUES)
    path, rule = tmp_path / "x.jsonl", tmp_path / "x.oom"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    rule.write_text("kill when host.available < 5GiB\nin user.slice: kill when scope.memory > 1B\n")
    code = main(["guard", "--replay", str(path), "--rules", str(rule)])
    said = capsys.readouterr().err
    assert code in (0, 1, 2) and "mistake in oomrules" not in said
    assert code != 2 or str(path) in said


def test_hostile_names_reach_no_terminal(rules: Write, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = [*shortage()]
    lines[0]["time"] = EVIL
    lines[1]["candidates"][0] |= {"comm": EVIL, "unit": EVIL, "cgroup": "/" + EVIL}
    happened = {"kind": "event", "at": 110, "event": EVIL, "pid": 3, "comm": EVIL}
    lines.append({**happened, "guard": EVIL, "unit": EVIL, "problem": EVIL})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rule = rules("kill when host.available < 5GiB\n")
    for more in ((), ("--json",)):
        code, said = on_terminal("guard", "--replay", path, "--rules", rule, *more)
        assert code == 1 and b"Traceback" not in said and harmless(said) == []
