"""Kills are recorded as they were: each of them, once, with its name and its unit."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

from tests.vm.guest import Guest
from tests.vm.service import listed, serving, status, wait

# Starts processes under a name that the kernel takes as it is. They grow when they are told to,
# and their parent, which its unit protects, writes down which of them have been killed.
CROWD = r"""
import ctypes, os, signal, sys, time
unit, count, size, name, same = sys.argv[1:]
name = name.encode().decode("unicode_escape").encode("latin-1")
os.makedirs(f"/root/{unit}", exist_ok=True)

def start():
    if same == "same":
        # Linux gives the next process the number after this one, whichever that is.
        open("/proc/sys/kernel/ns_last_pid", "w").write("29999")
    pid = os.fork()
    if not pid:
        if same == "same" and os.getpid() != 30000:
            os._exit(0)
        ctypes.CDLL(None).prctl(15, name, 0, 0, 0)
        open("/proc/self/oom_score_adj", "w").write("0")
        open(f"/root/{unit}/{os.getpid()}", "w").close()
        os.close(end)
        os.read(begin, 1)
        held = b"x" * (int(size) << 20)
        time.sleep(1000)
    if same == "same" and pid != 30000:
        os.waitpid(pid, 0)
        return start()
    return pid

def ended():
    pid, status = os.wait()
    if os.WTERMSIG(status) == signal.SIGKILL:
        open(f"/root/{unit}.killed", "a").write(f"{pid}\n")

begin, end = os.pipe()
for number in range(int(count)):
    start()
    if same == "same":
        os.close(end)
        ended()
        begin, end = os.pipe()
while same != "same" and not os.path.exists(f"/root/{unit}/go"): time.sleep(0.5)
os.close(end)
try:
    while True: ended()
except ChildProcessError:
    pass
"""


# What the kernel says of a kill, and of a group that it kills as a whole.
KILLED = re.compile(r"Killed process (\d+) \((.*)\) total-vm")
WHOLE = "are going to be killed due to memory.oom.group set"


def limited(unit: str, policy: str = "continue") -> list[str]:
    """Return the words that run a crowd in a unit with a limit, which its parent outlives."""
    settings = ["MemoryMax=40M", "MemorySwapMax=0", f"OOMPolicy={policy}", "OOMScoreAdjust=-1000"]
    options = [word for setting in settings for word in ("-p", setting)]
    return ["systemd-run", "--wait", f"--unit={unit}", *options, "python3", "/root/crowd.py", unit]


def crowd(
    guest: Guest,
    unit: str,
    count: int,
    size: int,
    name: str,
    policy: str = "continue",
    whole: bool = False,
) -> list[int]:
    """Have processes killed at the limit of a unit that the service has seen them in.

    Args:
        whole: the kernel kills the unit as a whole, and systemd has no hand in it.

    Returns:
        their pids.
    """
    running = guest.start([*limited(unit, policy), str(count), str(size), name, "others"])

    def begun() -> list[int]:
        done = guest.run(["ls", f"/root/{unit}"])
        return [int(word) for word in done.stdout.split()] if done.status == 0 else []

    pids = wait(lambda: len(found := begun()) == count and found, 300)
    wait(lambda: {str(pid) for pid in pids} <= set(listed(guest)), 300)
    if whole:
        guest.run(
            f"echo 1 > /sys/fs/cgroup/system.slice/{unit}.service/memory.oom.group", check=True
        )
    guest.run(["touch", f"/root/{unit}/go"], check=True)
    running.wait(300)
    return sorted(pids)


def killed(guest: Guest, unit: str) -> list[int]:
    return sorted(int(word) for word in guest.get(f"/root/{unit}.killed").split())


def told(guest: Guest) -> list[tuple[int, str]]:
    """Return the processes that the kernel has killed since the last look, by its own log.

    It names the first victim in a group twice: before it says that it kills the whole group, and
    among all of them. Its buffer does not hold the reports of all crowds.
    """
    victims: list[tuple[int, str]] = []
    whole = False
    for line in guest.run(["dmesg", "--read-clear"], check=True).stdout.splitlines():
        whole = whole or line.endswith(WHOLE)
        if match := KILLED.search(line):
            victim = int(match[1]), match[2]
            if not whole or victim not in victims:
                victims.append(victim)
    return victims


def history(guest: Guest) -> list[dict[str, Any]]:
    done = guest.run(["oomrules", "history", "--format", "json"], check=True, timeout=120)
    found: list[dict[str, Any]] = json.loads(done.stdout)["kills"]
    return found


def test_every_kill_is_recorded_once_as_it_was(fresh_guest: Guest) -> None:
    guest = serving(fresh_guest)
    guest.put(CROWD, "/root/crowd.py")
    # A report takes a second on the console.
    guest.run("dmesg -n 1; echo 0 > /proc/sys/vm/oom_dump_tasks", check=True)

    # So many at once that the kernel leaves out summaries.
    burst = crowd(guest, "burst", 30, 60, "a,task=b) c")
    kernel = told(guest)
    policy = crowd(guest, "policy", 5, 15, "member", policy="kill")
    kernel += told(guest)
    group = crowd(guest, "group", 5, 15, "fellow", whole=True)
    kernel += told(guest)
    escaped = crowd(guest, r"my\x2dapp", 1, 60, r"caf\xe9\\")
    # Two processes that have one number after each other.
    guest.run([*limited("again"), "2", "60", "again", "same"], timeout=120, check=True)
    kernel += told(guest)

    def recorded(unit: str, comm: str) -> list[int]:
        return sorted(kill["pid"] for kill in found if (kill["unit"], kill["comm"]) == (unit, comm))

    # What is missing then is shown below.
    with contextlib.suppress(AssertionError):
        wait(lambda: status(guest)["kills"] >= len(kernel), 60)
    found = history(guest)
    assert killed(guest, "burst") == burst
    assert recorded("burst.service", "a,task=b) c") == burst
    assert recorded("group.service", "fellow") == group
    # Whom systemd has killed by then, the kernel does not.
    whole = sorted(pid for pid, comm in kernel if comm == "member")
    assert recorded("policy.service", "member") == whole
    assert whole and set(whole) <= set(policy)
    assert recorded(r"my\x2dapp.service", "caf\\xe9\\") == escaped
    assert recorded("again.service", "again") == killed(guest, "again") == [30000, 30000]
    # No other process, unless the kernel took another one, too.
    assert sorted(kill["pid"] for kill in found) == sorted(pid for pid, _ in kernel)
