"""The Debian packages on hosts with systemd: installed, used at a real OOM, upgraded, purged.

`make test-deb-vm` runs this. What a package leaves and gives back is asked of the host itself: all
of its files, the oom_score_adj of all processes, memory.oom.group of all control groups.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from tests.vm import packages
from tests.vm.conftest import show_progress
from tests.vm.guest import Background, Guest
from tests.vm.host import NoGuest
from tests.vm.packages import APT, EARLIER, LATER, NEWER, OURS, SOURCE, VERSION, seen, settings
from tests.vm.service import listed, show, status, wait

RULES = "/etc/oomrules.d"
MINE = f"{RULES}/55-mine.oom"
# Seconds that anything may take: the guest is emulated, and other jobs run beside it.
LONG = 900
GROUP = "/sys/fs/cgroup/system.slice/batch-1.service"
# The greatest process, which takes memory until the one that is to die is gone; without rules it
# is the one that the kernel takes.
TAKE = """
import signal, sys, time
held = [b"x" * (int(sys.argv[1]) << 20)]
def lives(pid):
    try:
        return open(f"/proc/{pid}/cmdline").read()
    except OSError:
        return ""
def more(*_):
    pid = open("/run/until").read().strip()
    while lives(pid):
        held.append(b"x" * (1 << 18))
signal.signal(signal.SIGUSR1, more)
while True:
    signal.pause()
"""
# Without the right for which the module would try a SIGTERM first.
UP = """
set -e
echo 0 > /proc/sys/vm/oom_dump_tasks
for name in worker helper precious; do cp /usr/bin/python3 /srv/$name; done
systemd-run --quiet --unit=precious -p OOMPolicy=continue /srv/precious -S /srv/take.py 150
systemd-run --quiet --unit=batch-1 -p OOMPolicy=continue -p CapabilityBoundingSet=~CAP_SYS_RAWIO \
  bash -c '/srv/helper -S /srv/take.py 1 & exec /srv/worker -S /srv/take.py 25'
for name in worker helper precious; do until pgrep -x $name; do sleep 0.1; done; done
sleep 2
pgrep -x worker > /run/until
"""
ORDER = """
kill whole "batch-*.service"
kill first unit "batch-1.service" by 9
never kill comm "precious"
"""
# Says each 50 ms how long each list is: -1 where there is none.
LOOK = """
import sys, time
while True:
    found = [time.clock_gettime(time.CLOCK_BOOTTIME)]
    for path in sys.argv[1:]:
        try:
            with open(path) as file:
                found.append(len(file.read().split()))
        except OSError:
            found.append(-1)
    print(*found, flush=True)
    open("/run/looking", "w").close()
    time.sleep(0.05)
"""


@pytest.fixture(params=["bookworm", "trixie"], ids=["debian_12", "debian_13"])
def suite(request: pytest.FixtureRequest) -> str:
    show_progress(request.config)
    return str(request.param)


def entered(suite: str, installed: bool) -> Iterator[Guest]:
    try:
        made = packages.guest(suite, installed)
    except NoGuest as why:
        pytest.fail(f"no guest with packages can be had here: {why}", pytrace=False)
    with made as guest:
        yield guest


@pytest.fixture
def host(suite: str) -> Iterator[Guest]:
    """A guest of a test's own, of each suite of Debian; the packages are not installed."""
    yield from entered(suite, installed=False)


@pytest.fixture
def served(suite: str) -> Iterator[Guest]:
    """Likewise, with both packages installed."""
    yield from entered(suite, installed=True)


def apt(guest: Guest, words: str) -> str:
    """Have apt do something; return what it said."""
    done = guest.run(f"{APT} {words} 2>&1", timeout=LONG, check=True)
    return done.stdout


def installed(guest: Guest, *names: str) -> str:
    """Install our packages of these names; return what apt said."""
    files = " ".join(f"{OURS}/{name}_{VERSION}_all.deb" for name in names or ["oomrules"])
    return apt(guest, f"install {files}")


def armed(guest: Guest) -> None:
    """Start the processes, and have a list whose first is the one that is to die."""
    guest.put(TAKE, "/srv/take.py")
    guest.run(UP, check=True, timeout=LONG)


def ruled(guest: Guest) -> None:
    """Write the rules, and wait until they are in force."""
    guest.put(ORDER, MINE)
    wait(lambda: guest.get(f"{GROUP}/memory.oom.group") == b"1\n", LONG)
    assert first(guest) == pids(guest)["worker"]


def first(guest: Guest) -> str:
    """Return who is the first of the list; empty if nobody is."""
    done = guest.run("cut -d ' ' -f 1 /run/oomrules/list", timeout=LONG)
    return done.stdout.strip()


def pids(guest: Guest) -> dict[str, str]:
    """Return the pid of each of the processes that lives."""
    script = "for n in worker helper precious; do p=$(pgrep -x $n) && echo $n $p; done; true"
    return dict(
        line.split() for line in guest.run(script, check=True, timeout=LONG).stdout.splitlines()
    )


def exhausted(guest: Guest) -> None:
    """Let memory run out, until the first of the list is gone."""
    guest.run("pkill -USR1 -x precious", check=True, timeout=LONG)
    wait(lambda: "worker" not in pids(guest), LONG)
    guest.run("sleep 2", check=True)


def told(guest: Guest) -> set[str]:
    """Return who was taken, as history has it, once it has the one that was to die."""
    said = json.loads(guest.run("oomrules history --format json", timeout=LONG, check=True).stdout)
    names = {one["comm"] for one in said["kills"]}
    return names if "worker" in names else set()


def expect_as_before(before: packages.Host, guest: Guest) -> None:
    assert packages.differences(before, seen(guest)) == []
    # A process that was started meanwhile has what one of its kind had, or nothing.
    known: dict[str, set[int]] = {}
    for name, value in before.values.items():
        known.setdefault(name.split(" ", 2)[2], {0}).add(value)
    for name, value in settings(guest)[0].items():
        assert value in known.get(name.split(" ", 2)[2], {0}), f"oom_score_adj of {name}"


# --- installed, used, purged ----------------------------------------------------------------------


def test_by_values_the_right_one_dies_and_a_purge_leaves_the_host_as_it_was(host: Guest) -> None:
    armed(host)
    before = seen(host)
    assert not host.run("ls -d /proc/oom", timeout=LONG).stdout
    scores = "for p in /proc/[0-9]*; do echo $(cat $p/oom_score) $(cat $p/comm); done | sort -n"
    assert host.run(f"{scores} 2>/dev/null", timeout=LONG).stdout.split()[-1] == "precious"
    installed(host, "oomrules")
    assert show(host, "ActiveState") == "active" and show(host, "UnitFileState") == "enabled"
    done = host.run("oomrules init --yes", timeout=LONG, check=True)
    assert "linked /etc/oomrules.d/50-server.oom" in done.stdout
    ruled(host)
    precious = f"/proc/{pids(host)['precious']}/oom_score_adj"
    # At -999 it is safe as long as others can be killed.
    wait(lambda: int(host.get(precious)) <= -999, LONG)
    exhausted(host)
    # By the kernel, or by the guard that init has proposed: whole, and nobody else.
    assert set(pids(host)) == {"precious"}
    assert wait(lambda: told(host), LONG) <= {"worker", "helper"}
    assert {kill.comm for kill in host.kills()} <= {"worker", "helper"}
    apt(host, "purge oomrules")
    expect_as_before(before, host)


def test_by_the_module_the_right_one_dies_and_a_purge_leaves_the_host_as_it_was(
    host: Guest,
) -> None:
    armed(host)
    before = seen(host)
    installed(host, "oomrules", "oomrules-dkms")
    assert ": installed" in host.run(f"dkms status oomrules/{VERSION}", timeout=LONG).stdout
    host.run("oomrules init --yes --guard none", timeout=LONG, check=True)
    ruled(host)
    wait(lambda: host.get("/proc/oom").split()[:1] == [pids(host)["worker"].encode()])
    # The kernel's own score of it is the greatest all the while: nothing but the module decides.
    assert host.get(f"/proc/{pids(host)['precious']}/oom_score_adj") == b"0\n"
    exhausted(host)
    assert set(pids(host)) == {"precious"}
    assert wait(lambda: told(host), LONG) <= {"worker", "helper"}
    apt(host, "purge oomrules oomrules-dkms")
    assert not host.run("ls -d /proc/oom /sys/module/oom", timeout=LONG).stdout
    expect_as_before(before, host)


# --- upgraded, downgraded, over `make install` ----------------------------------------------------


class Gap(NamedTuple):
    """How long a list was empty or not there at most, in seconds, and how often it was read."""

    seconds: float
    looks: int


class Looker:
    """Looks at lists of a guest all the while.

    Args:
        guest: where.
        paths: of the lists.
    """

    def __init__(self, guest: Guest, *paths: str) -> None:
        self._guest = guest
        guest.put(LOOK, "/srv/look.py")
        guest.run("rm -f /run/looking", check=True)
        self._running: Background = guest.start(["python3", "-IS", "/srv/look.py", *paths])
        # What follows is not to begin before the first look.
        wait(lambda: guest.run("test -e /run/looking").status == 0, LONG)

    def gaps(self) -> list[Gap]:
        """Stop looking; return the longest gap of each list."""
        self._guest.run(["sleep", "1"], check=True)
        self._running.kill("TERM")
        said = self._running.wait().stdout
        rows = [[float(word) for word in line.split()] for line in said.splitlines()]
        return [_gap([(row[0], row[1 + i]) for row in rows]) for i in range(len(rows[0]) - 1)]


def _gap(looks: list[tuple[float, float]]) -> Gap:
    full = [when for when, length in looks if length > 0]
    assert full and full[0] == looks[0][0] and full[-1] == looks[-1][0], "empty at an end"
    empty = [when for when, length in looks if length <= 0]
    longest = max(
        (b - a for a, b in pairwise(full) if any(a < when < b for when in empty)), default=0
    )
    return Gap(longest, len(looks))


def restart(guest: Guest, *paths: str) -> list[Gap]:
    """Return how long lists are empty at a restart of the service."""
    looker = Looker(guest, *paths)
    guest.run("systemctl restart oomrules", timeout=LONG, check=True)
    return looker.gaps()


def expect_running(guest: Guest, version: str, before: str) -> None:
    """The service of a version runs, and is another process than before."""
    assert guest.run("oomrules --version", check=True, timeout=LONG).stdout.split()[-1] == version
    assert show(guest, "ActiveState") == "active" and show(guest, "MainPID") not in ("0", before)
    assert wait(lambda: status(guest)["rules"]["state"] == "good", LONG)
    assert first(guest) == pids(guest)["worker"]


def test_the_list_is_not_empty_for_longer_than_a_restart_takes(served: Guest) -> None:
    lists = ["/run/oomrules/list", "/proc/oom"]
    armed(served)
    ruled(served)
    usual = restart(served, *lists)
    print(f"a restart: {usual}")
    ours = f"{OURS}/oomrules_{VERSION}_all.deb"
    for files, version in ((f"{NEWER}/*.deb", LATER), (ours, VERSION)):
        pid = show(served, "MainPID")
        looker = Looker(served, *lists)
        apt(served, f"install --allow-downgrades {files}")
        expect_running(served, version, pid)
        gaps = looker.gaps()
        print(f"to version {version}: {gaps}")
        for gap, known in zip(gaps, usual, strict=True):
            # Another restart takes a little longer or less than this one has taken.
            assert gap.seconds <= 2 * known.seconds + 1
        added = served.run("test -e /usr/lib/oomrules/oomrules/added.py", timeout=LONG).status == 0
        assert added == (version == LATER)
        # The module that runs is used as it is; the later one is built in the place of the other.
        dkms = served.run("dkms status", check=True, timeout=LONG).stdout
        assert dkms.count("oomrules/") == 1 and re.search(rf"oomrules/{LATER}, .*: installed", dkms)
        served.run("dpkg --verify oomrules oomrules-dkms && dpkg --audit", check=True, timeout=LONG)


def test_it_takes_the_place_of_a_running_0_1_that_make_install_has_installed(host: Guest) -> None:
    armed(host)
    host.run(f"tar -xf {EARLIER} -C / && systemctl daemon-reload", check=True, timeout=LONG)
    assert host.run("oomrules --version", check=True, timeout=LONG).stdout.split()[-1] == "0.1.0"
    host.put('kill first unit "batch-1.service"\nnever kill comm "precious"\n', MINE)
    host.run("dkms install oomrules/0.1.0 && modprobe oom", check=True, timeout=LONG)
    host.run("systemctl enable --now oomrules", check=True, timeout=LONG)
    wait(lambda: first(host) == pids(host)["worker"], LONG)
    pid = show(host, "MainPID")
    looker = Looker(host, "/run/oomrules/list", "/proc/oom")
    said = installed(host, "oomrules", "oomrules-dkms")
    expect_running(host, VERSION, pid)
    gaps = looker.gaps()
    print(f"from 0.1: {gaps}")
    usual = restart(host, "/run/oomrules/list", "/proc/oom")
    for gap, known in zip(gaps, usual, strict=True):
        assert gap.seconds <= 2 * known.seconds + 1
    # Nothing is doubled: each file that is there is the package's.
    assert "which an earlier `make install` has left" in said
    owned = set(
        host.run("dpkg --listfiles oomrules oomrules-dkms", check=True, timeout=LONG).stdout.split(
            "\n"
        )
    )
    places = "/usr/bin/oomrules /usr/lib/oomrules /usr/lib/oomrules.d /usr/share/doc/oomrules"
    places += " /usr/src/oomrules* /usr/lib/systemd/system/oomrules* /etc/oomrules.d"
    script = f"find {places} ! -type d ! -name '*.pyc'"
    found = set(host.run(script, check=True, timeout=LONG).stdout.split()) - {MINE}
    # Debian 12 has its units by the other name of the folder.
    resolved = {path.replace("/lib/systemd/", "/usr/lib/systemd/") for path in owned} | owned
    assert found <= resolved
    dkms = host.run("dkms status", check=True, timeout=LONG).stdout
    assert "0.1.0" not in dkms and f"oomrules/{VERSION}" in dkms
    # Nothing is shadowed: the command, the unit, and pydbus are those of packages.
    assert (
        host.run("type -P -a oomrules", check=True, timeout=LONG).stdout.split()[0]
        == "/usr/bin/oomrules"
    )
    assert show(host, "FragmentPath") in resolved
    where = (
        "import sys; sys.path.insert(0, '/usr/lib/oomrules'); import pydbus; print(pydbus.__file__)"
    )
    done = host.run(["python3", "-Ic", where], check=True, timeout=LONG)
    assert done.stdout.startswith("/usr/lib/python3/dist-packages/")
    assert "precious" in host.get(MINE).decode()
    apt(host, "purge oomrules oomrules-dkms")
    left = "find /etc /usr /lib/modules/ /var/lib/dkms -name '*oomrules*' ! -name '*agent*'"
    assert host.run(f"{left}; ls -d /run/oomrules", timeout=LONG).stdout == ""


# --- oomrules init --------------------------------------------------------------------------------


def etc(guest: Guest) -> str:
    """Return all of /etc, with contents."""
    script = "find /etc -printf '%p %y %m %l\\n' | sort; find /etc -type f | sort | xargs md5sum"
    return guest.run(script, check=True, timeout=LONG).stdout


def test_init_starts_a_service_that_is_off_and_undo_gives_that_back(served: Guest) -> None:
    served.run("systemctl disable --now oomrules", check=True, timeout=LONG)
    before = etc(served), settings(served)
    done = served.run("oomrules init --yes", timeout=LONG, check=True)
    assert "done: systemctl enable --now oomrules.service" in done.stdout
    assert show(served, "ActiveState") == "active" and show(served, "UnitFileState") == "enabled"
    assert listed(served)
    again = served.run("oomrules init", timeout=LONG, check=True)
    assert "All of that is in place, and nothing is left to do." in again.stdout
    done = served.run("oomrules init --undo", timeout=LONG, check=True)
    assert "done: systemctl disable --now oomrules.service" in done.stdout
    assert show(served, "ActiveState") == "inactive" and show(served, "UnitFileState") == "disabled"
    assert etc(served) == before[0]
    values, _ = settings(served)
    assert [name for name in values if values[name] != before[1][0].get(name, 0)] == []


def test_init_has_a_running_service_take_the_links_and_undo_has_it_let_go(served: Guest) -> None:
    before, pid = etc(served), show(served, "MainPID")
    done = served.run("oomrules init --yes", timeout=LONG, check=True)
    assert "done: systemctl reload oomrules.service" in done.stdout
    wait(lambda: guards(served), LONG)
    done = served.run("oomrules init --undo", timeout=LONG, check=True)
    assert "done: systemctl reload oomrules.service" in done.stdout
    wait(lambda: not guards(served), LONG)
    assert show(served, "MainPID") == pid and show(served, "UnitFileState") == "enabled"
    assert etc(served) == before


def guards(guest: Guest) -> list[Any]:
    """Return the guards that the service has."""
    found: list[Any] = (status(guest).get("guard") or {}).get("guards") or []
    return found


def test_a_removal_keeps_what_was_said_yes_to_and_a_purge_does_not(served: Guest) -> None:
    served.put("[Service]\nExecStart=/usr/bin/sleep 10000\n", "/etc/systemd/system/other.service")
    served.run(
        "oomrules init --yes && oomrules hook --install other.service", timeout=LONG, check=True
    )
    served.run("systemctl start other", check=True, timeout=LONG)
    rules = served.run(f"ls -lA --time-style=+ {RULES}", check=True, timeout=LONG).stdout
    said = apt(served, "remove oomrules")
    # As configuration is: an installation that follows goes on where this one has ended.
    assert served.run(f"ls -lA --time-style=+ {RULES}", check=True, timeout=LONG).stdout == rules
    assert "oomrules init" not in said
    assert (
        served.run("systemctl --failed --plain --no-legend", check=True, timeout=LONG).stdout == ""
    )
    # What other units have of it does no harm.
    served.run("systemctl restart other && systemctl is-active other", check=True, timeout=LONG)
    installed(served)
    assert show(served, "ActiveState") == "active" and wait(lambda: guards(served), LONG)
    done = served.run("oomrules init", timeout=LONG, check=True)
    assert "All of that is in place, and nothing is left to do." in done.stdout
    assert "removed" in served.run("oomrules init --undo", timeout=LONG, check=True).stdout
    served.run("oomrules init --yes", timeout=LONG, check=True)
    apt(served, "purge oomrules")
    left = "ls -d /etc/oomrules* /etc/systemd/system/other.service.d /run/oomrules"
    assert served.run(left, timeout=LONG).stdout == ""
    assert "oomrules" not in served.run("systemctl cat other", check=True, timeout=LONG).stdout
    assert (
        served.run("systemctl --failed --plain --no-legend", check=True, timeout=LONG).stdout == ""
    )


# --- the packages' own tests ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["main", "upgrade"])
def test_autopkgtest_passes(host: Guest, name: str) -> None:
    words = [
        *["autopkgtest", "--no-built-binaries", f"--test-name={name}"],
        "--ignore-restrictions=isolation-machine,breaks-testbed",
        f"{SOURCE}/*.dsc {OURS}/*.deb -- null 2>&1",
    ]
    done = host.run(" ".join(words), timeout=2 * LONG)
    assert re.search(rf"^{name} +PASS", done.stdout, re.MULTILINE), done.stdout[-6000:]
