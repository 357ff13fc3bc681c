"""The kernel module under load: written, read, loaded and unloaded while memory runs out."""

from __future__ import annotations

import re

from tests.vm import module
from tests.vm.guest import Guest
from tests.vm.module import statistics

SECONDS = 150

# Writes lists of some that live, some that do not, and some that may not be killed, as fast as it
# can; and reads them. It must not be killed itself.
WRITER = """
import os, random, sys, time
open("/proc/self/oom_score_adj", "w").write("-1000")
until = time.monotonic() + float(sys.argv[1])
random.seed(int(sys.argv[2]))
rounds = 0
while time.monotonic() < until:
    try:
        victims = [int(pid) for pid in os.listdir("/run/victims")]
    except OSError:
        victims = []
    pids = random.choices(victims, k=5) if victims else []
    pids += [1, 2, os.getpid()] + random.choices(range(1, 1 << 22), k=random.randrange(3000))
    random.shuffle(pids)
    file = os.open("/proc/oom", os.O_RDWR)
    text = b" ".join(b"%d" % pid for pid in pids) + b"\\n"
    try:
        assert os.write(file, text) == len(text)
    except OSError as error:
        assert error.errno == 12, error   # no memory: the old list stays
    os.lseek(file, 0, os.SEEK_SET)
    shown = b""
    while piece := os.read(file, 4000):
        shown += piece
    assert shown.endswith(b"\\n") and all(word.isdigit() for word in shown.split()), shown[:100]
    os.close(file)
    rounds += 1
print(rounds)
"""

# Small ones to be listed, always about ten; every fourth with SIGTERM to be waited for.
VICTIMS = """
echo -1000 > /proc/self/oom_score_adj
mkdir -p /run/victims
i=0
while sleep 0.3; do
  i=$((i + 1))
  for pid in $(ls /run/victims); do test -d /proc/$pid || rm -f /run/victims/$pid; done
  test $(ls /run/victims | wc -l) -lt 10 || continue
  kind=plain; test $((i % 4)) = 0 && kind=stubborn
  (echo 0 > /proc/$BASHPID/oom_score_adj; exec /root/victim $kind hold=3 share) > /dev/null 2>&1 &
  touch /run/victims/$!
done
"""

HOG = """
echo -1000 > /proc/self/oom_score_adj
while :; do
  (echo 500 > /proc/$BASHPID/oom_score_adj; exec /root/victim plain hold=2000) > /dev/null 2>&1
done
"""

# A grace in every second, which would else be one in half a minute.
GRACES = """
echo -1000 > /proc/self/oom_score_adj
while sleep 1; do echo 1000 > /sys/module/oom/parameters/grace_ms; done
"""

# What the kernel says when something is wrong with it.
TROUBLE = re.compile(
    r"BUG|WARNING|Kernel panic|general protection|blocked for more than|soft lockup|rcu_.*stall"
    r"|refcount|use-after-free|bad page|scheduling while atomic"
)


def trouble(guest: Guest) -> list[str]:
    return [line for line in guest.console.splitlines() if TROUBLE.search(line)]


def test_writers_readers_and_ooms_side_by_side(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest, "grace_ms=1000")
    guest.start(VICTIMS)
    graces = guest.start(GRACES)
    hog = guest.start(HOG)
    results = []
    # On a busy machine one time is not enough for what is to be seen.
    for _ in range(4):
        writers = [
            guest.start(["python3", "-c", WRITER, str(SECONDS), str(seed)]) for seed in range(3)
        ]
        results += [writer.wait(timeout=SECONDS * 4) for writer in writers]
        found = statistics(guest)
        if found["kills"] > 10 and found["terms"] > 1:
            break
    hog.kill()
    graces.kill()
    print(f"\n{found}; {len(guest.kills())} kills on the console")
    print("rounds of the writers:", *(result.stdout.strip() for result in results))
    assert not any(result.status for result in results), results
    assert trouble(guest) == []
    assert found["kills"] > 10 and found["terms"] > 1
    guest.run(["rmmod", "oom"], check=True, timeout=60)
    assert trouble(guest) == []


def test_it_comes_and_goes_while_somebody_is_killed(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest)
    ooms = guest.start(
        """
echo -1000 > /proc/self/oom_score_adj
while :; do
  (echo 1000 > /proc/$BASHPID/oom_score_adj; exec /root/victim plain) > /dev/null 2>&1 &
  echo $! > /proc/oom
  echo f > /proc/sysrq-trigger
done 2> /dev/null
"""
    )
    script = """
set -e
for i in $(seq 100); do
  test $SECONDS -lt 400 || break  # a busy machine
  exec 3< /proc/oom
  rmmod oom
  exec 3>&-
  insmod /root/oom.ko
done
echo $i
"""
    result = guest.run(["bash", "-c", script], timeout=900)
    ooms.kill()
    assert result.status == 0, result.stderr
    assert int(result.stdout) > 20, result.stdout
    print(f"\n{len(guest.kills())} kills on the console, {result.ended - result.begun:.0f} s")
    assert len(guest.kills()) > 5
    assert trouble(guest) == []
