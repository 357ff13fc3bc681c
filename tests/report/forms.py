"""A report in every form in which people save one."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Sequence

# A message: seconds since the boot, and the kernel's text.
Message = tuple[float, bytes]

_HOST = b"db-1"
# What logd takes for a tag, it pads; a tag of several words looks like the message itself.
_TAG = re.compile(rb"([\w+-]+): ")
_LONG_TAG = re.compile(rb"(?:Out of memory|Memory cgroup out of memory|oom-kill):")


def _each(form: Callable[[float, bytes], bytes]) -> Callable[[Sequence[Message]], bytes]:
    return lambda messages: b"".join(form(*message) + b"\n" for message in messages)


def _wall(seconds: float, form: str = "%H:%M:%S") -> bytes:
    minutes, rest = divmod(int(seconds) % 36000, 60)
    hours, minutes = divmod(minutes, 60)
    return b"%02d:%02d:%02d" % (hours, minutes, rest)


def _month(month: str, seconds: float, text: bytes) -> bytes:
    return b"[Do %s  9 %s 2024] %s" % (month.encode(), _wall(seconds), text)


def _record(seconds: float, text: bytes) -> bytes:
    """Return a record of /dev/kmsg: what is no printable ASCII is escaped, and the backslash."""
    escaped = b"".join(
        b"%c" % each if 32 <= each < 127 and each != 92 else b"\\x%02x" % each for each in text
    )
    return b"6,%d,%d,-;%s\n SUBSYSTEM=mm\n DEVICE=+mm:oom" % (
        round(seconds * 1000),
        round(seconds * 1e6),
        escaped,
    )


def _entry(seconds: float, text: bytes, numbers: bool = False) -> dict[str, object]:
    return {
        "__REALTIME_TIMESTAMP": str(1715266358000000 + int(seconds * 1e6)),
        "_SOURCE_MONOTONIC_TIMESTAMP": str(round(seconds * 1e6)),
        "_BOOT_ID": "0f" * 16,
        "_HOSTNAME": "db-1",
        "_TRANSPORT": "kernel",
        "SYSLOG_IDENTIFIER": "kernel",
        "PRIORITY": "6",
        "MESSAGE": list(text) if numbers else text.decode("utf-8", "surrogateescape"),
    }


def _journal(seconds: float, text: bytes) -> bytes:
    # The journal writes what is no UTF-8 as numbers.
    numbers = text.isascii() is False or int(seconds * 1e6) % 3 == 0
    return json.dumps(_entry(seconds, text, numbers)).encode()


def _pretty(seconds: float, text: bytes) -> bytes:
    return json.dumps(_entry(seconds, text), indent="\t").encode()


def _logcat(seconds: float, text: bytes) -> bytes:
    """Return a message as `logcat -b kernel` has it, without a tag unless it looks like one."""
    if match := _TAG.match(text):
        text = b"%-8s: %s" % (match[1], text[match.end() :])
    elif not _LONG_TAG.match(text):
        text = b"        : " + text
    return b"05-09 %s.123     0     0 I %s" % (_wall(seconds), text)


def quoted(plain: bytes) -> bytes:
    """Return text as quoted-printable, RFC 2045, 6.7."""
    lines = []
    for line in plain.split(b"\n"):
        pieces = [
            b"%c" % each if 32 <= each < 127 and each != 61 else b"=%02X" % each for each in line
        ]
        row = b""
        for piece in pieces:
            if len(row) + len(piece) > 75:
                lines.append(row + b"=")
                row = b""
            row += piece
        if row.endswith(b" "):
            row = row[:-1] + b"=20"
        lines.append(row)
    return b"Content-Transfer-Encoding: quoted-printable\n\n" + b"\n".join(lines)


def wrapped(plain: bytes, columns: int = 76) -> bytes:
    """Return text as a mail client wraps it: at blanks, and never in the middle of a word."""
    lines = list[str]()
    for line in plain.decode("utf-8", "surrogateescape").split("\n"):
        lines += textwrap.wrap(
            line,
            columns,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
            replace_whitespace=False,
        ) or [""]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _stamp(seconds: float, text: bytes) -> bytes:
    return b"[%12.6f] %s" % (seconds, text)


def _plain(messages: Sequence[Message]) -> bytes:
    return b"".join(text + b"\n" for _, text in messages)


def _noisy(messages: Sequence[Message]) -> bytes:
    """Return a report among other messages, of the kernel's and of programs."""
    lines = []
    for place, (seconds, text) in enumerate(messages):
        lines.append(_syslog(seconds, text))
        if place % 5 == 0:
            lines.append(_syslog(seconds, b"usb 1-1: new high-speed USB device number 7"))
        if place % 7 == 0:
            lines.append(b"May  9 14:52:38 db-1 sshd[991]: Accepted publickey for root from ::1")
        if place % 11 == 0:
            lines.append(b"May  9 14:52:38 db-1 app[7]: Out of memory: Killed process 1 (init)")
        if place % 13 == 0:
            lines.append(b"May  9 14:52:38 web-2 kernel: [ 1.000000] eth0: link up")
    return b"\n".join(lines)


def _syslog(seconds: float, text: bytes) -> bytes:
    return b"May  9 %s %s kernel: [%12.6f] %s" % (_wall(seconds), _HOST, seconds, text)


FORMS: dict[str, Callable[[Sequence[Message]], bytes]] = {
    "plain": _plain,
    "dmesg": _each(_stamp),
    "dmesg -T": _each(lambda at, text: _month("May", at, text)),
    "dmesg -T, German": _each(lambda at, text: _month("Mär", at, text)),
    "dmesg -T, French": _each(lambda at, text: _month("févr.", at, text)),
    "dmesg -T, Japanese": _each(lambda at, text: _month("8月", at, text)),
    "dmesg -x": _each(lambda at, text: b"kern  :warn  : " + _stamp(at, text)),
    "dmesg -d": _each(lambda at, text: b"[%12.6f <    0.000012>] %s" % (at, text)),
    "dmesg, ISO": _each(lambda at, text: b"2024-05-09T%s,123456+02:00 %s" % (_wall(at), text)),
    "levels": _each(lambda at, text: b"<6>" + _stamp(at, text)),
    "levels alone": _each(lambda at, text: b"<6>" + text),
    "callers": _each(lambda at, text: b"[%12.6f][ T1778] %s" % (at, text)),
    "Android": _each(lambda at, text: b"<6>[%12.6f][T12345] %s" % (at, text)),
    "logcat": _each(
        lambda at, text: b"05-09 %s.123     0     0 W kernel  : %s" % (_wall(at), text)
    ),
    "logcat without tags": _each(_logcat),
    "Samsung": _each(lambda at, text: b"<6>[%12.6f]  [3:    kworker/2:1: 1778] %s" % (at, text)),
    "Samsung, later": _each(lambda at, text: b"[%12.6f] I[3:         tar: 1778] %s" % (at, text)),
    "Huawei": _each(lambda at, text: b"<6>[%12.6fs][pid:1778,cpu3,tar]%s" % (at, text)),
    "netconsole with the release": _each(
        lambda at, text: b"6.1.0-rc1+," + _record(at, text).partition(b"\n")[0]
    ),
    "a guest of VMware": _each(
        lambda at, text: (
            b"2024-05-09T%s.123Z In(05) vcpu-3 - Guest: <6>[%12.6f] %s" % (_wall(at), at, text)
        )
    ),
    "a console of Xen": _each(
        lambda at, text: b"[2024-05-09 %s] [%12.6f] %s" % (_wall(at), at, text)
    ),
    "logread": _each(
        lambda at, text: b"Thu May  9 %s 2024 kern.warn kernel: [%12.6f] %s" % (_wall(at), at, text)
    ),
    "syslog": _each(_syslog),
    "syslog without seconds": _each(
        lambda at, text: b"May  9 %s %s kernel: %s" % (_wall(at), _HOST, text)
    ),
    "kern.log, ISO": _each(
        lambda at, text: (
            b"2024-05-09T%s.123456+02:00 %s kernel: [%12.6f] %s" % (_wall(at), _HOST, at, text)
        )
    ),
    "RFC 5424": _each(
        lambda at, text: b"<4>1 2024-05-09T%sZ %s kernel - - - %s" % (_wall(at), _HOST, text)
    ),
    "RFC 5424 with data": _each(
        lambda at, text: (
            b'1 2024-05-09T%sZ %s kernel - - [meta sequenceId="7"] %s' % (_wall(at), _HOST, text)
        )
    ),
    "short-precise": _each(
        lambda at, text: b"Mai 09 %s.123456 %s kernel: %s" % (_wall(at), _HOST, text)
    ),
    "short-iso": _each(
        lambda at, text: b"2024-05-09T%s+0200 %s kernel: %s" % (_wall(at), _HOST, text)
    ),
    "short-full": _each(
        lambda at, text: b"Thu 2024-05-09 %s CEST %s kernel: %s" % (_wall(at), _HOST, text)
    ),
    "short-unix": _each(lambda at, text: b"%.6f %s kernel: %s" % (1715266358 + at, _HOST, text)),
    "short-monotonic": _each(lambda at, text: b"[%12.6f] %s kernel: %s" % (at, _HOST, text)),
    "json": _each(_journal),
    "json-pretty": _each(_pretty),
    "json-seq": _each(lambda at, text: b"\x1e" + _journal(at, text)),
    "json-sse": _each(lambda at, text: b"data: " + _journal(at, text) + b"\n"),
    "kmsg": _each(_record),
    "serial console": lambda messages: _each(_stamp)(messages).replace(b"\n", b"\r\r\n"),
    "colours": _each(lambda at, text: b"\x1b[32m[%12.6f] \x1b[0m\x1b[1m%s\x1b[0m" % (at, text)),
    "quoted": _each(lambda at, text: b"> > " + _stamp(at, text)),
    "indented": _each(lambda at, text: b"        " + _stamp(at, text)),
    "quoted-printable": lambda messages: quoted(_each(_stamp)(messages)),
    "quoted-printable, plain": lambda messages: quoted(_plain(messages)),
    "wrapped": lambda messages: wrapped(_each(_stamp)(messages)),
    "wrapped, plain": lambda messages: wrapped(_plain(messages)),
    "wrapped syslog": lambda messages: wrapped(_each(_syslog)(messages), 80),
    "among others": _noisy,
    "#012": lambda messages: b"May  9 14:52:38 db-1 kernel: head#012\n" + _each(_syslog)(messages),
}
