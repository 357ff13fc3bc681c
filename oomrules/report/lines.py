"""Lines of a log, of whatever tool wrote it, without what that tool put in front of the text.

A log is the kernel's own (``dmesg``, ``/dev/kmsg``, a serial console), a copy by syslog or by the
journal, or what became of one of them in a mail or a bug report. Every line becomes the kernel's
text, and what the log says of its time, its host and its writer. Nothing is judged here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from oomrules.report.disguise import Disguise

# What is read of one line, in bytes; the rest of it is passed over. The journal writes a message
# that is no text as a list of numbers.
_LONGEST = 256 * 1024

# A journal entry in `journalctl -o json-pretty` has fewer lines than this.
_MOST_OF_ENTRY = 400

_FIELD = re.compile(rb'\s*"[A-Za-z_]')

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")

# Documentation/ABI/testing/dev-kmsg: "priority,sequence,microseconds,flags;message".
# netconsole may write the kernel's release before it (Documentation/networking/netconsole.rst).
_RECORD = re.compile(rb"(?:\d{1,3}\.\d[^\s,;]{0,64},)?(\d{1,10}),(\d{1,20}),(\d{1,20}),[^;\s]*;")

# Below this the facility is the kernel (syslog(3)).
_KERNEL = 8

# The time that syslog or the journal writes. Names of months and days are in any language.
_NAME = rb"[^\s\[\]<>{}:=,;]{1,24}"
_CLOCK = rb"\d\d:\d\d:\d\d(?:\.\d{1,9})?"
_WALL = (
    # 2024-05-09T14:52:38.123456+02:00, `journalctl -o short-iso` and rsyslog
    rb"\d{4}-\d\d-\d\d[T ]" + _CLOCK + rb"(?:Z| ?[+-]\d\d:?\d\d)?"
    # Thu 2024-05-09 14:52:38 CEST, `journalctl -o short-full`
    rb"|" + _NAME + rb" \d{4}-\d\d-\d\d " + _CLOCK + rb" [A-Z+-][A-Z0-9:+-]{1,8}"
    # May  9 14:52:38 and May 09 14:52:38.123456, syslog and `journalctl -o short-precise`
    rb"|" + _NAME + rb" {1,2}\d{1,2}\.? " + _CLOCK + rb"(?: \d{4}(?= ))?"
    # Thu May  9 14:52:38 2024, OpenWrt's logread
    rb"|" + _NAME + rb" " + _NAME + rb" {1,2}\d{1,2} " + _CLOCK + rb"(?: [A-Z]{2,5})? \d{4}"
    # 1715266358.123456, `journalctl -o short-unix`
    rb"|\d{9,11}\.\d{6}"
)
_HOST = rb"[^\s:\[\]]{1,255}"
_FACILITY = rb"[a-z0-9]{2,8}\.(?:emerg|alert|crit|err|warn|warning|notice|info|debug) "
_PREFIX = re.compile(
    # Of RFC 5424 and of the syslog protocol before it.
    rb"(?P<priority><\d{1,3}>(?:1 (?=\d{4}-))?)?"
    rb"(?:"
    # 2024-05-09T14:52:38,123456+02:00, `dmesg --time-format iso`: nothing stands behind it.
    rb"(?P<iso>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{6}[+-]\d\d:\d\d)(?: |$)"
    rb"|(?P<wall>" + _WALL + rb")(?:[ \t]|$)(?:"
    rb"(?:(?!" + _FACILITY + rb")(?P<host>" + _HOST + rb") )?(?:" + _FACILITY + rb")?"
    rb"(?P<tag>[^\s:\[\]()]{1,64})(?:\[\d{1,10}\])?:(?: |$)"
    rb"|(?P<host_5424>" + _HOST + rb") kernel (?:- - (?:- |\[[^\]]{0,200}\] )?)?"
    rb"|(?P<host_alone>" + _HOST + rb") (?=[\[<] *\d+\.)"
    rb")?"
    # logcat; what the kernel wrote has no process, and may have no tag or one of several words.
    rb"|(?P<logcat>\d\d-\d\d \d\d:\d\d:\d\d\.\d{3})(?: [+-]\d{4})? +(?:\S+ +)?"
    rb"(?:(?P<klog>0 +0 [VDIWEF] )(?:(?:kernel)? *: )?"
    rb"|\d+ +\d+ [VDIWEF] (?P<source>[^\s:]+) *: )"
    rb"|(?P<bare>kernel): "
    rb")?"
    rb"(?P<mark>"
    # The level, as in the kernel's buffer or by `dmesg -x`.
    rb"(?:<\d{1,3}>|(?:kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local\d)"
    rb" *:[a-z]{3,6} *: )?"
    # The seconds since the boot, the same as a time (`dmesg -T`, in any language), or since the
    # line before (`dmesg -d`, `dmesg -e`).
    rb"(?:\[ *(?P<seconds>\d{1,10}\.\d{3,9})(?:s| *<[ \d.+]*>)?\]"
    rb"|\[(?P<text>[^\[\]]{0,40}\d\d:\d\d(?::\d\d)?[^\[\]]{0,24})\]"
    rb"|\[ *[+<][ \d.]+>?\]"
    # The seconds, where a line was cut in the middle; or a processor's number before them.
    rb"|\[ *[\d-]{1,12}\.[^\[\] ]{0,12}\])?"
    # The thread or the processor (CONFIG_PRINTK_CALLER), and what makers of phones put there.
    rb"(?: ?\[ *[TC]\d{1,10}\])?(?: *\(\d{1,3}\)\[\d{1,10}:[^\]]{0,24}\])?"
    rb"(?: {0,2}[VDIWEF]?\[\d{1,3}: *[^\]\[]{1,16}: *\d{1,10}\]"
    rb"|\[pid:\d{1,10},cpu\d{1,4},[^\]\[]{1,16}\])?"
    rb")",
)
# `journalctl -o short-monotonic` has the host and the writer behind the seconds.
_BEHIND = re.compile(rb"(?:(?P<host>[A-Za-z0-9._-]{1,255}) )?kernel: ")

# How lines of a report begin that have a colon behind the first word.
_FIRST_WORDS = {
    b"Mem-Info",
    b"Mem-info",
    b"CPU",
    b"Pid",
    b"memory",
    b"memory+swap",
    b"swap",
    b"kmem",
}

# logcat pads what it takes for a tag.
_PADDED = re.compile(rb"(" + rb"|".join(map(re.escape, sorted(_FIRST_WORDS))) + rb") +: ")

_TWO_WORDS = {(b"Hardware", b"name"), (b"Call", b"Trace")}
_REGISTER = re.compile(rb"R[A-Z0-9]{1,2}|[CDEFG]S|CR\d|Code|ORIG_RAX|EFLAGS")

# Writers of a syslog that copy the kernel's log.
_COPIES = {"kernel", "vmunix", "kern", "netconsole", "console", "kmsg", "dmesg", "logger-kmsg"}

_COLOUR = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")
# Of mails, and of patches that have a report in them.
_QUOTE = re.compile(rb"(?:[>|] ?|\+(?=[\[<]))+")
# So far into a text a second prefix is looked for, in bytes.
_SECOND = 120
_AROUND = b" \t>+|"
# The byte order mark of UTF-8 and UTF-16. The latter's null bytes are taken out below.
_BYTE_ORDER = re.compile(rb"^(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)")
# rsyslog's for a line end and a tab in a message.
_CONTROL = {b"#012": b"\n", b"#011": b"\t"}
_CONTROLS = re.compile(rb"#01[12]")

_QUOTED = re.compile(rb"=([0-9A-F]{2})")
# What the kernel writes, as quoted-printable has it. It is looked for where a message begins: users
# choose the names further on.
_IS_QUOTED = re.compile(
    rb".{0,60} invoked oom-killer: gfp_mask=3D0x[0-9a-f]|oom-kill:constraint=3DCONSTRAINT_"
    rb"|(?:Free|Total) swap {1,2}=3D {0,2}\d"
)
_ENCODING = re.compile(rb"content-transfer-encoding: *([a-z0-9-]+)", re.IGNORECASE)

# Where the journal begins another boot.
_BOOT = re.compile(rb"-- (?:Boot ([0-9a-f]{32})|Reboot) --")


class Readable(Protocol):
    """What lines are read from."""

    def readline(self, most: int, /) -> bytes:
        """Return the next line with its end, up to so many bytes; nothing at the end."""


class Line(NamedTuple):
    """One line of a log.

    Attributes:
        number: of the line, from 1; of several that were joined the first.
        text: what the kernel wrote, without a prefix and without a line end. Line ends in it are
            part of one message.
        own: whether it had a prefix, so that a message begins here.
        time: as the log has it; empty if it has none.
        seconds: since the boot, by the kernel's clock; None if the log does not have that.
        by: who wrote it; empty for the kernel, and where the log does not tell.
        host: empty if the log does not tell.
        boot: the journal's number of the boot; ``-`` and a line number where another boot is
            known to begin; empty if the log does not tell.
        width: of the line as it stands in the log, in bytes.
    """

    number: int
    text: bytes
    own: bool = False
    time: str = ""
    seconds: float | None = None
    by: str = ""
    host: str = ""
    boot: str = ""
    width: int = 0


def lines(opened: Readable) -> Iterator[Line]:
    """Read a log of any form, line by line.

    Args:
        opened: the log, open for bytes.

    Raises:
        OSError: it cannot be read.
    """
    boot = ""
    after_record: int | None = None
    disguise = Disguise(_kind)
    for number, raw in _whole(_unquoted(_physical(opened))):
        if raw[:1] in b"{d\x1e" and (entry := _entry(raw)) is not None:
            line = _of_entry(number, raw, entry)
            if line:
                yield line
            continue
        record = _RECORD.match(raw) if raw[:1].isdigit() else None
        if record:
            sequence = int(record[2])
            if after_record is not None and sequence > after_record + 1:
                lost = sequence - after_record - 1
                yield Line(number, b"** %d printk messages dropped **" % lost, own=True, boot=boot)
            after_record = sequence
            yield _of_record(number, raw, record, boot)
            continue
        if after_record is not None and raw[:1] == b" ":
            # What belongs to a record, "SUBSYSTEM=…", is no text of the kernel's.
            continue
        after_record = None
        if raw[:3] == b"-- " and (match := _BOOT.match(raw)):
            boot = match[1].decode() if match[1] else f"-{number}"
            continue
        for part in raw.split(b"\r") if b"\r" in raw else (raw,):
            bare = disguise.bare(_unquote(part) if part[:1] in _AROUND else part)
            yield _of_text(number, bare, boot, len(part))


def _physical(opened: Readable) -> Iterator[tuple[int, bytes]]:
    """Read lines with their numbers, and no more of each than is bearable."""
    number = 0
    while raw := opened.readline(_LONGEST):
        number += 1
        if not raw.endswith(b"\n") and len(raw) == _LONGEST:
            while (rest := opened.readline(_LONGEST)) and not rest.endswith(b"\n"):
                pass
        raw = raw.rstrip(b"\r\n")
        if number == 1:
            raw = _BYTE_ORDER.sub(b"", raw)
        if b"\x1b" in raw:
            raw = _COLOUR.sub(b"", raw)
        if b"\xc2\xa0" in raw:
            # A blank that mail clients put in to keep others from being lost.
            raw = raw.replace(b"\xc2\xa0", b" ")
        if b"\0" in raw:
            # A file has them where its host went down.
            raw = raw.replace(b"\0", b"")
        yield number, raw


def _unquoted(numbered: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Undo quoted-printable where there is any (RFC 2045, 6.7): a line goes on behind a "="."""
    on = False
    begun, held = 0, b""
    for number, raw in numbered:
        if raw[:1] in b"Cc" and (match := _ENCODING.match(raw)):
            on = match[1].lower() == b"quoted-printable"
        on = on or _is_quoted(held + raw)
        if held and not on:
            # It ended with a "=" and that was all.
            yield begun, held + b"="
            held = b""
        if held:
            number, raw, held = begun, held + raw, b""
        if raw.endswith(b"=") and (on or len(raw) <= 77) and len(raw) < _LONGEST:
            begun, held = number, raw[:-1]
        elif on:
            yield number, _QUOTED.sub(lambda match: bytes([int(match[1], 16)]), raw)
        else:
            yield number, raw
    if held:
        yield begun, held


def _is_quoted(raw: bytes) -> bool:
    if b"=3D" not in raw:
        return False
    raw = _unquote(raw)
    prefix = _PREFIX.match(raw)
    return prefix is not None and bool(_IS_QUOTED.match(raw[prefix.end() :].lstrip()))


def _whole(numbered: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Join the lines of an entry as ``journalctl -o json-pretty`` writes it."""
    begun, entry = 0, list[bytes]()
    for number, raw in numbered:
        if len(entry) == 1 and not _FIELD.match(raw):
            # A name may be a brace too.
            yield begun, entry.pop()
        if entry:
            entry.append(raw)
            if raw == b"}" or len(entry) > _MOST_OF_ENTRY:
                yield begun, b" ".join(entry)
                entry = []
        elif raw == b"{":
            begun, entry = number, [raw]
        else:
            yield number, raw
    if entry:
        yield begun, b" ".join(entry)


def _entry(raw: bytes) -> dict[str, object] | None:
    """Return a journal entry, or what else is a message in JSON."""
    raw = raw.removeprefix(b"\x1e").removeprefix(b"data: ")
    if raw[:1] != b"{":
        return None
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _of_entry(number: int, raw: bytes, entry: dict[str, object]) -> Line | None:
    text = _bytes(entry.get("MESSAGE", entry.get("log", entry.get("message"))))
    if text is None:
        return None
    transport = _word(entry.get("_TRANSPORT"))
    writer = _word(entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM"))
    if "MESSAGE" not in entry:
        # A container's log, or another tool's: its text may have a prefix of its own.
        inner = _of_text(number, text.rstrip(b"\n"), "")
        return inner._replace(own=True, time=inner.time or _word(entry.get("time")))
    if transport:
        by = "" if transport == "kernel" else writer or transport
    else:
        by = "" if writer.lower() in _COPIES else writer
    microseconds = _number(entry.get("_SOURCE_MONOTONIC_TIMESTAMP"))
    return Line(
        number=number,
        text=text,
        own=True,
        time=_realtime(_number(entry.get("__REALTIME_TIMESTAMP"))),
        seconds=None if microseconds is None else microseconds / 1e6,
        by=by,
        host=_word(entry.get("_HOSTNAME")),
        boot=_word(entry.get("_BOOT_ID")),
        width=len(raw),
    )


def _bytes(value: object) -> bytes | None:
    """Return the text of a field: the journal writes what is no UTF-8 as numbers."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not isinstance(value, list) or not value:
        return None
    if isinstance(value[0], int):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            return None
    # A field that is there several times.
    return None if isinstance(value[0], list) and value[0] == value else _bytes(value[0])


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) else None


def _realtime(microseconds: int | None) -> str:
    if microseconds is None:
        return ""
    try:
        return datetime.fromtimestamp(microseconds // 1_000_000, UTC).isoformat(sep=" ")
    except (ValueError, OverflowError, OSError):
        return ""


def _of_record(number: int, raw: bytes, record: re.Match[bytes], boot: str) -> Line:
    seconds = int(record[3]) / 1e6
    text = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), raw[record.end() :])
    return Line(
        number=number,
        text=text,
        own=True,
        time=f"{seconds:.6f}",
        seconds=seconds,
        by="" if int(record[1]) % 2**16 < _KERNEL else "user",
        boot=boot,
        width=len(raw),
    )


def _of_text(number: int, raw: bytes, boot: str, width: int = 0) -> Line:
    width = width or len(raw)
    if raw[:1] in _AROUND:
        raw = _unquote(raw)
    match = _PREFIX.match(raw)
    assert match is not None
    if not match.end():
        return Line(number, _controls(raw), width=width, boot=boot)
    seconds, host = match["seconds"], match["host"] or match["host_5424"] or match["host_alone"]
    wall = match["wall"] or match["iso"]
    time = wall or match["logcat"] or match["text"] or seconds
    tag = match["tag"] or match["source"] or b""
    if not (time or match["mark"] or match["bare"] or match["priority"]):
        return Line(number, _controls(raw), width=width, boot=boot)
    end = match.end()
    if _is_text(match):
        end, tag, host = match.start("host" if host else "tag"), b"", None
    if match["mark"] and raw[end : end + 1] == b" ":
        end += 1
    if match["mark"] and not wall and (behind := _BEHIND.match(raw, end)):
        host, end = behind["host"] or host, behind.end()
    if (tag or match["text"]) and (
        raw[end : end + 1] in b"[< k" or b" kernel: " in raw[end : end + _SECOND]
    ):
        end = _inner(raw, end)
    text = raw[end:]
    if match["klog"]:
        text = _PADDED.sub(rb"\1: ", text, count=1) if _PADDED.match(text) else text
    by = tag.decode("utf-8", "backslashreplace")
    return Line(
        number,
        _controls(text),
        own=True,
        time=time.decode("utf-8", "backslashreplace").strip() if time else "",
        seconds=float(seconds) if seconds else None,
        by="" if by.lower() in _COPIES else by,
        host=host.decode("utf-8", "backslashreplace") if host else "",
        boot=boot,
        width=width,
    )


def _inner(raw: bytes, start: int) -> int:
    """Return where the text begins if it is a copy of a copy, and has a second prefix."""
    while raw[start : start + 1] == b" " and b" kernel: " in raw[start : start + _SECOND]:
        start += 1
    if raw.startswith(b"kernel: ", start):
        start += len(b"kernel: ")
    match = _PREFIX.match(raw, start)
    if match is None or _kind(raw, start) not in ("syslog", "kernel", "time"):
        return start
    end = match.end()
    return end + 1 if match["mark"] and raw[end : end + 1] == b" " else end


def _is_text(match: re.Match[bytes]) -> bool:
    tag, host = match["tag"], match["host"]
    if host:
        return (host, tag) in _TWO_WORDS
    return tag is not None and (tag in _FIRST_WORDS or _REGISTER.fullmatch(tag) is not None)


def _kind(raw: bytes, start: int) -> str:
    """Return what a line begins with at a place, as `Disguise` asks for it."""
    match = _PREFIX.match(raw, start)
    if match is None or _is_text(match):
        return ""
    if match["tag"]:
        return "syslog" if match["tag"].decode("latin-1").lower() in _COPIES else "other"
    if match["host_5424"] or match["logcat"]:
        return "syslog"
    if match["seconds"]:
        return "kernel"
    return "time" if match["text"] else "name" if match["bare"] else ""


def _unquote(raw: bytes) -> bytes:
    raw = raw.lstrip()
    quote = _QUOTE.match(raw)
    return raw[quote.end() :].lstrip() if quote else raw


def _controls(text: bytes) -> bytes:
    """Undo what rsyslog makes of a line end in a message."""
    if b"#01" not in text:
        return text
    return _CONTROLS.sub(lambda match: _CONTROL[match[0]], text)


def of_texts(texts: Iterable[bytes]) -> Iterator[Line]:
    """Read lines that have no file."""
    for number, raw in enumerate(texts, 1):
        yield _of_text(number, raw, "")
