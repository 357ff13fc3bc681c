"""The wheel and the source distribution: the same wherever they are built, and of use to pipx."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fresh.root import checkout
from tests.packages.building import APT, Machine, must


def build(tree: Path, to: Path, umask: int) -> dict[str, bytes]:
    """Build both from a checkout in a folder; return name to content."""
    tree.mkdir()
    # The Python of Debian 12 has no filter for what it unpacks.
    subprocess.run(["tar", "-x", "-C", str(tree)], input=checkout(), check=True)
    environment = {**os.environ, "TZ": "Pacific/Chatham", "HOME": str(tree)}
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(to), str(tree)],
        env=environment,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_bytes() for path in sorted(to.iterdir())}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    top = tmp_path_factory.mktemp("wheel")
    return build(top / "tree", top / "dist", 0o022)


def test_they_are_the_same_byte_for_byte_when_built_elsewhere(
    built: dict[str, bytes], tmp_path: Path
) -> None:
    again = build(tmp_path / "another", tmp_path / "dist", 0o077)
    assert len(built) == 2
    assert [name for name in built if again[name] != built[name]] == []


def test_the_metadata_is_as_the_index_wants_it(built: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in built.items():
        (tmp_path / name).write_bytes(content)
    argv = [sys.executable, "-m", "twine", "check", "--strict", *map(str, tmp_path.iterdir())]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("PASSED") == 2, done.stdout + done.stderr


@pytest.mark.parametrize("suite", ["bookworm", "trixie"], ids=["debian_12", "debian_13"])
def test_a_user_installs_the_wheel_by_pipx(
    suite: str, machine: Machine, built: dict[str, bytes]
) -> None:
    bare = machine(suite)
    must(bare, "useradd --create-home --shell /bin/bash anna")
    must(bare, f"apt-get -qq update && {APT} install --no-install-recommends pipx python3-gi")
    (wheel,) = [name for name in built if name.endswith(".whl")]
    bare.put(f"/srv/{wheel}", built[wheel])
    # gi is the distribution's, and no wheel has it.
    must(bare, f"pipx install --system-site-packages /srv/{wheel}", user="anna", cwd="/home/anna")
    command = "/home/anna/.local/bin/oomrules"
    said = must(bare, f"{command} check", user="anna", cwd="/home/anna")
    assert "nothing to complain about" in said
    ranking = json.loads(must(bare, f"{command} rank --format json 2>/dev/null", user="anna"))
    assert ranking["candidates"]
    must(bare, f"{command} scopes --help && python3 -c 'import gi'", user="anna")
