"""A guest with the Debian packages beside it, not installed, and what there is to see in a host.

    image -> booted: systemd is up -> packaged: the packages lie in /srv -> installed: they are

What they depend on is in the image, as it comes from Debian: the guest has no network.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import oomrules
from tests.fresh import root
from tests.packages.building import BUILT, WHERE, must, unpack
from tests.vm import cache, states
from tests.vm.guest import Guest
from tests.vm.host import NoGuest, require_root, step
from tests.vm.image import own_suite
from tests.vm.machine import Options
from tests.vm.payload import payload
from tests.vm.states import CHECKOUT

VERSION = oomrules.__version__
# A version that is to come.
LATER = "99.0"
# The last state of version 0.1, which had no packages.
FIRST = "ea3bb2d97d10fbe2155c3476eaa9cc143a37492d"
# What the packages need, what builds the module, and what runs the packages' own tests.
NEEDED = ("python3-pydbus", "dkms", "linux-headers-cloud-amd64", "make", "autopkgtest")
# Where they lie in the guest.
OURS, NEWER, EARLIER, SOURCE = "/srv/ours", "/srv/newer", "/srv/earlier.tar", "/srv/source"
APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y"
# What apt, dpkg and dkms keep of every package that was ever there, dkms' key, and what any host
# writes.
KEPT = (
    "/var/cache/",
    "/var/lib/apt/",
    "/var/lib/dkms/mok.",
    "/var/lib/dpkg/",
    "/var/lib/systemd/",
    "/var/log/",
    "/var/tmp/",
    "/srv/",
)
# Path, kind, mode, owner, target of each file; its size and date, and, where what is there could be
# written anew as it was, its contents. To read all of the disk would take minutes.
LIST = r"""
find / -xdev \( -type f -printf '%p\t%y\t%m\t%U:%G\t%l\t%s' \
  \( -path '/etc/*' -o -path '/usr/lib/modules/*' -o -path '/var/*' -o -printf '\t%T@' \) \
  -printf '\n' \) -o -printf '%p\t%y\t%m\t%U:%G\t%l\n'
find /etc /var /opt /root /usr/local /usr/lib/modules/*/modules.* -xdev -type f -print0 |
  xargs -0 sha256sum | sed 's/^\\\?\([0-9a-f]*\)  /\1\t/'
"""
VALUES = """
import json, os
processes = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/stat") as file:
            head, _, rest = file.read().rpartition(")")
        with open(f"/proc/{pid}/oom_score_adj") as file:
            processes[f"{pid} {rest.split()[19]} {head.partition('(')[2]}"] = int(file.read())
    except OSError:
        continue
groups = {}
for folder, _, names in os.walk("/sys/fs/cgroup"):
    if "memory.oom.group" in names:
        with open(f"{folder}/memory.oom.group") as file:
            groups[folder] = int(file.read())
print(json.dumps([processes, groups]))
"""


@dataclass(frozen=True)
class Host:
    """What there is to see in a guest.

    Attributes:
        files: a line for each file of its disk, but for what apt itself keeps.
        values: the oom_score_adj of each process, by its pid, start time and name.
        groups: memory.oom.group of each control group.
    """

    files: frozenset[str]
    values: Mapping[str, int]
    groups: Mapping[str, int]


def seen(guest: Guest) -> Host:
    """Look at a guest."""
    listed = guest.run(LIST, check=True, timeout=900).stdout
    values, groups = settings(guest)
    return Host(frozenset(_of_others(listed)), values, groups)


def settings(guest: Guest) -> tuple[dict[str, int], dict[str, int]]:
    """Return the values of all processes and of all control groups, as `Host` has them."""
    done = guest.run(["python3", "-ISc", VALUES], check=True, timeout=300)
    values, groups = json.loads(done.stdout)
    return values, groups


def differences(before: Host, after: Host) -> list[str]:
    """Return, in words, what of a host is another than it was.

    Of processes and control groups only those can be compared that are there before and after.
    """
    return [
        *(f"new: {line}" for line in sorted(after.files - before.files)),
        *(f"gone: {line}" for line in sorted(before.files - after.files)),
        *_changed("oom_score_adj", before.values, after.values),
        *_changed("memory.oom.group", before.groups, after.groups),
    ]


def _changed(what: str, before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield f"{what} of {name}: {before[name]} before, {after[name]} after"


def _of_others(listed: str) -> Iterator[str]:
    for line in listed.splitlines():
        first, second, *_ = line.split("\t")
        path = first if first.startswith("/") else second
        if not path.startswith(KEPT) and "/__pycache__" not in path:
            yield line


# --- the guest ------------------------------------------------------------------------------------


def guest(suite: str, installed: bool = False) -> Guest:
    """Return a guest of a suite of Debian, to be entered, with the packages in /srv.

    Args:
        installed: whether they are installed, and the service runs.

    Raises:
        NoGuest: no guest can be had here.
    """
    options = Options(packages=NEEDED, suite="" if suite == own_suite() else suite)
    image, state = states.saved(options, None)
    made, first = built(suite), earlier()
    own = Path(__file__).read_bytes()

    def put(changed: Guest) -> None:
        # Pages and manuals are left out of the image, and would be left out of the packages.
        changed.run("rm -f /etc/dpkg/dpkg.cfg.d/lean", check=True)
        changed.run("echo > /etc/apt/sources.list && apt-get -qq update", check=True)
        for path in sorted(made.rglob("*")):
            if path.is_file():
                changed.put(path, f"/srv/{path.relative_to(made)}")
        changed.put(first, EARLIER)

    def install(changed: Guest) -> None:
        changed.run(f"{APT} install {OURS}/*.deb 2>&1", timeout=900, check=True)

    def layer(kind: str, before: Path, change: Callable[[Guest], None], *inputs: bytes) -> Path:
        def make(to: Path) -> None:
            with step(f"making the guest whose packages are {kind}"):
                states.saves(image, before, options, to, change)

        return cache.layer(kind, [cache.identity(before), own, *inputs], make)

    state = layer("packaged", state, put, cache.identity(made).encode(), first)
    if installed:
        state = layer("installed", state, install)
    return states.goes_on(image, state, options)


def built(suite: str) -> Path:
    """Return a directory with what lies in /srv: ours, newer and source, of the committed state.

    Raises:
        NoGuest: they cannot be built here.
    """
    require_root("building packages")
    # Tests are in the source package alone.
    git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT)]
    listed = _output([*git, "ls-tree", "-r", "HEAD"]).splitlines()
    tree = b"\n".join(line for line in listed if b"\ttests/" not in line)

    def make(to: Path) -> None:
        with step(f"building the packages of {suite}"), root.fresh(suite) as machine:
            unpack(machine)
            must(machine, f"cd {WHERE} && make deb")
            _keep(machine, BUILT, to)
            names = "oomrules/__init__.py kernel/oom.c packaging/debian/changelog"
            must(machine, f"cd {WHERE} && sed -i 's/\\b{VERSION}\\b/{LATER}/' {names}")
            must(machine, f"cd {WHERE} && touch oomrules/added.py && sh packaging/deb.sh newer")
            _keep(machine, f"{WHERE}/newer", to, newer=True)

    return cache.layer(f"packages-{suite}", [suite, tree, LATER], make, keep=2)


def _keep(machine: root.Root, folder: str, to: Path, newer: bool = False) -> None:
    for name in must(machine, f"ls {folder}").split():
        if name.endswith(".deb"):
            path = to / ("newer" if newer else "ours") / name
        elif name.endswith((".dsc", ".tar.xz")) and not newer:
            path = to / "source" / name
        else:
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(machine.read(f"{folder}/{name}"))


def earlier() -> bytes:
    """Return a tar of what `make install` of version 0.1 puts on a host.

    Raises:
        NoGuest: the history of the project is not here, or it cannot be installed.
    """
    inputs: list[str | bytes] = [FIRST, (CHECKOUT / "tests/vm/payload.py").read_bytes()]
    return (cache.layer("earlier", inputs, _install_earlier) / "tar").read_bytes()


def _install_earlier(to: Path) -> None:
    git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT)]
    try:
        archive = _output([*git, "archive", FIRST])
    except NoGuest as why:
        raise NoGuest(f"version 0.1 is in the history of the project alone: {why}") from why
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        (to / "tar").write_bytes(payload(Path(folder)))


def _output(argv: list[str]) -> bytes:
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        raise NoGuest(f"{argv[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
