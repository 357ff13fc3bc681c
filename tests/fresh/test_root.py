"""What the machines are themselves: bare, thrown away, and never half there."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.fresh import registries, root
from tests.fresh.test_newcomer import Machine
from tests.vm import cache
from tests.vm.host import NoGuest

SUITES = ["bookworm", "trixie"]


@pytest.mark.parametrize("suite", SUITES)
def test_a_bare_machine_has_what_a_newcomer_has_and_no_more(machine: Machine, suite: str) -> None:
    bare = machine(suite)
    assert bare.run(f"grep -qx VERSION_CODENAME={suite} /etc/os-release").code == 0
    assert bare.run("command -v git make apt-get").code == 0
    for missing in ("python3", "gcc", "sudo", "systemctl", "pip"):
        assert bare.run(f"command -v {missing}").code != 0, missing
    # Debian's own lines and nobody else's, and all of them of this suite.
    lines = bare.read("/etc/apt/sources.list").decode().splitlines()
    assert lines and all(f" {suite}" in line for line in lines)


def test_what_happens_in_a_machine_stays_there(machine: Machine) -> None:
    first, second = machine("trixie"), machine("trixie")
    line = "touch /marker && mount -t tmpfs none /mnt && hostname inside && echo $$ && ls /proc"
    done = first.run(line)
    assert done.code == 0, done.output
    # Few enough processes to be this machine's own.
    assert sum(word.isdigit() for word in done.output.split()) < 10
    assert first.run("ls /marker").code == 0
    assert second.run("ls /marker").code != 0
    assert not (first.lower / "marker").exists() and not os.path.exists("/marker")
    assert str(first.top) not in Path("/proc/self/mounts").read_text()
    assert os.uname().nodename not in ("inside", "fresh")


def test_the_exit_code_and_all_output_of_a_command_come_back(machine: Machine) -> None:
    bare = machine("trixie")
    assert bare.run("echo out; echo err >&2; exit 7") == root.Done(7, "out\nerr\n")
    assert bare.run("tty; exit 3").code == 3
    assert bare.run("tty >/dev/null", terminal=True).code == 0
    assert bare.run("tty >/dev/null").code != 0
    assert bare.run("echo $HOME-$LANG", env={"HOME": None, "LANG": "C"}).output == "-C\n"


def test_a_copy_serves_where_no_overlay_can_be_mounted(machine: Machine) -> None:
    lower = machine("trixie").lower
    with tempfile.TemporaryDirectory(dir=cache.folder()) as folder:
        root.copy(lower, Path(folder))
        bare = root.Root(lower, Path(folder))
        bare.put("/etc/word", b"here\n")
        done = bare.run("cat /etc/word && touch /marker && stat -c %U:%a /tmp /etc/shadow")
        assert done == root.Done(0, "here\nroot:1777\nroot:640\n")
        assert bare.read("/marker") == b""
    assert not (lower / "marker").exists()


def test_a_suite_that_the_mirror_lacks_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OOMRULES_VM_CACHE", str(tmp_path))
    with pytest.raises(NoGuest, match="mmdebstrap failed"):
        root.base("hamm")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("fresh")] == []


def test_without_root_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoGuest, match="needs root"), root.fresh("trixie"):
        pass


def test_pip_is_told_what_it_is_told_here(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "index/simple").mkdir(parents=True)
    listed = (
        ":env:.timeout='180'\n"
        f"global.extra-index-url='file://{tmp_path}/index/simple https://pypi.example/simple'\n"
        f"global.find-links='{tmp_path}/wheels\\n{tmp_path}/missing'\n"
        "global.timeout='7'\n"
        "install.user='true'\n"
    )
    settings = registries.pip_settings(listed)
    assert set(settings) == {"timeout", "extra-index-url", "find-links"}
    assert settings["timeout"] == "180"
    assert list(registries.local_paths(settings)) == [f"{tmp_path}/index", f"{tmp_path}/wheels"]


def test_a_newcomer_gets_what_is_committed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    def names() -> set[str]:
        with tarfile.open(fileobj=io.BytesIO(root.checkout(tmp_path))) as archive:
            return {name.removeprefix("./") for name in archive.getnames()} - {".", ""}

    (tmp_path / "Makefile").touch()
    (tmp_path / ".venv-3.13").mkdir()
    # An unpacked release: what is there, but for what make leaves.
    assert names() == {"Makefile"}
    git("init", "-q")
    git("add", "Makefile")
    git("commit", "-q", "-m", "x")
    (tmp_path / "mine").touch()
    assert names() == {"Makefile"}
