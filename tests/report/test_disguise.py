"""What people and collectors of logs put around the lines of a report hides nothing of it."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable

import pytest

from oomrules.report.lines import lines
from oomrules.report.model import Report
from oomrules.report.reading import reports

TEXT = """\
worker-7 invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, \
oom_score_adj=0
CPU: 3 UID: 0 PID: 7702 Comm: worker-7 Not tainted 6.12.9-generic #1
Mem-Info:
2097152 pages RAM
0 pages HighMem/MovableOnly
65536 pages reserved
Total swap = 1048576kB
Tasks state (memory values in pages):
[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents \
oom_score_adj name
[    512]     0   512     8060      940      310      630         0    94208        0         \
-1000 systemd-udevd
[   7702]  1001  7702   904312   401288   401000      288         0  4214784     1204             \
0 worker-7
[   7755]  1001  7755   804312   700100   700000      100         0  6214784     2204           \
100 (sd-pam)
[   7790]     0  7790     2911      512      300      212         0    61440        0          \
-250 tmux: server
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,\
task_memcg=/app.slice/a.service,task=(sd-pam),pid=7755,uid=1001
Out of memory: Killed process 7755 ((sd-pam)) total-vm:3217248kB, anon-rss:2800000kB, \
file-rss:400kB, shmem-rss:0kB, UID:1001 pgtables:6069kB oom_score_adj:100
"""
BODY = [line.encode() for line in TEXT.splitlines()]


def _dmesg(number: int, line: bytes) -> bytes:
    return b"[ 4711.%06d] " % (number * 7) + line


def _syslog(number: int, line: bytes) -> bytes:
    return b"May  9 14:52:38 box kernel: " + _dmesg(number, line)


def _t(number: int, line: bytes) -> bytes:
    return b"[Fri May  9 14:52:38 2025] " + line


def _bare(number: int, line: bytes) -> bytes:
    return line


FORMS = {"bare": _bare, "dmesg": _dmesg, "syslog": _syslog, "dmesg -T": _t}
FORM = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)

Around = Callable[[int, bytes], bytes]
AROUND: dict[str, Around] = {
    "quoted in a mail": lambda n, line: b"> > " + line,
    "a block of code": lambda n, line: b"    " + line,
    "a table's margin": lambda n, line: b" | " + line,
    "a quote of another kind": lambda n, line: b": " + line,
    "line numbers": lambda n, line: b"%6d\t" % n + line,
    "line numbers with a colon": lambda n, line: b"%d:" % n + line,
    "line numbers with a bar": lambda n, line: b"%4d | " % n + line,
    "line numbers with a point": lambda n, line: b"%d. " % n + line,
    "grep with files": lambda n, line: b"/var/log/messages:" + line,
    "grep with files and numbers": lambda n, line: b"/var/log/kern.log.1:%d:" % n + line,
    "bullets": lambda n, line: b"- " + line,
    "a comment": lambda n, line: b" * " + line,
    "a terminal's margin": lambda n, line: "│".encode() + line,
    "a runtime of containers": lambda n, line: b"2025-05-09T12:52:38.1234567Z stdout F " + line,
    "klog": lambda n, line: b"I0509 12:52:38.123456       1 monitor.go:160] " + line,
    "Talos": lambda n, line: b"kern:    info: [2025-05-09T12:52:38.351725011Z]: " + line,
    "a terminal that writes times": lambda n, line: b"[2025-05-09 12:52:38] " + line,
    "blanks at the end": lambda n, line: line.ljust(220),
    "a tab at the end": lambda n, line: line + b"\t",
    "cat -A": lambda n, line: line + b"$",
    "breaks of HTML": lambda n, line: line + b"<br />",
    "breaks of Markdown": lambda n, line: line + b"\\",
    "quotes": lambda n, line: b'"' + line + b'"',
    "blanks that are entities": lambda n, line: line.replace(b"  ", b"&nbsp;&nbsp;"),
    "tabs for blanks": lambda n, line: re.sub(rb" {4,}", b"\t", line),
    "JSON": lambda n, line: json.dumps({"log": line.decode() + "\n", "time": "x"}).encode(),
    "the kernel's name twice": lambda n, line: b"May  9 14:52:38 box kernel: kernel: " + line,
    "colours": lambda n, line: b"\x1b[33m" + line[:9] + b"\x1b[0m" + line[9:] + b"\x1b[K",
}
CLOCKED: dict[str, Around] = {
    "a collector's time": lambda n, line: b"2025-05-09T12:52:38.123Z " + line,
    "a collector's time and a tab": lambda n, line: b"2025-05-09 12:52:38.123\t" + line,
    "a log of a virtual machine": lambda n, line: (
        b"2025-05-09T12:52:38.123Z In(05) vcpu-5 - Guest: <6>" + line
    ),
    "a name in brackets": lambda n, line: b"May 9 14:52:38 [hostname] kernel: " + line,
}


def _read(data: bytes) -> list[Report]:
    return list(reports(lines(io.BytesIO(data)), "log"))


def _check(data: bytes) -> None:
    """Check that there is the one report, and all that is in it."""
    (report,) = _read(data)
    assert [(each.pid, each.name) for each in report.killed] == [(7755, "(sd-pam)")]
    assert report.killed[0].anon_rss == 2800000
    assert report.table is not None
    assert report.table.complete
    assert [row.name for row in report.table.rows] == [
        "systemd-udevd",
        "worker-7",
        "(sd-pam)",
        "tmux: server",
    ]
    assert [row.values["rss"] for row in report.table.rows] == [940, 401288, 700100, 512]
    assert (report.invoker, report.kernel) == ("worker-7", "6.12.9-generic")
    assert (report.figures.ram, report.figures.reserved) == (2097152, 65536)
    assert report.figures.swap_total == 1048576


def _made(form: Around, around: Around) -> bytes:
    return b"".join(around(n, form(n, line)) + b"\n" for n, line in enumerate(BODY, 1))


@FORM
@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_what_is_around_the_lines_hides_nothing(form: Around, around: Around) -> None:
    _check(_made(form, around))


@pytest.mark.parametrize("around", CLOCKED.values(), ids=CLOCKED)
def test_a_collectors_own_time_is_not_the_kernels(around: Around) -> None:
    _check(_made(_dmesg, around))


@FORM
def test_a_report_between_other_text_is_read(form: Around) -> None:
    plain = _made(form, _bare)
    _check(b"It went down tonight:\n\n```console\n# dmesg\n" + plain + b"```\n\nAny idea?\n")
    escaped = html.escape(plain.decode(), quote=False).encode()
    _check(b"<p>Log:</p>\n<pre><code>" + escaped.rstrip(b"\n") + b"</code></pre>\n")
    _check(plain.replace(b"\n", b"\r\n"))
    _check(b"\xef\xbb\xbf" + plain)
    _check(plain.decode().encode("utf-16"))
    _check(plain.decode().encode("utf-16-le"))


def test_a_line_whose_first_byte_was_not_copied_is_read() -> None:
    _check(_made(_dmesg, _bare).removeprefix(b"["))


def test_other_programs_in_a_syslog_cannot_say_what_the_kernel_says() -> None:
    """A line of another program is no report, whatever stands in the middle of it."""
    plain = b"May  9 14:52:37 box sshd[7]: Accepted publickey for root\n"
    said = b"[ 4711.000001] Out of memory: Killed process 1 (init) total-vm:1kB, anon-rss:1kB\n"
    for by in (b"sh: ", b"a b: ", b"12: ", b"", b"/var/log/messages:", b"x kernel: y: "):
        assert _read(plain + b"May  9 14:52:38 box cron[9]: " + by + said) == []
    forged = b"May  9 14:52:38 box two words: " + said
    assert _read(plain + forged) == []


# What people leave of a report.


def _only(*wanted: bytes) -> list[Report]:
    return _read(b"".join(_dmesg(n, line) + b"\n" for n, line in enumerate(wanted, 1)))


def test_a_row_that_somebody_points_at_is_that_row() -> None:
    # A shorter one could be part of the name.
    for pointer in (b"  <======= this one", b" <-- the culprit", b"  # the culprit, it seems"):
        marked = [line + pointer if line.startswith(b"[   7755]") else line for line in BODY]
        _check(b"".join(_dmesg(n, line) + b"\n" for n, line in enumerate(marked, 1)))


def test_rows_alone_are_a_table_of_which_rows_may_be_missing() -> None:
    rows = [line for line in BODY if line.startswith(b"[ ")][1:]
    (report,) = _only(*rows)
    assert report.table is not None
    assert [row.pid for row in report.table.rows] == [512, 7702, 7755, 7790]
    assert not report.table.complete
    assert report.killed == ()
    # One such line is anything.
    assert _only(rows[0]) == []


def test_a_panic_that_took_nobody_is_a_report() -> None:
    panic = b"Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled"
    (report,) = _only(panic)
    assert report.killed == ()
    assert "panic_on_oom" in report.notes[0]


def test_a_kill_that_a_group_names_twice_is_one_where_only_kills_are_left() -> None:
    first = (
        b"Memory cgroup out of memory: Killed process 61 (web) total-vm:9kB, anon-rss:8kB, "
        b"file-rss:0kB, shmem-rss:0kB, UID:7 pgtables:48kB oom_score_adj:9"
    )
    second = first.replace(b"61 (web)", b"62 (tini)")
    found = _only(first, second, first)
    assert [each.pid for report in found for each in report.killed] == [61, 62]
    # The same words after another report are another kill.
    head = BODY[0]
    assert len(_only(first, head, first)) == 2
