"""A guest's disk on which dkms has built the module for two kernels, and what was said meanwhile.

All of it happens in the guest's own files, as the root directory of processes of this machine: a
compiler in the emulated guest takes ten times as long. Only booting is left to the guest.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import oomrules
from tests.fresh.root import Root
from tests.vm import cache, image
from tests.vm.guest import Guest
from tests.vm.host import NoGuest, command, require_root, require_space, step
from tests.vm.image import Image
from tests.vm.machine import Machine, Options, overlay
from tests.vm.module import SOURCES
from tests.vm.payload import compiled, payload
from tests.vm.states import CHECKOUT

MODULE = f"oomrules/{oomrules.__version__}"
SIGNER = "the key of this machine"
# No initrd is made: the guest has one of its own kind.
APT = "INITRD=No DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends"
# A key that the machine has had before dkms, as an administrator with Secure Boot has one.
OWN_KEY = f"""
openssl req -new -x509 -nodes -days 3650 -newkey rsa:2048 -subj "/CN={SIGNER}" \
  -keyout /root/mok.key -outform DER -out /root/mok.der 2> /dev/null
printf '%s\\n' mok_signing_key=/root/mok.key mok_certificate=/root/mok.der \
  > /etc/dkms/framework.conf.d/key.conf
"""
LATER = f"""
cp -a /usr/src/oomrules-{oomrules.__version__} /usr/src/oomrules-99.0 && cd /usr/src/oomrules-99.0
sed -i 's/"{oomrules.__version__}"/"99.0"/' oom.c dkms.conf
"""
# What the disk is to have room for besides: a compiler, headers, a second kernel.
SIZE = "4G"
ADVICE = "from oomrules.sinks import absence; print(absence.advice('{}'))"


@dataclass(frozen=True)
class Disk:
    """The disk, its kernels, and what each step that made it has said.

    Attributes:
        path: of the layer of the cache.
        releases: of the kernels: the guest's usual one, and another.
    """

    path: Path
    releases: tuple[str, str]

    def said(self, name: str) -> str:
        """Return what a step has printed, its exit code at the end."""
        return (self.path / f"said/{name}").read_text()

    def boots(self, release: str, disk: Path, kernel_arguments: str = "") -> Guest:
        """Return a guest that boots one of the kernels, to be entered; what it writes stays."""
        options = Options(kernel_arguments=kernel_arguments)
        of_kernel = Image(self.path / release)
        return Guest(lambda: Machine(of_kernel, options, disk, keep=True), booting=True)

    def copy(self, to: Path) -> Path:
        """Return a new disk in a folder, with the contents of this one."""
        overlay(self.path / "root.qcow2", to / "disk")
        return to / "disk"


def disk() -> Disk:
    """Return the disk, from the cache or made now.

    Raises:
        NoGuest: it cannot be had here.
    """
    built = image.build()
    tar = payload(CHECKOUT)
    sources = [Path(__file__), *(CHECKOUT / "kernel" / name for name in (*SOURCES, "dkms.conf"))]
    inputs: list[str | bytes] = [cache.identity(built.path), tar]
    inputs += [path.read_bytes() for path in sources]
    path = cache.layer("dkms", inputs, lambda to: _make(built, compiled(tar), to))
    own, other = (path / "releases").read_text().split()
    return Disk(path, (own, other))


def _make(built: Image, tar: bytes, to: Path) -> None:
    require_root("a root of the guest's own files")
    require_space(to, 6000)
    with step("having dkms build the module for two kernels"):
        root = _unpacked(built, to)
        (to / "tar").write_bytes(tar)
        command(["tar", "-x", "-f", to / "tar", "-C", to / "copy"])
        (to / "tar").unlink()
        other = _steps(root, built.release, to / "said")
        _keep_kernel(built.release, built.kernel, built.initrd, to)
        copy = to / "copy"
        image._make_initrd(copy / "usr/lib/modules" / other, to / "initrd")
        _keep_kernel(other, copy / f"boot/vmlinuz-{other}", to / "initrd", to)
        (to / "initrd").unlink()
        (to / "releases").write_text(f"{built.release} {other}")
        _pack(copy, to)


def _unpacked(built: Image, to: Path) -> Root:
    """Return a root of the guest's own files, with what this machine needs for its registries."""
    command(["qemu-img", "convert", "-O", "raw", built.root, to / "raw"])
    (to / "copy").mkdir()
    (to / "mounted").mkdir()
    # The mount ends with its namespace, however this ends.
    script = 'mount -o loop,ro "$1" "$2" && cp -a "$2/." "$3"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh"]
    command([*words, to / "raw", to / "mounted", to / "copy"])
    (to / "mounted").rmdir()
    (to / "raw").unlink()
    root = Root(to / "copy", to)
    for path, content in root.registries.files.items():
        root.put(path, content)
    return root


def _steps(root: Root, release: str, said: Path) -> str:
    """Do what an administrator does, keep what it says; return the release of the other kernel."""
    said.mkdir()

    def run(name: str, line: str) -> str:
        done = root.run(line)
        (said / name).write_text(f"{done.output}\nexit code {done.code}\n")
        return done.output

    def must(line: str) -> str:
        done = root.run(line)
        if done.code:
            raise NoGuest(f"{line!r} failed: {done.output.strip()[-500:]}")
        return done.output

    must(f"{APT} update && {APT} install dkms openssl linux-headers-{release}")
    must(OWN_KEY)
    run("install", f"dkms install {MODULE} -k {release}")
    must("echo oom > /etc/modules-load.d/oom.conf")
    run("installed", "dkms status")
    run("information", f"modinfo -k {release} oom")
    other = _another(release, must("apt-cache search --names-only '^linux-image-[0-9]'"))
    run("upgrade", f"{APT} install linux-image-{other}")
    advice = run("advice", f'PYTHONPATH=/usr/lib/oomrules python3 -c "{ADVICE.format(other)}"')
    # As it is proposed, but for loading it into the kernel of this machine.
    proposed = "".join(re.findall("`(.*)`", advice)).removesuffix(" && modprobe oom")
    run("proposed", proposed.replace("apt install", f"{APT} install") or "false")
    run("both", "dkms status")
    run("other information", f"modinfo -k {other} oom")
    run("once more", f"dkms autoinstall -k {other}")
    # A later version of oomrules takes the place of this one, and goes again.
    must(LATER)
    run("later", f"dkms install oomrules/99.0 -k {release}")
    run("later information", f"modinfo -k {release} oom")
    must("dkms remove oomrules/99.0 --all && rm -r /usr/src/oomrules-99.0")
    must(f"dkms install {MODULE} -k {release}")
    # A kernel that is too old for the module, as dkms sees it.
    old = "5.10.0-9-amd64"
    must(f"cp -a /lib/modules/{release} /lib/modules/{old} && rm -r /lib/modules/{old}/updates")
    run("too old", f"dkms autoinstall -k {old}")
    must(f"rm -r /lib/modules/{old}")
    return other


def _another(release: str, listed: str) -> str:
    """Return the newest kernel of the same series and flavour but this one, as apt lists them."""
    parts = re.fullmatch(r"(\d+\.\d+)\.\S+?-((?:cloud-)?amd64)", release)
    assert parts, release
    series, flavour = map(re.escape, parts.groups())
    pattern = rf"^linux-image-({series}\.[^-\s]+(?:-\d+)?-{flavour}) "
    found: set[str] = set(re.findall(pattern, listed, re.MULTILINE)) - {release}
    if not found:
        raise NoGuest(f"the archive has no other kernel of the series and flavour of {release}")
    return max(found, key=lambda one: [int(number) for number in re.findall(r"\d+", one)])


def _keep_kernel(release: str, kernel: Path, initrd: Path, to: Path) -> None:
    (to / release).mkdir()
    shutil.copy(kernel, to / release / "vmlinuz")
    shutil.copy(initrd, to / release / "initrd")


def _pack(copy: Path, to: Path) -> None:
    """Make the disk of the root, and leave nothing else of it."""
    shutil.copy(image.HERE / "root/etc/hosts", copy / "etc/hosts")
    shutil.rmtree(copy / "var/cache/apt/archives")
    shutil.rmtree(copy / "boot")
    features = ["-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard"]
    command(["mkfs.ext4", "-q", "-F", *features, "-d", copy, to / "raw", SIZE])
    command(["qemu-img", "convert", "-O", "qcow2", to / "raw", to / "root.qcow2"])
    (to / "raw").unlink()
    for name in ("copy", "root", "log"):
        path = to / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
