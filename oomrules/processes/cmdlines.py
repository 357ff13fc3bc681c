"""Command lines, read where the reading can be given up.

A command line lies in the memory of its process. Reading it waits for that memory and for its
lock, as long as the process likes. So a child reads (``cmdlines_child``), and the resident half
waits for it no longer than a deadline. What it is stuck with is not asked again for a growing
while.
"""

from __future__ import annotations

import codecs
import errno
import os
import select
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import dropwhile, islice

from oomrules.files import read_small
from oomrules.lean import Any, NamedTuple
from oomrules.processes.cmdlines_child import HEADER, MORE, READY
from oomrules.processes.proc_stat import STATE, split
from oomrules.processes.snapshot import CMDLINE_LENGTH, UNREAD, Process
from oomrules.program.nodes import SELF_MADE

# Seconds: for one command line, and for all those of one refresh that do not come.
DEADLINE = 0.5
_TOTAL = 2.0
# A child that only waits for a processor is given so many deadlines.
_STARVED = 6
# So many command lines of one user that do not come, and the others of his are not asked in this
# refresh: he makes the doubt.
_STUCK_OF_USER = 2
# Seconds until a process whose command line did not come is asked again: twice as long each time.
_WAIT, _LONGEST_WAIT = 10.0, 300.0
# One request fits into a pipe at once, so that the child never waits to be asked.
BATCH = 64
# Seconds until a child is tried again where none could be started, or none came.
_START_AGAIN = 1.0

# Of signal.h. The module is large, and not needed where no rule asks for a command line.
_SIGINT, _SIGTERM = 2, 15

_KEEPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cmdlines_child.py")

# The reader's own want, not the process's doing.
_OURS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EAGAIN)
_LEFT_TO_READ = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM)

# Keepers that were let go and are not collected yet.
_ending: list[int] = []


def bounded(raw: bytes) -> str:
    """Make a text of at most 4096 bytes of UTF-8 from what stands in ``/proc/PID/cmdline``.

    Arguments stay separated by a null character. A text that fits is what comes of itself.
    """
    # A character that the end cuts in two is left out.
    whole = len(raw) < CMDLINE_LENGTH
    text, _ = codecs.utf_8_decode(raw[:CMDLINE_LENGTH], "backslashreplace", whole)
    return cut(text.rstrip("\0"))


def cut(text: str) -> str:
    """Cut a text to 4096 bytes of UTF-8."""
    # A character has at most four of them.
    if len(text) <= CMDLINE_LENGTH // 4:
        return text
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= CMDLINE_LENGTH:
        return text
    return data[:CMDLINE_LENGTH].decode("utf-8", "ignore")


class Answers(NamedTuple):
    """What came of a request: the content or the error number of each file, in order.

    There are fewer of them than files if one did not come: ``stuck`` tells whether the child
    was stuck with it; else there was no child to ask.
    """

    found: list[bytes | int]
    stuck: bool


class Reader:
    """Reads the first 4096 bytes of files, in a process that it starts when it is needed.

    That process, the keeper, has a child that reads (``cmdlines_child``). Where it gets stuck the
    keeper makes another one: a fork of this process would cost it copies of its own memory.
    """

    def __init__(self) -> None:
        self._keeper = self._child = 0
        self._owner = 0
        self._control = self._requests = self._answers = -1
        self._generation = 0
        self._not_before = 0.0
        # What has come of an answer that is not whole.
        self._data = b""

    @property
    def pids(self) -> frozenset[int]:
        """Return the keeper's pid and its child's; empty if there are none."""
        if self._owner != os.getpid():
            return frozenset()
        return frozenset(pid for pid in (self._keeper, self._child) if pid)

    def read(self, paths: Sequence[str]) -> Answers:
        """Read at most ``BATCH`` files, each within ``DEADLINE``."""
        found: list[bytes | int] = []
        stuck = False
        try:
            if self._is_there():
                lines = (f"{self._generation} {path}\n" for path in paths)
                os.write(self._requests, "".join(lines).encode("utf-8", "surrogateescape"))
                stuck = self._collect(found, len(paths))
        except OSError:
            # It is gone, by no fault of the process that was asked about.
            self.close()
        if stuck:
            self._renew()
        return Answers(found, stuck)

    def _is_there(self) -> bool:
        """Have the child there; false if it does not come."""
        self._forget_parents()
        if self._child:
            return True
        if time.monotonic() < self._not_before:
            return False
        self._not_before = time.monotonic() + _START_AGAIN
        if (self._keeper or self._start()) and self._come(self._keeper):
            self._not_before = 0.0
            return True
        return False

    def _come(self, keeper: int) -> bool:
        """Wait for the child's first word."""
        for number, length, _ in self._answered(keeper):
            if number == READY:
                self._child = length
                return True
        return False

    def _collect(self, found: list[bytes | int], wanted: int) -> bool:
        """Take the answers as they come; true if one does not, and it is stuck with it."""
        whole = b""
        for number, _, content in self._answered(self._child):
            whole += content
            if number != MORE:
                found.append(number or whole)
                whole = b""
                if len(found) == wanted:
                    return False
        if _state(self._child) in _ENDED:
            # Somebody has killed it.
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return True

    def _answered(self, worker: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield what is answered: a number, a length, the content; end when nothing comes.

        Args:
            worker: the process that is to answer; one that waits for a processor has more time.

        Raises:
            OSError: nobody is there who could.
        """
        waiting = select.poll()
        waiting.register(self._answers, select.POLLIN)
        until, patience = time.monotonic() + DEADLINE, _STARVED
        while True:
            while (answer := self._next()) is not None:
                generation, number, length, content = answer
                if generation == self._generation:
                    until, patience = time.monotonic() + DEADLINE, _STARVED
                    yield number, length, content
            left = until - time.monotonic()
            if waiting.poll(max(0, int(left * 1000) + 1)):
                piece = os.read(self._answers, 1 << 16)
                if not piece:
                    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
                self._data += piece
                continue
            patience -= 1
            if not patience or _state(worker) != b"R":
                return
            until = time.monotonic() + DEADLINE

    def _next(self) -> tuple[int, int, int, bytes] | None:
        """Take the next answer from what has come."""
        if len(self._data) < HEADER.size:
            return None
        generation, number, length = HEADER.unpack_from(self._data)
        end = HEADER.size + (0 if number == READY else length)
        if len(self._data) < end:
            return None
        content, self._data = self._data[HEADER.size : end], self._data[end:]
        return generation, number, length, content

    def _renew(self) -> None:
        """Have another child instead of the one that is stuck."""
        self._child = 0
        self._generation += 1
        try:
            os.write(self._control, b"\n")
        except OSError:
            self.close()

    def _start(self) -> bool:
        _reap()
        ends: list[int] = []
        try:
            for _ in range(3):
                ends += os.pipe2(os.O_CLOEXEC)
            control, answers, requests = ends[0], ends[3], ends[4]
            theirs = (control, answers, requests)
            # By vfork, so that nothing of a locked memory is copied.
            self._keeper = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", _KEEPER, *map(str, (CMDLINE_LENGTH, *theirs))],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, end, end) for end in theirs],
                # It ends with this process, whatever a terminal sends to both.
                setsigmask=(_SIGINT, _SIGTERM),
            )
        except OSError:
            for descriptor in ends:
                os.close(descriptor)
            return False
        for descriptor in theirs:
            os.close(descriptor)
        self._control, self._answers, self._requests = ends[1], ends[2], ends[5]
        self._owner, self._generation, self._data = os.getpid(), 0, b""
        return True

    def _forget_parents(self) -> None:
        """Leave the keeper alone that this process has inherited from the one that forked it."""
        if self._keeper and self._owner != os.getpid():
            self._let_go()
            _ending.clear()

    def close(self) -> None:
        """End the keeper and its child, without waiting for either."""
        if self._keeper:
            if self._owner == os.getpid():
                _ending.append(self._keeper)
            self._let_go()
        _reap()

    def _let_go(self) -> None:
        for descriptor in (self._control, self._requests, self._answers):
            os.close(descriptor)
        self._keeper = self._child = 0
        self._control = self._requests = self._answers = -1


# All sources of a process ask the same child.
READER = Reader()


# What stat says of a process that has ended, and what is said of one that is not there.
_ENDED = (b"Z", b"X", b"")


def _state(pid: int) -> bytes:
    """Return the state of a process, as in its stat; empty if it is gone, ? if it is hidden."""
    try:
        return split(read_small(f"/proc/{pid}/stat"))[STATE]
    except FileNotFoundError:
        pass
    except (OSError, ValueError, IndexError):
        return b"?"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return b""
    return b"?"


def _reap() -> None:
    for pid in list(_ending):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
        except ChildProcessError:
            pass
        _ending.remove(pid)


class _Stuck(NamedTuple):
    """A process whose command line did not come."""

    # Its start and name, so that another process with this pid is asked at once.
    who: tuple[Any, ...]
    # When it is asked again, on the monotonic clock, and how long that was, in seconds.
    until: float
    wait: float
    # What it said before, SELF_MADE if nothing.
    last: Any


class Cmdlines:
    """The command lines of processes, each refresh with its own patience.

    A value is a text, None where it is not known by no doing of the process, or ``SELF_MADE``.

    Args:
        path, uid: give the file of a process, and its user.
        reader: reads the files.
    """

    def __init__(
        self,
        path: Callable[[Process], str],
        uid: Callable[[Process], Any],
        reader: Reader = READER,
    ) -> None:
        self._path, self._uid = path, uid
        self.reader = reader
        # What has been read and not been taken yet: a value, or the number of an error.
        self._read: dict[int, tuple[Any, Any]] = {}
        self._stuck: dict[int, _Stuck] = {}
        self._stuck_of: Counter[Any] = Counter()
        self._left = _TOTAL
        self._postponed: dict[int, Process] = {}
        # How many were asked for in this refresh, and which processes may be asked about next.
        self._asked = 0
        self._ahead: Iterator[Process] | None = None

    def begin(self) -> None:
        """Begin a refresh: have those looked at again that were not, or not in time."""
        self._asked, self._ahead = 0, None
        if not self._postponed and not self._read and not self._stuck_of:
            return
        self._read.clear()
        self._stuck_of.clear()
        self._left = _TOTAL
        now = time.monotonic()
        for pid, process in list(self._postponed.items()):
            stuck = self._stuck.get(pid)
            if stuck is None or stuck.until <= now:
                del self._postponed[pid]
                process.cmdline = UNREAD
                process.reconsider()

    def forget(self, process: Process) -> None:
        """Forget a process that is gone."""
        for known in (self._read, self._stuck, self._postponed):
            known.pop(process.pid, None)

    def _is_known(self, process: Process) -> bool:
        """Return whether the command line of a process is known without asking the child."""
        return process.pid in self._read or process.pid in self._stuck or not process.total_vm

    def take(self, process: Process) -> Any:
        """Return the command line of a process, and no second time what was read once.

        Raises:
            OSError: the process is gone, or may not be asked.
        """
        if not process.total_vm:
            # Without memory there is none: a kernel thread, a zombie.
            return ""
        if self._read.get(process.pid, (None, None))[0] != process.starttime:
            self.fetch([process])
        _, value = self._read.pop(process.pid)
        if isinstance(value, int):
            raise OSError(value, os.strerror(value))
        return value

    def fetch(self, processes: Sequence[Process]) -> None:
        """Read the command lines of several processes at once, as they are now."""
        wanted = [process for process in processes if not self._settle(process)]
        while wanted:
            batch, wanted = wanted[:BATCH], wanted[BATCH:]
            wanted = self._ask(batch) + wanted

    def fetch_ahead(self, process: Process, table: Mapping[int, Process]) -> None:
        """Read the command line of a process, with as many others as were asked for so far.

        Where many are asked for, one request is too slow for each. The table has all processes, in
        the order in which they may be asked about.
        """
        self._asked += 1
        if self._is_known(process):
            return
        others: Iterator[Process] = iter(())
        if self._asked > 1:
            if self._ahead is None:
                # From behind this one on.
                self._ahead = dropwhile(lambda other: other is not process, list(table.values()))
            others = (
                other
                for other in self._ahead
                if other is not process and other.cmdline is UNREAD and not self._is_known(other)
            )
        self.fetch([process, *islice(others, min(self._asked, BATCH) - 1)])

    def _keep(self, process: Process, value: Any) -> None:
        self._read[process.pid] = (process.starttime, value)

    def _postpone(self, process: Process, value: Any) -> None:
        self._postponed[process.pid] = process
        self._keep(process, value)

    def _settle(self, process: Process) -> bool:
        """Settle for what is known, if the process is not to be asked now."""
        stuck = self._stuck.get(process.pid)
        if stuck is not None and stuck.who != (process.starttime, process.comm):
            del self._stuck[process.pid]
            stuck = None
        if stuck is not None and time.monotonic() < stuck.until:
            self._postpone(process, stuck.last)
        elif self._has_stuck_user(process):
            self._postpone(process, _last(process, SELF_MADE))
        elif self._left <= 0:
            # Others have made the doubt.
            self._postpone(process, _last(process, None))
        else:
            return False
        return True

    def _has_stuck_user(self, process: Process) -> bool:
        user = self._uid(process) if self._stuck_of else 0
        return user != 0 and self._stuck_of[user] >= _STUCK_OF_USER

    def _ask(self, batch: list[Process]) -> list[Process]:
        """Ask the child; give those that are yet to be asked, since it was given up."""
        begun = time.monotonic()
        found, stuck = self.reader.read([self._path(process) for process in batch])
        if stuck:
            self._left -= time.monotonic() - begun
        for process, answer in zip(batch, found, strict=False):
            self._stuck.pop(process.pid, None)
            self._keep(process, _value(answer))
        behind = batch[len(found) :]
        if behind and stuck:
            self._give_up(behind.pop(0))
            return [process for process in behind if not self._settle(process)]
        for process in behind:
            self._postpone(process, _last(process, None))
        return []

    def _give_up(self, process: Process) -> None:
        before = self._stuck.get(process.pid)
        wait = _WAIT if before is None else min(before.wait * 2, _LONGEST_WAIT)
        last = _last(process, SELF_MADE) if before is None else before.last
        who = (process.starttime, process.comm)
        self._stuck[process.pid] = _Stuck(who, time.monotonic() + wait, wait, last)
        self._stuck_of[self._uid(process)] += 1
        self._postpone(process, last)


def _last(process: Process, otherwise: Any) -> Any:
    """What a process said before it fell silent; it gains nothing by keeping to that."""
    return process.cmdline if isinstance(process.cmdline, str) else otherwise


def _value(answer: bytes | int) -> Any:
    """The value, or the number of an error that is the caller's to deal with."""
    if isinstance(answer, bytes):
        return bounded(answer)
    if answer in _LEFT_TO_READ:
        return answer
    # Of what is left, the process decides: where in its memory its arguments lie.
    return None if answer in _OURS else SELF_MADE
