"""A report that was replayed: the kernel's choice and that of the rules, also as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from oomrules.report.model import Choice, Killed, Ranked, Report, Row

SCHEMA = "oomrules.replay/1"

# What the rules' choice can be.
CERTAIN, OPEN, NOBODY, UNASKED = ANSWERS = ("certain", "open", "nobody", "unknown")

# This host as it is now, or a recording that was made of the report's host before.
LIVE, RECORDING = "live", "recording"

# Columns that are memory of a process in pages; the sum is what it held.
_RESIDENT = ("rss_anon", "rss_file", "rss_shmem")


@dataclass(frozen=True)
class Taken:
    """A process that the rules take, or may take.

    Attributes:
        rule: the text of the rules that decided, ``place`` where the first of them stands.
    """

    pid: int
    comm: str
    rule: str = ""
    place: str = ""


@dataclass(frozen=True)
class Unknown:
    """An attribute that is not known.

    Attributes:
        processes: of how many processes; ``rules`` that ask for it, as file and line.
    """

    attribute: str
    processes: int
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assumed:
    """An attribute that was assumed, as a value, for so many processes."""

    attribute: str
    processes: int
    value: str = ""


@dataclass(frozen=True)
class Answer:
    """Whom the rules would have taken.

    Attributes:
        result: one of ANSWERS; ``unknown`` where the report has no table.
        possible: one where it is certain; those come first that are first at their most.
        nobody: whether it may also be that the rules take nobody.
        unknown: what would have to be known for certainty.
        why: a sentence where there is something to say besides.
    """

    result: str
    possible: tuple[Taken, ...] = ()
    nobody: bool = False
    unknown: tuple[Unknown, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Replayed:
    """A report with both choices.

    Attributes:
        answer: by the rules; ``by_memory`` by the same with memory held as the score, where the
            score of the rules cannot be known.
        measure: the score of the rules.
        assumed: what was assumed of that which the rules ask for; ``notes``: what else there is to
            know.
        again: the command that replays the same report; empty if it cannot be pasted.
        more: what would tell more of the processes: LIVE, RECORDING, or empty.
    """

    report: Report
    choice: Choice
    answer: Answer
    by_memory: Answer | None = None
    measure: str = ""
    assumed: tuple[Assumed, ...] = ()
    notes: tuple[str, ...] = ()
    again: str = "oomrules replay"
    more: str = ""

    @property
    def victim(self) -> Killed | None:
        """The process that the kernel took; None if the text tells of none."""
        return victim(self.report)

    @property
    def agrees(self) -> bool:
        """Whether the rules certainly take whom the kernel took."""
        taken = self.victim
        return (
            taken is not None
            and self.answer.result == CERTAIN
            and self.answer.possible[0].pid == taken.pid
        )


def victim(report: Report) -> Killed | None:
    """Return the process that the kernel took; None if the text tells of none."""
    return report.killed[0] if report.killed else None


def resident(row: Row) -> int | None:
    """Return the resident memory of a process in pages; None if the table does not have it."""
    if "rss" in row.values:
        return row.values["rss"]
    parts = [row.values[name] for name in _RESIDENT if name in row.values]
    return sum(parts) if parts else None


def row_of(report: Report, pid: int) -> Row | None:
    """Return the row of a process; None if it has none, or more than one."""
    rows = [row for row in report.table.rows if row.pid == pid] if report.table else []
    return rows[0] if len(rows) == 1 else None


def as_data(one: Replayed) -> dict[str, Any]:
    """Return a replayed report for a program."""
    report, choice = one.report, one.choice
    return {
        "schema": SCHEMA,
        "source": report.source,
        "lines": [report.first, report.last],
        "number": report.number,
        "of": report.of or None,
        "time": report.time or None,
        "boot": report.boot or None,
        "kernel": report.kernel or None,
        "formula": {
            "generation": choice.generation or None,
            "known": choice.known or None,
            "page_size": choice.page_size,
            "page_known": choice.page_known or None,
        },
        "where": _where(report),
        "total": asdict(choice.total),
        "table": _table(report),
        "killed": [asdict(killed) for killed in report.killed],
        "choice": {
            "result": choice.result,
            "code": choice.code,
            "why": choice.why,
            "place": choice.place,
            "first": [_ranked(each) for each in choice.first[:10]],
        },
        "rules": {
            **_answer(one.answer),
            "agrees": one.agrees,
            "measure": one.measure or None,
            "by_memory": None if one.by_memory is None else _answer(one.by_memory),
        },
        "unknown": [asdict(each) for each in one.answer.unknown],
        "assumed": [asdict(each) for each in one.assumed],
        "notes": [*report.notes, *one.notes],
    }


def _where(report: Report) -> dict[str, Any]:
    figures = report.figures
    return {
        "kind": report.kind,
        "constraint": report.constraint or None,
        "group": report.group or None,
        "victim_group": report.victim_group or None,
        "nodes": report.nodes or None,
        "invoker": {
            "comm": report.invoker or None,
            "pid": report.invoker_pid,
            "gfp": report.gfp or None,
            "order": report.order,
            "oom_score_adj": report.invoker_adj,
        },
        "listed": report.listed,
        "figures": asdict(figures),
    }


def _table(report: Report) -> dict[str, Any] | None:
    if report.table is None:
        return None
    table = report.table
    return {
        "line": table.line,
        "rows": len(table.rows),
        "columns": list(table.columns),
        "complete": table.complete,
        "doubts": list(table.doubts),
    }


def _ranked(one: Ranked) -> dict[str, Any]:
    row = one.row
    return {
        "pid": row.pid,
        "comm": row.name,
        "line": row.line,
        "least": one.least,
        "most": one.most,
        **{key: value for key, value in row.values.items() if key != "pid"},
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "result": answer.result,
        "possible": [asdict(each) for each in answer.possible],
        "nobody": answer.nobody,
        "why": answer.why or None,
    }
