"""Where a control group stands among systemd's units."""

from __future__ import annotations

import tracemalloc

import pytest

from oomrules.processes.units import placement

MANAGER = "/user.slice/user-1000.slice/user@1000.service"

# The path; the units around it, outermost first; the innermost slice; the unit's own path.
CASES: dict[str, tuple[list[str], str, str]] = {
    "/": (["-.slice"], "-.slice", "/"),
    "": (["-.slice"], "-.slice", "/"),
    "/init.scope": (["-.slice", "init.scope"], "-.slice", "/init.scope"),
    "/system.slice/sshd.service": (
        ["-.slice", "system.slice", "sshd.service"],
        "system.slice",
        "/system.slice/sshd.service",
    ),
    "/system.slice": (["-.slice", "system.slice"], "system.slice", "/system.slice"),
    "/system.slice/system-getty.slice/getty@tty1.service": (
        ["-.slice", "system.slice", "system-getty.slice", "getty@tty1.service"],
        "system-getty.slice",
        "/system.slice/system-getty.slice/getty@tty1.service",
    ),
    "/system.slice/sshd.service/sub/deeper": (
        ["-.slice", "system.slice", "sshd.service"],
        "system.slice",
        "/system.slice/sshd.service",
    ),
    "/user.slice/user-1000.slice/session-2.scope": (
        ["-.slice", "user.slice", "user-1000.slice", "session-2.scope"],
        "user-1000.slice",
        "/user.slice/user-1000.slice/session-2.scope",
    ),
    "/user.slice/user-1000.slice/user@1000.service": (
        ["-.slice", "user.slice", "user-1000.slice", "user@1000.service"],
        "user-1000.slice",
        "/user.slice/user-1000.slice/user@1000.service",
    ),
    "/user.slice/user-1000.slice/user@1000.service/init.scope": (
        ["-.slice", "user.slice", "user-1000.slice", "user@1000.service", "init.scope"],
        "user-1000.slice",
        "/user.slice/user-1000.slice/user@1000.service/init.scope",
    ),
    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-x-1.scope": (
        [
            *("-.slice", "user.slice", "user-1000.slice", "user@1000.service", "app.slice"),
            "app-gnome-x-1.scope",
        ],
        "app.slice",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-x-1.scope",
    ),
    # systemd before 246 had no app.slice.
    "/user.slice/user-1000.slice/user@1000.service/dbus.service": (
        ["-.slice", "user.slice", "user-1000.slice", "user@1000.service", "dbus.service"],
        "user-1000.slice",
        "/user.slice/user-1000.slice/user@1000.service/dbus.service",
    ),
    # A terminal puts each tab into a group of its own below its scope.
    "/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope/tab.scope/x.service": (
        ["-.slice", "user.slice", "user-1000.slice", "user@1000.service", "app.slice", "a.scope"],
        "app.slice",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope",
    ),
    # Containers: the units inside are not this host's.
    "/system.slice/docker-0a1b.scope/system.slice/sshd.service": (
        ["-.slice", "system.slice", "docker-0a1b.scope"],
        "system.slice",
        "/system.slice/docker-0a1b.scope",
    ),
    "/machine.slice/libpod-0a1b.scope/container/init.scope": (
        ["-.slice", "machine.slice", "libpod-0a1b.scope"],
        "machine.slice",
        "/machine.slice/libpod-0a1b.scope",
    ),
    "/machine.slice/systemd-nspawn@web.service/payload/system.slice/sshd.service": (
        ["-.slice", "machine.slice", "systemd-nspawn@web.service"],
        "machine.slice",
        "/machine.slice/systemd-nspawn@web.service",
    ),
    "/docker/0a1b2c": (["-.slice"], "-.slice", "/"),
    "/docker/0a1b2c/system.slice/sshd.service": (["-.slice"], "-.slice", "/"),
    "/lxc.payload.web/system.slice/sshd.service": (["-.slice"], "-.slice", "/"),
    "/kubepods.slice/kubepods-burstable.slice/cri-containerd-1.scope": (
        ["-.slice", "kubepods.slice", "kubepods-burstable.slice", "cri-containerd-1.scope"],
        "kubepods-burstable.slice",
        "/kubepods.slice/kubepods-burstable.slice/cri-containerd-1.scope",
    ),
    # A service that calls itself a manager inside a container is none of this host.
    "/system.slice/docker-0a1b.scope/user@0.service/sshd.service": (
        ["-.slice", "system.slice", "docker-0a1b.scope"],
        "system.slice",
        "/system.slice/docker-0a1b.scope",
    ),
    # systemd hides names that the kernel would take for files behind an underscore.
    "/system.slice/_cgroup.service": (
        ["-.slice", "system.slice", "cgroup.service"],
        "system.slice",
        "/system.slice/_cgroup.service",
    ),
    "/_memory.slice/_tasks": (["-.slice", "memory.slice"], "memory.slice", "/_memory.slice"),
    # Others it leaves alone: who makes such a group has no second unit of a name.
    f"{MANAGER}/_init.scope": (
        ["-.slice", "user.slice", "user-1000.slice", "user@1000.service", "_init.scope"],
        "user-1000.slice",
        f"{MANAGER}/_init.scope",
    ),
    "/__x.slice/y.service": (
        ["-.slice", "_x.slice", "y.service"],
        "_x.slice",
        "/__x.slice/y.service",
    ),
    # Other kinds of units, and names with escapes.
    "/system.slice/cups.socket": (
        ["-.slice", "system.slice", "cups.socket"],
        "system.slice",
        "/system.slice/cups.socket",
    ),
    r"/system.slice/dev-disk\x2d1.swap": (
        ["-.slice", "system.slice", r"dev-disk\x2d1.swap"],
        "system.slice",
        r"/system.slice/dev-disk\x2d1.swap",
    ),
    "/system.slice/home.mount": (
        ["-.slice", "system.slice", "home.mount"],
        "system.slice",
        "/system.slice/home.mount",
    ),
    "/system.slice/x.timer": (["-.slice", "system.slice"], "system.slice", "/system.slice"),
    "/system.slice/sshd": (["-.slice", "system.slice"], "system.slice", "/system.slice"),
    "/plain/system.slice/x.service": (["-.slice"], "-.slice", "/"),
}


@pytest.mark.parametrize("path", CASES)
def test_a_group_belongs_to_the_units_that_systemd_would_name(path: str) -> None:
    chain, slice_, own = CASES[path]
    found = placement(path)
    assert list(found.chain) == chain
    assert found.slice == slice_
    assert found.path == own


@pytest.mark.parametrize("path", CASES)
def test_the_unit_is_the_innermost_or_nothing_outside_every_unit(path: str) -> None:
    chain = CASES[path][0]
    assert placement(path).unit == (chain[-1] if len(chain) > 1 else "")


@pytest.mark.parametrize("path", [path for path in CASES if path.strip("/")])
def test_a_slash_at_the_end_changes_nothing(path: str) -> None:
    assert placement(path + "/") == placement(path)


@pytest.mark.parametrize("path", CASES)
@pytest.mark.parametrize("root", ["/outer.slice/box.service", "/lxc/c1", "/../.."])
def test_units_begin_where_systemd_does(path: str, root: str) -> None:
    found, plain = placement(root + path, root), placement(path)
    while plain.above is not None and found.above is not None:
        assert found[:3] == plain[:3] and found.path == root + plain.path
        found, plain = found.above, plain.above
    assert found.above is None is plain.above and found.path == root
    for elsewhere in (path, f"{root}x{path}"):
        assert placement(elsewhere, root) == placement(root, root) == found


@pytest.mark.parametrize("path", CASES)
def test_what_is_below_a_unit_is_in_that_unit(path: str) -> None:
    found = placement(path)
    if found.unit and not found.unit.startswith("user@") and not found.unit.endswith(".slice"):
        assert placement(f"{path}/below/more.service") == found


@pytest.mark.parametrize("depth", [31, 32, 500])
def test_units_below_the_31st_count_for_nothing(depth: int) -> None:
    """Below a group that was delegated to him anybody makes as many as he likes."""
    found = placement("/a.slice" * depth + "/x.service")
    assert found.chain == ("-.slice", *["a.slice"] * 31)
    assert found.path == "/a.slice" * 31
    assert placement("/a.slice" * 30 + "/x.service").unit == "x.service"


def test_a_path_as_long_as_the_kernel_says_it_costs_little() -> None:
    """What is kept of a path must not grow with the square of its length."""
    tracemalloc.start()
    try:
        kept = [placement(f"/u{number}.slice" + "/a.slice" * 500) for number in range(100)]
        assert tracemalloc.get_traced_memory()[0] < 100 * 50_000
    finally:
        tracemalloc.stop()
    assert len(kept) == 100


def test_a_name_that_is_no_text_is_shown_and_the_path_opens_its_files() -> None:
    path = "/system.slice/caf\udce9.service"
    found = placement(path)
    assert found.unit == "caf\\xe9.service"
    assert found.path == path
    assert placement("/system.slice/caf\u00e9.service").unit == "caf\u00e9.service"


@pytest.mark.parametrize(
    ("path", "system", "slice_", "of_user", "slice_of_user"),
    [
        ("/", "", "-.slice", "", ""),
        ("/system.slice/a.service", "a.service", "system.slice", "", ""),
        (MANAGER, "user@1000.service", "user-1000.slice", "", ""),
        (f"{MANAGER}/below", "user@1000.service", "user-1000.slice", "", ""),
        (f"{MANAGER}/init.scope", "user@1000.service", "user-1000.slice", "init.scope", ""),
        (f"{MANAGER}/a.slice", "user@1000.service", "user-1000.slice", "a.slice", "a.slice"),
        (
            f"{MANAGER}/a.slice/a-b.slice/x.service/y.service",
            *("user@1000.service", "user-1000.slice", "x.service", "a-b.slice"),
        ),
        # A user cannot have a manager inside of the manager.
        (
            f"{MANAGER}/user-0.slice/user@0.service/sshd.service",
            *("user@1000.service", "user-1000.slice", "user@0.service", "user-0.slice"),
        ),
    ],
)
def test_units_of_a_user_are_told_from_the_system_s(
    path: str, system: str, slice_: str, of_user: str, slice_of_user: str
) -> None:
    place = placement(path)
    assert (place.system.unit, place.system.slice) == (system, slice_)
    assert (place.user_unit, place.user_slice) == (of_user, slice_of_user)


def test_half_a_character_of_a_recording_is_shown_by_its_number() -> None:
    assert placement("/system.slice/\ud800.service").unit == "\\ud800.service"
