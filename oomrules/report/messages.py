"""One message of the kernel's, and what it says of an OOM kill.

Users choose the names in these messages: a comm is any 15 bytes, a control group any name without
a slash or a line end. So a message is read as a whole: nothing is found in the middle of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from oomrules.kills import oom_lines

# Longer messages there are none (PRINTK_MESSAGE_MAX), in bytes, however they are escaped.
_LONGEST = 8192

# include/linux/sched.h, TASK_COMM_LEN: 15 bytes at most. dmesg writes some as four characters.
COMM = rb"(?:\\x[0-9a-f]{2}|.){0,15}"


class Head(NamedTuple):
    """The begin of a report: who asked for memory, and for what."""

    comm: bytes
    gfp: bytes
    nodes: bytes
    order: int | None
    adj: int | None


class Release(NamedTuple):
    """The kernel's release, and on whose behalf it says so; None at the begin of a boot."""

    name: bytes
    pid: int | None


class Header(NamedTuple):
    """The header of a table of tasks: the words in it."""

    columns: tuple[bytes, ...]


class Row(NamedTuple):
    """What looks like a row of that table: the pid, and what stands behind it."""

    pid: int
    rest: bytes


class Piece(NamedTuple):
    """A piece of a row, as where lines of two reports were mixed."""


class Gap(NamedTuple):
    """A mark where somebody left lines out; ``lost`` where the kernel or a daemon did."""

    lost: bool = False


class Number(NamedTuple):
    """Numbers by the kernel's words for them; ``of_group`` where they are a control group's."""

    values: Mapping[str, int]
    of_group: bool = False


class Usage(NamedTuple):
    """A limit of a control group, in KiB; None: unlimited."""

    what: str
    usage: int
    limit: int | None


class Stats(NamedTuple):
    """The group whose figures follow; empty if the message does not tell."""

    group: bytes
    values: Mapping[str, int]


class Limited(NamedTuple):
    """What old kernels say: the victim's group, and the one that is at its limit."""

    victim: bytes
    group: bytes


class Nodes(NamedTuple):
    """The memory nodes that the invoker may use, of old kernels."""

    allowed: bytes


class Chosen(NamedTuple):
    """What old kernels announce: a process, or a child of it, is killed next."""

    limit: bool
    how: str
    pid: int
    comm: bytes
    score: int


class Summary(NamedTuple):
    """What the kernel says before it kills. ``pid`` is None where the rest is cut off."""

    constraint: bytes
    details: bytes
    pid: int | None
    uid: int | None


class Signal(NamedTuple):
    """A process got a signal. ``limit`` is None where the message does not tell.

    ``cut``: the message does not end as the kernel's does. ``other``: the reason is none of the
    kernel's own, so this is a kill only if a summary has named the process.
    """

    limit: bool | None
    how: str
    polite: bool
    pid: int
    comm: bytes | None
    uid: int | None
    sizes: Mapping[str, int]
    cut: bool = False
    other: bool = False


class Whole(NamedTuple):
    """A control group that is killed as a whole."""

    group: bytes


class Policy(NamedTuple):
    """The program in BPF that handles this."""

    name: bytes


class Listed(NamedTuple):
    """The module says: this process goes first.

    Attributes:
        at_limit: of a memory control group. Then it is said after the kill.
    """

    pid: int
    at_limit: bool = False


class Mark(NamedTuple):
    """A message without values: ``tasks``, ``memory``, ``sysrq`` or ``other``, another dump."""

    what: str


class Remark(NamedTuple):
    """A message that is worth a note, and the note."""

    note: str


Message = (
    Head | Release | Header | Row | Piece | Gap | Number | Usage | Stats | Limited | Nodes | Chosen
    | Summary | Signal | Whole | Policy | Listed | Mark | Remark
)  # fmt: skip

# mm/oom_kill.c, dump_header(): the flags' names since 4.6, the nodes from 4.6 to 4.20,
# oom_score_adj since 2.6.36; both adjustments in Red Hat's 2.6.32.
_HEAD = re.compile(
    rb"(?P<comm>" + COMM + rb") invoked oom-killer(?::|: ?"
    rb"gfp_mask=(?P<gfp>0x[0-9a-f]{1,16}(?:\([^()]{0,400}\))?), {0,2}"
    rb"(?:nodemask=(?P<nodes>\(null\)|[\d,-]*\d), {0,2})?(?:order=(?P<order>-?\d{1,3}))?,? {0,2}"
    rb"(?:(?:oom_adj|oomkilladj)=-?\d{1,5})?,? {0,2}(?:oom_score_adj=(?P<adj>-?\d{1,5}))?)?",
    re.DOTALL,
)

# mm/oom_kill.c, __oom_kill_process(); oom_lines reads what the service needs of it. The uid in
# front of the comm or behind it is Red Hat's, the point at the end that of kernels before 2.6.
_WHY = (
    rb"(?P<why>Memory cgroup out of memory|Out of [Mm]emory)(?: \((?P<how>[A-Za-z_ -]{1,40})\))?: "
)
_SIGNAL = re.compile(
    rb"(?:" + _WHY + rb")?(?P<signal>Killed|Terminated) process (?P<pid>\d{1,10})"
    rb"(?:, UID (?P<early>\d{1,10}),)?(?: \((?P<comm>" + COMM + rb")\)"
    rb"(?:, UID (?P<late>\d{1,10}),?)?(?P<sizes>,?(?:,? (?:total-vm|vsz|anon-rss|file-rss|"
    rb"shmem-rss|UID|pgtables|oom_score_adj):-?\d{1,20}(?:kB)?,?){0,12})"
    rb"(?P<cut>(?:(?<=kB)|(?<=kB,))[^.].*)?\.?)?",
    re.DOTALL,
)
_SIZE = re.compile(rb" ([A-Za-z_-]+):(-?\d+)")

# A handler in BPF gives its own reason, and the policy's name in the report's head. So any reason
# will do where it is known before who is killed: see Signal.other.
_OTHER_WHY = re.compile(
    rb"(?P<how>[ -~]{1,80}?): (?P<rest>Killed process \d{1,10} \(.*)", re.DOTALL
)
_POLICY = re.compile(rb" *oom_policy=(\S{1,128})")

# The same until Linux 5.1; until 2.6.35 with "kill" and "or a child".
_CHOSEN = re.compile(
    _WHY
    + rb"[Kk]ill process (?P<pid>\d{1,10}) \((?P<comm>"
    + COMM
    + rb")\) score (?P<score>\d{1,20}) "
    rb"or (?:sacrifice|a) child",
    re.DOTALL,
)

# mm/oom_kill.c, dump_oom_summary(). One of the published ones lacks the second "=".
_SUMMARY = re.compile(
    rb"oom-kill:constraint=(\w{1,60}),(.*),pid=(\d{1,10}),uid=?(-?\d{1,10})", re.DOTALL
)
_SUMMARY_CUT = re.compile(rb"oom-kill:constraint=(\w{1,60})(?:,(.*))?", re.DOTALL)

# mm/memcontrol.c, mem_cgroup_print_oom_info(), until 4.20.
_TASK_IN, _BETWEEN = b"Task in /", b" killed as a result of limit of "
_REACHED = re.compile(rb"Memory limit reached of cgroup (/.*)", re.DOTALL)
_USAGE = re.compile(
    rb"(memory|memory\+swap|swap|kmem|kmem\.tcp): usage (\d{1,20})kB, "
    rb"limit (?:(\d{1,20})kB|unlimited|max|infinity)(?:, failcnt \d{1,20})?"
)
_STATS = re.compile(
    rb"Memory cgroup stats(?: for (/.*))?:((?: \w{1,40}:\d{1,20}\w{0,2})*) ?",
    re.DOTALL,
)
_STAT = re.compile(rb"([a-z][a-z0-9_]{2,40}) (\d{1,20})")
# Limits beyond this are none: PAGE_COUNTER_MAX, in KiB, on 64 and on 32 bits.
_NO_LIMIT, _NO_LIMIT_32 = 2**52, 8589934588

# mm/show_mem.c; lib/show_mem.c before 6.5; before 3.10 each architecture in words of its own.
_PAGES = re.compile(
    rb"(\d{1,20}) (pages RAM|pages HighMem(?:/MovableOnly)?|pages reserved|pages cma reserved|"
    rb"pages of RAM|pages of HIGHMEM|"
    rb"pages hwpoisoned|total pagecache pages|pages in swap cache|pages in swapcache|"
    rb"reserved pages|pages shared|pages non-shared)"
)
_SWAP = re.compile(rb"(Free|Total) swap {1,2}= {0,2}(\d{1,20})kB")
_ZONE = re.compile(rb"(Node \d{1,5}(?: [A-Z][A-Za-z0-9]{1,12})?) (?:[a-z_]+(?:\([a-z]+\))?:)")
_TOTALS = re.compile(rb" ?(?:[a-z_]{3,40}:\d{1,20} ?){1,40}")
_KEY = re.compile(rb"([a-z_]+(?:\([a-z]+\))?):(\d{1,20})")

_NODES = re.compile(COMM + rb" cpuset=.* mems_allowed=([\d,-]{1,400})", re.DOTALL)
# lib/dump_stack.c, dump_stack_print_info(). A comm may look like more of it: the last one counts.
_RELEASE = re.compile(
    rb"(?:CPU: ?\d+ (?:UID: \d+ )?PID: |Pid: )(\d{1,10}),? [Cc]omm: .*"
    rb"(?:Not tainted|Tainted:[ A-Z-]{0,60}) {1,20}(\d+\.\d+[^ \n]*)(?: .*)?",
    re.DOTALL,
)
_VERSION = re.compile(rb"Linux version (\d+\.\d+\S*) .*", re.DOTALL)

_WHOLE = re.compile(
    rb"Tasks in (/.*) are going to be killed due to memory\.oom\.group set", re.DOTALL
)
# kernel/oom.c here, of the host and of a memory control group.
_LISTED = re.compile(
    rb"oom: process (\d{1,10}) \("
    + COMM
    + rb"\) goes first, number \d+ of \d+ listed(, at the limit of a control group)?",
    re.DOTALL,
)
_MARKS = (
    (re.compile(rb"Tasks state \(memory values in pages\):"), "tasks"),
    (re.compile(rb"Mem-[Ii]nfo: ?"), "memory"),
    (re.compile(rb"[Ss]ys[Rr]q ?: Manual OOM execution"), "sysrq"),
    (re.compile(rb"[Ss]ys[Rr]q ?: Show Memory"), "other"),
    (re.compile(COMM + rb": page allocation (?:failure|stall).*", re.DOTALL), "other"),
)
_REMARKS = (
    (
        re.compile(
            rb"Kernel panic - not syncing: (?:Out of memory and no killable processes.*"
            rb"|System is deadlocked on memory.*)",
            re.DOTALL,
        ),
        "Kernel panic: the kernel found no process that it may kill",
    ),
    (
        re.compile(rb"Out of memory and no killable processes.*", re.DOTALL),
        "the kernel found no process that it may kill",
    ),
    (
        re.compile(rb"Kernel panic - not syncing: Out of memory: .* panic_on_oom is enabled.*"),
        "Kernel panic: vm.panic_on_oom is set, so no process was killed",
    ),
    (
        re.compile(
            rb"(?:Memory cgroup out|Out) of memory: OOM victim \d+ \("
            + COMM
            + rb"\) is already exiting\. Skip killing the task",
            re.DOTALL,
        ),
        "the victim was exiting already, and got no signal",
    ),
)

_HEADER = re.compile(rb"\[\s*pid\s*\]\s+(.+)", re.DOTALL)
_ROW = re.compile(rb"\[\s*(\d{1,10})\](.*)", re.DOTALL)
_PIECE = re.compile(rb" *(?:-?\d{1,20} +){4,12}-?\d{1,5} " + COMM, re.DOTALL)
_GAP = re.compile(
    rb"[\[(<{]? ?(?:\.\.\.+|\xe2\x80\xa6|\.\. ?\.\.|snip(?:ped)?|cut|skipped|truncated)"
    rb"[^\])>}]{0,40}[\])>}]?|[-=*]{2,} ?(?:snip|cut|8<|>8).*|--",
    re.IGNORECASE,
)


# kernel/printk/printk.c, for a console that is too slow; and what the journal says of itself.
_LOST = re.compile(
    rb"\*\* \d+ printk messages dropped \*\*.*"
    rb"|(?:systemd-journald\[\d+\]: )?(?:Missed \d+ kernel messages"
    rb"|/dev/kmsg buffer overrun, some messages lost).*"
    rb"|(?:imklog|imkmsg|imuxsock|imjournal): .*messages? .*(?:lost|dropped).*",
    re.DOTALL,
)


def is_lost(text: bytes) -> bool:
    """Return whether a message says that messages were lost."""
    return _LOST.fullmatch(text) is not None


def read(text: bytes) -> Message | None:
    """Return what a message says; None if it says nothing of an OOM kill."""
    if len(text) > _LONGEST:
        return None
    first = text[:1]
    if first == b"[":
        return _of_table(text)
    if first == b"o" and text.startswith(b"oom-kill:"):
        return _summary(text)
    for reader in _READERS.get(first, _ANY):
        message = reader(text)
        if message is not None:
            return message
    return None


def _of_table(text: bytes) -> Message | None:
    if match := _ROW.fullmatch(text):
        return Row(int(match[1]), match[2])
    if match := _HEADER.fullmatch(text):
        return Header((b"pid", *match[1].split()))
    return _other(text)


def _summary(text: bytes) -> Message | None:
    if match := _SUMMARY.fullmatch(text):
        constraint, details, pid, uid = match.groups()
        return Summary(constraint=constraint, details=details, pid=int(pid), uid=int(uid) % 2**32)
    if match := _SUMMARY_CUT.fullmatch(text):
        return Summary(constraint=match[1], details=match[2] or b"", pid=None, uid=None)
    return _other(text)


def _kill(text: bytes) -> Message | None:
    if match := _SIGNAL.fullmatch(text):
        sizes = {key.decode(): int(value) for key, value in _SIZE.findall(match["sizes"] or b"")}
        uid, early = sizes.pop("UID", None), match["early"] or match["late"]
        return Signal(
            limit=_is_limit(match["why"]) if match["why"] else None,
            how=(match["how"] or b"").decode(),
            polite=match["signal"] == b"Terminated",
            pid=int(match["pid"]),
            comm=match["comm"],
            uid=int(early) if early else uid,
            sizes=sizes,
            cut=match["cut"] is not None,
        )
    if match := _CHOSEN.fullmatch(text):
        return Chosen(
            limit=_is_limit(match["why"]),
            how=(match["how"] or b"").decode(),
            pid=int(match["pid"]),
            comm=match["comm"],
            score=int(match["score"]),
        )
    return None


def _is_limit(why: bytes) -> bool:
    return why.startswith(b"Memory cgroup")


def _memory(text: bytes) -> Message | None:
    if match := _USAGE.fullmatch(text):
        limit = int(match[3]) if match[3] else _NO_LIMIT
        return Usage(
            what=match[1].decode(),
            usage=int(match[2]),
            limit=None if limit >= _NO_LIMIT or limit == _NO_LIMIT_32 else limit,
        )
    if match := _STATS.fullmatch(text):
        return Stats(match[1] or b"", _pairs(match[2]))
    return None


def _pairs(text: bytes) -> dict[str, int]:
    return {key.decode(): int(value) for key, value in _KEY.findall(text)}


def _task(text: bytes) -> Message | None:
    if text.startswith(_TASK_IN) and _BETWEEN in text:
        # Names can look like what stands between: the victim is in the group with the limit.
        text = text[len(_TASK_IN) - 1 :]
        readings = []
        for between in re.finditer(re.escape(_BETWEEN), text):
            victim, group = text[: between.start()], text[between.end() :]
            if is_within(victim, group):
                readings.append((victim, group))
        return Limited(
            common([each[0] for each in readings]), common([each[1] for each in readings])
        )
    if match := _REACHED.fullmatch(text):
        return Limited(b"", match[1])
    if match := _WHOLE.fullmatch(text):
        return Whole(match[1])
    return None


def is_within(path: bytes, group: bytes) -> bool:
    """Return whether a control group is another one or in it."""
    return path == group or path.startswith(group.rstrip(b"/") + b"/")


def common(paths: list[bytes]) -> bytes:
    """Return the innermost control group around several; empty without any."""
    # Of lists it is the parts of a path that are compared, and none is taken for another.
    parts = [path.split(b"/") for path in paths]
    return b"/".join(os.path.commonprefix(parts)) or b"/" if parts else b""  # noqa: RUF071


def _figure(text: bytes) -> Message | None:
    if match := _PAGES.fullmatch(text):
        return Number({match[2].decode(): int(match[1])})
    if match := _SWAP.fullmatch(text):
        return Number({f"{match[1].decode()} swap": int(match[2])})
    if match := _ZONE.match(text):
        node = match[1].decode()
        return Number({f"{node} {key}": value for key, value in _pairs(text).items()})
    if _TOTALS.fullmatch(text):
        return Number(_pairs(text))
    if match := _STAT.fullmatch(text):
        return Number({match[1].decode(): int(match[2])}, of_group=True)
    return None


def _release(text: bytes) -> Message | None:
    if match := _RELEASE.fullmatch(text):
        return Release(match[2], int(match[1]))
    if match := _VERSION.fullmatch(text):
        return Release(match[1], None)
    return None


def _other(text: bytes) -> Message | None:
    if match := _HEAD.fullmatch(text):
        nodes = match["nodes"] or b""
        return Head(
            comm=match["comm"],
            gfp=match["gfp"] or b"",
            nodes=b"" if nodes == b"(null)" else nodes,
            order=int(match["order"]) if match["order"] else None,
            adj=int(match["adj"]) if match["adj"] else None,
        )
    if match := _NODES.fullmatch(text):
        return Nodes(match[1])
    if _GAP.fullmatch(text):
        return Gap()
    if is_lost(text):
        return Gap(lost=True)
    if match := _LISTED.fullmatch(text):
        return Listed(int(match[1]), at_limit=match[2] is not None)
    for pattern, what in _MARKS:
        if pattern.fullmatch(text):
            return Mark(what)
    for pattern, note in _REMARKS:
        if pattern.fullmatch(text):
            return Remark(note)
    if match := _POLICY.fullmatch(text):
        return Policy(match[1])
    if b": Killed process " in text and (match := _OTHER_WHY.fullmatch(text)):
        signal = _kill(match["rest"])
        if isinstance(signal, Signal):
            return signal._replace(how=match["how"].decode(), other=True)
    return Piece() if _PIECE.fullmatch(text) else None


_ANY = (_other,)
_FIGURES = (_figure, _other)
_READERS = {
    **dict.fromkeys((b"%c" % each for each in b"abcdefghijklmnopqrstuvwxyz 0123456789"), _FIGURES),
    b"m": (_memory, _figure, _other),
    b"s": (_memory, _figure, _other),
    b"k": (_memory, _figure, _other),
    b"M": (_kill, _memory, _task, _other),
    b"O": (_kill, _other),
    b"K": (_kill, _other),
    b"T": (_kill, _task, _figure, _other),
    b"F": (_figure, _other),
    b"N": (_figure, _other),
    b"C": (_release, _other),
    b"P": (_release, _other),
    b"L": (_release, _other),
}


def limited_group(summary: Summary, comm: bytes) -> bytes:
    """Return the control group that is at its limit, or the innermost around all readings."""
    task = b",task=" + comm
    details = summary.details.removesuffix(task)
    start = details.find(b",oom_memcg=/")
    if start < 0:
        return b""
    details = details[start + len(b",oom_memcg=") :]
    readings = []
    for between in re.finditer(b",task_memcg=", details):
        group = details[: between.start()]
        if is_within(details[between.end() :], group):
            readings.append(group)
    return common(readings)


def victim_group(summary: Summary, comm: bytes) -> bytes:
    """Return the victim's control group, or one around it; empty if it is not told."""
    return oom_lines.group(summary.details, comm)


_NODEMASK = re.compile(rb"nodemask=([\d,-]*\d)(?:,|$)")
_MEMS = re.compile(rb",cpuset=(?:/|[^/]*?),mems_allowed=([\d,-]*\d)(?:,[a-z].*)?", re.DOTALL)


def allowed(summary: Summary) -> bytes:
    """Return the memory nodes that were allowed, as the summary says."""
    mask = _NODEMASK.match(summary.details)
    if mask:
        return mask[1]
    match = _MEMS.search(summary.details)
    return match[1] if match else b""


_WHOLE_ROW = re.compile(rb"(?:[ \t]+-?\d{1,20}){6,11}[ \t]" + COMM, re.DOTALL)


def is_whole_row(row: Row) -> bool:
    """Return whether a row can be one of a table whose header is missing."""
    return _WHOLE_ROW.fullmatch(row.rest) is not None
