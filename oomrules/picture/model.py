"""What is drawn: who holds how much, what nobody holds, and sums that are true.

All sizes are in bytes. Names come from processes and units: whatever draws them escapes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Share(NamedTuple):
    """What one process holds of the RAM, and of swap.

    Attributes:
        anon: anonymous memory.
        tables: its page tables.
        file: its share of mapped files, which lie in the file cache.
        shmem: its share of tmpfs and shared memory.
        swap: what of it lies in swap, which is no part of the RAM.
        measure: ``proportional``, ``own`` (only what is its own is counted), ``resident`` (all that
            it maps is counted in full) or ``unknown``.
    """

    anon: int = 0
    tables: int = 0
    file: int = 0
    shmem: int = 0
    swap: int = 0
    measure: str = "unknown"

    @property
    def ram(self) -> int:
        """What it holds of the RAM."""
        return self.anon + self.tables + self.file + self.shmem

    @property
    def back(self) -> int:
        """What of the RAM comes back at once when it ends: files stay cached, tmpfs stays."""
        return self.anon + self.tables


class Holder(NamedTuple):
    """A process.

    Attributes:
        group: tells its unit from others of the same name.
        unit: the name of its unit.
        rank: its place in the list; 0 for one that is no candidate.
        step: with which kill it goes, counted from 1; 0 if with none.
        kept: why it is not taken, in one word or two; empty for a candidate.
        why: the rules that decided, in one line.
        explained: what ``oomrules explain`` says.
    """

    pid: int
    name: str
    user: str
    group: str
    unit: str
    share: Share
    rank: int
    step: int
    points: int
    tier: str
    kept: str
    why: str
    explained: str


class Part(NamedTuple):
    """Memory that no process holds.

    Attributes:
        key: a word for it, as in ``oomrules guard --json``.
        about: how it comes back.
    """

    key: str
    name: str
    size: int
    about: str


class Picture(NamedTuple):
    """All that is drawn.

    Attributes:
        what: the host or the unit, in words.
        time: when it was looked at.
        total: how much memory there is; of a unit, how much it is charged for.
        excess: by how much the sum of all that is drawn exceeds the total, since memory that
            processes share counts several times, or another unit is charged for it, or the
            figures are not of one moment.
        swap: the size of swap, and what of it is free; None if that is unknown.
        steps: how many kills there can be.
        measure: what the points measure.
        notes: what could not be seen.
        within: whether it is about a unit, not about the host.
    """

    what: str
    time: str
    total: int
    excess: int
    swap: tuple[int, int | None]
    holders: tuple[Holder, ...]
    parts: tuple[Part, ...]
    steps: int
    measure: str
    notes: tuple[str, ...]
    within: bool = False

    @property
    def held(self) -> int:
        """What the processes hold together."""
        return sum(holder.share.ram for holder in self.holders)


# What is left of these once the processes' shares are taken out, and the name of the share.
_SHARED = {"anon": "anon", "page_tables": "tables", "cache": "file", "shmem": "shmem"}
REST = "rest"


def remaining(
    total: int, sizes: Mapping[str, int], shares: Iterable[Share]
) -> tuple[dict[str, int], int]:
    """Return what of the memory no process holds, and by how much all together exceeds the total.

    The processes' shares and what is returned add up to the total and the excess.

    Args:
        total: how much memory there is.
        sizes: its parts, with what processes hold of them. One that is unknown is missing; then
            what is left of it is counted under ``rest``.
        shares: of the processes.
    """
    listed = list(shares)
    left = dict(sizes)
    for key, field in _SHARED.items():
        if key in left:
            left[key] = max(0, left[key] - sum(getattr(share, field) for share in listed))
    left.setdefault(REST, 0)
    sum_ = sum(share.ram for share in listed) + sum(left.values())
    if sum_ < total:
        left[REST] += total - sum_
    return left, max(0, sum_ - total)
