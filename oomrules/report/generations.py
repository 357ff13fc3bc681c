"""How each generation of the kernel counts points, and which generation wrote a report.

All of it is in mm/oom_kill.c. Versions are those of kernel.org; distributions carry changes back
to older versions, so what a release is called does not say everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from oomrules.report.model import Report, Row, Total

# include/uapi/linux/oom.h, OOM_SCORE_ADJ_MIN: such a process is never chosen.
EXEMPT = -1000

# What CAP_SYS_ADMIN is worth: 30 per mille, 30 steps of oom_score_adj, or 3 % of its own pages.
_PER_MILLE, _STEPS, _SHARE = "30 per mille", "30 steps", "3 %"

# No host has more pages. It stands for the most where nothing bounds the total.
BEYOND = 2**42


@dataclass(frozen=True)
class Generation:
    """One way of counting.

    Attributes:
        title: the versions, in words.
        since: the first of them.
        formula: what a process has, in words.
        bonus: what is taken off for CAP_SYS_ADMIN; empty if nothing is.
        floor: whether a process that may be chosen has at least one point.
        per_mille: whether points are per mille of the total, up to 1000. Else they are pages.
        last: whether of equal processes the last one dies that the kernel looks at, not the first.
        lists_as_scanned: whether at a limit the table has the order in which the kernel looks.
    """

    title: str
    since: tuple[int, int]
    formula: str
    bonus: str = ""
    floor: bool = True
    per_mille: bool = False
    last: bool = False
    lists_as_scanned: bool = False


# oom_badness(), select_bad_process(), oom_evaluate_task(). Page tables count since 3.0, but no
# table of that time has them. That the last of equals dies, and that dump_tasks() goes through a
# control group as the choice does, came with 5.3.
GENERATIONS: dict[str, Generation] = {
    "2.6.36": Generation(
        title="Linux 2.6.36 to 3.4 (and Enterprise Linux 6)",
        since=(2, 6),
        formula="pages * 1000 / total, less 30 with CAP_SYS_ADMIN, + oom_score_adj; 1 to 1000",
        bonus=_PER_MILLE,
        per_mille=True,
    ),
    "3.5": Generation(
        title="Linux 3.5 to 3.13",
        since=(3, 5),
        formula="pages + (oom_score_adj, less 30 with CAP_SYS_ADMIN) * (total / 1000), at least 1",
        bonus=_STEPS,
    ),
    "3.14": Generation(
        title="Linux 3.14 to 4.16 (and Enterprise Linux 7)",
        since=(3, 14),
        formula="pages, less 3 % with CAP_SYS_ADMIN, + oom_score_adj * (total / 1000), at least 1",
        bonus=_SHARE,
    ),
    "4.17": Generation(
        title="Linux 4.17 to 5.2",
        since=(4, 17),
        formula="pages + oom_score_adj * (total / 1000), at least 1",
    ),
    "5.3": Generation(
        title="Linux 5.3 to 5.8",
        since=(5, 3),
        formula="pages + oom_score_adj * (total / 1000), at least 1",
        last=True,
        lists_as_scanned=True,
    ),
    "5.9": Generation(
        title="Linux 5.9 and later",
        since=(5, 9),
        formula="pages + oom_score_adj * (total / 1000)",
        floor=False,
        last=True,
        lists_as_scanned=True,
    ),
}

# The columns of a table, and the generations whose kernels print them (dump_tasks()).
_BY_COLUMN = (
    ("rss_anon", ("5.9",)),
    ("pgtables_bytes", ("3.14", "4.17", "5.3", "5.9")),
    ("nr_pmds", ("3.14",)),
    ("nr_ptes", ("3.5", "3.14")),
    ("oom_adj", ("2.6.36", "3.5")),
)

KNOWN_COLUMNS = frozenset(
    "pid uid tgid total_vm rss rss_anon rss_file rss_shmem nr_ptes nr_pmds nr_puds"
    " pgtables_bytes swapents cpu oom_adj oom_score_adj name".split()
)

# The stable versions from here on took the formula of 3.14 at some time.
_UNSETTLED = (3, 10)

_RELEASE = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")
_ENTERPRISE = re.compile(r"\.el(\d+)(?:[_.]|$)")

# 8 is the version that much was carried back to, at a time that its releases do not tell.
_FIRST_OF_7 = "3.10.0-123."  # of 7.0, which is older than the formula of 3.14 is
_OF_ENTERPRISE = {
    ("6", "2.6.32"): ("2.6.36",),
    ("7", "3.10.0"): ("3.14",),
    ("8", "4.18.0"): ("4.17", "5.3", "5.9"),
}


def possible(report: Report, linux: str = "") -> tuple[tuple[str, ...], str]:
    """Return the generations that can have written a report, and how that is known, in words.

    Args:
        report: the report; its release decides, else its columns and messages.
        linux: a release that somebody says it is, as ``5.15``.

    Returns:
        keys of ``GENERATIONS``, the likeliest first; none if no formula is known for it.
    """
    if linux:
        return _by_release(linux), f"Linux {linux}, as you say"
    if report.kernel and (found := _by_release(report.kernel)):
        return found, f"its release, {report.kernel}"
    return _by_columns(report)


def _by_release(release: str) -> tuple[str, ...]:
    match = _RELEASE.match(release)
    if not match:
        return ()
    enterprise = _ENTERPRISE.search(release)
    if enterprise and (found := _OF_ENTERPRISE.get((enterprise[1], match[0]))):
        return (*found, "3.5") if release.startswith(_FIRST_OF_7) else found
    version = int(match[1]), int(match[2])
    if version == (2, 6) and int(match[3] or 0) < 36:
        return ()
    if _UNSETTLED <= version < GENERATIONS["3.14"].since:
        return ("3.14", "3.5")
    fitting = [key for key, each in GENERATIONS.items() if each.since <= version]
    return (fitting[-1],) if fitting else ()


def _by_columns(report: Report) -> tuple[tuple[str, ...], str]:
    columns = report.table.columns if report.table else ()
    if "oom_score_adj" not in columns:
        return (), "its table has no column oom_score_adj, which Linux 2.6.36 brought"
    for column, keys in _BY_COLUMN:
        if column in columns:
            fitting = tuple(key for key in keys if _fits(key, report))
            return fitting or keys, f"its column {column}"
    return (), "no kernel has printed these columns"


def _fits(key: str, report: Report) -> bool:
    """Tell whether that generation writes messages such as the report's.

    "or sacrifice child" went with 5.1; the summary "oom-kill:constraint=" came with 5.0; the
    victim's page tables are told since 5.4.
    """
    since = GENERATIONS[key].since
    if any(each.chosen is not None for each in report.killed):
        return since < (5, 3)
    if any(each.page_tables is not None for each in report.killed):
        return since >= (5, 3)
    return since >= (4, 17) or not report.constraint.startswith("CONSTRAINT_")


@dataclass(frozen=True)
class Weight:
    """What a process brings into the formula.

    Attributes:
        pages: its memory.
        adj: its oom_score_adj. The bonus is off both.
    """

    pages: int
    adj: int


def is_exempt(row: Row) -> bool:
    """Return whether the kernel never chooses it."""
    return row.values.get("oom_score_adj", 0) <= EXEMPT


def memory(row: Row, page_size: int) -> int:
    """Return what a process holds, in pages: resident, swap, and page tables where told.

    Args:
        row: its row.
        page_size: in bytes; ``pgtables_bytes`` counts bytes.
    """
    values = row.values
    names = ("rss", "swapents", "nr_ptes", "nr_pmds", "nr_puds")
    tables = max(0, values.get("pgtables_bytes", 0)) // page_size
    return sum(max(0, values.get(name, 0)) for name in names) + tables


def weight(row: Row, generation: Generation, page_size: int, admin: bool) -> Weight:
    """Return what a process brings into the formula.

    Args:
        row: its row.
        generation: whose formula.
        page_size: in bytes.
        admin: whether it has CAP_SYS_ADMIN, which no report tells.
    """
    pages, adj = memory(row, page_size), row.values.get("oom_score_adj", 0)
    if admin and generation.bonus == _SHARE:
        pages -= pages * 3 // 100
    elif admin and generation.bonus:
        adj -= 30
    return Weight(pages=pages, adj=adj)


def value(weighed: Weight, generation: Generation, total: int) -> int:
    """Return the points of a process that may be chosen, for one total in pages.

    The total is divided before it is multiplied, and with a rest. A limit of 0 counts as one page.
    """
    total = max(1, total)
    if generation.per_mille:
        return min(max(weighed.pages * 1000 // total + weighed.adj, 1), 1000)
    points = weighed.pages + weighed.adj * (total // 1000)
    return max(points, 1) if generation.floor else points


def points(row: Row, generation: str, total: Total, page_size: int) -> tuple[int, int]:
    """Return the least and the most points that a process can have had.

    They differ where the total is not known to the page, and for root's processes where the
    kernel takes something off for CAP_SYS_ADMIN: a container's root does not have it.

    Args:
        row: its row.
        generation: a key of ``GENERATIONS``.
        total: what oom_score_adj is multiplied by.
        page_size: in bytes.

    Returns:
        pages, or per mille; twice 0 for a process that is never chosen.
    """
    counted = GENERATIONS[generation]
    if is_exempt(row):
        return 0, 0
    found = [
        value(weight(row, counted, page_size, admin), counted, each)
        for admin in _admin(row, counted)
        for each in (total.least, BEYOND if total.most is None else total.most)
    ]
    return min(found), max(found)


def _admin(row: Row, generation: Generation) -> Iterator[bool]:
    yield False
    if generation.bonus and is_root(row):
        yield True


def is_root(row: Row) -> bool:
    """Return whether it is assumed to have CAP_SYS_ADMIN."""
    return row.values.get("uid") == 0
