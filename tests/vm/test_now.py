"""A host changes while the service runs: swap comes and goes, processes are moved and hidden."""

from __future__ import annotations

import re
import time

from oomrules.sinks.oom_score_adj.survey import HEAD
from tests.vm.guest import Guest
from tests.vm.service import listed, show, status, wait

RULES = """
score rss
never kill oom_score_adj -1000
kill last comm "last"
kill first unit "moved.scope"
"""
HOLD = "held = bytearray(160 << 20); import time; time.sleep(10000)"
UP = rf"""
set -e
cp /usr/bin/python3 /usr/local/bin/last
systemd-run --quiet --unit=big -p OOMPolicy=continue /usr/local/bin/last -S -c '{HOLD}'
systemd-run --quiet --unit=small -p OOMPolicy=continue sleep 10000
fallocate -l 600M /swap && chmod 600 /swap && mkswap -q /swap && swapon /swap
# These rules alone are sooner compiled.
for file in /usr/lib/oomrules.d/*.oom; do
  ln -s /dev/null /etc/oomrules.d/${{file##*/}}
done
systemctl start oomrules
"""
MOVE = (
    "busctl --quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1 "
    "org.freedesktop.systemd1.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' "
    "moved.scope fail 1 PIDs au 1 {pid} 0"
)
# More than once, so that one list is surely read after what came before.
STIR = "for n in 1 2 3; do systemd-run --quiet --wait true; sleep 1; done"


def scores(guest: Guest, pids: list[str]) -> dict[str, int]:
    """What the kernel makes of processes (oom_badness() through /proc/PID/oom_score)."""
    files = " ".join(f"/proc/{pid}/oom_score" for pid in pids)
    # One may have ended.
    lines = guest.run(f"grep --no-messages '' {files}").stdout.splitlines()
    return {line.split("/")[2]: int(line.split(":")[1]) for line in lines}


def is_last_for_the_kernel(guest: Guest, big: str) -> bool:
    """Whether those whom oomrules puts in order come before the biggest one."""
    pids = listed(guest)
    found = scores(guest, [*pids[:HEAD], big])
    lowest = found.pop(big)
    return pids[-1] == big and bool(found) and all(score > lowest for score in found.values())


def test_swap_that_comes_and_goes_and_processes_that_are_moved(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.put(RULES, "/etc/oomrules.d/50-mine.oom")
    guest.run(UP, check=True, timeout=300)
    big, small = show(guest, "MainPID", "big"), show(guest, "MainPID", "small")
    wait(lambda: listed(guest)[-1:] == [big], 90)
    wait(lambda: is_last_for_the_kernel(guest, big), 60)
    before = status(guest)["host"]
    assert before["swap"] > 500 << 20

    # What a value weighs is less by half now, and no process has changed.
    guest.run("swapoff /swap", check=True, timeout=60)
    guest.run(STIR, check=True, timeout=60)
    wait(lambda: status(guest)["host"] == {**before, "swap": 0}, 60)
    wait(lambda: is_last_for_the_kernel(guest, big), 60)

    zram = guest.run(
        "modprobe zram num_devices=1 && echo 64M > /sys/block/zram0/disksize && "
        "mkswap -q /dev/zram0 && swapon /dev/zram0",
        timeout=60,
    )
    assert zram.status == 0, zram.stderr
    guest.run(STIR, check=True, timeout=60)
    wait(lambda: 63 << 20 <= status(guest)["host"]["swap"] <= 64 << 20, 60)
    wait(lambda: is_last_for_the_kernel(guest, big), 60)

    assert listed(guest)[0] != small
    begun = time.monotonic()
    guest.run(MOVE.format(pid=small), check=True, timeout=60)
    wait(lambda: listed(guest)[:1] == [small], 60)
    print(f"\nmoved, and first in the list after {time.monotonic() - begun:.1f} s")
    fresh = guest.run(["oomrules", "rank", "--format", "pids", "--top", "1"], timeout=180)
    assert fresh.stdout.split() == [small]


COUNT = r"""
cat /proc/[0-9]*/cgroup 2> /dev/null | grep -c '^0::/.'
"""
UNSEEN = re.compile(r"note: (\d+) processes cannot be seen and are in no list: (.*)")


def test_processes_that_proc_hides_are_counted(guest: Guest) -> None:
    guest.put("score rss\n", "/tmp/rss.oom")
    rank = ["oomrules", "rank", "--format", "pids", "--rules", "/tmp/rss.oom"]
    guest.run("mount -o remount,hidepid=ptraceable /proc", check=True)
    try:
        there = int(guest.run(COUNT, check=True).stdout)
        hers = int(guest.run(COUNT, check=True, user="alice").stdout)
        seen = guest.run(rank, timeout=120, user="alice")
        said = UNSEEN.search(seen.stderr)
        assert said, seen.stderr
        # The shells that count come and go.
        assert abs(int(said[1]) - (there - hers)) <= 6
        assert said[2].startswith("/proc hides the processes of other users (hidepid); run as root")
        assert "cannot be seen" not in guest.run(rank, timeout=120).stderr
        # Root is nobody special here without the right to trace them.
        without = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
        poor = guest.run([*without, *rank], timeout=120)
        said = UNSEEN.search(poor.stderr)
        assert said and said[2].endswith("and its domain the right to read /proc"), poor.stderr
    finally:
        guest.run("mount -o remount,hidepid=off /proc", check=True)
