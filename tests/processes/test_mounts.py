"""The directory of a control group is found wherever its hierarchy is mounted.

The oracle is a small kernel: file systems with directories, mounts on them, and a walk from the
root, name by name, as path_lookup does it. It prints mountinfo as the kernel does, and knows by
walking what every path shows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.processes.cgroups import Hierarchy, enclosing, is_in_sight
from oomrules.processes.mounts import Table

Names = tuple[str, ...]

# The groups of one hierarchy; a name may look like an escape, an option or a way up.
_NAMES = ("a", "b c", "..x", "d\\040e", "-")
_GROUPS: list[Names] = [
    (),
    *[(one,) for one in _NAMES],
    *[(one, two) for one in _NAMES[:3] for two in _NAMES[:3]],
    *[("a", one, "a") for one in _NAMES[:3]],
]
# Directories of the root file system and of a tmpfs that things are mounted on.
_POINTS: list[Names] = [
    ("sys",),
    ("sys", "fs", "cgroup"),
    ("sys", "fs", "cgroup", "memory"),
    ("mnt x",),
    ("mnt x", "sub"),
]


def path(names: Names) -> str:
    return "/" + "/".join(names)


def seen_from(group: Names, root: Names) -> str:
    """Give the path of a group as kernfs_path_from_node() does, from the namespace's root."""
    common = len(_common(group, root))
    return path(("..",) * (len(root) - common) + group[common:])


@dataclass
class Mounted:
    """A mount: a file system, which of its directories is the root, and what is mounted on it."""

    number: int
    system: str
    root: Names
    point: Names
    parent: Mounted | None
    on: dict[Names, Mounted] = field(default_factory=dict)


class Kernel:
    """Mounts, one after the other."""

    def __init__(self) -> None:
        self.top = Mounted(10, "ext4", (), (), None)
        self.mounts = [self.top]

    def walk(self, names: Names) -> tuple[Mounted, Names]:
        """Find the mount and the directory of its file system that a path leads to."""
        # A process has its root itself, and not what lies over that.
        at, directory = self.top, self.top.root
        for name in names:
            at, directory = self._over(at, (*directory, name))
        return at, directory

    def _over(self, at: Mounted, directory: Names) -> tuple[Mounted, Names]:
        while directory in at.on:
            at = at.on[directory]
            directory = at.root
        return at, directory

    def mount(self, system: str, root: Names, point: Names) -> None:
        parent, directory = self.walk(point)
        made = Mounted(10 + len(self.mounts), system, root, point, parent)
        parent.on[directory] = made
        self.mounts.append(made)

    def cover_root(self) -> None:
        """Mount over the root, as a shared root bound twice to one place is bound to itself."""
        at = self.top
        while () in at.on:
            at = at.on[()]
        made = Mounted(10 + len(self.mounts), "ext4", (), (), at)
        at.on[()] = made
        self.mounts.append(made)

    def mountinfo(self, namespace: Names) -> str:
        lines = []
        for one in self.mounts:
            cgroup = one.system.startswith("cgroup")
            root = _escaped(seen_from(one.root, namespace) if cgroup else path(one.root))
            kind, _, controller = one.system.partition(":")
            parent = one.parent.number if one.parent else 1
            lines.append(
                f"{one.number} {parent} 0:{one.number} {root} {_escaped(path(one.point))} "
                f"rw,relatime shared:1 master:2 - {kind} {kind} rw,{controller or 'nsdelegate'}\n"
            )
        return "".join(lines)


def _escaped(text: str) -> str:
    for char in "\\ \t\n":
        text = text.replace(char, f"\\{ord(char):03o}")
    return text


SYSTEMS = ["cgroup2", "cgroup:memory", "cgroup:name=systemd", "tmpfs"]


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    kernel = Kernel()
    for _ in range(draw(st.integers(1, 7))):
        system = draw(st.sampled_from(SYSTEMS))
        root: Names = ()
        point = draw(st.sampled_from(_POINTS))
        if system != "tmpfs":
            root = draw(st.sampled_from(_GROUPS))
            if draw(st.booleans()):
                # As nspawn does: a group's own part once more, where the whole tree has it.
                point = (*point, *draw(st.sampled_from(_GROUPS)))
        kernel.mount(system, root, point)
        if draw(st.integers(0, 4)) == 0:
            kernel.cover_root()
    return kernel


def showing(kernel: Kernel, system: str, group: Names) -> Iterator[tuple[str, Mounted]]:
    """Give each path at which a group is seen, with the mount that it is seen in."""
    for one in kernel.mounts:
        if one.system == system and group[: len(one.root)] == one.root:
            names = (*one.point, *group[len(one.root) :])
            if kernel.walk(names) == (one, group):
                yield path(names), one


@pytest.fixture(scope="module")
def mountinfo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mounts") / "mountinfo"


@settings(max_examples=200, deadline=None)
@given(kernel=kernels(), namespace=st.sampled_from(_GROUPS), data=st.data())
def test_what_is_found_is_the_group_and_what_is_in_sight_is_found(
    mountinfo: Path, kernel: Kernel, namespace: Names, data: Any
) -> None:
    mountinfo.write_text(kernel.mountinfo(namespace))
    hierarchy = Hierarchy(str(mountinfo), own="/nonexistent")
    group = data.draw(st.sampled_from(_GROUPS))
    asked = seen_from(group, namespace)
    for system, tree in (
        ("cgroup2", hierarchy.unified),
        ("cgroup:memory", hierarchy.memory),
        ("cgroup:name=systemd", hierarchy.units),
    ):
        if system == "cgroup:name=systemd" and tree is hierarchy.unified:
            continue
        assert (tree is None) == (system not in {one.system for one in kernel.mounts})
        if tree is None:
            continue
        truth = dict(showing(kernel, system, group))
        found = tree.directory(asked)
        # From a mount that begins around the namespace, nobody knows the way in to its root.
        around = _common(group, namespace)
        told = {
            where: one
            for where, one in truth.items()
            if one.root == around or not _is_part(one.root, around)
        }
        assert found in truth or (found is None and not told)
        if tree.is_above(asked):
            roots = [one.root for one in kernel.mounts if one.system == system]
            assert any(_is_part(group, root) for root in roots)


def _is_part(outer: Names, inner: Names) -> bool:
    return inner[: len(outer)] == outer


def test_reading_the_mounts_of_many_containers_is_linear(mountinfo: Path) -> None:
    def calls(number: int) -> int:
        lines = ["1 0 0:1 / / rw - ext4 x rw\n"]
        for one in range(number):
            point = f"/run/containers/{one}"
            lines.append(f"{one + 2} 1 0:{one} / {point}/cgroup rw - cgroup2 cgroup2 rw\n")
            lines.append(f"{one + number + 2} 1 0:{one} / {point}/shm rw - tmpfs tmpfs rw\n")
        mountinfo.write_text("".join(lines))
        made = 0

        def count(*_: Any) -> None:
            nonlocal made
            made += 1

        sys.setprofile(count)
        try:
            Table(str(mountinfo))
        finally:
            sys.setprofile(None)
        return made

    assert calls(400) < 2.5 * calls(200)


def _common(one: Names, other: Names) -> Names:
    length = 0
    while one[:length] == other[:length] and length <= min(len(one), len(other)):
        length += 1
    return one[: length - 1]


CASES: dict[str, tuple[str, str, str | None]] = {
    "a host": (
        "26 23 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "/system.slice/a.service",
        "/sys/fs/cgroup/system.slice/a.service",
    ),
    "Docker without a namespace": (
        "26 23 0:22 /docker/0a1b /sys/fs/cgroup ro master:4 - cgroup2 cgroup rw,nsdelegate\n",
        "/docker/0a1b/app",
        "/sys/fs/cgroup/app",
    ),
    "the container's own group": (
        "26 23 0:22 /docker/0a1b /sys/fs/cgroup ro master:4 - cgroup2 cgroup rw,nsdelegate\n",
        "/docker/0a1b",
        "/sys/fs/cgroup",
    ),
    "another container": (
        "26 23 0:22 /docker/0a1b /sys/fs/cgroup ro master:4 - cgroup2 cgroup rw,nsdelegate\n",
        "/docker/0a1bc",
        None,
    ),
    "a namespace that was left for another one's": (
        "26 23 0:22 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
        "/app",
        None,
    ),
    "outside of one's namespace, and in sight": (
        "26 23 0:22 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
        "/../../system.slice/a.service",
        "/sys/fs/cgroup/system.slice/a.service",
    ),
    "outside of one's namespace": (
        "26 23 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
        "/../a",
        None,
    ),
    "covered, and to be found elsewhere": (
        "26 23 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
        "27 26 0:23 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "28 23 0:22 / /run/groups rw - cgroup2 cgroup rw\n",
        "/a",
        "/run/groups/a",
    ),
    "covered by something further up": (
        "23 1 0:20 / /sys rw - sysfs sysfs rw\n26 23 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
        "27 23 0:23 / /sys rw - tmpfs tmpfs rw\n",
        "/a",
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_group_of_a_real_host_is_found(case: str, tmp_path: Path) -> None:
    lines, group, expected = CASES[case]
    (tmp_path / "mountinfo").write_text(lines)
    tree = Hierarchy(str(tmp_path / "mountinfo"), own="/nonexistent").unified
    assert tree and tree.directory(group) == expected


def test_the_way_to_the_root_of_our_namespace_is_found_by_our_own_process(tmp_path: Path) -> None:
    """As where a container with a namespace of its own was given the host's whole tree."""
    pod, own = tmp_path / "cg/kube.slice/pod 1/box", tmp_path / "own"
    for directory in (pod / "app", pod.parent / "other", tmp_path / "cg/kube.slice/pod2/box/app"):
        directory.mkdir(parents=True)
        (directory / "cgroup.procs").write_text("1\n2\n")
    (pod / "app/cgroup.procs").write_text(f"1{os.getpid()}\n{os.getpid()}\n")
    own.write_text("0::/app\n")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"26 23 0:22 /../../.. {tmp_path}/cg rw - cgroup2 cgroup rw\n")
    hierarchy = Hierarchy(str(mounts), str(own))
    tree = hierarchy.unified
    assert tree
    for told, group in {
        "/app": "/kube.slice/pod 1/box/app",
        "/": "/kube.slice/pod 1/box",
        "/..": "/kube.slice/pod 1",
        "/../other": "/kube.slice/pod 1/other",
        "/../../pod2/box/app": "/kube.slice/pod2/box/app",
        "/../../..": "/",
        "/../../../system.slice/ssh.service": "/system.slice/ssh.service",
    }.items():
        assert tree.seen(told) == group == hierarchy.path_of(f"0::{told}\n".encode())
        assert tree.directory(group) == f"{tmp_path}/cg{group}".rstrip("/")
    # Further out than the mount goes nothing is known.
    assert tree.seen("/../../../../x") == "/../../../../x"
    (tmp_path / "1").mkdir()
    (tmp_path / "1/cgroup").write_text("0::/../../../init.scope\n")
    assert hierarchy.unit_root(str(tmp_path)) == ""
    (pod / "app/cgroup.procs").write_text("1\n")
    tree = Hierarchy(str(mounts), str(own)).unified
    assert tree and tree.seen("/app") == "/app" and tree.directory("/app") is None


def test_what_is_above_the_part_in_sight_is_told_from_what_is_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(CASES["a host"][0].replace(" / ", " /docker/0a1b ", 1))
    hierarchy = Hierarchy(str(tmp_path / "mountinfo"))
    assert hierarchy.scope("/docker") is None and hierarchy.scope("/") is None
    other = hierarchy.scope("/docker/other")
    assert other and other.get("memory_max") is None


def test_lines_that_make_no_sense_are_left_out(tmp_path: Path) -> None:
    lines = (
        "\n\n1\nx y - z\n1 2 0:3 / /a rw - cgroup2\n1 2 0:3 / /b rw cgroup2 x rw\n- - - - - - -\n"
    )
    (tmp_path / "mountinfo").write_text(lines + CASES["a host"][0])
    tree = Hierarchy(str(tmp_path / "mountinfo")).unified
    assert tree and tree.directory("/a") == "/sys/fs/cgroup/a"


# --- where systemd begins --------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "root"),
    [
        ("0::/init.scope\n", ""),
        (
            "0::/machine.slice/machine-x.scope/payload/init.scope\n",
            "/machine.slice/machine-x.scope/payload",
        ),
        ("5:memory:/x\n1:name=systemd:/lxc/c1/init.scope\n0::/\n", "/lxc/c1"),
        ("0::/../../init.scope\n", "/../.."),
        # The first process of a container need not be systemd.
        ("0::/docker/0a1b\n", ""),
        ("0::/user.slice/a.scope\n", ""),
        ("0::/my-init.scope\n", ""),
        ("", ""),
    ],
)
def test_systemd_begins_where_its_own_group_is(lines: str, root: str, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cgroup").write_text(lines)
    hierarchy = Hierarchy(str(tmp_path / "mountinfo"))
    assert hierarchy.unit_root(str(tmp_path)) == root
    assert hierarchy.unit_root(str(tmp_path / "missing")) == ""


@pytest.mark.parametrize(
    ("group", "root", "known"),
    [
        ("/a", "", True),
        ("/", "", True),
        ("/../a", "", False),
        ("/..", "", False),
        ("/..a", "", True),
        ("/../../system.slice/a.service", "/../..", True),
        ("/../../../a", "/../..", False),
        ("/a", "/../..", False),
        ("/../..", "/../..", True),
        ("/b", "/a", True),
    ],
)
def test_units_are_known_where_all_names_on_the_way_are(group: str, root: str, known: bool) -> None:
    assert is_in_sight(group, root) is known


@pytest.mark.parametrize(
    ("group", "around"),
    [
        ("/", ["/"]),
        ("/a/b", ["/a/b", "/a", "/"]),
        ("/a/", ["/a", "/"]),
        ("/../a/b", ["/../a/b", "/../a", "/.."]),
        ("/..", ["/.."]),
        ("/..a", ["/..a", "/"]),
    ],
)
def test_the_groups_around_one_end_at_the_root_that_it_is_below(
    group: str, around: list[str]
) -> None:
    assert list(enclosing(group)) == around
