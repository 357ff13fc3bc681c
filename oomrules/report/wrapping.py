"""Messages that a mail client, a console or a terminal has broken into several lines.

In a log with prefixes a line without one goes on from the line before. In a log without any, a
message that has not ended goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from oomrules.report import messages
from oomrules.report.lines import Line
from oomrules.report.messages import COMM, Message
from oomrules.report.tables import Tables

# Messages that may be long enough to be wrapped. Nothing: a prefix that stands alone.
_LONG = re.compile(
    rb"$|oom-kill:|Memory cgroup|Out of memory|Killed process|Terminated process|Tasks? in"
    rb"|CPU: |Pid: |oom: process|Node \d| ?[a-z_]+:\d"
    rb"|(?:memory|memory\+swap|swap|kmem): usage|\[ *pid *\]|"
    + COMM
    + rb" (?:invoked oom-killer|cpuset=)",
    re.DOTALL,
)
_ROW = re.compile(rb"\[\s*\d{1,10}\]\s")

# What begins a message, and so is no rest of the one before, in a log without prefixes.
_BEGINS = re.compile(
    rb"\[ *(?:pid|\d+) *\]|oom-kill:|Out of memory|Memory cgroup|Killed process|Tasks? in /"
    rb"|Tasks state|Mem-Info|CPU: |Call Trace|memory: usage|oom_reaper|Node \d"
)
# Messages that have not ended.
_OPEN = re.compile(
    COMM + rb" invoked oom-killer:(?:.*,)?"
    rb"|\[ *pid *\](?!.* name$).*"
    rb"|(?:Memory cgroup out of|Out of)(?: memory(?: \([a-z_ ]+\))?:?)?"
    rb"|(?:(?:Memory cgroup out|Out) of memory(?: \([a-z_ ]+\))?: )?[Kk]ill(?:ed)?(?: process"
    rb"(?: \d+(?:, UID(?: \d+,)?)?(?: \(" + COMM + rb"(?:\)(?: (?:total-vm|vsz).*,"
    rb"| score(?: \d+(?: or(?: (?:sacrifice|a))?)?)?)?)?)?)?)?"
    rb"|CPU: \d+ .*(?:Not|[Tt]ainted|Tainted:[ A-Z]*)"
    rb"|(?:memory|memory\+swap|swap|kmem): usage(?: .*,| \d+kB, limit)?",
    re.DOTALL,
)
# Messages that may have ended, and how they go on.
_MORE = re.compile(rb"Node \d+ .*| ?[a-z_]{3,40}:\d.*|.*Killed process .*", re.DOTALL)
_REST = re.compile(
    rb"(?:[A-Za-z_-]+(?:\([a-z]+\))?: ?-?\d+(?:kB)?[, ]?|\d+kB |all_unreclaimable\?).*", re.DOTALL
)
# Messages that have names in them, so that the rest can look like any message.
_OPEN_NAMES = re.compile(
    rb"oom-kill:constraint=(?!.*,uid=?-?\d+$).*|Memory cgroup stats for(?! /.*:(?: \w+:\w+)*$).*"
    rb"|Task in(?! /.* killed as a result of limit of /).*|Tasks in(?! /.*group set$).*",
    re.DOTALL,
)
_MOST_PARTS, _MOST_NAMED, _MOST_ROW = 200, 20, 4
# Of so many parts at most one message is made.
_MOST_JOINED = 20

# A line that goes on in the next one is at least this long, the next word included.
_WRAPS = 66


class Wrapped:
    """A message, and the lines that may belong to it.

    Args:
        line: the first one.
    """

    def __init__(self, line: Line) -> None:
        self.parts = [line]

    def add(self, line: Line) -> None:
        """Take a line that may go on from this message."""
        # What others than the kernel write is not needed.
        if not self.parts[0].by:
            self.parts.append(line)

    def goes_on(self, line: Line, table: Tables | None) -> bool:
        """Return whether a line without a prefix may belong to this message."""
        first = self.parts[0]
        if first.by:
            return True
        if first.own:
            if not first.time and len(self.parts) <= _MOST_ROW and _is_begin(_join(self.parts)):
                # A name that looks like a prefix, in a log that has none.
                return False
            gap = isinstance(messages.read(line.text.strip()), messages.Gap)
            return len(self.parts) < _MOST_PARTS and not gap
        text = _join(self.parts)
        # A group's name may end with what ends the message.
        full = text.startswith(b"Memory cgroup stats for") and self.parts[-1].width >= _WRAPS
        if full or _OPEN_NAMES.fullmatch(text):
            return len(self.parts) < _MOST_NAMED
        if len(self.parts) >= _MOST_JOINED or _BEGINS.match(line.text):
            return False
        if _ROW.match(text):
            if table is None or len(self.parts) >= _MOST_ROW:
                return False
            return not _is_whole(text, table, self.parts, line)
        if _MORE.fullmatch(text) and _REST.fullmatch(line.text):
            return True
        return bool(_OPEN.fullmatch(text))

    def messages(self, table: Tables | None) -> Iterator[tuple[Line, int, Message]]:
        """Yield what the lines say: the first line, the number of the last, and the message.

        What is left of a line with a prefix can look like any message: names may be in it. It is
        one if a row of the table is before it, so that this log has prefixes here and there.
        """
        parts, loose = self.parts, not self.parts[0].own
        while parts:
            count, found = _first(parts[:_MOST_JOINED], table)
            rest = not parts[0].own
            bare = rest or not parts[0].text.strip()
            for message in found:
                loose = loose or (bare and isinstance(message, messages.Header | messages.Row))
                if loose or not rest or isinstance(message, _HARMLESS):
                    yield parts[0], parts[count - 1].number, message
            parts = parts[count:]


_HARMLESS = (
    *(messages.Number, messages.Usage, messages.Stats, messages.Mark, messages.Nodes),
    *(messages.Header, messages.Row, messages.Piece, messages.Gap, messages.Release),
    messages.Policy,
)


def _first(parts: Sequence[Line], table: Tables | None) -> tuple[int, Sequence[Message]]:
    """Return how many lines are the first message, and what it says."""
    text = parts[0].text
    if b"\n" in text:
        return 1, _of_lines(text)
    if _ROW.match(text) or (not text.strip() and len(parts) > 1 and _ROW.match(parts[1].text)):
        return _row(parts, table)
    if len(parts) > 1 and _LONG.match(text):
        for count in range(len(parts), 1, -1):
            joined = _join(parts[:count])
            message = messages.read(joined)
            if message is not None and not _is_cut(joined, message):
                return count, (message,)
    message = messages.read(text if parts[0].own else text.strip())
    return 1, (message,) if message is not None else ()


def _is_begin(text: bytes) -> bool:
    """Return whether a message that begins with a name needs no more lines."""
    message = messages.read(text)
    return isinstance(message, messages.Nodes) or bool(
        isinstance(message, messages.Head) and message.gfp and message.adj is not None
    )


def _is_cut(text: bytes, message: Message) -> bool:
    """Return whether more of a message may follow, or none of it is there."""
    if isinstance(message, messages.Summary):
        return message.pid is None
    if isinstance(message, messages.Header):
        return message.columns[-1] != b"name"
    if isinstance(message, messages.Head):
        return not message.gfp
    if isinstance(message, messages.Signal):
        return message.cut
    if isinstance(message, messages.Number):
        return len(message.values) == 1 and not text.startswith(b"Node ")
    return isinstance(message, messages.Gap | messages.Piece | messages.Row)


def _of_lines(text: bytes) -> Sequence[Message]:
    """Return what one message of several lines says.

    A name may have a line end in it. So it is one message, or the figures in its lines.
    """
    whole = messages.read(text.rstrip(b"\n"))
    if whole is not None and not isinstance(whole, messages.Number):
        return (whole,)
    found = map(messages.read, text.split(b"\n"))
    return [
        each for each in found if isinstance(each, messages.Number | messages.Stats | messages.Mark)
    ]


def _row(parts: Sequence[Line], table: Tables | None) -> tuple[int, Sequence[Message]]:
    """Return a row: of as many lines as it needs."""
    for count in range(1, min(len(parts), _MOST_ROW) + 1):
        row = messages.read(_join(parts[:count]))
        if not isinstance(row, messages.Row) or table is None:
            continue
        match = table.parse(row)
        if not match or not match[match.lastindex or 0]:
            continue
        while count < len(parts) and _is_wrapped_name(parts[:count], parts[count], table):
            count += 1
        row = messages.read(_join(parts[:count]))
        return count, (row,) if row is not None else ()
    single = messages.read(_join(parts[:1]))
    return 1, (single,) if single is not None else ()


def _is_whole(text: bytes, table: Tables, parts: Sequence[Line], line: Line) -> bool:
    """Return whether a row needs no more lines."""
    row = messages.read(text)
    if not isinstance(row, messages.Row):
        return True
    match = table.parse(row)
    if not match or not match[match.lastindex or 0]:
        return False
    return not _is_wrapped_name(parts, line, table)


def _is_wrapped_name(parts: Sequence[Line], line: Line, table: Tables) -> bool:
    """Return whether a line is the rest of a name that did not fit into the line before."""
    word = line.text.split(maxsplit=1)[:1]
    if not word or parts[-1].width + 1 + len(word[0]) < _WRAPS or _ROW.match(line.text):
        return False
    row = messages.read(_join([*parts, line]))
    return isinstance(row, messages.Row) and table.parse(row) is not None


def _join(parts: Sequence[Line]) -> bytes:
    """Join lines as they were before they were wrapped."""
    if len(parts) == 1:
        # A name at the end of a row may end with a blank.
        return parts[0].text if parts[0].own else parts[0].text.lstrip()
    text = parts[0].text.rstrip()
    for part in parts[1:]:
        # A summary has blanks in names only: a terminal breaks it anywhere else.
        names = text.startswith(b"oom-kill:") and b",task=" not in text
        text += (b"" if names or not text else b" ") + part.text.strip()
    return text
