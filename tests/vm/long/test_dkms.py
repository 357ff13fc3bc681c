"""The module by the real dkms: built, signed, there after a reboot and for another kernel, removed.

`make dkms` runs this. dkms works natively, in the guest's own files (`tests/vm/dkms.py`); the guest
boots what came of it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import oomrules
from tests.vm import cache, dkms
from tests.vm.dkms import MODULE, SIGNER, Disk
from tests.vm.guest import Guest
from tests.vm.host import NoGuest
from tests.vm.module import statistics

LISTED = "cat /proc/oom; echo 1 2 3 > /proc/oom && cat /proc/oom; echo > /proc/oom"


@pytest.fixture(scope="module")
def disk() -> Disk:
    try:
        return dkms.disk()
    except NoGuest as why:
        pytest.fail(f"the disk cannot be had here: {why}", pytrace=False)


@pytest.fixture(scope="module")
def changed(disk: Disk) -> Iterator[Path]:
    """A disk that goes from one boot to the next, as a machine's own."""
    folder = Path(tempfile.mkdtemp(prefix="dkms-disk-", dir=cache.folder()))
    yield disk.copy(folder)
    shutil.rmtree(folder)


def field(text: str, name: str) -> str:
    """Return what modinfo says of a name."""
    found = re.search(rf"^{name}: +(.*?) *$", text, re.MULTILINE)
    assert found, text
    return found[1]


# What dkms does


def test_it_is_built_and_installed_for_the_kernel(disk: Disk) -> None:
    own, _ = disk.releases
    assert disk.said("install").endswith("exit code 0\n"), disk.said("install")
    assert f"{MODULE}, {own}, x86_64: installed" in disk.said("installed")
    assert field(disk.said("information"), "vermagic").split()[0] == own


def test_it_is_signed_with_the_key_that_the_machine_has(disk: Disk) -> None:
    assert field(disk.said("information"), "signer") == SIGNER
    assert field(disk.said("other information"), "signer") == SIGNER


def test_a_kernel_without_headers_is_installed_all_the_same(disk: Disk) -> None:
    assert disk.said("upgrade").endswith("exit code 0\n"), disk.said("upgrade")


def test_without_headers_one_sentence_says_what_to_do_and_that_does_it(disk: Disk) -> None:
    _, other = disk.releases
    said = disk.said("advice").removesuffix("\nexit code 0\n").strip()
    assert "\n" not in said
    assert said.startswith("the module is not built for this kernel")
    assert f"`apt install linux-headers-{other} && " in said
    assert disk.said("proposed").endswith("exit code 0\n"), disk.said("proposed")
    assert f"{MODULE}, {other}, x86_64: installed" in disk.said("both")
    assert field(disk.said("other information"), "vermagic").split()[0] == other


def test_the_first_kernel_keeps_its_module(disk: Disk) -> None:
    own, _ = disk.releases
    assert f"{MODULE}, {own}, x86_64: installed" in disk.said("both")


def test_having_it_built_once_more_is_no_error(disk: Disk) -> None:
    assert disk.said("once more").endswith("exit code 0\n"), disk.said("once more")


def test_a_later_version_takes_the_place_of_the_one_before(disk: Disk) -> None:
    assert disk.said("later").endswith("exit code 0\n"), disk.said("later")
    assert field(disk.said("later information"), "version") == "99.0"
    assert field(disk.said("information"), "version") == oomrules.__version__


def test_it_is_not_tried_for_a_kernel_that_is_too_old(disk: Disk) -> None:
    # Some versions of dkms take this for an error, others not.
    assert "BUILD_EXCLUSIVE" in disk.said("too old")
    assert "Building module" not in disk.said("too old")


# What a boot does


def shut_down(guest: Guest) -> None:
    """End the guest as a reboot does, with all on its disk."""
    guest.start("systemctl poweroff")
    guest.wait_console("reboot: Power down", timeout=120)


def expect_loaded(guest: Guest, release: str) -> None:
    assert guest.run("uname -r").stdout.strip() == release
    assert guest.run("systemctl is-active systemd-modules-load").stdout == "active\n"
    assert guest.run(LISTED, check=True).stdout == "\n1 2 3\n"
    assert statistics(guest)["memcg"] == 1


def test_it_is_loaded_at_boot(disk: Disk, changed: Path) -> None:
    own, _ = disk.releases
    with disk.boots(own, changed) as guest:
        expect_loaded(guest, own)
        shut_down(guest)


def test_a_kernel_that_does_not_know_its_key_rejects_it_and_the_advice_names_the_key(
    disk: Disk, changed: Path
) -> None:
    own, _ = disk.releases
    with disk.boots(own, changed, "module.sig_enforce=1") as guest:
        assert "Key was rejected" in guest.run("modprobe oom").stderr
        said = guest.run("oomrules emit --to /proc/oom").stderr
        assert "; if its key is rejected, enroll it with `mokutil --import /root/mok.der`" in said
        shut_down(guest)


def test_it_is_loaded_at_the_boot_of_the_other_kernel_and_is_gone_when_removed(
    disk: Disk, changed: Path
) -> None:
    _, other = disk.releases
    with disk.boots(other, changed) as guest:
        expect_loaded(guest, other)
        guest.run("rmmod oom", check=True)
        said = guest.run("oomrules emit --to /proc/oom").stderr
        assert "load the module with `modprobe oom`" in said
        guest.run("modprobe oom && test -e /proc/oom && rmmod oom", check=True)
        guest.run(f"dkms remove {MODULE} --all", check=True, timeout=300)
        assert guest.run("dkms status", check=True).stdout == ""
        left = "find /lib/modules /var/lib/dkms -name '*oom*' -not -path '*/kernel/*'"
        assert guest.run(left, check=True).stdout == ""
        assert guest.run("modprobe oom").status != 0
        said = guest.run("oomrules emit --to /proc/oom").stderr
        assert f"`dkms install {MODULE} -k {other} && modprobe oom` builds and loads it" in said
        shut_down(guest)


def test_a_boot_without_it_goes_on_and_status_says_what_is_missing(
    disk: Disk, changed: Path
) -> None:
    _, other = disk.releases
    with disk.boots(other, changed) as guest:
        assert guest.run("test -e /proc/oom").status != 0
        guest.run("systemctl start oomrules", check=True, timeout=180)
        said = guest.run("oomrules status").stdout
        assert (
            "the kernel module is not loaded, though /etc/modules-load.d/oom.conf names it" in said
        )
        assert f"`dkms install {MODULE} -k {other} && modprobe oom` builds and loads it" in said
