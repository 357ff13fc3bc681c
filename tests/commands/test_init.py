"""``oomrules init``: it proposes, writes only after a yes, and says what was done."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.commands.parts import manager
from oomrules.setup.links import RECORD
from tests.children import CHECKOUT
from tests.commands.done import DATA, Done
from tests.setup.trees import contents, system

Run = Callable[..., Done]
HOST = ("--snapshot", str(DATA / "host.jsonl"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A system with the shipped rules, where PostgreSQL starts at boot."""
    root = system(tmp_path / "image", rules=True)
    unit = root / "usr/lib/systemd/system/postgresql.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\n")
    link = root / "etc/systemd/system/multi-user.target.wants/postgresql.service"
    link.parent.mkdir(parents=True)
    link.symlink_to("/usr/lib/systemd/system/postgresql.service")
    return root


def linked(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root / "etc/oomrules.d") if name != RECORD)


WRITTEN = ["50-database-host.oom", "60-guard-server.oom"]


# --- without a yes --------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--json",), HOST])
def test_without_a_yes_nothing_is_written(
    oomrules: Run, image: Path, arguments: tuple[str, ...]
) -> None:
    before = contents(image)
    done = oomrules("init", "--root", image, *arguments)
    assert done.code == 1 and contents(image) == before
    assert "50-" in done.out and "guard-server.oom" in done.out


def test_what_is_found_and_proposed_is_said_with_its_reason(oomrules: Run, image: Path) -> None:
    done = oomrules("init", "--root", image, "--kind", "database", "--guard", "none")
    assert "a database host: --kind" in done.out and "no guard: --guard none" in done.out
    done = oomrules("init", "--root", image)
    assert "a database host: postgresql.service is enabled\n" in done.out
    assert f"oomrules init --yes --root {image}\n" in done.out
    # The command that it proposes does it.
    (command,) = [line for line in done.out.splitlines() if "init --yes" in line]
    assert oomrules(*command.split()[1:]).code == 0 and linked(image) == WRITTEN


def test_lines_fit_a_small_terminal(oomrules: Run, image: Path) -> None:
    (image / "etc/default").mkdir()
    (image / "etc/default/earlyoom").write_text('EARLYOOM_ARGS="-m 5 --prefer ^x$"\n')
    for arguments in ((), HOST, ("--guard", "none", *HOST)):
        done = oomrules("init", "--root", image, *arguments)
        long = [line for line in done.out.splitlines() if len(line) > 80]
        # What is to be pasted, and paths, stay whole.
        wrapped = [line for line in long if " " in line.strip() and "`" not in line]
        assert [line for line in wrapped if str(image) not in line] == []


# --- with one -------------------------------------------------------------------------------------


def test_init_links_and_undo_takes_back(oomrules: Run, image: Path) -> None:
    before = contents(image)
    done = oomrules("init", "--yes", "--root", image)
    assert (done.code, linked(image)) == (0, WRITTEN)
    assert oomrules("check", "--root", image).code == 0
    said = oomrules("cat", "--root", image).out
    assert "presets/database-host.oom" in said or "50-database-host.oom" in said
    written = contents(image)
    done = oomrules("init", "--yes", "--root", image)
    assert done.code == 0 and contents(image) == written
    assert done.out.count("there already") == 2
    done = oomrules("init", "--root", image)
    assert done.code == 0 and "nothing is left to do" in done.out
    done = oomrules("init", "--undo", "--root", image)
    assert done.code == 0 and contents(image) == before
    assert [
        name for name in WRITTEN if f"removed {image}/etc/oomrules.d/{name}" not in done.out
    ] == []
    done = oomrules("init", "--undo", "--root", image)
    assert (done.code, done.out) == (0, "there is nothing to take back\n")


def test_undo_says_what_it_would_do_and_what_it_leaves(oomrules: Run, image: Path) -> None:
    oomrules("init", "--yes", "--root", image)
    mine = image / "etc/oomrules.d" / WRITTEN[0]
    mine.unlink()
    mine.symlink_to("/dev/null")
    before = contents(image)
    done = oomrules("init", "--undo", "--dry-run", "--root", image)
    assert done.code == 1 and contents(image) == before
    assert f"would remove {image}/etc/oomrules.d/{WRITTEN[1]}" in done.out
    done = oomrules("init", "--undo", "--root", image)
    assert done.code == 1 and linked(image) == [WRITTEN[0]]
    assert f"{mine} is left: it leads to /dev/null now" in done.out


def test_the_answer_for_programs(oomrules: Run, image: Path) -> None:
    data = oomrules("init", "--json", "--root", image, *HOST).data
    assert data["schema"] == "oomrules.init/1"
    assert [one["kind"] for one in data["kinds"]] == ["database", "server"]  # as recorded
    assert data["first"][0]["rank"] == 1
    assert f"{image}/etc/oomrules.d/60-guard-server.oom:" in data["guards"][0]["place"]
    assert data["pending"] and not data["written"]
    done = oomrules("init", "--json", "--yes", "--root", image)
    assert done.data["written"] and done.data["first"] is None and "linked" in done.err
    assert [one["state"] for one in done.data["links"]] == ["written", "written"]
    data = oomrules("init", "--json", "--root", image).data
    assert not data["pending"] and [one["state"] for one in data["links"]] == ["there", "there"]


def test_a_recorded_host_is_ranked_and_never_written(oomrules: Run, image: Path) -> None:
    before = contents(image)
    done = oomrules("init", "--root", image, "--yes", *HOST)
    assert done.code == 2 and "--snapshot" in done.err and contents(image) == before
    done = oomrules("init", "--root", image, *HOST)
    assert "RANK" in done.out and "candidates in all" in done.out


# --- settings of others ---------------------------------------------------------------------------


def test_another_daemon_is_named_with_what_to_do_about_it(oomrules: Run, image: Path) -> None:
    link = image / "etc/systemd/system/multi-user.target.wants/earlyoom.service"
    (image / "usr/lib/systemd/system/earlyoom.service").write_text("[Service]\n")
    link.symlink_to("/usr/lib/systemd/system/earlyoom.service")
    (image / "etc/default").mkdir()
    (image / "etc/default/earlyoom").write_text('EARLYOOM_ARGS="-m 5 --prefer ^x$"\n')
    done = oomrules("init", "--root", image)
    assert "no guard: earlyoom acts already" in done.out
    assert "systemctl disable --now earlyoom.service\n" in done.out
    (command,) = [line for line in done.out.splitlines() if "oomrules import" in line]
    assert f"{image}/etc/default/earlyoom" in command and "3 settings said in rules" in done.out
    assert oomrules(*command.split()[1:]).code == 0


def test_settings_that_cannot_be_read_are_no_failure(oomrules: Run, image: Path) -> None:
    link = image / "etc/systemd/system/multi-user.target.wants/nohang.service"
    (image / "usr/lib/systemd/system/nohang.service").write_text("[Service]\n")
    link.symlink_to("/usr/lib/systemd/system/nohang.service")
    (image / "etc/nohang/nohang.conf").mkdir(parents=True)
    done = oomrules("init", "--root", image)
    assert done.code == 1 and "cannot be read in full" in done.out


# --- what is wrong --------------------------------------------------------------------------------


def test_rules_with_errors_are_mended_first(oomrules: Run, image: Path) -> None:
    (image / "etc/oomrules.d/10-bad.oom").write_text("nonsense\n")
    before = contents(image)
    done = oomrules("init", "--yes", "--root", image)
    assert done.code == 2 and contents(image) == before
    assert "10-bad.oom:1" in done.err and "mend the errors" in done.err


def test_presets_that_are_not_installed_are_said(oomrules: Run, image: Path) -> None:
    shutil.rmtree(image / "usr/lib/oomrules.d/presets")
    done = oomrules("init", "--yes", "--root", image)
    assert done.code == 2 and "install oomrules" in done.err and linked(image) == []


def test_a_directory_that_others_may_write_is_refused(oomrules: Run, image: Path) -> None:
    (image / "etc/oomrules.d").chmod(0o777)
    done = oomrules("init", "--yes", "--root", image)
    assert done.code == 2 and "every user" in done.err and "chmod 755" in done.err
    done = oomrules("init", "--root", image)
    assert done.code == 1 and "nothing will be, because" in done.out.replace("\n", " ")
    assert linked(image) == []


def test_a_user_is_told_what_root_types(process: Run, nobody: dict[str, Any]) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o755)
        root = system(place / "image", rules=True)
        before = contents(root)
        done = process("init", "--root", root, **nobody)
        assert done.code == 1 and "\n  sudo oomrules init --yes" in done.out
        done = process("init", "--root", root, "--yes", **nobody)
        assert done.code == 2 and "permission denied" in done.err and "run it as root" in done.err
        assert contents(root) == before
    finally:
        shutil.rmtree(place)


# --- at a terminal --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "code"), [(b"yes\n", 0), (b"y\n", 1), (b"\x04", 1), (b"YES, please\n", 1)]
)
def test_only_a_yes_at_a_terminal_is_one(image: Path, typed: bytes, code: int) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "oomrules", "init", "--root", str(image)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "PYTHONPATH": CHECKOUT, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(slave)
    said = b""
    while b"Type `yes`" not in said:
        said += os.read(master, 65536)
    os.write(master, typed)
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the last writer is gone
            break
        if not piece:
            break
        said += piece
    os.close(master)
    assert process.wait() == code and b"Traceback" not in said
    assert linked(image) == ([] if code else WRITTEN)


# --- the service ----------------------------------------------------------------------------------

# What a manager says and is told; it knows a service that is as its file says.
_SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in
    show*) echo loaded ;;
    "is-active oomrules.service") cat "$0.active" ;;
    "is-active "*) echo inactive ;;
    is-enabled*) cat "$0.enabled" ;;
    enable*) [ ! -e "$0.broken" ] || { echo "no room" >&2; exit 1; }
        echo active > "$0.active"; echo enabled > "$0.enabled" ;;
    disable*) echo inactive > "$0.active"; echo disabled > "$0.enabled" ;;
esac
"""


@pytest.fixture
def systemd(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., list[str]]]:
    """A manager whose service is inactive and disabled; gives what it was told."""
    command = tmp_path / "bin/systemctl"
    command.parent.mkdir()
    command.write_text(_SYSTEMCTL)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    # The tests' system is none that runs: its manager is asked as if it did.
    monkeypatch.setattr(manager, "_runs_from", lambda root: True)

    def told(active: str = "", enabled: str = "", broken: bool = False) -> list[str]:
        log = command.with_name("systemctl.log")
        words = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        for name, state in (("active", active), ("enabled", enabled)):
            if state:
                command.with_name(f"systemctl.{name}").write_text(f"{state}\n")
        if broken:
            command.with_name("systemctl.broken").touch()
        return [line for line in words if not line.startswith(("show", "is-"))]

    told("inactive", "disabled")
    yield told


def test_the_service_is_started_and_undo_stops_it(
    oomrules: Run, image: Path, systemd: Callable[..., list[str]]
) -> None:
    before = contents(image)
    done = oomrules("init", "--root", image)
    assert done.code == 1 and systemd() == []
    assert "service: `systemctl enable --now oomrules.service`" in done.out
    assert oomrules("init", "--yes", "--root", image).code == 0
    assert systemd() == ["enable --now oomrules.service"]
    assert json.loads((image / "etc/oomrules.d" / RECORD).read_text())["service"]
    assert oomrules("init", "--yes", "--root", image).code == 0 and systemd() == []
    assert oomrules("init", "--undo", "--root", image).code == 0
    assert systemd() == ["disable --now oomrules.service"] and contents(image) == before


def test_a_service_that_runs_is_reloaded(
    oomrules: Run, image: Path, systemd: Callable[..., list[str]]
) -> None:
    systemd("active", "enabled")
    assert oomrules("init", "--yes", "--root", image).code == 0
    assert systemd() == ["reload oomrules.service"]
    assert oomrules("init", "--undo", "--root", image).code == 0
    assert systemd() == ["reload oomrules.service"]


def test_the_service_is_left_alone_if_asked(
    oomrules: Run, image: Path, systemd: Callable[..., list[str]]
) -> None:
    assert oomrules("init", "--yes", "--no-service", "--root", image).code == 0
    assert oomrules("init", "--undo", "--no-service", "--root", image).code == 0
    assert systemd() == []


def test_a_service_that_does_not_start_is_a_failure_that_can_be_undone(
    oomrules: Run, image: Path, systemd: Callable[..., list[str]]
) -> None:
    before = contents(image)
    systemd(broken=True)
    done = oomrules("init", "--yes", "--root", image)
    assert done.code == 2 and "no room" in done.err and "systemctl status" in done.err
    assert oomrules("init", "--undo", "--root", image).code == 0 and contents(image) == before
