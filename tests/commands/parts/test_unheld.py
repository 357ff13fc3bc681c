"""How the RAM is used: parts that add up, and what no kill gives back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.commands.parts import unheld
from oomrules.terminal import Paint

GIB = 1 << 30
NAMES = (
    *("MemFree", "Buffers", "Cached", "Shmem", "SReclaimable", "SUnreclaim", "AnonPages"),
    *("KernelStack", "PageTables", "SecPageTables", "VmallocUsed", "Percpu", "Hugetlb"),
    *("Zswap", "Balloon", "GPUActive", "GPUReclaim"),
)
SIZES = st.integers(0, 4 * GIB)


def sizes(found: unheld.Uses) -> dict[str, int]:
    return {part.key: part.size for part in found.parts}


def sentence(found: unheld.Uses) -> str:
    return unheld.sentence(found)


def test_the_parts_of_this_host_add_up() -> None:
    found = unheld.read()
    assert found is not None
    # Lines of meminfo are not of one moment.
    assert sum(sizes(found).values()) == pytest.approx(found.total, rel=0.02)
    assert found.unheld < found.total


@given(st.dictionaries(st.sampled_from(NAMES), SIZES), SIZES, SIZES, st.integers(1, 64 * GIB))
def test_no_part_is_negative_and_the_rest_makes_the_sum(
    lines: dict[str, int], compressed: int, arc: int, total: int
) -> None:
    parts = sizes(unheld.uses({"MemTotal": total, **lines}, compressed, arc))
    assert min(parts.values()) >= 0
    if parts["rest"]:
        assert sum(parts.values()) == total
    else:
        assert sum(parts.values()) >= total
    assert parts["arc"] <= arc


def test_a_full_tmpfs_is_said_to_be_what_no_kill_gives_back() -> None:
    lines = {"MemTotal": 8 * GIB, "MemFree": GIB, "Cached": 6 * GIB, "Shmem": 5 * GIB}
    found = unheld.uses({**lines, "AnonPages": GIB})
    assert (sizes(found)["cache"], sizes(found)["shmem"], found.unheld) == (GIB, 5 * GIB, 5 * GIB)
    assert sentence(found) == (
        "5.0 GiB of 8.0 GiB (62 %), most of it tmpfs and shared memory "
        "5.0 GiB: no kill gives it back"
    )


def test_an_idle_host_is_not_complained_of() -> None:
    found = unheld.uses({"MemTotal": 8 * GIB, "MemFree": 7 * GIB, "AnonPages": GIB})
    assert (found.unheld, found.large) == (0, False)
    assert sentence(found) == "0 B of 8.0 GiB (0 %)"


def test_the_cache_of_zfs_is_taken_out_of_what_no_line_counts_and_then_out_of_slabs() -> None:
    lines = {"MemTotal": 8 * GIB, "MemFree": GIB, "AnonPages": GIB, "SUnreclaim": 4 * GIB}
    found = sizes(unheld.uses(lines, arc=3 * GIB))
    assert (found["arc"], found["slab"], found["rest"]) == (3 * GIB, 3 * GIB, 0)


def test_swapped_memory_that_zram_holds_is_its_processes() -> None:
    found = unheld.uses({"MemTotal": 8 * GIB, "MemFree": GIB}, compressed=4 * GIB)
    assert (sizes(found)["compressed"], found.unheld) == (4 * GIB, 3 * GIB)


def made(path: Path, meminfo: str, arcstats: str = "", vmstat: str = "") -> Path:
    """Write what stands for proc."""
    (path / "spl" / "kstat" / "zfs").mkdir(parents=True)
    (path / "meminfo").write_text(meminfo)
    (path / "vmstat").write_text(vmstat)
    (path / "spl" / "kstat" / "zfs" / "arcstats").write_text(arcstats)
    return path


def test_all_three_files_are_read(tmp_path: Path) -> None:
    meminfo = "MemTotal: 8388608 kB\nMemFree: 1048576 kB\nAnonPages: 1048576 kB\n"
    arcstats = "12 1 0x01 98 26656 1 6\nname type data\nhits 4 11\nsize 4 1073741824\n"
    found = unheld.read(made(tmp_path, meminfo, arcstats, "nr_zspages 262144\n"), 4096)
    assert found is not None
    parts = sizes(found)
    assert (parts["arc"], parts["compressed"], parts["rest"]) == (GIB, GIB, 4 * GIB)


@pytest.mark.parametrize(
    "meminfo",
    ["", "MemTotal: 0 kB\nMemFree: 0 kB\nAnonPages: 0 kB\n", "MemTotal: x kB\n", "\0\xff" * 50],
)
def test_a_meminfo_that_tells_nothing_is_no_table(tmp_path: Path, meminfo: str) -> None:
    # lxcfs may leave out lines.
    found = unheld.read(made(tmp_path, meminfo))
    assert found is None
    assert unheld.lines(found, Paint(sys.stdout)) == [] and unheld.as_data(found) is None


def test_what_is_there_in_no_amount_is_left_out_of_the_table() -> None:
    found = unheld.uses({"MemTotal": 8 * GIB, "MemFree": 7 * GIB, "AnonPages": GIB})
    text = "\n".join(unheld.lines(found, Paint(sys.stdout)))
    assert "huge pages" not in text and "tmpfs and shared memory" in text
