"""Libraries that only some commands need."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path


def install(*libraries: str) -> str:
    """Return how to install libraries, for the Python that runs this: a command to paste."""
    python = sys.executable or "python3"
    # Debian's own Python takes nothing from pip unless it is told to (PEP 668).
    marked = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
    force = " --break-system-packages" if marked and sys.prefix == sys.base_prefix else ""
    return f"`{python} -m pip install{force} {' '.join(libraries)}` installs what it needs"
