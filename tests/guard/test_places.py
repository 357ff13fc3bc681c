"""The figures of units, from files that stay open."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from oomrules.guard.places import UnitFiles, counted, limit, opened, totals
from oomrules.processes.snapshot import NO_LIMIT
from tests.processes.test_cgroups import EVENTS, HYBRID, V1, V2, Tree, v1_files

PSI = (
    "some avg10=1.25 avg60=0.00 avg300=0.00 total=700\n"
    "full avg10=0.50 avg60=0.00 avg300=0.00 total=500\n"
)
ALL = frozenset(
    ("memory", "memory_max", "memory_high", "swap", "oom_kills", "stall", "pressure", "limit")
)
UNIT = "/a.slice/b.service"


def whole(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path, V2)
    tree.put("/a.slice", memory__max="8000\n")
    tree.put(
        UNIT,
        memory__current="1000\n",
        memory__max="max\n",
        memory__high="3000\n",
        memory__events=EVENTS,
        memory__pressure=PSI,
        cgroup__events="populated 1\nfrozen 0\n",
        **{"memory.swap.current": "40\n"},
    )
    return tree


def test_every_figure_of_v2_is_read(tmp_path: Path) -> None:
    files = UnitFiles(UNIT, ALL, whole(tmp_path).open())
    assert files.read({"processes": 3}) == {
        "processes": 3,
        "memory": 1000,
        "memory_max": NO_LIMIT,
        "memory_high": 3000,
        "swap": 40,
        "oom_kills": 5,
        "some": 700,
        "full": 500,
        # The nearest: that of the slice around it.
        "limit": 8000,
    }


@pytest.mark.parametrize(("lines", "some"), [(V1, None), (HYBRID, 700)])
def test_every_figure_of_v1_is_read(lines: str, some: int | None, tmp_path: Path) -> None:
    tree = Tree(tmp_path, lines)
    tree.put("/memory/a.service", **v1_files(1000, 5000, 1700))
    tree.put("/unified/a.service", memory__pressure=PSI)
    found = UnitFiles("/a.service", ALL, tree.open()).read({})
    assert found is not None
    assert found.get("some") == some
    assert {
        key: found[key] for key in ("memory", "swap", "memory_max", "memory_high", "limit")
    } == {
        "memory": 1000,
        "swap": 700,
        "memory_max": 5000,
        "memory_high": NO_LIMIT,
        "limit": 5000,
    }


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    tree = whole(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    files = UnitFiles(UNIT, {"memory"}, tree.open())
    assert files.read({}) == {"memory": 1000}
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del files
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_controller_that_is_off_limits_nothing_and_counts_nothing(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2)
    tree.put(UNIT, cgroup__events="populated 1\n")
    found = UnitFiles(UNIT, ALL, tree.open()).read({})
    assert found == {
        "memory": None,
        "swap": None,
        "oom_kills": None,
        "memory_max": NO_LIMIT,
        "memory_high": NO_LIMIT,
        "limit": NO_LIMIT,
    }


def test_a_user_who_switches_psi_off_in_his_group_hides_its_shares_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = whole(tmp_path)
    tree.put(UNIT, cgroup__pressure="1\n")
    hierarchy, keys = tree.open(), {UNIT: ALL}
    directory = tmp_path / "cg" / UNIT.lstrip("/")
    on = opened(keys, {}, hierarchy)
    assert on[UNIT].switched_off == ""
    assert opened(keys, on, hierarchy)[UNIT] is on[UNIT]
    known = on[UNIT].read({})
    assert known is not None

    # The kernel hides the file, and what is open of it is dead.
    (directory / "memory.pressure").unlink()
    pread = os.pread

    def read(descriptor: int, length: int, offset: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("memory.pressure (deleted)"):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", read)
    levels = {key: value for key, value in known.items() if key not in ("some", "full")}
    assert on[UNIT].read({}) == levels and not on[UNIT].gone
    assert on[UNIT].switched_off == f"{directory}/cgroup.pressure"
    off = opened(keys, on, hierarchy)
    assert off[UNIT].read({}) == levels
    assert off[UNIT].switched_off == f"{directory}/cgroup.pressure"

    # Switched on again, it is read from the next list on.
    (directory / "memory.pressure").write_text(PSI)
    again = opened(keys, off, hierarchy)
    assert again[UNIT].read({}) == known and again[UNIT].switched_off == ""


def test_a_kernel_without_psi_has_nothing_switched_off(tmp_path: Path) -> None:
    tree = whole(tmp_path)
    (tmp_path / "cg" / UNIT.lstrip("/") / "memory.pressure").unlink()
    files = opened({UNIT: ALL}, {}, tree.open())
    assert files[UNIT].switched_off == ""
    assert opened({UNIT: ALL}, files, tree.open())[UNIT] is files[UNIT]


def test_nonsense_is_unknown(tmp_path: Path) -> None:
    tree = whole(tmp_path)
    tree.put(UNIT, memory__current="many\n", memory__pressure="what\n", memory__events="\n")
    found = UnitFiles(UNIT, ALL, tree.open()).read({})
    assert found is not None
    assert (found["memory"], found["oom_kills"], found.get("full")) == (None, None, None)
    assert found["swap"] == 40


def test_a_unit_that_is_made_anew_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = whole(tmp_path)
    hierarchy, keys = tree.open(), {UNIT: frozenset({"memory"})}
    first = opened(keys, {}, hierarchy)
    assert opened(keys, first, hierarchy)[UNIT] is first[UNIT]
    shutil.rmtree(tmp_path / "cg" / UNIT.lstrip("/"))
    tree.put(UNIT, memory__current="7\n")
    # As the kernel answers for files of a group that was removed.
    _refuse_reading(monkeypatch, errno.ENODEV)
    assert first[UNIT].read({}) is None and first[UNIT].gone
    monkeypatch.undo()
    second = opened(keys, first, hierarchy)
    assert second[UNIT] is not first[UNIT] and second[UNIT].read({}) == {"memory": 7}


def _refuse_reading(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(descriptor: int, length: int, offset: int) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pread", refuse)


def test_what_cannot_be_read_now_is_unknown_and_the_unit_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = UnitFiles(UNIT, {"memory", "stall", "limit"}, whole(tmp_path).open())
    _refuse_reading(monkeypatch, errno.EOPNOTSUPP)
    found = files.read({"footprint": 9})
    assert found is not None and found["footprint"] == 9
    assert [found.get(key) for key in ("memory", "full", "limit")] == [None, None, None]


def test_a_unit_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    hierarchy = whole(tmp_path).open()
    keys = {UNIT: frozenset({"memory"}), "/none.service": frozenset({"memory"})}
    assert opened(keys, {}, hierarchy).keys() == {UNIT}


def test_a_process_without_descriptors_to_spare_leaves_units_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hierarchy = whole(tmp_path).open()
    real: Callable[..., int] = os.open

    def refuse(path: str | bytes, flags: int, **more: int) -> int:
        if "dir_fd" in more:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, flags)

    monkeypatch.setattr(os, "open", refuse)
    before = len(os.listdir("/proc/self/fd"))
    assert opened({UNIT: ALL}, {}, hierarchy) == {}
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"max\n", NO_LIMIT), (b"4096\n", 4096), (b"9223372036854771712\n", NO_LIMIT)],
)
def test_limits(data: bytes, expected: int) -> None:
    assert limit(data) == expected


def test_counted_takes_the_whole_key_alone() -> None:
    data = b"oom 1\noom_kill 2\noom_group_kill 3\n"
    assert [counted(data, key) for key in (b"oom", b"oom_kill", b"oom_group_kill")] == [1, 2, 3]
    assert counted(data, b"kill") is None and counted(b"", b"oom") is None


def test_totals_of_psi() -> None:
    assert totals(PSI.encode()) == (700, 500)
    assert totals(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n") == (7, None)
