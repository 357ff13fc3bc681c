"""The recorded hosts of the benchmark, for tests."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

_BENCH = Path(__file__).resolve().parents[2] / "bench" / "fleet_hosts.py"
_MADE = runpy.run_path(str(_BENCH))
write: Callable[..., list[Path]] = _MADE["write"]
host: Callable[..., Any] = _MADE["host"]
packed: Callable[[bytes, str], bytes] = _MADE["packed"]


def mixed(seed: int) -> str:
    """Return one of the endings that recordings have, in turn."""
    return ("", ".gz", ".zst")[seed % 3]
