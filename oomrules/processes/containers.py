"""Containers and pods, as far as the path of a control group tells of them.

Each runtime makes a group for each container, and puts the id into its name. ``_LAYOUTS`` has those
names; the sources that they are from stand beside them.
"""

from __future__ import annotations

import re
from functools import lru_cache

from oomrules.lean import NamedTuple
from oomrules.processes.units import UNIT_SUFFIXES, shown

RUNTIMES = ("docker", "podman", "cri-o", "containerd", "lxc", "nspawn")
QOS_CLASSES = ("Guaranteed", "Burstable", "BestEffort")

# Those whose containers have a name in the path, which is also the id.
NAMED_BY_PATH = ("lxc", "nspawn")


class Contained(NamedTuple):
    """The container and the pod around a control group.

    Attributes:
        id: of the outermost container; empty where there is none.
        runtime: one of ``RUNTIMES``; empty where the path does not tell it.
        name: if the path has it, of ``NAMED_BY_PATH``; else empty, and the runtime knows it.
        pod: the uid of the pod around it; empty where there is none.
        qos: its class, one of ``QOS_CLASSES``; empty outside Kubernetes.
        claimed: whether the path alone proves nothing: the group lies inside a service or a
            scope, whose user may be free to make groups there.
    """

    id: str = ""
    runtime: str = ""
    name: str = ""
    pod: str = ""
    qos: str = ""
    claimed: bool = False


_NONE = Contained()

_ID = "[0-9a-f]{64}"
# A group's name, and the runtime that gives such names.
_LAYOUTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    # moby, daemon/oci_linux.go, with the systemd driver: slice, "docker", id.
    ("docker", re.compile(f"docker-({_ID})[.]scope")),
    # podman, libpod/container_internal_linux.go: with systemd, with cgroupfs, and in a service's
    # own group (--cgroups=split, which Quadlet uses). libpod-conmon-ID is the monitor's.
    ("podman", re.compile(f"libpod-(?:payload-)?({_ID})(?:[.]scope)?")),
    # cri-o, internal/config/cgmgr: CrioPrefix. crio-conmon-ID is the monitor's.
    ("cri-o", re.compile(f"crio-({_ID})(?:[.]scope)?")),
    # containerd, internal/cri/server/helpers_linux.go: getCgroupsPath(); what cgroupfs makes of it
    # where only the kubelet uses systemd has colons.
    (
        "containerd",
        re.compile(f"(?:.*:cri-containerd:|cri-containerd-|nerdctl-)({_ID})(?:[.]scope)?"),
    ),
)
_BARE = re.compile(_ID)
# With cgroupfs the group is called by the id alone, below one of these (moby; Amazon's agent).
_PARENTS = {"docker": "docker", "ecs": "docker"}

# lxc, src/lxc/cgroups/cgfsng.c: DEFAULT_PAYLOAD_CGROUP_PREFIX; the others are older or Proxmox's.
_LXC = re.compile(r"lxc[.]payload[.](.+)")
_LXC_PARENTS = ("lxc", "lxc.payload")
# systemd, src/machine/machine.c: machine-NAME.scope, which virtual machines have as well; of
# libvirt with the driver's name and a number in front. units/systemd-nspawn@.service.in.
_MACHINE = re.compile(r"machine-(?!qemu\\x2d|libpod_pod_)(?:(lxc)\\x2d[0-9]+\\x2d)?(.+)[.]scope")
_NSPAWN = re.compile(r"systemd-nspawn@(.+)[.]service")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")

# kubernetes, pkg/kubelet/cm/pod_container_manager_linux.go and cgroup_manager_linux.go: with
# systemd a slice, in which "_" stands for "-", and with cgroupfs podUID below the class. A
# Guaranteed pod lies beside the classes. The root of both can be moved (--cgroup-root).
_POD_SLICE = re.compile(
    r"(?:.+-)?kubepods(?:-(burstable|besteffort))?-pod([0-9A-Za-z_]+)[.]slice(?::.*)?"
)
_POD = re.compile(r"pod([0-9A-Za-z-]+)")
_CLASSES = {None: "Guaranteed", "burstable": "Burstable", "besteffort": "BestEffort"}
# podman, libpod/pod_internal_linux.go: a slice, or with cgroupfs the id alone.
_PODMAN_POD = re.compile(f"machine-libpod_pod_({_ID})[.]slice")
_PODMAN_PARENT = "libpod_parent"


@lru_cache(maxsize=1024)
def contained(cgroup: str, root: str = "") -> Contained:
    """Find the container and the pod around a control group.

    The outermost container counts: what is inside is the container's own to name.

    Args:
        root: ``Host.unit_root``; the groups around it are not looked at.
    """
    inside = cgroup.removeprefix(root) if root and cgroup.startswith(f"{root}/") else cgroup
    parts = inside.strip("/").split("/")
    pod, qos, claimed = "", "", False
    for place, part in enumerate(parts):
        around = parts[:place]
        found = _pod(part, around)
        if found and not pod:
            pod, qos = found
        container = _container(part, around, parts[place + 1 :])
        if container is not None:
            runtime, id_, name = container
            return Contained(id_, runtime, name, pod, qos, claimed)
        if part.endswith(UNIT_SUFFIXES) and not part.endswith(".slice"):
            claimed = True
    return Contained(pod=pod, qos=qos, claimed=claimed) if pod else _NONE


def _container(part: str, around: list[str], below: list[str]) -> tuple[str, str, str] | None:
    """Return runtime, id and name of the container that a group is of; None if it is of none."""
    for runtime, pattern in _LAYOUTS:
        if found := pattern.fullmatch(part):
            return runtime, found[1], ""
    parent = around[-1] if around else ""
    if _BARE.fullmatch(part):
        if parent == _PODMAN_PARENT:
            return None
        return next((_PARENTS[one] for one in around if one in _PARENTS), ""), part, ""
    if found := _LXC.fullmatch(part):
        return _named("lxc", found[1])
    if parent in _LXC_PARENTS and len(around) == 1:
        return _named("lxc", part)
    # A group beside the payload's is that of the program that started the container.
    if below[:1] == ["supervisor"]:
        return None
    if found := _MACHINE.fullmatch(part):
        return _named(found[1] or "nspawn", _unescaped(found[2]))
    if (found := _NSPAWN.fullmatch(part)) and below[:1] == ["payload"]:
        return _named("nspawn", _unescaped(found[1]))
    return None


def _named(runtime: str, name: str) -> tuple[str, str, str]:
    name = shown(name)
    return runtime, name, name


def _unescaped(name: str) -> str:
    """Return what systemd has escaped (systemd-escape(1)), as far as it is ASCII."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] < "80" else found[0], name)


def _pod(part: str, around: list[str]) -> tuple[str, str] | None:
    """Return uid and class of the pod that a group is of; None if it is of none."""
    if found := _POD_SLICE.fullmatch(part):
        return found[2].replace("_", "-"), _CLASSES[found[1]]
    if (found := _POD.fullmatch(part)) and "kubepods" in around:
        between = around[around.index("kubepods") + 1 :]
        if not between:
            return found[1], _CLASSES[None]
        if len(between) == 1 and between[0] in _CLASSES:
            return found[1], _CLASSES[between[0]]
    if found := _PODMAN_POD.fullmatch(part):
        return found[1], ""
    if _BARE.fullmatch(part) and around[-1:] == [_PODMAN_PARENT]:
        return part, ""
    return None
