"""Ways in which what is not known of a host may turn out to be.

A filling has a value for everything that a snapshot lacks, and leaves what is known as it is. What
has ended tells nothing about itself, and stays unknown.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

from oomrules.fields import FIELDS
from tests.oracle import strategies
from tests.oracle.strategies import Object

KTHREAD = 0x00200000
DECISIVE = ("flags", "state", "total_vm")
LIVING = "RSDTtI"
GROUPS = (
    *strategies.CGROUPS,
    *strategies.CONTAINERS,
    "/system.slice/dbus.service",
    "/system.slice/auditd.service",
)
# Groups below another one; some are called as units that the shipped rules protect.
BELOW = (
    "",
    "/sub",
    "/lxc.payload.a",
    f"/docker/{strategies.ID}",
    "/dbus.service",
    "/x.slice/x.scope",
)
NAMES = ("anna", "www-data", "toor", "1000", "daemon", "messagebus", "systemd-oom", "syslog")
RUNTIMES = ("docker", "containerd", "podman")
BYTES = (0, 1, 4095, 2**20, 2**30, 2**40)
UNITS = ("a.service", "multi-user.target", "graphical.target", "web.service", "x.target")
PROPERTIES: dict[str, Sequence[Any]] = {
    "OOMPolicy": ("stop", "continue", "kill"),
    "ActiveState": ("active", "activating"),
    "Description": ("A web server", "", "other"),
    "OOMScoreAdjust": (-1000, -900, 0, 500),
    "ManagedOOMPreference": ("none", "avoid", "omit"),
    "ManagedOOMMemoryPressure": ("auto", "kill"),
}
SESSION: dict[str, Sequence[Any]] = {
    "active": (True, False),
    "remote": (True, False),
    "idle": (True, False),
    "class": ("user", "greeter", "background"),
    "type": ("tty", "x11", "wayland"),
}


def filled(objects: Sequence[Object], rng: random.Random, within: str = "") -> list[Object]:
    """Return a snapshot in which nothing is unknown, as the objects on its lines.

    Args:
        within: a control group that each process is in or below whose own is not known.
    """
    made = copy.deepcopy(list(objects))
    host = made[0]
    unknown = set(host.pop("unknown", ()))
    _fill_host(host, unknown, rng)
    processes = [one for one in made if one["kind"] == "process"]
    scopes = {one["cgroup"]: one for one in made if one["kind"] == "scope"}
    pids = [one["pid"] for one in processes]
    further = set[str]()
    for process in processes:
        if "cgroup" in unknown and process.get("cgroup") and rng.random() < 0.5:
            process["cgroup"] += rng.choice(BELOW)
            further.add(process["cgroup"])
        if within and process.get("cgroup") is None:
            process["cgroup"] = within.rstrip("/") + rng.choice(BELOW)
        _fill_process(process, pids, rng)
    paths = {"/", *scopes}
    for process in processes:
        for path in (process.get("cgroup"), process.get("memory_cgroup")):
            parts = (path or "").strip("/").split("/")
            paths |= {"/" + "/".join(parts[: number + 1]) for number in range(len(parts))}
    for path in sorted(paths):
        # Of a group that nothing is known of, a rule takes it that it has no limit.
        if path not in scopes:
            scopes[path] = {"kind": "scope", "cgroup": path}
            if "cgroup" in unknown and path in further:
                scopes[path]["memory_max"] = rng.choice((None, 2**20, 2**30))
        scope = scopes[path]
        _fill_scope(scope, rng)
    return [host, *scopes.values(), *processes]


def _fill_host(host: Object, unknown: set[str], rng: random.Random) -> None:
    if unknown & {"host.memory", "host.totalpages"}:
        host["mem_total"] = rng.choice((2**28, 2**33, 2**36))
    if unknown & {"host.swap", "host.totalpages"}:
        host["swap_total"] = rng.choice((0, 2**28, 2**33))
    # A kernel's report may not tell it; a recorded host that has been up for 0 s is just that.
    if unknown and not host["uptime"]:
        host["uptime"] = rng.choice((0, 3600, 10**7))
    for key in ("available", "free", "swap_free", "shmem", "hugetlb"):
        if host.get(key) is None:
            host[key] = rng.choice(BYTES)
    for key in ("pressure", "stall"):
        if host.get(key) is None:
            host[key] = rng.choice((0.0, 0.5, 12.5, 100.0))
    for key in ("users", "groups"):
        if host.get(key) is None:
            ids = rng.sample((1, 33, 100, 1000, 1001, 65_534), 4)
            host[key] = {str(number): rng.choice(NAMES) for number in ids}


def _fill_process(process: Object, pids: Sequence[int], rng: random.Random) -> None:
    if process.get("state") in ("Z", "X", "x") or (process.get("flags") or 0) & KTHREAD:
        return
    own = process.get("self_made", ())
    for name, field in FIELDS.items():
        if process.get(name) is not None or name in own or name in ("pid", "memory_cgroup"):
            continue
        if name in DECISIVE:
            if name in process:
                pool: Sequence[Any] = strategies.FIELDS_POOL[name]
            elif name == "flags":
                continue
            else:
                pool = LIVING if name == "state" else (1, 7, 4096, 10**6)
        elif name == "ppid":
            pool = (*pids, 0, 1, 77)
        elif name == "cgroup":
            pool = GROUPS
        else:
            pool = [value for value in strategies.FIELDS_POOL[name] if value is not None]
        process[name] = rng.choice(pool)
        if field.unit.is_memory and name not in DECISIVE and rng.random() < 0.2:
            process[name] = rng.randrange(2**45)
    if "memory_cgroup" in process and process["memory_cgroup"] is None:
        process["memory_cgroup"] = rng.choice(GROUPS)
    for kind, facts in (
        ("container", {"runtime": RUNTIMES, "name": ("web", "app"), "image": ("nginx:1", "")}),
        ("pod", {"name": ("shop-0",), "namespace": ("default", "x"), "priority": (-1, 0, 7)}),
    ):
        said = process.setdefault(kind, {})
        for key, values in facts.items():
            if said.get(key) is None:
                said[key] = rng.choice(values)


def _fill_scope(scope: Object, rng: random.Random) -> None:
    for key in ("memory", "memory_min", "memory_low", "swap", "oom_kills"):
        if scope.get(key) is None:
            scope[key] = rng.choice(BYTES)
    for key in ("pressure", "stall"):
        if scope.get(key) is None:
            scope[key] = rng.choice((0.0, 0.5, 12.5, 100.0))
    for key in scope.pop("unreadable", None) or ():
        if scope.get(key) is None:
            scope[key] = rng.choice((None, *BYTES))
    properties = scope["properties"] = dict(scope.get("properties") or {})
    for key, values in PROPERTIES.items():
        if properties.get(key) is None:
            properties[key] = rng.choice(values)
    for key in ("WantedBy", "PartOf"):
        if properties.get(key) is None:
            properties[key] = rng.sample(UNITS, rng.randrange(3))
    if scope.get("session") is None:
        scope["session"] = rng.choice(({}, {"active": None}))
    if scope["session"]:
        for key, values in SESSION.items():
            if scope["session"].get(key) is None:
                scope["session"][key] = rng.choice(values)
