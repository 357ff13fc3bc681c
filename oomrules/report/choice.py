"""The kernel's choice, computed again from its report.

A choice is *reproduced* if the kernel had to take that process: for every total and page size that
the report allows, by a formula that fits it. Where it allows other processes, that is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from oomrules.report import generations, unranked
from oomrules.report import total as totals
from oomrules.report.contest import Range
from oomrules.report.generations import GENERATIONS, points
from oomrules.report.model import (
    DIFFERS,
    NODES,
    NOT_RANKED,
    REPRODUCED,
    SYSRQ,
    TIE,
    Choice,
    Ranked,
    Report,
    Row,
    Total,
)
from oomrules.report.trials import Trial, chosen, trial

__all__ = ["GENERATIONS", "choose", "points"]

# So many ranges of the total are said: per mille, the order changes with every step.
_SAID = 3

# So many of the kernel's order are shown.
_SHOWN = 10

# The release of a kernel that is not released, or that somebody changed. Debian and Raspberry Pi
# have a plus in theirs, too.
_DEVELOPMENT = re.compile(r"-rc\d|-next|-mm\d|-dirty|(?<!v\d)(?<!v\dl)\+$")

# A process that empties a swap area asks to be taken first (set_current_oom_origin()).
_ORIGIN = ("swapoff",)

# Of several ways to read a report the one is shown that explains most.
_PREFERRED = (REPRODUCED, TIE, DIFFERS)

# Its points were the greatest number that there is.
_SCORE_OF_ORIGIN = 2000


@dataclass(frozen=True)
class _Finding:
    """A result with its reason."""

    result: str
    code: str
    why: str


def choose(
    report: Report,
    *,
    total: Total | None = None,
    linux: str = "",
    page_size: int | None = None,
) -> Choice:
    """Return whom the kernel had to take, and whether it did.

    Args:
        report: the report.
        total: the total, where somebody knows it.
        linux: the kernel's release, where somebody knows it: ``5.15``.
        page_size: in bytes, where somebody knows it.
    """
    sizes, page_known = totals.page_size(report, page_size)
    keys, known = generations.possible(report, linux)
    reason = unranked.reason(report)
    if not keys:
        code, why = reason or ("RPL411", f"no formula is known for this kernel: {known}")
        return Choice(
            generation="",
            known=known,
            page_size=sizes[0],
            page_known=page_known,
            total=total or totals.total(report, page_size=sizes[0]),
            result=NOT_RANKED,
            code=code,
            why=why,
        )
    if len(keys) > 1:
        known += f", which fits {' or '.join(GENERATIONS[key].title for key in keys)}"
    trials = [trial(report, key, size, total) for key in keys for size in sizes]
    if reason:
        shown, finding = trials[0], _Finding(NOT_RANKED, *reason)
    else:
        shown, finding = _together(trials, [_judge(each) for each in trials])
    order = shown.order()
    return Choice(
        generation=shown.key,
        known=known,
        page_size=shown.page_size,
        page_known=page_known,
        total=shown.total,
        result=finding.result,
        code=finding.code,
        why=finding.why,
        first=tuple(_ranked(shown, row) for row in order[:_SHOWN]),
        place=next((place for place, row in enumerate(order, 1) if row is shown.row), None),
    )


def _ranked(trial: Trial, row: Row) -> Ranked:
    least, most = points(row, trial.key, trial.total, trial.page_size)
    return Ranked(row=row, least=least, most=most)


def _together(trials: list[Trial], findings: list[_Finding]) -> tuple[Trial, _Finding]:
    """Return one finding for all ways to read a report, and the way that is shown.

    The kernel's own choice tells which of two formulas made it. It does not tell a page size.
    """
    best = min(range(len(trials)), key=lambda each: _PREFERRED.index(findings[each].result))
    shown, finding = trials[best], findings[best]
    if finding.result != REPRODUCED:
        return shown, finding
    others = [
        each for each, found in zip(trials, findings, strict=True) if found.result != REPRODUCED
    ]
    if other := next((each for each in others if each.key == shown.key), None):
        why = f"with pages of {shown.page_size // 1024} KiB it had to be this process"
        return shown, _Finding(TIE, "RPL206", f"{why}, with {other.page_size // 1024} KiB not")
    if others:
        why = f"{finding.why}; not so by the formula of {others[0].generation.title}"
        return shown, replace(finding, code="RPL108", why=why)
    return shown, finding


def _judge(trial: Trial) -> _Finding:
    """Compare the kernel's choice with the formula."""
    row = trial.victim
    if generations.is_exempt(row):
        why = f"line {row.line}: its oom_score_adj is -1000, which the kernel never chooses"
        return _odd(trial, why)
    if why := _hidden_swap(trial):
        return _Finding(DIFFERS, "RPL301", why)
    if trial.covers(trial.won()):
        return _reproduced(trial)
    return _open(trial) or _odd(trial, _why_not(trial))


# Swap that old tables do not show.


def _hidden_swap(trial: Trial) -> str:
    """Return why swap that the table does not show can have decided; empty if it did not.

    Tables have a column for swap since Linux 3.7. If the printed score is what the other columns
    give, the victim had no swap that counts.
    """
    row, killed = trial.victim, chosen(trial.report)
    if not _lacks_swap(trial.report) or _is_swap_unused(trial.report) or killed is None:
        return ""
    if killed.score is None:
        return f"no column has the swap of process {row.pid}, and no score is printed"
    counted = sorted(_scores(trial, row))
    if counted[0] <= killed.score <= counted[-1]:
        return ""
    return (
        f"line {killed.line}: the kernel counted {killed.score} for process {row.pid}, "
        f"the columns give {counted[-1]}: the table does not show swap"
    )


def _lacks_swap(report: Report) -> bool:
    return report.table is not None and "swapents" not in report.table.columns


def _is_swap_unused(report: Report) -> bool:
    total, free = report.figures.swap_total, report.figures.swap_free
    return total == 0 or (total is not None and total == free)


def _scores(trial: Trial, row: Row) -> Iterator[int]:
    """Yield the scores that the kernel can have printed, by the columns of the table."""
    for total in (trial.total.least, trial.most):
        for admin in (False, generations.is_root(row)):
            own = generations.value(trial.weight(row, admin), trial.generation, total)
            yield own if trial.generation.per_mille else own * 1000 // max(1, total)


# The formula takes the victim.


def _reproduced(trial: Trial) -> _Finding:
    """Say what else is true of a choice that the formula makes as well."""
    code, more = _besides(trial)
    return _Finding(REPRODUCED, code, _why(trial) + more)


def _besides(trial: Trial) -> tuple[str, str]:
    report, killed = trial.report, chosen(trial.report)
    if killed and killed.chosen not in (None, killed.pid):
        child = f"{killed.name} ({killed.pid})"
        return "RPL104", f"; its child {child} was killed in its place"
    if any(each.by == "oom.group" for each in report.killed):
        number = len(report.killed)
        return "RPL103", f"; its whole control group was killed: {number} processes"
    if report.kind == SYSRQ:
        return "RPL107", "; somebody asked for it by SysRq"
    if report.kind == NODES:
        return "RPL106", ", of those that may use these memory nodes"
    if _lacks_swap(report):
        fits = "none is used" if _is_swap_unused(report) else "the printed score fits"
        return "RPL105", f"; the table shows no swap, and {fits}"
    if trial.equals():
        looked = "last" if trial.generation.last else "first"
        return "RPL102", f", as others have, and is the {looked} that the kernel meets"
    return "RPL101", ""


def _why(trial: Trial) -> str:
    row = trial.victim
    least, most = points(row, trial.key, trial.total, trial.page_size)
    why = f"{_named(row)} has the most points"
    if trial.total.exact or least == most:
        unit = "per mille" if trial.generation.per_mille else "pages"
        why += f", {trial.value(row, trial.total.least)} {unit}"
    else:
        why += ", for every total that is possible"
    if trial.generation.bonus and not trial.covers(trial.won(own_admin=None, their_admin=False)):
        why += ", if root's processes have CAP_SYS_ADMIN"
    return why


def _named(row: Row) -> str:
    return f"{row.name} ({row.pid})"


# The report allows the victim, and others.


def _open(trial: Trial) -> _Finding | None:
    """Return why the report allows the victim as well as others; None if it does not."""
    name, won = _named(trial.victim), trial.won(all_ties=True)
    if trial.covers(won):
        alone = trial.won()
        if alone and not trial.equals():
            why = f"{name} has the most points if the total is {_said(trial, alone)}"
            return _Finding(TIE, "RPL203", f"{why}; for others it is one of equals")
        return _tie(trial)
    if won:
        why = f"{name} has the most points if the total is {_said(trial, won)}"
        return _Finding(TIE, "RPL203", why)
    same = _same_memory(trial)
    if same and trial.covers(trial.won(all_ties=True, but=same)):
        pids = _pids(trial, same)
        why = f"{pids} has the same memory, as after vfork(), and is passed over"
        return _Finding(TIE, "RPL207", why)
    dying = _dying(trial)
    if dying and trial.covers(trial.won(all_ties=True, but=dying)):
        why = f"{_pids(trial, dying)} has more points, but was killed before and is passed over"
        return _Finding(TIE, "RPL208", why)
    if trial.generation.bonus and trial.won(all_ties=True, own_admin=False):
        return _Finding(TIE, "RPL204", f"{name} has the most points if it lacks CAP_SYS_ADMIN")
    return None


def _pids(trial: Trial, pids: Collection[int]) -> str:
    return "process " + ", ".join(str(row.pid) for row in trial.rows if row.pid in pids)


def _tie(trial: Trial) -> _Finding:
    number = len(trial.equals())
    others = "another one" if number == 1 else f"{number} others"
    who = f"{_named(trial.victim)} and {others} have"
    own = trial.value(trial.victim, trial.total.least)
    if own == 1 and trial.generation.floor:
        return _Finding(TIE, "RPL201", f"{who} 1 point, the least that the kernel gives")
    why = f"{who} the most points: which one the kernel meets first is not told"
    return _Finding(TIE, "RPL202", why)


def _said(trial: Trial, ranges: tuple[Range, ...]) -> str:
    """Return ranges of the total in words: at most `_SAID` of them."""
    said = [
        f"at least {low} pages" if high >= trial.most else f"{low} to {high} pages"
        for low, high in ranges[:_SAID]
    ]
    if more := len(ranges) - len(said):
        said.append(f"in one of {more} more ranges")
    return " or ".join(said)


def _same_memory(trial: Trial) -> frozenset[int]:
    """Return who can share its memory with its parent until it starts a program (in_vfork())."""
    mark = _memory(trial.victim)
    others = (row for row in trial.rows if row is not trial.victim)
    return frozenset(row.pid for row in others if _memory(row) == mark)


def _dying(trial: Trial) -> frozenset[int]:
    """Return who was killed before, and can still be exiting."""
    killed = {(each.pid, each.name) for each in trial.report.earlier}
    others = (row for row in trial.rows if row is not trial.victim)
    return frozenset(row.pid for row in others if (row.pid, row.name) in killed)


def _memory(row: Row) -> tuple[int | None, ...]:
    names = ("uid", "total_vm", "rss", "pgtables_bytes", "swapents", "nr_ptes")
    return tuple(row.values.get(name) for name in names)


# The formula takes another process.


def _why_not(trial: Trial) -> str:
    first, least = trial.order()[0], trial.total.least
    own, other = trial.value(trial.victim, least), trial.value(first, least)
    return f"{_named(first)} has {other} points, {_named(trial.victim)} has {own}"


def _odd(trial: Trial, why: str) -> _Finding:
    """Return the reason of a choice that the formula does not make."""
    row, killed = trial.victim, chosen(trial.report)
    if row.name in _ORIGIN or (killed and (killed.score or 0) > _SCORE_OF_ORIGIN):
        why = f"{_named(row)} asked to be taken first, as swapoff and KSM do"
        return _Finding(DIFFERS, "RPL303", why)
    if _DEVELOPMENT.search(trial.report.kernel):
        return _Finding(DIFFERS, "RPL302", f"{why}; {trial.report.kernel} is no released kernel")
    return _Finding(DIFFERS, "RPL399", why)
