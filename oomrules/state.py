"""What is kept between two runs, in ``/run/oomrules``: it ends with the boot.

``program.json`` holds the last good rules, ``list`` the last list, ``list.json`` what is known
of its first processes, ``adjustments.json`` the values of oom_score_adj to restore, ``groups.json``
the control groups whose memory.oom.group to restore. The files tell of the processes of all users,
so only their owner can read them. Their contents are checked before they are used, and a damaged
file counts as missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from oomrules import files, state_directory
from oomrules.clock import now
from oomrules.errors import Failure, reason
from oomrules.lean import Any, NamedTuple
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process
from oomrules.processes.units import Placement
from oomrules.processes.values import innermost_place
from oomrules.program import program
from oomrules.ranking.ranker import Ranking

SCHEMA = "oomrules.list/1"

LIST, LAST_LIST, PROGRAM = "list", "list.json", "program.json"
ADJUSTMENTS, GROUPS = "adjustments.json", "groups.json"
_FILES = (LIST, LAST_LIST, PROGRAM, ADJUSTMENTS, GROUPS)

# Held by the service as long as it runs, so that there is only one.
ONLY_ONE = "service.lock"
# Held while a list is put into force or taken back.
_LOCK = "lock"

# How many candidates list.json has, for the record of a kill.
_REMEMBERED = 1000

# include/linux/threads.h, PID_MAX_LIMIT.
_LAST_PID = 1 << 22


class LastList(NamedTuple):
    """What list.json says of a list, besides its candidates.

    Attributes:
        read: when the processes were read, in seconds since the boot.
        log: the number of the last kernel message that has been dealt with.
        left: the numbers of those before it that tell of kills that are not recorded.
    """

    read: float
    log: int | None
    left: Sequence[int] = ()


class State:
    """The state directory.

    Args:
        directory: where it is; made if it is missing.
        wait: whether ``lock`` waits for the process that holds it, which may take seconds.

    Raises:
        Failure: it cannot be made, or others could change what is in it.
    """

    def __init__(self, directory: str | None = None, wait: bool = True) -> None:
        self.directory = directory or state_directory.standard()
        self._wait = wait
        self._holds_lock = False
        state_directory.directory(self.directory)
        state_directory.tighten(map(self.path, _FILES))

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return os.path.join(self.directory, name)

    @property
    def is_adjusted(self) -> bool:
        """Whether there are values of oom_score_adj to restore."""
        return os.path.exists(self.path(ADJUSTMENTS))

    @property
    def is_grouped(self) -> bool:
        """Whether there are control groups to give memory.oom.group back to."""
        return os.path.exists(self.path(GROUPS))

    @contextmanager
    def lock(self, wait: bool | None = None) -> Iterator[None]:
        """Hold the lock: one process at a time puts a list into force or takes it back.

        Inside another ``with`` of the same object it is held already.

        Args:
            wait: for the process that holds it; None: as the state directory has it.

        Raises:
            Failure: the lock file cannot be opened, or it is held and this does not wait.
        """
        if self._holds_lock:
            yield
            return
        wait = self._wait if wait is None else wait
        descriptor = self._locked(_LOCK, wait, "another oomrules holds it")
        self._holds_lock = True
        try:
            yield
        finally:
            self._holds_lock = False
            os.close(descriptor)

    def only_one(self) -> int:
        """Keep a second service away, for as long as the descriptor is open.

        Raises:
            Failure: there is one already.
        """
        return self._locked(ONLY_ONE, False, "a service runs already")

    def _locked(self, name: str, wait: bool, held: str) -> int:
        path = self.path(name)
        try:
            return state_directory.lock(path, wait)
        except BlockingIOError as error:
            raise Failure(f"{held}: {path} is locked", "`oomrules status` shows it") from error
        except OSError as error:
            raise Failure(
                f"cannot lock {path}: {reason(error)}", "remove it, whatever it is"
            ) from error

    def save_program(self, made: program.Program, fingerprint: list[Any]) -> None:
        """Save the rules that were compiled, and from which files.

        Raises:
            Failure: they cannot be written, or are more than ``program`` would read again.
        """
        data = json.dumps({"fingerprint": fingerprint, "program": program.to_data(made)}).encode()
        if len(data) > state_directory.LARGEST:
            raise Failure(
                f"the rules take {len(data)} bytes when compiled; more than "
                f"{state_directory.LARGEST} are not kept for the next start",
                "are all these rules for this host?",
            )
        files.replace(self.path(PROGRAM), data, state_directory.FILE_MODE)

    def program(self) -> tuple[program.Program, list[Any]] | None:
        """Return the last good rules and the files they came from; None if there are none."""
        data = state_directory.load(self.path(PROGRAM))
        if data is None or not _is_fingerprint(data.get("fingerprint")):
            return None
        try:
            return program.from_data(data.get("program")), data["fingerprint"]
        except (Failure, MemoryError):
            # It is of another version, or damaged.
            return None

    def save_list(self, entries: list[dict[str, Any]], last: LastList) -> None:
        """Save what a list said; its candidates are worst first."""
        data = {
            "schema": SCHEMA,
            "time": last.read,
            "kernel_log": last.log,
            "candidates": entries,
            "kills_left": list(last.left[-_REMEMBERED:]),
        }
        files.replace(self.path(LAST_LIST), json.dumps(data).encode(), state_directory.FILE_MODE)

    def last_list(self) -> dict[str, Any]:
        """Return what ``save_list`` saved last; an empty object if there is nothing."""
        data = state_directory.load(self.path(LAST_LIST)) or {}
        return data if data.get("schema") == SCHEMA and _is_list(data) else {}

    def tidy(self) -> None:
        """Remove what a process left that was killed while it wrote (``files.replace``)."""
        for name in os.listdir(self.directory):
            pid = name.removesuffix(".new").rpartition(".")[2]
            if not (name.endswith(".new") and pid.isdigit()):
                continue
            # A file with this process's pid is of an earlier process: this one has only begun.
            if pid == str(os.getpid()) or not os.path.exists(f"/proc/{pid}"):
                try:
                    os.unlink(self.path(name))
                except OSError:
                    pass


def entries(ranking: Ranking, source: ProcSource, most: int = _REMEMBERED) -> list[dict[str, Any]]:
    """Return the head of a ranking of a source as plain data, worst first."""
    found = []
    for rank, process in enumerate(ranking.candidates[:most], 1):
        place = innermost_place(process, ranking.snapshot)
        entry = {
            "rank": rank,
            **described(process, place),
            # The kernel's log names a process by it if its first thread has ended.
            "thread": source.threads.stand_in(process.pid),
            "points": ranking.points(process),
        }
        group = ranking.groups.of(process) if ranking.groups.by_path else None
        if group is not None:
            entry["whole"] = group.unit.place.unit or group.unit.place.path
        found.append(entry)
    return found


def described(process: Process, place: Placement | None) -> dict[str, Any]:
    """Return what identifies a process, as plain data; the place is None if it is unknown."""
    return {
        "pid": process.pid,
        "uid": process.uid if type(process.uid) is int else None,
        "comm": process.comm,
        "unit": place and place.unit,
        # The user whose manager the unit belongs to: users call their units as they like.
        "manager": place.manager if place else "",
    }


def victim(entry: dict[str, Any]) -> int:
    """Return the number by which the kernel's log names a process of ``entries``."""
    thread = entry.get("thread")
    return thread if type(thread) is int and thread > 0 else int(entry["pid"])


def _is_fingerprint(data: Any) -> bool:
    """Return whether this can tell rule files apart: entries of a name and numbers or texts."""
    return isinstance(data, list) and all(
        isinstance(entry, list)
        and entry
        and isinstance(entry[0], str)
        and all(type(part) in (str, int) for part in entry)
        for entry in data
    )


def _is_list(data: dict[str, Any]) -> bool:
    """Return whether these are a list's candidates, the time of reading and a message's number."""
    read, log, candidates = data.get("time"), data.get("kernel_log"), data.get("candidates")
    left = data.get("kills_left", [])
    return (
        isinstance(read, int | float)
        and not isinstance(read, bool)
        and 0 <= read <= now()
        and (log is None or (type(log) is int and -1 <= log < 1 << 63))
        and isinstance(left, list)
        and len(left) <= _REMEMBERED
        and all(type(number) is int for number in left)
        and isinstance(candidates, list)
        and len(candidates) <= _REMEMBERED
        and all(map(_is_candidate, candidates))
    )


def _is_candidate(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and type(entry.get("pid")) is int
        and 0 < entry["pid"] <= _LAST_PID
        and type(entry.get("rank")) is int
        and 0 < entry["rank"] <= _LAST_PID
        and type(entry.get("points")) is int
        and isinstance(entry.get("comm"), str)
        and ("unit" in entry and isinstance(entry["unit"], str | None))
    )
