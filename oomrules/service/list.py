"""The list in force: its rules, the processes, and the last one that was made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from oomrules import files, state_directory, targets
from oomrules.accounts import passwd
from oomrules.clock import now
from oomrules.errors import Failure
from oomrules.guard import ready
from oomrules.kills.kernel_log import Kill
from oomrules.lean import Any, NamedTuple
from oomrules.processes.bpf import IteratorSource
from oomrules.processes.descriptors import DESCRIPTORS
from oomrules.processes.facts import Facts
from oomrules.processes.hidden import notes
from oomrules.processes.proc_status import MOST_LONG
from oomrules.processes.procfs import IDENTITY_FILES, PLACE_FILES, QUICK_FILES, ProcSource
from oomrules.processes.values import place_of
from oomrules.program.program import Program
from oomrules.ranking.ranker import HEAD, Ranker, Ranking, fresh
from oomrules.service import kept
from oomrules.service import memory as resident
from oomrules.service.compile_child import Compiled
from oomrules.service.pace import CALM
from oomrules.sinks import (
    Choice,
    Sink,
    chosen,
    coverage,
    named,
    put_all,
    see_originals,
    take_back_all,
)
from oomrules.state import LastList, State, described, entries

# Under pressure list.json is not written more often: it is for the hook and the next start.
_SAVE_EVERY = 10.0

# Recomputing the values of oom_score_adj reads every process, so it is rate-limited: by a minimum
# interval in seconds, and by a multiple of its own processor time. A new process among the first
# has no value yet and the kernel would judge it by size alone, so lower limits apply then.
_ADJUST_EVERY, _ADJUST_TIMES = 1.0, 10
_ADJUST_NEW_EVERY, _ADJUST_NEW_TIMES = 0.5, 3
_FIRST = 20

# On a quiet host the list stays as it is, but not for longer than this, in seconds.
_QUIET_FOR = 300.0

# Processes that cannot be seen are looked for no more often than this, in seconds.
_HIDDEN_EVERY = 300.0

# The host is not quiet if the memory in use changed by this part of the whole: a hundredth.
_MEMORY_SHARE = 100

# What is known of containers is kept if a runtime does not answer, but not of more than these.
_MOST_CONTAINERS = 4096

# The names that a directory service gave last, and how many bytes are read of them.
_NAMES, _MOST_NAMES = "names.json", 4 << 20


class Listed(NamedTuple):
    """A list that was put into force.

    Attributes:
        read: when the processes were read, in seconds since the boot.
        given: when the list was put into force.
        pids: worst first.
        head: the first of them, as ``state.entries`` has them.
        to: the targets that took it.
    """

    read: float
    given: float
    pids: list[int]
    head: list[dict[str, Any]]
    to: tuple[str, ...]


class PacedAdjustment:
    """The sink oom_score_adj, used only as often as it is worth its cost.

    Args:
        state, head, limited: as ``sinks.named`` has them.
    """

    name = targets.OOM_SCORE_ADJ

    def __init__(self, state: State, head: int | None, limited: bool = False) -> None:
        self._state, self._head, self.limited = state, head, limited
        self._at = self._new_at = 0.0
        self._adjusted: set[int] = set()

    def put(self, ranking: Ranking, source: ProcSource | None) -> str:
        """Recompute the values if it is time to; until then the last ones stay in force."""
        if not self.is_due(now(), ranking):
            return ""
        # If it is held, the next list has its turn.
        with self._state.lock():
            begun = time.process_time()
            try:
                # A new one each time, since it holds on to what it did.
                sink = named(self.name, self._state, self._head, self.limited)
                return sink.put(ranking, source)
            finally:
                cost = time.process_time() - begun
                self._at = now() + max(_ADJUST_EVERY, _ADJUST_TIMES * cost)
                self._new_at = now() + max(_ADJUST_NEW_EVERY, _ADJUST_NEW_TIMES * cost)
                self._adjusted = _first(ranking)

    def take_back(self) -> None:
        """Restore the values from before."""
        named(self.name, self._state).take_back()

    def is_due(self, at: float, ranking: Ranking) -> bool:
        """Return whether it is time to recompute the values, in seconds since the boot."""
        return at >= self._new_at and (at >= self._at or not _first(ranking) <= self._adjusted)


class CurrentList:
    """The rules in force and the list that they make.

    Attributes:
        program: None until there are rules without errors; ``fingerprint`` tells from which
            files, ``examined`` those that were compiled last, with or without errors.
        source: the processes, as far as the rules ask for them; None without rules.
        listed: the last list, and ``before`` it; None at first.
        problem: why the last list could not be put into force everywhere, or its traces not be
            left; empty if it was.
        one_by_one: why the kernel does not kill some units as a whole, each in a sentence.
        choice: where the last list was to go.
        uncovered: why oom_score_adj does a part of what the kernel's module does elsewhere; empty
            if it does not.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.program: Program | None = None
        self.fingerprint: list[Any] = []
        self.files: list[str] = []
        self.examined: list[Any] = []
        self.facts = Facts()
        self.listed: Listed | None = None
        self.before: Listed | None = None
        self.problem = ""
        self.one_by_one: list[str] = []
        self.choice = Choice()
        self.uncovered = ""
        # The first processes of ``listed`` and of ``before``.
        self._heads: list[kept.Head] = []
        self._aftermath = kept.Aftermath()
        self.changed_at = now()
        # The number of the last message of the kernel's log that was dealt with.
        self.log: int | None = None
        # By id, and filled in place: sources keep them.
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._own = 0
        self.source: IteratorSource | None = None
        # Where the list goes; empty: the host decides; None: that is not known yet.
        self._to: tuple[str, ...] | None = None
        self._head: int | None = None
        self._adjustment: PacedAdjustment | None = None
        self._ranker: Ranker | None = None
        self._saved = -_SAVE_EVERY
        self._seen: tuple[Any, int] | None = None
        self._hidden_at = 0.0
        self._pressed_at = -CALM

    # --- the rules -------------------------------------------------------------------

    def adopt(self, prepared: Compiled) -> None:
        """Put rules in force, or new facts for the rules that are in force.

        Raises:
            Failure: they could not be kept for the next start; they are in force.
        """
        known_already = prepared.program is None or (
            self.program is not None and self.fingerprint == prepared.fingerprint
        )
        facts = prepared.facts
        # Without the bus, what was known stays, for the rules that asked for it.
        if known_already and facts.units is None and self.facts.units is not None:
            facts = facts._replace(units=self.facts.units, places=self.facts.places)
        if known_already and facts.sessions is None and self.facts.sessions is not None:
            facts = facts._replace(sessions=self.facts.sessions)
        if known_already and self.facts.containers is not None:
            facts = facts._replace(containers=_merged(self.facts.containers, facts))
        self.facts = facts
        renamed = self._name(prepared.users, prepared.groups, prepared.names_complete)
        if renamed and prepared.names_complete:
            self._keep_names(prepared.program or self.program)
        if renamed and self.program is not None and self.source is not None:
            # It remembers what it made of a name, and an alias makes no other name of it.
            self._ranker = Ranker(self.program, self.source.host)
        if self.source is not None:
            self.source.facts = facts
            # What has been worked out for each process may rest on the old facts.
            for process in self.source.by_pid.values():
                process.reconsider()
        self.examined = prepared.fingerprint
        if prepared.program is None:
            return
        self.fingerprint, self.files = prepared.fingerprint, prepared.files
        if known_already:
            return
        self._enforce(prepared.program)
        self.state.save_program(prepared.program, prepared.fingerprint)

    def _name(self, users: dict[int, str], groups: dict[int, str], complete: bool) -> bool:
        """Take names; return whether some of them differ from before."""
        before = [passwd.to_data(known) for known in (self._users, self._groups)]
        for known, found in ((self._users, users), (self._groups, groups)):
            # What a directory said before stays, unless that becomes too much.
            if complete or len(known) + len(found) > 2 * passwd.MOST_NAMES:
                known.clear()
            known.update(found)
        return before != [passwd.to_data(known) for known in (self._users, self._groups)]

    def _keep_names(self, made: Program | None) -> None:
        """Save the names that the host's own files do not have, for the next start."""
        path = self.state.path(_NAMES)
        names = (self._users, self._groups)
        # What cannot be saved is asked for again.
        with suppress(OSError, Failure):
            if made is None or names == passwd.of_files(made):
                os.unlink(path)
            else:
                data = json.dumps(list(map(passwd.to_data, names)))
                files.replace(path, data.encode(), state_directory.FILE_MODE)

    def _kept_names(self) -> passwd.Both:
        try:
            with open(self.state.path(_NAMES), "rb") as file:
                users, groups = json.loads(file.read(_MOST_NAMES))
            return passwd.from_data(users), passwd.from_data(groups)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}, {}

    def direct(self, to: list[str] | None, head: int | None) -> None:
        """Set where the list goes.

        Args:
            to: as ``config.Config`` has it; None: as before, since the configuration is wrong.
            head: how many candidates oom_score_adj puts in order; None: as usual.
        """
        if to is not None and (self._to, self._head) != (tuple(to), head):
            self._to, self._head = tuple(to), head
            self._adjustment = None

    @property
    def _chosen(self) -> Choice:
        return Choice() if self._to is None else chosen(self._to, self.choice)

    def _choose(self) -> None:
        """Choose where the list goes, and note why if that has changed."""
        before, self.choice = self.choice, self._chosen
        if targets.OOM_SCORE_ADJ not in self.choice.targets:
            # Its values are given back. If it is chosen again they are due at once.
            self._adjustment = None
        if self.choice != before:
            found = coverage.read() if self.choice.limited else None
            self.uncovered = coverage.uncovered(found) if found and not found.follows else ""

    def _sink(self, target: str) -> Sink:
        if target != targets.OOM_SCORE_ADJ:
            return named(target, self.state)
        limited = self.choice.limited
        if self._adjustment is None or self._adjustment.limited != limited:
            self._adjustment = PacedAdjustment(self.state, self._head, limited)
        return self._adjustment

    def resume(self) -> None:
        """Put the rules in force that were in force when the last service ended."""
        kept = self.state.program()
        # Rules from a command line were for that run only.
        if kept is not None and not any(entry[0] == "--rules" for entry in kept[1]):
            self.fingerprint = kept[1]
            # Directories are asked when rules are compiled; until then their last answers count.
            names = passwd.of_files(kept[0], self._kept_names())
            self._name(*names, complete=False)
            self._enforce(kept[0])

    def recall(self) -> None:
        """Load the last list: a kill that happened while no service ran is recorded against it."""
        last = self.state.last_list()
        if last:
            candidates, read = last["candidates"], last["time"]
            pids = [entry["pid"] for entry in candidates]
            self.listed = Listed(read=read, given=read, pids=pids, head=candidates[:HEAD], to=())

    def _enforce(self, made: Program) -> None:
        self.close()
        self.program = made
        self.changed_at = now()
        self._adjustment = None
        self.source = IteratorSource(
            _with_guards(made),
            descriptors=DESCRIPTORS,
            names=(self._users, self._groups),
            facts=self.facts,
            own=(self._own,) if self._own else (),
        )
        self.source.most_long = MOST_LONG
        try:
            see_originals(self.source, self.state.directory)
        except Failure as error:
            self.problem = error.message
        self._ranker = Ranker(made, self.source.host)
        self._seen = None
        # The old ones are garbage now, partly in cycles, which are collected only here.
        resident.settle()

    def own(self, pid: int) -> None:
        """Take a process for one of oomrules' own, which are never candidates; 0 for none."""
        self._own = pid
        if self.source is not None:
            self.source.own_pids = frozenset({os.getpid(), pid} - {0})

    def look_anew(self, files: Iterable[str] = IDENTITY_FILES) -> None:
        """Let the next list read the identity of every process again, or some files of it."""
        if self.source is not None:
            self.source.look_anew(files)

    @property
    def stale(self) -> bool:
        """Whether a rule file has changed since it was compiled, by its size and times."""
        for entry in self.examined:
            if len(entry) != 4:
                continue
            try:
                status = os.stat(entry[0])
            except (OSError, ValueError):
                return True
            if [status.st_ino, status.st_size, status.st_mtime_ns] != entry[1:]:
                return True
        return False

    # --- the list --------------------------------------------------------------------

    def quiet(self) -> bool:
        """Return whether nothing seems to have happened since the last list, so it is still true.

        No process comes or goes when one is moved or becomes another user's, so some of them are
        looked at in any case.
        """
        listed = self.listed
        if listed is None or self.misplaced or now() - listed.read >= _QUIET_FOR:
            return False
        source, seen, before = self.source, _activity(), self._seen
        if source is None or seen is None or before is None or seen[0] != before[0]:
            return False
        if abs(seen[1] - before[1]) * _MEMORY_SHARE >= max(1, source.host.mem_total >> 10):
            return False
        return source.is_as_it_was()

    @property
    def misplaced(self) -> bool:
        """Whether the list is not where it belongs: the kernel's module has come, gone, changed."""
        there = self.listed.to if self.listed else ()
        wanted = self._chosen
        listed = (targets.KERNEL_LIST in there) == (targets.KERNEL_LIST in wanted.targets)
        return not there or wanted != self.choice or not listed

    def refresh(
        self,
        pressed: bool = False,
        stirred: bool = False,
        ranked: Callable[[Ranking, ProcSource, float, bool], None] = lambda *_: None,
    ) -> Listed | None:
        """Read, rank, read the head once more, and put the list into force.

        Args:
            pressed: whether memory is short: then the list has to be there soon.
            stirred: whether a unit came or went since the last list.
            ranked: is given the ranking, what it is of, when that was read, and ``pressed``. It
                comes first: to put the list into force may take long.

        Returns:
            the list; None without rules.

        Raises:
            Failure: the processes cannot be read.
        """
        if self.source is None or self._ranker is None:
            return None
        self._seen = _activity()
        read = now()
        if stirred and not pressed:
            # Processes may have been moved into a unit that came.
            self.source.look_anew(PLACE_FILES)
        ranking = fresh(self._ranker, self.source.refresh())
        ranked(ranking, self.source, read, pressed)
        save = now() - self._saved >= _SAVE_EVERY
        self._choose()
        put = put_all(
            [self._sink(target) for target in self.choice.targets],
            ranking,
            self.source,
            self.state,
            LastList(read, self.log) if save else None,
            only=self._to is not None,
        )
        if save:
            self._saved = now()
        self.before = self.listed
        self._heads = [kept.head(ranking.candidates[:HEAD]), *self._heads[:1]]
        self.listed = Listed(
            read=read,
            given=now(),
            pids=ranking.pids,
            head=entries(ranking, self.source, HEAD),
            to=tuple(put.to),
        )
        self.problem = "; ".join(failure.message for failure in put.failures)
        self.one_by_one = put.one_by_one
        if pressed:
            # The next list can take its time.
            if read > self._pressed_at + CALM:
                self.source.look_anew(QUICK_FILES)
            elif stirred:
                self.source.look_anew(PLACE_FILES)
            self._pressed_at = read
        if now() >= self._hidden_at:
            self.source.look_for_hidden()
            self._hidden_at = now() + _HIDDEN_EVERY
        return self.listed

    def known(self, pid: int) -> dict[str, Any] | None:
        """Return what was read last of a process.

        Returns:
            as ``state.described`` does, with ``began`` in seconds since the boot; None if nothing
            is known of it.
        """
        source = self.source
        process = source.by_pid.get(pid) if source else None
        if source is None or process is None or type(process.starttime) is not int:
            return None
        place = place_of(process.cgroup, source) if isinstance(process.cgroup, str) else None
        began = process.starttime / source.host.clock_ticks
        return {**described(process, place), "began": began}

    def aftermath(self, kill: Kill, at: float, listed: Listed | None) -> kept.Found | None:
        """Return what is known of the processes after a kill; None without rules.

        Args:
            at: when it was, in seconds since the boot.
            listed: the list that the kernel had, if that is known.
        """
        if self.source is None:
            return None
        heads = self._heads[::-1] if listed is not None and listed is self.before else self._heads
        read = None if listed is None else listed.read
        return self._aftermath.look(kill, at, read, heads, self.source)

    def slow_searches(self) -> list[str]:
        """Return notes on the processes whose texts take too long to search."""
        if self._ranker is None or self.source is None:
            return []
        return self._ranker.evaluator.notes(self.source.by_pid)

    def release(self) -> None:
        """Take the list back, so that the kernel chooses for itself.

        Raises:
            Failure: a part of it could not be; the others are done.
        """
        failures = take_back_all(self.state)
        if failures:
            raise failures[0]

    def dealt_with(self, log: int) -> None:
        """Remember the last kernel message that was dealt with, with the next list."""
        self.log = log
        self._saved = -_SAVE_EVERY

    @property
    def hidden(self) -> list[str]:
        """Notes on processes that cannot be seen."""
        source = self.source
        return [] if source is None else notes(source.hidden, source.hides_processes)

    def close(self) -> None:
        """Close every file of a process."""
        if self.source is not None:
            self.source.close()
            self.source = self._ranker = None
            self._heads = []


def _merged(before: dict[str, dict[str, Any]], facts: Facts) -> dict[str, dict[str, Any]]:
    """Return what is known of containers, where a runtime that has answered before may be silent.

    An id belongs to one container for ever.
    """
    found = facts.containers
    if found is None:
        return before
    kept = {} if facts.whole or len(before) + len(found) > _MOST_CONTAINERS else before
    return {**kept, **found}


def _with_guards(made: Program) -> Program:
    """Return a program that asks for what its guards take from the list, besides its rules."""
    in_blocks = ready.asked((guard for _, guard in made.guards), made.definitions)
    return made._replace(attributes=made.attributes | (in_blocks & ready.OF_LIST))


def _first(ranking: Ranking) -> set[int]:
    return {process.pid for process in ranking.candidates[:_FIRST]}


def _activity() -> tuple[Any, int] | None:
    """Return what changes when a process comes, goes or grows, or swap or memory comes or goes.

    Returns:
        tasks, last pid, and KiB of RAM and swap; and KiB available. None if they cannot be read.
    """
    try:
        tasks = files.read_small("/proc/loadavg").split()[3:5]
        meminfo = files.read_small("/proc/meminfo")
        keys = (b"MemTotal:", b"SwapTotal:", b"MemAvailable:")
        *totals, memory = (meminfo.split(key, 1)[1].split(None, 1)[0] for key in keys)
        # How many of the tasks run at this moment says nothing.
        return (tasks[0].split(b"/")[1], tasks[1], *totals), int(memory)
    except (OSError, IndexError, ValueError):
        return None
