"""The document ``oomrules.status/1`` (docs/service.md): how the service is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from oomrules import __version__, targets
from oomrules.clock import now
from oomrules.lean import Any, Protocol
from oomrules.service import memory
from oomrules.service.compile_timer import CompileTimer
from oomrules.service.guarding import Guarding
from oomrules.service.list import CurrentList
from oomrules.service.listener import SCHEMA
from oomrules.service.pace import Pace
from oomrules.service.pressure import Pressure
from oomrules.service.problems import Problems
from oomrules.service.recorder import Recorder
from oomrules.service.rules import Rules
from oomrules.service.telling import Telling
from oomrules.service.watch import UnitWatch
from oomrules.sinks import coverage

HEAD = 10
_LINES = 20

REASONS = ("start", "pressure", "request", "units", "heartbeat", "rules", "guard")


class Counts:
    """What the service counts.

    Attributes:
        refreshes: the lists that were made, by reason; ``failures`` could not be made, and
            ``quiet`` heartbeats needed none.
        took: seconds that the last list took, and ``seconds`` all of them.
        compilations: how often the rules were compiled.
        pressure: signs of memory pressure.
    """

    def __init__(self) -> None:
        self.started = now()
        self.refreshes = dict.fromkeys(REASONS, 0)
        self.failures = self.quiet = self.compilations = self.pressure = 0
        self.took = self.seconds = 0.0

    def made(self, why: str, seconds: float) -> None:
        """Count a list."""
        self.refreshes[why] += 1
        self.took = seconds
        self.seconds += seconds


class Parts(Protocol):
    """The parts of the service that the document is about.

    Attributes:
        problems: what is wrong now. The document calls that ``complaints``; its ``problems`` are
            what could not be found out about the host.
        ready: whether the first round is over.
        unlocked: why the memory is not locked; empty if it is, or before it is tried.
    """

    current_list: CurrentList
    rules: Rules
    compiler: CompileTimer
    recorder: Recorder
    pace: Pace
    pressure: Pressure
    problems: Problems
    counts: Counts
    unit_watch: UnitWatch | None
    guarding: Guarding
    telling: Telling
    ready: bool
    unlocked: str


def document(parts: Parts) -> dict[str, Any]:
    """Return how the service is, as plain data; ages and times in seconds."""
    at = now()
    current, rules, counts = parts.current_list, parts.rules, parts.counts
    listed, program, source = current.listed, current.program, current.source
    recorder, shares = parts.recorder, parts.pressure.shares()
    return {
        "schema": SCHEMA,
        "version": __version__,
        "pid": os.getpid(),
        "uptime": _round(at - counts.started),
        "rules": {
            "state": rules.state,
            "age": _round(at - current.changed_at) if program else None,
            "files": current.files[:_LINES],
            "count": program.size if program else 0,
            "diagnostics": rules.details[:_LINES],
            "checked": _round(at - rules.since),
        },
        "list": listed
        and {
            "to": " ".join(listed.to) or None,
            "age": _round(at - listed.read),
            "took": _round(counts.took),
            "candidates": len(listed.pids),
            "head": listed.head[:HEAD],
            "problem": current.problem or None,
            "limited": current.choice.limited,
        },
        "memcg": listed and _memcg(listed.to),
        "host": source and {"memory": source.host.mem_total, "swap": source.host.swap_total},
        "refreshes": {"total": sum(counts.refreshes.values()), **counts.refreshes},
        "pressure": {
            "source": parts.pressure.source,
            "some": shares and shares[0],
            "full": shares and shares[1],
            "events": counts.pressure,
        },
        "kills": recorder.count,
        "asked": recorder.asked,
        "kernel_log_lost": recorder.lost,
        "last_kill": recorder.last and {**recorder.last, "ago": _round(at - recorder.last_at)},
        "problems": [*current.facts.problems, *current.hidden, *_unreadable(current)][:_LINES],
        "ready": parts.ready,
        "preparing": parts.compiler.running is not None,
        "memory": {**_memory(), "lock": parts.unlocked or None},
        "descriptors": source.descriptors.kept if source else 0,
        "watches": parts.unit_watch.watches if parts.unit_watch else 0,
        "under_pressure": parts.pace.pressed(at),
        "quiet_heartbeats": counts.quiet,
        "preparations": counts.compilations,
        "complaints": parts.problems.standing,
        "guard": {**parts.guarding.document(at), **parts.telling.document(at)},
    }


def encode(parts: Parts) -> bytes:
    """Return the document as it is sent."""
    return json.dumps(document(parts)).encode() + b"\n"


def _memcg(to: Sequence[str]) -> dict[str, Any] | None:
    """Return what makes the kernel follow the list at the limit of a memory control group.

    Args:
        to: where the list is; None is returned if it is in force nowhere.
    """
    if set(targets.IN_FORCE).isdisjoint(to):
        return None
    found = coverage.read() if targets.KERNEL_LIST in to else None
    if found and found.follows:
        by: str | None = targets.KERNEL_LIST
    else:
        by = targets.OOM_SCORE_ADJ if targets.OOM_SCORE_ADJ in to else None
    return {
        "by": by,
        "why": coverage.why(found) or None if found else None,
        "ooms": found.ooms if found else None,
    }


def _memory() -> dict[str, int]:
    """Return how much memory this process takes, and how much of it is locked, in bytes."""
    sizes = memory.sizes()
    names = {"rss": "VmRSS", "peak": "VmHWM", "locked": "VmLck"}
    return {key: sizes.get(name, 0) for key, name in names.items()}


def _round(seconds: float) -> float:
    return round(max(0.0, seconds), 3)


def _unreadable(current: CurrentList) -> list[str]:
    return [
        f"{field} of {number} processes could not be read; rules that ask for it are in doubt, so "
        "they protect them"
        for field, number in sorted(current.source.unreadable.items() if current.source else ())
    ]
