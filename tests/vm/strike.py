"""Signals processes that are hard to kill, in the guest, as the guard would. Prints JSON.

Runs with the path of the installed package in PYTHONPATH; /root/victim and /root/odd are there.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oomrules.guard.killing import Killer
from oomrules.guard.model import Armed, Candidate, Flight, Sample, Whole
from oomrules.processes.proc_stat import family
from oomrules.program.program import Guard

ARMED = Armed(guard=Guard("kill", ["number", 1], "a.oom:1", "kill when"), number=0)
SAMPLE = Sample(at=0.0, host={}, units={})

# A child of this program is one of the guard's own, unless this is said.
killer = Killer(me=0)
killer.start()


def sh(script: str) -> str:
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout


def unit(name: str, command: str, *properties: str) -> int:
    """Start a unit and return its main process."""
    sh(f"systemd-run --quiet --unit={name} {' '.join(properties)} {command}")
    return int(sh(f"systemctl show -P MainPID {name}"))


def program(*words: str) -> list[int]:
    """Start a program that prints its pids, and return these."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    return [int(word) for word in process.stdout.readline().split()]


def strike(pid: int, action: str = "kill", **fields: Any) -> Flight:
    start, _ = family(Path(f"/proc/{pid}/stat").read_bytes())
    victim = Candidate(pid=pid, start=start, rank=1, **fields)
    flight, said = killer.strike([victim], ARMED, action, SAMPLE)
    assert flight, said
    return flight


def is_gone(flight: Flight, seconds: float = 20) -> bool:
    """Return whether a victim is gone within a time."""
    end = time.monotonic() + seconds
    while killer.look(flight).gone is None:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def group(name: str) -> str:
    return f"/system.slice/{name}.service"


def is_populated(name: str) -> bool:
    try:
        events = Path(f"/sys/fs/cgroup{group(name)}/cgroup.events").read_text()
    except OSError as error:
        # The group was removed: before its file was opened, or after.
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return False
        raise
    return "populated 1" in events


# --- the cases ----------------------------------------------------------------------------------


def frozen() -> dict[str, bool]:
    pid = unit("cold", "sleep 1000")
    sh("systemctl freeze cold")
    flight = strike(pid, "terminate", cgroup=group("cold"))
    return {"killed at once": flight.killed is not None, "gone": is_gone(flight)}


def bomb() -> dict[str, bool]:
    """Kill a unit in which each process starts others, as fast as it can."""
    code = "import os\\nwhile True:\\n try: os.fork()\\n except OSError: pass"
    pid = unit(
        "bomb", f"python3 -S -c $'{code}'", "-p TasksMax=60", "-p OOMPolicy=continue", "-p Nice=19"
    )
    other = unit("bystander", "sleep 1000")
    time.sleep(1)
    whole = Whole(path=group("bomb"), at_once=True, others=())
    flight = strike(pid, cgroup=group("bomb"), whole=whole)
    gone, end = is_gone(flight), time.monotonic() + 20
    while is_populated("bomb") and time.monotonic() < end:
        time.sleep(0.1)
    return {"gone": gone, "all gone": not is_populated("bomb"), "bystander": lives(other)}


def blocked() -> dict[str, bool]:
    """A process waits in the kernel, uninterruptibly; the next one dies all the same."""
    sh(
        "truncate -s 8M /dev/shm/disk; mkfs.ext4 -q /dev/shm/disk; mkdir -p /mnt/disk; "
        "mount -o loop /dev/shm/disk /mnt/disk; fsfreeze -f /mnt/disk"
    )
    writer = subprocess.Popen(["sh", "-c", "echo > /mnt/disk/file"], start_new_session=True)
    # A program waits like that for its own pages too, but not for long.
    seen = 0
    while seen < 25:
        time.sleep(0.02)
        waits = Path(f"/proc/{writer.pid}/stat").read_text().split()[2] == "D"
        seen = seen + 1 if waits else 0
    stuck = strike(writer.pid)
    waits = not is_gone(stuck, 1)
    next_one = is_gone(strike(unit("next", "sleep 1000")))
    sh("fsfreeze -u /mnt/disk")
    # Its descriptor was closed for the next one's.
    return {"waits": waits, "next": next_one, "gone": is_gone(stuck)}


def locked() -> dict[str, bool]:
    """The lock of a victim's memory is held for ever, and process_mrelease(2) waits for it."""
    sh("modprobe fuse")
    pid, server = program("/root/odd", "locked", "20")
    time.sleep(2)
    stuck = strike(pid)
    waits = not is_gone(stuck, 1)
    next_ones = [is_gone(strike(unit(f"next-{n}", "sleep 1000"))) for n in range(3)]
    os.kill(server, 9)
    return {"waits": waits, "next": all(next_ones), "gone": is_gone(stuck)}


def sharing() -> dict[str, bool]:
    """Two processes have one memory: each is killed for itself, and then it is back."""
    first, second = program("/root/victim", "share", "hold=100", "plain")
    before = available()
    gone = is_gone(strike(first))
    both = not lives(second)
    if not both:
        gone = gone and is_gone(strike(second))
    end = time.monotonic() + 10
    while available() < before + 80 and time.monotonic() < end:
        time.sleep(0.1)
    return {"gone": gone, "back": available() >= before + 80}


def lent() -> dict[str, bool]:
    """A process waits in vfork(2) for its child, which has its memory on loan."""
    parent, child = program("/root/victim", "vfork", "hold=20", "plain")
    gone = is_gone(strike(parent))
    if lives(child):
        gone = gone and is_gone(strike(child))
    return {"gone": gone, "child": not lives(child)}


def available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("MemAvailable"))


CASES: tuple[Callable[[], dict[str, bool]], ...] = (frozen, bomb, blocked, locked, sharing, lent)

if __name__ == "__main__":
    print(json.dumps({"reaps": killer.self_test() or killer.reaps}))
    for case in CASES:
        began = time.monotonic()
        try:
            found: object = case()
        except Exception as error:
            found = repr(error)
        took = round(time.monotonic() - began, 1)
        print(json.dumps({"case": case.__name__, "found": found, "seconds": took}), flush=True)
