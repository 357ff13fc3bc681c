"""What is kept between two runs, below ``/run/oomrules``: it ends with the boot.

``program.json`` holds the last good rules, ``list.json`` what the last list said, ``list``
the list itself where there is no ``/proc/oom``, ``adjustments.json`` the values of
oom_score_adj to restore.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from oomrules.errors import Failure, reason
from oomrules.lean import Any
from oomrules.runtime import program, sinks
from oomrules.runtime.model import Process
from oomrules.runtime.ranking import Ranking
from oomrules.runtime.values import innermost_unit

SCHEMA = "oomrules.list/1"

# The candidates that the state remembers, for the record of a kill.
_REMEMBERED = 1000


class State:
    """The state directory.

    Args:
        directory: where it is; made if it is missing.

    Raises:
        Failure: it cannot be made.
    """

    def __init__(self, directory: str | None = None) -> None:
        self.directory = directory or standard()
        try:
            os.makedirs(self.directory, mode=0o755, exist_ok=True)
        except OSError as error:
            raise Failure(
                f"cannot make {self.directory}: {reason(error)}", "run it as root"
            ) from error

    def path(self, name: str) -> str:
        """Give the path of a file."""
        return os.path.join(self.directory, name)

    @contextmanager
    def lock(self, wait: bool = True) -> Iterator[None]:
        """Hold the lock: one at a time changes the list.

        Args:
            wait: until whoever holds it has done, which may be seconds.

        Raises:
            Failure: the lock file cannot be opened, or somebody holds it and ``wait`` is False.
        """
        try:
            descriptor = os.open(self.path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Failure(f"cannot lock {self.path('lock')}: {reason(error)}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Failure(f"another oomrules holds {self.path('lock')}") from error
            yield
        finally:
            os.close(descriptor)

    def save_program(self, made: program.Program, fingerprint: list[Any]) -> None:
        """Keep the rules that were compiled, and from which files."""
        data = {"fingerprint": fingerprint, "program": program.to_data(made)}
        sinks.replace(self.path("program.json"), json.dumps(data).encode())

    def program(self) -> tuple[program.Program, list[Any]] | None:
        """Give the last good rules and the files they came from; None if there are none."""
        data = self._load("program.json")
        if data is None:
            return None
        try:
            return program.from_data(data.get("program")), data.get("fingerprint") or []
        except Failure:
            # Of another version: as good as none.
            return None

    def save_list(self, entries: list[dict[str, Any]], since: float, log: int | None) -> None:
        """Keep what a list said.

        Args:
            entries: the candidates, worst first.
            since: when the processes were read.
            log: the number of the last kernel message that has been dealt with.
        """
        data = {"schema": SCHEMA, "time": since, "kernel_log": log, "candidates": entries}
        sinks.replace(self.path("list.json"), json.dumps(data).encode())

    def last_list(self) -> dict[str, Any]:
        """Give what the last list said; an empty object if there is none."""
        data = self._load("list.json") or {}
        return data if data.get("schema") == SCHEMA else {}

    def tidy(self) -> None:
        """Remove what a process left that was killed while it wrote (``sinks.replace``)."""
        for name in os.listdir(self.directory):
            pid = name.removesuffix(".new").rpartition(".")[2]
            if name.endswith(".new") and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                try:
                    os.unlink(self.path(name))
                except OSError:
                    pass

    def _load(self, name: str) -> dict[str, Any] | None:
        try:
            with open(self.path(name), encoding="utf-8") as file:
                data = json.load(file)
        except (OSError, ValueError, RecursionError):
            return None
        return data if isinstance(data, dict) else None


def standard() -> str:
    """Name the state directory where none is asked for; nothing is made."""
    return os.environ.get("OOMRULES_STATE") or "/run/oomrules"


def entries(ranking: Ranking, most: int = _REMEMBERED) -> list[dict[str, Any]]:
    """Say in plain data who stands at the head of a ranking, worst first."""
    found = []
    for rank, process in enumerate(ranking.candidates[:most], 1):
        unit = innermost_unit(process, ranking.snapshot)
        found.append(
            {
                "rank": rank,
                "pid": process.pid,
                "comm": process.comm,
                "unit": unit,
                "points": _points(process, ranking),
            }
        )
    return found


def _points(process: Process, ranking: Ranking) -> int:
    """Work out the points of a candidate by what ranked it, which costs less than to say why."""
    host, judge = ranking.snapshot.host, process.judge
    if callable(judge):
        found = judge(process, int(host.uptime), host.clock_ticks, ranking.snapshot)
        if found is not None:
            points: int = found[1] // found[2]
            return points
    return ranking.verdict(process).points


def now() -> float:
    """The time that lists and their readers compare, in seconds since the boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
