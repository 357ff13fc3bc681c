"""The kernel module, built for the guest's kernel, and processes for it to kill."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.vm import cache, image, kernel
from tests.vm.guest import Guest
from tests.vm.host import NoGuest, command, install_packages, step
from tests.vm.states import CHECKOUT

SOURCES = ["oom.c", "Kbuild", "Makefile"]
VICTIM = Path(__file__).with_name("victim.c")
PATH = "/root/oom.ko"


def built() -> Path:
    """The directory with oom.ko, what the compiler said of it in build.log, and victim.

    Raises:
        NoGuest: it cannot be built here.
    """
    release = image.build().release
    sources = [VICTIM, *(CHECKOUT / "kernel" / name for name in SOURCES)]

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
        command(["gcc", "-static", "-pthread", "-Os", "-Wall", "-o", to / "victim", VICTIM])

    own = Path(__file__).read_bytes()
    return cache.layer("module", [own, release, *(path.read_bytes() for path in sources)], make)


def _headers(release: str) -> Path:
    """The kernel's headers, installed if need be."""
    if image.DEBUG:
        return kernel.built() / "headers"
    folder = Path("/usr/src") / f"linux-headers-{release}"
    if not (folder / "Makefile").exists():
        # They bring their compiler along.
        install_packages([folder.name, "make"])
    return folder


def load(guest: Guest, *parameters: str) -> None:
    """Put the module and the victim into the guest, and load the one."""
    guest.put(built() / "oom.ko", PATH)
    guest.put(built() / "victim", "/root/victim", mode=0o755)
    # The table of all tasks in each report is what takes longest.
    script = f"echo 0 > /proc/sys/vm/oom_dump_tasks; insmod {PATH} {' '.join(parameters)}"
    guest.run(script, check=True)


def start(guest: Guest, *victims: str) -> list[list[int]]:
    """Start victims, and wait until they are ready.

    Args:
        victims: for each its name and its arguments, as victim.c has them.

    Returns:
        The pids of each, its own first.
    """
    lines = []
    for victim in victims:
        name, *arguments = victim.split()
        lines.append(f"ln -sf /root/victim /root/{name}; rm -f /run/{name} /run/{name}.status")
        # In a session of its own, so that it outlives this script; its status is kept.
        command = f"/root/{name} {' '.join(arguments)} > /run/{name}; echo $? > /run/{name}.status"
        lines.append(f"setsid sh -c '{command}' > /dev/null 2>&1 &")
    names = [victim.split()[0] for victim in victims]
    files = " ".join(f"/run/{name}" for name in names)
    lines += [f"for f in {files}; do until test -s $f; do sleep 0.05; done; cat $f; done"]
    shown = guest.run("\n".join(lines), check=True, timeout=120).stdout
    return [[int(pid) for pid in line.split()] for line in shown.splitlines()]


def statistics(guest: Guest) -> dict[str, int]:
    """What /proc/oom_stat says."""
    lines = guest.get("/proc/oom_stat").decode().splitlines()
    return {name: int(value) for name, value in (line.split(" ") for line in lines)}


def leaks(guest: Guest) -> str:
    """What the kernel has lost since this was last asked; nothing if it does not look for it."""
    file = "/sys/kernel/debug/kmemleak"
    # It tells what is five seconds old, and what two looks in a row have not found.
    look = f"sleep 6; echo scan > {file}; echo scan > {file}; cat {file}; echo clear > {file}"
    return guest.run(f"test ! -e {file} || {{ {look}; }}", check=True, timeout=120).stdout
