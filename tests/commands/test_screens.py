"""What is to be seen on terminals, wide and narrow, of hosts with long and hostile names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules import terminal
from oomrules.commands.parts import acts
from tests.commands.emulator import Emulator, shown

Run = Callable[..., Any]
Write = Callable[..., Path]

# --- a host with containers, seen ----------------------------------------------------------------

HEX = "1a2b3c4d5e6f7081" * 4
GROUPS = (
    f"/system.slice/docker-{HEX}.scope",
    f"/system.slice/docker-{HEX[:-2]}9f.scope",
    "/system.slice/nginx.service",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.mozilla.firefox-3071.scope",
    "/system.slice/" + "漢字" * 30 + ".service",
    "/system.slice/bad\x1b[31m\u202e.scope",
)
COMMANDS = (
    "mysqld",
    "漢字漢字漢",
    "evil\x1b[31m\n",
    "",
    "e" + "\u0301" * 7,
    "👨\u200d👩",
    "☺\ufe0f",
)
RULES = """\
score rss
in system.slice {
  prefer anything by 3
  in "nginx.service": spare user "root" by 7
}
kill last uid 0 when unit.oom_score_adjust < 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded host with containers, wide and hostile names, and rules."""
    path = tmp_path_factory.mktemp("screens")
    lines: list[dict[str, Any]] = [
        {
            "kind": "host",
            "schema": "oomrules.snapshot/1",
            "page_size": 4096,
            "clock_ticks": 100,
            "uptime": 1e5,
            "mem_total": 2**33,
            "notes": ["exe of 3 processes could not be read\x1b[2J"],
        }
    ]
    for group in GROUPS:
        figures = dict.fromkeys(("memory", "memory_max", "memory_high", "swap"), 12345678)
        lines.append({"kind": "scope", "cgroup": group, "oom_kills": 3, **figures})
    for number in range(60):
        lines.append(
            {
                "kind": "process",
                "pid": 4194304 - number,
                "comm": COMMANDS[number % len(COMMANDS)],
                "uid": 1000 * (number % 2),
                "cgroup": GROUPS[number % len(GROUPS)],
                "total_vm": 10**6,
                "rss": 1000 * (number + 1) ** 2,
                "starttime": 100 + number,
                "flags": 0,
                "state": "S",
                **dict.fromkeys(("nice", "utime", "stime", "ppid"), 0),
                "threads": 1,
            }
        )
    (path / "host.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "rules.oom").write_text(RULES)
    return path


def seen(place: Path, command: str, wide: int) -> list[str]:
    """Give all lines of a command's output on a terminal that is high enough."""
    given = ("--snapshot", place / "host.jsonl", "--rules", place / "rules.oom")
    with Emulator(command, *given, columns=wide, lines=90) as terminal_:
        assert terminal_.to_the_end() == 0
        return terminal_.display


@pytest.mark.parametrize("wide", [80, 60, 40])
def test_rank_on_a_host_with_containers(place: Path, wide: int) -> None:
    heading, *lines = seen(place, "rank", wide)
    rows = lines[: lines.index("")]
    # One line a process, none of them wrapped, worst first.
    assert [row.split()[0] for row in rows] == [str(number) for number in range(1, 61)]
    assert all("iB" in row for row in rows)
    points = heading.index("POINTS") + len("POINTS")
    assert all(
        row[:points].split()[-1].replace(".", "").replace("e", "").isdecimal() for row in rows
    )
    assert any("''" in row for row in rows) and any("漢字漢字漢" in row for row in rows)
    if wide == 80:
        assert {"doc…81.scope", "doc…9f.scope"} <= {word for row in rows for word in row.split()}
        assert all(row[heading.index("WHY") :].strip() for row in rows)
        # The reason has room, and the name of a command is whole.
        assert 80 - heading.index("WHY") >= 20
        assert heading.index("WHY") - heading.index("COMMAND") > 10


@pytest.mark.parametrize("wide", [80, 60, 40])
def test_scopes_on_a_host_with_containers(place: Path, wide: int) -> None:
    heading, *lines = seen(place, "scopes", wide)
    rows = lines[: lines.index("")]
    assert heading.split()[:3] == ["UNIT", "MEMORY", "LIMIT"]
    assert len(rows) == len(GROUPS) + 6
    assert sum("11.8 MiB" in row for row in rows) == len(GROUPS)
    if wide >= 60:
        assert heading.split()[-2:] == ["CANDIDATES", "RULES"]
        assert sum("in system" in row for row in rows) == 6


def test_history_on_a_narrow_terminal() -> None:
    kill = {
        "time": "2026-11-26T12:34:56+00:00",
        "unit": f"docker-{HEX}.scope",
        "user_unit": "",
        "pid": 4194304,
        "comm": "漢字漢字漢",
        "uid": 70000,
        "rank": 1,
        "listed": 5000,
        "points": 1234567,
        "list_age": 0.4,
    }
    for wide in (40, 60, 80):
        heading, line = shown(acts.COLUMNS, [acts.row(kill)], wide)
        assert terminal.width(line) <= wide
        assert "4194304" in line and "漢字漢字漢" in line and "11-26 12:34" in line
        assert ("1 of 5000" in line) or wide == 40
        if wide == 80:
            assert "….scope" in line or "81.scope" in line
            assert "1234567" in line and "UNIT" in heading
        asked = shown(acts.COLUMNS, [acts.row(kill, acts.ASKED)], wide)[1]
        assert "漢" in asked and (", SIGTERM" in asked or wide == 40)


# --- the live one --------------------------------------------------------------------------------

_NAMED = """
import ctypes, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode("utf-8", "surrogateescape"), 0, 0, 0)
ballast = b"x" * (int(sys.argv[2]) << 20)
print(flush=True)
time.sleep(1000)
"""


@pytest.fixture
def crowd() -> Iterator[list[int]]:
    """Processes with the names of ``COMMANDS``, the later the smaller."""
    started = []
    for number in range(40):
        name, size = COMMANDS[number % len(COMMANDS)], str(40 - number)
        argv = [sys.executable, "-c", _NAMED, name, size]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE))
    try:
        for one in started:
            assert one.stdout is not None and one.stdout.readline()
        yield [one.pid for one in started]
    finally:
        for one in started:
            one.kill()
            one.communicate()


def listed(display: list[str]) -> list[int]:
    """The pids in the table, in their order."""
    return [int(words[1]) for line in display[2:] if (words := line.split())[1:] and _is_row(words)]


def _is_row(words: list[str]) -> bool:
    return words[0].isdecimal() and words[1].isdecimal()


def test_top_keeps_its_place_and_survives_what_is_typed(crowd: list[int], tmp_path: Path) -> None:
    rules = tmp_path / "rules.oom"
    # Theirs alone, so that the order is known.
    theirs = " or ".join(f"pid == {pid}" for pid in crowd)
    rules.write_text(f"score rss\nonly kill anything when {theirs}\n")
    with Emulator("top", "--rules", rules, "--interval", "0.2") as top:
        top.until(lambda display: crowd[3] in listed(display))
        assert all(word in top.display[1] for word in ("RSS", "POINTS", "COMMAND", "WHY"))
        # Something further down, so that there is something to scroll.
        top.type(b"\x1b[B" * 30)
        under = str(crowd[30])
        display = top.until(lambda display: display[-2].split()[:1] == [under])
        visible = listed(display)
        assert crowd[0] not in visible
        for _ in range(12):
            top.read(0.2)
        assert crowd[0] not in listed(top.display)
        assert set(visible) & set(listed(top.display))
        assert top.display[-2].split()[0] == under
        # What is no UTF-8, half a sequence, and more of the same.
        top.type(b"\xff\xfe\x80")
        top.type(b"\xf0\x9f")
        top.type(b"p")
        top.until(lambda display: len(listed(display)) > 5 and _ascends(listed(display)))
        assert top.display[-2].split()[0] == under
        top.resize(100, 30)
        top.until(lambda display: "Quit" in display[-1] and len(listed(display)) > 23)
        top.type(b"q")
        assert top.to_the_end() == 0
        assert b"Traceback" not in top.said


def _ascends(numbers: list[int]) -> bool:
    return numbers == sorted(numbers)


# --- what WHY, explain and the notes say ---------------------------------------------------------


def test_why_and_explain_name_the_block(place: Path, oomrules: Run) -> None:
    given = ("--snapshot", place / "host.jsonl", "--rules", place / "rules.oom")
    whys = {row.split()[1]: row for row in oomrules("rank", *given).out.splitlines()[1:61]}
    assert "x3 in system.slice: anything" in whys["4194304"]
    assert "/7? in …/nginx.service: user" not in whys["4194302"]
    assert "/7 in …/nginx.service: user" in whys["4194302"]
    said = oomrules("explain", 4194302, *given).out
    assert "x3  " in said and "in system.slice: prefer anything by 3" in said
    assert "in system.slice: in nginx.service: spare user" in said
    assert f"{place}/rules.oom:4" in said


def test_a_doubt_says_what_was_unknown_and_why(place: Path, oomrules: Run) -> None:
    given = ("--snapshot", place / "host.jsonl", "--rules", place / "rules.oom")
    done = oomrules("rank", *given)
    rows = {row.split()[1]: row for row in done.out.splitlines()[1:61]}
    # uid 0 in a unit of the system's; uid 1000; a unit of a user's own manager.
    assert "last?: uid 0" in rows["4194304"]
    assert "in doubt, because unit.oom_score_adjust is unknown" in rows["4194304"]
    assert "in doubt" not in rows["4194303"]
    note = next(line for line in done.err.splitlines() if "attributes that rules ask for" in line)
    assert "unit.oom_score_adjust (" in note
    assert "recorded without this property of the unit" in done.err
    assert "the recording has no names of users" in done.err
    assert "when the host was recorded: exe of 3 processes could not be read\ufffd" in done.err
    said = oomrules("explain", 4194304, *given).out
    assert "in doubt, because\n  unit.oom_score_adjust is unknown: recorded without" in said
    data = oomrules("rank", *given, "--format", "json").data
    doubts = {one["pid"]: one["doubts"] for one in data["candidates"]}
    assert doubts[4194304] == ["unit.oom_score_adjust"] and doubts[4194303] == []


def test_a_doubt_that_a_user_made_protects_nobody_and_is_said(
    oomrules: Run, tmp_path: Path, place: Path
) -> None:
    rules = tmp_path / "own.oom"
    rules.write_text('score rss\nnever kill anything when unit.description == "mine"\n')
    given = ("--snapshot", place / "host.jsonl", "--rules", rules)
    lines = oomrules("rank", *given).out.split("\n\n")[0].splitlines()
    rows = {row.split()[1]: row for row in lines}
    # Number 3 is in a unit of a user's own manager.
    assert "unit.description is its own doing, which protects no process" in rows["4194301"]
    protected = oomrules("rank", "--all", *given).out
    assert "never killed, in doubt, because unit.description is unknown" in protected


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("score anon\n", "with an unknown score"),
        ("score rss\nnever kill anything\n", "60 processes protected by a rule"),
        ("score rss / 1TiB\n", "60 processes with a score of 0 or less"),
    ],
)
def test_nobody_may_be_killed_for_the_true_reason(
    rules: str, said: str, oomrules: Run, place: Path, tmp_path: Path
) -> None:
    path = tmp_path / "nobody.oom"
    path.write_text(rules)
    done = oomrules("rank", "--snapshot", place / "host.jsonl", "--rules", path)
    assert done.code == 1 and said in done.err
    assert "is protected by a rule or has no points" not in done.err
    # No heading, and no empty line in its place.
    assert done.out.splitlines()[0].startswith("0 candidates")


def test_only_what_is_unknown_of_an_unknown_score_is_named(
    oomrules: Run, place: Path, tmp_path: Path
) -> None:
    path = tmp_path / "score.oom"
    path.write_text("score rss + swap / (nice - nice)\n")
    given = ("--snapshot", place / "host.jsonl", "--rules", path)
    said = oomrules("explain", 4194303, *given).out
    assert "its score is unknown, in doubt, because swap is unknown" in said
    path.write_text("score rss / (nice - nice)\n")
    said = oomrules("explain", 4194303, *given).out
    assert "its score is unknown, in doubt, because there is a division by 0" in said


# --- small things that commands say --------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"), [("rnak", "oomrules rank"), ("explian", "oomrules explain"), ("xyz", "")]
)
def test_a_command_that_there_is_not_has_its_neighbours(
    given: str, meant: str, oomrules: Run
) -> None:
    done = oomrules(given)
    assert done.code == 2 and f"there is no command `{given}`" in done.err
    assert (meant in done.err) if meant else ("did you mean" not in done.err)
    assert meant or "`oomrules --help` lists the commands" in done.err


def test_so_has_an_option(oomrules: Run) -> None:
    done = oomrules("rank", "--snapshoot=x")
    assert done.code == 2 and "did you mean --snapshot?" in done.err


def test_a_hook_for_a_service_that_there_is_not_says_so(oomrules: Run, tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/systemd/system"
    folder.mkdir(parents=True)
    (folder / "nginx.service").touch()
    (folder / "shop@.service").touch()
    for name in ("nginx.service", "shop@1.service"):
        done = oomrules("hook", "--install", name, "--root", tmp_path)
        assert done.code == 0 and "written" in done.out and done.err == ""
    done = oomrules("hook", "--install", "nignx.service", "--root", tmp_path)
    assert done.code == 0 and "there is no nignx.service here" in done.err
    assert "oomrules hook --remove nignx.service" in done.err


def test_a_directory_without_a_rule_file_is_not_passed_over_in_silence(
    oomrules: Run, tmp_path: Path
) -> None:
    assert "no rule file was found" in oomrules("check", tmp_path).out
    (tmp_path / "local.conf").write_text("never kill uid 0\n")
    done = oomrules("check", tmp_path)
    assert done.code == 1 and "OOM003" in done.out and "local.oom" in done.out
    assert "nothing to complain about" not in done.out
    (tmp_path / "50-own.oom").write_text("never kill uid 0\n")
    assert "OOM003" not in oomrules("check", tmp_path).out


def test_one_file_is_left_as_it_is(oomrules: Run, rules: Write) -> None:
    done = oomrules("fmt", rules("never kil\n"))
    assert done.code == 2 and "1 file has errors and is left unchanged" in done.err
