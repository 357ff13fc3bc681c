"""Whether the parent or an ancestor of a process satisfies a condition.

The chain of parents ends at the init process, or at a process whose parent is outside of our pid
namespace. Where a parent is not among the processes, it has just ended or is hidden, and what
is above it is not known. A process can end its parent, so that doubt is of its own making; so is
what cannot be known of an ancestor that is ending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from oomrules.lean import Any
from oomrules.processes.snapshot import UNREAD, Process, Snapshot
from oomrules.processes.values import parent_pid, tells_nothing
from oomrules.program.nodes import PENDING, either

INIT = 1

Ask = Callable[[Process, Snapshot], Any]


class Ancestors:
    """The answers of processes to one condition, each asked at most once a refresh.

    Args:
        ask: returns the answer of a process to the condition.
        missing: what a parent counts as that is not there: SELF_MADE, or None to rules that do
            not tell it from another doubt.
        lasts: returns whether an answer lasts as long as the identity of a process.
    """

    def __init__(self, ask: Ask, missing: Any, lasts: Callable[[], bool]) -> None:
        self._ask = ask
        self._missing = missing
        self._lasts = lasts
        self._lasting = False
        self.begin()

    def begin(self) -> None:
        """Forget what was found out: the processes may have changed."""
        self._host: Any = None
        # By pid: the answer of that process, and whether it or an ancestor of it satisfies the
        # condition.
        self._answers: dict[int | None, Any] = {}
        self._lines: dict[int | None, Any] = {}

    def child(self, process: Process, snapshot: Snapshot) -> Any:
        """Return whether the parent of a process satisfies the condition."""
        if snapshot.host is not self._host:
            self._look_at(snapshot)
        pid = parent_pid(process, snapshot)
        if pid == 0:
            return False
        if pid is None:
            return None
        parent = snapshot.by_pid.get(pid)
        return self._missing if parent is None else self._answer(parent, snapshot)

    def under(self, process: Process, snapshot: Snapshot) -> Any:
        """Return whether an ancestor of a process satisfies the condition."""
        if snapshot.host is not self._host:
            self._look_at(snapshot)
        pid = parent_pid(process, snapshot)
        found = self._lines.get(pid, PENDING)
        return self._line(pid, snapshot) if found is PENDING else found

    def _look_at(self, snapshot: Snapshot) -> None:
        self.begin()
        self._host = snapshot.host
        self._lasting = self._lasts()
        # A process without a parent has no ancestors; one whose parent is unknown may have any.
        self._lines = {0: False, None: None}

    def _line(self, pid: int | None, snapshot: Snapshot) -> Any:
        """Return whether a process or an ancestor of it satisfies the condition.

        Each process is visited once, however long the chains are. A recording may have parents
        in a circle: then all in it have the same answer, and what is above is not known.
        """
        lines, by_pid = self._lines, snapshot.by_pid
        way: list[tuple[int | None, Any]] = []
        places: dict[int | None, int] = {}
        value: Any = self._missing
        while True:
            if pid in lines:
                value = lines[pid]
                break
            if pid in places:
                first = places[pid]
                circle, way = way[first:], way[:first]
                for _, answer in circle:
                    value = either(value, answer)
                lines.update((member, value) for member, _ in circle)
                break
            process = by_pid.get(pid)  # type: ignore[arg-type]
            if process is None:
                lines[pid] = value
                break
            answer = self._answer(process, snapshot)
            places[pid] = len(way)
            way.append((pid, answer))
            if answer is True:
                # Nothing above can change that.
                value = True
                break
            pid = 0 if pid == INIT else parent_pid(process, snapshot)
        for member, answer in reversed(way):
            value = lines[member] = either(answer, value)
        return value

    def _answer(self, process: Process, snapshot: Snapshot) -> Any:
        answers, pid = self._answers, process.pid
        if pid in answers:
            return answers[pid]
        kept = process.answers if self._lasting else UNREAD
        if kept is not UNREAD and self in kept:
            found = kept[self]
        else:
            found = self._ask(process, snapshot)
            if found is None and tells_nothing(process):
                found = self._missing
            elif self._lasting:
                if kept is UNREAD:
                    kept = process.answers = {}
                kept[self] = found
        answers[pid] = found
        return found


def above(process: Process, snapshot: Snapshot) -> Iterator[Process]:
    """Yield the ancestors of a process that are known, the parent first, each once."""
    seen: set[int | None] = {process.pid}
    pid = parent_pid(process, snapshot)
    while pid not in seen:
        seen.add(pid)
        ancestor = snapshot.by_pid.get(pid) if pid else None
        if ancestor is None:
            return
        yield ancestor
        if pid == INIT:
            return
        pid = parent_pid(ancestor, snapshot)
