"""oom_score_adj: what is claimed is what the kernel says, and everything goes back."""

from __future__ import annotations

import json
from collections.abc import Iterator

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
from oomrules.runtime import adjusting
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
    # Nobody else that was there has more than they, and the protected have none at all.
    others = scores(busy, sorted((before.keys() & values(busy).keys()) - {*head, 1}))
    assert max(others) < found[-1]
    assert scores(busy, pids(busy, "safe")) == [0]
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
    assert "pids written to /proc/oom" in hooked.stderr
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
