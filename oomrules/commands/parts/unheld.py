"""How the host's RAM is used, and how much of it no kill gives back.

From ``/proc/meminfo`` (Documentation/filesystems/proc.rst), ``/proc/vmstat`` and, with ZFS, the
size of its cache. All sizes are in bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from oomrules.terminal import Column, Paint, memory, table

# Larger than any of the files.
_MOST = 1 << 16
_KIB = 1024
# A host where no process holds this share of the RAM is told about it.
_LARGE = 0.25


class Use(NamedTuple):
    """A part of the RAM.

    Attributes:
        key: its name in JSON.
        name: its name for people.
        size: in bytes.
        held: whether a process holds it, so that it comes back with the end of that process.
        about: how it comes back.
    """

    key: str
    name: str
    size: int
    held: bool
    about: str


class Uses(NamedTuple):
    """The parts of the RAM, which add up to ``total``; those of no use are ``available``."""

    total: int
    parts: tuple[Use, ...]

    @property
    def unheld(self) -> int:
        """Bytes that are in use and held by no process."""
        return sum(part.size for part in self.parts if not part.held and part.key not in _GIVEN)

    @property
    def large(self) -> bool:
        """Whether that is much for this host."""
        return self.unheld > _LARGE * self.total


# What the kernel gives back by itself.
_GIVEN = ("free", "cache")


def read(proc: Path = Path("/proc"), page_size: int = os.sysconf("SC_PAGE_SIZE")) -> Uses | None:
    """Return how the RAM is used; None if the kernel does not tell.

    It does not where a file lies over its own, as lxcfs puts one there in a container.

    Args:
        proc: the directory of proc.
        page_size: in bytes.
    """
    try:
        if os.stat(proc / "meminfo").st_dev != os.stat(proc).st_dev:
            return None
    except OSError:
        return None
    lines = {key.rstrip(":"): _KIB * size for key, size in _numbers(proc / "meminfo", 1).items()}
    if not lines.get("MemTotal") or "MemFree" not in lines or "AnonPages" not in lines:
        return None
    pages = _numbers(proc / "vmstat", 1).get("nr_zspages", 0)
    arc = _numbers(proc / "spl" / "kstat" / "zfs" / "arcstats", 2).get("size", 0)
    return uses(lines, page_size * pages, arc)


def uses(lines: Mapping[str, int], compressed: int = 0, arc: int = 0) -> Uses:
    """Return how the RAM is used.

    Args:
        lines: of meminfo, in bytes. A line that this kernel does not have counts as 0.
        compressed: what zsmalloc holds for zram and zswap.
        arc: the size of ZFS's cache, which lies in pages that no line counts, and in slabs.
    """

    def line(name: str) -> int:
        return lines.get(name, 0)

    total, shmem = line("MemTotal"), line("Shmem")
    stacks = line("KernelStack")
    sizes = {
        "free": line("MemFree"),
        "cache": max(0, line("Cached") - shmem) + line("Buffers") + line("SReclaimable"),
        "anon": line("AnonPages"),
        "page_tables": line("PageTables") + line("SecPageTables"),
        "stacks": stacks,
        "shmem": shmem,
        "huge_pages": line("Hugetlb"),
        "slab": line("SUnreclaim"),
        # The stacks of threads are among what vmalloc has handed out.
        "kernel": max(0, line("VmallocUsed") - stacks) + line("Percpu"),
        "compressed": max(compressed, line("Zswap")),
        "balloon": line("Balloon"),
        "gpu": line("GPUActive") + line("GPUReclaim"),
    }
    # The lines are not read at one moment, so that the sum may be somewhat larger than the total.
    rest = max(0, total - sum(sizes.values()))
    sizes["arc"] = min(arc, rest + sizes["slab"])
    sizes["slab"] -= max(0, sizes["arc"] - rest)
    sizes["rest"] = max(0, rest - sizes["arc"])
    return Uses(
        total,
        tuple(Use(key, name, sizes[key], held, about) for key, name, held, about in _PARTS),
    )


_PARTS: tuple[tuple[str, str, bool, str], ...] = (
    ("free", "free", False, "nobody has it"),
    ("cache", "file cache", False, "the kernel gives back by itself what is not in use"),
    ("anon", "processes", True, "comes back when its process ends"),
    ("page_tables", "page tables", True, "come back with their process"),
    ("stacks", "kernel stacks", True, "come back with their thread"),
    ("shmem", "tmpfs and shared memory", False, "stays until the file is removed (`df -t tmpfs`)"),
    ("huge_pages", "huge pages", False, "reserved by vm.nr_hugepages; not part of host.memory"),
    ("slab", "slab", False, "the kernel's own; `slabtop -s c` says what for"),
    ("kernel", "vmalloc and per CPU", False, "the kernel's own, and its modules'"),
    ("compressed", "zram and zswap", True, "compressed swap; comes back with its processes"),
    ("arc", "ZFS cache", False, "given back, but late; zfs_arc_max limits it"),
    ("balloon", "balloon", False, "the hypervisor has it"),
    ("gpu", "GPU", False, "buffers of the graphics driver"),
    ("rest", "rest", False, "counted nowhere: drivers, network buffers, the swap cache"),
)
_COLUMNS = (
    Column("RAM", least=10, enough=20, turn=2),
    Column("SIZE", right=True),
    Column("SHARE", right=True),
    Column("HELD BY", goes=1),
    Column("HOW IT COMES BACK", least=20, turn=1, goes=2),
)
# Always shown, however small.
_SHOWN = ("free", "cache", "anon", "shmem", "slab", "rest")


def as_data(found: Uses | None) -> dict[str, Any] | None:
    """Return the parts of the RAM in bytes, for a program."""
    if found is None:
        return None
    sizes = {part.key: part.size for part in found.parts}
    return {"total": found.total, **sizes, "held_by_no_process": found.unheld}


def lines(found: Uses | None, paint: Paint) -> list[str]:
    """Return a table of the parts of the RAM, and a sentence on what no process holds."""
    if found is None:
        return []
    rows, styles = [], []
    for part in found.parts:
        if not part.size and part.key not in _SHOWN:
            continue
        by = "a process" if part.held else "-" if part.key in _GIVEN else "no process"
        share = f"{100 * part.size / found.total:.1f} %"
        rows.append([part.name, memory(part.size), share, by, part.about])
        styles.append("" if part.held or part.key in _GIVEN else "yellow" if found.large else "")
    return [table(_COLUMNS, rows, paint, styles), "", f"held by no process: {sentence(found)}"]


def sentence(found: Uses) -> str:
    """Return how much no process holds, and by what most of it is held."""
    share = f"{100 * found.unheld / found.total:.0f} %"
    text = f"{memory(found.unheld)} of {memory(found.total)} ({share})"
    held = [part for part in found.parts if not part.held and part.key not in _GIVEN and part.size]
    most = sorted(held, key=lambda part: -part.size)[:3]
    if most:
        text += f", most of it {', '.join(f'{part.name} {memory(part.size)}' for part in most)}"
    return f"{text}: no kill gives it back" if found.large else text


def _numbers(path: Path, column: int) -> dict[str, int]:
    """Return the numbers in a column of a file, by the word at the beginning of their line."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST).decode("ascii", "replace")
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > column and words[column].isascii() and words[column].isdigit():
            found[words[0]] = int(words[column])
    return found
