"""Figures for monitoring, in a file that node_exporter's textfile collector reads.

The form is OpenMetrics 1.0. The collector reads it as the older text format, which takes
``# EOF`` and ``# UNIT`` for remarks; so there are counters and gauges only, and no times
of the samples.
"""

from __future__ import annotations

import os
import time

from oomrules.errors import Failure
from oomrules.files import replace
from oomrules.lean import Any
from oomrules.service.problems import Problems
from oomrules.service.rules_state import BROKEN, MISSING
from oomrules.service.status import Status

FILE = "oomrules.prom"

_EVERY = 10.0

# By name: the kind, the unit if there is one, and what it is.
_FAMILIES = {
    "oomrules_list_candidates": ("gauge", "", "Processes on the list."),
    "oomrules_list_timestamp_seconds": ("gauge", "seconds", "When the list was read."),
    "oomrules_list_problem": ("gauge", "", "Whether the list could not be handed over."),
    "oomrules_refreshes": ("counter", "", "Lists made, by reason."),
    "oomrules_refresh_seconds": ("counter", "seconds", "Time that making lists took."),
    "oomrules_refresh_failures": ("counter", "", "Lists that could not be made."),
    "oomrules_rules": ("gauge", "", "Rules in force."),
    "oomrules_rules_broken": ("gauge", "", "Whether the rules on disk have errors."),
    "oomrules_pressure_events": ("counter", "", "Signs of memory pressure."),
    "oomrules_kills": ("counter", "", "OOM kills seen."),
    "oomrules_asked": ("counter", "", "Processes that the kernel's module asked to end."),
    "oomrules_resident_memory_bytes": ("gauge", "bytes", "Memory of the service."),
    "oomrules_open_descriptors": ("gauge", "", "Files of processes kept open."),
}


class Metrics:
    """Keeps the file.

    Args:
        path: of the file; empty for none.
    """

    def __init__(self, path: str, status: Status, problems: Problems) -> None:
        self._path, self._status, self._problems = path, status, problems
        self._due = float("-inf")

    def write(self, at: float) -> None:
        """Write the file anew, unless that was done a short time ago."""
        if not self._path or at < self._due:
            return
        self._due = at + _EVERY
        try:
            replace(self._path, _text(self._status).encode())
            self._problems.clear("metrics")
        except Failure as error:
            self._problems.report("metrics", error.message)

    def remove(self) -> None:
        """Remove the file: its figures would look true for ever."""
        try:
            os.unlink(self._path)
        except OSError:
            pass


def _text(status: Status) -> str:
    document = status.document()
    listed = document["list"] or {"candidates": 0, "problem": None, "age": None}
    refreshes = {key: value for key, value in document["refreshes"].items() if key != "total"}
    values: dict[str, Any] = {
        "oomrules_list_candidates": listed["candidates"],
        "oomrules_list_timestamp_seconds": None
        if listed["age"] is None
        else round(time.time() - listed["age"], 3),
        "oomrules_list_problem": int(bool(listed["problem"])),
        "oomrules_refreshes": refreshes,
        "oomrules_refresh_seconds": round(status.seconds, 6),
        "oomrules_refresh_failures": status.failures,
        "oomrules_rules": document["rules"]["count"],
        "oomrules_rules_broken": int(document["rules"]["state"] in (BROKEN, MISSING)),
        "oomrules_pressure_events": document["pressure"]["events"],
        "oomrules_kills": document["kills"],
        "oomrules_asked": document["asked"],
        "oomrules_resident_memory_bytes": document["memory"]["rss"],
        "oomrules_open_descriptors": document["descriptors"],
    }
    lines = []
    for name, (kind, unit, help_text) in _FAMILIES.items():
        value = values[name]
        if value is None:
            continue
        lines.append(f"# TYPE {name} {kind}")
        lines += [f"# UNIT {name} {unit}"] if unit else []
        lines.append(f"# HELP {name} {help_text}")
        sample = f"{name}_total" if kind == "counter" else name
        if isinstance(value, dict):
            lines += [f'{sample}{{reason="{key}"}} {number}' for key, number in value.items()]
        else:
            lines.append(f"{sample} {value}")
    return "\n".join((*lines, "# EOF", ""))
