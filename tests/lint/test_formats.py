"""The forms in which findings are given to programs.

Every SARIF log here is held against the schema of the standard. What a schema cannot say,
such as that an index leads to the rule of that name, is tested by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.commands.main import main
from oomrules.lint import registry
from oomrules.lint import sarif as sarif_log
from tests.lint import pages, sarif_schema
from tests.lint.test_pages import SHOWN

TEXT = """\
spare usr 0
spare anything when rss > 5MB, 3
spare uid 0 by 1
define x = rss > 5MB
list l = "\u65e5\u672c", "\u65e5\u672c"
spare uid 5
spare uid 5
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x y.oom"
    path.write_text(TEXT, encoding="utf-8")
    return path


def sarif(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    main(["check", "--format", "sarif", *map(str, arguments)])
    log: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert sarif_schema.problems(log) == []
    assert log["$schema"] == sarif_log.SCHEMA
    return log


def test_sarif_is_as_the_standard_wants_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = sarif(capsys, path)
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted({rule["id"] for rule in rules})
    for result in run["results"]:
        assert result["level"] in ("none", "note", "warning", "error")
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        for location in [*result["locations"], *result.get("relatedLocations", [])]:
            region = location["physicalLocation"]["region"]
            assert all(number >= 1 for number in region.values())
            assert not re.search(r"[ \\]", location["physicalLocation"]["artifactLocation"]["uri"])


@pytest.mark.parametrize("code", SHOWN)
def test_sarif_of_every_code_is_as_the_standard_wants_it(code: str) -> None:
    log = sarif_log.log(pages.findings(code, "Example"))
    assert log["runs"][0]["results"]
    assert sarif_schema.problems(log) == []


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (lambda run: run["results"][0].update(level="info"), "$.runs[0].results[0].level"),
        (lambda run: run["results"][0].pop("message"), "$.runs[0].results[0]"),
        (lambda run: run["results"][0].update(codes=[]), "$.runs[0].results[0]"),
        (lambda run: run.update(columnKind="bytes"), "$.runs[0].columnKind"),
        (lambda run: _place(run)["region"].update(startLine=0), "startLine"),
        (lambda run: _place(run)["artifactLocation"].update(uri="a b"), "artifactLocation.uri"),
    ],
)
def test_what_the_standard_does_not_want_would_be_seen(
    wrong: Callable[[dict[str, Any]], object],
    where: str,
    path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = sarif(capsys, path)
    wrong(log["runs"][0])
    (problem,) = sarif_schema.problems(log)
    assert where in problem


def _place(run: dict[str, Any]) -> dict[str, Any]:
    place: dict[str, Any] = run["results"][0]["locations"][0]["physicalLocation"]
    return place


def test_sarif_says_the_same_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = sarif(capsys, path)["runs"][0]["results"]
    main(["check", "--format", "json", str(path)])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert len(findings) == len(results) >= 6
    for finding, result in zip(findings, results, strict=True):
        region = result["locations"][0]["physicalLocation"]["region"]
        keys = ("line", "column", "end_line", "end_column")
        assert list(region.values()) == [finding[key] for key in keys]
        assert result["ruleId"] == finding["code"]
        assert ("fixes" in result) == ("fix" in finding)
    assert any("fixes" in result for result in results)
    assert any("relatedLocations" in result for result in results)


def test_sarif_without_findings_or_about_files_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.oom").write_text("spare uid 0\n")
    log = sarif(capsys, tmp_path)
    assert log["runs"][0]["results"] == []
    (tmp_path / "b.oom").mkdir()
    log = sarif(capsys, tmp_path)
    (result,) = log["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("file:")


def test_a_file_below_the_working_directory_is_named_relatively(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(path.parent)
    for name in (path, path.name):
        result = sarif(capsys, name)["runs"][0]["results"][0]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "x%20y.oom"}


def test_a_fix_in_json_leads_to_the_text_that_fix_writes(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", "--format", "json", str(path)])
    findings = json.loads(capsys.readouterr().out)["findings"]
    lines = TEXT.splitlines()
    (edit,) = next(one["fix"]["edits"] for one in findings if one["line"] == 4)
    line = lines[edit["line"] - 1]
    assert edit["line"] == edit["end_line"]
    changed = line[: edit["column"] - 1] + edit["text"] + line[edit["end_column"] - 1 :]
    assert changed == "define x = rss > 5MiB"


def test_github_gets_one_command_for_each_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a,b:c.oom"
    path.write_text('spare usr 0\nspare uid 0 by 1\nlist l = "%", "%"\n')
    assert main(["check", "--format", "github", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    name = str(path).replace(",", "%2C").replace(":", "%3A")
    assert lines[0].startswith(
        f"::error file={name},line=1,col=7,endLine=1,endColumn=10,title=OOM201::unknown name"
    )
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::warning"]
    assert '`"%25"`' in lines[2]


@pytest.mark.parametrize("code", ["OOM101", "oom501", "OOM801"])
def test_explain_prints_the_page(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--explain", code]) == 0
    assert capsys.readouterr().out == registry.page(code.upper())


@pytest.mark.parametrize("code", ["OOM1O1", "x", "../pages/OOM101", ""])
def test_explain_of_no_code_is_a_failure(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--explain", code or "OOM"]) == 2
    assert "no code" in capsys.readouterr().err


def test_fatal_warnings_have_an_exit_code_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.oom"
    for text, codes in {
        "spare uid 0": (0, 0),
        "spare uid 0 by 1": (1, 3),
        "spare uid 0 by 1\nspare usr 0": (1, 1),
    }.items():
        path.write_text(text)
        assert main(["check", str(path)]) == codes[0]
        assert main(["check", "--fatal-warnings", str(path)]) == codes[1]
