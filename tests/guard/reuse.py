"""A pid that is used again between choice and signal. Runs in a pid namespace of its own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from oomrules.guard.killing import Killer
from oomrules.guard.model import Armed, Candidate, Sample
from oomrules.processes.proc_stat import family
from oomrules.program.program import Guard


def start() -> int:
    """Start a process that waits for signals."""
    pid = os.fork()
    if not pid:
        signal.pause()
        os._exit(0)
    return pid


def main() -> None:
    """Print "spared" if the second process with a pid lives on."""
    killer = Killer(me=0)
    chosen = start()
    began, _ = family(Path(f"/proc/{chosen}/stat").read_bytes())
    victim = Candidate(pid=chosen, start=began, rank=1)
    # The start is in ticks.
    time.sleep(0.05)
    os.kill(chosen, signal.SIGKILL)
    os.waitpid(chosen, 0)
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(chosen - 1))
    innocent = start()
    assert innocent == chosen, "the pid was not used again"
    armed = Armed(guard=Guard("kill", ["number", 1], "a.oom:1", "kill when"), number=0)
    flight, said = killer.strike([victim], armed, "kill", Sample(at=0.0, host={}, units={}))
    time.sleep(0.05)
    assert flight is None, flight
    assert said == (f"? ({chosen}) has ended, and another process has its pid",), said
    ended = os.waitpid(innocent, os.WNOHANG)
    os.kill(innocent, signal.SIGKILL)
    print("spared" if ended == (0, 0) else "killed")
