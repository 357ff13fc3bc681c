"""The kernel module, built for the guest's kernel."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.vm import cache, image
from tests.vm.guest import Guest
from tests.vm.host import NoGuest, command, install_packages, step
from tests.vm.states import CHECKOUT

SOURCES = ["oom.c", "Kbuild", "Makefile"]
PATH = "/root/oom.ko"


def built() -> Path:
    """The directory with oom.ko, and what the compiler said of it in build.log.

    Raises:
        NoGuest: it cannot be built here.
    """
    release = image.build().release
    sources = [CHECKOUT / "kernel" / name for name in SOURCES]

    def make(to: Path) -> None:
        headers = _headers(release)
        for path in sources:
            shutil.copy(path, to)
        with step(f"building the kernel module for {release}"):
            words = f"make -C '{to}' KDIR='{headers}' W=1 modules > '{to}/build.log' 2>&1"
            try:
                command(["sh", "-c", words])
            except NoGuest:
                said = (to / "build.log").read_text()
                raise NoGuest(f"the kernel module does not build:\n{said}") from None

    own = Path(__file__).read_bytes()
    return cache.layer("module", [own, release, *(path.read_bytes() for path in sources)], make)


def _headers(release: str) -> Path:
    """The kernel's headers, installed if need be."""
    folder = Path("/usr/src") / f"linux-headers-{release}"
    if not (folder / "Makefile").exists():
        # They bring their compiler along.
        install_packages([folder.name, "make"])
    return folder


def load(guest: Guest, *parameters: str) -> None:
    """Put the module into the guest and load it."""
    guest.put(built() / "oom.ko", PATH)
    guest.run(["insmod", PATH, *parameters], check=True)


def statistics(guest: Guest) -> dict[str, int]:
    """What /proc/oom_stat says."""
    lines = guest.get("/proc/oom_stat").decode().splitlines()
    return {name: int(value) for name, value in (line.split(" ") for line in lines)}
