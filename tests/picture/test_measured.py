"""What of shared memory is a process's: read from the kernel, and not waited for."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import pytest

from oomrules.picture import measured
from oomrules.picture.measured import Proportional, parse, proportional

MIB = 1 << 20


def test_the_kernel_s_file_is_read() -> None:
    share = parse(Path("/proc/self/smaps_rollup").read_bytes())
    assert share is not None and share.anon > MIB and share.file > 0


def test_memory_that_two_processes_share_is_divided() -> None:
    """An anonymous shared mapping of 64 MiB is shared memory to the kernel."""
    with mmap.mmap(-1, 64 * MIB) as shared:
        shared.write(b"x" * (64 * MIB))
        alone = proportional({os.getpid(): None}, 10)[os.getpid()].shmem
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            # It maps each page of its own accord.
            sum(shared[at] for at in range(0, 64 * MIB, 4096))
            os.write(write, b"x")
            time.sleep(60)
            os._exit(0)
        try:
            os.read(read, 1)
            both = proportional({os.getpid(): None, child: None}, 10)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
            os.close(read)
            os.close(write)
    assert alone == pytest.approx(64 * MIB, rel=0.1)
    assert both[os.getpid()].shmem == pytest.approx(32 * MIB, rel=0.1)
    assert both[child].shmem == pytest.approx(32 * MIB, rel=0.1)


def test_another_process_of_the_same_pid_is_not_measured() -> None:
    assert proportional({os.getpid(): 1}, 10) == {}


def test_one_that_has_gone_is_left_out() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    found = proportional({child: None, os.getpid(): None}, 10)
    assert list(found) == [os.getpid()]


@pytest.mark.parametrize(
    "data",
    [b"", b"Pss_Anon: 5 kB\n", b"Pss_Anon:\nPss_File: x kB\nPss_Shmem: 1 kB\n", b"\xff" * 99],
)
def test_an_older_kernel_s_file_tells_nothing(data: bytes) -> None:
    assert parse(data) is None


def test_sizes_are_in_bytes() -> None:
    data = b"[rollup]\nPss: 9 kB\nPss_Anon: 5 kB\nPss_File: 3 kB\nPss_Shmem: 1 kB\n"
    assert parse(data) == Proportional(anon=5120, file=3072, shmem=1024)


def test_a_process_that_keeps_its_reader_waiting_does_not_keep_the_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel does not do that on demand."""
    read = measured._read

    def slow(name: str, directory: int) -> bytes:
        if name == "smaps_rollup":
            time.sleep(3)
        return read(name, directory)

    monkeypatch.setattr(measured, "_read", slow)
    begun = time.monotonic()
    assert proportional({os.getpid(): None}, 0.2) == {}
    assert time.monotonic() - begun < 2
