"""Reports as the kernel's sources write them, of made-up processes.

Each form is that of mm/oom_kill.c, dump_task(), and of mm/memcontrol.c of that kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# By a kernel that has it: the header, and the row.
TABLES: dict[str, tuple[bytes, bytes]] = {
    "2.6.32": (
        b"[ pid ]   uid  tgid total_vm      rss cpu oom_adj name",
        b"[%(pid)5d] %(uid)5d %(pid)5d %(vm)8d %(rss)8d %(cpu)3d     %(oom_adj)3d %(name)s",
    ),
    "2.6.36": (
        b"[ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name",
        b"[%(pid)5d] %(uid)5d %(pid)5d %(vm)8d %(rss)8d %(cpu)3d     %(oom_adj)3d"
        b"         %(adj)5d %(name)s",
    ),
    "3.10": (
        b"[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
        b"[%(pid)5d] %(uid)5d %(pid)5d %(vm)8d %(rss)8d %(ptes)7d %(swap)8d         %(adj)5d"
        b" %(name)s",
    ),
    "4.4": (
        b"[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name",
        b"[%(pid)5d] %(uid)5d %(pid)5d %(vm)8d %(rss)8d %(ptes)7d %(pmds)7d %(swap)8d"
        b"         %(adj)5d %(name)s",
    ),
    "4.18": (
        b"[ pid ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        b"[%(pid)5d] %(uid)5d %(pid)5d %(vm)8d %(rss)8d %(bytes)8d %(swap)8d         %(adj)5d"
        b" %(name)s",
    ),
    "5.4": (
        b"[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        b"[%(pid)7d] %(uid)5d %(pid)5d %(vm)8d %(rss)8d %(bytes)8d %(swap)8d         %(adj)5d"
        b" %(name)s",
    ),
    "6.8": (
        b"[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes "
        b"swapents oom_score_adj name",
        b"[%(pid)7d] %(uid)5d %(pid)5d %(vm)8d %(rss)8d %(anon)8d %(file)8d %(shmem)9d "
        b"%(bytes)8d %(swap)8d         %(adj)5d %(name)s",
    ),
}
KERNELS = tuple(TABLES)
# With a summary, and with the kill in one message.
_SUMMARIES = {"5.4", "6.8"}


@dataclass(frozen=True)
class Task:
    """A process. Its name has 15 bytes at most."""

    pid: int
    name: bytes
    uid: int = 1000
    rss: int = 5000
    adj: int = 0


def row(kernel: str, task: Task) -> bytes:
    """Return a row of the table."""
    return TABLES[kernel][1] % {
        b"pid": task.pid,
        b"uid": task.uid,
        b"vm": 4 * task.rss + 100,
        b"rss": task.rss,
        b"cpu": task.pid % 4,
        b"oom_adj": -17 if task.adj == -1000 else 0,
        b"adj": task.adj,
        b"ptes": 30,
        b"pmds": 3,
        b"bytes": 4096 * 33,
        b"swap": 17,
        b"anon": task.rss - 10,
        b"file": 7,
        b"shmem": 3,
        b"name": task.name,
    }


def report(
    kernel: str,
    tasks: Sequence[Task],
    victim: Task,
    *,
    invoker: bytes = b"make",
    limit: bytes = b"",
    group: bytes = b"/",
    score: int = 812,
    table: bool = True,
    figures: bool = True,
) -> list[bytes]:
    """Return the messages of a report.

    Args:
        limit: the control group that is at its limit; empty for the host.
        group: the victim's.
        table: whether ``vm.oom_dump_tasks`` is on.
    """
    messages = [
        invoker + b" invoked oom-killer: gfp_mask=0x1100cca(GFP_HIGHUSER_MOVABLE), order=0, "
        b"oom_score_adj=0",
        b"CPU: 1 PID: 4711 Comm: %s Not tainted %s-made #1" % (invoker, kernel.encode()),
        b"Call Trace:",
        b" dump_header+0x4a/0x240",
    ]
    if limit and figures:
        if kernel not in _SUMMARIES:
            messages.append(b"Task in %s killed as a result of limit of %s" % (group, limit))
        messages += [
            b"memory: usage 102400kB, limit 102400kB, failcnt 54",
            b"memory+swap: usage 102400kB, limit 9007199254740988kB, failcnt 0",
            b"Memory cgroup stats for %s:" % limit,
            b"anon 99000320",
        ]
    elif figures:
        messages += [
            b"Mem-Info:",
            b"active_anon:504 inactive_anon:4920752 isolated_anon:0",
            b"Node 0 DMA free:11264kB min:44kB low:56kB high:68kB",
            b"Free swap  = 0kB",
            b"Total swap = 4096kB",
            b"1048576 pages RAM",
            b"1024 pages reserved",
        ]
    if table:
        if kernel in _SUMMARIES:
            messages.append(b"Tasks state (memory values in pages):")
        messages += [TABLES[kernel][0], *(row(kernel, task) for task in tasks)]
    return messages + killed(kernel, victim, limit=limit, group=group, score=score)


def killed(
    kernel: str, victim: Task, *, limit: bytes = b"", group: bytes = b"/", score: int = 812
) -> list[bytes]:
    """Return the messages about the victim."""
    why = b"Memory cgroup out of memory" if limit else b"Out of memory"
    where = (
        b"oom_memcg=%s,task_memcg=%s" % (limit, group)
        if limit
        else b"global_oom,task_memcg=%s" % group
    )
    sizes = b"total-vm:%dkB, anon-rss:%dkB, file-rss:28kB" % (
        4 * (4 * victim.rss + 100),
        4 * (victim.rss - 10),
    )
    if kernel in _SUMMARIES:
        return [
            b"oom-kill:constraint=%s,nodemask=(null),cpuset=/,mems_allowed=0,%s,task=%s,pid=%d,uid=%d"
            % (
                b"CONSTRAINT_MEMCG" if limit else b"CONSTRAINT_NONE",
                where,
                victim.name,
                victim.pid,
                victim.uid,
            ),
            b"%s: Killed process %d (%s) %s, shmem-rss:12kB, UID:%d pgtables:132kB oom_score_adj:%d"
            % (why, victim.pid, victim.name, sizes, victim.uid, victim.adj),
        ]
    if kernel == "2.6.32":
        return [
            b"%s: kill process %d (%s) score %d or a child" % (why, victim.pid, victim.name, score),
            b"Killed process %d (%s)" % (victim.pid, victim.name),
        ]
    return [
        b"%s: Kill process %d (%s) score %d or sacrifice child"
        % (why, victim.pid, victim.name, score),
        b"Killed process %d (%s) %s" % (victim.pid, victim.name, sizes),
    ]
