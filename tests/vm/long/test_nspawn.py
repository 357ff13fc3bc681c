"""Containers of systemd-nspawn, from within: with a control group namespace and without.

One runs a few processes and has a limit at its own top. In one systemd runs as on a host, in a
group below the host's. A third is no more than a part of the tree, bound over the whole; a fourth
has a namespace of its own, and the host's tree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

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
for name in big small inner-big inner-small part-big part-small apart-big apart-small; do
  cp /usr/bin/python3 /usr/local/bin/$name
done
mkdir -p /run/tree
mount --bind / /run/tree
systemd-run --quiet --unit=plain -p Delegate=yes {NSPAWN} --machine=plain --as-pid2 \
  bash -c '{HOLD.format(name="big", size=30)} & exec {HOLD.format(name="small", size=1)}'
systemd-run --quiet --unit=part -p MemoryMax=100M unshare --mount bash -c '
  mount --bind /sys/fs/cgroup/system.slice/part.service /sys/fs/cgroup
  {HOLD.format(name="part-big", size=30)} & exec {HOLD.format(name="part-small", size=1)}'
systemd-run --quiet --unit=apart -p MemoryMax=100M unshare --cgroup bash -c '
  {HOLD.format(name="apart-big", size=30)} & exec {HOLD.format(name="apart-small", size=1)}'
systemd-run --quiet --unit=booted -p Delegate=yes -p MemoryMax=300M \
  -p StandardOutput=null --setenv=SYSTEMD_NSPAWN_USE_CGNS=0 \
  {NSPAWN} --tmpfs=/var/lib/systemd/linger --machine=booted --boot
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
only kill comm "big"
only kill comm "small"
only kill comm "part-*"
only kill comm "inner-*"
only kill comm "apart-*"
in big.service: prefer anything when unit.active_state == "active" by 3
"""


@pytest.fixture(scope="module")
def boxes(guest: Guest) -> Iterator[Guest]:
    with guest.paused(), guest.another() as fresh:
        fresh.put(TAKE, "/root/take.py")
        fresh.put(TEXT, RULES)
        fresh.run(UP, check=True, timeout=120)
        yield fresh


def inside(guest: Guest, pid: int, command: str, namespaces: str = "-a") -> str:
    """Run a command where a process is, and in its control group."""
    script = f"""
    group=$(grep -o '/.*' /proc/{pid}/cgroup)
    case {namespaces} in -C) echo $$ > /sys/fs/cgroup/$group/cgroup.procs;; esac
    exec nsenter -t {pid} {namespaces} bash -c "$1"
    """
    return guest.run(["bash", "-c", script, "-", command], check=True, timeout=120).stdout


class Told(NamedTuple):
    """What a ranking tells of a candidate."""

    pid: int
    comm: str
    points: int
    rules: list[str]


def candidates(document: str) -> list[Told]:
    found = json.loads(document)["candidates"]
    return [Told(*(one[name] for name in Told._fields)) for one in found]


RANK = f"oomrules rank --rules {RULES} --format json"


def told_twice(guest: Guest, pid: int) -> tuple[list[Told], list[Told]]:
    """The candidates in a container, and those of its recording, outside."""
    live = candidates(inside(guest, pid, RANK))
    inside(guest, pid, "oomrules snapshot --output /root/recorded")
    guest.put(guest.get(f"/proc/{pid}/root/root/recorded"), "/root/recorded")
    command = f"{RANK} --snapshot /root/recorded"
    return live, candidates(guest.run(command, check=True, timeout=120).stdout)


def test_a_container_with_a_namespace_records_its_own_limit(boxes: Guest) -> None:
    boxes.run("until pgrep -x small && pgrep -x big; do sleep 0.2; done", timeout=60, check=True)
    (small,) = pids(boxes, "small")
    live, recorded = told_twice(boxes, small)
    assert [one.comm for one in live] == ["big"]
    assert live == recorded


def test_a_part_of_the_tree_that_is_bound_over_the_whole_has_its_limit(boxes: Guest) -> None:
    (small,) = pids(boxes, "part-small")
    found = candidates(inside(boxes, small, RANK, "-m"))
    assert [one.comm for one in found] == ["part-big"]


def test_from_a_namespace_that_was_given_the_whole_tree_all_of_it_is_seen(boxes: Guest) -> None:
    (small,) = pids(boxes, "apart-small")
    shown = json.loads(inside(boxes, small, f"{RANK} --all", "-C"))
    # Those of the containers have their limits in sight, too.
    found = {one["comm"]: one["unit"] for one in shown["candidates"]}
    assert found.keys() - {"inner-big"} == {"big", "part-big", "apart-big"}
    assert (found["apart-big"], found["big"]) == ("apart.service", "plain.service")
    # Everybody else is known, too.
    assert not [one for one in shown["excluded"] if "in doubt" in one["reason"]]


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


def test_a_container_without_a_namespace_has_the_limit_above_it(boxes: Guest, booted: int) -> None:
    boxes.put(TEXT, f"/proc/{booted}/root{RULES}")
    live, recorded = told_twice(boxes, booted)
    assert [one.comm for one in live] == ["inner-big"]
    # The container's own systemd was asked about its own unit.
    assert f"{RULES}:{len(TEXT.splitlines())}" in live[0].rules
    assert live == recorded
