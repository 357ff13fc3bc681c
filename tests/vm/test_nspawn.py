"""Containers of systemd-nspawn, from within: with a control group namespace and without.

One runs a few processes and has a limit at its own top. In one systemd runs as on a host, in a
group below the host's. A third is no more than a part of the tree, bound over the whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.ranking import RULES
from tests.vm.test_adjust import TAKE, pids

NSPAWN = (
    "systemd-nspawn --quiet --keep-unit --register=no --link-journal=no "
    "--directory=/run/tree --volatile=overlay"
)
HOLD = "/usr/local/bin/{name} -S /root/take.py {size}"
UP = rf"""
set -e
for name in big small inner-big inner-small part-big part-small; do
  cp /usr/bin/python3 /usr/local/bin/$name
done
mkdir -p /run/tree
mount --bind / /run/tree
systemd-run --quiet --unit=plain -p Delegate=yes {NSPAWN} --machine=plain --as-pid2 \
  bash -c '{HOLD.format(name="big", size=30)} & exec {HOLD.format(name="small", size=1)}'
systemd-run --quiet --unit=part -p MemoryMax=100M unshare --mount bash -c '
  mount --bind /sys/fs/cgroup/system.slice/part.service /sys/fs/cgroup
  {HOLD.format(name="part-big", size=30)} & exec {HOLD.format(name="part-small", size=1)}'
systemd-run --quiet --unit=booted -p Delegate=yes -p MemoryMax=300M \
  --setenv=SYSTEMD_NSPAWN_USE_CGNS=0 {NSPAWN} --machine=booted --boot
group=/sys/fs/cgroup/system.slice/plain.service/payload
until [ -e $group ]; do sleep 0.2; done
echo 100M > $group/memory.max
"""
# Begins its units in a container whose systemd is up.
INNER = r"""
set -e
until systemctl is-system-running 2>/dev/null | grep -E 'running|degraded'; do sleep 0.3; done
for name in big small; do size=1; [ $name = small ] || size=80
  systemd-run --quiet --unit=$name /usr/local/bin/inner-$name -S /root/take.py $size
done
sleep 2
"""
# A share of the RAM, which is 512 MiB, would protect all of them.
TEXT = """
score rss
never kill anything when rss < 20%
only kill comm "big", comm "small", comm "part-*", comm "inner-*"
"""


@pytest.fixture(scope="module")
def boxes(guest: Guest) -> Iterator[Guest]:
    with guest.paused(), guest.another() as fresh:
        fresh.put(TAKE, "/root/take.py")
        fresh.put(TEXT, RULES)
        fresh.run(UP, check=True, timeout=120)
        yield fresh


def inside(guest: Guest, pid: int, command: str, namespaces: str = "-a") -> str:
    """Run a script where a process is."""
    return guest.run(
        ["nsenter", "-t", str(pid), namespaces, "bash", "-c", command], check=True, timeout=120
    ).stdout


def candidates(document: str) -> list[tuple[int, str, int]]:
    found = json.loads(document)["candidates"]
    return [(one["pid"], one["comm"], one["points"]) for one in found]


RANK = f"oomrules rank --rules {RULES} --format json"


def told_three_times(guest: Guest, pid: int) -> list[list[tuple[int, str, int]]]:
    """The candidates in a container, of its recording in there, and of that outside."""
    live = candidates(inside(guest, pid, RANK))
    inside(guest, pid, "oomrules snapshot --output /root/recorded")
    recorded = candidates(inside(guest, pid, f"{RANK} --snapshot /root/recorded"))
    guest.put(guest.get(f"/proc/{pid}/root/root/recorded"), "/root/recorded")
    command = f"{RANK} --snapshot /root/recorded"
    return [live, recorded, candidates(guest.run(command, check=True, timeout=120).stdout)]


def test_a_container_with_a_namespace_records_its_own_limit(boxes: Guest) -> None:
    boxes.run("until pgrep -x small && pgrep -x big; do sleep 0.2; done", timeout=60, check=True)
    (small,) = pids(boxes, "small")
    live, recorded, outside = told_three_times(boxes, small)
    assert [comm for _, comm, _ in live] == ["big"]
    assert live == recorded == outside


def test_a_part_of_the_tree_that_is_bound_over_the_whole_has_its_limit(boxes: Guest) -> None:
    (small,) = pids(boxes, "part-small")
    found = candidates(inside(boxes, small, RANK, "-m"))
    assert [comm for _, comm, _ in found] == ["part-big"]


@pytest.fixture(scope="module")
def booted(boxes: Guest) -> int:
    """The pid of systemd in its container, where its units hold memory."""
    init = boxes.run(
        "until pgrep -P $(systemctl show --value -p MainPID booted); do sleep 0.2; done",
        timeout=60,
        check=True,
    )
    pid = int(init.stdout.split()[0])
    inside(boxes, pid, INNER)
    return pid


def test_systemd_below_the_root_has_its_units(boxes: Guest, booted: int) -> None:
    scopes: dict[str, Any] = json.loads(inside(boxes, booted, "oomrules scopes --format json"))
    units = {one["unit"]: one for one in scopes["units"]}
    top = "/system.slice/booted.service/payload"
    assert units["-.slice"]["cgroup"] == top
    assert units["big.service"]["cgroup"] == f"{top}/system.slice/big.service"
    assert units["big.service"]["candidates"] == 1
    assert "booted.service" not in units
    boxes.put(
        "score rss\nnever kill anything\nin big.service: prefer anything when unit.active_state == "
        '"active"\n',
        f"/proc/{booted}/root{RULES}",
    )
    shown = json.loads(inside(boxes, booted, f"{RANK} --all"))
    held = {one["comm"]: one for one in shown["excluded"]}
    assert held["inner-big"]["unit"] == "big.service"
    assert "systemd cannot be asked" not in str(shown.get("notes"))


def test_a_container_without_a_namespace_has_the_limit_above_it(boxes: Guest, booted: int) -> None:
    boxes.put(TEXT, f"/proc/{booted}/root{RULES}")
    live, recorded, outside = told_three_times(boxes, booted)
    assert [comm for _, comm, _ in live] == ["inner-big"]
    assert live == recorded == outside
