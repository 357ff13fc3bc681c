"""Reports that were replayed, built by hand; and the text of one."""

from __future__ import annotations

from typing import Any

from oomrules.commands.parts.replayed import CERTAIN, Answer, Replayed, Taken
from oomrules.report.model import (
    HOST,
    REPRODUCED,
    Choice,
    Figures,
    Killed,
    Ranked,
    Report,
    Row,
    Table,
    Total,
)

# As Linux 6.1 writes it; who died is called as one likes.
TABLE = """\
[  100.000000] {name} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[  100.000001] CPU: 0 PID: 7 Comm: {name} Not tainted 6.1.0-13-amd64 #1
[  100.000002] Mem-Info:
[  100.000003] 0 pages in swap cache
[  100.000004] Free swap  = 0kB
[  100.000005] Total swap = 0kB
[  100.000006] 524288 pages RAM
[  100.000007] 0 pages HighMem/MovableOnly
[  100.000008] 24288 pages reserved
[  100.000009] Tasks state (memory values in pages):
[  100.000010] [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[  100.000011] [     10]  1000    10   400000   300000  2400000        0             0 {name}
[  100.000012] [     20]  1000    20   500000    90000   800000        0             0 small
[  100.000013] [     30]     0    30   500000     9000    80000        0         -1000 sshd
[  100.000014] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,\
global_oom,task_memcg=/system.slice/x.service,task={name},pid=10,uid=1000
[  100.000015] Out of memory: Killed process 10 ({name}) total-vm:1600000kB, \
anon-rss:1200000kB, file-rss:0kB, shmem-rss:0kB, UID:1000 pgtables:2343kB oom_score_adj:0
"""
COLUMNS = ("pid", "uid", "tgid", "total_vm", "rss", "pgtables_bytes", "swapents", "oom_score_adj")


def row(pid: int, name: str = "hog", rss: int = 1000, **values: int) -> Row:
    """Return a row of a table, as kernels since 4.16 have them."""
    usual = {"pid": pid, "uid": 1000, "tgid": pid, "total_vm": 2 * rss, "rss": rss}
    usual |= {"pgtables_bytes": 4096, "swapents": 0, "oom_score_adj": 0}
    return Row(line=10 + pid, values={**usual, **values}, name=name)


def report(*rows: Row, killed: int | None = None, **changed: Any) -> Report:
    """Return a report with these rows, of which the first was killed, or another one."""
    victims = [one for one in rows if one.pid == (killed or rows[0].pid)]
    usual: dict[str, Any] = {
        "source": "/var/log/kern.log",
        "first": 3,
        "last": 90,
        "number": 1,
        "of": 1,
        "time": "Nov 27 03:00:00",
        "kernel": "6.1.0-13-amd64",
        "kind": HOST,
        "constraint": "CONSTRAINT_NONE",
        "invoker": "asker",
        "order": 0,
        "figures": Figures(ram=2_000_000, reserved=50_000, swap_total=0, swap_free=0),
        "table": Table(line=9, columns=(*COLUMNS, "name"), rows=rows),
        "killed": tuple(
            Killed(
                line=90,
                pid=one.pid,
                name=one.name,
                uid=1000,
                anon_rss=4 * one.values["rss"],
                file_rss=0,
                shmem_rss=0,
            )
            for one in victims
        ),
    }
    return Report(**{**usual, **changed})


def choice(of: Report, **changed: Any) -> Choice:
    """Return the choice of a report by the memory that its processes hold."""
    rows = sorted(of.table.rows, key=lambda one: -one.values["rss"]) if of.table else []
    usual: dict[str, Any] = {
        "generation": "5.9",
        "known": "by its release",
        "page_size": 4096,
        "page_known": "of the kill",
        "total": Total(least=1_950_000, most=1_950_000, known="RAM less what is reserved"),
        "result": REPRODUCED,
        "code": "RPL101",
        "why": "it has the most points",
        "first": tuple(Ranked(one, one.values["rss"], one.values["rss"]) for one in rows[:10]),
        "place": 1,
    }
    return Choice(**{**usual, **changed})


def replayed(of: Report, **changed: Any) -> Replayed:
    """Return a report with the same process taken by the rules."""
    names = {one.pid: one.name for one in of.table.rows} if of.table else {}
    taken = [Taken(one.pid, names.get(one.pid, one.name)) for one in of.killed[:1]]
    usual: dict[str, Any] = {
        "report": of,
        "choice": choice(of),
        "answer": Answer(CERTAIN, tuple(taken)),
    }
    return Replayed(**{**usual, **changed})
