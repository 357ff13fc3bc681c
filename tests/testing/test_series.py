"""``oomrules test`` with guards: figures over time in, action and victim out."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from oomrules.commands.main import main
from oomrules.errors import Failure
from oomrules.testing import cases

RULES = """\
never kill comm "sshd"
warn when host.available < 20%
terminate when host.available < 10% within 5s
kill when host.available < 5% and host.stall > 10%
in "build-*.slice": kill when scope.memory > 2GiB for 3s
"""
PROCESSES = """\
[process.hog]
rss = "3GiB"
[process.shop]
rss = "1GiB"
[process.sshd]
uid = 0
rss = "5GiB"
[process.cc]
rss = "500MiB"
cgroup = "/build-x.slice/cc.service"
"""
SINKS = 'series = [{ at = "2s", available = "7% over 10s" }]\n'
STALLS = 'series = [{ at = "2s", available = "3%", stall = 50 }]\n'
BUILDS = 'series = [{ at = "2s", scope."/build-x.slice".memory = "3GiB over 2s" }]\n'

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(case: str, rules: str = RULES, processes: str = PROCESSES) -> Path:
        (tmp_path / "x.oom").write_text(rules)
        path = tmp_path / "x.test.toml"
        path.write_text(f'rules = "x.oom"\n{processes}\n[[guard]]\nname = "it"\n{case}\n')
        return path

    return write


@pytest.mark.parametrize(
    "case",
    [
        f'{SINKS}terminates = "hog"\nkills = []\nwarns = true',
        f'{SINKS}terminates = ["hog"]\nafter = "9s"\nbefore = "12s"',
        f'{SINKS}ignores_sigterm = "hog"\nterminates = "hog"\nkills = "hog"\nbefore = "12s"',
        f'{STALLS}ignores_sigterm = "hog"\nkills = "hog"\nbefore = "2.5s"',
        # The hog's memory never comes back, so the next one is taken: of those that are there.
        f'{SINKS}keeps_memory = ["hog", "shop", "cc"]\nnobody = true\n'
        'terminates = ["hog", "shop", "cc"]',
        f'{SINKS}stuck = "hog"\nterminates = ["hog", "shop"]\nkills = ["hog"]\nuntil = "1min"',
        'series = [{ at = "2s", stall = 99, pressure = 99 }]\nnothing = true\nwarns = false',
        f'{BUILDS}kills = "cc"\nafter = "6s"\nbefore = "6.5s"',
        # An unknown figure takes nobody, whatever the others say.
        'series = [{ at = "2s", available = "unknown", stall = 99 }]\n'
        "nothing = true\nwarns = false",
        # What ended by itself is no victim.
        'series = [{ at = "2s", ends = "hog" }, { at = "3s", available = "9%" }]\n'
        'terminates = "shop"',
        # The kernel was first.
        'series = [{ at = "2s", available = "9%", kernel_kill = true }, '
        '{ at = "2.5s", available = "50%" }]\nnothing = true',
        # A change ends where the next one begins.
        'series = [{ at = "1s", available = "1% over 10s" }, { at = "2s", available = "50%" }]\n'
        "nothing = true",
        # Asleep for a night, between two samples of a duration.
        'series = [{ at = "2s", scope."/build-x.slice".memory = "3GiB", suspend = "8h" }, '
        '{ at = "3s", scope."/build-x.slice".memory = "1GiB" }]\nnothing = true',
    ],
)
def test_what_is_true_passes(case: str, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(case)
    assert main(["test", str(path)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (f"{SINKS}nothing = true", "a process is signalled: "),
        (f'{SINKS}terminates = "shop"', "terminates is not shop: "),
        (f'{SINKS}kills = "hog"', "kills is not hog: "),
        (f"{SINKS}warns = false", "warns is not false: "),
        (f"{SINKS}nobody = true", "nobody is not true: "),
        (f'{SINKS}terminates = "hog"\nbefore = "5s"', "not before 5 s: "),
        (f'{SINKS}terminates = "hog"\nafter = "13s"', "not after 13 s: "),
        (f'{BUILDS}kills = []\nterminates = "hog"', "terminates is not hog"),
        (f'{SINKS}keeps_memory = "hog"\nkills = []', "another process is signalled: "),
        ("terminates = []\nwarns = true", "nothing happened"),
    ],
)
def test_what_is_not_fails_and_says_what_happened(
    case: str, said: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", str(write(case))]) == 1
    assert said in capsys.readouterr().out


def test_a_failure_names_guard_and_victim(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(write(f"{SINKS}nothing = true"))]) == 1
    out = capsys.readouterr().out
    assert "asked to end hog (1000) by `terminate when host.available < 10% within 5s`" in out
    assert "x.oom:3" in out


def test_rules_without_a_guard_fail(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(write("nothing = true", rules="prefer niced\n"))]) == 1
    assert "no guard of these rules" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("nothing = false", "nothing: is true or left out"),
        ("", "nothing is expected"),
        ('nothing = true\nkills = "hog"', "expect nothing else"),
        ('kills = "hgo"', "there is no process hgo"),
        ('frist = "hog"', "there is no frist"),
        ("series = 3\nnothing = true", "series: is a list of tables"),
        ('series = [{ at = "5" }]\nnothing = true', "at: is a time such as 10s"),
        ('series = [{ at = "5s" }, { at = "4s" }]\nnothing = true', "the order of their times"),
        ('series = [{ memory = "5%" }]\nnothing = true', "there is no memory"),
        ("series = [{ available = 5 }]\nnothing = true", "available: is a size"),
        ('series = [{ available = "5% over 3" }]\nnothing = true', "is a time such as 10s"),
        ("series = [{ stall = 101 }]\nnothing = true", "100 percent at most"),
        ("series = [{ scope = 5 }]\nnothing = true", "scope: is like"),
        ('series = [{ scope."/a".rss = "1GiB" }]\nnothing = true', "there is no rss"),
        ('until = "2d"\nnothing = true', "until: is a day at most"),
        ("warns = 3", "warns: is true or false"),
        ("kills = [true]", "kills: gives names"),
    ],
)
def test_a_mistake_is_named(
    case: str, said: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", str(write(case))]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "x.test.toml: it" in err or "x.test.toml: there is no process" in err


def test_a_test_of_guards_has_a_name_and_a_table(tmp_path: Path) -> None:
    path = tmp_path / "x.test.toml"
    for text in ("[[guard]]\nnothing = true\n", "guard = 3\n", "[guard]\n"):
        path.write_text(text)
        with pytest.raises(Failure):
            cases.read(path)


def test_untested_guards_are_listed(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--untested", str(write(f'{SINKS}terminates = "hog"'))]) == 0
    out = capsys.readouterr().out
    assert "in build-*.slice: kill when scope.memory > 2GiB for 3s" in out
    assert "kill when host.available < 5%" in out
    assert "terminate when" not in out
    assert "warn when" not in out


def test_other_formats(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(f"{SINKS}nothing = true")
    assert main(["test", "--format", "tap", str(path)]) == 1
    assert "not ok 1 - " in capsys.readouterr().out
    assert main(["test", "--format", "junit", str(path)]) == 1
    assert ElementTree.fromstring(capsys.readouterr().out).get("failures") == "1"


def test_a_unit_that_is_killed_whole_goes_as_one(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = 'kill whole "batch.service"\nkill when host.available < 10%\n'
    processes = "".join(
        f'[process.{name}]\nuid = 500\nunit = "batch.service"\nrss = "1GiB"\n' for name in "ab"
    )
    path = write(f'{SINKS}kills = "a"', rules, f'{processes}[process.c]\nrss = "1500MiB"\n')
    assert main(["test", str(path)]) == 0, capsys.readouterr().out


def test_the_example_in_the_documentation_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "testing.md").read_text()
    (example,) = [text for text in page.split("```toml")[1:] if "[[guard]]" in text]
    rules = (
        "terminate when host.available < 10% and host.swap_free < 10%\n"
        "kill when host.available < 5% and host.stall > 10%\n"
    )
    (tmp_path / "60-guard.oom").write_text(rules)
    path = tmp_path / "x.test.toml"
    path.write_text(example.partition("```")[0])
    assert main(["test", "--untested", str(path)]) == 0, capsys.readouterr().out
    assert "exercised by no test" not in capsys.readouterr().out
