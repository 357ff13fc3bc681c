"""Files that ship with the package: the grammar and the rules."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _find(name: str) -> Path:
    """Find a shipped directory: inside the installed package, else in the checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def grammar() -> Path:
    """The grammar file of the language."""
    return _find("grammar") / "oomrules.lark"


def rules() -> Path:
    """The directory of shipped rules."""
    return _find("rules.d")
