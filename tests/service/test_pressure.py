"""How memory pressure is noticed, from this kernel and from files that stand for others."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

import pytest

from oomrules.service.pressure import MEMORY, Pressure

PSI = "some avg10={} avg60=0.00 avg300=0.00 total={}\nfull avg10=0.50 avg60=0 avg300=0 total=5\n"


def test_the_kernel_of_this_machine_takes_a_trigger_and_wakes_nobody_for_nothing() -> None:
    assert os.path.exists(MEMORY)
    pressure = Pressure()
    assert pressure.source == "trigger"
    assert pressure.look is None
    poll = select.poll()
    poll.register(pressure.descriptor, select.POLLPRI)
    assert poll.poll(0) == []
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        pressure.open()
    assert len(os.listdir("/proc/self/fd")) == before
    pressure.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_where_there_is_no_trigger_the_file_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a user finds it before Linux 6.5: the file can be read and not written.
    real = os.open

    def refuse(path: str, flags: int, **more: Any) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(1, "Operation not permitted", path)
        return real(path, flags, **more)

    monkeypatch.setattr(os, "open", refuse)
    file = tmp_path / "memory"
    file.write_text(PSI.format(0, 0))
    pressure = Pressure(str(file), str(tmp_path / "none"))
    assert (pressure.source, pressure.descriptor) == ("psi", -1)
    assert pressure.look is not None
    assert not pressure.high(100.0)
    file.write_text(PSI.format(0, 200_000))  # 0.2 s of 5 s
    assert not pressure.high(105.0)
    file.write_text(PSI.format(0, 200_000 + 300_000))
    assert pressure.high(110.0)
    assert not pressure.high(115.0)


def test_a_window_that_this_kernel_refuses_is_followed_by_one_that_anybody_may_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write(descriptor: int, data: bytes) -> int:
        written.append(data)
        if int(data.split()[2].rstrip(b"\0")) % 2_000_000:
            raise OSError(22, "Invalid argument")
        return len(data)

    monkeypatch.setattr(os, "write", write)
    file = tmp_path / "memory"
    file.write_text(PSI.format(0, 0))
    pressure = Pressure(str(file))
    assert pressure.source == "trigger"
    assert len(written) == 2
    pressure.close()


def test_a_kernel_without_psi_is_judged_by_the_memory_that_is_left(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 500 kB\n")
    pressure = Pressure(str(tmp_path / "none"), str(meminfo))
    assert pressure.source == "meminfo"
    assert pressure.shares() is None
    assert not pressure.high(1.0)
    meminfo.write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n")
    assert pressure.high(2.0)
    meminfo.unlink()
    assert not pressure.high(3.0)


def test_where_nobody_can_tell_it_says_so(tmp_path: Path) -> None:
    pressure = Pressure(str(tmp_path / "none"), str(tmp_path / "none"))
    assert (pressure.source, pressure.look, pressure.descriptor) == ("none", None, -1)


def test_the_shares_are_some_and_full_of_the_last_10_seconds(tmp_path: Path) -> None:
    file = tmp_path / "memory"
    file.write_text(PSI.format(12.5, 1))
    pressure = Pressure(str(tmp_path / "none"), str(tmp_path / "none"))
    pressure._path = str(file)
    assert pressure.shares() == (12.5, 0.5)
