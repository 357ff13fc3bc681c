"""Memory cgroups at their limit, for the kernel module: groups, members, and an OOM in one."""

from __future__ import annotations

from tests.vm.guest import Guest, Kill
from tests.vm.module import start

TOP = "/sys/fs/cgroup/limited"


def make(guest: Guest, *below: str) -> list[str]:
    """Make TOP and groups of these names in it, without a limit; returns the paths of these."""
    paths = [f"{TOP}/{name}" for name in below]
    inward = f"echo +memory > {TOP}/cgroup.subtree_control; mkdir {' '.join(paths)}"
    script = f"echo +memory > /sys/fs/cgroup/cgroup.subtree_control; mkdir {TOP}"
    guest.run(f"set -e; {script}; {inward if below else ''}", check=True)
    return paths


def remove(guest: Guest) -> None:
    """End all that is in TOP, remove it, and empty the list."""
    script = f"""
echo > /proc/oom
test -d {TOP} || exit 0
echo 1 > {TOP}/cgroup.kill
while grep -q 'populated 1' {TOP}/cgroup.events; do sleep 0.05; done
find {TOP} -depth -type d -exec rmdir {{}} +
"""
    guest.run(script, check=True, timeout=60)


def lower(guest: Guest, mebibytes: int, group: str = TOP) -> list[Kill]:
    """Lower a group's limit below what it holds, which is an OOM in it; returns whom it has cost.

    The kernel kills until the group is below its limit. The memory of its first victim comes back a
    moment too late for it now and then, so there can be a second one: only the first is certain.
    """
    before = len(guest.kills())
    guest.run(f"echo {mebibytes}M > {group}/memory.max", check=True, timeout=60)
    guest.run("sleep 0.3")  # What a work item says comes after the kill.
    return guest.kills()[before:]


def grow(guest: Guest, listed: bool) -> str:
    """Let a small process grow in a unit of 48 MiB, beside a large one; returns who died first.

    Args:
        listed: whether the list names the small one. If not, it is empty.
    """
    unit = "/sys/fs/cgroup/system.slice/full.service"
    limits = "-p MemoryMax=48M -p MemorySwapMax=0 -p OOMPolicy=continue"
    guest.run(f"systemd-run --quiet --unit=full {limits} sleep 1000", check=True)
    (small,), (large,) = start(
        guest, f"small in={unit} plain late hold=200", f"large in={unit} plain hold=32"
    )
    before = len(guest.kills())
    wait = f"while test -d /proc/{small}; do sleep 0.05; done"
    script = f"echo {small if listed else ''} > /proc/oom; kill -USR1 {small}; {wait}"
    guest.run(script, check=True, timeout=60)
    kill = guest.kills()[before]
    assert kill.memcg
    assert kill.pid in (small, large)
    script = "systemctl kill --signal=KILL full; systemctl stop full; systemctl reset-failed"
    guest.run(f"{script}; echo > /proc/oom")
    return kill.comm
