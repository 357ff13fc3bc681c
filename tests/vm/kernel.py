"""A kernel that looks for faults in itself and in modules, which Debian has no package of.

`KERNEL=debug` boots the guest with it. It is compiled from Debian's sources as debug.config says,
half an hour of two processors, and kept in the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from tests.vm import cache, host
from tests.vm.host import NoGuest, command, install_host_packages, require_space, step

NAME = "debug"
PACKAGE = "linux-source-6.1"
CONFIG = Path(__file__).with_name("debug.config")
TOOLS = {
    "make": "make",
    "gcc": "gcc libc6-dev",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "xz": "xz-utils",
    "depmod": "kmod",
}
# Its host programs are compiled against this one.
LIBRARY = (Path("/usr/include/libelf.h"), "libelf-dev")
# What of a built tree modules are built with, as in Debian's packages of headers.
HEADERS = ["Makefile", ".config", "Module.symvers", "scripts", "include", "tools/objtool/objtool"]
HEADERS += ["arch/x86/Makefile", "arch/x86/include"]

# What a kernel says when something is wrong with it.
_REPORT = re.compile(
    r"BUG|WARNING|Kernel panic|general protection|blocked for more than|soft lockup|rcu.*stall"
    r"|refcount|use-after-free|bad page|[Ss]cheduling while atomic|sleeping function"
    r"|UBSAN|ODEBUG|INFO: (possible|inconsistent|trying to register)|kmemleak: [1-9]"
)
# What it does at the administrator's word (vm.panic_on_oom) is no fault.
_ASKED_FOR = re.compile(r"Kernel panic - not syncing: Out of memory: .*panic_on_oom is enabled")


def reports(console: str) -> list[str]:
    """The lines of a console that tell of a fault in the kernel or in a module."""
    told = (line for line in console.splitlines() if not _ASKED_FOR.search(line))
    return [line for line in told if _REPORT.search(line)]


def built() -> Path:
    """The directory with vmlinuz, release, modules, and headers to build modules with.

    Raises:
        NoGuest: it cannot be built here.
    """
    return cache.layer("debug-kernel", [PACKAGE, CONFIG.read_bytes()], _make)


def _make(to: Path) -> None:
    require_space(to, 8000)
    install_host_packages(TOOLS)
    if not LIBRARY[0].exists():
        host.install_packages([LIBRARY[1]])
    # What an interrupted build has compiled is not compiled again.
    tree = cache.folder() / f"{PACKAGE}-{NAME}"
    if not tree.exists():
        with step(f"fetching and unpacking {PACKAGE}"):
            _unpack(tree)
    with step(f"compiling the {NAME} kernel, of which {tree}.log tells"):
        _compile(tree)
    release = command(["make", "-s", "-C", tree, "kernelrelease"]).strip()
    (to / "release").write_text(release)
    shutil.copy(tree / "arch/x86/boot/bzImage", to / "vmlinuz")
    install = ["modules_install", f"INSTALL_MOD_PATH={to / 'installed'}"]
    command(["make", "-s", "-C", tree, *install])
    shutil.move(to / "installed/lib/modules" / release, to / "modules")
    shutil.rmtree(to / "installed")
    for link in ("build", "source"):
        (to / "modules" / link).unlink(missing_ok=True)
    _keep_headers(tree, to / "headers")
    shutil.rmtree(tree)


def _unpack(tree: Path) -> None:
    new = tree.with_name(f".new-{tree.name}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    command(["apt-get", "-qq", "update"])
    command(["apt-get", "-qq", "download", PACKAGE], cwd=new)
    (package,) = new.glob("*.deb")
    command(["dpkg-deb", "--extract", package, new])
    command(["tar", "-xf", new / f"usr/src/{PACKAGE}.tar.xz", "-C", new])
    (new / PACKAGE).rename(tree)
    shutil.rmtree(new)


def _compile(tree: Path) -> None:
    command(["make", "-s", "-C", tree, f"KCONFIG_ALLCONFIG={CONFIG}", "allnoconfig"])
    if left := _left_out((tree / ".config").read_text()):
        raise NoGuest(f"the kernel's configuration has not taken {', '.join(left)}")
    processors = len(os.sched_getaffinity(0))
    words = f"make -C '{tree}' -j{processors} bzImage modules > '{tree}.log' 2>&1"
    who = {"KBUILD_BUILD_USER": "oomrules", "KBUILD_BUILD_HOST": NAME}
    try:
        command(["sh", "-c", words], env={**os.environ, **who})
    except NoGuest:
        raise NoGuest(f"the {NAME} kernel does not build: {tree}.log says why") from None


def _left_out(config: str) -> list[str]:
    """What debug.config asks for and the configuration does not have."""
    wanted = {line for line in CONFIG.read_text().splitlines() if line.startswith("CONFIG_")}
    return sorted(wanted - set(config.splitlines()))


def _keep_headers(tree: Path, to: Path) -> None:
    for name in HEADERS:
        source, target = tree / name, to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)


def main() -> int:
    """Build it, and say where it is."""
    print(f"{built()}: {(built() / 'release').read_text()}")
    return 0


if __name__ == "__main__":
    sys.exit(host.ended(main))
