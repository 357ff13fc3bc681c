"""How the threads that a kill waits for are scheduled: before all that is not realtime itself.

While a host thrashes, tasks wait in two lines, for the processor and for memory. The priority of
an ordinary process says nothing in the second one: whatever the guard asks the kernel for, an open
file of /proc or a pidfd, has to be allocated, and the caller looks for free pages until there are
some. The kernel lets a realtime task go below the watermark at which the others have to do that
(gfp_to_alloc_flags() in mm/page_alloc.c: a quarter of it, and half of it from Linux 6.4 on).
"""

from __future__ import annotations

import os


def enter() -> bool:
    """Make the calling thread a realtime one, of the lowest priority of these.

    It takes CAP_SYS_NICE or a limit RLIMIT_RTPRIO of 1.

    Returns:
        whether it is one now; False where the kernel or a container does not permit it.
    """
    # Whom the thread starts is no such process.
    policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, policy, os.sched_param(1))
    except OSError:
        return False
    return True
