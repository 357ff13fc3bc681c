"""`oomrules fleet`: the answer over many hosts is that of a loop over each of them."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.commands.fleet import SCHEMA
from oomrules.processes import recorded
from tests.commands.done import Done
from tests.fleet import hosts

Run = Callable[..., Done]

OLD = 'score footprint\nprefer niced\nnever kill comm "sshd"\n'
NEW = OLD + 'never kill comm "postgres"\nkill last user "anna"\nprefer comm "cc1plus" by 4\n'


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve hosts, packed in each way."""
    folder = tmp_path_factory.mktemp("fleet")
    hosts.write(folder, 12, 20, hosts.mixed)
    return folder


@pytest.fixture
def rules(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "old.oom", tmp_path / "new.oom"
    for path, text in zip(paths, (OLD, NEW), strict=True):
        path.write_text(text)
    return paths


def lines(done: Done) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give the lines about hosts by name, and the summary."""
    head, *rest, summary = map(json.loads, done.out.splitlines())
    assert head["schema"] == SCHEMA and head["kind"] == "fleet" and summary["kind"] == "summary"
    assert {line["kind"] for line in rest} == {"host"} and len(rest) == head["hosts"]
    return sorted(rest, key=lambda line: str(line["host"])), summary


def plain(path: Path, folder: Path) -> Path:
    """Unpack a recording by the tools themselves."""
    text = path.read_bytes()
    if path.suffix == ".gz":
        import gzip

        text = gzip.decompress(text)
    if path.suffix == ".zst":
        import zstandard

        text = zstandard.ZstdDecompressor().decompress(text)
    unpacked = folder / "plain.jsonl"
    unpacked.write_bytes(text)
    return unpacked


def test_diff_over_200_hosts_is_a_loop_of_diff_byte_for_byte(
    oomrules: Run, rules: tuple[Path, Path], tmp_path: Path
) -> None:
    files = hosts.write(tmp_path / "many", 200, 20, hosts.mixed)
    asked = ("fleet", "diff", *rules, tmp_path / "many", "--details", "--format", "jsonl")
    done = oomrules(*asked, "--processes", 2)
    assert done.code == 1, done.err
    found, summary = lines(done)
    assert [line["host"] for line in found] == [str(path) for path in files]
    firsts = nobodies = protected = 0
    for path, line in zip(files, found, strict=True):
        snapshot = plain(path, tmp_path)
        alone = oomrules("diff", "--snapshot", snapshot, "--format", "json", *rules).data["host"]
        assert json.dumps(line["diff"]).encode() == json.dumps(alone).encode()
        ranks = [
            oomrules("rank", "--snapshot", snapshot, "--rules", one, "--format", "pids").out.split()
            for one in rules
        ]
        firsts += ranks[0][0][:1] != ranks[1][0][:1] if all(ranks) else ranks[0] != ranks[1]
        protected += any(one["what"] == "exclusion" for one in alone["changes"])
        nobodies += bool(ranks[0]) and not ranks[1]
    counted = summary["findings"]
    assert counted["protected"] == protected and counted.get("nobody", 0) == nobodies
    assert protected and counted["first"]


@pytest.mark.parametrize("by", ["program", "unit", "user"])
def test_rank_counts_what_rank_says_of_each_host(
    oomrules: Run, rules: tuple[Path, Path], fleet: Path, tmp_path: Path, by: str
) -> None:
    key = {"program": "comm", "unit": "unit", "user": "uid"}[by]
    expected: Counter[str] = Counter()
    for path in sorted(fleet.iterdir()):
        options = ("--rules", rules[0], "--format", "json")
        ranked = oomrules("rank", "--snapshot", plain(path, tmp_path), *options).data
        if ranked["candidates"]:
            value = ranked["candidates"][0][key]
            users = json.loads(plain(path, tmp_path).read_text().splitlines()[0])["users"]
            expected[users.get(str(value), str(value)) if by == "user" else value] += 1
    asked = ("fleet", "rank", fleet, "--rules", rules[0], "--by", by, "--processes", 1)
    _, summary = lines(oomrules(*asked, "--format", "jsonl"))
    assert {one[by]: one["hosts"] for one in summary["groups"]} == expected
    shown = oomrules(*asked)
    assert "12 hosts judged" in shown.out and by.upper() in shown.out


def test_processes_beside_one_another_answer_as_one(
    oomrules: Run, rules: tuple[Path, Path], fleet: Path
) -> None:
    def asked(*options: object) -> Any:
        return lines(oomrules("fleet", "diff", *rules, fleet, "--format", "jsonl", *options))

    assert asked("--processes", 1) == asked("--processes", 2)


def test_check_names_rules_about_nobody_on_any_host_and_no_other(
    oomrules: Run, fleet: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.oom"
    rules.write_text(
        "score footprint\n"
        'never kill comm "sshd"\n'
        'never kill comm "ssh*"\n'  # behind the one above, and about somebody all the same
        'kill last comm "nobody-has-this"\n'
        'in "no-such.service": prefer anything\n'
        "prefer uid 0\n"
        'kill whole "no-such-*.service"\n'
        'in "system.slice": kill whole "sshd.service"\n'
        'in "no-such.slice": kill when scope.memory > 1GiB\n'
        "kill when host.available < 1%\n"
    )
    asked = ("fleet", "check", fleet, "--rules", rules, "--processes", 1)
    found, summary = lines(oomrules(*asked, "--format", "jsonl", "--fail-on", "unused"))
    assert [one["place"] for one in summary["unused"]] == [
        f"{rules}:{line}" for line in (4, 5, 7, 9)
    ]
    assert all(0 <= one["free"] <= one["held"] for one in found)
    done = oomrules(*asked)
    assert done.code == 1 and f"about nobody on any host: {rules}:4" in done.out
    assert oomrules(*asked, "--fail-on", "none").code == 0
    nothing = tmp_path / "nothing.oom"
    nothing.write_text("score footprint\nnever kill anything\n")
    done = oomrules("fleet", "check", fleet, "--rules", nothing, "--processes", 1)
    assert "nobody may be killed on 12 hosts, such as" in done.out


def test_expectations_hold_fail_or_are_about_nobody(
    oomrules: Run, rules: tuple[Path, Path], fleet: Path, tmp_path: Path
) -> None:
    expected = tmp_path / "expected.toml"

    def write(*expectations: tuple[str, str]) -> None:
        tables = (
            f"[[expect]]\nname = 'number {number}'\nwho = '{who}'\nis = '{wanted}'\n"
            for number, (who, wanted) in enumerate(expectations)
        )
        expected.write_text("".join(tables))

    def tested(*options: object) -> Done:
        paths = (expected, fleet, "--rules", rules[1], "--processes", 1)
        return oomrules("fleet", "test", *paths, *options)

    write(('comm "sshd"', "protected"), ('comm "sshd"', "not first"))
    done = tested()
    assert done.code == 0, done.out + done.err
    assert done.out.count("holds on") == 2
    write(('comm "sshd"', "candidate"), ('comm "nobody-has-this"', "protected"))
    done = tested()
    assert done.code == 1
    assert re.search(r"failed on \d+ hosts: number 0", done.out)
    assert re.search(r"host\d+@.*: sshd \(\d+\) is no candidate", done.out)
    assert "about nobody on any host: number 1" in done.out
    write(('comm "nobody-has-this"', "present"))
    assert "failed on 12 hosts" in tested().out
    write(('comn "sshd"', "protected"))
    done = tested()
    assert done.code == 2 and "OOM" in done.err and "comn" in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "tables [[expect]]"),
        ("x = 1\n", "tables [[expect]]"),
        ("[[expect]]\nname = 'a'\nwho = 'niced'\n", "`is` is missing"),
        ("[[expect]]\nname = 'a'\nwho = 'niced'\nis = 'x'\n", "`is` is one of"),
        (
            "[[expect]]\nname = 'a'\nwho = \"niced\\nnever kill anything\"\nis = 'first'\n",
            "one line",
        ),
        ("[[expect]]\nname = 1\nwho = 'niced'\nis = 'first'\n", "each a text"),
    ],
)
def test_a_mistake_in_the_expectations_is_named(
    oomrules: Run, fleet: Path, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "expected.toml"
    path.write_text(text)
    done = oomrules("fleet", "test", path, fleet)
    assert done.code == 2 and said in done.err and str(path) in done.err


def test_a_bad_recording_is_counted_and_named_and_ends_nothing(
    oomrules: Run, rules: tuple[Path, Path], fleet: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(fleet, folder)
    bad = folder / "bad.jsonl"
    bad.write_text("no recording\n")
    done = oomrules("fleet", "rank", folder, "--rules", rules[0], "--processes", 1)
    assert done.code == 1
    assert "12 hosts judged, 1 recording not judged" in done.out
    assert f"not judged: {bad}:1: this is no JSON" in done.err
    asked = ("fleet", "rank", folder, "--rules", rules[0], "--processes", 1)
    assert oomrules(*asked, "--fail-on", "nobody").code == 0
    assert oomrules("fleet", "rank", bad, "--rules", rules[0]).code == 2


def test_what_is_missing_or_wrong_is_said_with_what_to_write(
    oomrules: Run, rules: tuple[Path, Path], fleet: Path, tmp_path: Path
) -> None:
    done = oomrules("fleet", "diff", *rules)
    assert done.code == 2 and "`oomrules fleet diff OLD NEW HOSTS…`" in done.err
    (tmp_path / "empty").mkdir()
    assert "there is no recording" in oomrules("fleet", "rank", tmp_path / "empty").err
    done = oomrules("fleet", "rank", fleet, "--fail-on", "first")
    assert done.code == 2 and "nobody,bad" in done.err
    assert oomrules("fleet", "diff", *rules, fleet, "--rules", rules[0]).code == 2
    done = oomrules("fleet", "rank", fleet, "--scheduler", "tcp://127.0.0.1:1", "--processes", "2")
    assert done.code == 2 and "tcp://127.0.0.1:1" in done.err


def test_only_the_last_recording_of_a_host_counts_if_asked(
    oomrules: Run, rules: tuple[Path, Path], fleet: Path, tmp_path: Path
) -> None:
    one = sorted(fleet.iterdir())[0]
    for time in ("20260101T000000Z", "20261231T000000Z"):
        shutil.copy(one, tmp_path / f"a@{time}.jsonl")
    asked = ("fleet", "rank", tmp_path, "--rules", rules[0], "--processes", 1, "--format", "jsonl")
    assert len(lines(oomrules(*asked))[0]) == 2
    (line,) = lines(oomrules(*asked, "--latest"))[0]
    assert line["host"].endswith("a@20261231T000000Z.jsonl")
    assert recorded.load(line["host"]).by_pid
