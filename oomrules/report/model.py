"""What is in a kernel's OOM report. Numbers are as the kernel printed them; lines count from 1.

Users choose the names in a report: a comm is any 15 bytes, a control group's any without a slash.
Names here are as in a snapshot: UTF-8, where other bytes are backslash escapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Kinds of a report: what ran out, or who asked.
HOST, LIMIT, NODES, SYSRQ, UNKNOWN = KINDS = ("host", "limit", "nodes", "sysrq", "unknown")


@dataclass(frozen=True)
class Row:
    """One process in the table of tasks.

    Attributes:
        line: where it stands.
        values: its numbers by the names of the kernel's columns, those that it has: ``pid``,
            ``uid``, ``tgid``, ``total_vm``, ``rss``, ``rss_anon``, ``rss_file``, ``rss_shmem``,
            ``nr_ptes``, ``nr_pmds``, ``nr_puds``, ``pgtables_bytes``, ``swapents``, ``cpu``,
            ``oom_adj``, ``oom_score_adj``.
        name: the comm, cut as the kernel cuts it.
    """

    line: int
    values: Mapping[str, int]
    name: str

    @property
    def pid(self) -> int:
        """The process; of old kernels the thread that stands for it."""
        return self.values["pid"]


@dataclass(frozen=True)
class Table:
    """The table of tasks.

    Attributes:
        line: of its header; 0 if that is missing and the columns were told by the rows.
        columns: the names of its columns in their order, ``name`` among them.
        rows: in their order. Which one is scanned first follows from it.
        complete: whether it is certain that no row is missing.
        doubts: why not, or what else is odd in it, in sentences that name lines.
    """

    line: int
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    complete: bool = True
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Killed:
    """One process that got a signal. Sizes are KiB; None: not told.

    Attributes:
        line: where that stands.
        pid, name: the process.
        chosen: the pid that the kernel chose before, if it announced it (until Linux 5.1); where
            another one died, a child was sacrificed.
        score: what the kernel printed as its points, per mille of the total.
        by: what the message says of the why: empty, ``oom_kill_allocating_task``, ``oom.group``,
            ``module`` (our own: SIGTERM where ``polite``).
    """

    line: int
    pid: int
    name: str
    uid: int | None = None
    total_vm: int | None = None
    anon_rss: int | None = None
    file_rss: int | None = None
    shmem_rss: int | None = None
    page_tables: int | None = None
    oom_score_adj: int | None = None
    chosen: int | None = None
    score: int | None = None
    by: str = ""
    polite: bool = False


@dataclass(frozen=True)
class Figures:
    """What a report says of memory. Pages of ``page_size`` unless KiB is said; None: not told.

    Attributes:
        ram, reserved, highmem, cma, hwpoisoned: ``pages RAM`` and so on, below the Mem-Info.
        swap_total, swap_free: KiB, ``Total swap`` and ``Free swap``.
        limit, usage: KiB, of the control group that is at its limit; ``memory_and_swap_limit`` and
            ``swap_limit``, KiB, as v1 and v2 have them. A limit beyond all memory is none.
        printed: all other numbers of the report by the kernel's words for them.
    """

    ram: int | None = None
    reserved: int | None = None
    highmem: int | None = None
    cma: int | None = None
    hwpoisoned: int | None = None
    swap_total: int | None = None
    swap_free: int | None = None
    limit: int | None = None
    usage: int | None = None
    memory_and_swap_limit: int | None = None
    swap_limit: int | None = None
    printed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """One time out of memory.

    Attributes:
        source: the file, or what else it is from.
        first, last: the lines that it is on.
        number, of: which one of how many in the source; 0 of a stream that has not ended.
        time: as the log has it: the text of the time, or seconds since the boot; empty if none.
        boot: of which boot the source says it is; empty if it does not.
        kernel: its release, as ``5.15.158-2-pve``; empty if it does not tell.
        kind: one of KINDS; what ran out.
        constraint: the kernel's word, ``CONSTRAINT_MEMCG``; empty if it does not tell.
        group: the control group that is at its limit; ``victim_group`` the victim's own.
        nodes: the memory nodes that were allowed, as ``0-1``.
        invoker, invoker_pid, gfp, order, invoker_adj: who asked for memory, and for what.
        listed: our module said: process N goes first.
        table: None without one.
        killed: in their order; the first is the kernel's choice unless ``by`` says otherwise.
        notes: what is odd in the text, in sentences that name lines.
        earlier: those whom the reports before it in the log name as killed, the last ones.
    """

    source: str
    first: int
    last: int
    number: int = 0
    of: int = 0
    time: str = ""
    boot: str = ""
    kernel: str = ""
    kind: str = UNKNOWN
    constraint: str = ""
    group: str = ""
    victim_group: str = ""
    nodes: str = ""
    invoker: str = ""
    invoker_pid: int | None = None
    gfp: str = ""
    order: int | None = None
    invoker_adj: int | None = None
    listed: int | None = None
    figures: Figures = field(default_factory=Figures)
    table: Table | None = None
    killed: tuple[Killed, ...] = ()
    notes: tuple[str, ...] = ()
    earlier: tuple[Killed, ...] = ()


@dataclass(frozen=True)
class Total:
    """What the kernel multiplied oom_score_adj by, in pages: an interval.

    Attributes:
        least, most: it is not smaller and not greater; ``most`` is None where nothing bounds it.
        known: how that is known, in words.
    """

    least: int
    most: int | None
    known: str

    @property
    def exact(self) -> bool:
        """Whether it is one number."""
        return self.least == self.most


# What came of computing the kernel's choice again.
REPRODUCED, TIE, DIFFERS, NOT_RANKED = RESULTS = ("reproduced", "tie", "differs", "not ranked")


@dataclass(frozen=True)
class Ranked:
    """A row with its points, as the kernel counts them.

    Attributes:
        least, most: pages, or per mille where that generation counts so; the two differ where the
            total is not known to the page.
    """

    row: Row
    least: int
    most: int


@dataclass(frozen=True)
class Choice:
    """The kernel's choice, computed again.

    Attributes:
        generation: a key of ``choice.GENERATIONS``; empty if none fits.
        known: how the generation is known, in words.
        page_size: bytes, and ``page_known`` how that is known.
        result: one of RESULTS.
        code: why, a key of ``reasons.REASONS``.
        why: the same in one sentence, with the figures of this report.
        first: the first ones, at most ten, by the kernel's order.
        place: the victim's place in that order, from 1; None if it has none.
    """

    generation: str
    known: str
    page_size: int
    page_known: str
    total: Total
    result: str
    code: str
    why: str
    first: tuple[Ranked, ...] = ()
    place: int | None = None
