"""The kernel's own killer: which processes it sees, and how it counts.

Its badness of a process is ``rss + swap + page tables + adj * (totalpages / 1000)`` in pages
(oom_badness() in mm/oom_kill.c; the division comes first and is a whole one). ``totalpages``
is RAM and swap for the host, and the limits of the control group that ran out otherwise
(constrained_alloc(), mem_cgroup_get_max() in mm/memcontrol.c). So one adjustment weighs
differently in each *domain*, as that is called here: the host, or a control group with a limit.
Of equals the last one looked at dies (oom_evaluate_task()), so equality is no order.
"""

from __future__ import annotations

from oomrules.lean import NamedTuple

# include/uapi/linux/oom.h: OOM_SCORE_ADJ_MIN is "never", so it is no step on the scale.
UNKILLABLE = -1000
LOWEST = -999
HIGHEST = 1000

# The uid of a process whose user is not known.
NOBODY = 65534

# What systemd gives to units with DynamicUser= (systemd.io, "Users, Groups, UIDs and GIDs").
_DYNAMIC = range(61184, 65520)


class Task(NamedTuple):
    """A process as the kernel's killer sees it.

    Attributes:
        start: its start time, in clock ticks since the boot.
        size: resident memory, swap and page tables, in pages.
        original: the oom_score_adj that it had before oomrules changed it.
        current: the oom_score_adj that it has.
        domains: where it competes, by their numbers in the plan's list.
        lowest: the lowest value that can be written; ``original`` where none can be lowered.
        highest: the highest.
        uid: the real user.
        passes_on: whether it can start processes as another user, who then have its value.
    """

    pid: int
    start: int
    size: int
    original: int
    current: int
    domains: tuple[int, ...] = (0,)
    lowest: int = UNKILLABLE
    highest: int = HIGHEST
    uid: int = 0
    passes_on: bool = False

    @property
    def identity(self) -> tuple[int, int]:
        """Its pid and its start time, which no other process of this boot has."""
        return self.pid, self.start

    @property
    def is_users(self) -> bool:
        """Whether it belongs to an ordinary user, who can start as many of them as he likes."""
        return self.uid >= 1000 and self.uid not in _DYNAMIC


class Domain(NamedTuple):
    """A group of processes that runs out of memory as a whole.

    Attributes:
        name: an empty text for the host, else the path of the control group.
        totalpages: the kernel's, in pages.
        head: how many of the candidates are to be in order.
    """

    name: str
    totalpages: int
    head: int

    @property
    def step(self) -> int:
        """What one step of oom_score_adj weighs here, in pages; 0 below 1000 pages."""
        return self.totalpages // 1000

    def margin(self, steps: int) -> int:
        """Return the distance that neighbours keep, in pages."""
        return max(1, self.totalpages * steps // 1000)


def badness(size: int, value: int, step: int) -> int | None:
    """Return the kernel's points, in pages; None for a process that it never chooses."""
    return None if value == UNKILLABLE else size + value * step
