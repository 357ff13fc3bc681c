"""Compile the kernel module for every kernel that Debian's archive has: `make kernels`.

Of each series and flavour the newest headers, with the compiler that they bring along, on a bare
machine that is thrown away. The exit code is 1 if one of them warns or lacks a symbol, 2 if none
can be had here.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.fresh import root
from tests.fresh.root import CHECKOUT, Done, Root
from tests.vm.host import NoGuest
from tests.vm.image import sources

# A machine, and the suites that it takes newer kernels from.
MACHINES = {
    "bookworm": ["bookworm-backports"],
    "trixie": ["trixie-backports", "sid", "experimental"],
}
SOURCES = ["oom.c", "Kbuild", "Makefile"]
WHERE = "/usr/src/oom"
# The kernel's initrd takes long, and nobody boots here.
APT = "INITRD=No DEBIAN_FRONTEND=noninteractive apt-get -qq"

# As `apt-cache search` lists them: release, version, series and flavour.
_HEADERS = re.compile(r"linux-headers-((?P<version>(\d+\.\d+)\S*?)-((?:rt-|cloud-)?amd64)) - (.*)")
_FAULT = re.compile(r"warning|error|undefined", re.IGNORECASE)
# Of the tools, not of the module.
_NO_FAULT = "differs from the one used to build the kernel"


@dataclass(frozen=True)
class Row:
    """How compiling for one kernel ended.

    Attributes:
        release: the kernel, as `uname -r` has it.
        version: of its package of headers; empty if that cannot be installed.
        compiler: what compiled it.
        faults: the lines that complain; none is as it should be.
    """

    release: str
    version: str
    compiler: str
    faults: list[str]

    def __str__(self) -> str:
        result = "no warnings" if not self.faults else f"{len(self.faults)} complaints"
        return f"{self.release:32} {self.version:24} {self.compiler:10} {result}"


def newest(listed: str) -> list[str]:
    """Of each series and flavour the newest release, by what `apt-cache search` lists."""
    found: dict[tuple[str, str], tuple[list[int], str]] = {}
    for line in listed.splitlines():
        match = _HEADERS.fullmatch(line)
        if match and "meta-package" not in match[5]:
            release = [int(number) for number in re.findall(r"\d+", match["version"])], match[1]
            key = (match[3], match[4])
            found[key] = max(release, found.get(key, release))
    return [release for _, release in sorted(found.values())]


def rows(suite: str, newer: list[str]) -> Iterator[Row]:
    """Compile for all kernels that a machine can have.

    Args:
        suite: of Debian, what the machine is of.
        newer: suites that it takes kernels from too, if the mirror has them.

    Raises:
        NoGuest: there is no such machine to be had here.
    """
    with root.fresh(suite) as machine:
        main = next(line for line in sources(suite) if line.endswith(f" {suite} main"))
        for name in newer:
            path = f"/etc/apt/sources.list.d/{name}.list"
            machine.put(path, main.replace(f" {suite} ", f" {name} ").encode() + b"\n")
            if machine.run(f"{APT} update").code != 0:
                print(f"the mirror does not bring {name}", file=sys.stderr)
                machine.run(f"rm {path}")
        machine.run(f"{APT} update")
        done = machine.run("apt-cache search --names-only '^linux-headers-[0-9]'")
        for name in SOURCES:
            machine.put(f"{WHERE}/{name}", (CHECKOUT / "kernel" / name).read_bytes())
        for release in newest(done.output):
            yield _row(machine, release)


def _row(machine: Root, release: str) -> Row:
    package = shlex.quote(f"linux-headers-{release}")
    done = machine.run(f"{APT} install -y --no-install-recommends make {package}")
    if done.code != 0:
        return Row(release, "", "", complaints(done))
    version = machine.run(f"dpkg-query -W -f '${{Version}}' {package}").output
    folder = shlex.quote(f"{WHERE}-{release}")
    build = f"make -C {folder} KDIR=/usr/src/{package} W=1 modules"
    done = machine.run(f"cp -R {WHERE} {folder} && {build} && test -s {folder}/oom.ko")
    compiler = machine.run(f"strings -a {folder}/oom.ko | sed -n 's/^GCC: .* //p' | head -n 1")
    return Row(release, version, f"gcc {compiler.output.strip()}", complaints(done))


def complaints(done: Done) -> list[str]:
    """The lines that complain; the last ones if it failed and no line does."""
    lines = done.output.splitlines()
    found = [line for line in lines if _FAULT.search(line) and _NO_FAULT not in line]
    if done.code:
        return found or lines[-5:] or ["it said nothing"]
    return found


def main() -> int:
    """Print a row for each kernel, then what is complained of."""
    tried: list[Row] = []
    for suite, newer in MACHINES.items():
        try:
            for row in rows(suite, newer):
                print(row, flush=True)
                tried.append(row)
        except NoGuest as why:
            print(f"no bare {suite} can be had here: {why}", file=sys.stderr)
    for row in tried:
        for fault in row.faults:
            print(f"{row.release}: {fault}")
    if not tried:
        return 2
    return 1 if any(row.faults for row in tried) else 0


if __name__ == "__main__":
    sys.exit(main())
