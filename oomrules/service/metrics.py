"""Figures for monitoring, in a file that node_exporter's textfile collector reads.

The form is OpenMetrics 1.0. The collector reads it as the older text format, which takes
``# EOF`` and ``# UNIT`` for remarks; so there are counters and gauges only, and no times
of the samples.
"""

from __future__ import annotations

import time

from oomrules.lean import Any

FILE = "oomrules.prom"

# Name, kind, unit or nothing, what it is.
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


def text(status: dict[str, Any], failures: int, seconds: float) -> str:
    """Write the figures of a status document.

    Args:
        failures: lists that could not be made.
        seconds: that making lists took, in all.
    """
    listed = status["list"] or {"candidates": 0, "problem": None, "age": None}
    values: dict[str, Any] = {
        "oomrules_list_candidates": listed["candidates"],
        "oomrules_list_timestamp_seconds": None
        if listed["age"] is None
        else round(time.time() - listed["age"], 3),
        "oomrules_list_problem": int(bool(listed["problem"])),
        "oomrules_refreshes": {k: v for k, v in status["refreshes"].items() if k != "total"},
        "oomrules_refresh_seconds": round(seconds, 6),
        "oomrules_refresh_failures": failures,
        "oomrules_rules": status["rules"]["count"],
        "oomrules_rules_broken": int(status["rules"]["state"] in ("broken", "missing")),
        "oomrules_pressure_events": status["pressure"]["events"],
        "oomrules_kills": status["kills"],
        "oomrules_asked": status["asked"],
        "oomrules_resident_memory_bytes": status["memory"]["rss"],
        "oomrules_open_descriptors": status["descriptors"],
    }
    lines = []
    for name, (kind, unit, what) in _FAMILIES.items():
        value = values[name]
        if value is None:
            continue
        lines.append(f"# TYPE {name} {kind}")
        lines += [f"# UNIT {name} {unit}"] if unit else []
        lines.append(f"# HELP {name} {what}")
        sample = f"{name}_total" if kind == "counter" else name
        if isinstance(value, dict):
            lines += [f'{sample}{{reason="{key}"}} {one}' for key, one in value.items()]
        else:
            lines.append(f"{sample} {value}")
    return "\n".join((*lines, "# EOF", ""))
