"""Figures for monitoring, in a file that node_exporter's textfile collector reads.

The form is OpenMetrics 1.0. The collector reads it as the older text format, which takes
``# EOF`` and ``# UNIT`` for remarks; so there are counters and gauges only, and no times
of the samples.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from oomrules.errors import Failure
from oomrules.files import replace
from oomrules.lean import Any
from oomrules.service import status
from oomrules.service.listener import BROKEN, MISSING
from oomrules.service.status import Parts

FILE = "oomrules.prom"

_EVERY = 10.0

_UNITS = ("seconds", "bytes")


class Metrics:
    """Keeps the file.

    Args:
        path: of the file; empty for none.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._due = float("-inf")

    def write(self, parts: Parts, at: float) -> None:
        """Write the file anew, unless that was done a short time ago."""
        if not self._path or at < self._due:
            return
        self._due = at + _EVERY
        try:
            replace(self._path, _text(parts).encode())
            parts.problems.clear("metrics")
        except Failure as error:
            parts.problems.report("metrics", error.message)

    def remove(self) -> None:
        """Remove the file: its figures would look true for ever."""
        with suppress(OSError):
            os.unlink(self._path)


def _text(parts: Parts) -> str:
    document, counts = status.document(parts), parts.counts
    rules, listed = document["rules"], document["list"]
    read = round(time.time() - listed["age"], 3) if listed else None
    refreshes = {key: value for key, value in document["refreshes"].items() if key != "total"}
    candidates = listed["candidates"] if listed else 0
    problem = int(bool(listed and listed["problem"]))
    broken = int(rules["state"] in (BROKEN, MISSING))
    families: tuple[tuple[str, str, Any, str], ...] = (
        ("gauge", "list_candidates", candidates, "Processes on the list."),
        ("gauge", "list_timestamp_seconds", read, "When the list was read."),
        ("gauge", "list_problem", problem, "Whether the list could not be handed over."),
        ("counter", "refreshes", refreshes, "Lists made, by reason."),
        ("counter", "refresh_seconds", round(counts.seconds, 6), "Time that making lists took."),
        ("counter", "refresh_failures", counts.failures, "Lists that could not be made."),
        ("gauge", "rules", rules["count"], "Rules in force."),
        ("gauge", "rules_broken", broken, "Whether the rules on disk have errors."),
        ("counter", "pressure_events", counts.pressure, "Signs of memory pressure."),
        ("counter", "kills", document["kills"], "OOM kills seen."),
        ("counter", "asked", document["asked"], "Processes that the kernel's module asked to end."),
        ("gauge", "resident_memory_bytes", document["memory"]["rss"], "Memory of the service."),
        ("gauge", "open_descriptors", document["descriptors"], "Files of processes kept open."),
    )
    lines = []
    for kind, key, value, about in families:
        if value is None:
            continue
        name, unit = f"oomrules_{key}", key.rpartition("_")[2]
        lines.append(f"# TYPE {name} {kind}")
        lines += [f"# UNIT {name} {unit}"] if unit in _UNITS else []
        lines.append(f"# HELP {name} {about}")
        sample = f"{name}_total" if kind == "counter" else name
        if isinstance(value, dict):
            lines += [f'{sample}{{reason="{why}"}} {number}' for why, number in value.items()]
        else:
            lines.append(f"{sample} {value}")
    return "\n".join((*lines, "# EOF", ""))
