"""Keeps the list: the rules in force, the processes, and what was handed over last."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable

from oomrules.accounts import passwd
from oomrules.errors import Failure, reason
from oomrules.lean import Any, NamedTuple
from oomrules.processes.bpf import IteratorSource
from oomrules.processes.descriptors import DESCRIPTORS
from oomrules.processes.facts import Facts
from oomrules.processes.hidden import notes
from oomrules.processes.proc_status import MOST_LONG
from oomrules.processes.procfs import IDENTITY_FILES, PLACE_FILES, QUICK_FILES
from oomrules.processes.snapshot import Host
from oomrules.processes.values import place_of
from oomrules.program.program import Program
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.freshness import HEAD, fresh
from oomrules.ranking.ranker import Ranker, Ranking
from oomrules.service import memory as resident
from oomrules.service.compile_child import Compiled
from oomrules.service.pace import CALM
from oomrules.sinks import emitting, kernel_list
from oomrules.state import State, described, entries, now

# Under pressure list.json is not written more often: it is for the hook and the next start.
_SAVE_EVERY = 10.0

# Adjusting reads and compares everybody: no more often than this, nor than so many times the
# processor time that it costs. Sooner if somebody new is among the first, who has no value yet:
# small newcomers are many quickly, and until then the kernel goes by their size.
_ADJUST_EVERY, _ADJUST_TIMES = 1.0, 10
_ADJUST_NEW_EVERY, _ADJUST_NEW_TIMES = 0.5, 3
_FIRST = 20

# On a quiet host the list stays as it is, but not for longer than this.
_QUIET_FOR = 300.0

# Processes that cannot be seen are looked for no more often than this.
_HIDDEN_EVERY = 300.0

# More memory than this share in use, or less, is news.
_MEMORY_SHARE = 100


# What a directory service said last, and the bytes that it may be.
_NAMES, _MOST_NAMES = "names.json", 4 << 20


class Listed(NamedTuple):
    """A list that was handed over.

    Attributes:
        read: when the processes were read, in seconds since the boot.
        given: when the list was handed over.
        pids: worst first.
        head: the first of them, as ``state.entries`` says it.
        to: where it went, in one text; empty if it went nowhere.
    """

    read: float
    given: float
    pids: list[int]
    head: list[dict[str, Any]]
    to: str


class Keeper:
    """The rules in force and the list that they make.

    Attributes:
        program: None until there are rules without errors; ``fingerprint`` tells from which
            files, ``examined`` those that were compiled last, with or without errors.
        listed: the last list, and ``before`` it; None at first.
        problem: why the last list could not be handed over, or not be kept; empty if it was.
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
        self.changed_at = now()
        # The number of the last message of the kernel's log that was dealt with.
        self.log: int | None = None
        # By id, and filled in place: sources keep them.
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._own: int = 0
        self._source: IteratorSource | None = None
        # Where the list goes; empty: the host decides; None: that is not known yet.
        self._to: tuple[str, ...] | None = None
        self._head: int | None = None
        self._adjust_at = self._adjust_new_at = 0.0
        self._adjusted: set[int] = set()
        self._ranker: Ranker | None = None
        self._saved = -_SAVE_EVERY
        self._seen: tuple[Any, int] | None = None
        self._hidden_at = 0.0
        self._pressed_at = -CALM

    # --- the rules -------------------------------------------------------------------

    def adopt(self, prepared: Compiled) -> None:
        """Put rules in force, or new facts for those that are.

        Raises:
            Failure: they could not be kept for the next start; they are in force.
        """
        known_already = prepared.program is None or (
            self.program is not None and self.fingerprint == prepared.fingerprint
        )
        facts = prepared.facts
        # The bus is gone: what was known is better than nothing, for the rules that asked for it.
        if known_already and facts.units is None and self.facts.units is not None:
            facts = facts._replace(units=self.facts.units, places=self.facts.places)
        if known_already and facts.sessions is None and self.facts.sessions is not None:
            facts = facts._replace(sessions=self.facts.sessions)
        self.facts = facts
        renamed = self._name(prepared.users, prepared.groups, prepared.names_complete)
        if renamed and prepared.names_complete:
            self._keep_names(prepared.program or self.program)
        if renamed and self.program is not None and self._source is not None:
            # It remembers what it made of a name, and an alias makes no other name of it.
            self._ranker = Ranker(Evaluator(self.program, self._source.host))
        if self._source is not None:
            self._source.facts = facts
            # What has been worked out for each process may rest on the old ones.
            self._source.prepared_for = None
        self.examined = prepared.fingerprint
        if prepared.program is None:
            return
        self.fingerprint, self.files = prepared.fingerprint, prepared.files
        if known_already:
            return
        self._enforce(prepared.program)
        self.state.save_program(prepared.program, prepared.fingerprint)

    def _name(self, users: dict[int, str], groups: dict[int, str], complete: bool) -> bool:
        """Take names; True if some are other ones than before."""
        before = [passwd.to_data(known) for known in (self._users, self._groups)]
        for known, found in ((self._users, users), (self._groups, groups)):
            # What a directory said before is better than nothing, as long as it is not too much.
            if complete or len(known) + len(found) > 2 * passwd.MOST_NAMES:
                known.clear()
            known.update(found)
        return before != [passwd.to_data(known) for known in (self._users, self._groups)]

    def _keep_names(self, made: Program | None) -> None:
        """Keep names that the host's own files do not have, for the next start."""
        path = self.state.path(_NAMES)
        names = (self._users, self._groups)
        try:
            if made is None or names == passwd.of_files(made):
                os.unlink(path)
            else:
                data = json.dumps(list(map(passwd.to_data, names)))
                kernel_list.replace(path, data.encode(), 0o600)
        except (OSError, Failure):
            # They are asked for again.
            pass

    def _kept_names(self) -> passwd.Both:
        try:
            with open(self.state.path(_NAMES), "rb") as file:
                users, groups = json.loads(file.read(_MOST_NAMES))
            return passwd.from_data(users), passwd.from_data(groups)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}, {}

    def direct(self, to: list[str] | None, head: int | None) -> None:
        """Say where the list goes.

        Args:
            to: as ``config.Config`` has it; None: as before, since the configuration is wrong.
            head: how many oom_score_adj puts in order; None: as usual.
        """
        if to is not None and (self._to, self._head) != (tuple(to), head):
            self._to, self._head = tuple(to), head
            self._adjust_at = self._adjust_new_at = 0.0

    @property
    def _targets(self) -> tuple[str, ...]:
        return () if self._to is None else emitting.targets(self._to)

    def resume(self) -> None:
        """Put the rules in force that were so when a service before this one ended."""
        kept = self.state.program()
        # Those that somebody named on a command line were for that time.
        if kept is not None and not any(entry[0] == "--rules" for entry in kept[1]):
            self.fingerprint = kept[1]
            # Directories are asked when they are compiled; until then it is what they said last.
            names = passwd.of_files(kept[0], self._kept_names())
            self._name(*names, complete=False)
            self._enforce(kept[0])

    def recall(self) -> None:
        """Take the last list for what it is: a kill that nobody has recorded was by it."""
        last = self.state.last_list()
        if last:
            candidates, read = last["candidates"], last["time"]
            pids = [entry["pid"] for entry in candidates]
            self.listed = Listed(read, read, pids, candidates[:HEAD], "")

    def _enforce(self, made: Program) -> None:
        self.close()
        self.program = made
        self.changed_at = now()
        self._adjust_at = self._adjust_new_at = 0.0
        self._source = IteratorSource(
            made,
            descriptors=DESCRIPTORS,
            names=(self._users, self._groups),
            facts=self.facts,
            own=(self._own,) if self._own else (),
        )
        self._source.most_long = MOST_LONG
        if emitting.is_adjusted(self.state):
            try:
                emitting.see_originals(self._source, self.state)
            except Failure as error:
                self.problem = error.message
        self._ranker = Ranker(Evaluator(made, self._source.host))
        self._seen = None
        # The old ones are garbage now, in cycles too, and nobody else looks for these.
        resident.settle()

    def own(self, pid: int) -> None:
        """Take a process for one of oomrules' own: it is never a candidate; 0 for none."""
        self._own = pid
        if self._source is not None:
            self._source.own_pids = frozenset({os.getpid(), pid} - {0})

    def look_anew(self, files: Iterable[str] = IDENTITY_FILES) -> None:
        """Have everybody's identity, or some files of it, read anew with the next list."""
        if self._source is not None:
            self._source.look_anew(files)

    @property
    def stale(self) -> bool:
        """Whether a rule file is another one than was compiled, by its size and times."""
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
        """Whether nothing seems to have happened since the last list: it is still true.

        No process comes or goes when one is moved or becomes another user's, so some are looked
        at all the same.
        """
        listed = self.listed
        if listed is None or self.misplaced or now() - listed.read >= _QUIET_FOR:
            return False
        seen, before = _activity(), self._seen
        if seen is None or before is None or seen[0] != before[0]:
            return False
        if abs(seen[1] - before[1]) * _MEMORY_SHARE >= max(1, self._memory):
            return False
        return self._source is not None and self._source.is_as_it_was()

    @property
    def misplaced(self) -> bool:
        """Whether the list is not where it belongs: the kernel's module has come or gone."""
        there = self.listed.to.split() if self.listed else []
        wanted = kernel_list.KERNEL_LIST in self._targets
        return not there or (kernel_list.KERNEL_LIST in there) != wanted

    def refresh(self, pressed: bool = False, stirred: bool = False) -> Listed | None:
        """Read, rank, read the head once more, hand over; None without rules.

        Args:
            pressed: whether it is for want of memory: then it has to be there soon.
            stirred: whether a unit came or went since the last one.

        Raises:
            Failure: the processes cannot be read.
        """
        if self._source is None or self._ranker is None:
            return None
        self._seen = _activity()
        read = now()
        if stirred and not pressed:
            # Somebody may have been moved into one that came.
            self._source.look_anew(PLACE_FILES)
        ranking = fresh(self._ranker, self._source.refresh())
        to, problem = self._emit(ranking, self._source)
        self.before = self.listed
        self.listed = Listed(read, now(), ranking.pids, entries(ranking, self._source, HEAD), to)
        if now() - self._saved >= _SAVE_EVERY:
            problem = self._save(ranking) or problem
        self.problem = problem
        if pressed:
            # The next list can take its time.
            if read > self._pressed_at + CALM:
                self._source.look_anew(QUICK_FILES)
            elif stirred:
                self._source.look_anew(PLACE_FILES)
            self._pressed_at = read
        if now() >= self._hidden_at:
            self._source.look_for_hidden()
            self._hidden_at = now() + _HIDDEN_EVERY
        return self.listed

    def known(self, pid: int) -> dict[str, Any] | None:
        """Say what was read last of a process, as ``state.described`` does.

        Returns:
            that with ``began``, seconds since the boot; None if nothing is known of it.
        """
        process = self._source.by_pid.get(pid) if self._source else None
        if process is None or self._source is None or type(process.starttime) is not int:
            return None
        place = place_of(process.cgroup, self._source) if isinstance(process.cgroup, str) else None
        began = process.starttime / self._source.host.clock_ticks
        return {**described(process, place), "began": began}

    def slow_searches(self) -> list[str]:
        """Say whose texts take too long to search."""
        if self._ranker is None or self._source is None:
            return []
        return self._ranker.evaluator.notes(self._source.by_pid)

    def _emit(self, ranking: Ranking, source: IteratorSource) -> tuple[str, str]:
        """Hand the list over: the one place where sinks are chosen.

        Returns:
            where it went, and what failed.
        """
        wanted = self._targets
        adjusts = emitting.ADJUST in wanted
        begun, cost = now(), time.process_time()
        if self._to is not None and not adjusts and emitting.is_adjusted(self.state):
            self._give_back()
        if not adjusts or not self._is_adjusting_due(begun, ranking):
            where = tuple(target for target in wanted if target != emitting.ADJUST)
            emitted = emitting.emit(ranking, source, self.state, where)
            to = [target for target in wanted if target in (*emitted.to, emitting.ADJUST)]
        else:
            try:
                with self.state.lock(wait=False):
                    emitted = emitting.emit(ranking, source, self.state, wanted, self._head)
            except Failure as error:
                # Somebody else is at it; the next refresh is not far.
                return "", error.message
            cost = time.process_time() - cost
            self._adjust_at = now() + max(_ADJUST_EVERY, _ADJUST_TIMES * cost)
            self._adjust_new_at = now() + max(_ADJUST_NEW_EVERY, _ADJUST_NEW_TIMES * cost)
            self._adjusted = _first(ranking)
            to = [target for target in wanted if target in emitted.to]
        return " ".join(to), "; ".join(failure.message for failure in emitted.failures)

    def _is_adjusting_due(self, at: float, ranking: Ranking) -> bool:
        """Whether it is time to reconsider the values of oom_score_adj."""
        if at < self._adjust_new_at:
            return False
        return at >= self._adjust_at or not _first(ranking) <= self._adjusted

    def _give_back(self) -> None:
        """Undo the adjustments; what cannot be undone now is at the next refresh."""
        try:
            with self.state.lock(wait=False):
                emitting.release(self.state)
        except Failure as error:
            self.problem = error.message

    def release(self) -> None:
        """Take the list back, so that the kernel chooses for itself.

        Raises:
            Failure: a part of it could not be; the others are done.
        """
        failures = []
        if os.path.exists(kernel_list.KERNEL_LIST):
            try:
                kernel_list.write_kernel([])
            except Failure as error:
                failures.append(error)
        if emitting.is_adjusted(self.state):
            try:
                with self.state.lock():
                    emitting.release(self.state)
            except Failure as error:
                failures.append(error)
        try:
            os.unlink(self.state.path("list"))
        except FileNotFoundError:
            pass
        except OSError as error:
            failures.append(Failure(f"cannot remove {self.state.path('list')}: {reason(error)}"))
        if failures:
            raise failures[0]

    def dealt_with(self, log: int) -> None:
        """Remember the last kernel message that was dealt with, with the next list."""
        self.log = log
        self._saved = -_SAVE_EVERY

    def _save(self, ranking: Ranking) -> str:
        """Keep what the list said, for the hook and for the next start.

        Returns:
            why it could not be kept; empty if it was.
        """
        if self.listed is None or self._source is None:
            return ""
        self._saved = now()
        try:
            self.state.save_list(entries(ranking, self._source), self.listed.read, self.log)
        except Failure as error:
            return error.message
        return ""

    @property
    def _memory(self) -> int:
        return self.host.mem_total >> 10 if self.host else 1

    @property
    def host(self) -> Host | None:
        """The host as it was at the last look; None without rules."""
        return None if self._source is None else self._source.host

    @property
    def unreadable(self) -> dict[str, int]:
        """Of how many processes which field could not be read."""
        return {} if self._source is None else self._source.unreadable

    @property
    def hidden(self) -> list[str]:
        """What is to be said of processes that cannot be seen."""
        source = self._source
        return [] if source is None else notes(source.hidden, source.hides_processes)

    @property
    def descriptors(self) -> int:
        """How many files of processes are open."""
        return 0 if self._source is None else self._source.kept_descriptors

    def close(self) -> None:
        """Close every file of a process."""
        if self._source is not None:
            self._source.close()
            self._source = self._ranker = None


def _first(ranking: Ranking) -> set[int]:
    return {process.pid for process in ranking.candidates[:_FIRST]}


def _activity() -> tuple[Any, int] | None:
    """What changes when a process comes, goes or grows, and when swap or memory comes or goes.

    Returns:
        tasks, last pid, and KiB of RAM and swap; and KiB available.
    """
    try:
        tasks = _read("/proc/loadavg").split()[3:5]
        meminfo = _read("/proc/meminfo")
        keys = (b"MemTotal:", b"SwapTotal:", b"MemAvailable:")
        *totals, memory = (meminfo.split(key, 1)[1].split(None, 1)[0] for key in keys)
        # How many of the tasks run at this moment says nothing.
        return (tasks[0].split(b"/")[1], tasks[1], *totals), int(memory)
    except (OSError, IndexError, ValueError):
        return None


def _read(path: str) -> bytes:
    """Read a small file of proc."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
