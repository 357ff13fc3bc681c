"""What this machine must offer before a guest can be had: tools, and a way to get them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

# A tool, and the Debian packages that bring it.
RUN_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "setpriv": "util-linux",
}
BUILD_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "cpio": "cpio",
    "gcc": "gcc libc6-dev",
    "qemu-img": "qemu-utils",
}


class NoGuest(Exception):
    """Why no guest can be had, in one sentence."""


def ended(main: Callable[[], int]) -> int:
    """Run a program; where it can have no guest, say why in one sentence.

    Returns:
        its exit code; 2 without a guest.
    """
    try:
        return main()
    except NoGuest as why:
        print(f"vm: {why}", file=sys.stderr)
        return 2


# Where progress goes. The pytest fixture puts in one that gets past pytest's capturing.
output: Callable[[str], object] = print


def say(text: str) -> None:
    """Report progress to who is waiting."""
    output(f"vm: {text}")


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Say how long the block took, in seconds of wall-clock time."""
    begun = time.monotonic()
    yield
    say(f"{name}: {time.monotonic() - begun:.1f} s")


def command(argv: Sequence[str | Path], **options: object) -> str:
    """Run a host command and return its standard output.

    Raises:
        NoGuest: it failed, with the last line of what it complained about.
    """
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or ["it said nothing"]
        raise NoGuest(f"{words[0]} failed with status {done.returncode}: {complaint[-1]}")
    return str(done.stdout)


def require_root(why: str) -> None:
    """Raise NoGuest unless this process is root."""
    if os.geteuid() != 0:
        raise NoGuest(f"{why} needs root")


def require_space(folder: Path, megabytes: int) -> None:
    """Raise NoGuest unless the folder's file system has that much room."""
    free = shutil.disk_usage(folder).free >> 20
    if free < megabytes:
        raise NoGuest(f"{folder} has {free} MB free, a guest needs {megabytes} MB")


def install_host_packages(tools: Mapping[str, str]) -> None:
    """Install what is missing of the tools, saying so.

    Raises:
        NoGuest: a tool is missing and cannot be installed.
    """
    # Root's PATH may lack sbin, where mkfs.ext4 is.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if not missing:
        return
    packages = " ".join(tools[tool] for tool in missing).split()
    if shutil.which("apt-get") is None:
        raise NoGuest(f"{', '.join(missing)} missing, and no apt-get to install {packages} with")
    install_packages(packages)


def install_packages(packages: Sequence[str]) -> None:
    """Install Debian packages, saying so.

    Raises:
        NoGuest: they cannot be installed.
    """
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise NoGuest(f"there is no apt-get to install {names} with")
    require_root(f"installing {names}")
    # One run beside another has to wait: apt-get does not.
    with Path(__file__).open() as lock, step(f"installing {names}"):
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        command(["apt-get", "-qq", "update"], env=environment)
        command(
            ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages],
            env=environment,
        )
