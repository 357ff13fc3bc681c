"""Hosts with what others have: Podman, LXC, a hundred thousand threads, a lock that is held.

docs/odd-hosts.md tells what comes of each. `make trials` runs this; it takes an image of its own,
with the packages below, and for the threads a guest of 4 GiB.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.vm import cache as layers
from tests.vm import host, states
from tests.vm.guest import Guest
from tests.vm.host import NoGuest
from tests.vm.machine import Options
from tests.vm.service import listed, show, status, wait

PACKAGES = ("podman", "crun", "uidmap", "lxc", "lxcfs", "busybox-static")
WITH_CONTAINERS = Options(memory=1024, packages=PACKAGES)
LARGE = Options(memory=4096, packages=PACKAGES)
SOURCE = Path(__file__).parents[1] / "odd.c"
OWN = "/etc/oomrules.d/50-mine.oom"

# A root file system with a shell in it, and what containers need to be kept.
PODMAN = """
set -e
modprobe fuse
cat > /etc/containers/storage.conf << END
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
END
mkdir -p /tmp/root/{bin,proc,sys,dev,etc,tmp}
cp /bin/busybox /tmp/root/bin
for name in sh sleep tail; do ln -s busybox /tmp/root/bin/$name; done
tar -C /tmp/root -c . | podman import - localhost/tiny
"""
# Root's own file system once more, so that oomrules is in the container too.
ROOT = "/srv/root"
# Private, or what a container mounts would be mounted on the host as well.
BIND = f"mount --bind / {ROOT} && mount --make-private {ROOT}"
LXC = f"""
lxc.uts.name = one
lxc.rootfs.path = dir:{ROOT}
lxc.net.0.type = empty
lxc.mount.auto = proc:mixed sys:ro cgroup:mixed
lxc.apparmor.profile = unconfined
lxc.cgroup2.memory.max = 96M
lxc.init.cmd = /bin/sh /root/inside
lxc.mount.entry = /var/lib/lxcfs/proc/uptime proc/uptime none bind,optional 0 0
lxc.mount.entry = /var/lib/lxcfs/proc/meminfo proc/meminfo none bind,optional 0 0
"""
# The program has 1 MiB or so: a hundredth of the container's limit, a thousandth of the guest.
LIMIT = 'kill first comm "sleep" when rss > 0.3%\n'
INSIDE = """
sleep 100000 &
while ! test -e /root/go; do sleep 0.2; done
oomrules rank --format json > /root/rank
oomrules explain $! > /root/explained
oomrules snapshot -o /root/recorded
touch /root/done
wait
"""


@cache
def odd() -> bytes:
    """The program of odd.c."""
    to = Path(layers.folder()) / "odd"
    host.command(["gcc", "-static", "-pthread", "-O1", "-Wall", "-Werror", "-o", to, SOURCE])
    return to.read_bytes()


def _entered(options: Options) -> Iterator[Guest]:
    try:
        new = states.guest(options)
    except NoGuest as why:
        pytest.fail(f"no guest can be had here: {why}", pytrace=False)
    with new:
        new.put(odd(), "/usr/local/bin/odd", 0o755)
        new.run("modprobe fuse; chmod 666 /dev/fuse", check=True)
        yield new


@pytest.fixture
def fresh_guest() -> Iterator[Guest]:
    yield from _entered(WITH_CONTAINERS)


@pytest.fixture
def large() -> Iterator[Guest]:
    yield from _entered(LARGE)


def start_odd(guest: Guest, *words: str, unit: str = "odd") -> list[int]:
    """Start the program as alice; the pids that it tells."""
    said = f"/run/{unit}.said"
    limits = [f"--property={name}=infinity" for name in ("TasksMax", "LimitNPROC")]
    whose = ["--property=User=alice", f"--property=StandardOutput=file:{said}"]
    argv = ["systemd-run", f"--unit={unit}", *limits, *whose, "/usr/local/bin/odd", *words]
    guest.run(argv, check=True, timeout=60)
    return [int(pid) for pid in wait(lambda: guest.run(["cat", said]).stdout, 300).split()]


def asked(guest: Guest, *words: str, timeout: float = 240) -> Any:
    """What a command of oomrules says in JSON."""
    result = guest.run(["oomrules", *words, "--format", "json"], timeout=timeout)
    assert result.status in (0, 1) and "Traceback" not in result.stderr, result.stderr
    return json.loads(result.stdout)


def _candidate(guest: Guest, pid: int) -> dict[str, Any]:
    ranked = asked(guest, "rank", "--all")["candidates"]
    found: dict[str, Any] = next(one for one in ranked if one["pid"] == pid)
    return found


def test_nothing_waits_for_a_process_whose_address_space_is_locked(fresh_guest: Guest) -> None:
    guest = fresh_guest
    rules = 'kill first unit "odd.service"\nprefer anything when cmdline ~ "java"\n'
    guest.put(rules, OWN)
    guest.run(["systemctl", "start", "oomrules"], check=True, timeout=300)
    pid, server = start_odd(guest, "locked", "100")
    waits = f"cat /proc/{pid}/task/*/wchan"
    wait(lambda: "do_mprotect" in guest.run(waits).stdout, 60)
    for file in ("cmdline", "environ", "maps", "smaps_rollup"):
        # That it is a true one: nothing of ours is in the way.
        ended = guest.run(["timeout", "2", "cat", f"/proc/{pid}/{file}"], timeout=30)
        assert ended.status == 124, file

    wait(lambda: listed(guest)[:1] == [str(pid)], 120)
    lists = status(guest)["refreshes"]["heartbeat"]
    wait(lambda: status(guest)["refreshes"]["heartbeat"] > lists + 1, 240)
    assert (show(guest, "NRestarts"), status(guest)["list"]["problem"]) == ("0", None)
    assert _candidate(guest, pid)["rank"] == 1
    explained = guest.run(["oomrules", "explain", str(pid)], timeout=240)
    assert "cmdline = unknown by its own doing, which protects no process" in explained.stdout
    guest.run(["oomrules", "snapshot", "-o", "/root/snapshot"], check=True, timeout=240)
    guest.run(["oomrules", "scopes"], check=True, timeout=240)
    guest.run(["systemctl", "restart", "oomrules"], check=True, timeout=300)
    assert listed(guest)[0] == str(pid)
    guest.run(["systemctl", "stop", "oomrules"], check=True, timeout=120)
    assert show(guest, "Result") == "success"
    guest.run(["kill", "-KILL", str(server)], check=True)
    wait(lambda: guest.run(["cat", f"/proc/{pid}/cmdline"], timeout=10).stdout, 60)


@pytest.mark.parametrize("kind", ["threads", "ended"])
def test_a_hundred_thousand_threads_are_one_process(large: Guest, kind: str) -> None:
    guest = large
    more = "kernel.threads-max=400000 kernel.pid_max=4194304 vm.max_map_count=400000"
    guest.run(f"sysctl -q -w {more}", check=True)
    guest.put('kill first unit "odd.service"\n', OWN)
    (pid,) = start_odd(guest, kind, "100000")
    # Numbers above 65,536, too.
    assert guest.run(f"ls /proc/{pid}/task | wc -l", timeout=120).stdout.strip() >= "100000"
    guest.run(["systemctl", "start", "oomrules"], check=True, timeout=300)
    wait(lambda: listed(guest)[:1] == [str(pid)], 120)
    before = status(guest)
    guest.run(["sleep", "60"], timeout=180)
    after = status(guest)
    made, seconds = after["list"]["took"], after["refreshes"]["heartbeat"]
    print(f"\n{kind}: a list in {made} s, {seconds - before['refreshes']['heartbeat']} heartbeats")
    assert seconds > before["refreshes"]["heartbeat"]
    assert show(guest, "NRestarts") == "0"
    assert _candidate(guest, pid)["rank"] == 1


def test_containers_of_podman_are_units_with_limits_and_kills(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.run(PODMAN, check=True, timeout=300)
    started = {}
    for name, options in (("free", ""), ("limited", "--memory=64m --memory-swap=64m")):
        run = f"podman run -d --network=none --name {name} {options} localhost/tiny sleep 100000"
        guest.run(run, check=True, timeout=120)
        inspect = ["podman", "inspect", "-f", "{{.Id}} {{.State.Pid}}", name]
        started[name] = guest.run(inspect, check=True, timeout=60).stdout.split()
    identifier, pid = started["limited"]
    rules = 'in "libpod-*.scope": kill first comm "sleep"\nnever kill comm "sh" when contained\n'
    guest.put(rules, OWN)
    one = _candidate(guest, int(pid))
    assert (one["rank"] <= 2, one["unit"]) == (True, f"libpod-{identifier}.scope")

    guest.run(["systemctl", "start", "oomrules"], check=True, timeout=300)
    hog = ["podman", "exec", "limited", "sh", "-c", "tail /dev/zero"]
    guest.run(hog, timeout=120)
    kills = wait(lambda: asked(guest, "history")["kills"], 60)
    assert [(kill["comm"], kill["unit"]) for kill in kills] == [
        ("tail", f"libpod-{identifier}.scope")
    ]


def test_a_container_of_lxc_is_the_same_from_both_sides(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.run(f"systemctl restart lxcfs; mkdir {ROOT}; {BIND}", check=True)
    guest.put(LXC, "/var/lib/lxc/one/config")
    guest.put(LIMIT, OWN)
    guest.put(INSIDE, "/root/inside")
    guest.run(["sleep", "5"])
    guest.run(["lxc-start", "-n", "one"], check=True, timeout=60)
    wait(lambda: "lxcfs" in guest.run("lxc-attach -n one -- mount").stdout, 60)
    _the_same_from_both_sides(guest, "/lxc.payload.one")


def test_a_container_of_nspawn_is_the_same_from_both_sides(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.run(f"mkdir {ROOT}; {BIND}", check=True)
    guest.put(LIMIT, OWN)
    guest.put(INSIDE, "/root/inside")
    argv = ["systemd-nspawn", "--quiet", f"--directory={ROOT}", "--machine=one", "--as-pid2"]
    argv += ["--register=no", "--keep-unit", "sh", "/root/inside"]
    unit = ["systemd-run", "--unit=one", "--property=MemoryMax=96M", "--property=Delegate=yes"]
    guest.run([*unit, *argv], check=True, timeout=60)
    wait(lambda: guest.run(["pgrep", "-f", "sleep 100000"]).stdout, 60)
    _the_same_from_both_sides(guest, "/system.slice/one.service")


def _the_same_from_both_sides(guest: Guest, group: str) -> None:
    """Have a process of a container looked at from the host and from inside."""
    pid = int(guest.run(["pgrep", "-x", "-f", "sleep 100000"], check=True).stdout)
    outside = _candidate(guest, pid)
    assert outside["cgroup"].startswith(group)
    before = _run_time(guest.run(["oomrules", "explain", str(pid)], timeout=240).stdout)
    guest.put("", "/root/go")
    wait(lambda: guest.run(["test", "-e", "/root/done"]).status == 0, 240)
    within = _run_time(guest.get("/root/explained").decode())
    after = _run_time(guest.run(["oomrules", "explain", str(pid)], timeout=240).stdout)
    assert before <= within <= after
    inside = _sleeper(json.loads(guest.get("/root/rank")))
    recorded = _sleeper(asked(guest, "rank", "--snapshot", "/root/recorded"))
    assert [one["tier"] for one in (outside, inside, recorded)] == ["first", "first", "first"]
    assert inside == recorded


def _run_time(explained: str) -> float:
    """The age of a process in seconds, which is told as "1h 2min 3.4s" is read."""
    told = re.findall(r"run_time = (.+)", explained)[0]
    units = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 0.001}
    return sum(
        float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) ?(h|min|ms|s)", told)
    )


def _sleeper(ranked: dict[str, Any]) -> dict[str, Any]:
    """The candidate whose place is told inside, less what a moment changes."""
    (one,) = (one for one in ranked["candidates"] if one["comm"] == "sleep" and one["rank"] == 1)
    return {name: one[name] for name in ("pid", "comm", "uid", "unit", "cgroup", "tier")}
