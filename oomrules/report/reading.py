"""OOM reports in the lines of a log.

A report begins with "invoked oom-killer", has figures of the memory, a table of tasks, a summary
(since Linux 5.0) and the lines that say who was killed. Any of that can be missing, cut, wrapped
by a mail client, or mixed with other lines of the kernel's.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from oomrules.report import messages
from oomrules.report.building import Building
from oomrules.report.lines import Line
from oomrules.report.model import Killed, Report
from oomrules.report.others import ANY, Others
from oomrules.report.wrapping import Wrapped

# Lines without a word of a report, after which it has ended.
_FAR = 3000

# Seconds between two lines of one report. A slow console needs minutes for a long table.
_LONG_AGO = 600.0

# Of so many kills in a row one is known again.
_MOST_SIGNALS = 256

# Hosts in one log whose reports are read side by side.
_MOST_HOSTS = 16

# Reports that wait for one that began before them, on another host.
_MOST_WAITING = 8

# Processes that reports before one name as killed.
_MOST_EARLIER = 64

# What a line of interest has where no report is open.
_SIGN = re.compile(
    rb"oom|[Oo]ut of memory|Kill|kill process|Terminated|Mem-[Ii]nfo|tgid|Linux version|"
    rb"Tasks? (?:in|state)|\[ *\d+\] +\d+ +\d+ +\d|swap +=|pages RAM|emory: usage|page alloc|"
    rb"[Ss]ys[Rr]q ?:|pages of RAM|cgroup stats for|^$|" + ANY
)


class Reading:
    """Reads the reports in a log, one after the other, in memory that does not grow with the log.

    Args:
        lines: of the log.
        source: the file, or what else it is from.

    Attributes:
        others: what else the log holds, if that is about memory.
        read: how many lines have been read.
    """

    def __init__(self, lines: Iterable[Line], source: str = "") -> None:
        self.others = Others()
        self.read = 0
        self._lines, self._source = lines, source
        self._hosts: dict[str, _Host] = {}

    def __iter__(self) -> Iterator[Report]:
        """Yield the reports in the order in which they begin.

        Of many that end on other hosts before one that began first, some come before it.
        """
        earlier: deque[Killed] = deque(maxlen=_MOST_EARLIER)
        for number, report in enumerate(self._in_order(), 1):
            yield replace(report, number=number, earlier=tuple(earlier))
            earlier.extend(report.killed)

    def _in_order(self) -> Iterator[Report]:
        waiting: list[Report] = []
        for report in self._found():
            waiting = sorted([*waiting, report], key=lambda each: each.first)
            begun = min((host.begun for host in self._hosts.values()), default=0)
            while waiting and (waiting[0].first < begun or len(waiting) > _MOST_WAITING):
                yield waiting.pop(0)
        yield from waiting

    def _found(self) -> Iterator[Report]:
        host = self._host("")
        for line in self._lines:
            self.read = line.number
            if line.own and line.host:
                host = self._hosts.get(line.host) or self._host(line.host)
            host.take(line)
            if host.done:
                yield from host.done
                host.done = []
        for host in self._hosts.values():
            host.end()
        for host in self._hosts.values():
            yield from host.done
            host.done = []

    def _host(self, name: str) -> _Host:
        if len(self._hosts) >= _MOST_HOSTS:
            name = ""
        return self._hosts.setdefault(name, _Host(self._source, self.others))


def reports(lines: Iterable[Line], source: str = "") -> Iterator[Report]:
    """Yield the reports in a log, in memory that does not grow with it."""
    return iter(Reading(lines, source))


class _Host:
    """The lines of one host.

    Attributes:
        done: reports that have ended.
    """

    def __init__(self, source: str, others: Others) -> None:
        self.done: list[Report] = []
        self._source, self._others = source, others
        self._wrapped: Wrapped | None = None
        self._open: Building | None = None
        # Lines since the last word of the open report.
        self._quiet = 0
        # Whom the last reports name as killed. What is said of them later is of no other report.
        self._ended: deque[int] = deque(maxlen=_MOST_EARLIER)
        # What was said before the report that it belongs to.
        self._kernel = ""
        self._boot = ""
        self._sysrq = False
        self._listed: int | None = None
        # Who was killed since the last message of another kind.
        self._signals: deque[messages.Signal] = deque(maxlen=_MOST_SIGNALS)
        self._other_dump = False

    @property
    def begun(self) -> float:
        """The line on which a report begins that has not ended; infinite if there is none."""
        if self._open:
            return self._open.first
        parts = self._wrapped.parts if self._wrapped else []
        may_begin = any(part.text.strip() and _SIGN.search(part.text) for part in parts)
        return parts[0].number if may_begin else math.inf

    def take(self, line: Line) -> None:
        """Take the next line."""
        wrapped = self._wrapped
        if wrapped and not line.own:
            if not line.text.strip():
                self._wrapped = None
                self._say(wrapped)
                return
            table = self._open.table if self._open else None
            if wrapped.goes_on(line, table):
                wrapped.add(line)
                if wrapped.parts[0].by:
                    self._others.hear((line,))
                return
        if wrapped:
            self._say(wrapped)
        self._wrapped = Wrapped(line)

    def end(self) -> None:
        """Take note that the log ends here."""
        if self._wrapped:
            self._say(self._wrapped)
            self._wrapped = None
        self._close()

    def _say(self, wrapped: Wrapped) -> None:
        """Take a message, or several that may be one."""
        first = wrapped.parts[0]
        if first.by:
            if self._open and messages.is_lost(first.text):
                self._open.broken(first, messages.Gap(lost=True))
            self._others.hear(wrapped.parts)
            return
        if self._open is None:
            if not any(_SIGN.search(part.text) for part in wrapped.parts):
                return
            self._others.hear(wrapped.parts)
        else:
            self._quiet += 1
            if self._quiet > _FAR:
                self._close()
        for line, last, message in wrapped.messages(self._open.table if self._open else None):
            self._hear(line, message)
            if self._open and self._quiet == 0:
                self._open.last = max(self._open.last, last)

    def _close(self) -> None:
        """End the open report."""
        if self._open and (report := self._open.report()):
            self.done.append(report)
            self._ended.extend(killed.pid for killed in report.killed)
        self._open = None
        self._quiet = 0

    def _opened(self, line: Line) -> Building:
        """Return the open report; a new one if there is none."""
        if self._open is None:
            self._open = Building(self._source, line)
            self._open.kernel, self._open.sysrq = self._kernel, self._sysrq
            self._open.boot = line.boot or self._boot
            self._open.listed, self._listed, self._sysrq = self._listed, None, False
        self._quiet = 0
        return self._open

    def _anew(self, line: Line) -> Building:
        """Return a new report; the one that is open has ended."""
        self._close()
        return self._opened(line)

    def _hear(self, line: Line, message: messages.Message) -> None:
        """Take what one message says."""
        if not isinstance(message, messages.Signal):
            self._signals.clear()
        match message:
            case messages.Head():
                self._other_dump = False
                self._anew(line).begin(line, message)
            case messages.Release():
                self._take_release(message)
            case messages.Mark():
                self._take_mark(line, message.what)
            case messages.Listed():
                self._take_listed(line, message)
            case messages.Policy():
                if self._open:
                    self._open.policy(message)
            case messages.Remark():
                self._opened(line).remark(line, message.note)
            case messages.Nodes() | messages.Number() | messages.Usage() | messages.Stats():
                self._take_figures(line, message)
            case messages.Limited():
                fresh = self._open is not None and not self._open.killed
                building = self._opened(line) if fresh else self._anew(line)
                building.limited(message)
            case messages.Header() | messages.Row() | messages.Piece() | messages.Gap():
                self._take_table(line, message)
            case _:
                self._take_kill(line, message)

    def _take_release(self, message: messages.Release) -> None:
        name = message.name.decode("utf-8", "backslashreplace")
        if message.pid is None:
            self._close()
            self._kernel = name
        elif self._open and not self._open.killed:
            self._open.kernel, self._open.invoker_pid = name, message.pid
            self._quiet = 0

    def _take_mark(self, line: Line, what: str) -> None:
        if what == "sysrq":
            self._close()
            self._sysrq = True
        elif what == "other":
            self._close()
            self._other_dump = True
        elif self._open and (self._open.table or self._open.killed):
            self._anew(line)
        elif what == "tasks" or not self._other_dump:
            self._opened(line)

    def _take_figures(
        self,
        line: Line,
        message: messages.Nodes | messages.Number | messages.Usage | messages.Stats,
    ) -> None:
        building = self._open
        if building is None or building.killed:
            # Without a begin: the figures that other messages do not have.
            begins = (
                isinstance(message, messages.Usage)
                or (isinstance(message, messages.Stats) and message.group)
                or (
                    isinstance(message, messages.Number)
                    and any(key in BEGINS for key in message.values)
                )
            )
            if self._other_dump or not begins:
                return
            building = self._anew(line)
        if building.figure(message):
            self._quiet = 0

    def _take_listed(self, line: Line, message: messages.Listed) -> None:
        """Take whom the module has named to the report that it belongs to."""
        before = [killed.pid for killed in self._open.killed] if self._open else []
        belongs = message.at_limit and message.pid in before
        if message.at_limit and not belongs and message.pid in self._ended:
            return
        if self._open and (belongs or not before):
            self._opened(line).listed = message.pid
        else:
            self._listed = message.pid

    def _take_table(
        self,
        line: Line,
        message: messages.Header | messages.Row | messages.Piece | messages.Gap,
    ) -> None:
        building = self._open
        if isinstance(message, messages.Header):
            if building and (building.killed or (building.table and len(building.table))):
                building = self._anew(line)
            (building or self._opened(line)).header(line, message)
            self._quiet = 0
        elif isinstance(message, messages.Row):
            if building is None or building.killed:
                if not messages.is_whole_row(message):
                    return
                building = self._anew(line)
            if building.row(line, message):
                self._quiet = 0
        elif building:
            building.broken(line, message)

    def _take_kill(
        self,
        line: Line,
        message: messages.Chosen | messages.Summary | messages.Signal | messages.Whole,
    ) -> None:
        building, left = self._open, None
        other = isinstance(message, messages.Signal) and message.other
        if other and not (building and building.may(message)):
            # It is one only where the kernel has said before who is killed.
            return
        if isinstance(message, messages.Signal):
            # Of a group that is killed as a whole, the kernel names the first one twice.
            again = message.sizes and message in self._signals
            if again and not (building and building.may(message)):
                return
            self._signals.append(message)
        if building and (self._is_late(building, line) or not building.may(message)):
            left = building.left()
            building = None
            self._close()
        building = building or self._opened(line)
        if left:
            building.announced(left)
        building.kill(line, message)
        self._quiet = 0

    def _is_late(self, building: Building, line: Line) -> bool:
        before = building.seconds
        return (
            before is not None
            and line.seconds is not None
            and not -1 <= line.seconds - before <= _LONG_AGO
        )


BEGINS = ("pages RAM", "pages of RAM", "Total swap")
