"""Why the kernel module is not loaded, and the commands that load it.

Asked where something is to be said about it, and never on the way of a list. Standard library only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from oomrules import __version__, targets

# The oldest kernel that the module is for; kernel/dkms.conf says it to dkms.
OLDEST = (6, 1)

_ROOT = Path("/")
_SOURCES = f"usr/src/oomrules-{__version__}"
_OURS, _PACKAGE = "oomrules", "oomrules-dkms"
_OF_DKMS = f"var/lib/dkms/oomrules/{__version__}"
# The certificates of the keys that dkms signs with: one that its settings name, else the usual one,
# or Ubuntu's.
_CERTIFICATE = re.compile(r"""^\s*mok_certificate=["']?(/[\w./-]+)["']?\s*$""", re.MULTILINE)
_CERTIFICATES = ("var/lib/dkms/mok.pub", "var/lib/shim-signed/mok/MOK.der")


def advice(release: str | None = None, root: Path = _ROOT) -> str:
    """Return why the module is not loaded and how to load it, in one sentence.

    The commands in it are root's, for the shell.

    Args:
        release: of the kernel, as `uname -r` has it; of the running one unless told.
        root: what stands for ``/``.
    """
    release = release or os.uname().release
    if _version(release) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return f"the module is for Linux {oldest} and later, and this kernel is {release}"
    modules = root / "lib/modules" / release
    if _is_built(modules):
        return f"load the module with `modprobe oom`{_enrolling(root)}"
    why = "the module is not built for this kernel"
    headers = [] if (modules / "build/include").exists() else [f"linux-headers-{release}"]
    if not (root / _SOURCES).exists() and _has_package(root, _OURS):
        return f"{why}, and its package is not installed: {_package(release, headers, root)}"
    if not (root / _SOURCES).exists():
        put = "`make install` in a checkout puts them there"
        why += f", and its sources are not in /{_SOURCES} ({put})"
    has_dkms = any((root / name / "dkms").exists() for name in ("usr/sbin", "usr/bin"))
    missing = [*([] if has_dkms else ["dkms"]), *headers]
    if headers:
        why += f", and the headers of {release} are missing"
    return f"{why}: {_build(release, missing, root)}"


def missed(root: Path = _ROOT) -> list[str]:
    """Return a sentence if this host was set up to have the module, and does not have it."""
    if (root / targets.KERNEL_LIST[1:]).exists():
        return []
    if (root / _OF_DKMS).exists():
        why = "dkms has it"
    elif names := _loaded_at_boot(root):
        why = f"{names[0]} names it"
    else:
        return []
    return [f"the kernel module is not loaded, though {why}; {advice(root=root)}"]


def _build(release: str, missing: list[str], root: Path) -> str:
    """Return how the module is built and loaded, once some packages are there."""
    # The package of the headers may have had dkms build it already, if dkms knew of it.
    known = (root / _OF_DKMS).exists()
    step = "autoinstall" if known else f"install oomrules/{__version__}"
    commands = f"dkms {step} -k {release} && modprobe oom"
    if not (root / _SOURCES).exists():
        commands = f"make install && {commands}"
    if not missing:
        return f"`{commands}` builds and loads it"
    if (root / "usr/bin/apt-get").exists() and (missing == ["dkms"] or _is_packaged(release, root)):
        return f"`apt install {' '.join(missing)} && {commands}` builds and loads it"
    # Other distributions have other names for them, and a kernel of one's own has no package.
    return f"install {' and '.join(missing)} (or what they are called here), then `{commands}`"


def _package(release: str, headers: list[str], root: Path) -> str:
    """Return how the module's package is installed, where oomrules is a package itself."""
    # Nobody has a package of the headers of a kernel that dpkg has not installed.
    needed = headers if _is_packaged(release, root) else []
    file = f"./{_PACKAGE}_{__version__}_all.deb"
    return (
        f"`apt install {' '.join([*needed, _PACKAGE])} && modprobe oom` builds and loads it, with "
        f"{file} in place of {_PACKAGE} if that is a file"
    )


def _is_packaged(release: str, root: Path) -> bool:
    """Return whether dpkg has installed a kernel, so that there is a package of its headers."""
    return _has_package(root, f"linux-image-{release}", f"linux-image-unsigned-{release}")


def _has_package(root: Path, *names: str) -> bool:
    """Return whether dpkg has installed one of these."""
    return any((root / f"var/lib/dpkg/info/{name}.list").exists() for name in names)


def _enrolling(root: Path) -> str:
    """Return what to do if the kernel takes signed modules only, and may not know the key."""
    if not _wants_signatures(root):
        return ""
    named = [match[1] for text in _settings_of_dkms(root) if (match := _CERTIFICATE.search(text))]
    found = named or [f"/{name}" for name in _CERTIFICATES if (root / name).exists()]
    file = f" {found[-1]}" if found else ""
    return f"; if its key is rejected, enroll it with `mokutil --import{file}` and restart"


def _settings_of_dkms(root: Path) -> list[str]:
    """Return the texts of dkms' settings, of which the last one counts."""
    folder = root / "etc/dkms"
    return [
        _text(path)
        for path in (folder / "framework.conf", *sorted(folder.glob("framework.conf.d/*.conf")))
    ]


def _wants_signatures(root: Path) -> bool:
    """Return whether the kernel refuses modules without a signature, as with Secure Boot."""
    enforced = _text(root / "sys/module/module/parameters/sig_enforce").strip() == "Y"
    lockdown = _text(root / "sys/kernel/security/lockdown")
    return enforced or "[integrity]" in lockdown or "[confidentiality]" in lockdown


def _version(release: str) -> tuple[int, int]:
    """Return the first two numbers of a release; if it has none, later ones than any."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (9999, 0)


def _is_built(modules: Path) -> bool:
    """Return whether modprobe would find the module in a kernel's directory."""
    index = _text(modules / "modules.dep")
    # It may be compressed: oom.ko, oom.ko.xz.
    return re.search(r"^(?:[^:\n]*/)?oom\.ko[^/:\n]*:", index, re.MULTILINE) is not None


def _loaded_at_boot(root: Path) -> list[str]:
    """Return the files by which systemd would load the module at boot."""
    found = []
    for folder in ("etc", "run", "usr/lib"):
        for path in sorted((root / folder / "modules-load.d").glob("*.conf")):
            lines = _text(path).splitlines()
            if "oom" in map(str.strip, lines):
                found.append(f"/{path.relative_to(root)}")
    return found


def _text(path: Path) -> str:
    """Return what is in a file; nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
