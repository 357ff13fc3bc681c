"""A decision -> a signal: to the process that was meant, and to no other one.

A pid may belong to another process by now. So a descriptor of the process is opened first
(pidfd_open(2)), and its start time is read after that. If the start is the one in the list, the
process has had this pid all the time, so the descriptor is of this process, and so is whatever is
sent through it.

Nothing here waits for the victim or for its memory. Before the signal its ``stat`` is read, after
it nothing: its end is seen by the descriptor. To open a file takes memory of the kernel, which may
have to be waited for, so those who come first are opened when the list comes. Calls that may wait
are made by other threads (``reaping``).
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Iterable
from itertools import islice
from signal import SIGCONT, SIGKILL, SIGTERM, pidfd_send_signal

from oomrules.clock import now
from oomrules.errors import reason
from oomrules.files import read_small
from oomrules.guard import trial
from oomrules.guard.model import Armed, Candidate, Flight, Sample
from oomrules.guard.reaping import REAP_KILL, Reaper
from oomrules.lean import NamedTuple
from oomrules.plain import printable
from oomrules.processes.cgroups import Hierarchy, as_bytes
from oomrules.processes.mounts import below
from oomrules.processes.proc_stat import FLAGS, LARGEST, STATE, THREADS, family, split
from oomrules.processes.snapshot import PF_EXITING, PF_KTHREAD

# So long the next step waits for a call that should take microseconds and may take seconds.
_PATIENCE = 0.005
# Of those that go with a victim, the end of so many is waited for.
_MOST_AWAITED = 256
# Of each place that a guard is at, so many candidates are opened ahead; so many of all places.
_AHEAD, _MOST_AHEAD = 4, 32
# So many seconds are spent on it at once.
_AHEAD_TIME = 0.01
# So many candidates that were passed over are named.
_MOST_SAID = 5
_DEAD, _STOPPED = (b"Z", b"X", b"x"), (b"T", b"t")


class _Passed(Exception):
    """A process is passed over; the text says why."""


class _Held(NamedTuple):
    """A process that was checked.

    Attributes:
        pidfd: its descriptor.
        state: its letter in ``stat``.
    """

    pidfd: int
    state: bytes


class _Ahead(NamedTuple):
    """Descriptors of a process that may be signalled later: itself, and its ``stat``."""

    pidfd: int
    stat: int


class Killer:
    """Signals candidates, and sees whether they are gone. For one thread, and one flight at a time.

    Args:
        own: processes that are never signalled, besides this one and its children.
        dry: whether everything is done but the signal.
        proc: where proc is mounted.
        hierarchy: the mounted control groups.
        me: this process, whose children are never signalled either.

    Attributes:
        own: the same; another thread may replace it.
        reaps: whether the kernel kills and gives back memory in one call; the self-test finds out.
        remark: what the self-test found to go less well than it could; or empty.
        passes: whether what the self-test found wrong may be over by itself.
        others: how many processes went with the last victim, as far as they were counted.
    """

    def __init__(
        self,
        own: Iterable[int] = (),
        dry: bool = False,
        proc: str = "/proc",
        hierarchy: Hierarchy | None = None,
        me: int | None = None,
    ) -> None:
        self.own = frozenset(own)
        self.dry = dry
        self.reaps = False
        self.remark = ""
        self.passes = False
        self.others = 0
        self.reaper = Reaper()
        self._proc = proc
        self._me = os.getpid() if me is None else me
        self._hierarchy = hierarchy or Hierarchy()
        # Of whom the descriptors are, those that are not gone yet, and the group's cgroup.kill.
        self._flying: tuple[int, int] | None = None
        self._pidfds: list[int] = []
        self._group: int | None = None
        self._ahead: dict[tuple[int, int], _Ahead] = {}
        self._poll = select.poll()

    def start(self) -> None:
        """Start the threads for calls that may wait; without them those calls are not made.

        Raises:
            RuntimeError: there can be no more threads.
        """
        self.reaper.start()

    def close(self) -> None:
        """End the threads and close all descriptors."""
        self.reaper.stop()
        self._let_go()
        self.prepare(())

    def prepare(self, places: Iterable[tuple[Candidate, ...]]) -> bool:
        """Open the first candidates of each place ahead, and close those that are none any more.

        Returns:
            whether that is done; what takes long is left for the next call.
        """
        end = now() + _AHEAD_TIME
        heads = (victim.identity for candidates in places for victim in candidates[:_AHEAD])
        wanted = set(islice(dict.fromkeys(heads), _MOST_AHEAD))
        for identity in self._ahead.keys() - wanted:
            for descriptor in self._ahead.pop(identity):
                os.close(descriptor)
        for identity in wanted - self._ahead.keys():
            if now() > end:
                return False
            try:
                opened = self._ahead[identity] = self._open_ahead(identity[0])
                # The kernel keeps the room for the text as long as the file is open.
                os.pread(opened.stat, LARGEST, 0)
            except OSError:
                pass  # it is told when it is its turn
        return True

    def _open_ahead(self, pid: int) -> _Ahead:
        pidfd = os.pidfd_open(pid)
        try:
            return _Ahead(pidfd, os.open(f"{self._proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC))
        except BaseException:
            os.close(pidfd)
            raise

    # --- the signal ---------------------------------------------------------------------------

    def strike(
        self,
        victims: Iterable[Candidate],
        armed: Armed,
        action: str,
        sample: Sample,
        before: Callable[[Flight], None] = lambda flight: None,
    ) -> tuple[Flight | None, tuple[str, ...]]:
        """Signal the first candidate that can be signalled.

        Args:
            victims: in their order.
            action: ``kill`` or ``terminate``.
            before: is told right before the signal, when all has been checked. It should not wait;
                its errors are among what is said.

        Returns:
            the flight, None if none of them can be signalled; and why others were passed over, a
            sentence each.
        """
        self._let_go()
        passed = list[str]()
        for victim in victims:
            try:
                flight = self._take(victim, armed, action, sample, before, passed)
                return flight, _some(passed)
            except _Passed as error:
                passed.append(f"{_called(victim)} {error}")
            except OSError as error:
                passed.append(f"{_called(victim)} cannot be signalled: {reason(error)}")
            self._let_go()
        return None, _some(passed)

    def self_test(self) -> str:
        """Try every step on children of this process, with the rights that it has.

        Returns:
            which step failed, and what would allow it; empty if all went well.
        """
        found = trial.run(self._proc, self.reaper, self._hierarchy)
        self.reaps, self.remark, self.passes = found.reaps, found.remark, found.passes
        return found.problem

    def escalate(self, flight: Flight) -> Flight:
        """Kill whom was only asked to end."""
        at = now()
        if not self.dry and self._find(flight):
            try:
                self._kill()
            except (_Passed, OSError):
                pass  # it is seen to be gone, or given up later
            self._take_others(flight.victim, asks=False)
        return flight._replace(killed=at)

    def look(self, flight: Flight) -> Flight:
        """Look, without waiting, whether a victim and all that were signalled with it are gone."""
        if flight.gone is None and not (self._find(flight) and self._remain()):
            return flight._replace(gone=now())
        return flight

    # --- one candidate ------------------------------------------------------------------------

    def _take(
        self,
        victim: Candidate,
        armed: Armed,
        action: str,
        sample: Sample,
        before: Callable[[Flight], None],
        passed: list[str],
    ) -> Flight:
        """Check a candidate and signal it.

        Raises:
            _Passed, OSError: it cannot be signalled.
        """
        held = self._open(victim.pid, victim.start)
        self._hold(victim.identity, held.pidfd)
        # Whether there is the right to.
        pidfd_send_signal(held.pidfd, 0)
        asks = (action == "terminate" or victim.polite) and not self._is_frozen(victim)
        self._group = self._open_group(victim)
        flight = _flight(victim, armed, asks, sample)
        self.others = len(victim.whole.others) if victim.whole else 0
        try:
            before(flight)
        except Exception as error:
            # What is written down matters less than the kill.
            passed.append(f"this could not be written down: {error}")
        if self.dry:
            return flight._replace(gone=flight.since, dry=True)
        if asks:
            _ask(held)
        else:
            self._kill()
        passed += self._take_others(victim, asks)
        return flight

    def _kill(self) -> None:
        """Kill the victim, then its group.

        Raises:
            _Passed, OSError: the victim has ended, or cannot be killed.
        """
        victim = self._pidfds[0]
        reaped = self.reaps and self.reaper.release_soon(victim, REAP_KILL, _PATIENCE)
        try:
            pidfd_send_signal(victim, SIGKILL)
        except ProcessLookupError:
            if not reaped:
                raise _Passed("has ended") from None
        if not self.reaps:
            self.reaper.release_soon(victim)
        if self._group is not None:
            self.reaper.kill_soon(self._group, _PATIENCE)

    def _take_others(self, victim: Candidate, asks: bool) -> list[str]:
        """Signal those that go with a victim; return why some of them could not be signalled."""
        self.others, errors = 0, list[str]()
        self._close(self._pidfds[1:])
        for pid, start in victim.whole.others if victim.whole else ():
            try:
                held = self._open(pid, start, ending=True)
            except (_Passed, OSError):
                continue
            try:
                if asks:
                    _ask(held)
                else:
                    pidfd_send_signal(held.pidfd, SIGKILL)
            except OSError as error:
                os.close(held.pidfd)
                if error.errno != errno.ESRCH:
                    errors.append(f"process {pid} of its unit cannot be signalled: {reason(error)}")
                continue
            self.others += 1
            if len(self._pidfds) <= _MOST_AWAITED:
                self._hold(victim.identity, held.pidfd)
            else:
                os.close(held.pidfd)
        return errors

    # --- who it is ----------------------------------------------------------------------------

    def _open(self, pid: int, start: int, ending: bool = False) -> _Held:
        """Open the descriptor of a process, if it is the one that began then.

        Args:
            ending: whether it may be ending already.

        Raises:
            _Passed: it is gone, or ends already, or is never signalled.
            OSError: it cannot be opened.
        """
        ahead = self._ahead.pop((pid, start), None)
        try:
            pidfd, stat = ahead or self._open_ahead(pid)
            try:
                return _Held(pidfd, self._check(os.pread(stat, LARGEST, 0), pid, start, ending))
            except BaseException:
                os.close(pidfd)
                raise
            finally:
                os.close(stat)
        except (ProcessLookupError, FileNotFoundError):
            raise _Passed("has ended") from None

    def _check(self, data: bytes, pid: int, start: int, ending: bool) -> bytes:
        """Return the state of a process, if it is the one that began then and may be signalled."""
        if pid <= 1 or pid in self.own or pid == self._me:
            raise _Passed("is init or belongs to oomrules")
        try:
            fields, (began, parent) = split(data), family(data)
            state, flags, threads = fields[STATE], int(fields[FLAGS]), int(fields[THREADS])
        except (ValueError, IndexError):
            raise _Passed("cannot be told from another process: its stat has an odd form") from None
        if began != start:
            raise _Passed("has ended, and another process has its pid")
        if flags & PF_KTHREAD:
            raise _Passed("is a thread of the kernel")
        if parent == self._me or parent in self.own:
            raise _Passed("belongs to oomrules")
        # A first thread that has ended says nothing of the others.
        if not ending and (state in _DEAD or flags & PF_EXITING) and threads <= 1:
            raise _Passed("is ending already")
        return state

    def _is_frozen(self, victim: Candidate) -> bool:
        """Return whether a process stands still by its control group, so that it handles nothing.

        SIGKILL ends a process that a group of v2 freezes.
        """
        tree = self._hierarchy.unified
        directory = tree.directory(victim.cgroup) if tree and victim.cgroup else None
        if directory is None:
            return False
        try:
            return b"frozen 1" in read_small(as_bytes(f"{directory}/cgroup.events")).split(b"\n")
        except OSError:
            return False

    def _open_group(self, victim: Candidate) -> int | None:
        """Open ``cgroup.kill`` of the unit that goes with a process; None if it has to be by pid.

        The process was checked before. It is in the group that is open now, so this is the group
        that was meant, and none that was made later under the same name.
        """
        whole, tree = victim.whole, self._hierarchy.unified
        if not whole or not whole.at_once or not tree:
            return None
        rest, directory = below(victim.cgroup, whole.path), tree.directory(whole.path)
        if rest is None or directory is None:
            return None
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            group = os.open(as_bytes(directory), flags)
            try:
                members = read_small(as_bytes(f"{rest.strip('/') or '.'}/cgroup.procs"), group)
                if str(victim.pid).encode() not in members.split():
                    return None
                return os.open("cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=group)
            finally:
                os.close(group)
        except OSError:
            return None

    # --- descriptors --------------------------------------------------------------------------

    def _hold(self, identity: tuple[int, int], pidfd: int) -> None:
        self._flying = identity
        self._pidfds.append(pidfd)
        self._poll.register(pidfd, select.POLLIN)

    def _close(self, pidfds: list[int]) -> None:
        for pidfd in pidfds:
            self._poll.unregister(pidfd)
            self._pidfds.remove(pidfd)
            os.close(pidfd)

    def _let_go(self) -> None:
        """Close all descriptors of the last flight."""
        self._close(self._pidfds[:])
        if self._group is not None:
            os.close(self._group)
        self._flying = self._group = None

    def _find(self, flight: Flight) -> bool:
        """Return whether a descriptor of the flight is held; that of another killer is opened."""
        if self._flying == flight.victim.identity:
            return bool(self._pidfds)
        self._let_go()
        try:
            held = self._open(*flight.victim.identity, ending=True)
        except (_Passed, OSError):
            return False
        self._hold(flight.victim.identity, held.pidfd)
        return True

    def _remain(self) -> bool:
        """Return whether one of those that are held is still there."""
        self._close([pidfd for pidfd, _ in self._poll.poll(0)])
        return bool(self._pidfds)


def _ask(held: _Held) -> None:
    """Ask a process to end; if it is stopped, let it go on, so that it can."""
    pidfd_send_signal(held.pidfd, SIGTERM)
    if held.state in _STOPPED:
        pidfd_send_signal(held.pidfd, SIGCONT)


def _flight(victim: Candidate, armed: Armed, asks: bool, sample: Sample) -> Flight:
    at = now()
    return Flight(
        victim=victim,
        armed=armed,
        since=at,
        killed=None if asks else at,
        escalate=at + armed.guard.within / 1000 if asks else at,
        expected=victim.expected,
        available=sample.host.get("available"),
    )


def _called(victim: Candidate) -> str:
    return f"{printable(victim.comm) or '?'} ({victim.pid})"


def _some(passed: list[str]) -> tuple[str, ...]:
    """Bound what is said: a user can have as many processes that are passed over as he likes."""
    more = len(passed) - _MOST_SAID
    return (*passed[:_MOST_SAID], *([f"{more} more were passed over"] if more > 0 else ()))
