"""Why the module is not loaded, on made-up hosts: one sentence, with commands that mend it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from oomrules import __version__, targets
from oomrules.sinks import absence

RELEASE = "6.1.0-55-cloud-amd64"
DKMS, APT = "usr/sbin/dkms", "usr/bin/apt-get"
SOURCES = f"usr/src/oomrules-{__version__}/dkms.conf"
ADDED = f"var/lib/dkms/oomrules/{__version__}/source"
HEADERS = f"lib/modules/{RELEASE}/build/include/generated"
IMAGE = f"var/lib/dpkg/info/linux-image-{RELEASE}.list"
INSTALL = f"dkms install oomrules/{__version__} -k {RELEASE} && modprobe oom"
AUTOINSTALL = f"dkms autoinstall -k {RELEASE} && modprobe oom"


def host(root: Path, *names: str) -> Path:
    """Return a root with these files, which are empty."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def depends(root: Path, *lines: str) -> None:
    """Write the index of modules that depmod makes."""
    path = root / f"lib/modules/{RELEASE}/modules.dep"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("there", "headers", "commands"),
    [
        ([SOURCES, DKMS, APT, HEADERS], True, INSTALL),
        ([SOURCES, DKMS, APT, HEADERS, ADDED], True, AUTOINSTALL),
        ([SOURCES, DKMS, APT, IMAGE], False, f"apt install linux-headers-{RELEASE} && {INSTALL}"),
        (
            [SOURCES, DKMS, APT, ADDED, IMAGE],
            False,
            f"apt install linux-headers-{RELEASE} && {AUTOINSTALL}",
        ),
        ([SOURCES, APT, IMAGE], False, f"apt install dkms linux-headers-{RELEASE} && {INSTALL}"),
        ([SOURCES, APT, HEADERS], True, f"apt install dkms && {INSTALL}"),
        # Nobody has a package of the headers of a kernel that dpkg has not installed.
        ([SOURCES, DKMS, APT], False, INSTALL),
        ([SOURCES, APT], False, INSTALL),
        ([SOURCES, DKMS, HEADERS], True, INSTALL),
        ([SOURCES, DKMS], False, INSTALL),
        ([SOURCES], False, INSTALL),
    ],
)
def test_a_kernel_without_the_module_is_told_with_the_commands_that_build_it(
    tmp_path: Path, there: list[str], headers: bool, commands: str
) -> None:
    said = absence.advice(RELEASE, host(tmp_path, *there))
    assert said.startswith("the module is not built for this kernel")
    assert ("headers of 6.1.0-55-cloud-amd64 are missing" in said) != headers
    assert re.findall("`(.*?)`", said) == [commands]
    assert "\n" not in said and ". " not in said


def test_without_apt_what_is_missing_is_named_apart(tmp_path: Path) -> None:
    said = absence.advice(RELEASE, host(tmp_path, SOURCES))
    assert f"install dkms and linux-headers-{RELEASE} (or what they are called here), then" in said


@pytest.mark.parametrize("name", ["updates/dkms/oom.ko", "extra/oom.ko.xz", "oom.ko.zst"])
def test_a_module_that_modprobe_finds_is_only_to_be_loaded(tmp_path: Path, name: str) -> None:
    depends(tmp_path, "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko", f"{name}:")
    assert absence.advice(RELEASE, tmp_path) == "load the module with `modprobe oom`"


@pytest.mark.parametrize(
    ("enforced", "lockdown", "told"),
    [
        ("N\n", "[none] integrity confidentiality\n", False),
        ("Y\n", "[none] integrity confidentiality\n", True),
        ("N\n", "none [integrity] confidentiality\n", True),
        ("N\n", "none integrity [confidentiality]\n", True),
        ("N\n", None, False),
    ],
)
def test_where_the_kernel_wants_signatures_it_is_said_how_the_key_is_enrolled(
    tmp_path: Path, enforced: str, lockdown: str | None, told: bool
) -> None:
    depends(tmp_path, "updates/dkms/oom.ko:")
    texts = {"module/module/parameters/sig_enforce": enforced, "kernel/security/lockdown": lockdown}
    for name, text in texts.items():
        if text is not None:
            host(tmp_path, f"sys/{name}")
            (tmp_path / "sys" / name).write_text(text)
    host(tmp_path, "var/lib/dkms/mok.pub")
    said = absence.advice(RELEASE, tmp_path)
    assert said.startswith("load the module with `modprobe oom`")
    assert ("`mokutil --import /var/lib/dkms/mok.pub`" in said) == told


@pytest.mark.parametrize(
    ("settings", "there", "named"),
    [
        ({}, ["var/lib/dkms/mok.pub"], " /var/lib/dkms/mok.pub"),
        ({}, ["var/lib/shim-signed/mok/MOK.der"], " /var/lib/shim-signed/mok/MOK.der"),
        ({"": "mok_certificate=/a/b.der\n"}, ["var/lib/dkms/mok.pub"], " /a/b.der"),
        ({"": '# mok_certificate=/no\nmok_certificate="/a b"\n'}, [], ""),
        ({"": "mok_certificate=/a.der\n", ".d/1.conf": "mok_certificate='/c'\n"}, [], " /c"),
        ({}, [], ""),
    ],
)
def test_the_certificate_is_the_one_that_dkms_signs_with(
    tmp_path: Path, settings: dict[str, str], there: list[str], named: str
) -> None:
    depends(tmp_path, "updates/dkms/oom.ko:")
    names = {f"etc/dkms/framework.conf{suffix}": text for suffix, text in settings.items()}
    for name, text in {**names, "sys/module/module/parameters/sig_enforce": "Y\n"}.items():
        host(tmp_path, name)
        (tmp_path / name).write_text(text)
    assert f"`mokutil --import{named}`" in absence.advice(RELEASE, host(tmp_path, *there))


@pytest.mark.parametrize(
    "line",
    [
        "kernel/mm/room.ko:",
        "kernel/mm/oom_test.ko:",
        "kernel/a.ko: updates/dkms/oom.ko",
        "oom.ko.d/a.ko:",
    ],
)
def test_another_module_is_not_taken_for_it(tmp_path: Path, line: str) -> None:
    host(tmp_path, SOURCES, DKMS, HEADERS)
    depends(tmp_path, line)
    assert INSTALL in absence.advice(RELEASE, tmp_path)


def test_without_sources_it_is_said_where_they_belong(tmp_path: Path) -> None:
    said = absence.advice(RELEASE, host(tmp_path, DKMS, HEADERS))
    place = f"/usr/src/oomrules-{__version__}"
    assert f"its sources are not in {place} (`make install` in a checkout puts them there)" in said
    # The commands do it first, or they would fail as they stand.
    assert f"`make install && {INSTALL}` builds and loads it" in said


@pytest.mark.parametrize(
    ("there", "install"),
    [
        ([HEADERS], "oomrules-dkms"),
        ([IMAGE], f"linux-headers-{RELEASE} oomrules-dkms"),
        # Nobody has a package of the headers of a kernel that dpkg has not installed.
        ([], "oomrules-dkms"),
    ],
)
def test_where_oomrules_is_a_package_that_of_the_module_is_proposed(
    tmp_path: Path, there: list[str], install: str
) -> None:
    package = "var/lib/dpkg/info/oomrules.list"
    said = absence.advice(RELEASE, host(tmp_path, package, APT, *there))
    assert f"`apt install {install} && modprobe oom` builds and loads it" in said
    assert f"./oomrules-dkms_{__version__}_all.deb" in said and "make install" not in said
    # What is installed already is built as anywhere.
    assert f"{INSTALL}`" in absence.advice(RELEASE, host(tmp_path, SOURCES, DKMS, HEADERS))


@pytest.mark.parametrize("release", ["5.10.0-9-amd64", "6.0.1", "4.19", "2.6.32-5"])
def test_an_older_kernel_is_not_told_to_build_it(tmp_path: Path, release: str) -> None:
    said = absence.advice(release, host(tmp_path, SOURCES, DKMS, ADDED))
    assert said == f"the module is for Linux 6.1 and later, and this kernel is {release}"


@pytest.mark.parametrize(
    ("release", "built"),
    [
        ("5.19.0-1-amd64", False),
        ("6.0.0-6-amd64", False),
        ("6.1.0-56-cloud-amd64", True),
        ("6.12.117+deb12-rt-amd64", True),
        ("7.3.4+deb13-amd64", True),
        ("10.0.1", True),
    ],
)
def test_dkms_and_the_sentence_agree_for_which_kernels_the_module_is(
    tmp_path: Path, release: str, built: bool
) -> None:
    conf = Path(__file__).parents[2] / "kernel/dkms.conf"
    words = shlex.split(conf.read_text(), comments=True)
    pattern = next(word for word in words if word.startswith("BUILD_EXCLUSIVE_KERNEL="))
    assert bool(re.search(pattern.partition("=")[2], release)) == built
    assert ("is for Linux" in absence.advice(release, tmp_path)) != built


# --- what status says -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        (ADDED, "", "dkms has it"),
        (
            "etc/modules-load.d/oom.conf",
            "# at boot\noom\n",
            "/etc/modules-load.d/oom.conf names it",
        ),
        (
            "usr/lib/modules-load.d/a.conf",
            "kvm\n oom \n",
            "/usr/lib/modules-load.d/a.conf names it",
        ),
    ],
)
def test_a_host_that_was_set_up_to_have_the_module_is_told_that_it_lacks_it(
    tmp_path: Path, path: str, text: str, why: str
) -> None:
    host(tmp_path, path)
    (tmp_path / path).write_text(text)
    (said,) = absence.missed(tmp_path)
    assert said.startswith(f"the kernel module is not loaded, though {why}; the module is")
    host(tmp_path, targets.KERNEL_LIST[1:])
    assert absence.missed(tmp_path) == []


@pytest.mark.parametrize("text", ["", "# oom\n", "zoom\n", "oom_other\n"])
def test_a_host_that_never_had_the_module_is_told_nothing(tmp_path: Path, text: str) -> None:
    host(tmp_path, SOURCES, DKMS, "etc/modules-load.d/oom.conf")
    (tmp_path / "etc/modules-load.d/oom.conf").write_text(text)
    assert absence.missed(tmp_path) == []
