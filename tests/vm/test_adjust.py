"""oom_score_adj: what is claimed is what the kernel says, and everything goes back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.vm import module
from tests.vm.guest import Guest
from tests.vm.ranking import RULES

# Programs with names of their own. Each holds as many MiB as it is told, and ever more on SIGUSR1.
TAKE = """
import signal, sys, time
held = [b'x' * (int(sys.argv[1]) << 20)]
def more(*_):
    while True:
        held.append(b'x' * (1 << 18))
        time.sleep(0.02)
signal.signal(signal.SIGUSR1, more)
while True:
    signal.pause()
"""
UP = r"""
set -e
for name in first second last safe grower; do cp /usr/bin/python3 /usr/local/bin/$name; done
run() {
  systemd-run --quiet --unit=$1 -p OOMPolicy=continue -p OOMScoreAdjust=$3 \
    /usr/local/bin/$1 -S /root/take.py $2
}
run first 1 0
run second 1 -50
run last 40 0
run safe 30 100
systemd-run --quiet --unit=limited -p OOMPolicy=continue -p MemoryMax=64M -p MemorySwapMax=0 \
  bash -c '/usr/local/bin/first -S /root/take.py 1 & /usr/local/bin/last -S /root/take.py 44 &
           exec /usr/local/bin/grower -S /root/take.py 1'
sleep 2
"""
ORDER = """
score rss
never kill oom_score_adj -1000
never kill comm "safe"
kill first comm "first"
prefer comm "second" by 1000
kill last comm "last"
"""
EMIT = ["emit", "--to", "oom_score_adj", "--rules", RULES]

# Dies at the n-th write as by kill -9.
DIES = """
import os, signal, sys
from oomrules.commands.main import main
from oomrules.sinks.oom_score_adj import write as adjusting
write, left = adjusting._write, [int(sys.argv[1])]
def dies(*arguments):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return write(*arguments)
adjusting._write = dies
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def busy(fresh_guest: Guest) -> Iterator[Guest]:
    """A guest with processes that the rules rank otherwise than the kernel."""
    fresh_guest.put(TAKE, "/root/take.py")
    fresh_guest.put(ORDER, RULES)
    fresh_guest.run(UP, timeout=120, check=True)
    yield fresh_guest


def values(guest: Guest) -> dict[int, int]:
    """Give every adjustment of the guest."""
    lines = guest.run("grep -H . /proc/[0-9]*/oom_score_adj 2>/dev/null").stdout.split()
    return {int(line.split("/")[2]): int(line.rpartition(":")[2]) for line in lines}


def same(before: dict[int, int], after: dict[int, int]) -> bool:
    """Tell whether all that live at both times have the same."""
    both = before.keys() & after.keys()
    assert len(both) > 10
    return {pid: before[pid] for pid in both} == {pid: after[pid] for pid in both}


def scores(guest: Guest, pids: list[int]) -> list[int]:
    files = [f"/proc/{pid}/oom_score" for pid in pids]
    return [int(line) for line in guest.run(["cat", *files], check=True).stdout.split()]


def pids(guest: Guest, comm: str) -> list[int]:
    found = guest.run(f"grep -lx {comm} /proc/[0-9]*/comm 2>/dev/null").stdout.split()
    return [int(path.split("/")[2]) for path in found]


def test_the_kernel_s_own_scores_are_in_the_claimed_order_until_the_release(busy: Guest) -> None:
    before = values(busy)
    done = busy.run(["oomrules", *EMIT], timeout=120)
    assert done.status == 0, done.stderr
    assert "the host: " in done.stderr and "candidates in order" in done.stderr, done.stderr
    ranking = ["oomrules", "rank", "--rules", RULES, "--format", "json", "--top", "6"]
    ranked = json.loads(busy.run(ranking, timeout=120, check=True).stdout)
    head = [one["pid"] for one in ranked["candidates"]]
    assert set(head[:2]) == set(pids(busy, "first"))
    found = scores(busy, head)
    assert found == sorted(found, reverse=True) and len(set(found)) == len(found)
    # Nobody else that was there has more than they, and the protected have less than all whom
    # the kernel may kill, if any.
    after = values(busy)
    safe = pids(busy, "safe")
    others = scores(busy, sorted((before.keys() & after.keys()) - {*head, 1}))
    assert max(others) < found[-1]
    # Kernel threads have no memory, and no points.
    listed = busy.run("grep -l VmRSS /proc/[0-9]*/status 2>/dev/null").stdout.split()
    memory = {int(path.split("/")[2]) for path in listed}
    both = before.keys() & after.keys() & memory
    killable = [pid for pid in both - {1, *safe} if after[pid] != -1000]
    assert max(scores(busy, safe)) < min(scores(busy, killable))
    released = busy.run(["oomrules", "release"], timeout=120)
    assert released.status == 0, released.stderr
    assert same(before, values(busy))
    assert busy.run(["oomrules", "release"], timeout=120).stderr == "nothing is adjusted\n"


def test_after_a_kill_in_the_middle_release_restores_everything(busy: Guest) -> None:
    before = values(busy)
    busy.put(DIES, "/root/dies.py")
    for writes in ("3", "1"):
        command = "PYTHONPATH=/usr/lib/oomrules python3 /root/dies.py"
        done = busy.run(f"{command} {writes} {' '.join(EMIT)}", timeout=120)
        assert done.status in (-9, 137), (done.status, done.stderr)
        assert not same(before, values(busy))
    released = busy.run(["oomrules", "release"], timeout=120)
    assert released.status == 0, released.stderr
    assert same(before, values(busy))


def test_a_unit_at_its_limit_loses_the_process_that_the_rules_name(busy: Guest) -> None:
    done = busy.run(["oomrules", *EMIT], timeout=120)
    assert "limited.service: 3 candidates in order" in done.stderr, done.stderr
    busy.run(["pkill", "-USR1", "-x", "grower"], check=True)
    # The kernel alone would have taken one of the others: this one is the smallest by far.
    busy.wait_console(r"Memory cgroup out of memory: Killed process \d+ \(\w+\)", timeout=60)
    killed = [kill.comm for kill in busy.kills()]
    # It grows on, and a slow guest may have seen it die too: then systemd ends the whole unit.
    assert killed[0] == "first" and "last" not in killed


def test_both_ways_at_once_and_back_to_one(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.put("[Emit]\nTo=/proc/oom oom_score_adj\n", "/etc/oomrules.conf")
    module.load(guest)
    hooked = guest.run(["oomrules", "hook"], check=True, timeout=120)
    assert re.search(r"^\d+ pids? written to /proc/oom$", hooked.stderr, re.M)
    assert "oom_score_adj values written" in hooked.stderr
    listed = guest.get("/proc/oom").split()
    assert listed == guest.get("/run/oomrules/list").split() != []
    protected = "cat /proc/$(pidof systemd-logind)/oom_score_adj"
    assert guest.run(protected, check=True).stdout == "-1000\n"
    # Left to the host it is the module's alone, and everybody has the own value back.
    guest.run(["rm", "/etc/oomrules.conf"], check=True)
    guest.run(["oomrules", "hook"], check=True, timeout=120)
    assert guest.run(protected, check=True).stdout == "0\n"
    assert guest.get("/proc/oom").split() != []


# --- what leaks by fork ---------------------------------------------------------------------

# A protected daemon of root that starts a program as alice, as those do that open sessions.
DAEMON = """
import ctypes, os, time
ctypes.CDLL(None).prctl(15, b"guardd", 0, 0, 0)
while not os.path.exists("/run/go"):
    time.sleep(0.05)
if os.fork() == 0:
    os.setsid()
    os.setgroups([])
    os.setgid(1001)
    os.setuid(1001)
    os.environ.update(XDG_RUNTIME_DIR="/run/user/1001", HOME="/tmp")
    os.execv("/bin/sh", ["sh", "/run/alice.sh"])
time.sleep(1000)
"""
# Out of the family and, with or without the user's manager, out of the control group.
ALICE = """
setsid systemd-run --user --scope --quiet --unit=mine python3 /run/hog.py moved %(value)s &
setsid python3 /run/hog.py stays %(value)s &
exit 0
"""
# Takes what it may of what it has inherited, now and again whenever it is told to; each time it
# says so by a file.
HOG = """
import ctypes, signal, sys, time
name, value = sys.argv[1:]
ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
times = 0
def lower(*_):
    global times
    for one in (value, "-1000") if times or value != "0" else ("0",):
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(one)
            break
        except OSError:
            pass
    times += 1
    open(f"/tmp/{name}.{times}", "w").close()
signal.signal(signal.SIGUSR1, lower)
held = b"x" * (20 << 20)
lower()
while True:
    time.sleep(1)
"""
EMIT_BY_THE_SHIPPED = ["oomrules", "emit", "--to", "oom_score_adj"]


def until(guest: Guest, condition: str) -> None:
    """Wait for a condition of the shell."""
    guest.run(f"until {condition}; do sleep 0.2; done", check=True, timeout=120)


@pytest.fixture
def leaky(fresh_guest: Guest) -> Iterator[Callable[[str], list[int]]]:
    """A protected daemon that starts two programs of a user as soon as a value is named."""
    guest = fresh_guest
    guest.put(DAEMON, "/run/d.py")
    guest.put(HOG, "/run/hog.py")
    guest.put('never kill uid 0 comm "guardd"\n', "/etc/oomrules.d/60-guard.oom")
    guest.run("systemd-run --quiet --unit=guardd python3 /run/d.py", check=True)
    until(guest, "grep -qx guardd /proc/[0-9]*/comm")
    guest.run(EMIT_BY_THE_SHIPPED, check=True, timeout=120)

    def go(value: str) -> list[int]:
        guest.put(ALICE % {"value": value}, "/run/alice.sh")
        guest.run(["touch", "/run/go"], check=True)
        until(guest, "[ -e /tmp/moved.1 -a -e /tmp/stays.1 ]")
        return [pids(guest, name)[0] for name in ("moved", "stays")]

    yield go


def lower_again(guest: Guest, hogs: list[int], times: int) -> list[int]:
    """Let the hogs try to lower themselves; gives what they have then."""
    guest.run(["kill", "-USR1", *map(str, hogs)], check=True)
    until(guest, f"[ -e /tmp/moved.{times} -a -e /tmp/stays.{times} ]")
    after = values(guest)
    return [after[pid] for pid in hogs]


@pytest.mark.parametrize("value", ["-1000", "-999", "-500", "0"])
def test_what_leaks_to_a_user_ends_at_the_next_look(
    fresh_guest: Guest, leaky: Callable[[str], list[int]], value: str
) -> None:
    guest = fresh_guest
    guard = pids(guest, "guardd")[0]
    # What starts sessions can be killed after all others only, and what leaks from it, too.
    assert values(guest)[guard] == -999
    hogs = leaky(value)
    leaked = values(guest)
    assert [leaked[pid] for pid in hogs] == [max(int(value), -999)] * 2
    guest.run(EMIT_BY_THE_SHIPPED, check=True, timeout=120)
    ranked = guest.run(["oomrules", "rank", "--format", "json"], check=True, timeout=120).stdout
    assert {one["pid"] for one in json.loads(ranked)["candidates"]} >= set(hogs)
    now = values(guest)
    assert all(now[pid] >= 0 for pid in hogs)
    # They have nothing left that they could take.
    assert all(found >= 0 for found in lower_again(guest, hogs, 2))
    released = guest.run(["oomrules", "release"], check=True, timeout=120)
    assert "restored" in released.stderr
    now = values(guest)
    assert [now[pid] for pid in (guard, *hogs)] == [0, 0, 0]
    assert lower_again(guest, hogs, 3) == [0, 0]


@pytest.mark.parametrize("value", ["-1000", "0"])
def test_release_finds_what_has_leaked_since_the_last_look(
    fresh_guest: Guest, leaky: Callable[[str], list[int]], value: str
) -> None:
    hogs = leaky(value)
    fresh_guest.run(["oomrules", "release"], check=True, timeout=120)
    assert lower_again(fresh_guest, hogs, 2) == [0, 0]


APP = """
import os, signal, sys, time
def worker():
    if os.fork() == 0:
        time.sleep(1000)
signal.signal(signal.SIGUSR1, lambda *_: worker())
worker()
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize("rule", ["spare anything by 1", 'never kill unit "app.service"'])
def test_a_service_keeps_its_value_when_workers_and_it_start_anew(
    fresh_guest: Guest, rule: str
) -> None:
    guest = fresh_guest
    guest.put(APP, "/run/app.py")
    guest.put(rule + "\n", "/etc/oomrules.d/60-app.oom")
    guest.put(
        "[Service]\nUser=alice\nOOMScoreAdjust=-500\nExecStart=python3 /run/app.py\n",
        "/run/systemd/system/app.service",
    )
    processes = "/sys/fs/cgroup/system.slice/app.service/cgroup.procs"

    def look(workers: int) -> None:
        until(guest, f"[ $(wc -l < {processes}) = {workers + 1} ]")
        guest.run(EMIT_BY_THE_SHIPPED, check=True, timeout=120)

    guest.run(EMIT_BY_THE_SHIPPED, check=True, timeout=120)
    guest.run("systemctl daemon-reload; systemctl start app", check=True)
    look(1)
    guest.run("systemctl kill -s USR1 --kill-who=main app", check=True)
    look(2)
    guest.run("systemctl restart app", check=True)
    look(1)
    guest.run(["oomrules", "release"], check=True, timeout=120)
    inside = guest.get(processes).split()
    now = values(guest)
    assert [now[int(pid)] for pid in inside] == [-500, -500]
