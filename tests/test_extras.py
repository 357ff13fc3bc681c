"""How to install what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from oomrules import extras


def test_debian_s_own_python_is_told_to_take_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert "--break-system-packages jinja2 squarify`" in extras.install("jinja2", "squarify")
    monkeypatch.setattr(sys, "prefix", "/a/venv")
    assert "--break" not in extras.install("jinja2")
