"""Made-up hosts: an ordinary process on each, but for what matters of it.

They are written as the lines of a recording and read as one, so what no recording may say is
refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from oomrules.capabilities import CAPABILITIES
from oomrules.fields import FIELDS, Unit
from oomrules.processes import containers, recorded

PAGE_SIZE = 4096

# What root has.
ALL_CAPABILITIES = (1 << len(CAPABILITIES)) - 1
# The uid of the first user who is a person (systemd.io, "Users, Groups, UIDs and GIDs").
FIRST_USER = 1000
# How long an ordinary process has run, in seconds, on a host that is up for so long.
RUN_TIME, UPTIME = 3600, 86_400

# Documentation/admin-guide/devices.txt: the major number, and the first of the minor ones.
_TERMINALS = {"pts/": (136, 0), "tty": (4, 0), "ttyS": (4, 64)}


def process_line(pid: int, **values: Any) -> dict[str, Any]:
    """Return the line of an ordinary process: its own session, by a user, in a service.

    What is not ordinary is given by the name of the field; ``starttime`` at least.
    """
    usual = {name: field.ordinary for name, field in FIELDS.items() if not field.optional}
    return recorded.process_line({**usual, "pid": pid, "session": pid, **values})


def assumed(comm: str, uid: int) -> dict[str, Any]:
    """Return what is assumed of a process of which only its name and its real user are said.

    A test that describes a process in a few words assumes it, and so does a replay where the
    kernel's report tells no more.
    """
    return {
        "cmdline": comm,
        "exe": f"/usr/bin/{comm}",
        "euid": uid,
        "gid": uid,
        "egid": uid,
        "capabilities": ALL_CAPABILITIES if uid == 0 else 0,
        "growth": 0,
        "tty_nr": 0,
        "cgroup": usual_group(comm, uid),
    }


# What is assumed of an attribute whose value follows from others of the process.
_FOLLOWS = {
    "capabilities": "all for uid 0, none for others",
    "cgroup": "the one at its limit",
    "cmdline": "comm",
    "cpu_time": "0s",
    "egid": "uid",
    "euid": "uid",
    "exe": "/usr/bin/ and comm",
    "gid": "uid",
    "run_time": f"{RUN_TIME}s",
    "session": "pid",
    "tty": "none",
    "unit": "comm.service for system users, session-1.scope for others",
    "user": "uid",
}


def said(attribute: str) -> str:
    """Return what ``assumed`` and ordinary processes have for an attribute, in words."""
    field = FIELDS.get(attribute)
    if attribute in _FOLLOWS or field is None:
        return _FOLLOWS.get(attribute, "")
    if field.unit.is_memory and field.ordinary:
        unit = PAGE_SIZE if field.unit is Unit.PAGES else 1
        return f"{field.ordinary * unit // 1024}KiB"
    return str(field.ordinary)


def usual_group(comm: str, uid: int) -> str:
    """Return the control group of an ordinary process: users are in a session, others a service."""
    if 0 < uid < FIRST_USER:
        return f"/system.slice/{re.sub(r'[^A-Za-z0-9:_.-]', '-', comm)}.service"
    return f"/user.slice/user-{uid}.slice/session-1.scope"


def snapshot(
    name: str, host: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]
) -> recorded.Recorded:
    """Return the snapshot of a host with pages of ``PAGE_SIZE``.

    Args:
        name: what it is called in messages.
        host: ``clock_ticks``, ``uptime`` and ``mem_total`` at least, by the key of a recording.
        lines: of its processes and control groups.

    Raises:
        Failure: a line says something impossible.
    """
    usual = {"kind": "host", "schema": recorded.SCHEMA, "page_size": PAGE_SIZE}
    return recorded.parse(map(json.dumps, ({**usual, **host}, *lines)), name)


def terminal(name: str) -> int | None:
    """Return the number of a terminal, as ``tty_nr`` has it, by the attribute ``tty``, or None."""
    found = re.fullmatch(r"(pts/|ttyS?)([0-9]{1,7})", name)
    if not found:
        return None if name else 0
    major, first = _TERMINALS[found[1]]
    minor = first + int(found[2])
    if (found[1] == "tty" and minor >= 64) or minor >= 1 << 20:
        return None
    # new_encode_dev(), include/linux/kdev_t.h
    return major << 8 | minor & 0xFF | (minor & 0xFFF00) << 12


_SCOPES = {
    "docker": "/system.slice/docker-{}.scope",
    "podman": "/machine.slice/libpod-{}.scope",
    "cri-o": "/system.slice/crio-{}.scope",
    "containerd": "/system.slice/cri-containerd-{}.scope",
    "lxc": "/lxc.payload.{}",
    "nspawn": "/machine.slice/machine-{}.scope",
}


def container_group(id_: str, runtime: str = "docker", pod: str = "", qos: str = "") -> str | None:
    """Return the control group that a container's processes have; None if there is no such one.

    Args:
        id_: of the container, which is the name for those that are called by name.
        runtime: one of ``containers.RUNTIMES``.
        pod: the uid of the pod around it; none if it is empty.
        qos: the class of the pod; empty for a pod of Podman.
    """
    path = _SCOPES.get(runtime, "").format(id_)
    if pod and qos:
        class_ = f"-{qos.lower()}" if qos != "Guaranteed" else ""
        around = "/kubepods.slice" + (f"/kubepods{class_}.slice" if class_ else "")
        uid = pod.replace("-", "_")
        path = f"{around}/kubepods{class_}-pod{uid}.slice/{path.rpartition('/')[2]}"
    elif pod:
        path = f"/machine.slice/machine-libpod_pod_{pod}.slice/{path.rpartition('/')[2]}"
    found = containers.contained(path)
    fits = (found.id, found.runtime, found.pod, found.qos) == (id_, runtime, pod, qos)
    return path if fits else None
