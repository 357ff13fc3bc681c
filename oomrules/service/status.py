"""The document ``oomrules.status/1`` (docs/service.md): how the service is."""

from __future__ import annotations

import json
import os

from oomrules import __version__
from oomrules.lean import Any, NamedTuple
from oomrules.service import memory
from oomrules.service.kills import Recorder
from oomrules.service.list import CurrentList
from oomrules.service.listener import SCHEMA
from oomrules.service.pressure import Pressure
from oomrules.state import now

HEAD = 10
_LINES = 20

REASONS = ("start", "pressure", "request", "units", "heartbeat", "rules")


class Counts:
    """What the service counts; every field has a fixed number of entries."""

    def __init__(self) -> None:
        self.started = now()
        self.refreshes = dict.fromkeys(REASONS, 0)
        self.failures = 0
        self.quiet = 0
        self.seconds = 0.0
        self.took = 0.0
        self.compilations = 0
        self.compile_failures = 0
        self.pressure = 0


class RulesState(NamedTuple):
    """Whether the rules on disk are those in force.

    Attributes:
        state: ``good``, ``broken`` (the last good ones stay), ``missing`` (there are none yet)
            or ``unknown`` (they could not be compiled, for a reason that is not theirs).
        since: when that was found out.
        said: the diagnostics, or the reason.
    """

    state: str
    since: float
    said: list[str]


def document(
    keeper: CurrentList,
    pressure: Pressure,
    counts: Counts,
    rules: RulesState,
    recorder: Recorder,
    more: dict[str, Any],
) -> dict[str, Any]:
    """Say how the service is, as plain data; ages and times in seconds."""
    at = now()
    listed, made = keeper.listed, keeper.program
    shares = pressure.shares()
    return {
        "schema": SCHEMA,
        "version": __version__,
        "pid": os.getpid(),
        "uptime": _round(at - counts.started),
        "rules": {
            "state": rules.state,
            "age": _round(at - keeper.changed_at) if made else None,
            "files": keeper.files[:_LINES],
            "count": sum(len(scope.rules) for scope in made.scopes) if made else 0,
            "diagnostics": rules.said[:_LINES],
            "checked": _round(at - rules.since),
        },
        "list": {
            "to": " ".join(listed.to) or None,
            "age": _round(at - listed.read),
            "took": _round(counts.took),
            "candidates": len(listed.pids),
            "head": listed.head[:HEAD],
            "problem": keeper.problem or None,
        }
        if listed
        else None,
        "host": keeper.host and {"memory": keeper.host.mem_total, "swap": keeper.host.swap_total},
        "refreshes": {"total": sum(counts.refreshes.values()), **counts.refreshes},
        "pressure": {
            "source": pressure.source,
            "some": shares and shares[0],
            "full": shares and shares[1],
            "events": counts.pressure,
        },
        "kills": recorder.count,
        "asked": recorder.asked,
        "kernel_log_lost": recorder.lost,
        "last_kill": None
        if recorder.last is None
        else {
            **{key: value for key, value in recorder.last.items() if key != "at"},
            "ago": _round(at - recorder.last["at"]),
        },
        "problems": [*keeper.facts.problems, *keeper.hidden, *_unreadable(keeper)][:_LINES],
        **more,
    }


def encode(data: dict[str, Any]) -> bytes:
    """Write the document."""
    return json.dumps(data).encode() + b"\n"


def sizes() -> dict[str, int]:
    """Return how much memory this process takes, and how much of it is locked, in bytes."""
    found = memory.sizes()
    names = {"rss": "VmRSS", "peak": "VmHWM", "locked": "VmLck"}
    return {key: found.get(name, 0) for key, name in names.items()}


def _round(seconds: float) -> float:
    return round(max(0.0, seconds), 3)


def _unreadable(keeper: CurrentList) -> list[str]:
    return [
        f"{field} of {number} processes could not be read; rules that ask for it are in doubt, so "
        "they protect them"
        for field, number in sorted(keeper.unreadable.items())
    ]
