"""The clock and the memory are the kernel's, whatever a container is told, and are those of now."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.errors import Failure
from oomrules.processes import machine
from oomrules.processes.procfs import ProcSource
from oomrules.processes.values import GETTERS
from oomrules.program.program import make
from tests.children import CHECKOUT

NOTHING = make((), {})


@pytest.fixture
def memory() -> Iterator[machine.Memory]:
    found = machine.Memory("/proc")
    yield found
    found.close()


def of_meminfo() -> tuple[int, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    said = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return said["MemTotal"], said["SwapTotal"]


def test_meminfo_and_the_system_call_agree(memory: machine.Memory) -> None:
    assert memory.totals() == of_meminfo()
    memory.close()
    assert memory.totals() == of_meminfo()
    assert memory.totals()[0] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_totals_are_those_of_now_at_each_refresh(proc: Any) -> None:
    source = ProcSource(NOTHING, root=str(proc.root))
    for ram, swap in ((8388608, 1024), (8388608, 0), (16777216, 4096)):
        text = f"MemTotal:  {ram} kB\nMemFree: 1 kB\nSwapTotal: {swap} kB\n"
        (proc.root / "meminfo").write_text(text)
        host = source.refresh().host
        assert (host.mem_total, host.swap_total) == (ram * 1024, swap * 1024)
    source.close()


def test_a_kernel_without_swap_has_none(proc: Any) -> None:
    (proc.root / "meminfo").write_text("MemTotal: 77 kB\nMemFree: 1 kB\n")
    assert machine.Memory(str(proc.root)).totals() == (77 * 1024, 0)


def test_without_proc_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="meminfo: no such file") as failure:
        machine.Memory(str(tmp_path / "nothing"))
    assert failure.value.hint == "is /proc mounted, and without subset=pid?"


def in_namespaces(code: str, *options: str, before: str = "true") -> str:
    """Run Python in namespaces of its own, after a shell command."""
    script = f'{before} && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", *options, "--fork", "sh", "-c", script, sys.executable, code],
        env={**os.environ, "PYTHONPATH": CHECKOUT},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


SHOW = """
import os
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import make
from oomrules.processes.values import GETTERS
source = ProcSource(make((), {})).refresh()
ages = [GETTERS["run_time"](source.by_pid[pid], source) for pid in (1, os.getpid())]
print(*ages, source.host.mem_total, source.host.swap_total)
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make namespaces")


@needs_root
def test_what_a_container_is_told_of_its_uptime_and_memory_is_not_believed(tmp_path: Path) -> None:
    """As lxcfs does it: files of another file system over those of proc."""
    (tmp_path / "uptime").write_text("3.00 1.00\n")
    (tmp_path / "meminfo").write_text("MemTotal: 65536 kB\nSwapTotal: 4 kB\n")
    mounts = " && ".join(
        f"mount --bind '{tmp_path}/{name}' /proc/{name}" for name in ("uptime", "meminfo")
    )
    out = in_namespaces("print(open('/proc/uptime').read())" + SHOW, "--mount", before=mounts)
    fake, _, real = out.partition("\n\n")
    assert fake == "3.00 1.00"
    first, own, ram, swap = map(int, real.split())
    assert (ram, swap) == of_meminfo()
    source = ProcSource(NOTHING).refresh()
    now = GETTERS["run_time"](source.by_pid[1], source)
    assert first <= now <= first + 60_000
    assert first > own
    source.close()


@needs_root
@pytest.mark.skipif(not Path("/proc/self/ns/time").exists(), reason="Linux 5.6 has them")
def test_ages_are_the_same_in_a_time_namespace() -> None:
    source = ProcSource(NOTHING).refresh()
    now = GETTERS["run_time"](source.by_pid[1], source)
    source.close()
    first, own, *_ = map(int, in_namespaces(SHOW, "--time", "--boottime", "100000").split())
    assert now <= first <= now + 60_000
    assert own <= 60_000
    # One that the host of the namespace did not start before its own time.
    _, own, *_ = map(int, in_namespaces(SHOW, "--time", "--boottime", "-5").split())
    assert own <= 60_000
