"""What people, editors and collectors of logs put around the lines of a log.

Line numbers, bullets, the file's name by grep, a collector's own time, HTML, what shows line ends.
One shape of it is the same on all lines: it is learned from a line that can only be the kernel's.
A log with ordinary lines of syslog has no such shape, and its lines are left as they are: in it
another program's line could hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# What is looked at of one line, in bytes.
_WINDOW = 200

# Where the kernel's own prefix, or a copy's, can begin within a line.
_MARK = re.compile(
    rb"(?<![\w.\[<])(?=(?:<\d{1,3}>)?\[ *\d{1,10}\.\d{6}\]"
    rb"|[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d |\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d"
    rb"|\[[A-Za-z0-9][^\[\]]{0,39}\d\d:\d\d:\d\d[^\[\]]{0,24}\] |kernel: )"
)
# What stands before a line that has no prefix: numbers, bullets, marks of comments and quotes,
# a file's name, a collector's time and stream.
_DECOR = re.compile(
    rb"(?:/[\w./-]{1,80}:|[\w./-]{1,80}\.[\w.-]{1,20}:"
    rb"|[\s|:*#+/\"'`-]|\xe2\x94\x82|</?[a-z]{1,6}>|\d{1,7}[.:)|]?(?=[\s|:*\"'])"
    rb"|\d{4}-\d\d-\d\d[T ][\d:.,]{8,18}(?:Z|[+-]\d\d:?\d\d) std(?:out|err) [FP] "
    rb"|[IWEF]\d{4} [\d:.]{8,15} +\d+ [\w.]{1,60}:\d+\] )+"
)
# How messages begin that nothing but an OOM report has.
_MESSAGE = re.compile(
    rb"\[\s*pid\s*\][ \t]+uid|\[\s*\d{1,10}\](?:[ \t]+-?\d{1,20}){6,11}[ \t]"
    rb"|oom-kill:constraint=|(?:Memory cgroup out|Out) of [Mm]emory: [KV]?|Killed process \d"
    rb"|Tasks state \(memory|Mem-[Ii]nfo:|Tasks? in /|memory: usage \d"
    rb"|\S.{0,14} invoked oom-killer: ?gfp_mask"
)
_SIGN = re.compile(rb"oom|Kill|of [Mm]emory|\[\s*pid|Mem-[Ii]nfo|Tasks? |usage|\] +\d")

_NAME = len(b"kernel: ")

# How such a message ends, and what can stand behind it.
_ENDS = re.compile(
    rb"(?:invoked oom-killer: .*\b(?:oom_score_adj|oom_adj|order)=-?\d{1,5}"
    rb"|(?<!\d )\[\s*pid\s*\]\s.*\sname"
    rb"|Tasks state \(memory values in pages\):|or sacrifice child| oom_score_adj:-?\d{1,5}"
    rb"|invoked oom-killer|Killed process \d{1,10} \(.{1,15}\))"
    rb"(?P<end>[ \t]+|\\|\$|<br ?/?>|[\"']+,?|(?:</[a-z]{1,6}>)+)$"
)
# Blanks behind figures are nobody's name. A row ends with one.
_ROW = re.compile(rb"\](?:\s+-?\d{1,20}){4}")
_BLANKS = re.compile(rb"(?:[\d:B]|RAM|reserved|Only|HighMem|hwpoisoned)[ \t]+$")
_LAST = b" \t\\$>\"',"

# A line whose first byte was not copied, and Talos Linux's own form.
_HALF = re.compile(rb" *\d{1,10}\.\d{6}\] ")
_TALOS = re.compile(
    rb"(?:kern|user|daemon|syslog): +[a-z]{3,7}: \[(\d{4}-\d\d-\d\dT[\d:.]{8,18}Z)\]: "
)
_ENTITY = re.compile(rb"&(lt|gt|nbsp|#0?39|quot);")
_MEANT = {b"lt": b"<", b"gt": b">", b"nbsp": b" ", b"#39": b"'", b"#039": b"'", b"quot": b'"'}


class Disguise:
    """What is around the lines of one log, once it is known.

    Args:
        kind: tells what a line begins with at a place: ``kernel`` for the kernel's own clock,
            ``time`` for a time in brackets, ``name`` for the kernel's name alone, ``syslog`` for a
            copy by syslog, ``other`` for another program's line in it, or nothing.
    """

    def __init__(self, kind: Callable[[bytes, int], str]) -> None:
        self._kind = kind
        self._is_syslog = False
        self._before: re.Pattern[bytes] | None = None
        self._behind = b""

    def bare(self, raw: bytes) -> bytes:
        """Return a line without what is around it."""
        if raw[-1:] in _LAST:
            raw = self._end(raw)
        if b"&" in raw:
            raw = _ENTITY.sub(lambda match: _MEANT[match[1]], raw)
        if self._is_syslog:
            return raw
        if self._before and (match := self._before.match(raw)):
            return raw[match.end() :]
        if not _SIGN.search(raw) and not (raw[:1].isalpha() or raw[:1].isdigit()):
            return raw
        if match := _TALOS.match(raw):
            return b"[%s] %s" % (match[1], raw[match.end() :])
        if _HALF.match(raw):
            return b"[" + raw.lstrip()
        kind = self._kind(raw, 0)
        self._is_syslog = kind in ("syslog", "other")
        return raw if self._is_syslog or kind == "kernel" else self._learn(raw, kind)

    def _learn(self, raw: bytes, kind: str) -> bytes:
        begins = ("kernel", "syslog") if kind else ("kernel", "syslog", "time", "name")
        # A message that begins here has names in it, and those can look like a mark.
        marks = () if _MESSAGE.match(raw) else _MARK.finditer(raw, 1, _WINDOW)
        for found in marks:
            found_kind = self._kind(raw, found.start())
            is_name = found_kind == "name" and not _MESSAGE.match(raw, found.start() + _NAME)
            if found_kind in begins and not is_name:
                return self._without(raw, found.start())
        found_decor = _DECOR.match(raw)
        if found_decor and _MESSAGE.match(raw, found_decor.end()):
            return self._without(raw, found_decor.end())
        return raw

    def _without(self, raw: bytes, start: int) -> bytes:
        self._before = re.compile(_shape(raw[:start]))
        return raw[start:]

    def _end(self, raw: bytes) -> bytes:
        if not self._behind:
            match = _ENDS.search(raw)
            if not match:
                is_named = b"/" in raw or _ROW.search(raw)
                return raw if is_named or not _BLANKS.search(raw) else raw.rstrip()
            self._behind = match["end"]
        if self._behind.isspace():
            return raw.rstrip()
        return raw.removesuffix(self._behind)


def _shape(prefix: bytes) -> bytes:
    """Return a pattern for prefixes of the same shape: other numbers, other blanks."""
    parts = re.findall(rb"\d+|\s+|[^\d\s]+", prefix)
    return b"".join(
        rb"\d+" if part.isdigit() else rb"\s*" if part.isspace() else re.escape(part)
        for part in parts
    )
