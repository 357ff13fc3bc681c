"""The settings that other tools ship, and earlyoom's own list of its options.

They come from Debian's packages, which are unpacked and not installed.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from oomrules.importing import earlyoom, nohang, recognition, rulefile, sources, units
from oomrules.importing.translation import Translation
from oomrules.roots import Root
from tests.importing import made

_PATIENCE = 120

Package = Callable[[str], Path]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Unpack a package of Debian's archive."""

    @cache
    def unpack(name: str) -> Path:
        path = tmp_path_factory.mktemp(name)
        command = ["apt-get", "-qq", "download", name]
        subprocess.run(command, cwd=path, check=True, timeout=_PATIENCE)
        (archive,) = path.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, path / "files"], check=True, timeout=_PATIENCE)
        return path / "files"

    return unpack


def imported(path: Path) -> tuple[list[Translation], str]:
    found, others = recognition.translations(sources.read([str(path)], Path("/")))
    made.written(found)
    sound = rulefile.sound(found)
    return sound, rulefile.written(sound, others)


def test_every_option_of_earlyoom_s_help_and_manual_is_known(package: Package) -> None:
    files = package("earlyoom")
    help_ = subprocess.run(
        [files / "usr/bin/earlyoom", "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    said = help_.stdout + help_.stderr
    options = set(re.findall(r"^  (--?[a-z][a-z-]*|-[A-Z])\b", said, re.MULTILINE | re.IGNORECASE))
    options |= set(re.findall(r"^  -\w, (--[a-z-]+)", said, re.MULTILINE))
    assert {"-m", "--prefer", "--help", "-h", "--dryrun"} <= options
    assert options <= earlyoom.OPTIONS.keys()
    valued = set(re.findall(r"^  (--?[\w-]+) [A-Z/]{2,}", said, re.MULTILINE))
    assert valued == {name for name in options if earlyoom.OPTIONS[name].valued}


def test_its_settings_as_they_are_shipped_become_a_rule_file(package: Package) -> None:
    (found,), text = imported(package("earlyoom") / "etc/default/earlyoom")
    assert found.tool == "earlyoom" and found.guards
    assert len(made.rules(text)) == 2
    assert [guard.split()[0] for guard in made.guards(text)] == ["terminate", "kill"]


@pytest.mark.parametrize(("name", "least"), [("nohang.conf", 2), ("nohang-desktop.conf", 20)])
def test_so_do_those_of_nohang_with_every_key(package: Package, name: str, least: int) -> None:
    path = package("nohang") / "etc/nohang" / name
    (found,), text = imported(path)
    assert found.tool == "nohang"
    assert len(made.rules(text)) >= least
    assert {guard.split()[0] for guard in made.guards(text)} >= {"terminate", "kill"}
    keys = re.findall(r"^(\w+) *=", path.read_text(), re.MULTILINE)
    assert len(keys) > 40 and set(keys) <= nohang.SETTINGS.keys()
    places = {piece.place for piece in found.pieces}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        comment = not line.strip() or line[0] in "# \t"
        assert (f"{path}:{number}" in places) != comment


def test_so_do_those_of_systemd_oomd(package: Package) -> None:
    found, text = imported(package("systemd-oomd"))
    assert [one.tool for one in found] == ["systemd"]
    assert 'kill last unit "systemd-oomd.service"' in made.rules(text)
    assert any("user@*.service" in guard for guard in made.guards(text))


def test_the_units_of_a_whole_system_are_read_from_its_files(package: Package) -> None:
    found = units.of_files(Root(package("systemd")))
    rules = made.rules(made.written([found]))
    assert 'prefer unit "user@*.service" by 2' in rules
    assert [rule for rule in rules if "systemd-journald.service" in rule]
