"""Command lines, read where the reading can be given up.

A command line lies in the memory of its process. Reading it waits for that memory and for its
lock, as long as the process likes. So a small child reads, and the resident half waits for it
no longer than a deadline. What the child is stuck with is not asked again for a growing while.
"""

from __future__ import annotations

import codecs
import errno
import os
import select
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import dropwhile, islice
from struct import Struct

from oomrules.files import read_small
from oomrules.lean import Any, NamedTuple
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
# Children that were killed and are not gone yet; with more of them no new one is started.
_MOST_DYING = 2
# Seconds until a child is tried again where none could be started.
_START_AGAIN = 1.0

# Of signal.h. The module is large, and not needed where no rule asks for a command line.
_SIGKILL = 9

_ANSWER = Struct("=iI")

# The reader's own want, not the process's doing.
_OURS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EAGAIN)
_LEFT_TO_READ = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM)

_dying: list[int] = []


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
    """A child that reads the first 4096 bytes of files; it is started when it is needed."""

    def __init__(self) -> None:
        self._child = 0
        self._owner = 0
        self._requests = self._answers = -1
        self._not_before = 0.0

    @property
    def pid(self) -> int:
        """Return the child's pid; 0 if there is none."""
        return self._child if self._owner == os.getpid() else 0

    def read(self, paths: Sequence[str]) -> Answers:
        """Read at most ``BATCH`` files, each within ``DEADLINE``."""
        found: list[bytes | int] = []
        stuck = False
        if self.pid or self._start():
            try:
                request = "".join(f"{path}\n" for path in paths)
                os.write(self._requests, request.encode("utf-8", "surrogateescape"))
                stuck = self._collect(found, len(paths))
            except OSError:
                # It is gone, by no fault of the process that was asked about.
                self.close()
        if stuck:
            self.close()
        return Answers(found, stuck)

    def _collect(self, found: list[bytes | int], wanted: int) -> bool:
        """Take the answers as they come; true if one does not."""
        data, patience = b"", _STARVED
        waiting = select.poll()
        waiting.register(self._answers, select.POLLIN)
        until = time.monotonic() + DEADLINE
        while len(found) < wanted:
            left = until - time.monotonic()
            if not waiting.poll(max(0, int(left * 1000) + 1)):
                patience -= 1
                if not patience or not self._waits_for_a_processor():
                    return True
                until = time.monotonic() + DEADLINE
                continue
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            data += piece
            at = 0
            while len(data) - at >= _ANSWER.size:
                error, length = _ANSWER.unpack_from(data, at)
                end = at + _ANSWER.size + length
                if len(data) < end:
                    break
                found.append(error or data[at + _ANSWER.size : end])
                at, patience = end, _STARVED
                until = time.monotonic() + DEADLINE
            data = data[at:]
        return False

    def _waits_for_a_processor(self) -> bool:
        try:
            return split(read_small(f"/proc/{self.pid}/stat"))[STATE] == b"R"
        except (OSError, ValueError, IndexError):
            return False

    def _start(self) -> bool:
        self._forget_parents()
        _reap()
        if len(_dying) > _MOST_DYING or time.monotonic() < self._not_before:
            return False
        descriptors: list[int] = []
        try:
            descriptors += os.pipe2(os.O_CLOEXEC)
            descriptors += os.pipe2(os.O_CLOEXEC)
            pid = _fork()
        except OSError:
            for descriptor in descriptors:
                os.close(descriptor)
            self._not_before = time.monotonic() + _START_AGAIN
            return False
        theirs, self._requests, self._answers, ours = descriptors
        if pid == 0:
            _be_the_child(theirs, ours)
        os.close(theirs)
        os.close(ours)
        self._child, self._owner = pid, os.getpid()
        return True

    def _forget_parents(self) -> None:
        """Leave the child alone that this process has inherited from the one that forked it."""
        if self._child and self._owner != os.getpid():
            os.close(self._requests)
            os.close(self._answers)
            self._child = 0
            _dying.clear()

    def close(self) -> None:
        """End the child, without waiting for one that cannot end yet."""
        if not self.pid:
            return
        os.close(self._requests)
        os.close(self._answers)
        try:
            os.kill(self._child, _SIGKILL)
        except ProcessLookupError:
            pass
        _dying.append(self._child)
        self._child, self._requests, self._answers = 0, -1, -1
        _reap()


# All sources of a process ask the same child.
READER = Reader()


def _reap() -> None:
    for pid in list(_dying):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
        except ChildProcessError:
            pass
        _dying.remove(pid)


def _fork() -> int:
    import warnings

    with warnings.catch_warnings():
        # Other threads do not matter to a child that does nothing but read and write.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _be_the_child(requests: int, answers: int) -> None:
    """Serve until the parent closes the pipe; never return."""
    try:
        import signal

        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # Locks and pipes of the parent must not live on in a child that is stuck.
        first, second = sorted((requests, answers))
        os.closerange(0, first)
        os.closerange(first + 1, second)
        os.closerange(second + 1, os.sysconf("SC_OPEN_MAX"))
        _serve(requests, answers)
    finally:
        os._exit(0)


def _serve(requests: int, answers: int) -> None:
    rest = b""
    while data := os.read(requests, 1 << 16):
        *paths, rest = (rest + data).split(b"\n")
        for path in paths:
            answer = _answer(path)
            while answer:
                answer = answer[os.write(answers, answer) :]


def _answer(path: bytes) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.read(CMDLINE_LENGTH)
    except OSError as error:
        return _ANSWER.pack(error.errno or errno.EIO, 0)
    return _ANSWER.pack(0, len(content)) + content


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
