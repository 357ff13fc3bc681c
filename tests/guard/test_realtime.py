"""Whether a thread becomes a realtime one: where that is permitted, and only itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CAP_SYS_NICE = 1 << 23
# In a process of its own. A limit of 0 is what most have; a word more, and it gives up its rights.
TRIED = """
import os, resource, sys, threading
from oomrules.guard import realtime
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
if sys.argv[1:] and os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
found = []
thread = threading.Thread(target=lambda: found.append((realtime.enter(), os.sched_getscheduler(0))))
thread.start()
thread.join()
print(*found[0], os.sched_getscheduler(0))
"""
ENTERED = f"True {os.SCHED_RR | os.SCHED_RESET_ON_FORK} {os.SCHED_OTHER}"
REFUSED = f"False {os.SCHED_OTHER} {os.SCHED_OTHER}"


def tried(*words: str) -> str:
    argv = [sys.executable, "-c", TRIED, *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def may_be_nice() -> bool:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    rights = dict(line.split(":\t") for line in lines if line.startswith("CapEff"))
    return bool(int(rights["CapEff"], 16) & CAP_SYS_NICE)


def test_where_it_is_permitted_only_the_thread_is_changed() -> None:
    assert tried() == (ENTERED if may_be_nice() else REFUSED)


def test_where_it_is_not_permitted_all_goes_on() -> None:
    assert tried("nobody") == REFUSED
