"""The RPM and Arch Linux' package, built by the tools that Debian has of them."""

from __future__ import annotations

import oomrules
from tests.packages.building import APT, WHERE, Machine, must, unpack

VERSION = oomrules.__version__
SOURCES = "/var/tmp/sources"


def test_debians_rpmbuild_builds_the_rpm(machine: Machine) -> None:
    bare = machine("bookworm")
    unpack(bare)
    tools = "rpm rpmlint pandoc python3-pip"
    must(bare, f"apt-get -qq update && {APT} install --no-install-recommends {tools}")
    must(bare, f"sh {WHERE}/packaging/tarballs.sh {SOURCES}")
    spec = f"{WHERE}/packaging/rpm/oomrules.spec"
    # The requirements are packages of another distribution.
    define = f"--define '_topdir /var/tmp/rpm' --define '_sourcedir {SOURCES}'"
    must(bare, f"rpmbuild --nodeps {define} -ba {spec}")
    rpms = "/var/tmp/rpm/RPMS/noarch"
    files = must(bare, f"rpm -qpl {rpms}/oomrules-{VERSION}-1.noarch.rpm").split()
    assert {"/usr/bin/oomrules", "/usr/lib/systemd/system/oomrules.service"} < set(files)
    assert [path for path in files if path.startswith("/usr/share/man/man1/oomrules.1")]
    assert not [path for path in files if path.startswith(("/usr/src", "/usr/local"))]
    files = must(bare, f"rpm -qpl {rpms}/oomrules-dkms-{VERSION}-1.noarch.rpm").split()
    assert f"/usr/src/oomrules-{VERSION}/dkms.conf" in files
    # Manual pages are compressed as Fedora does it.
    bare.put("/var/tmp/rpmlint.toml", b'CompressExtension = "gz"\n')
    lint = f"rpmlint --ignore-unused-rpmlintrc -r {WHERE}/packaging/rpm/oomrules.rpmlintrc"
    said = must(bare, f"{lint} -c /var/tmp/rpmlint.toml {spec} {rpms}/*.rpm")
    assert " 0 errors, 0 warnings" in said, said
    # What was built runs.
    must(
        bare, f"mkdir /var/tmp/out && cd /var/tmp/out && rpm2cpio {rpms}/oomrules-{VERSION}* > cpio"
    )
    must(bare, f"{APT} install --no-install-recommends cpio && cd /var/tmp/out && cpio -id < cpio")
    line = "import sys; from oomrules.commands.main import main; sys.exit(main())"
    run = f"PYTHONPATH=/var/tmp/out/usr/lib/oomrules python3 -c '{line}'"
    assert "nothing to complain about" in must(bare, f"{run} check")


def test_debians_makepkg_builds_the_package_of_arch_linux(machine: Machine) -> None:
    bare = machine("bookworm")
    unpack(bare)
    tools = "makepkg pacman-package-manager fakeroot binutils libarchive-tools pandoc python3-pip"
    must(bare, f"apt-get -qq update && {APT} install --no-install-recommends {tools}")
    must(
        bare, f"sh {WHERE}/packaging/tarballs.sh {SOURCES} && cp {WHERE}/packaging/arch/* {SOURCES}"
    )
    must(bare, f"useradd --create-home anna && chown -R anna: {SOURCES}")
    must(bare, "makepkg --nodeps", user="anna", cwd=SOURCES)
    files = must(bare, f"bsdtar -tf {SOURCES}/oomrules-{VERSION}-1-any.pkg.tar.gz").split()
    assert {"usr/bin/oomrules", "usr/lib/systemd/system/oomrules.service", ".INSTALL"} < set(files)
    assert [path for path in files if path.startswith("usr/share/man/man1/oomrules.1")]
    assert not [path for path in files if path.startswith("usr/src")]
    files = must(bare, f"bsdtar -tf {SOURCES}/oomrules-dkms-{VERSION}-1-any.pkg.tar.gz").split()
    assert f"usr/src/oomrules-{VERSION}/dkms.conf" in files
