"""How commands tell the service manager to read, start or stop something."""

from __future__ import annotations

import subprocess
from pathlib import Path

from oomrules.dbus.gather import booted_with_systemd


def systemctl(root: Path, *words: str) -> subprocess.CompletedProcess[str] | None:
    """Run systemctl; None where there is no systemd that runs from this root."""
    if not _runs_from(root):
        return None
    command = ["systemctl", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


def asked(root: Path, *words: str) -> str:
    """Return what systemctl prints in answer to a question; empty if there is no answer."""
    done = systemctl(root, *words)
    return done.stdout.strip() if done else ""


def _runs_from(root: Path) -> bool:
    return root == Path("/") and booted_with_systemd()
