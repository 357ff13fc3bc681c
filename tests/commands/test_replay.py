"""``oomrules replay``: from a log of any form to an answer, or to a way to get one."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.report import reasons
from tests.commands.done import DATA, Done
from tests.commands.replays import TABLE
from tests.commands.test_harmless import EVIL, harmless, on_terminal

Run = Callable[..., Done]
Write = Callable[[str], Path]

REPORTS = DATA / "oom-reports" / "raw"
INDEX = [
    json.loads(line)
    for line in (DATA / "oom-reports" / "index.jsonl").read_text(encoding="utf-8").splitlines()
]
PRESET = ("--rules", "rules.d", "--rules", "rules.d/presets/server.oom")

FOOTPRINT = "score footprint\n"


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """Write a log."""

    def write(text: str | bytes, name: str = "kern.log") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def words(text: str) -> str:
    """Return a text in one line."""
    return " ".join(text.split())


# --- the answer -----------------------------------------------------------------------------------


def test_a_report_that_the_rules_agree_with_ends_with_0(
    oomrules: Run, rules: Write, log: Any
) -> None:
    done = oomrules("replay", log(TABLE.format(name="hog")), "--rules", rules(FOOTPRINT))
    assert (done.code, done.err) == (0, "")
    said = words(done.out)
    assert "hog (10), uid 1000, held 1.1 GiB of RAM in x.service" in said
    assert "the whole host" in said and "no swap" in said
    assert "would have taken the same" in said


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('never kill comm "hog"\n', "another: small (20)"),
        ("never kill anything\n", "nobody"),
        (
            'never kill unit "db.service"\n',
            "open between hog (10), small (20), sshd (30) and nobody",
        ),
    ],
)
def test_every_other_answer_ends_with_1(
    text: str, answer: str, oomrules: Run, rules: Write, log: Any
) -> None:
    path = log(TABLE.format(name="hog").replace(",task_memcg=/system.slice/x.service", ""))
    done = oomrules("replay", path, "--rules", rules(FOOTPRINT + text))
    assert done.code == 1 and answer in words(done.out)


def test_the_rule_that_decided_is_named_with_its_place(
    oomrules: Run, rules: Write, log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rules(FOOTPRINT + 'kill first comm "small"\n')
    done = oomrules("replay", log(TABLE.format(name="hog")), "--rules", "x.oom")
    assert done.code == 1
    assert "small (20), by `kill first comm small` (x.oom:2)" in words(done.out).replace('"', "")


def test_what_is_assumed_is_marked(oomrules: Run, rules: Write, log: Any) -> None:
    path, own = log(TABLE.format(name="hog")), rules(FOOTPRINT + "spare anything when nice < 0\n")
    assert oomrules("replay", path, "--rules", own).code == 1
    done = oomrules("replay", path, "--rules", own, "--assume")
    assert done.code == 0
    assert "if it is as assumed" in words(done.out) and "assumed: nice of 3" in words(done.out)
    data = oomrules("replay", path, "--rules", own, "--assume", "--format", "json").data
    assert data["assumed"] == [{"attribute": "nice", "processes": 3, "value": "0"}]
    data = oomrules("replay", path, "--rules", "rules.d", "--assume", "--format", "json").data
    said = {one["attribute"]: one["value"] for one in data["assumed"]}
    assert all(said.values())
    assert (said["capabilities"], said["euid"]) == ("all for uid 0, none for others", "uid")


def test_a_recorded_host_tells_what_the_report_does_not(
    oomrules: Run, rules: Write, log: Any, tmp_path: Path
) -> None:
    path = log(TABLE.format(name="hog"))
    own = rules(FOOTPRINT + "never kill anything when nice < 0\n")
    assert "open between" in oomrules("replay", path, "--rules", own).out
    host = tmp_path / "host.jsonl"
    lines = oomrules("replay", path, "--as-snapshot").out.splitlines()
    told = [json.loads(line) for line in lines]
    for line in told:
        if line["kind"] == "process":
            line["nice"] = -5 if line["pid"] == 10 else 0
    host.write_text("".join(json.dumps(line) + "\n" for line in told))
    done = oomrules("replay", path, "--rules", own, "--snapshot", host)
    assert done.code == 1
    assert "would have taken another: small (20)" in words(done.out)
    assert "of 3 processes more is known, by" in words(done.out)
    # A pid that another process has by now tells nothing.
    for line in told:
        if line.get("comm") == "hog":
            line["comm"] = "other"
    host.write_text("".join(json.dumps(line) + "\n" for line in told))
    done = oomrules("replay", path, "--rules", own, "--snapshot", host)
    assert "open between hog (10) and small (20)" in words(done.out)
    told_so = oomrules("replay", path, "--rules", own, "--snapshot", host, "--format", "json")
    assert "1 process there had the same pid and another name or user" in told_so.data["notes"]


def test_with_the_measure_of_2_6_10_memory_held_answers_as_well(oomrules: Run, log: Any) -> None:
    done = oomrules("replay", log(TABLE.format(name="hog")), "--rules", "rules.d")
    said = words(done.out)
    assert done.code == 1
    assert "by your score: open between" in said
    assert "by memory held: " in said


def test_json_has_the_keys_of_its_page_and_the_page_those_of_the_json(
    oomrules: Run, rules: Write, log: Any
) -> None:
    path = log(TABLE.format(name="hog"))
    own = rules(FOOTPRINT + "never kill anything when nice < 0\n")
    data = oomrules("replay", path, "--rules", own, "--format", "json").data
    page = Path("docs/replay.md").read_text(encoding="utf-8")
    table = page.partition("## JSON")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", table, re.M)
    named = [key for heads, _ in rows for key in re.findall(r"`(\w+)`", heads)]
    assert named == list(data)
    for key, value in data.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            (text,) = (words for heads, words in rows if f"`{key}`" in heads)
            for name in inner:
                assert f"`{name}`" in text or key in ("killed", "choice"), (key, name)
    assert data["schema"] == "oomrules.replay/1"
    assert data["choice"]["result"] == "reproduced"
    assert [one["pid"] for one in data["choice"]["first"]] == [10, 20]
    assert data["rules"]["result"] == "open" and not data["rules"]["agrees"]
    assert data["table"]["rows"] == 3 and data["table"]["complete"]


def test_the_total_the_version_and_the_page_size_may_be_said(
    oomrules: Run, rules: Write, log: Any
) -> None:
    path, own = log(TABLE.format(name="hog")), rules(FOOTPRINT)
    said = ("--total", "3GiB", "--page-size", "4KiB", "--linux", "4.4")
    data = oomrules("replay", path, "--rules", own, *said, "--format", "json").data
    assert data["total"]["least"] == data["total"]["most"] == 3 << 18
    assert data["formula"]["page_size"] == 4096
    assert data["formula"]["generation"] == "3.14"


# --- which report ---------------------------------------------------------------------------------


@pytest.fixture
def three(log: Callable[..., Path]) -> Path:
    """A log with three reports."""
    return log("".join(TABLE.format(name=f"hog{number}") for number in range(3)))


def test_the_last_report_is_taken_unless_another_one_is_asked_for(
    oomrules: Run, rules: Write, three: Path
) -> None:
    own = rules(FOOTPRINT)
    last = oomrules("replay", three, "--rules", own)
    assert "report 3 of 3" in last.out and "hog2 (10)" in last.out
    first = oomrules("replay", three, "--rules", own, "--number", 1)
    assert "report 1 of 3" in first.out and "hog0 (10)" in first.out
    both = oomrules("replay", three, "--rules", own, "--all")
    assert [f"hog{n} (10)" in both.out for n in range(4)] == [True, True, True, False]
    lost = oomrules("replay", three, "--rules", own, "--number", 4)
    assert lost.code == 2 and "has 3 reports, and no number 4" in lost.err and "--list" in lost.err


def test_a_list_has_a_line_for_each_and_needs_no_rules(oomrules: Run, three: Path) -> None:
    done = oomrules("replay", three, "--list", "--rules", "/nowhere")
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 4
    for number, line in enumerate(lines[1:]):
        assert re.match(rf"^ *{number + 1} .* 10 +hog{number} .*reproduced", line)


def test_as_json_all_of_them_are_one_object_a_line(
    oomrules: Run, rules: Write, three: Path
) -> None:
    done = oomrules("replay", three, "--rules", rules(FOOTPRINT), "--all", "--format", "json")
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [one["number"] for one in found] == [1, 2, 3]
    assert all(one["schema"] == "oomrules.replay/1" for one in found)


def test_a_report_comes_from_standard_input_too(process: Run, three: Path, rules: Write) -> None:
    with three.open("rb") as stream:
        done = process("replay", "-", "--rules", rules(FOOTPRINT), stdin=stream)
    assert done.code == 0 and "report 3 of 3" in done.out


def test_a_report_makes_a_host_that_rank_reads(
    oomrules: Run, three: Path, rules: Write, tmp_path: Path
) -> None:
    path = tmp_path / "host.jsonl"
    made = oomrules("replay", three, "--as-snapshot", "-o", path)
    assert made.code == 0 and "written to" in made.err and made.out == ""
    assert path.stat().st_mode & 0o777 == 0o600
    own = rules("score rss\n")
    done = oomrules("rank", "--snapshot", path, "--rules", own, "--format", "pids")
    assert done.out.split()[0] == "10"
    printed = oomrules("replay", three, "--as-snapshot")
    assert printed.out == path.read_text()


@pytest.mark.parametrize("more", [(), ("--total", "3GiB", "--linux", "5.15")])
def test_what_is_proposed_works_when_it_is_pasted(
    more: tuple[str, ...], oomrules: Run, rules: Write, three: Path
) -> None:
    own = rules(FOOTPRINT + "spare anything with RAWIO\n")
    done = oomrules("replay", three, "--rules", own, "--number", 2, *more)
    proposed = [line[9:] for line in done.out.splitlines() if line[9:].startswith("oomrules ")]
    assert len(proposed) == 1
    again = oomrules(*shlex.split(proposed[0], comments=True)[1:])
    assert (again.code, again.err) == (0, "")
    assert "report 2 of 3" in again.out and "if it is as assumed" in words(again.out)
    assert ("total 3.0 GiB" in again.out) == bool(more)
    assert "a recording of that host, by `oomrules snapshot`, tells more" in words(done.out)


def test_what_was_on_standard_input_is_not_proposed_as_a_command(
    process: Run, three: Path, rules: Write
) -> None:
    with three.open("rb") as stream:
        own = rules(FOOTPRINT + "spare anything with RAWIO\n")
        done = process("replay", "-", "--rules", own, stdin=stream)
    assert "the same with --assume: as ordinary processes have it" in words(done.out)
    assert "oomrules replay -" not in done.out


def test_a_list_is_in_the_order_in_which_reports_begin(
    oomrules: Run, rules: Write, log: Any
) -> None:
    def of(host: str, start: int) -> list[str]:
        lines = TABLE.format(name=f"hog-{host}").splitlines()
        before = f"May  9 14:52:{start:02d} {host} kernel: "
        return [before + line for line in lines]

    slow, fast = of("slow", 10), of("fast", 20)
    other = "May  9 14:52:59 {} kernel: [  900.000000] Linux version 6.1.0"
    # One ends while the other, which began first, goes on.
    path = log("\n".join([*slow[:9], *fast, other.format("fast"), *slow[9:], ""]))
    lines = oomrules("replay", path, "--list").out.splitlines()[1:]
    assert [re.findall(r"^ *\d+|hog-\w+", line) for line in lines] == [
        [" 1", "hog-slow"],
        [" 2", "hog-fast"],
    ]
    one = oomrules("replay", path, "--number", 2, "--rules", rules(FOOTPRINT))
    assert "hog-fast (10)" in one.out


# --- no report ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why", "way"),
    [
        ("", "is empty", "journalctl -k"),
        ("Nov 27 03:00:00 db sshd[1]: hello\n", "no OOM report", "journalctl -k"),
        (
            "Nov 27 03:00:00 db systemd-oomd[77]: Killed /user.slice/x.scope due to memory pressure"
            " for /user.slice being 70.18% > 50.00% for > 20s with reclaim activity\n",
            "is of systemd-oomd, which kills by itself",
            "journalctl -u systemd-oomd",
        ),
        (
            'earlyoom[9]: sending SIGTERM to process 5 uid 1000 "chrome": badness 900\n',
            "is of earlyoom",
            "oomrules import /etc/default/earlyoom",
        ),
        (
            "Nov 27 03:00:00 db systemd[1]: x.service: Failed with result 'oom-kill'.\n",
            "systemd's, which says that a process was killed, and not why",
            "journalctl -k",
        ),
    ],
)
def test_a_text_without_a_report_says_what_it_is_and_how_to_get_one(
    text: str, why: str, way: str, oomrules: Run, log: Any
) -> None:
    path = log(text)
    for option in ((), ("--all",), ("--list",), ("--as-snapshot",)):
        done = oomrules("replay", path, "--rules", "rules.d", *option)
        assert (done.code, done.out) == (2, "")
        assert why in done.err and way in done.err and str(path) in done.err


def test_what_grep_left_of_a_report_is_said_and_how_to_get_the_rest(
    oomrules: Run, rules: Write, log: Any
) -> None:
    path = log(TABLE.format(name="hog").splitlines()[-1])
    done = oomrules("replay", path, "--rules", rules(FOOTPRINT))
    said = words(done.out)
    assert done.code == 1
    assert "hog (10)" in said and "journalctl -k" in said and "vm.oom_dump_tasks=1" in said
    made = oomrules("replay", path, "--as-snapshot")
    assert made.code == 2 and "no table of tasks" in made.err


@pytest.mark.parametrize("name", ["nowhere", "directory", "closed", "binary", "evil\x1b[2J"])
def test_a_file_that_cannot_be_read_is_named_with_a_way_on(
    name: str, oomrules: Run, tmp_path: Path, log: Any
) -> None:
    path = tmp_path / name
    if name == "directory":
        path.mkdir()
    elif name == "binary":
        path.write_bytes(os.urandom(100_000))
    elif name == "closed":
        # Root may read it; then it is an empty one.
        path.touch(0)
    done = oomrules("replay", path, "--rules", "rules.d")
    assert (done.code, done.out) == (2, "")
    first, *rest = done.err.splitlines()
    assert first.isprintable() and rest


@pytest.mark.parametrize(
    "options",
    [
        ("FILE", "--boot", "-1"),
        ("FILE", "--since", "today"),
        ("FILE", "-o", "x"),
        ("FILE", "--as-snapshot", "--all"),
        ("FILE", "--number", "0"),
        ("FILE", "--list", "--all"),
        ("FILE", "--page-size", "5KiB"),
        ("FILE", "--total", "-1"),
        ("FILE", "--snapshot", "x", "--live"),
        ("",),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: tuple[str, ...], oomrules: Run, three: Path
) -> None:
    given = [str(three) if one == "FILE" else one for one in options]
    done = oomrules("replay", *given)
    assert (done.code, done.out) == (2, "") and done.err


# --- reasons --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", reasons.REASONS)
def test_every_reason_has_a_page(code: str, oomrules: Run) -> None:
    done = oomrules("replay", "--explain", code.lower())
    assert done.code == 0 and done.out.startswith(f"# {code}")


def test_a_reason_that_there_is_not_is_said_with_one_like_it(oomrules: Run) -> None:
    done = oomrules("replay", "--explain", "RPL1010")
    assert done.code == 2 and "did you mean RPL101?" in done.err


# --- hostile names, and every report that there is ------------------------------------------------


def test_names_reach_a_terminal_as_text(log: Any) -> None:
    path = log(TABLE.replace("{name}", EVIL[:12]))
    for options in ((), ("--list",), ("--format", "json")):
        code, said = on_terminal("replay", path, *PRESET, *options)
        assert code in (0, 1) and harmless(said) == []


@pytest.mark.parametrize("one", INDEX, ids=lambda one: str(one["id"]))
def test_every_published_report_is_answered_on_one_screen(
    one: dict[str, Any], oomrules: Run, rules: Write
) -> None:
    path = DATA / "oom-reports" / one["file"]
    own = rules(FOOTPRINT + 'never kill unit "db.service"\nspare anything when nice < 0\n')
    done = oomrules("replay", path, "--rules", own)
    assert done.code in (0, 1) and done.err == ""
    lines = done.out.splitlines()
    assert len(lines) <= 24
    assert f"({one['victim_pid']})" in done.out
    for line in lines:
        assert len(line) <= 80 or "oomrules replay " in line


def test_a_log_may_be_compressed(oomrules: Run, rules: Write, log: Any) -> None:
    path = log(gzip.compress(TABLE.format(name="hog").encode()), "kern.log.1.gz")
    assert oomrules("replay", path, "--rules", rules(FOOTPRINT)).code == 0
