"""``oomrules check``: mistakes for people, editors and programs."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules import resources

Run = Callable[..., Any]
Write = Callable[..., Path]

BAD = "never kil uid 0\nspare uid 1\nscore comm\nspare anything when rss > 512MB\n"


def test_rules_without_a_mistake_are_fine(oomrules: Run, rules: Write) -> None:
    done = oomrules("check", rules("spare uid 0\n"))
    assert (done.code, done.err) == (0, "")
    assert "nothing to complain about" in done.out


def test_without_a_path_the_system_s_rules_are_checked(oomrules: Run, root: Path) -> None:
    assert oomrules("check", "--root", root).code == 0
    path = root / "etc" / "oomrules.d" / "50-mine.oom"
    path.parent.mkdir(parents=True)
    path.write_text("nevr kill uid 0\n")
    done = oomrules("check", "--root", root)
    assert done.code == 1
    assert f"{path}:1:1" in done.out


def test_mistakes_are_findings_and_not_failures(oomrules: Run, rules: Write) -> None:
    done = oomrules("check", rules(BAD))
    assert (done.code, done.err) == (1, "")
    assert re.findall(r"error\[(OOM\d+)\]", done.out) == ["OOM101", "OOM305", "OOM401"]
    assert done.out.rstrip().endswith("3 errors; --fix mends 1")


def test_the_full_form_shows_the_line_a_caret_and_help(oomrules: Run, rules: Write) -> None:
    path = rules("\nnever kill usr 0\n")
    assert oomrules("check", path).out.startswith(
        "error[OOM201]: unknown name `usr`\n"
        f" --> {path}:2:12\n"
        "  |\n"
        "2 | never kill usr 0\n"
        "  |            ^^^\n"
        "  = help: did you mean `uid`?\n"
    )


def test_the_concise_form_has_one_line_for_each(oomrules: Run, rules: Write) -> None:
    path = rules(BAD)
    done = oomrules("check", "--format", "concise", path)
    assert done.code == 1
    lines = done.out.splitlines()
    assert len(lines) == 3
    for line, (number, column) in zip(lines, [(1, 7), (3, 7), (4, 27)], strict=True):
        assert line.startswith(f"{path}:{number}:{column}: error[OOM")


def test_json_follows_its_schema_in_file_and_line_order(oomrules: Run, rules: Write) -> None:
    second, first = rules(BAD, "b.oom"), rules("spare\n", "a.oom")
    done = oomrules("check", "--format", "json", second, first)
    assert (done.code, done.err) == (1, "")
    assert list(done.data) == ["schema", "findings"]
    assert done.data["schema"] == "oomrules.check/1"
    findings = done.data["findings"]
    keys = "code level message file line column end_line end_column help".split()
    for finding in findings:
        assert list(finding)[: len(keys)] == keys
        assert set(finding) <= {*keys, "witness", "fix"}
        assert finding["level"] == "error"
        assert (finding["line"], finding["column"]) <= (finding["end_line"], finding["end_column"])
    assert [(one["file"], one["line"]) for one in findings] == [
        (str(first), 1),
        (str(second), 1),
        (str(second), 3),
        (str(second), 4),
    ]
    last = findings[-1]
    assert (last["column"], last["end_line"], last["end_column"]) == (27, 4, 32)


def test_json_without_findings_is_still_json(oomrules: Run, rules: Write) -> None:
    done = oomrules("check", "--format", "json", rules("spare uid 0\n"))
    assert (done.code, done.data) == (0, {"schema": "oomrules.check/1", "findings": []})


def test_a_directory_is_checked_by_its_drop_ins(oomrules: Run, tmp_path: Path) -> None:
    (tmp_path / "10-a.oom").write_text("spare foo\n")
    (tmp_path / "README").write_text("spare\n")
    (tmp_path / "20-b.oom").touch()
    done = oomrules("check", "--format", "json", tmp_path)
    assert [Path(one["file"]).name for one in done.data["findings"]] == ["10-a.oom"]


@pytest.mark.parametrize(("extra", "count"), [((), 1), (("y",), 2)])
def test_the_summary_counts_the_files_that_were_asked_for(
    extra: tuple[str, ...], count: int, oomrules: Run, rules: Write
) -> None:
    paths = [rules("spare uid 0\n"), *(rules("spare uid 1\n", f"{name}.oom") for name in extra)]
    done = oomrules("check", *paths)
    assert done.out == (
        f"{count} file{'s' * (count > 1)}, {count} rule{'s' * (count > 1)}: "
        "nothing to complain about\n"
    )


def test_files_are_checked_together(oomrules: Run, rules: Write) -> None:
    one, two = rules("define x = uid == 5\nscore rss\n", "a.oom"), rules("spare x\n", "b.oom")
    assert oomrules("check", one, two).code == 0
    assert oomrules("check", two).code == 1
    two.write_text("score swap\n")
    done = oomrules("check", one, two)
    assert done.code == 1 and f"{one}:2" in done.out


def test_paths_and_rules_mean_the_same(oomrules: Run, rules: Write) -> None:
    path = rules(BAD)
    assert oomrules("check", "--rules", path).out == oomrules("check", path).out


@pytest.mark.parametrize(("text", "code"), [("spare uid 0\n", 0), ("spare\n", 1), ("", 0)])
def test_a_dash_is_standard_input(
    text: str, code: int, oomrules: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    done = oomrules("check", "-")
    assert done.code == code
    assert ("<stdin>:1:6" in done.out) == bool(code)


def test_standard_input_that_is_no_text_is_a_finding(
    oomrules: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe")))
    done = oomrules("check", "-", "--format", "json")
    assert done.code == 1
    assert [one["code"] for one in done.data["findings"]] == ["OOM002"]


def test_a_file_that_cannot_be_read_is_a_finding(oomrules: Run, tmp_path: Path) -> None:
    (tmp_path / "x.oom").mkdir()
    done = oomrules("check", tmp_path, "--format", "json")
    assert done.code == 1
    (one,) = done.data["findings"]
    assert (one["code"], one["file"]) == ("OOM001", str(tmp_path / "x.oom"))
    assert (one["line"], one["column"]) == (1, 1)
    (tmp_path / "y.oom").write_bytes(b"\xff")
    (tmp_path / "z.oom").write_text("spare uid 0\n")
    assert oomrules("check", tmp_path).out.endswith("\n3 files: 2 errors\n")


def test_a_path_that_is_not_there_is_a_failure(oomrules: Run, tmp_path: Path) -> None:
    done = oomrules("check", tmp_path / "nothing")
    assert (done.code, done.out) == (2, "")
    assert "nothing" in done.err


def test_a_mistake_in_one_statement_does_not_hide_those_in_others(
    oomrules: Run, rules: Write
) -> None:
    lines = [
        "spare foo",
        "in a.slice {",
        "  nevr",
        "  score comm",
        "}",
        "score rss",
        "score swap",
        "}",
    ]
    done = oomrules("check", "--format", "json", rules("\n".join(lines)))
    assert [one["line"] for one in done.data["findings"]] == [1, 3, 4, 7, 8]


@pytest.mark.parametrize(
    "text",
    [
        "define heavy = rss >\nspare heavy\nprefer heavy\n",
        "define heavy.one = rss >\nspare heavy.one\n",
        "list heavy = \nspare comm @heavy\n",
        "in a.slice: define heavy = rss > 1GiB\nspare heavy\n",
    ],
)
def test_a_bad_definition_does_not_accuse_those_who_use_it(
    text: str, oomrules: Run, rules: Write
) -> None:
    done = oomrules("check", "--format", "json", rules(text))
    assert [one["line"] for one in done.data["findings"]] == [1]


def test_presets_that_are_linked_may_have_a_rule_in_common(oomrules: Run, root: Path) -> None:
    shipped = root / "usr/lib/oomrules.d"
    shutil.copytree(resources.rules(), shipped)
    (root / "etc/oomrules.d").mkdir(parents=True)
    for name in ("build-host", "server"):
        link = root / f"etc/oomrules.d/50-{name}.oom"
        link.symlink_to(f"/usr/lib/oomrules.d/presets/{name}.oom")
    done = oomrules("check", "--root", root)
    assert done.code == 0, done.out
    # A copy is an administrator's own.
    (root / "etc/oomrules.d/50-server.oom").unlink()
    shutil.copy(shipped / "presets/server.oom", root / "etc/oomrules.d/50-server.oom")
    assert "OOM514" in oomrules("check", "--root", root).out


def test_the_shipped_presets_have_no_mistake(oomrules: Run) -> None:
    presets = sorted((resources.rules() / "presets").glob("*.oom"))
    assert presets
    for preset in presets:
        assert oomrules("check", resources.rules(), preset).code == 0


def test_warnings_are_fatal_only_where_there_are_any(oomrules: Run, rules: Write) -> None:
    assert oomrules("check", "--fatal-warnings", rules("spare uid 0\n")).code == 0
    assert oomrules("check", "--fatal-warnings", rules("spare\n")).code == 1


def test_it_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    path = tmp_path / "x.oom"
    path.write_text('never kill uid 0 comm "a"\nprefer comm "b*" when rss > 25%\n')
    code = (
        "import sys; from oomrules.commands.main import main; "
        f"main(['check', {str(path)!r}]); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split("\n")[-2].split()
    assert "oomrules.lint.linter" in loaded
    needless = ["z3", "gi", "pydbus", "cgroupspy", "asyncio", "pygls", "importlib.metadata", "pdb"]
    for name in [*needless, "oomrules.commands.parts.selection", "oomrules.service"]:
        assert name not in loaded
