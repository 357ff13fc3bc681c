"""What a child of the service gives up: the service is protected, and goes first."""

from __future__ import annotations

import os


def renounce_privileges() -> None:
    """Be as likely to be killed, and as late in getting a processor, as any process.

    The service that starts this one is protected and goes first.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, 0)))
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            if int(file.read()) < 0:
                file.seek(0)
                file.write("0")
    except OSError:
        pass
