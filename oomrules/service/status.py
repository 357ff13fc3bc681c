"""The document ``oomrules.status/1`` (docs/service.md): how the service is."""

from __future__ import annotations

import json
import os

from oomrules import __version__
from oomrules.lean import Any
from oomrules.service import memory
from oomrules.service.compile_timer import CompileTimer
from oomrules.service.kills import Recorder
from oomrules.service.list import Keeper
from oomrules.service.listener import SCHEMA
from oomrules.service.pace import Pace
from oomrules.service.pressure import Pressure
from oomrules.service.problems import Problems
from oomrules.service.rules import Rules
from oomrules.service.watch import UnitWatch
from oomrules.state import now

HEAD = 10
_LINES = 20

REASONS = ("start", "pressure", "request", "units", "heartbeat", "rules")


class Status:
    """What the service counts, and how its parts are.

    Attributes:
        refreshes: the lists that were made, by reason; ``failures`` could not be made, and
            ``quiet`` heartbeats needed none.
        took: seconds that the last list took, and ``seconds`` all of them.
        compilations: how often the rules were compiled.
        pressure_events: signs of memory pressure.
        ready: whether the first round is over.
        unlocked: why the memory is not locked; empty if it is, or before it is tried.
    """

    def __init__(
        self,
        *,
        keeper: Keeper,
        rules: Rules,
        compiler: CompileTimer,
        recorder: Recorder,
        pace: Pace,
        pressure: Pressure,
        problems: Problems,
        unit_watch: UnitWatch | None,
    ) -> None:
        self._keeper, self._rules, self._compiler = keeper, rules, compiler
        self._recorder, self._pace, self._pressure = recorder, pace, pressure
        self._problems, self._unit_watch = problems, unit_watch
        self._started = now()
        self.refreshes = dict.fromkeys(REASONS, 0)
        self.failures = self.quiet = self.compilations = self.pressure_events = 0
        self.took = self.seconds = 0.0
        self.ready = False
        self.unlocked = ""

    def count(self, why: str, seconds: float) -> None:
        """Count a list that was made."""
        self.refreshes[why] += 1
        self.took = seconds
        self.seconds += seconds

    def document(self) -> dict[str, Any]:
        """Return how the service is, as plain data; ages and times in seconds."""
        at = now()
        keeper, rules, recorder = self._keeper, self._rules.state, self._recorder
        listed, program = keeper.listed, keeper.program
        shares = self._pressure.shares()
        return {
            "schema": SCHEMA,
            "version": __version__,
            "pid": os.getpid(),
            "uptime": _round(at - self._started),
            "rules": {
                "state": rules.state,
                "age": _round(at - keeper.changed_at) if program else None,
                "files": keeper.files[:_LINES],
                "count": sum(len(scope.rules) for scope in program.scopes) if program else 0,
                "diagnostics": rules.details[:_LINES],
                "checked": _round(at - rules.since),
            },
            "list": {
                "to": listed.to or None,
                "age": _round(at - listed.read),
                "took": _round(self.took),
                "candidates": len(listed.pids),
                "head": listed.head[:HEAD],
                "problem": keeper.problem or None,
            }
            if listed
            else None,
            "host": keeper.host
            and {"memory": keeper.host.mem_total, "swap": keeper.host.swap_total},
            "refreshes": {"total": sum(self.refreshes.values()), **self.refreshes},
            "pressure": {
                "source": self._pressure.source,
                "some": shares and shares[0],
                "full": shares and shares[1],
                "events": self.pressure_events,
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
            "ready": self.ready,
            "preparing": self._compiler.running is not None,
            "memory": {**_memory(), "lock": self.unlocked or None},
            "descriptors": keeper.descriptors,
            "watches": self._unit_watch.watches if self._unit_watch else 0,
            "under_pressure": self._pace.pressed(at),
            "quiet_heartbeats": self.quiet,
            "preparations": self.compilations,
            "complaints": self._problems.standing,
        }

    def encode(self) -> bytes:
        """Return the document as it is sent."""
        return json.dumps(self.document()).encode() + b"\n"


def _memory() -> dict[str, int]:
    """Return how much memory this process takes, and how much of it is locked, in bytes."""
    sizes = memory.sizes()
    names = {"rss": "VmRSS", "peak": "VmHWM", "locked": "VmLck"}
    return {key: sizes.get(name, 0) for key, name in names.items()}


def _round(seconds: float) -> float:
    return round(max(0.0, seconds), 3)


def _unreadable(keeper: Keeper) -> list[str]:
    return [
        f"{field} of {number} processes could not be read; rules that ask for it are in doubt, so "
        "they protect them"
        for field, number in sorted(keeper.unreadable.items())
    ]
