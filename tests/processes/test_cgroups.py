"""Control groups as the kernel shows them, in every layout there is."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oomrules.processes import cgroups
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.history import Stalls
from oomrules.processes.snapshot import NO_LIMIT, Process
from oomrules.processes.units import placement
from oomrules.processes.values import GETTERS, LIMIT

GIB = 2**30

# --- the group of a process ----------------------------------------------------------

PATHS: dict[str, tuple[str, str | None]] = {
    "v2": ("0::/system.slice/sshd.service\n", "/system.slice/sshd.service"),
    "v2, user session": (
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope\n",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope",
    ),
    "v2, the root": ("0::/\n", "/"),
    "v2, in a container's own namespace": ("0::/init.scope\n", "/init.scope"),
    "hybrid of systemd": (
        "12:memory:/user.slice\n11:pids:/user.slice/user-0.slice/session-3.scope\n"
        "1:name=systemd:/user.slice/user-0.slice/session-3.scope\n"
        "0::/user.slice/user-0.slice/session-3.scope\n",
        "/user.slice/user-0.slice/session-3.scope",
    ),
    "v1 of systemd": (
        "11:memory:/system.slice/cron.service\n4:cpu,cpuacct:/system.slice\n"
        "1:name=systemd:/system.slice/cron.service\n",
        "/system.slice/cron.service",
    ),
    "v1 of systemd without memory accounting": (
        "5:memory:/\n1:name=systemd:/system.slice/cron.service\n",
        "/system.slice/cron.service",
    ),
    "v1 of docker": (
        "".join(
            f"{n}:{name}:/docker/0123456789ab\n"
            for n, name in ((9, "pids"), (8, "cpuset"), (7, "memory"), (1, "name=systemd"))
        ),
        "/docker/0123456789ab",
    ),
    "v1 of docker without systemd": (
        "7:memory:/docker/0123456789ab\n4:cpu,cpuacct:/docker/0123456789ab\n0::/\n",
        "/docker/0123456789ab",
    ),
    "v1 of Kubernetes": (
        "8:memory:/kubepods/burstable/pod1-2/abc\n1:name=systemd:/kubepods/burstable/pod1-2/abc\n",
        "/kubepods/burstable/pod1-2/abc",
    ),
    "WSL, all at the root": (
        "13:rdma:/\n12:pids:/\n6:memory:/\n1:name=systemd:/\n0::/\n",
        "/",
    ),
    "memory beside something else": ("7:blkio,memory:/a\n0::/\n", "/a"),
    "no controller of memory": ("3:cpu:/a\n", "/"),
    "a name with colons": ("0::/a:b/c::d.service\n", "/a:b/c::d.service"),
    "a name that is no text": ("0::/caf\udce9\n", "/caf\udce9"),
    "systemd at the root, group in v2": ("1:name=systemd:/\n0::/a.slice\n", "/a.slice"),
    "nothing": ("", None),
    "nonsense": ("nonsense\n\n::\n", "/"),
}


@pytest.mark.parametrize("case", PATHS)
def test_the_group_of_a_process_is_found_as_systemd_sees_it(case: str) -> None:
    lines, expected = PATHS[case]
    assert Hierarchy().path_of(lines.encode("utf-8", "surrogateescape")) == expected


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_a_group_cannot_be_named_so_that_it_looks_like_another(end: str) -> None:
    """Users name groups below their own; the kernel forbids only newlines and slashes."""
    path = f"/user.slice/x{end}0::/system.slice/sshd.service"
    found = Hierarchy().path_of(f"0::{path}\n".encode())
    assert found is not None and found.startswith("/user.slice/x")
    assert placement(found).unit == "user.slice"


# --- layouts -------------------------------------------------------------------------


class Tree:
    """A cgroup file system in a temporary directory."""

    def __init__(self, directory: Path, lines: str) -> None:
        self.directory = directory
        self.mounts = directory / "mounts"
        self.mounts.write_text(lines.replace("/sys/fs/cgroup", str(directory / "cg")))
        (directory / "cg").mkdir()

    def put(self, path: str, **figures: str) -> None:
        """Write files into a group; two underscores stand for a dot."""
        group = self.directory / "cg" / path.lstrip("/")
        group.mkdir(parents=True, exist_ok=True)
        for name, text in figures.items():
            (group / name.replace("__", ".")).write_text(text)

    def open(self) -> Hierarchy:
        return Hierarchy(str(self.mounts))

    def scope(self, path: str) -> cgroups.LiveScope:
        scope = self.open().scope(path)
        assert scope
        return scope


V2 = (
    "22 1 0:21 / /proc rw,relatime shared:5 - proc proc rw\n"
    "26 23 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
)
V1 = (
    "26 23 0:22 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n"
    "27 26 0:23 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd\n"
    "28 26 0:24 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
    "29 26 0:25 / /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory\n"
)
HYBRID = V1 + "30 26 0:26 / /sys/fs/cgroup/unified rw shared:13 - cgroup2 cgroup2 rw\n"
NONE = "22 1 0:21 / /proc rw,relatime shared:5 - proc proc rw\n"


@pytest.mark.parametrize(
    ("lines", "layout"), [(V2, "v2"), (V1, "v1"), (HYBRID, "hybrid"), (NONE, "none"), ("", "none")]
)
def test_the_layout_is_read_from_the_mounts(lines: str, layout: str, tmp_path: Path) -> None:
    assert Tree(tmp_path, lines).open().layout == layout


def test_a_hybrid_whose_memory_is_in_v2_is_v2(tmp_path: Path) -> None:
    lines = V2 + "31 1 0:31 / /run/v1/freezer rw - cgroup cgroup rw,freezer\n"
    tree = Tree(tmp_path, lines)
    tree.put("a", memory__current="7\n")
    assert tree.open().layout == "v2"
    assert tree.scope("/a").get("memory") == 7


def test_without_mounts_nothing_is_known_and_nothing_raised(tmp_path: Path) -> None:
    hierarchy = Hierarchy(str(tmp_path / "missing"))
    assert hierarchy.layout == "none"
    scope = hierarchy.scope("/a")
    assert scope and {scope.get(key) for key in cgroups.FIGURES} == {None}


def test_a_mount_point_may_hold_a_space(tmp_path: Path) -> None:
    (tmp_path / "c g" / "a").mkdir(parents=True)
    (tmp_path / "c g" / "a" / "memory.current").write_text("7\n")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"26 1 0:22 / {tmp_path}/c\\040g rw - cgroup2 cgroup2 rw\n")
    scope = Hierarchy(str(mounts)).scope("/a")
    assert scope and scope.get("memory") == 7


# --- figures -------------------------------------------------------------------------

PSI = (
    "some avg10=1.25 avg60=0.50 avg300=0.10 total=123\n"
    "full avg10=0.75 avg60=0.00 avg300=0.00 total=23\n"
)
EVENTS = "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n"


def figures(tree: Tree, path: str) -> dict[str, Any]:
    scope = tree.scope(path)
    return {key: scope.get(key) for key in cgroups.FIGURES}


def test_every_figure_of_v2_is_read(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2)
    tree.put(
        "/a.slice/b.service",
        memory__current="1048576\n",
        memory__max="2097152\n",
        memory__high="1572864\n",
        memory__min="4096\n",
        memory__low="max\n",
        **{"memory.swap.current": "4096\n", "memory.swap.max": "8192\n"},
        memory__pressure=PSI,
        memory__events=EVENTS,
    )
    assert figures(tree, "/a.slice/b.service") == {
        "memory": 1048576,
        "memory_max": 2097152,
        "memory_high": 1572864,
        "memory_min": 4096,
        "memory_low": NO_LIMIT,
        "swap": 4096,
        "swap_max": 8192,
        "pressure": 1.25,
        # It takes two looks.
        "stall": None,
        "oom_kills": 5,
    }


def v1_files(memory: int, limit: int, both: int | None) -> dict[str, str]:
    files = {
        "memory.usage_in_bytes": f"{memory}\n",
        "memory.limit_in_bytes": f"{limit}\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 9\n",
    }
    return files | ({} if both is None else {"memory.memsw.usage_in_bytes": f"{both}\n"})


@pytest.mark.parametrize(("lines", "pressure"), [(V1, None), (HYBRID, 1.25)])
def test_every_figure_of_v1_is_read_and_pressure_comes_from_v2(
    lines: str, pressure: float | None, tmp_path: Path
) -> None:
    tree = Tree(tmp_path, lines)
    tree.put("/memory/a.service", **v1_files(1000, 5000, 1700))
    tree.put("/unified/a.service", memory__pressure=PSI)
    assert figures(tree, "/a.service") == {
        "memory": 1000,
        "memory_max": 5000,
        "memory_high": NO_LIMIT,
        "memory_min": 0,
        "memory_low": 0,
        "swap": 700,
        "swap_max": NO_LIMIT,
        "pressure": pressure,
        "stall": None,
        "oom_kills": 9,
    }


def test_swap_of_v1_is_unknown_without_its_accounting_and_never_negative(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V1)
    tree.put("/memory/a", **v1_files(1000, 5000, None))
    tree.put("/memory/b", **v1_files(1000, 5000, 900))
    assert figures(tree, "/a")["swap"] is None
    assert figures(tree, "/b")["swap"] == 0


def test_the_limit_of_swap_of_v1_is_what_both_have_beyond_memory(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V1)
    tree.put("/memory/a", **v1_files(1, 5000, 1), **{"memory.memsw.limit_in_bytes": "7000\n"})
    assert figures(tree, "/a")["swap_max"] == 2000


@pytest.mark.parametrize("page", [4096, 16384, 65536])
def test_no_limit_is_the_same_value_in_every_layout(page: int, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    first, second = Tree(tmp_path / "1", V1), Tree(tmp_path / "2", V2)
    # The page counter's maximum, rounded down to a page: 9223372036854771712 for 4 KiB.
    first.put("/memory/a", **v1_files(1, (2**63 - 1) // page * page, None))
    second.put("/a", memory__max="max\n", memory__high="max\n")
    assert figures(first, "/a")["memory_max"] == NO_LIMIT
    assert figures(second, "/a")["memory_max"] == NO_LIMIT
    assert figures(second, "/a")["memory_high"] == NO_LIMIT


def test_a_group_without_the_memory_controller_has_no_limit_and_no_figures(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2)
    tree.put("/a", cgroup__procs="1\n")
    assert figures(tree, "/a") == {
        "memory": None,
        "memory_max": NO_LIMIT,
        "memory_high": NO_LIMIT,
        "memory_min": 0,
        "memory_low": 0,
        "swap": None,
        "swap_max": NO_LIMIT,
        "pressure": None,
        "stall": None,
        "oom_kills": None,
    }


def test_a_group_that_is_gone_is_unknown_in_everything(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert set(figures(Tree(tmp_path / "2", V2), "/gone").values()) == {None}
    # v1 has no high limit and keeps nothing for a group, wherever one looks.
    assert set(figures(Tree(tmp_path / "1", V1), "/gone").values()) == {None, NO_LIMIT, 0}


NONSENSE = ["", "\n", "x\n", "12 34\n", "-\n", "9" * 5000, "\xff"]


@pytest.mark.parametrize("content", NONSENSE)
@pytest.mark.parametrize("layout", [V2, V1])
def test_a_figure_that_makes_no_sense_is_unknown(content: str, layout: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path, layout)
    names = (
        "current max high min low swap.current pressure events usage_in_bytes limit_in_bytes "
        "oom_control"
    )
    files = {f"memory.{name}": content for name in names.split()}
    tree.put("/a" if layout == V2 else "/memory/a", **files)
    found = figures(tree, "/a")
    # v1 keeps nothing for a group.
    none = {} if layout == V2 else {"memory_min": 0, "memory_low": 0}
    assert {key: value for key, value in found.items() if value not in (None, NO_LIMIT)} == none
    assert found["memory_max"] is None


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2)
    tree.put("/a")
    names = "current max high min low swap.current swap.max pressure events"
    for name in names.split():
        (tmp_path / "cg" / "a" / f"memory.{name}").mkdir()
    assert set(figures(tree, "/a").values()) == {None}


@pytest.mark.parametrize("lines", [V2, HYBRID])
def test_the_stall_of_a_group_is_the_share_of_what_all_its_tasks_waited(
    lines: str, tmp_path: Path
) -> None:
    tree, stalls = Tree(tmp_path, lines), Stalls()
    group = "/a" if lines == V2 else "/unified/a"
    tree.put("/memory/a", cgroup__procs="1\n")
    found = []
    for at, total in ((10.0, 1000), (10.5, 301_000), (11.0, 501_000), (12.5, 501_000)):
        tree.put(group, memory__pressure=f"{PSI.rpartition('=')[0]}={total}\n")
        scope = tree.open().scope("/a", stalls.of("/a", at))
        assert scope is not None
        found.append(scope.get("stall"))
    assert found == [None, None, 50.0, 0.0]


def test_a_figure_is_read_once_so_that_one_ranking_sees_one_value(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2)
    tree.put("/a", memory__current="1\n")
    scope = tree.scope("/a")
    assert scope.get("memory") == 1
    tree.put("/a", memory__current="2\n")
    assert scope.get("memory") == 1
    assert tree.scope("/a").get("memory") == 2


# --- the nearest limit ---------------------------------------------------------------


def limit(tree: Tree, path: str | None, ram: int = 64 * GIB) -> int | None:
    hierarchy = tree.open()
    host = SimpleNamespace(mem_total=ram, unit_root="", totalpages=None, unknown=frozenset())
    snapshot: Any = SimpleNamespace(host=host, scope=hierarchy.scope)
    process = Process(7)
    process.cgroup = path
    found: int | None = GETTERS[LIMIT](process, snapshot)
    return found


def limits(tmp_path: Path, lines: str = V2, **of: str) -> Tree:
    tree = Tree(tmp_path, lines)
    for path, text in of.items():
        tree.put(path.replace("_", "/"), memory__max=f"{text}\n")
    return tree


def test_the_nearest_limit_counts_even_where_an_outer_one_is_lower(tmp_path: Path) -> None:
    tree = limits(tmp_path, a=str(GIB), a_b=str(4 * GIB), a_b_c="max")
    assert limit(tree, "/a/b/c") == 4 * GIB
    assert limit(tree, "/a/b") == 4 * GIB
    assert limit(tree, "/a") == GIB


def test_without_a_limit_it_is_the_memory_of_the_host(tmp_path: Path) -> None:
    tree = limits(tmp_path, a="max", a_b="max")
    assert limit(tree, "/a/b") == 64 * GIB
    assert limit(tree, "/") == 64 * GIB


def test_no_limit_of_v1_is_none_as_well(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V1)
    tree.put("/memory/a", **v1_files(1, 2 * GIB, None))
    tree.put("/memory/a/b", **v1_files(1, (2**63 - 1) // 4096 * 4096, None))
    tree.put("/memory", **v1_files(1, (2**63 - 1) // 4096 * 4096, None))
    assert limit(tree, "/a/b") == 2 * GIB
    assert limit(tree, "/") == 64 * GIB


def test_a_limit_that_cannot_be_read_makes_the_nearest_one_unknown(tmp_path: Path) -> None:
    tree = limits(tmp_path, a=str(GIB), a_b="nonsense", a_b_c="max")
    assert limit(tree, "/a/b/c") is None
    assert limit(tree, "/a") == GIB
    assert limit(tree, "/a/gone") is None
    assert limit(tree, None) is None


def test_a_container_s_own_limit_is_at_the_root_that_it_sees(tmp_path: Path) -> None:
    """In a control group namespace the root is the container's group, with its limit."""
    tree = Tree(tmp_path, V2)
    tree.put("/", memory__max=f"{GIB}\n")
    tree.put("/app", memory__max="max\n")
    assert limit(tree, "/app") == GIB
    assert limit(tree, "/") == GIB


def test_this_host_is_read_without_an_error() -> None:
    path = Hierarchy().path_of(Path("/proc/self/cgroup").read_bytes())
    assert path is not None and path.startswith("/")
    scope = Hierarchy().scope(path)
    assert scope
    for key in cgroups.FIGURES:
        value = scope.get(key)
        assert value is None or value >= 0


def test_the_limit_of_a_group_whose_name_is_no_text_is_known(tmp_path: Path) -> None:
    tree = limits(tmp_path, a="max")
    path = Hierarchy().path_of(b"0::/a/caf\xe9.service\n")
    assert path is not None
    group = os.fsencode(tmp_path / "cg") + b"/a/caf\xe9.service"
    os.mkdir(group)
    with open(group + b"/memory.max", "w") as file:
        file.write(f"{GIB}\n")
    assert limit(tree, path) == GIB
    assert limit(tree, path + "/gone") is None


def test_mounts_are_read_one_by_one(tmp_path: Path) -> None:
    """Users mount too: each FUSE file system is a line."""
    mounts = tmp_path / "mounts"
    lines = [f"{n} 1 0:{n} / /home/u/{'m' * 4000}{n} rw - fuse x rw\n" for n in range(100, 1100)]
    mounts.write_bytes("".join(lines).encode() + b"99 1 0:9 / /\xff rw - y z rw\n" + V2.encode())
    tracemalloc.start()
    try:
        assert Hierarchy(str(mounts)).layout == "v2"
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


# --- what the kernel's killer divides by ---------------------------------------------


def totalpages(tree: Tree, path: str, swappiness: int | None = 60) -> int | None:
    hierarchy = tree.open()
    host = SimpleNamespace(
        mem_total=8 * GIB,
        swap_total=2 * GIB,
        page_size=4096,
        unit_root="",
        swappiness=swappiness,
        totalpages=None,
        unknown=frozenset(),
    )
    snapshot: Any = SimpleNamespace(host=host, scope=hierarchy.scope)
    process = Process(7)
    process.cgroup = path
    found: int | None = GETTERS["totalpages"](process, snapshot)
    return found if found is None else found * 4096


def test_a_group_has_its_limit_and_the_swap_that_it_may_use(tmp_path: Path) -> None:
    """mem_cgroup_get_max(), mm/memcontrol.c."""
    tree = Tree(tmp_path, V2)
    swap_max = "memory.swap.max"
    tree.put("/plain", cgroup__procs="")
    tree.put("/a", memory__max=f"{GIB}\n", **{swap_max: "max\n"})
    tree.put("/a/b", memory__max="max\n", **{swap_max: "0\n"})
    tree.put("/c", memory__max=f"{GIB}\n", **{swap_max: f"{GIB // 2}\n"})
    # The host runs out before this one does.
    tree.put("/c/d", memory__max=f"{8 * GIB}\n", **{swap_max: "0\n"})
    tree.put("/wide", memory__max=f"{9 * GIB}\n", **{swap_max: "0\n"})
    tree.put("/none", memory__max="0\n", **{swap_max: "0\n"})
    expected = {
        "/plain": 10 * GIB,
        "/a": 3 * GIB,
        "/a/b": 3 * GIB,
        "/c": GIB + GIB // 2,
        "/c/d": GIB + GIB // 2,
        "/wide": 10 * GIB,
        "/none": 4096,
        "/gone": None,
    }
    assert {path: totalpages(tree, path) for path in expected} == expected
    assert totalpages(tree, "/a", swappiness=0) == GIB
    assert totalpages(tree, "/plain", swappiness=0) == 10 * GIB
    assert totalpages(tree, "/a", swappiness=None) == 3 * GIB


def test_a_group_of_v1_has_its_limit_of_memory_and_swap(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V1)
    both = {"memory.memsw.limit_in_bytes": f"{GIB + GIB // 2}\n"}
    tree.put("/memory/a", **v1_files(1, GIB, 1), **both)
    tree.put("/memory/b", **v1_files(1, GIB, 1), **both, memory__swappiness="0\n")
    tree.put("/memory/c", **v1_files(1, GIB, None), memory__swappiness="60\n")
    assert totalpages(tree, "/a") == GIB + GIB // 2
    # Its own swappiness counts, whatever that of the host is.
    assert totalpages(tree, "/b") == GIB
    assert totalpages(tree, "/c", swappiness=0) == 3 * GIB
