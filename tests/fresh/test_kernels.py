"""Which kernels the module is compiled for."""

import pytest

from tests.fresh.kernels import complaints, newest
from tests.fresh.root import Done

LISTED = """\
linux-headers-6.1.0-9-amd64 - Header files for Linux 6.1.0-9-amd64
linux-headers-6.1.0-56-amd64 - Header files for Linux 6.1.0-56-amd64
linux-headers-6.1.0-56-common - Common header files for Linux 6.1.0-56
linux-headers-6.1.0-47-cloud-amd64 - Header files for Linux 6.1.0-47-cloud-amd64
linux-headers-6.12-amd64 - Header files for Linux amd64 configuration (meta-package)
linux-headers-6.12.115+deb13-rt-amd64 - Header files for Linux 6.12.115+deb13-rt-amd64
linux-headers-6.12.115+deb13.1-rt-amd64 - Header files for Linux 6.12.115+deb13.1-rt-amd64
linux-headers-7.3-amd64 - Linux 7.3-rc7 for 64-bit PCs (module development)
linux-headers-7.2.13+deb14-amd64 - Linux 7.2.13 for 64-bit PCs (module development)
linux-headers-7.2.9+deb13-amd64 - Linux 7.2.9 for 64-bit PCs (module development)
linux-headers-generic - something else
"""


def test_of_each_series_and_flavour_it_is_the_newest() -> None:
    assert newest(LISTED) == [
        "6.1.0-47-cloud-amd64",
        "6.1.0-56-amd64",
        "6.12.115+deb13.1-rt-amd64",
        "7.2.13+deb14-amd64",
        "7.3-amd64",  # a release candidate: Debian has the meta-packages without a number
    ]


@pytest.mark.parametrize(
    ("code", "output", "said"),
    [
        (0, "  CC [M]  oom.o\n  LD [M]  oom.ko\n", []),
        (0, "warning: pahole version differs from the one used to build the kernel\n", []),
        (0, "oom.c:7:5: warning: unused variable\n  LD\n", ["oom.c:7:5: warning: unused variable"]),
        (
            2,
            'ERROR: modpost: "x" [oom.ko] undefined!\n',
            ['ERROR: modpost: "x" [oom.ko] undefined!'],
        ),
        (127, "make: not found\n", ["make: not found"]),
        (1, "", ["it said nothing"]),
    ],
)
def test_what_the_compiler_complains_of_is_told(code: int, output: str, said: list[str]) -> None:
    assert complaints(Done(code, output)) == said
