"""The guest's image: a root file system from Debian's packages, its kernel, a small initramfs.

Two layers: the packages as they come (a minute), and the image proper with the project's own
files in it (seconds), so that a change to the agent does not fetch Debian again.
"""

from __future__ import annotations

import lzma
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm import cache, kernel
from tests.vm.host import (
    BUILD_TOOLS,
    NoGuest,
    command,
    install_host_packages,
    require_root,
    require_space,
    step,
)

HERE = Path(__file__).resolve().parent

# Another of Debian's kernels than its usual one, as in linux-image-6.12-cloud-amd64; or the one
# that looks for faults, which needs more memory and more time.
KERNEL = os.environ.get("OOMRULES_VM_KERNEL", "")
DEBUG = kernel.NAME == KERNEL
MEMORY = 1024 if DEBUG else 512  # MiB
PATIENCE = 5 if DEBUG else 1  # how many times as long as usual anything may take
PACKAGES = [
    *"usr-is-merged systemd-sysv udev dbus dbus-user-session libpam-systemd procps kmod".split(),
    *"systemd-container bpftool python3 python3-gi".split(),
    f"linux-image-{KERNEL}-cloud-amd64" if KERNEL and not DEBUG else "linux-image-cloud-amd64",
]
# Not built into the cloud kernel, and needed before there is a root to load modules from.
MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "ext4"]
# User name and uid. The first is who builds, in the rules' own examples.
USERS = {"build": 1000, "alice": 1001}
LINGERING = "alice"
# Units and generators that take boot time, all of it emulated, and that no test looks at.
# Without the generators `systemctl daemon-reload` is quicker too.
MASKED_UNITS = """
    systemd-udev-trigger.service getty.target systemd-pstore.service systemd-repart.service
    systemd-firstboot.service systemd-machine-id-commit.service systemd-random-seed.service
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-binfmt.service
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-initctl.socket
    systemd-sysusers.service systemd-tmpfiles-setup-dev.service kmod-static-nodes.service
    systemd-ask-password-console.path systemd-ask-password-wall.path
    modprobe@configfs.service modprobe@drm.service modprobe@fuse.service
    sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount
    proc-sys-fs-binfmt_misc.automount
    e2scrub_reap.service e2scrub_all.timer fstrim.timer apt-daily.timer apt-daily-upgrade.timer
    dpkg-db-backup.timer systemd-tmpfiles-clean.timer
""".split()
MASKED_GENERATORS = """
    bless-boot cryptsetup debug getty gpt-auto hibernate-resume integritysetup rc-local run
    system-update sysv veritysetup
""".split()
# Without it a conversion tool is installed on Debian 12, and perl for it; later ones need neither.
_HOOKS = {"bookworm": ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]}
# What the guest runs of this folder.
AGENT = ["__init__.py", "wire.py", "agent.py"]
# Of the file system: as it is, and with packages besides the usual ones.
SIZE, ROOMY = "1500M", "4G"
# How many images stay in the cache: the usual one, and those with packages of each suite.
KEEP = 4


@dataclass(frozen=True)
class Image:
    """A built image: a directory with root.qcow2, vmlinuz and initrd."""

    path: Path

    @property
    def root(self) -> Path:
        return self.path / "root.qcow2"

    @property
    def kernel(self) -> Path:
        return self.path / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.path / "initrd"

    @property
    def release(self) -> str:
        """The guest kernel's `uname -r`, as the header packages are called."""
        return (self.path / "release").read_text()


def build(packages: Sequence[str] = (), suite: str = "") -> Image:
    """The image, from the cache or built now.

    Args:
        packages: of Debian's, besides the usual ones.
        suite: of Debian; this machine's own if it is empty.

    Raises:
        NoGuest: it cannot be built here.
    """
    if platform.machine() != "x86_64":
        raise NoGuest("the guest is an amd64 one, and so must this machine be")
    suite = suite or own_suite()
    # By how it is made and not by where from: a different mirror brings no different Debian.
    recipe = _mmdebstrap(suite, packages, Path("OUT"), [])
    base = cache.layer("base", recipe, lambda to: _make_base(suite, packages, to), KEEP)
    inputs = [cache.identity(base), *_own_files()]
    if DEBUG:
        inputs.append(cache.identity(kernel.built()))
    size = ROOMY if packages else SIZE
    return Image(cache.layer("image", inputs, lambda to: _make(base, size, to), KEEP))


def own_suite() -> str:
    """The suite of Debian that this machine has."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "unnamed")


def sources(suite: str) -> list[str]:
    """The lines of this machine's apt sources, for another suite of Debian from the same place."""
    own = own_suite()
    return [line.replace(f" {own}", f" {suite}") for line in apt_sources(own)]


def apt_sources(suite: str) -> list[str]:
    """The lines of this machine's apt sources that bring a suite of Debian."""
    if shutil.which("apt-get") is None:
        raise NoGuest("the guest is built from Debian's packages, and there is no apt-get here")
    form = "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)"
    for attempt in range(2):
        if attempt:
            # apt knows the origin only from what this fetches; a fresh machine has nothing yet.
            command(["apt-get", "-qq", "update"])
        targets = command(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
        lines = [
            f"deb {line.removeprefix('Debian ')}"
            for line in targets.splitlines()
            if line.startswith("Debian ") and line.endswith(" main") and suite in line
        ]
        if any(line.endswith(f" {suite} main") for line in lines):
            return lines
    raise NoGuest(f"the apt sources of this machine do not bring Debian's suite {suite!r}")


def _own_files() -> Iterator[str | bytes]:
    """All that shapes the image on top of the packages."""
    yield Path(__file__).read_bytes()
    for path in [HERE / "init.c", *(HERE / name for name in AGENT)]:
        yield path.read_bytes()
    for path in sorted((HERE / "root").rglob("*")):
        yield str(path.relative_to(HERE))
        if path.is_file():
            yield path.read_bytes()


def _mmdebstrap(suite: str, packages: Sequence[str], to: Path, sources: list[str]) -> list[str]:
    # Leaving files out from the start would send every package through a slow filter.
    lean = "path-exclude=/usr/share/%s/*\\n"
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--mode=root",
        "--format=tar",
        *_HOOKS.get(suite, []),
        f"--essential-hook=printf '{lean}' man doc info locale > \"$1\"/etc/dpkg/dpkg.cfg.d/lean",
        f"--include={','.join([*PACKAGES, *packages])}",
        suite,
        str(to),
        *sources,
    ]


def apt_options() -> Iterator[str]:
    """How this machine's apt gets at its sources: proxies, certificates, checks of dates."""
    for line in command(["apt-config", "dump", "--format", "%F %v%n", "Acquire"]).splitlines():
        name, _, value = line.partition(" ")
        if value and any(word in name.lower() for word in ("proxy", "cainfo", "verify", "check")):
            yield f'{name} "{value}"'


def _make_base(suite: str, packages: Sequence[str], to: Path) -> None:
    require_root("building the guest's image")
    require_space(to, 3000)
    install_host_packages(BUILD_TOOLS)
    argv = _mmdebstrap(suite, packages, to / "base.tar", sources(suite))
    argv[1:1] = [f"--aptopt={line}" for line in apt_options()]
    # When this is interrupted, all that it has mounted and started goes with its namespaces,
    # and what it has written goes with the layer's temporary directory.
    jail = "unshare --mount --pid --mount-proc --fork --kill-child".split()
    # The kernel's own initrd is not used, and takes ten seconds to make.
    environment = {**os.environ, "TMPDIR": str(to), "INITRD": "No"}
    with step(f"fetching and unpacking Debian {suite}"):
        command([*jail, *argv], env=environment)


def _make(base: Path, size: str, to: Path) -> None:
    require_root("building the guest's image")
    install_host_packages(BUILD_TOOLS)
    root = to / "root"
    root.mkdir()
    with step("making the image"):
        command(["tar", "--extract", "--file", base / "base.tar", "--directory", root])
        _furnish(root)
        if DEBUG:
            _exchange_kernel(root)
        release = next((root / "usr/lib/modules").iterdir()).name
        (to / "release").write_text(release)
        _make_initrd(root / "usr/lib/modules" / release, to / "initrd")
        shutil.move(root / f"boot/vmlinuz-{release}", to / "vmlinuz")
        shutil.rmtree(root / "boot")
        features = ["-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard"]
        command(["mkfs.ext4", "-q", "-F", *features, "-d", root, to / "root.raw", size])
        convert = ["qemu-img", "convert", "-O", "qcow2"]
        command([*convert, to / "root.raw", to / "root.qcow2"])
        (to / "root.raw").unlink()
        shutil.rmtree(root)


def _exchange_kernel(root: Path) -> None:
    """Put in the kernel that looks for faults, in place of Debian's."""
    debug = kernel.built()
    release = (debug / "release").read_text()
    for name in ("boot", "usr/lib/modules"):
        shutil.rmtree(root / name)
        (root / name).mkdir()
    shutil.copytree(debug / "modules", root / "usr/lib/modules" / release)
    shutil.copy(debug / "vmlinuz", root / f"boot/vmlinuz-{release}")


def _furnish(root: Path) -> None:
    """Put in the project's own files, the users, and what a first boot would settle."""
    shutil.copytree(HERE / "root", root, dirs_exist_ok=True)
    agent = root / "opt/agent/tests/vm"
    agent.mkdir(parents=True)
    for name in AGENT:
        shutil.copy(HERE / name, agent)
    for unit in MASKED_UNITS:
        _mask(root / "etc/systemd/system" / unit)
    for name in MASKED_GENERATORS:
        _mask(root / "etc/systemd/system-generators" / f"systemd-{name}-generator")
    # An empty machine-id means a first boot, with presets for every unit.
    (root / "etc/machine-id").write_text("6f6f6d72756c657300000000000000aa\n")
    for user, number in USERS.items():
        words = ["useradd", "--create-home", "--shell", "/bin/bash", "--uid", str(number), user]
        command(["chroot", root, *words])
    # A user manager takes seconds to start, which every login would have to wait for.
    linger = root / "var/lib/systemd/linger"
    linger.mkdir(parents=True)
    (linger / LINGERING).touch()
    chroot = ["chroot", str(root)]
    command([*chroot, "systemctl", "--quiet", "enable", "oomrules-agent.service"])
    command([*chroot, "python3", "-m", "compileall", "-q", "/opt/agent"])


def _mask(path: Path) -> None:
    """Hide what the distribution has under this name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/null")


def _make_initrd(modules: Path, to: Path) -> None:
    """An initramfs of one static program and the modules it loads."""
    scratch = to.parent / "initrd.d"
    scratch.mkdir()
    command(["gcc", "-static", "-Os", "-s", "-Wall", "-o", scratch / "init", HERE / "init.c"])
    names = []
    for path in _with_dependencies(modules):
        data = (modules / path).read_bytes()
        if path.endswith(".xz"):
            data = lzma.decompress(data)
        name = Path(path).name.removesuffix(".xz")
        (scratch / name).write_bytes(data)
        names.append(f"/{name}\n")
    (scratch / "modules").write_text("".join(names))
    # Uncompressed: it is small, and the guest's processor is not quick.
    words = "find . | cpio --quiet --create --format=newc --reproducible > ../initrd"
    command(["sh", "-c", words], cwd=scratch)
    shutil.rmtree(scratch)


def _with_dependencies(modules: Path) -> list[str]:
    """The files of MODULES, each after those it needs; what is built in needs no file."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    files = {Path(path).name.split(".")[0].replace("-", "_"): path for path in needs}
    order: list[str] = []
    for name in MODULES:
        if name in files:
            # depmod writes the nearest dependency first.
            for path in [*reversed(needs[files[name]]), files[name]]:
                if path not in order:
                    order.append(path)
    return order
