"""The kernel module while control groups reach their limits: hundreds of times, in five groups.

Meanwhile the list is written and read as fast as it goes, and the module is loaded, unloaded and
switched. Each list begins with processes that no limit is about, so a mistake kills one of them.
`make storm` waits for 1000 kills (some groups lose five at once), `make storm STORM=short` for 100.
"""

from __future__ import annotations

import os
import time

from tests.vm import module
from tests.vm.guest import Guest, Result
from tests.vm.image import PATIENCE
from tests.vm.long.test_module_load import TROUBLE, trouble
from tests.vm.module import statistics

KILLS = 100 if os.environ.get("STORM") == "short" else 1000
# How long they may take, in seconds, on a machine that has other things to do.
ENOUGH = 2400

# In the guest: STOP ends all scripts. The numbers of those that a list may have are names of files.
STOP, MEMBERS, SPARED, OUTSIDERS = "/run/stop", "/run/members", "/run/spared", "/run/outsiders"

# Stays in a limited group, with a few processes that the list names and one that it does not, which
# takes memory until it is killed. What is left of the few then ends, and all begins anew.
KEEPER = f"""
echo > {SPARED}/$$
while test ! -e {STOP}; do
  pids=
  for kind in plain stubborn plain leaderless; do
    /root/member adj=0 $kind hold=3 > /dev/null &
    pids="$pids $!"
    echo > {MEMBERS}/$!
  done
  /root/hog adj=0 plain hold=2000 > /dev/null
  for pid in $pids; do kill -9 $pid; rm -f {MEMBERS}/$pid; done
  wait
done 2> /dev/null
rm {SPARED}/$$
"""

# The name of a group, in which slice it is, the limit of its own, and a script about it. Two share
# the limit of a slice, one of which has a limit of its own as well; and one is killed as a whole,
# but for its keeper.
SLICE = "storm-outer.slice"
GROUPS = (
    ("one", "storm.slice", "24M", ""),
    ("two", "storm.slice", "24M", ""),
    ("inner", SLICE, "24M", ""),
    ("beside", SLICE, "infinity", ""),
    ("whole", "storm.slice", "24M", "echo 1 > /sys/fs/cgroup$group/memory.oom.group"),
)
BEGIN = f"""
set -e
mkdir {MEMBERS} {SPARED} {OUTSIDERS}
cp /root/victim /root/member
cp /root/victim /root/hog
cp /root/victim /root/outsider
for number in $(seq 8); do
  /root/outsider adj=0 plain hold=1 < /dev/null > /dev/null 2>&1 &
  echo > {OUTSIDERS}/$!
done
systemctl set-property --runtime {SLICE} MemoryMax=40M
""" + "".join(
    f"""
systemd-run --quiet --unit=storm-{name}.service --slice={within} --property=MemoryMax={limit} \\
  --property=OOMPolicy=continue --property=OOMScoreAdjust=-1000 sh /root/keeper
group=$(systemctl show --value --property=ControlGroup storm-{name}.service)
{more}
"""
    for name, within, limit, more in GROUPS
)

# Writes and reads lists until it is told to stop; the module may be gone at any moment.
WRITER = f"""
import os, random, sys
open("/proc/self/oom_score_adj", "w").write("-1000")
random.seed(int(sys.argv[1]))
written = read = missing = 0
while not os.path.exists("{STOP}"):
    outsiders, members, spared = map(os.listdir, ("{OUTSIDERS}", "{MEMBERS}", "{SPARED}"))
    pids = [*members, *spared, "1", "2", str(os.getpid())]
    pids += map(str, random.choices(range(1 << 22, 1 << 30), k=random.randrange(3000)))
    random.shuffle(pids)
    text = (" ".join(outsiders + pids) + "\\n").encode()
    try:
        file = os.open("/proc/oom", os.O_RDWR)
    except FileNotFoundError:
        missing += 1
        continue
    try:
        assert os.write(file, text) == len(text)
        written += 1
        shown = b""
        while piece := os.pread(file, 4000, len(shown)):
            shown += piece
        assert shown.endswith(b"\\n") and all(word.isdigit() for word in shown.split()), shown[:99]
        read += 1
    except OSError as error:
        # No memory: the old list stays. An input/output error: the module went meanwhile.
        assert error.errno in (12, 5), error
    finally:
        os.close(file)
print(written, read, missing)
"""

# Comes and goes, and is switched off and on; each time with what it has counted until then. Between
# them it stays as long as a few OOMs take.
RELOADER = f"""
echo -1000 > /proc/self/oom_score_adj
switch=/sys/module/oom/parameters/memcg
while test ! -e {STOP}; do
  for value in 0 1 0 1; do sleep 0.5; echo $value > $switch; done
  sleep 4
  cat /proc/oom_stat
  rmmod oom || exit 1
  sleep 0.$((RANDOM % 9 + 1))
  insmod {module.PATH} || exit 1
done
cat /proc/oom_stat
"""

# Everything that the kernel says and that the console does not show. A report stands in the log for
# the first ten kills in five seconds.
FOLLOW = f"dmesg --follow-new | grep --line-buffered -E '{TROUBLE.pattern}|oom-kill:' > /root/log"

# What is left of the module in the kernel's own list of probes.
PROBES = """
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
cat /sys/kernel/debug/kprobes/list
"""


def test_only_members_die_while_the_module_comes_and_goes(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest)
    guest.put(KEEPER, "/root/keeper")
    follow = guest.start(FOLLOW)
    guest.run(BEGIN, check=True, timeout=120)
    outsiders = guest.run(["ls", OUTSIDERS], check=True).stdout.split()
    writers = [guest.start(["python3", "-c", WRITER, str(seed)]) for seed in range(2)]
    reloader = guest.start(RELOADER)
    end = time.monotonic() + ENOUGH * PATIENCE
    while len(guest.kills()) < KILLS and time.monotonic() < end:
        assert trouble(guest) == []
        time.sleep(2)
    guest.run(["touch", STOP], check=True)
    results = [one.wait(timeout=120) for one in (*writers, reloader)]
    # The keepers leave when their greedy ones are killed, which is soon.
    guest.run(f"while ls {SPARED} | grep -q .; do sleep 0.5; done", check=True, timeout=300)
    counted = _sum(results[-1])
    kills = guest.kills()
    print(f"\n{len(kills)} kills at limits; the module has counted {counted}")
    print("lists written, read, and times without the module:")
    print(*(result.stdout.strip() for result in results[:-1]), sep="\n")
    assert [result.stderr for result in results if result.status] == []

    assert len(kills) >= KILLS
    assert all(kill.memcg for kill in kills)
    # Those of a group that is killed as a whole stand there, too.
    assert {kill.comm for kill in kills} == {"member", "hog"}
    assert int(guest.run(["pgrep", "-c", "outsider"]).stdout) == len(outsiders)
    assert counted["memcg_ooms"] > 0
    assert counted["kills"] > 0

    guest.run(["rmmod", "oom"], check=True, timeout=60)
    assert "out_of_memory" not in guest.run(PROBES, check=True).stdout
    follow.kill()
    said = guest.get("/root/log").decode(errors="replace").splitlines()
    reports = [line for line in said if "oom-kill:" in line]
    assert reports
    for line in reports:
        keys = ("oom_memcg", "task_memcg")
        limit, victim = (line.partition(f",{key}=")[2].split(",")[0] for key in keys)
        assert (victim + "/").startswith(limit + "/"), line
    assert [line for line in said if TROUBLE.search(line)] == []
    assert trouble(guest) == []


def test_a_probe_that_is_switched_while_nothing_else_happens(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest)
    script = """
set -e
for i in $(seq 100); do
  echo $((i % 2)) > /sys/module/oom/parameters/memcg
  grep -qx "memcg $((i % 2))" /proc/oom_stat
done
"""
    guest.run(script, check=True, timeout=300)
    assert statistics(guest)["memcg_ooms"] == 0
    assert trouble(guest) == []


def _sum(result: Result) -> dict[str, int]:
    """Return the sums of all that the module has counted in its lives, by name."""
    sums: dict[str, int] = {}
    for line in result.stdout.splitlines():
        name, value = line.split(" ")
        sums[name] = sums.get(name, 0) + int(value)
    return sums
