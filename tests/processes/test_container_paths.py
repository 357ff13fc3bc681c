"""The control groups of containers and pods: each layout of each runtime, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.processes import ordinary
from oomrules.processes.containers import NAMED_BY_PATH, QOS_CLASSES, RUNTIMES, Contained, contained
from tests.oracle import reference, strategies
from tests.oracle.strategies import thorough

ID, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
UID = "6b9c5c0e-3c1f-4a51-9d2e-0a4b5c6d7e8f"
SLICE_UID = UID.replace("-", "_")
USER = "/user.slice/user-1000.slice/user@1000.service"

LAYOUTS = {
    # Docker: both drivers, another parent, and Amazon's agent.
    f"/system.slice/docker-{ID}.scope": Contained(ID, "docker"),
    f"/docker/{ID}": Contained(ID, "docker"),
    f"/docker/{ID}/init.scope": Contained(ID, "docker"),
    f"/ecs/0f1e/{ID}": Contained(ID, "docker"),
    f"/actions_job/{ID}": Contained(ID),
    # Podman.
    f"/machine.slice/libpod-{ID}.scope": Contained(ID, "podman"),
    f"/machine.slice/libpod-{ID}.scope/container": Contained(ID, "podman"),
    f"/libpod_parent/libpod-{ID}": Contained(ID, "podman"),
    f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope": Contained(
        ID, "podman", pod=OTHER
    ),
    f"/libpod_parent/{OTHER}/libpod-{ID}": Contained(ID, "podman", pod=OTHER),
    # Kubernetes: systemd, cgroupfs, and the half of both that a misconfigured node has.
    f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICE_UID}.slice/"
    f"cri-containerd-{ID}.scope": Contained(ID, "containerd", pod=UID, qos="Burstable"),
    f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SLICE_UID}.slice/"
    f"crio-{ID}.scope/container": Contained(ID, "cri-o", pod=UID, qos="BestEffort"),
    f"/kubepods.slice/kubepods-pod{SLICE_UID}.slice/docker-{ID}.scope": Contained(
        ID, "docker", pod=UID, qos="Guaranteed"
    ),
    f"/kubepods/burstable/pod{UID}/{ID}": Contained(ID, pod=UID, qos="Burstable"),
    f"/kubepods/pod{UID}/crio-{ID}": Contained(ID, "cri-o", pod=UID, qos="Guaranteed"),
    f"/kubelet/kubepods/besteffort/pod{UID}/{ID}": Contained(ID, pod=UID, qos="BestEffort"),
    f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SLICE_UID}.slice/"
    f"cri-containerd-{ID}.scope": Contained(ID, "containerd", pod=UID, qos="Guaranteed"),
    f"/kubepods-burstable-pod{SLICE_UID}.slice:cri-containerd:{ID}": Contained(
        ID, "containerd", pod=UID, qos="Burstable"
    ),
    # A static pod's uid is a sum of its file.
    f"/kubepods/burstable/pod{ID[:32]}/{OTHER}": Contained(OTHER, pod=ID[:32], qos="Burstable"),
    # A pod's own group.
    f"/kubepods/besteffort/pod{UID}": Contained(pod=UID, qos="BestEffort"),
    f"/system.slice/nerdctl-{ID}.scope": Contained(ID, "containerd"),
    # LXC, Proxmox, libvirt, systemd-nspawn.
    "/lxc.payload.web/init.scope": Contained("web", "lxc", "web"),
    "/lxc/101/ns": Contained("101", "lxc", "101"),
    "/machine.slice/machine-lxc\\x2d7\\x2dweb.scope": Contained("web", "lxc", "web"),
    "/machine.slice/machine-my\\x2dweb.scope/payload": Contained("my-web", "nspawn", "my-web"),
    "/machine.slice/systemd-nspawn@web.service/payload/init.scope": Contained(
        "web", "nspawn", "web"
    ),
    # The outermost of several: a cluster in a container, a container in one.
    f"/system.slice/docker-{ID}.scope/kubelet.slice/kubelet-kubepods.slice/"
    f"kubelet-kubepods-pod{SLICE_UID}.slice/cri-containerd-{OTHER}.scope": Contained(ID, "docker"),
    f"/lxc.payload.web/docker/{ID}": Contained("web", "lxc", "web"),
    # Where a user or a service may be free to make groups.
    f"{USER}/user.slice/libpod-{ID}.scope/container": Contained(ID, "podman", claimed=True),
    f"{USER}/app.slice/docker-{ID}.scope": Contained(ID, "docker", claimed=True),
    f"{USER}/kubepods.slice/kubepods-pod{SLICE_UID}.slice/crio-{ID}.scope": Contained(
        ID, "cri-o", pod=UID, qos="Guaranteed", claimed=True
    ),
    "/user.slice/user-1000.slice/session-2.scope/lxc.payload.web": Contained(
        "web", "lxc", "web", claimed=True
    ),
    f"/system.slice/web.service/libpod-payload-{ID}": Contained(ID, "podman", claimed=True),
    f"/system.slice/x.service/docker/{ID}": Contained(ID, "docker", claimed=True),
}
NONE = (
    "/",
    "/init.scope",
    "/system.slice/docker.service",
    f"/system.slice/docker-{ID[:12]}.scope",
    f"/system.slice/docker-{ID.upper()}.scope",
    f"/system.slice/docker-{ID}0.scope",
    f"/system.slice/docker-{ID}.service",
    # Monitors, and the program that starts a machine.
    f"/machine.slice/libpod-conmon-{ID}.scope",
    f"/system.slice/crio-conmon-{ID}.scope",
    "/libpod_parent/conmon",
    "/lxc.monitor.web",
    "/machine.slice/machine-web.scope/supervisor",
    "/machine.slice/systemd-nspawn@web.service/supervisor",
    # Virtual machines.
    "/machine.slice/machine-qemu\\x2d3\\x2dscratch.scope/libvirt/emulator",
    # No pods.
    "/kubepods.slice/kubepods-burstable.slice",
    "/kubepods/burstable",
    "/podman/pod1",
)


@pytest.mark.parametrize("path", LAYOUTS)
def test_a_path_tells_the_container_and_the_pod(path: str) -> None:
    assert contained(path) == LAYOUTS[path]


@pytest.mark.parametrize("path", NONE)
def test_what_is_no_container_is_none(path: str) -> None:
    assert contained(path) == Contained()


@pytest.mark.parametrize("path", LAYOUTS)
def test_what_a_container_makes_below_its_own_group_changes_nothing(path: str) -> None:
    if LAYOUTS[path].id:
        for inner in (f"docker-{OTHER}.scope", "lxc.payload.x", f"kubepods/pod{UID}/{OTHER}", "a"):
            assert contained(f"{path}/{inner}") == LAYOUTS[path]


@pytest.mark.parametrize("path", [*LAYOUTS, *NONE])
def test_whatever_lies_below_a_user_s_manager_is_a_claim(path: str) -> None:
    found = contained(f"{USER}/app.slice{path}")
    assert found.claimed or found == Contained()


@pytest.mark.parametrize("path", LAYOUTS)
def test_the_groups_around_systemd_itself_count_for_nothing(path: str) -> None:
    root = f"/system.slice/docker-{OTHER}.scope"
    assert contained(f"{root}{path}", root) == LAYOUTS[path]
    assert contained(f"{root}{path}") == Contained(OTHER, "docker")


def test_a_name_that_is_no_text_is_shown_by_its_number() -> None:
    assert contained("/lxc.payload.a\udcff").name == "a\\xff"


@given(
    st.lists(
        st.sampled_from([*"/.-_:@"])
        | st.sampled_from(
            [
                ID,
                "docker",
                "docker-",
                ".scope",
                ".slice",
                "kubepods",
                "pod",
                "burstable",
                "lxc",
                "payload",
                "libpod-",
                "libpod_parent",
                "machine-",
                "crio-",
                "x",
                "\\x2d",
                "user@7.service",
                "supervisor",
            ]
        ),
        max_size=12,
    )
)
@thorough
def test_any_path_is_read_and_what_comes_out_is_possible(parts: list[str]) -> None:
    found = contained("/" + "".join(parts))
    assert found.runtime in ("", *RUNTIMES) and found.qos in ("", *QOS_CLASSES)
    assert bool(found.name) == (found.runtime in NAMED_BY_PATH)
    assert not found.runtime or found.id
    assert not found.qos or found.pod


@pytest.mark.parametrize("path", [*LAYOUTS, *NONE, *strategies.CONTAINERS])
def test_the_reference_says_the_same(path: str) -> None:
    found, other = contained(path), reference.container(path)
    assert (found.id, found.runtime, found.pod, found.qos) == other[:4]
    assert not (found.id or found.pod) or found.claimed == other.in_a_service


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("qos", ["", *QOS_CLASSES])
def test_a_made_up_container_has_a_group_that_tells_of_it(runtime: str, qos: str) -> None:
    name = "web" if runtime in NAMED_BY_PATH else ID
    pod = UID if qos else ""
    path = ordinary.container_group(name, runtime, pod, qos)
    if path is None:
        assert runtime in NAMED_BY_PATH and qos
    else:
        assert contained(path) == Contained(name, runtime, contained(path).name, pod, qos)
    assert ordinary.container_group("too short", "docker") is None
