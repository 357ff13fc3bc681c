"""The Debian packages: built, installed, used, removed; and over an earlier `make install`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import oomrules
from tests.fresh.root import Root
from tests.packages.building import APT, WHERE, Machine, must, packages, unpack

VERSION = oomrules.__version__
UNITS = Path(__file__).resolve().parents[2] / "systemd"
BOTH = pytest.mark.parametrize("suite", ["bookworm", "trixie"], ids=["debian_12", "debian_13"])
# What the packages need of Debian; the rest of what apt brings along comes with these.
NEEDED = "python3 python3-gi python3-pydbus dkms"
# What apt, dpkg and dkms keep of every package that was ever there.
KEPT = (
    "/var/cache/apt/",
    "/var/lib/apt/",
    "/var/log/",
    "/var/lib/dpkg/",
    "/var/cache/debconf/",
    "/var/cache/ldconfig/",
    "/var/lib/systemd/deb-systemd-helper-enabled",
)
# Path, kind, mode, owner, and contents or target of every file of this machine's own disk.
LIST = (
    "find / -xdev -path /srv/packages -prune -o -printf '%p\\t%y\\t%m\\t%U:%G\\t%l\\n' | sort; "
    "find / -xdev -path /srv/packages -prune -o -type f -print0 | sort -z | "
    "xargs -0 sha256sum | sed 's/^/sum /'"
)
RULES = 'spare comm "mine"\n'


def disk(machine: Root) -> set[str]:
    """Return a line for each file of the machine, but for what apt itself keeps."""

    def lines() -> Iterator[str]:
        for line in must(machine, LIST).splitlines():
            path = line.split("  ", 1)[1] if line.startswith("sum ") else line.split("\t")[0]
            if not path.startswith(KEPT):
                yield line

    return set(lines())


@BOTH
def test_lintian_has_nothing_to_say(suite: str) -> None:
    said = packages(suite).said
    assert (said.code, said.output) == (0, "")


@BOTH
def test_they_are_the_same_byte_for_byte_when_built_elsewhere(suite: str) -> None:
    made = packages(suite)
    assert {f"oomrules_{VERSION}_all.deb", f"oomrules-dkms_{VERSION}_all.deb"} < set(made.files)
    assert [name for name in made.files if made.files[name] != made.again[name]] == []


@BOTH
def test_they_are_installed_used_and_purged_without_a_trace(suite: str, machine: Machine) -> None:
    debs = packages(suite)
    bare = machine(suite)
    must(bare, "useradd --create-home --shell /bin/bash anna")
    must(bare, f"apt-get -qq update && {APT} install --no-install-recommends {NEEDED}")
    before = disk(bare)
    must(bare, f"{APT} install --no-install-recommends {debs.put(bare)}")
    must(bare, "dpkg --verify oomrules oomrules-dkms && dpkg --audit")
    link = "/etc/systemd/system/multi-user.target.wants/oomrules.service"
    must(bare, f"test -e {link} && ! test -e {link.replace('oomrules.', 'oomrules-apply.')}")
    for user in ("root", "anna"):
        assert VERSION in must(bare, "oomrules --version", user=user)
        must(bare, "gzip -t /usr/share/man/man1/oomrules-check.1.gz", user=user)
        assert "nothing to complain about" in must(bare, "oomrules check", user=user)
        ranking = json.loads(must(bare, "oomrules rank --format json 2>/dev/null", user=user))
        assert ranking["candidates"], user
    assert VERSION in must(bare, f"dkms status -m oomrules -v {VERSION}")
    # The state, links, rules, settings and drop-ins that an administrator makes.
    bare.put("/etc/oomrules.d/50-mine.oom", RULES.encode())
    bare.put("/etc/oomrules.conf", b"")
    bare.put("/var/lib/oomrules/snapshots/host.jsonl", b"{}")
    bare.put("/etc/oomrules/hooks.d/mine", b"#!/bin/sh\n")
    bare.put("/etc/systemd/system/some.service.d/50-oomrules.conf", b"[Service]\n")
    must(bare, "ln -s /usr/lib/oomrules.d/presets/server.oom /etc/oomrules.d/60-server.oom")
    must(bare, "oomrules check")
    assert RULES.strip() in must(bare, "oomrules cat")
    # What is removed keeps the administrator's files, until it is purged.
    said = must(bare, f"{APT} remove oomrules oomrules-dkms")
    assert "nothing is adjusted" in said
    must(bare, "test -f /etc/oomrules.d/50-mine.oom && ! test -e /usr/lib/oomrules")
    assert "oomrules" not in must(bare, "dkms status")
    must(bare, f"{APT} purge oomrules oomrules-dkms")
    after = disk(bare)
    assert sorted(after - before) == [] and sorted(before - after) == []


@BOTH
def test_they_take_the_place_of_an_earlier_make_install(suite: str, machine: Machine) -> None:
    debs = packages(suite)
    bare = machine(suite)
    unpack(bare)
    must(bare, f"apt-get -qq update && {APT} install --no-install-recommends {NEEDED} python3-pip")
    # An earlier version, with a module and a page that this one has not.
    must(
        bare,
        f"cd {WHERE} && sed -i 's/{VERSION}/0.1.0/' oomrules/__init__.py kernel/oom.c && "
        "touch oomrules/gone.py docs/gone.md && "
        "mkdir -p build/man && touch build/man/oomrules.1 build/man/proc_oom.5 && make install && "
        "dkms add oomrules/0.1.0 && oomrules --version",
    )
    bare.put("/etc/oomrules.d/50-mine.oom", RULES.encode())
    wants = "/etc/systemd/system/multi-user.target.wants"
    unit = "/usr/lib/systemd/system/oomrules-apply.service"
    must(bare, f"mkdir -p {wants} && ln -s {unit} {wants}/")
    said = must(bare, f"{APT} install --no-install-recommends {debs.put(bare)}")
    assert "removing /usr/lib/oomrules/oomrules/gone.py, which" in said
    assert "removing /usr/share/man/man5/proc_oom.5, which" in said
    assert must(bare, "find /usr/share/man ! -type d -name '*oom*[0-9]'") == ""
    assert must(bare, "oomrules --version").strip().endswith(VERSION)
    # Nothing is doubled: each file that is there is the package's.
    owned = set(must(bare, "dpkg --listfiles oomrules oomrules-dkms").split("\n"))
    places = "/usr/lib/oomrules /usr/lib/oomrules.d /usr/share/doc/oomrules /usr/src/oomrules*"
    found = must(bare, f"find {places} ! -type d ! -name '*.pyc'").split("\n")
    assert set(found) <= owned
    assert must(bare, "ls -d /usr/src/oomrules*").split() == [f"/usr/src/oomrules-{VERSION}"]
    assert "0.1.0" not in must(bare, "dkms status")
    must(bare, "dpkg --verify oomrules oomrules-dkms")
    # Nothing is shadowed: pydbus is Debian's.
    where = (
        "import sys; sys.path.insert(0, '/usr/lib/oomrules'); import pydbus; print(pydbus.__file__)"
    )
    assert must(bare, f'python3 -I -c "{where}"').startswith("/usr/lib/python3/dist-packages/")
    # The administrator's rules stay, and the choice of the list that is made once.
    assert bare.read("/etc/oomrules.d/50-mine.oom").decode() == RULES
    must(bare, f"test -L {wants}/oomrules-apply.service && ! test -e {wants}/oomrules.service")
    must(bare, f"{APT} purge oomrules oomrules-dkms")
    left = "find /etc /usr /var/lib/dkms /var/lib/systemd -name '*oomrules*'"
    found = must(bare, left).split()
    assert [path for path in found if not path.startswith(WHERE)] == []


@BOTH
def test_an_upgrade_and_a_downgrade_keep_what_the_administrator_has_chosen(
    suite: str, machine: Machine
) -> None:
    debs = packages(suite)
    bare = machine(suite)
    must(bare, f"apt-get -qq update && {APT} install --no-install-recommends python3")
    deb = debs.put(bare).split()[1]
    # A later version has one file more and one less.
    code = "later/usr/lib/oomrules/oomrules"
    must(
        bare,
        f"cd /root && dpkg-deb --raw-extract {deb} later && "
        "sed -i 's/^Version: .*/Version: 99/' later/DEBIAN/control && "
        f"cp {code}/lean.py {code}/x.py && rm {code}/commands/history.py && "
        "dpkg-deb --root-owner-group --build later later.deb",
    )
    must(bare, f"{APT} install --no-install-recommends {deb}")
    bare.put("/etc/oomrules.d/50-mine.oom", RULES.encode())
    # As `systemctl disable` does.
    link = "/etc/systemd/system/multi-user.target.wants/oomrules.service"
    must(bare, f"rm {link}")
    gone, new = "/usr/lib/oomrules/oomrules/commands/history.py", "/usr/lib/oomrules/oomrules/x.py"
    must(bare, f"{APT} install /root/later.deb && ! test -e {gone} && test -f {new}")
    must(bare, f"{APT} install --allow-downgrades {deb} && test -f {gone} && ! test -e {new}")
    must(bare, f"! test -e {link} && oomrules check && dpkg --verify oomrules")
    assert must(bare, "find /usr/lib/oomrules -path '*__pycache__/x.*'") == ""
    assert bare.read("/etc/oomrules.d/50-mine.oom").decode() == RULES


@BOTH
def test_a_package_that_the_other_release_has_built_is_installed_and_replaced(
    suite: str, machine: Machine
) -> None:
    """As at an upgrade of Debian; of the two, units lie in /lib and in /usr/lib."""
    other = "trixie" if suite == "bookworm" else "bookworm"
    theirs, ours = packages(other), packages(suite)
    bare = machine(suite)
    must(bare, f"apt-get -qq update && {APT} install --no-install-recommends python3")
    for deb in (theirs.put(bare, "/srv/theirs"), ours.put(bare, "/srv/ours")):
        must(bare, f"{APT} install --reinstall --no-install-recommends {deb.split()[1]}")
        must(bare, "oomrules check && dpkg --verify oomrules")
        must(bare, "test -f /usr/lib/systemd/system/oomrules.service")
        must(bare, "test -e /etc/systemd/system/multi-user.target.wants/oomrules.service")


@BOTH
def test_what_lies_in_usr_local_is_named(suite: str, machine: Machine) -> None:
    debs = packages(suite)
    bare = machine(suite)
    unpack(bare)
    must(bare, f"apt-get -qq update && {APT} install --no-install-recommends python3 make")
    must(bare, f"cd {WHERE} && make install PREFIX=/usr/local BUNDLE=")
    deb = debs.put(bare).split()[1]
    said = must(bare, f"{APT} install --no-install-recommends {deb}")
    units = [f"lib/systemd/system/{path.name}" for path in UNITS.iterdir()]
    for path in ("bin/oomrules", "lib/oomrules", *units):
        assert f"/usr/local/{path} is not of this package" in said
    # What is proposed works.
    for line in said.splitlines():
        if "`rm -r /usr/local" in line:
            must(bare, line.split("`")[1].removesuffix(" && systemctl daemon-reload"))
    said = must(bare, f"{APT} install --reinstall --no-install-recommends {deb}")
    assert "is not of this package" not in said
    must(bare, "oomrules check")


@BOTH
def test_dkms_builds_the_module_for_a_kernel_that_is_installed(
    suite: str, machine: Machine
) -> None:
    debs = packages(suite)
    bare = machine(suite)
    headers = "linux-headers-amd64 kmod"
    must(bare, f"apt-get -qq update && {APT} install --no-install-recommends dkms {headers}")
    deb = debs.put(bare).split()[0]
    must(bare, f"{APT} install --no-install-recommends {deb}")
    assert ": installed" in must(bare, f"dkms status -m oomrules -v {VERSION}")
    module = "find /lib/modules/ -name 'oom.ko*'"
    (built,) = must(bare, module).split()
    assert must(bare, f"modinfo -F version {built}").strip() == VERSION
    must(bare, f"{APT} purge oomrules-dkms")
    assert must(bare, module) == "" and "oomrules" not in must(bare, "dkms status")
