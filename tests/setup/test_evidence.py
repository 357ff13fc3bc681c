"""What is known of a host is what root and packages decide; no user can change it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomrules.roots import Root
from oomrules.setup import evidence, kinds
from oomrules.setup.evidence import Evidence
from tests.dbus.buses import PEER, wait_for
from tests.fake_proc import FakeProc

# Of PyGObject's importer, the first time.
pytestmark = pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning")

Told = Callable[..., Evidence]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Have systemd and logind say what units and sessions there are."""
    peers: list[subprocess.Popen[bytes]] = []

    def ask(units: tuple[str, ...] = (), sessions: tuple[dict[str, Any], ...] = ()) -> Evidence:
        bus = str(tmp_path / f"bus{len(peers)}")
        mode = json.dumps({"units": units, "sessions": sessions})
        argv = ["/usr/bin/python3", "-I", str(PEER), bus, mode]
        peers.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
        wait_for(bus)
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={bus}")
        return evidence.asked(Evidence(has_units=True))

    yield ask
    for process in peers:
        process.kill()
        process.wait()


def found(given: Evidence) -> dict[str, tuple[str, ...]]:
    return {one.kind.name: one.reasons for one in kinds.recognized(given) if one.linked}


def put(root: Path, name: str, text: str = "") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def enable(root: Path, unit: str, wanted: str = "multi-user.target.wants") -> None:
    put(root, f"usr/lib/systemd/system/{unit}", "[Service]\n")
    link = root / "etc/systemd/system" / wanted / unit
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"/usr/lib/systemd/system/{unit}")


# --- systemd and logind ---------------------------------------------------------------------------


def test_services_that_run_are_named(told: Told) -> None:
    seen = told(("postgresql@15-main.service", "nginx.service", "user@1000.service"))
    assert found(seen) == {
        "database": ("postgresql@15-main.service is active",),
        "server": ("nginx.service is active",),
    }
    assert seen.notes == ()


def test_a_graphical_session_at_a_seat_makes_a_desktop(told: Told) -> None:
    seen = told((), ({"uid": 1000, "Seat": "seat0", "Type": "wayland"},))
    assert found(seen) == {"desktop": ("seat0 has a session of type wayland",)}


@pytest.mark.parametrize(
    "session",
    [
        {"uid": 1000, "Type": "x11"},
        {"uid": 1000, "Type": "x11", "Seat": "seat0", "Remote": True},
        {"uid": 1000, "Type": "tty", "Seat": "seat0"},
        {"uid": 1000, "Type": "x11", "Seat": "seat0", "Class": "background"},
    ],
)
def test_no_other_session_does(told: Told, session: dict[str, Any]) -> None:
    assert found(told((), (session,))).keys() == {"server"}


def test_many_users_make_a_login_host_and_one_with_many_sessions_does_not(told: Told) -> None:
    one = tuple({"uid": 1000} for _ in range(40))
    assert found(told((), one)).keys() == {"server"}
    many = tuple({"uid": 1000 + number} for number in range(5))
    assert found(told((), many)) == {"login": ("5 users are logged in",)}


def test_a_bus_that_does_not_answer_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    seen = evidence.asked(Evidence(units={"nginx.service": "nginx.service is enabled"}))
    assert found(seen) == {"server": ("nginx.service is enabled",)}
    assert len(seen.notes) == 1 and "cannot be asked" in seen.notes[0]


# --- files ----------------------------------------------------------------------------------------


def test_services_that_are_enabled_are_named(tmp_path: Path) -> None:
    enable(tmp_path, "docker.service")
    enable(tmp_path, "podman.socket", "sockets.target.wants")
    seen = evidence.of_host(Root(tmp_path))
    assert found(seen) == {
        "container": ("docker.service is enabled", "podman.socket is enabled"),
    }


def test_a_service_that_is_masked_or_gone_is_none(tmp_path: Path) -> None:
    enable(tmp_path, "docker.service")
    (tmp_path / "etc/systemd/system/docker.service").symlink_to("/dev/null")
    enable(tmp_path, "mariadb.service")
    (tmp_path / "usr/lib/systemd/system/mariadb.service").unlink()
    assert found(evidence.of_host(Root(tmp_path))).keys() == {"server"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "var/lib/dpkg/status",
            "Package: postgresql\nStatus: install ok installed\nVersion: 1\n\n"
            "Package: jenkins\nStatus: deinstall ok config-files\n",
        ),
        ("var/lib/pacman/local/postgresql-16.2-1/desc", ""),
        ("lib/apk/db/installed", "C:Q1x\nP:postgresql\nV:1\n\n"),
    ],
)
def test_packages_count_where_no_systemd_says_more(tmp_path: Path, name: str, text: str) -> None:
    put(tmp_path, name, text)
    assert found(evidence.of_host(Root(tmp_path))) == {"database": ("postgresql is installed",)}
    # With systemd the service would be enabled if it mattered.
    enable(tmp_path, "cron.service")
    assert found(evidence.of_host(Root(tmp_path))).keys() == {"server"}


def test_other_inits_are_read(tmp_path: Path) -> None:
    put(tmp_path, "etc/rc2.d/S01mariadb")
    put(tmp_path, "etc/rc2.d/K01nginx")
    put(tmp_path, "etc/runlevels/default/docker")
    assert found(evidence.of_host(Root(tmp_path))) == {
        "database": ("mariadb starts at boot (/etc/rc2.d)",),
        "container": ("docker starts at boot (/etc/runlevels/default)",),
    }


def test_an_empty_host_is_a_server(tmp_path: Path) -> None:
    ((name, reasons),) = found(evidence.of_host(Root(tmp_path))).items()
    assert name == "server" and "no service" in reasons[0]


@pytest.mark.parametrize(("unit", "alone"), [("gdm.service", "desktop"), ("xrdp.service", "login")])
def test_some_kinds_stand_alone(tmp_path: Path, unit: str, alone: str) -> None:
    for name in (unit, "docker.service", "mysql.service", "nginx.service"):
        enable(tmp_path, name)
    seen = kinds.recognized(evidence.of_host(Root(tmp_path)))
    assert {one.kind.name for one in seen} == {alone, "container", "database", "server"}
    assert [one.kind.name for one in seen if one.linked] == [alone]
    assert all(one.why for one in seen if not one.linked)


# --- processes ------------------------------------------------------------------------------------


def test_what_root_and_services_run_is_named(proc: FakeProc) -> None:
    proc.add(10, exe="/usr/sbin/mysqld", uid=0, cgroup=b"0::/\n")
    proc.add(11, exe="/usr/bin/redis-server", uid=104, cgroup=b"0::/system.slice/r.service\n")
    proc.add(12, exe="/usr/bin/nginx (deleted)", uid=0)
    assert evidence.programs(str(proc.root)) == {
        "mysqld": "/usr/sbin/mysqld runs as a system user",
        "redis-server": "/usr/bin/redis-server runs as a system user",
        "nginx": "/usr/bin/nginx runs as a system user",
    }


_GROUPS = (
    *(b"0::/\n", b"0::/system.slice/cron.service\n", b"0::/system.slice/postgresql.service\n"),
    *(b"0::/user.slice/user-1000.slice/session-1.scope\n", b"12:pids:/x\n1:name=systemd:/y\n"),
)
_EXES = ("/usr/lib/postgresql/15/bin/postgres", "/usr/sbin/mysqld", "/home/ann/nginx", "/tmp/gdm3")


@settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.lists(
        st.tuples(
            st.integers(1000, 2**31),
            st.sampled_from([b"postgres", b"gdm3", b"\x1b]0;x", b"dockerd"]),
            st.sampled_from(_EXES),
            st.sampled_from(_GROUPS),
        ),
        max_size=5,
    )
)
def test_no_process_of_a_user_changes_what_is_proposed(
    proc: FakeProc, theirs: list[tuple[int, bytes, str, bytes]]
) -> None:
    proc.add(10, exe="/usr/sbin/nginx", uid=0)
    before = evidence.programs(str(proc.root))
    for number, (uid, comm, exe, cgroup) in enumerate(theirs, 100):
        proc.add(number, comm, uid=uid, exe=exe, cgroup=cgroup, cmdline=b"/usr/sbin/mysqld\0")
    assert evidence.programs(str(proc.root)) == before
    for number in range(100, 100 + len(theirs)):
        proc.remove(number)


def test_neither_does_a_container_nor_a_program_that_a_user_has_put_somewhere(
    proc: FakeProc,
) -> None:
    contained = proc.add(20, exe="/usr/sbin/mysqld", uid=0)
    with (contained / "status").open("a") as status:
        status.write("NSpid:\t20\t1\n")
    proc.add(21, b"mysqld", exe="/home/ann/mysqld", uid=0)
    proc.add(22, b"mysqld", exe="/usr/bin/sleep", uid=0)
    group = b"0::/user.slice/user-104.slice/session-2.scope\n"
    proc.add(23, exe="/usr/sbin/mysqld", uid=104, cgroup=group)
    assert evidence.programs(str(proc.root)).keys() == {"sleep"}
