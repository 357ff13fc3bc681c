"""The manual pages as man and mandoc show them; `make man` has made them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.man import made

BUILT = made.SOURCES.parents[1] / "build" / "man"
NAMES = [path.stem for path in sorted(made.SOURCES.glob("*.md"))]
each_page = pytest.mark.parametrize("name", NAMES)


def shown(*command: str) -> str:
    """Run a program that must not complain; return what it shows, without overprinting."""
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), command
    return re.sub(".\b", "", done.stdout)


@each_page
def test_man_shows_it_without_warnings_and_within_80_columns(name: str) -> None:
    page = shown("man", "--warnings", "-E", "UTF-8", "-l", str(BUILT / name))
    assert [line for line in page.splitlines() if len(line) > 80] == []
    assert "NAME\n" in page and "SEE ALSO\n" in page
    # What stands in the source by name stands on the screen.
    text = (made.SOURCES / f"{name}.md").read_text(encoding="utf-8")
    for heading in re.findall(r"^# (.*)$", text, re.MULTILINE):
        assert f"\n{heading}\n" in page
    for option in re.findall(r"^`(--?[a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^ +(?:-\w, )?{option}\b", page, re.MULTILINE), option


@each_page
def test_mandoc_finds_nothing_to_complain_about(name: str) -> None:
    assert shown("mandoc", "-T", "lint", str(BUILT / name)) == ""
    page = shown("mandoc", "-T", "utf8", "-O", "width=80", str(BUILT / name))
    assert "NAME\n" in page


@each_page
def test_apropos_finds_a_page_by_its_name(name: str) -> None:
    said = shown("lexgrog", str(BUILT / name))
    assert f'"{Path(name).stem} - ' in said


@each_page
def test_what_is_copied_from_a_page_is_what_was_written(name: str) -> None:
    # A hyphen of typography would be no option any more.
    page = (BUILT / name).read_text(encoding="utf-8")
    text = (made.SOURCES / f"{name}.md").read_text(encoding="utf-8")
    for option in set(re.findall(r"`(--[a-z-]+)`", text)):
        assert option.replace("-", r"\-") in page


def test_a_page_has_the_date_of_the_package_and_is_the_same_each_time(tmp_path: Path) -> None:
    first = _made(tmp_path / "a", "86400")
    assert '"1970-01-02"' in first
    assert _made(tmp_path / "b", "86400") == first


def _made(folder: Path, epoch: str) -> str:
    """Make one page in a copy of what it is made of."""
    checkout = made.SOURCES.parents[1]
    (folder / "docs").mkdir(parents=True)
    (folder / "oomrules").mkdir()
    (folder / "docs" / "man").symlink_to(made.SOURCES)
    for name in ("Makefile", "CHANGELOG.md", "install-packages.sh", "oomrules/__init__.py"):
        (folder / name).symlink_to(checkout / name)
    subprocess.run(
        ["make", "-s", "-C", str(folder), "build/man/oomrules-fmt.1"],
        env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": epoch, "TZ": "Pacific/Chatham"},
        check=True,
    )
    return (folder / "build/man/oomrules-fmt.1").read_text(encoding="utf-8")
