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
from oomrules.kills import guarded
from oomrules.lean import Any
from oomrules.service import status
from oomrules.service.listener import BROKEN, MISSING
from oomrules.service.status import Parts

FILE = "oomrules.prom"

_EVERY = 10.0

_UNITS = ("seconds", "bytes")

# What tells the figures of one name apart, where it is no reason.
_LABELS = {"guard_acts": "act"}

_Family = tuple[str, str, Any, str]


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
    families: tuple[_Family, ...] = (
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
        *_of_limits(document["memcg"]),
        *_of_guard(document.get("guard")),
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
            label = _LABELS.get(key, "reason")
            lines += [f'{sample}{{{label}="{what}"}} {number}' for what, number in value.items()]
        else:
            lines.append(f"{sample} {value}")
    return "\n".join((*lines, "# EOF", ""))


def _of_limits(memcg: dict[str, Any] | None) -> tuple[_Family, ...]:
    """Return the figures about OOMs at the limit of a control group; none without a list."""
    if memcg is None:
        return ()
    followed = int(memcg["by"] is not None)
    seen = "OOMs at the limit of a control group that the kernel's module has seen."
    return (
        ("gauge", "memcg_followed", followed, "Whether the list is followed at such a limit."),
        ("counter", "memcg_ooms", memcg["ooms"], seen),
    )


def _of_guard(guard: dict[str, Any] | None) -> tuple[_Family, ...]:
    """Return the figures about the guard; none without one."""
    if guard is None:
        return ()
    counts = guard.get("counts") or {}
    acts = {kind: counts.get(kind, 0) for kind in (*guarded.IDS, "dry")}
    last = guard.get("last") or {}
    return (
        ("gauge", "guard_on", int(guard.get("state") == "on"), "Whether the guard may signal."),
        ("gauge", "guard_armed", guard.get("armed") or 0, "Guards at the places where they hold."),
        ("counter", "guard_acts", acts, "What the guard has done, by the word for it."),
        (
            "gauge",
            "guard_reaction_seconds",
            last.get("reaction"),
            "From the sample to the signal, of the last victim.",
        ),
        ("gauge", "guard_won_bytes", last.get("won"), "Memory that the last victim gave back."),
    )
