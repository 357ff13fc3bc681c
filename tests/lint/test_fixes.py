"""``check --fix`` and ``--diff``: only what is safe, only in the file that was checked."""

from __future__ import annotations

import fnmatch
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules import resources
from oomrules.commands.main import main
from oomrules.commands.parts import rewrite
from oomrules.errors import Failure
from oomrules.language import compiler, rulefiles
from oomrules.language.diagnostics import Rejected
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint import fixes, linter
from oomrules.roots import Root

# What is written, and what --fix makes of it.
MENDED = {
    "spare anything when rss > 512MB": "spare anything when rss > 512MiB",
    "spare anything when rss > 5g": "spare anything when rss > 5GiB",
    "spare anything when run_time > 5hours": "spare anything when run_time > 5h",
    "spare anything when rss > 5 MiB": "spare anything when rss > 5MiB",
    "spare anything when rss > 1_0.5  KiB": "spare anything when rss > 1_0.5KiB",
    "Never kill uid 0": "never kill uid 0",
    "never KILL uid 0": "never kill uid 0",
    "spare anything WHEN nice > 0": "spare anything when nice > 0",
    "spare UID 0": "spare uid 0",
    "spare anything with sys_admin": "spare anything with SYS_ADMIN",
    "define x = cap(rawio)": "define x = cap(RAWIO)",
    'define x = cap("RAWIO")': "define x = cap(RAWIO)",
    "define x = nice = 0": "define x = nice == 0",
    "define x = nice > 0 && rss > 1B": "define x = nice > 0 and rss > 1B",
    "define x = nice > 0||rss > 1B": "define x = nice > 0 or rss > 1B",
    "define x = nice => 0": "define x = nice >= 0",
    "spare\u00a0uid 0": "spare uid 0",
    'spare uid "root"': 'spare user "root"',
    'list l = "a"\nspare gid @l': 'list l = "a"\nspare group @l',
    f'kill last comm "{"x" * 17}"': f'kill last comm "{"x" * 15}"',
    f'list l = "{"ü" * 9}"\nspare comm @l': f'list l = "{"ü" * 7}"\nspare comm @l',
    'list l = "a", "a", "b"': 'list l = "a", "b"',
    'list l = "a",\n    "b*", "bc",\n    "d"': 'list l = "a",\n    "b*",\n    "d"',
    'list l = "ab", "a*"': 'list l = "a*"',
}
# Mistakes that only a person can mend.
LEFT = [
    "spare anything when run_time > 10m",  # minutes or MiB
    "spare anything when run_time > 10us",
    "spare anything with ADMIN",
    "nevr kill uid 0",
    "spare anything with RAWOI",
    'spare comm "abc',
    "spare uid 0 by 1",
    "spare anything by 0.5",
    'spare comm "ssh\u0501"',
    'spare euid "root"',
    "in nginx: spare uid 0",
    f'spare comm "{"x" * 16}*"',
    'list l = "a", # why\n    "a"',
]


def fixed(text: str) -> str:
    return fixes.fix(Found((RuleText("x.oom", text),)), linter.lint).files[0].text


@pytest.mark.parametrize(("before", "after"), MENDED.items())
def test_what_can_mean_one_thing_only_is_mended(before: str, after: str) -> None:
    assert fixed(before) == after
    assert not [one for one in linter.lint(Found((RuleText("x", after),)))[1] if one.fix]


@pytest.mark.parametrize("text", LEFT)
def test_what_takes_a_person_is_left_alone(text: str) -> None:
    assert linter.lint(Found((RuleText("x.oom", text),)))[1]
    assert fixed(text) == text


def test_several_in_one_file_and_in_one_statement_are_mended() -> None:
    before = "\n".join(MENDED)
    assert fixed(before).startswith("spare anything when rss > 512MiB\n")
    twice = "Spare anything when rss > 1mb && nice = 0 # 1mb\n"
    assert fixed(twice) == "spare anything when rss > 1MiB and nice == 0 # 1mb\n"


# --- files -----------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.oom"
    path.write_bytes(b"# kept\r\nspare anything when rss > 5MB\r\nspare uid 0 by 1\r\n")
    return path


def test_fix_writes_the_file_and_reports_what_is_left(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.chmod(0o640)
    assert main(["check", "--fix", "--format", "concise", str(path)]) == 1
    done = capsys.readouterr()
    assert "OOM511" in done.out and "OOM401" not in done.out
    assert path.read_bytes() == b"# kept\r\nspare anything when rss > 5MiB\r\nspare uid 0 by 1\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(path.parent) == ["x.oom"]


def test_fix_does_not_touch_a_file_without_fixes(path: Path) -> None:
    path.write_text("spare uid 0\n")
    before = path.stat()
    assert main(["check", "--fix", str(path)]) == 0
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_diff_shows_and_writes_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = path.read_bytes()
    assert main(["check", "--diff", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"--- {path}", f"+++ {path}"]
    assert "-spare anything when rss > 5MB" in lines and "+spare anything when rss > 5MiB" in lines
    assert path.read_bytes() == before
    path.write_text("spare uid 0 by 1\n")
    assert main(["check", "--diff", str(path)]) == 0


def test_standard_input_can_be_shown_and_not_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, code in (("--diff", 1), ("--fix", 2)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Spare uid 0\n")))
        assert main(["check", option, "-"]) == code
    assert "+spare uid 0" in capsys.readouterr().out


def test_a_file_that_was_changed_meanwhile_is_not_written(path: Path) -> None:
    read = rulefiles.read_file(path)
    assert isinstance(read, RuleText)
    path.write_text("never kill uid 0\n")
    with pytest.raises(Failure, match="changed meanwhile"):
        rewrite.write(read, "spare uid 0\n", Root("/"))
    assert path.read_text() == "never kill uid 0\n"


def test_a_link_is_followed_and_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.oom"
    link.symlink_to(path)
    assert main(["check", "--fix", str(link)]) == 1
    assert link.is_symlink()
    assert b"5MiB" in path.read_bytes()


def test_a_directory_that_cannot_be_written_is_a_failure_and_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = path.read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    assert main(["check", "--fix", str(path)]) == 2
    assert "permission denied" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["x.oom"]


def test_only_the_administrator_s_own_files_are_mended(tmp_path: Path) -> None:
    for folder in ("etc", "usr/lib"):
        (tmp_path / folder / "oomrules.d").mkdir(parents=True)
        number = len(folder)
        text = f"define x{number} = rss > 5MB\n"
        (tmp_path / folder / "oomrules.d" / f"{number}.oom").write_text(text)
    assert main(["check", "--fix", "--root", str(tmp_path)]) == 1
    assert "5MiB" in (tmp_path / "etc/oomrules.d/3.oom").read_text()
    assert "5MB" in (tmp_path / "usr/lib/oomrules.d/7.oom").read_text()


def test_the_shipped_vocabulary_is_never_rewritten(path: Path) -> None:
    vocabulary = resources.rules() / rulefiles.VOCABULARY
    before = vocabulary.stat()
    main(["check", "--fix", str(path)])
    assert vocabulary.stat().st_mtime_ns == before.st_mtime_ns


# --- meaning ---------------------------------------------------------------------------------


def _program(text: str) -> object:
    """Return what rules mean, without the places and the texts of their sentences."""
    try:
        made = compiler.compile_texts([RuleText("x.oom", text)])
    except Rejected:
        return None
    rules = [
        (scope.targets, rule.kind, _cut(rule.when), rule.factor)
        for scope in made.scopes
        for rule in scope.rules
    ]
    return sorted(rules, key=repr), [scope.score and scope.score.value for scope in made.scopes]


def _cut(node: Any) -> Any:
    """Return a condition with names as long as the kernel keeps them, and no item twice."""
    if node[:2] == ["glob", ["attr", "comm"]]:
        return [*node[:2], _kept(node[2])]
    if node[:2] == ["among", ["attr", "comm"]]:
        items = {*map(_kept, node[2:])}
        others = {one: items - {one} for one in items}
        return [
            *node[:2],
            *sorted(one for one in items if not any(map(_matches(one), others[one]))),
        ]
    return [_cut(part) if isinstance(part, list) else part for part in node]


def _kept(name: str) -> str:
    return name.encode()[:15].decode("utf-8", "ignore")


def _matches(name: str) -> Callable[[str], bool]:
    return lambda pattern: fnmatch.fnmatchcase(name, pattern)


MEANING = [
    'spare comm "gnome-session-binary"',
    'list l = "gnome-session-binary"\nspare comm @l',
    'list l = "gnome-session-binary", "x"\nspare comm @l\nspare unit @l',
    'list l = "a", "a", "b"\nspare comm @l',
    'list l = "ab", "a*"\nspare comm @l',
    'spare comm "/usr/sbin/sshd -D"',
    'spare comm "/usr/lib/systemd/systemd-journald"',
    'spare comm "systemd-journald.service"',
    "spare uid 0\nspare uid 0",
]


@pytest.mark.parametrize("text", MEANING)
def test_a_fix_of_valid_rules_keeps_their_meaning(text: str) -> None:
    assert _program(text) is not None
    assert _program(fixed(text)) == _program(text)


@pytest.mark.parametrize(
    "text",
    [
        'never kill uid 0 comm "/usr/sbin/sshd -D"',
        'never kill uid 0 comm "/usr/libexec/gnome-session"',
        'list l = "gnome-session-binary"\nkill first comm @l\nkill first unit @l',
    ],
)
def test_what_is_no_name_of_a_program_is_not_cut(text: str) -> None:
    assert fixed(text) == text
