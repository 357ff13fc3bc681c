"""OOM003 and OOM004: files that are not read, names that replace nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from oomrules.language import rulefiles
from oomrules.lint import linter


def found(root: Path) -> list[tuple[str, str]]:
    directories = tuple(path for path in rulefiles.directories(root) if path.is_dir())
    findings = linter.lint(rulefiles.system(root), directories)[1]
    return [(one.code, Path(one.source.name).name) for one in findings]


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("spare uid 0\n" if "lib" in name else "prefer uid 5\n")


@pytest.mark.parametrize(
    "name",
    [
        *("50-a.OOM", "50-a.oom.txt", "50-a.oom.conf", "50-a.rules", ".50-a.oom", "50-a.oomrules"),
        *("50-a.conf", "50-a.yaml", "50-a.json", "50-a.txt"),
    ],
)
def test_a_file_that_looks_like_rules_and_is_not_read(name: str, tmp_path: Path) -> None:
    put(tmp_path, f"etc/oomrules.d/{name}")
    assert found(tmp_path) == [("OOM003", name)]
    directory = tmp_path / "etc/oomrules.d"
    (one,) = linter.lint(rulefiles.system(tmp_path), (directory,))[1]
    assert "call it `50-a.oom`" in one.help


@pytest.mark.parametrize(
    "name",
    [
        "50-a.oom",
        "README",
        "notes.txt",
        "50-a.oom~",
        "50-a.oom.bak",
        ".50-a.oom.swp",
        "50-a.conf.dpkg-old",
    ],
)
def test_rules_copies_and_other_files_are_no_mistake(name: str, tmp_path: Path) -> None:
    put(tmp_path, f"etc/oomrules.d/{name}")
    assert found(tmp_path) == []


@pytest.mark.parametrize("name", ["20-Protect.oom", "20_protect.oom"])
def test_a_name_that_almost_replaces_another_names_both_files(name: str, tmp_path: Path) -> None:
    put(tmp_path, f"etc/oomrules.d/{name}", "usr/lib/oomrules.d/20-protect.oom")
    assert found(tmp_path) == [("OOM004", name)]
    directories = tuple(path for path in rulefiles.directories(tmp_path) if path.is_dir())
    (one,) = linter.lint(rulefiles.system(tmp_path), directories)[1]
    assert f"etc/oomrules.d/{name}" in one.message
    assert "usr/lib/oomrules.d/20-protect.oom" in one.message


def test_a_name_that_replaces_or_differs_is_no_mistake(tmp_path: Path) -> None:
    put(tmp_path, "etc/oomrules.d/20-protect.oom", "usr/lib/oomrules.d/20-protect.oom")
    put(tmp_path, "etc/oomrules.d/20-protect-more.oom")
    assert [code for code, _ in found(tmp_path) if code == "OOM004"] == []
