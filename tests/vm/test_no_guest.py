"""Where no guest can be had, the tests say why and fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm import host
from tests.vm.host import NoGuest
from tests.vm.states import CHECKOUT


def test_tests_without_a_guest_fail_with_the_reason(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "pytest", "-q", "tests/vm/test_guest.py", "-k", "systemd_is_pid"]
    environment = {**os.environ, "PATH": str(tmp_path), "OOMRULES_VM_CACHE": str(tmp_path)}
    done = subprocess.run(
        argv, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no guest can be had here: qemu-system-x86_64" in done.stdout
    assert "1 error" in done.stdout


def test_only_root_can_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoGuest, match="building needs root"):
        host.require_root("building")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoGuest, match="a guest needs 1000000000 MB"):
        host.require_space(tmp_path, 10**9)


def test_a_failed_tool_is_quoted() -> None:
    with pytest.raises(NoGuest, match="sh failed with status 4: the last line"):
        host.command(["sh", "-c", "echo first >&2; echo the last line >&2; exit 4"])
