"""``oomrules import``: from another tool's settings to a rule file that can be used as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.commands import import_
from oomrules.importing import recognition

Run = Callable[..., Any]


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_formats_are_those_that_there_are() -> None:
    assert set(import_.FORMATS) == set(recognition.FORMATS)


def test_a_command_line_becomes_a_file_that_check_and_fmt_accept(
    oomrules: Run, tmp_path: Path
) -> None:
    path = tmp_path / "50-earlyoom.oom"
    arguments = ("-m", "5", "--prefer", "^(a|b)$", "--sort-by-rss", "--ignore-root-user")
    done = oomrules("import", "-o", path, "earlyoom", "--", *arguments)
    assert (done.code, done.out) == (0, "")
    assert "4 settings said in rules, 0 in comments" in done.err
    said = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    assert said == [
        'kill first anything when comm ~ "^(a|b)$"',
        "score rss",
        "never kill uid 0",
        "terminate when host.available <= 5% and (host.swap == 0B or host.swap_free <= 10%)",
        "kill when host.available <= 2.5% and (host.swap == 0B or host.swap_free <= 5%)",
    ]
    assert oomrules("check", path).code == 0
    assert oomrules("fmt", "--check", path).code == 0


def test_files_are_told_apart_and_standard_input_is_read(
    oomrules: Run, process: Run, tmp_path: Path
) -> None:
    first = put(tmp_path / "nohang.conf", "@BADNESS_ADJ_RE_NAME -100 /// ^a$\n")
    second = put(tmp_path / "x.service", "[Service]\nOOMScoreAdjust=100\n")
    done = oomrules("import", first, second)
    assert 'spare comm "a" by 1.176\n' in done.out
    # The measure of nohang counts it.
    assert '"x.service"' not in done.out and "x.service:2: OOMScoreAdjust=100" in done.out
    done = process("import", "-", "--format", "earlyoom", input="EARLYOOM_ARGS=--sort-by-rss\n")
    assert "\nscore rss\n" in done.out and "# -:1: --sort-by-rss\n" in done.out


def test_units_of_another_system_are_read_below_its_root(oomrules: Run, tmp_path: Path) -> None:
    put(tmp_path / "etc/systemd/system/x.service", "[Service]\nOOMScoreAdjust=-1000\n")
    put(tmp_path / "etc/default/earlyoom", "EARLYOOM_ARGS=--sort-by-rss\n")
    named = tmp_path / "etc/default/earlyoom"
    done = oomrules("import", "--units", named, "--root", tmp_path)
    assert 'never kill unit "x.service"\n' in done.out and "\nscore rss\n" in done.out


def test_a_link_does_not_lead_out_of_the_root(oomrules: Run, tmp_path: Path) -> None:
    secret = put(tmp_path / "secret", "[Service]\nOOMScoreAdjust=100\n")
    (tmp_path / "root/etc/systemd/system").mkdir(parents=True)
    (tmp_path / "root/etc/systemd/system/x.service").symlink_to(secret)
    done = oomrules("import", "--units", "--root", tmp_path / "root")
    assert done.code == 0 and "prefer" not in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["nothing to import", "--units"]),
        (("",), ["FILE is empty"]),
        (("/nowhere",), ["/nowhere", "no such file"]),
        (("/etc/passwd",), ["/etc/passwd", "--format"]),
        (("x", "--format", "other"), ["--format"]),
    ],
)
def test_what_cannot_be_imported_is_said(
    oomrules: Run, arguments: tuple[str, ...], words: list[str]
) -> None:
    done = oomrules("import", *arguments)
    assert (done.code, done.out) == (2, "")
    assert [word for word in words if word not in done.err] == []


def test_a_file_with_the_name_of_the_tool_is_read(
    oomrules: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "earlyoom", 'EARLYOOM_ARGS="--ignore-root-user"\n')
    monkeypatch.chdir(tmp_path)
    done = oomrules("import", "earlyoom")
    assert done.code == 0 and "never kill uid 0" in done.out
