"""Why the kernel's choice is what it is, or why it cannot be computed: a code and a page each.

Codes are promises, as those of ``oomrules check`` are: one may be added, none changes its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """A reason.

    Attributes:
        title: what it says, in a few words.
        page: what it means, what to look at and what to do: paragraphs of Markdown.
    """

    title: str
    page: str


def page(code: str) -> str:
    """Return the page of a reason, with its heading.

    Raises:
        KeyError: there is no such code.
    """
    reason = REASONS[code]
    return f"# {code}: {reason.title}\n\n{reason.page.strip()}\n"


REASONS: dict[str, Reason] = {
    # Reproduced.
    "RPL101": Reason(
        "reproduced: the victim has the most points",
        """
The kernel counts points for each process and takes the one with the most. Computed again from the
table, the victim is that process, for every total that the report allows.

**Look at** the first three processes: what separates the victim from the second is memory, or
`oom_score_adj`.

**To change it**, write a rule, or set `OOMScoreAdjust=` for the unit. `oomrules replay` says whom
your rules would have taken.
""",
    ),
    "RPL102": Reason(
        "reproduced: equal points, and the order of looking decides",
        """
Other processes have as many points as the victim. Until Linux 5.2 the kernel takes the first of
them that it meets, since 5.3 the last. The table is in the order in which it looks.

**Look at** the equal processes. They are often workers of one service, or all have the least
number of points that there is.

**To change it**, give one of them a rule: among equals the kernel's choice has no meaning.
""",
    ),
    "RPL103": Reason(
        "reproduced: one choice, and its whole control group was killed",
        """
The victim has the most points. Its control group, or one around it, has `memory.oom.group` set, so
the kernel killed every process of that group that may be killed. No points are counted for those.

**Look at** `OOMPolicy=kill` in the unit, or at the container's runtime: Kubernetes sets it.

**To change it**, set `OOMPolicy=continue`, or accept that the group dies as one.
""",
    ),
    "RPL104": Reason(
        "reproduced: a child was sacrificed in the place of the victim",
        """
Until Linux 5.0 the kernel first chooses a process, and then kills a child of it that has memory of
its own. The process that was chosen has the most points. The report does not tell parents, so
which child it had to be cannot be computed.

**Look at** the line "Kill process N … or sacrifice child": N is the choice.

**To change it**, rank the process that was chosen. Its children follow.
""",
    ),
    "RPL105": Reason(
        "reproduced: by a table that does not show swap",
        """
Tables of Linux before 3.7 have no column for swap, though swap counts. The victim has the most
points by the columns that are there, and either no swap is used, or the score that the kernel
printed for the victim is the computed one.

**Look at** "Free swap" and "Total swap" of the report. Other processes can have had swap as well,
but not so much that the kernel took one of them.

**To do**: nothing. A newer kernel prints the column.
""",
    ),
    "RPL106": Reason(
        "reproduced: among the processes that may use some memory nodes",
        """
Only some memory nodes were allowed, by a cpuset or a memory policy (`CONSTRAINT_CPUSET`,
`CONSTRAINT_MEMORY_POLICY`). The kernel considers the processes that may use them, and counts the
memory of these nodes only as the total. The host as a whole need not have been out of memory.

**Look at** `mems_allowed=` in the summary, and at `AllowedMemoryNodes=` or `numactl --membind` of
the process that asked for memory.

**To change it**, allow more nodes, or prefer nodes instead of binding to them.
""",
    ),
    "RPL107": Reason(
        "reproduced: somebody asked for it by SysRq",
        """
Somebody pressed Alt+SysRq+F, or wrote `f` to `/proc/sysrq-trigger`. The kernel then takes a process
though memory may be left, and counts points as always.

**Look at** who has the console, and at scripts that write to that file.

**To change it**, set `kernel.sysrq` so that bit 64 is not in it (`sysctl kernel.sysrq`).
""",
    ),
    "RPL108": Reason(
        "reproduced: by one of the formulas that fit the report",
        """
The report does not tell the kernel's release, or tells one to which a distribution carried later
changes back. More than one formula fits its columns and messages. By one of them the victim has
the most points, by another it has not. The kernel's choice itself shows which formula made it.

**Look at** `uname -r` on the host, or in its boot log.

**To be certain**, say the release: `oomrules replay --linux 5.15`.
""",
    ),
    "RPL109": Reason(
        "reproduced: with an oom_score_adj that oomrules had set",
        """
The victim has the most points, and oomrules had set its `oom_score_adj`, which counts in them. The
value that it had before stands in the reason. So the choice is not the kernel's alone: the service
had written its list into `oom_score_adj`.

**Look at** `oomrules history`, which says whom the kernel alone would have taken where it was
another process.

**To change it**, change the rules.
""",
    ),
    # Open: the report allows the victim, and others.
    "RPL201": Reason(
        "open: all have the least number of points",
        """
Before Linux 5.9 a process that may be killed has at least one point, however far `oom_score_adj`
takes it below. Here the victim and others all have that one point, so memory did not matter. The
kernel took the one that it met first or last, and the report does not show that order.

**Look at** `oom_score_adj`: in a pod of guaranteed quality all processes have -997 or -998.

**To change it**, use rules, which have an order where the kernel has none, or Linux 5.9.
""",
    ),
    "RPL202": Reason(
        "open: equal points, and the order of looking is not told",
        """
The victim has the most points, and others have as many. At a limit the kernel looks at processes
in the order of their control groups. Before Linux 5.3 the table has another order.

**Look at** the equal processes: are they workers of one service?

**To do**: give one of them a rule, if it matters.
""",
    ),
    "RPL203": Reason(
        "open: the total decides",
        """
The kernel multiplies `oom_score_adj` by a thousandth of the total: RAM and swap, or the limit of
the control group and what it may use of swap. The report does not tell the total to the page. For
some totals the victim has the most points, for others not.

**Look at** the sentence that names the totals. Which is right for this host?

**To be certain**, say it: `oomrules replay --total 16G` (for a limit: with its part of the swap).
""",
    ),
    "RPL204": Reason(
        "open: CAP_SYS_ADMIN decides",
        """
Until Linux 4.16 a process with `CAP_SYS_ADMIN` has fewer points: by 3 percent of the total, or of
its own memory since 3.14. No report tells capabilities. It is assumed that processes of root have
it. The victim has the most points if it does not, as root in most containers.

**Look at** whether the victim ran in a container, or had `CapabilityBoundingSet=`.

**To do**: nothing. Since Linux 4.17 there is no such bonus.
""",
    ),
    "RPL206": Reason(
        "open: the size of a page decides",
        """
Tables count pages, but page tables in bytes and limits in KiB. The report does not tell how large
a page is: 4 KiB, 16 KiB or 64 KiB.

**Look at** `getconf PAGESIZE` on the host. x86 has 4 KiB; ARM and POWER may have 64 KiB.

**To be certain**, say it: `oomrules replay --page-size 64K`.
""",
    ),
    "RPL207": Reason(
        "open: another one has the same memory, as after vfork()",
        """
After `vfork()` or `posix_spawn()` a child uses the memory of its parent until it starts a program.
Both have a row with the same numbers. Since Linux 4.8 the kernel passes over the child. The report
does not tell parents, so that the other row is such a child is likely, not certain.

**Look at** the two rows: the child has the higher pid.

**To do**: nothing. Killing the parent was right.
""",
    ),
    "RPL208": Reason(
        "open: those with more points were dying already",
        """
Processes with more points than the victim are named as killed by an earlier report of this boot.
The kernel passes over a victim that is still exiting once its memory has been taken from it.

**Look at** the reports before this one: one kill was not enough, or came too late.

**To do**: find out why the first victim did not end. It can hang in the kernel, on a dead NFS
server for instance.
""",
    ),
    # Differs: the formula takes another process.
    "RPL301": Reason(
        "differs: the table does not show swap",
        """
Tables of Linux before 3.7 have no column for swap, though swap counts. By the other columns the
victim has fewer points than the score that the kernel printed, or no score is printed. What is
missing is swap.

**Look at** "Free swap" and "Total swap" of the report: all of what is used belongs to somebody.

**To do**: nothing. The kernel's choice need not be wrong; it cannot be computed.
""",
    ),
    "RPL302": Reason(
        "differs: the kernel is not a released one",
        """
By the formula another process has the most points. The name of the release says that the kernel is
a development version, or was changed: `-rc`, `-next`, `-dirty` or `+`. Its formula can be another.

**Look at** what was changed in `mm/oom_kill.c` of that tree.

**To do**: use a released kernel, and replay its next report.
""",
    ),
    "RPL303": Reason(
        "differs: the victim had asked to be taken first",
        """
A process that empties a swap area (`swapoff`), or that ends the sharing of pages by KSM (writes 2
to `/sys/kernel/mm/ksm/run`), can run the host out of memory. The kernel takes it before all
others, without counting points.

**Look at** what ran `swapoff` or changed KSM at that time.

**To do**: free memory before swap is taken away.
""",
    ),
    "RPL399": Reason(
        "differs: unexplained",
        """
By the formula another process has the most points, and the report does not show why the kernel did
not take it. Some things that a report never shows:

- the other one was the victim of an earlier kill, and had not ended yet (see RPL208);
- it was a child after `vfork()` (see RPL207);
- the victim was ending the sharing of pages by KSM (see RPL303);
- its `oom_score_adj` changed between the choice and the table, or it shares memory with a process
  whose `oom_score_adj` is -1000;
- the distribution changed the formula.

**Look at** the reports before this one: `oomrules replay --list`.

**To do**: if it happens again on a kernel of your distribution, report it with the text.
""",
    ),
    # Not ranked: no formula is expected to name the victim, or none can be tried.
    "RPL401": Reason(
        "not ranked: there is no table of processes",
        """
The report says who was killed, not who else ran. The table has been cut off by `grep`, or the
kernel does not print it, because `vm.oom_dump_tasks` is 0.

**Look at** the whole log: `journalctl -k -o short-monotonic` or `dmesg`.

**To do**: `sysctl vm.oom_dump_tasks=1`, in `/etc/sysctl.d` for the next boot. Save a report from
"invoked oom-killer" to "Killed process", with all lines between.
""",
    ),
    "RPL402": Reason(
        "not ranked: the process that asked for memory was taken",
        """
`vm.oom_kill_allocating_task` is set: the kernel takes whoever asks for memory when none is left,
and counts no points. Who that is, is chance.

**Look at** `sysctl vm.oom_kill_allocating_task`.

**To change it**, set it to 0. Rules have no effect while it is set.
""",
    ),
    "RPL403": Reason(
        "not ranked: the list of oomrules decided",
        """
The module of oomrules named the process that goes first on the list, and the kernel took it. No
formula is expected to agree.

**Look at** `oomrules history`, which has the rule.

**To change it**, change the rules.
""",
    ),
    "RPL404": Reason(
        "not ranked: the victim has no row",
        """
The message names a process that the table does not have. Rows have been cut off, or lost by the
log, or the kernel killed a thread's process under another number.

**Look at** the same moment in another log: `journalctl -k`, `/var/log/kern.log`, the console.

**To do**: replay the complete text.
""",
    ),
    "RPL405": Reason(
        "not ranked: rows are missing",
        """
The table is not complete, so a process with more points can be among the missing rows. The order of
those that are there is shown, and claims nothing.

**Look at** the same moment in another log. Rows are lost if the text was filtered by `grep`, the
console is slow, or journald drops messages (`RateLimitBurst=` in journald.conf).

**To do**: replay the complete text.
""",
    ),
    "RPL406": Reason(
        "not ranked: two reports are mixed",
        """
A process has two rows that say different things. Two reports have run into each other: the log was
cut in the middle of the first, or two files were joined.

**Look at** the two lines, and at the times around them: the clock jumps.

**To do**: cut the text between the reports, and replay each.
""",
    ),
    "RPL407": Reason(
        "not ranked: the table has a column that no released kernel prints",
        """
A patch that is not part of Linux added the column, and can count by it.

**Look at** the name of the column, and at what was patched.

**To do**: replay a report of a released kernel.
""",
    ),
    "RPL408": Reason(
        "not ranked: nobody is named as killed",
        """
The text ends before the kernel names a victim, or it named none: a chosen process that is exiting
already is not killed again, and nothing is chosen while an earlier victim is still exiting.

**Look at** the next lines of the log.

**To do**: replay more of the log.
""",
    ),
    "RPL409": Reason(
        "not ranked: the kernel was told to panic",
        """
`vm.panic_on_oom` is set, or nothing was left that may be killed. The host stopped, and nobody was
chosen.

**Look at** `sysctl vm.panic_on_oom` and `kernel.panic`.

**To change it**, set `vm.panic_on_oom` to 0. Rules have no effect while it is set.
""",
    ),
    "RPL410": Reason(
        "not ranked: a BPF program chose",
        """
A program of the control group, or of the host, handled the lack of memory and named the victim.

**Look at** `bpftool struct_ops` and at who loads such programs.

**To change it**, change that program. Rules have no effect where it decides.
""",
    ),
    "RPL411": Reason(
        "not ranked: no formula is known for this kernel",
        """
The table has no `oom_score_adj`: the kernel is older than 2.6.36, and counted otherwise (by the
size of the address space, the time that a process ran, and its children).

**Look at** the release.

**To do**: if the kernel is a newer one and its table was changed by a tool, replay the original
text, or say the release: `oomrules replay --linux 5.15`.
""",
    ),
}
