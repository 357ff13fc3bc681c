"""Made-up hosts: an ordinary process on each, but for what matters of it.

They are written as the lines of a recording and read as one, so what no recording may say is
refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from oomrules.fields import FIELDS
from oomrules.processes import containers, recorded

PAGE_SIZE = 4096

# Documentation/admin-guide/devices.txt: the major number, and the first of the minor ones.
_TERMINALS = {"pts/": (136, 0), "tty": (4, 0), "ttyS": (4, 64)}


def process_line(pid: int, **values: Any) -> dict[str, Any]:
    """Return the line of an ordinary process: its own session, by a user, in a service.

    What is not ordinary is given by the name of the field; ``starttime`` at least.
    """
    usual = {name: field.ordinary for name, field in FIELDS.items() if not field.optional}
    return recorded.process_line({**usual, "pid": pid, "session": pid, **values})


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
