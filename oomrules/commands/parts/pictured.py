"""What ``oomrules picture`` draws, taken from a ranking: no figure or sentence of its own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import NamedTuple

from oomrules.commands.parts import explained, openness, selection, unheld
from oomrules.commands.parts.verdicts import Row, measure
from oomrules.picture import measured
from oomrules.picture.model import Holder, Part, Picture, Share, remaining
from oomrules.plain import printable
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import PF_KTHREAD, Process, Snapshot
from oomrules.processes.values import innermost_place, known
from oomrules.program.nodes import glob
from oomrules.ranking.possible import Possible
from oomrules.ranking.ranker import Ranking, within
from oomrules.ranking.tiers import named
from oomrules.ranking.verdict import Verdict, Why

# Seconds to wait at most for the kernel to add up what processes share.
_PATIENCE = 10.0
# What is left of the RAM, by the keys of ``unheld``: the names that suit a picture of it.
_NAMES = {
    "anon": ("processes not seen", "anonymous memory that none of the processes here holds"),
    "page_tables": ("page tables", "those of the kernel, and upper levels of processes'"),
    "available": ("given back on demand", "mostly file cache: MemAvailable without what is free"),
    "rest": ("not accounted for", "drivers, network buffers, the swap cache, or not recorded"),
}
_OF_UNIT = Part("rest", "of no process", 0, "the unit is charged for it: file cache, tmpfs, kernel")


class _Sum(NamedTuple):
    """How much memory there is, the parts that no process holds, and the excess.

    Attributes:
        note: what is not known of it; may be empty.
    """

    total: int
    parts: tuple[Part, ...]
    excess: int
    note: str = ""


class _Shown(NamedTuple):
    """The processes that are drawn, each with what it holds and what the rules say of it.

    Attributes:
        whole: the ranking of the whole host, which reasons are about.
        ranks: their places among those that are drawn.
        first: which process may be the first victim; None if nothing is in doubt.
    """

    whole: Ranking
    shares: Mapping[int, Share]
    verdicts: Mapping[int, Verdict]
    ranks: Mapping[int, int]
    first: Possible | None
    common: explained.Common


def of(ranked: selection.Ranked, options: argparse.Namespace) -> Picture:
    """Return the picture of what the options name.

    Args:
        ranked: all candidates of the host.
        options: with ``within`` and ``snapshot``.
    """
    whole, snapshot = ranked.ranking, ranked.ranking.snapshot
    keep = within(options.within) if options.within else None
    listed = [
        process
        for process in snapshot.by_pid.values()
        if not (process.flags or 0) & PF_KTHREAD and (keep is None or keep(process, snapshot))
    ]
    selection.show_names(listed, snapshot)
    shares = _shares(listed, snapshot)
    # A process may have ended while it was measured.
    listed = [process for process in listed if process.state not in ("X", "x")]
    shares = {process.pid: shares[process.pid] for process in listed}
    verdicts = {process.pid: whole.verdict(process) for process in listed}
    inside = [process for process in whole.candidates if process.pid in verdicts]
    shown = _Shown(
        whole=whole,
        shares=shares,
        verdicts=verdicts,
        ranks={process.pid: rank for rank, process in enumerate(inside, 1)},
        first=_first(whole, verdicts, bool(options.snapshot)),
        common=explained.Common.of(whole),
    )
    sum_ = _sum(ranked, list(shares.values()), listed, options.within)
    steps = _steps(inside, whole, shown.common)
    ordered = sorted(listed, key=lambda one: (shown.ranks.get(one.pid, 1 << 62), one.pid))
    host = snapshot.host
    return Picture(
        what=f"unit {options.within}" if options.within else options.snapshot or "this host",
        time=host.time,
        total=sum_.total,
        excess=sum_.excess,
        swap=(host.swap_total, host.swap_free),
        holders=tuple(_holder(process, shown, steps) for process in ordered),
        parts=sum_.parts,
        steps=max(steps.values(), default=0),
        measure=measure(whole.evaluator.program),
        notes=(*ranked.notes(), *filter(None, [sum_.note])),
        within=bool(options.within),
    )


# --- how much each process holds ------------------------------------------------------------------


def _shares(processes: list[Process], snapshot: Snapshot) -> dict[int, Share]:
    of_kernel: Mapping[int, measured.Proportional] = {}
    if isinstance(snapshot, ProcSource):
        # The largest first: the time may not be enough for all.
        wanted = {
            process.pid: process.starttime
            for process in sorted(processes, key=lambda one: -(one.rss or 0))
            if process.rss
        }
        of_kernel = measured.proportional(wanted, _PATIENCE)
    return {one.pid: _share(one, snapshot, of_kernel.get(one.pid)) for one in processes}


def _share(
    process: Process, snapshot: Snapshot, proportional: measured.Proportional | None
) -> Share:
    page_size = snapshot.host.page_size

    def size(name: str, unit: int = 1) -> int | None:
        value = known(name, process, snapshot)
        return value * unit if isinstance(value, int) else None

    anon, rss = size("anon", page_size), size("rss", page_size)
    tables, swap = size("pgtables", page_size) or 0, size("swap", page_size) or 0
    if proportional:
        return Share(
            anon=proportional.anon,
            tables=tables,
            file=proportional.file,
            shmem=proportional.shmem,
            swap=swap,
            measure="proportional",
        )
    if anon is not None:
        return Share(anon=anon, tables=tables, swap=swap, measure="own")
    if rss is not None:
        return Share(anon=rss, tables=tables, swap=swap, measure="resident")
    return Share(swap=swap)


# --- what nobody holds ----------------------------------------------------------------------------


def _sum(
    ranked: selection.Ranked, shares: list[Share], processes: list[Process], unit: str | None
) -> _Sum:
    snapshot = ranked.ranking.snapshot
    if unit:
        return _sum_of_unit(shares, processes, snapshot, unit)
    uses = unheld.read() if isinstance(ranked.source, ProcSource) else None
    if uses is None:
        total, sizes = snapshot.host.mem_total, _recorded(snapshot)
        uses = unheld.uses({})
    else:
        total, sizes = uses.total, {part.key: part.size for part in uses.parts}
    left, excess = remaining(total, sizes, shares)
    named_ = {part.key: (part.name, part.about) for part in uses.parts} | _NAMES
    parts = [Part(key, named_[key][0], size, named_[key][1]) for key, size in left.items() if size]
    return _Sum(total, tuple(sorted(parts, key=lambda part: -part.size)), excess)


def _sum_of_unit(
    shares: list[Share], processes: list[Process], snapshot: Snapshot, unit: str
) -> _Sum:
    charged = _charged(processes, snapshot, unit)
    if charged is None:
        held = sum(share.ram for share in shares)
        note = f"what unit {unit} is charged for is not known, so this is what its processes hold"
        return _Sum(held, (), 0, note)
    left, excess = remaining(charged, {}, shares)
    parts = [_OF_UNIT._replace(size=left["rest"])] if left["rest"] else []
    return _Sum(charged, tuple(parts), excess)


def _recorded(snapshot: Snapshot) -> dict[str, int]:
    """Return the parts of the RAM that a recording tells."""
    host = snapshot.host
    sizes = {"free": host.free, "shmem": host.shmem, "huge_pages": host.hugetlb}
    if host.available is not None and host.free is not None:
        sizes["available"] = max(0, host.available - host.free)
    return {key: size for key, size in sizes.items() if size is not None}


def _charged(processes: list[Process], snapshot: Snapshot, unit: str) -> int | None:
    """Return what the outermost units of a name are charged for; None if that is not known."""
    paths = set()
    for process in processes:
        place = innermost_place(process, snapshot)
        matching = [
            around.path
            for around in (place.ancestors if place else ())
            if glob(around.unit or around.slice, unit)
            or unit in (snapshot.fact(around, "Names") or ())
        ]
        paths.update(matching[-1:])
    scopes = list(map(snapshot.scope, paths))
    charges = [scope.get("memory") if scope else None for scope in scopes]
    return None if None in charges else sum(filter(None, charges))


# --- the processes --------------------------------------------------------------------------------


def _first(whole: Ranking, verdicts: Mapping[int, Verdict], recorded: bool) -> Possible | None:
    """Return which process may be the first victim, as ``explain`` finds it."""
    found = list(verdicts.values())
    if recorded:
        others = (one for one in whole.snapshot.by_pid.values() if one.pid not in verdicts)
        found += map(whole.verdict, others)
    return explained.first(found, whole)


def _holder(process: Process, shown: _Shown, steps: Mapping[int, int]) -> Holder:
    whole, common, rank = shown.whole, shown.common, shown.ranks.get(process.pid, 0)
    verdict, row = shown.verdicts[process.pid], Row.of(process, whole, rank)
    place = innermost_place(process, whole.snapshot)
    # On this host only what is in doubt itself is asked about.
    live = isinstance(whole.snapshot, ProcSource)
    first = None if live and not openness.in_doubt([verdict]) else shown.first
    lines = [explained.title(process, whole)]
    lines += explained.steps(process, verdict, whole, first, common)
    if rank:
        lines += ["", explained.rank(process, whole, common)]
        lines += explained.taking(process, whole, common)
    return Holder(
        pid=process.pid,
        name=row.command,
        user=row.user,
        group=place.path if place else "?",
        unit={"-": "in no unit", "?": "unit unknown"}.get(row.unit, row.unit),
        share=shown.shares[process.pid],
        rank=rank,
        step=steps.get(process.pid, 0),
        points=row.points,
        tier=named(verdict.tier, verdict.degree) if rank else "",
        kept="" if rank else _kept(verdict),
        why=row.why,
        explained="\n".join(map(printable, lines)),
    )


def _kept(verdict: Verdict) -> str:
    if verdict.rule:
        return "protected"
    return "ends already" if verdict.why in (Why.EXITING, Why.ZOMBIE) else "no candidate"


def _steps(inside: list[Process], whole: Ranking, common: explained.Common) -> dict[int, int]:
    """Return with which kill each process goes; a unit that is killed as a whole goes at once.

    Args:
        inside: the candidates that are drawn, worst first.
        whole: the ranking of the whole host.
        common: what is known of its units.
    """
    steps: dict[int, int] = {}
    number = 0
    for process in inside:
        if process.pid in steps:
            continue
        number += 1
        group = whole.groups.of(process)
        found = common.together.get(group.unit.place.path) if group else None
        for victim in found.victims if found else (process,):
            steps.setdefault(victim.pid, number)
    return steps
