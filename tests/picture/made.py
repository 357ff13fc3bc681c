"""Pictures, made up for tests."""

from __future__ import annotations

from typing import Any

from oomrules.picture.model import Holder, Part, Picture, Share, remaining

MIB = 1 << 20


def holder(pid: int, mib: int, rank: int = 0, **more: Any) -> Holder:
    """A process that holds so much; without a rank it is protected."""
    values = {
        "name": f"process-{pid}",
        "user": "anna",
        "group": "/system.slice/a.service",
        "unit": "a.service",
        "share": Share(anon=mib * MIB, measure="proportional"),
        "step": rank,
        "points": 1000 - rank,
        "tier": "normal" if rank else "",
        "kept": "" if rank else "protected",
        "why": "by its score alone",
        "explained": f"{pid} process-{pid}, user anna\n\nrank {rank}",
        **more,
    }
    return Holder(pid=pid, rank=rank, **values)


def picture(*holders: Holder, total: int = 1000 * MIB, free: int = 100 * MIB) -> Picture:
    """A host with these processes."""
    left, excess = remaining(total, {"free": free}, [one.share for one in holders])
    parts = tuple(Part(key, key, size, f"about {key}") for key, size in left.items() if size)
    return Picture(
        what="a test",
        time="2026-01-01T00:00:00Z",
        total=total,
        excess=excess,
        swap=(0, None),
        holders=holders,
        parts=parts,
        steps=max((one.step for one in holders), default=0),
        measure="measure: memory",
        notes=(),
    )
