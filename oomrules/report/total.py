"""What the kernel multiplies oom_score_adj by, and how large a page is.

The total is RAM and swap for the host, a limit and what swap it allows for a control group
(constrained_alloc() in mm/oom_kill.c, mem_cgroup_get_max() in mm/memcontrol.c). No report
prints it; most print what it is made of.
"""

from __future__ import annotations

import math

from oomrules.report import generations
from oomrules.report.generations import Generation
from oomrules.report.model import HOST, LIMIT, NODES, SYSRQ, Figures, Killed, Report, Row, Total

# CONFIG_*_PAGE_SIZE of the architectures that run Linux servers.
PAGE_SIZES = (4096, 16384, 65536)
# The same with those of rarer ones: SPARC and Alpha have 8 KiB, MIPS can have 32 KiB.
ALL_PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)

# Limits are unsigned numbers of pages; from half of that on they mean "none" (PAGE_COUNTER_MAX).
_NO_LIMIT = 2**52

# Old kernels count the holes between the nodes' memory as well, so even the RAM is no bound.
_OF_NODES = "swap and the RAM of the allowed nodes, which the report does not tell"

# Machines whose pages have always 4 KiB, as their releases are called.
_SMALL_PAGES = ("x86_64", "amd64", "i686", "i386", "azure", "pve")


def page_size(report: Report, hint: int | None = None) -> tuple[tuple[int, ...], str]:
    """Return the sizes that a page can have had, in bytes, and how they are known, in words.

    Args:
        report: its victim is in the table in pages and in the message about it in KiB.
        hint: what somebody says.
    """
    if hint:
        return (hint,), "as you say"
    for killed in report.killed:
        row = row_of(report, killed.pid)
        size = _by_victim(killed, row) if row else None
        if size:
            return (size,), f"line {killed.line} has the memory of process {killed.pid} in KiB"
    if any(report.kernel.endswith(word) for word in _SMALL_PAGES):
        return PAGE_SIZES[:1], f"its release, {report.kernel}"
    return PAGE_SIZES, "4 KiB are assumed: the report does not tell"


def row_of(report: Report, pid: int) -> Row | None:
    """Return the first row of a process; None if the table does not have it."""
    rows = report.table.rows if report.table else ()
    return next((row for row in rows if row.pid == pid), None)


def _by_victim(killed: Killed, row: Row) -> int | None:
    """Return the page size that makes a row and a message say the same."""
    resident = [killed.anon_rss, killed.file_rss, killed.shmem_rss]
    rss = sum(each or 0 for each in resident) if killed.anon_rss is not None else None
    for kib, pages in ((killed.total_vm, row.values.get("total_vm")), (rss, row.values.get("rss"))):
        # Few pages say nothing: the numbers are of two moments.
        if kib and pages and pages >= 16:
            size = min(ALL_PAGE_SIZES, key=lambda each: abs(math.log(kib * 1024 / pages / each)))
            if 0.75 < kib * 1024 / pages / size < 1.33:
                return size
    return None


def total(report: Report, hint: int | None = None, page_size: int = PAGE_SIZES[0]) -> Total:
    """Return what a report says of the total, as an interval of pages.

    Args:
        report: the report.
        hint: the total that somebody says, in bytes.
        page_size: in bytes.
    """
    if hint is not None:
        return Total(least=hint // page_size, most=hint // page_size, known="as you say")
    if report.kind == LIMIT:
        return _of_limit(report.figures, page_size)
    if report.kind == NODES:
        swap = _pages(report.figures.swap_total, page_size) or 0
        return Total(least=1 + swap, most=None, known=_OF_NODES)
    if report.figures.ram is None and report.kind in (HOST, SYSRQ):
        return _at_least(report, page_size)
    return _of_host(report.figures, page_size)


def _at_least(report: Report, page_size: int) -> Total:
    """Return what the processes of the table hold together, as far as they cannot share it.

    Only tables since Linux 6.8 tell private memory apart. Forked processes share theirs until they
    write, so of those that have one name the largest counts. Page tables are not shared.
    """
    swap = _pages(report.figures.swap_total, page_size) or 0
    if report.table is None or "rss_anon" not in report.table.columns:
        return Total(least=1 + swap, most=None, known="the report does not tell the RAM")
    private: dict[str, int] = {}
    tables = 0
    for row in report.table.rows:
        held = max(0, row.values.get("rss_anon", 0)) + max(0, row.values.get("swapents", 0))
        private[row.name] = max(private.get(row.name, 0), held)
        tables += max(0, row.values.get("pgtables_bytes", 0)) // page_size
    least = max(1 + swap, sum(private.values()) + tables)
    return Total(least=least, most=None, known="at least what the processes hold")


def _of_host(figures: Figures, page_size: int) -> Total:
    """Return ``totalram_pages() + total_swap_pages``."""
    swap = _pages(figures.swap_total, page_size)
    if figures.ram is None:
        return Total(least=1 + (swap or 0), most=None, known="the report does not tell the RAM")
    least = max(1, figures.ram - (figures.reserved or 0)) + (swap or 0)
    if figures.reserved is None:
        most = None if swap is None else figures.ram + swap
        return Total(least=1, most=most, known="the RAM is told, but not what is reserved of it")
    if swap is None:
        return Total(least=least, most=None, known="RAM is told, swap is not")
    return Total(least=least, most=least, known="RAM, less what is reserved, and swap")


def _of_limit(figures: Figures, page_size: int) -> Total:
    """Return the limit, and as much swap as there is and the group may use."""
    limit = _limit(figures.limit, page_size)
    both = _limit(figures.memory_and_swap_limit, page_size)
    swap = _limit(figures.swap_limit, page_size)
    there = _pages(figures.swap_total, page_size)
    if limit is None:
        return Total(least=1, most=None, known="the report does not tell the limit")
    upper = [limit + each for each in (swap, there) if each is not None]
    if both is not None:
        upper.append(max(both, limit))
    least = max(1, limit)
    if not upper:
        return Total(least=least, most=None, known="the limit, and an unknown part of the swap")
    most = max(least, min(upper))
    known = "the limit" if most == least else "between the limit and the limit with swap"
    return Total(least=least, most=most, known=known)


def _limit(kib: int | None, page_size: int) -> int | None:
    return None if kib is None or kib >= _NO_LIMIT else _pages(kib, page_size)


def _pages(kib: int | None, page_size: int) -> int | None:
    return None if kib is None else max(0, kib) * 1024 // page_size


def narrowed(total: Total, report: Report, generation: Generation, page_size: int) -> Total:
    """Return the total as far as the score that the kernel printed says more of it.

    Until Linux 5.0 the message about the victim has its points, per mille of the total. A total
    that is known stays, and so does one that the score contradicts.

    Args:
        total: what the figures of memory say.
        report: the report.
        generation: whose formula.
        page_size: in bytes.
    """
    if total.least == total.most or not report.killed:
        return total
    said = report.killed[0]
    if said.by == "oom_kill_allocating_task":
        # It counted no points, and prints 0.
        return total
    row = row_of(report, said.pid if said.chosen is None else said.chosen)
    if said.score is None or row is None or generations.is_exempt(row):
        return total
    least = max(total.least, _least(said.score, row, generation, page_size))
    bounds = (total.most, _most(said.score, row, generation, page_size))
    most = min((each for each in bounds if each is not None), default=None)
    if (least, most) == (total.least, total.most) or (most is not None and least > most):
        return total
    return Total(least=least, most=most, known=f"{total.known}, and the printed score {said.score}")


# With ``adj * (total // 1000)`` between ``adj * (total - 999) / 1000`` and ``adj * total / 1000``
# a score is ``pages * 1000 / total + adj`` but for less than one step.


def _least(score: int, row: Row, generation: Generation, page_size: int) -> int:
    """Return the least total that gives a process no higher score."""
    if generation.per_mille and score >= 1000:
        return 1
    admin = bool(generation.bonus) and generations.is_root(row)
    weighed = generations.weight(row, generation, page_size, admin=admin)
    rest = 0 if generation.per_mille else 999 * max(0, weighed.adj)
    above = score + 1 - weighed.adj
    return max(1, (weighed.pages * 1000 - rest) // above) if above > 0 else 1


def _most(score: int, row: Row, generation: Generation, page_size: int) -> int | None:
    """Return the greatest total that gives a process no lower score; None if any does."""
    weighed = generations.weight(row, generation, page_size, admin=False)
    below = score - weighed.adj
    # The least number of points can be more than the formula says, and so can memory that is in
    # no column of the table.
    if score <= 1 or below <= 0 or (generation.per_mille and "swapents" not in row.values):
        return None
    rest = 0 if generation.per_mille else 999 * max(0, -weighed.adj)
    return max(1000, (weighed.pages * 1000 + rest) // below)
