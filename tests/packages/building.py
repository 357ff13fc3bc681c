"""The packages of a suite of Debian, built once in a bare machine of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.fresh import root
from tests.fresh.root import Done, Root, checkout
from tests.vm.host import NoGuest

Machine = Callable[[str], Root]

APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y"
# Where the checkout lies in the machine, and where `make deb` leaves the packages.
WHERE = "/usr/local/src/oomrules"
BUILT = f"{WHERE}/build/deb"
# Another folder, umask, zone, language and home, and no network. dpkg-source unpacks by the umask.
ELSEWHERE = (
    "mkdir -p /var/tmp/elsewhere/deeper && cd /var/tmp/elsewhere/deeper && "
    "dpkg-source --no-check -x {built}/{source} > /dev/null && cd oomrules-* && umask 077 && "
    "env TZ=Pacific/Chatham LC_ALL=C HOME=/nonexistent unshare --net dpkg-buildpackage --no-sign"
)


@dataclass(frozen=True)
class Packages:
    """What one machine has built.

    Attributes:
        files: name to content, of the packages and the source package.
        again: the same, built elsewhere from the source package.
        said: what lintian said.
    """

    files: dict[str, bytes]
    again: dict[str, bytes]
    said: Done

    def put(self, machine: Root, folder: str = "/srv/packages") -> str:
        """Put the packages into a machine; return what apt is to install."""
        names = [name for name in self.files if name.endswith(".deb")]
        for name in names:
            machine.put(f"{folder}/{name}", self.files[name])
        return " ".join(f"{folder}/{name}" for name in sorted(names))


@functools.cache
def packages(suite: str) -> Packages:
    """Return the packages of a suite, built in this run of the tests."""
    try:
        with root.fresh(suite) as machine:
            return _built(machine)
    except NoGuest as why:
        pytest.fail(f"no bare {suite} can be had here: {why}", pytrace=False)


def must(machine: Root, line: str, **options: str) -> str:
    """Run a line that has to work; return what it printed."""
    done = machine.run(line, **options)  # type: ignore[arg-type]
    assert done.code == 0, f"{line}: exit code {done.code}\n{done.output[-6000:]}"
    return done.output


def unpack(machine: Root) -> None:
    """Put the committed state into a machine."""
    machine.put(f"{WHERE}.tar", checkout())
    must(machine, f"mkdir -p {WHERE} && tar -xf {WHERE}.tar -C {WHERE} && chown -R root: {WHERE}")


def _built(machine: Root) -> Packages:
    unpack(machine)
    must(machine, f"cd {WHERE} && make deb")
    must(machine, f"{APT} install --no-install-recommends lintian")
    said = machine.run(f"lintian --allow-root {BUILT}/*.changes")
    names = must(machine, f"ls {BUILT}").split()
    kept = [name for name in names if name.endswith((".deb", ".dsc", ".tar.xz"))]
    (source,) = [name for name in kept if name.endswith(".dsc")]
    must(machine, ELSEWHERE.format(built=BUILT, source=source))
    return Packages(
        files={name: machine.read(f"{BUILT}/{name}") for name in kept},
        again={name: machine.read(f"/var/tmp/elsewhere/deeper/{name}") for name in kept},
        said=said,
    )
