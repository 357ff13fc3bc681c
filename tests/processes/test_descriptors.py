"""Files of stat that are kept open."""

from __future__ import annotations

import os
from typing import Any

import pytest

from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process
from tests.processes.support import (
    NOTHING,
    Spawn,
    field,
    open_files,
    program,
    run,
    watched,
)


def let_go(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a kept descriptor answer as the kernel does once the process behind it is gone."""
    stale, real = process.descriptor, os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if descriptor == stale:
            raise ProcessLookupError(3, "No such process")
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)


def test_a_kept_descriptor_never_speaks_for_a_recycled_pid(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(7, b"old")
    source = ProcSource(NOTHING, root=str(proc.root), descriptors=8).refresh()
    process = source.by_pid[7]
    let_go(process, monkeypatch)
    proc.add(7, b"new", start=2000)
    source.refresh()
    assert source.by_pid[7] is not process
    assert field(source, 7, "comm") == "new"
    assert source.descriptors.kept == 1
    source.close()


# --- descriptors ---------------------------------------------------------------------


def test_no_more_descriptors_are_kept_than_are_wanted(proc: Any) -> None:
    before = open_files()
    for pid in range(10, 20):
        proc.add(pid)
    source = ProcSource(NOTHING, root=str(proc.root), descriptors=3)
    for _ in range(3):
        source.refresh()
        assert source.descriptors.kept == 3
        assert open_files() == before + 3 + 1  # and meminfo
        assert len(source.by_pid) == 10
    source.close()
    assert open_files() == before


def test_a_descriptor_that_comes_free_is_used_again(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(10)
    source = ProcSource(NOTHING, root=str(proc.root), descriptors=1).refresh()
    let_go(source.by_pid[10], monkeypatch)
    proc.remove(10)
    source.refresh()
    assert (list(source.by_pid), source.descriptors.kept) == ([], 0)
    monkeypatch.undo()
    proc.add(11)
    proc.add(12)
    source.refresh()
    assert (sorted(source.by_pid), source.descriptors.kept) == ([11, 12], 1)
    source.close()


@pytest.mark.parametrize("kept", [0, 2])
def test_every_descriptor_is_closed_in_the_end(kept: int, proc: Any) -> None:
    before = open_files()
    for pid in range(10, 15):
        proc.add(pid)
    source = ProcSource(program("score rss + swap"), root=str(proc.root), descriptors=kept)
    for _ in range(5):
        source.refresh()
        for process in list(source.by_pid.values()):
            watched(source, process.pid)
    source.close()
    source.close()
    assert open_files() == before


def test_a_low_limit_of_open_files_costs_speed_and_no_process(spawn: Spawn) -> None:
    children = [spawn() for _ in range(8)]
    out = run(
        "resource.setrlimit(resource.RLIMIT_NOFILE, (70, 70))\n"
        "source = ProcSource(make((), {}), descriptors=4096).refresh().refresh()\n"
        "print(source.descriptors.kept)\n"
        "print(*source.by_pid)\n"
    )
    kept, pids = out.splitlines()
    assert 0 < int(kept) < 70
    assert {str(child.pid) for child in children} <= set(pids.split())


def test_the_soft_limit_of_open_files_is_raised_as_far_as_needed() -> None:
    out = run(
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (80, hard))\n"
        "ProcSource(make((), {}), descriptors=500)\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE), hard)\n"
    )
    soft, hard, before = map(int, out.split())
    assert 500 < soft < 1000 or soft == hard
    assert hard == before
