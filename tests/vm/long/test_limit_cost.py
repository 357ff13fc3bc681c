"""What the module adds to an OOM at the limit of a control group, in microseconds.

Two probes of the kernel's tracing stand around the module's, at the same instruction. Of several
there, the one that was registered last runs first (add_new_kprobe() in kernel/kprobes.c). So one is
registered before the module is loaded and the other one after. Without the module they
show what they cost themselves.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from tests.vm import cache, host, module
from tests.vm.guest import Guest

OOMS = 20
# So many are listed, these processes several times: the guest has no room for more of them.
MANY, PROCESSES = 5000, 1000
SOURCE = Path(__file__).parents[1] / "odd.c"

TRACING = "/sys/kernel/tracing"
PROBE = f"""
set -e
mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}
cd {TRACING}
echo mono > trace_clock
echo "p:cost/$1 out_of_memory" >> kprobe_events
echo 1 > events/cost/$1/enable
"""
# Each of them is killed at the limit, by the first OOM there or by the next one.
GROUP = "/sys/fs/cgroup/cost"
OOM = f"""
mkdir -p {GROUP}
echo 12M > {GROUP}/memory.max
echo > {TRACING}/trace
for i in $(seq {OOMS}); do
  sh -c 'echo 0 > {GROUP}/cgroup.procs; exec /root/victim adj=0 plain hold=100'
done > /dev/null 2>&1
cat {TRACING}/trace
"""
_LINE = re.compile(r"\[(\d+)\].* (\d+\.\d+): (before|after): \(out_of_memory")


def _costs(guest: Guest) -> list[float]:
    """Run out of memory; return the microseconds between the two probes, in each time."""
    costs = []
    begun: dict[str, float] = {}
    for cpu, when, which in _LINE.findall(guest.run(OOM, timeout=400).stdout):
        if which == "before":
            begun[cpu] = float(when)
        elif cpu in begun:
            costs.append((float(when) - begun.pop(cpu)) * 1e6)
    assert len(costs) >= OOMS, costs
    return costs


def _odd() -> Path:
    to = Path(cache.folder()) / "odd"
    host.command(["gcc", "-static", "-pthread", "-O1", "-Wall", "-Werror", "-o", to, SOURCE])
    return to


def _say(what: str, costs: list[float]) -> None:
    low, high = min(costs), max(costs)
    print(f"{what}: median {statistics.median(costs):.0f} µs, {low:.0f} to {high:.0f}")


def test_what_the_module_adds_to_an_oom_at_a_limit(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest)
    guest.run(["rmmod", "oom"], check=True)
    guest.put(_odd(), "/root/odd", 0o755)
    guest.run(["bash", "-c", PROBE, "bash", "after"], check=True)
    guest.run(["bash", "-c", PROBE, "bash", "before"], check=True)
    print()
    _say("without the module", _costs(guest))
    guest.run(f"echo 0 > {TRACING}/events/cost/before/enable", check=True)
    guest.run(f"echo -:cost/before >> {TRACING}/kprobe_events", check=True)
    guest.run(["insmod", module.PATH], check=True)
    guest.run(["bash", "-c", PROBE, "bash", "before"], check=True)
    _say("an empty list", _costs(guest))

    begun = "systemd-run --quiet --unit=crowd --property=TasksMax=infinity /root/odd children"
    guest.run(f"{begun} {PROCESSES}", check=True)
    group = "/sys/fs/cgroup/system.slice/crowd.service/cgroup.procs"
    wait = (
        f"until [ $(wc -l < {group}) -gt {PROCESSES} ]; do systemctl is-active crowd; sleep 1; done"
    )
    guest.run(wait, check=True, timeout=100)
    pids = guest.get(group).decode().split()
    text = " ".join((pids * (MANY // PROCESSES))[:MANY]) + "\n"
    guest.put(text, "/run/list")
    guest.run("dd if=/run/list of=/proc/oom bs=1M status=none", check=True)  # in one write
    assert module.statistics(guest)["listed"] == MANY
    _say(f"{MANY} listed and living, none of them in the group", _costs(guest))
    assert module.statistics(guest)["memcg_ooms"] >= 2 * OOMS
