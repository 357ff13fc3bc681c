"""The kernel's own record of OOM kills, from /dev/kmsg."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from oomrules.kills import oom_lines
from oomrules.lean import NamedTuple

PATH = "/dev/kmsg"

# Documentation/ABI/testing/dev-kmsg: "priority,sequence,microseconds,flags;message".
_RECORD = re.compile(rb"(\d{1,10}),(\d{1,20}),(\d{1,20}),[^;]*;([^\n]*)")

# Below this the facility is the kernel (syslog(3)), which gives it to its own messages alone.
_KERNEL = 8

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")

# The messages about one kill, by the kernel and by the module, come within the longer time, in
# seconds. Two of them that nothing else connects are about one kill within the shorter time: a
# pid is not used again so soon.
_SAME, _AT_ONCE = 10.0, 1.0

# mm/oom_kill.c, oom_kill_process(): DEFAULT_RATELIMIT_BURST reports in DEFAULT_RATELIMIT_INTERVAL
# (5 s, and one more to be certain); beyond that the kernel names only the victim.
_REPORTS, _INTERVAL = 10, 6.0

# How long the module may wait between SIGTERM and SIGKILL for it to be one story, in seconds.
_GRACE = 600.0

# Messages that are read in one go; what is left waits for the next.
_MOST = 4096


class Kill(NamedTuple):
    """One OOM kill.

    Attributes:
        sequence: the number of the kernel's message.
        constraint: ``CONSTRAINT_NONE`` for a global one, ``CONSTRAINT_MEMCG`` for a limit;
            empty if an old kernel did not tell.
        cgroup: the victim's control group, or the innermost group around it that is certain where
            the message can be read in more than one way; empty if it did not tell.
        pid: the victim's; where its first thread had ended, the number of another thread.
        uid: -1 if an old kernel did not tell.
        time: when, in seconds of the kernel's clock, which stands still during a suspend.
        polite: whether it was SIGTERM, by the module: the process was not killed yet.
        held: what it had in memory and in page tables, in KiB; None if an old kernel did not tell.
        oom_score_adj: the one that it had; None if an old kernel did not tell.
    """

    sequence: int
    constraint: str
    cgroup: str
    comm: str
    pid: int
    uid: int
    time: float
    polite: bool = False
    held: int | None = None
    oom_score_adj: int | None = None


class KernelLog:
    """The kernel's log, read as it grows.

    Args:
        after: the number of the last message that is known already; -1 is all that the
            buffer still holds, None only what comes from now on.
        left: the numbers of earlier messages that tell of kills not yet recorded.

    Attributes:
        descriptor: readable when there is more.
        drained: whether the last reading came to the end.
        last: the number of the last message that was read.
        lost: how many messages were overwritten before they were read.

    Raises:
        OSError: the log cannot be read.
    """

    def __init__(
        self, after: int | None = -1, path: str = PATH, left: Collection[int] = ()
    ) -> None:
        self.last = -1 if after is None else after
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.drained = False
        self.lost = 0
        self._known, self._left = self.last, left
        self._next = -1 if self.last < 0 else self.last + 1
        self._story = _Story()
        if after is None:
            os.lseek(self.descriptor, 0, os.SEEK_END)

    def read(self) -> list[Kill]:
        """Return the kills and SIGTERMs in what comes next, a bounded number of messages."""
        kills: list[Kill] = []
        self.drained = True
        for _ in range(_MOST):
            try:
                record = os.read(self.descriptor, 8192)
            except BlockingIOError:
                return kills
            except BrokenPipeError:
                # Messages were overwritten while this was read; the next read goes on.
                continue
            if not record:
                return kills
            matched = _RECORD.match(record)
            kill = self._take(matched) if matched else None
            if kill:
                kills.append(kill)
        self.drained = False
        return kills

    def close(self) -> None:
        """Close the log."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _take(self, record: re.Match[bytes]) -> Kill | None:
        """Take a message; what is known already only tells what the next ones are about."""
        sequence = int(record[2])
        if 0 <= self._next < sequence:
            self._story.interrupt()
            self.lost += sequence - self._next
        self._next = max(self._next, sequence + 1)
        self.last = max(self.last, sequence)
        if int(record[1]) >= _KERNEL:
            return None
        text = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), record[4])
        kill = self._story.hear(sequence, int(record[3]) / 1e6, text)
        return kill if sequence > self._known or sequence in self._left else None


class _Summary(NamedTuple):
    """A summary and when it came."""

    sequence: int
    time: float
    line: oom_lines.Summary


class _Told(NamedTuple):
    """A kill that was told: whether with a summary, and after the module had sent SIGTERM."""

    time: float
    line: oom_lines.Victim
    summarized: bool
    asked: bool


class _Story:
    """What the messages are about, one after the other.

    A kill is the line "Killed process". What the kernel says before only adds to it: that is
    rate-limited, and torn apart where another message comes in between.
    """

    def __init__(self) -> None:
        # By pid.
        self._summaries: dict[int, _Summary] = {}
        self._told: dict[int, _Told] = {}
        self._asked: dict[int, float] = {}
        # When the last one came, and what it said.
        self._chosen: tuple[float, bool] | None = None
        self._whole: tuple[float, bytes] | None = None
        # The times of the last reports, of which the kernel makes only so many.
        self._reports: list[float] = []

    def interrupt(self) -> None:
        """Take note that messages are missing: what came before is not about what comes now."""
        self._chosen = self._whole = None
        self._summaries.clear()

    def hear(self, sequence: int, time: float, text: bytes) -> Kill | None:
        """Take a message; return the kill that it is the first to tell of, if it tells of one."""
        line = oom_lines.read(text)
        if isinstance(line, oom_lines.Victim):
            self._forget(time)
            take = self._take_polite if line.polite else self._take_kill
            return take(sequence, time, line)
        if isinstance(line, oom_lines.Chosen):
            self._chosen = time, line.limit
        elif isinstance(line, oom_lines.Whole):
            self._whole = time, line.cgroup
        elif line is not None:
            self._whole = None
            if isinstance(line, oom_lines.Summary):
                self._forget(time)
                self._summaries[line.pid] = _Summary(sequence, time, line)
            if isinstance(line, oom_lines.Summary) or line.summary:
                self._reports = [*self._reports, time][-_REPORTS:]
        return None

    def _forget(self, time: float) -> None:
        """Forget what is too long ago to be about the same kill."""
        self._summaries = {k: v for k, v in self._summaries.items() if time - v.time < _SAME}
        self._told = {k: v for k, v in self._told.items() if time - v.time < _SAME}
        self._asked = {k: at for k, at in self._asked.items() if time - at < _GRACE}
        if self._chosen and time - self._chosen[0] >= _SAME:
            self._chosen = None
        if self._whole and time - self._whole[0] >= _SAME:
            self._whole = None

    def _take_polite(self, sequence: int, time: float, line: oom_lines.Victim) -> Kill | None:
        before = self._asked.get(line.pid, -_SAME)
        self._asked[line.pid] = time
        return None if time - before < _SAME else _kill(sequence, time, line)

    def _take_kill(self, sequence: int, time: float, line: oom_lines.Victim) -> Kill | None:
        summary = self._summary(sequence, line)
        told = self._told.get(line.pid)
        repeats = told is not None and self._is_repeated(time, line, summary, told)
        asked = self._asked.pop(line.pid, None) is not None
        if summary and line.uid is None:
            line = line._replace(uid=summary.uid)
        if line.limit is None and self._chosen:
            line, self._chosen = line._replace(limit=self._chosen[1]), None
        self._told[line.pid] = _Told(
            time=time,
            line=line,
            summarized=summary is not None,
            asked=asked or bool(repeats and told and told.asked),
        )
        if repeats:
            return None
        whole = b"" if summary or not line.limit else self._of_whole(time)
        return _kill(sequence, time, line, summary, whole)

    def _summary(self, sequence: int, line: oom_lines.Victim) -> oom_lines.Summary | None:
        """Return the summary of a kill, if it has come."""
        summary = self._summaries.pop(line.pid, None)
        if summary is None and line.allocating:
            # It names the thread that asked for memory, and the kill its process.
            last = max(self._summaries.values(), key=lambda each: each.sequence, default=None)
            if last and last.sequence == sequence - 1:
                summary = self._summaries.pop(last.line.pid)
        return summary.line if summary and line.uid in (summary.line.uid, None) else None

    def _is_repeated(
        self, time: float, line: oom_lines.Victim, summary: oom_lines.Summary | None, told: _Told
    ) -> bool:
        """Return whether a message is about a kill that was told already, not about another one.

        The kernel says it twice of the first victim in a group that is killed as a whole, and
        once more of one that the module has killed, if that does not end at once.
        """
        if (told.line.uid, told.line.total_vm) != (line.uid, line.total_vm):
            return False
        if told.summarized and summary:
            return False
        if self._whole and self._whole[0] >= told.time:
            return True
        if told.line.limit:
            return False
        return told.asked or summary is not None or time - told.time < _AT_ONCE

    def _of_whole(self, time: float) -> bytes:
        """Return the group that is being killed as a whole, if the victim must be in it.

        Every other kill would have a report of its own, unless there were too many of them.
        """
        if self._whole is None:
            return b""
        limited = len(self._reports) == _REPORTS and time - self._reports[0] < _INTERVAL
        return b"" if limited else self._whole[1]


def _kill(
    sequence: int,
    time: float,
    line: oom_lines.Victim,
    summary: oom_lines.Summary | None = None,
    whole: bytes = b"",
) -> Kill:
    constraint = {True: b"CONSTRAINT_MEMCG", False: b"CONSTRAINT_NONE", None: b""}[line.limit]
    if summary and not line.limit:
        # At a limit it says the same, but for some kernels that have CONSTRAINT_NONE there.
        constraint = summary.constraint
    return Kill(
        sequence=sequence,
        constraint=_text(constraint),
        cgroup=_text(oom_lines.group(summary.details, line.comm) if summary else whole),
        comm=_text(line.comm),
        pid=line.pid,
        uid=-1 if line.uid is None else line.uid,
        time=time,
        polite=line.polite,
        held=line.held,
        oom_score_adj=line.oom_score_adj,
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def recent(
    after: int = -1, path: str = PATH, left: Collection[int] = ()
) -> tuple[list[Kill], int, int]:
    """Read the OOM kills that the kernel's buffer still holds.

    Args:
        after, left: as for ``KernelLog``.

    Returns:
        the kills, the number of the last message, and how many messages were overwritten.

    Raises:
        OSError: the log cannot be read.
    """
    log = KernelLog(after, path, left)
    kills: list[Kill] = []
    try:
        while not log.drained:
            kills += log.read()
        return [kill for kill in kills if not kill.polite], log.last, log.lost
    finally:
        log.close()
