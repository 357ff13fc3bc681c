"""Why no formula is expected to name a report's victim, or why none can be tried."""

from __future__ import annotations

from collections.abc import Iterator

from oomrules.report import generations, trials
from oomrules.report.model import HOST, SYSRQ, Killed, Report, Row, Table

# What people search a log for; systemd-oomd and earlyoom have it in their names.
_SEARCHED = ("oom", "kill")

# A code of ``reasons.REASONS``, and a sentence with the figures of the report.
Reason = tuple[str, str]


def reason(report: Report) -> Reason | None:
    """Return why the choice of a report is not ranked; None if it can be."""
    return next(_reasons(report), None)


def _reasons(report: Report) -> Iterator[Reason]:
    killed = trials.chosen(report)
    yield from _other_choices(report, killed)
    if killed is None:
        yield "RPL408", "the text names no process that was killed"
    elif report.table is None or not report.table.rows:
        yield "RPL401", "the text has no table of processes"
    else:
        yield from _faults(report.table, killed)
        if report.kind in (HOST, SYSRQ) and _is_filtered(report.table, killed):
            why = (
                f"each row of the table has {killed.name} or oom in it, so others were filtered out"
            )
            yield "RPL405", why


def _other_choices(report: Report, killed: Killed | None) -> Iterator[Reason]:
    """Yield who chose, if it was not the formula."""
    by = killed.by if killed else ""
    pid = report.listed
    if pid is None and killed and by == "module":
        pid = killed.pid
    if pid is not None:
        yield "RPL403", f"the module of oomrules named process {pid}, which its list has first"
    if killed and by == "oom_kill_allocating_task":
        why = f"line {killed.line}: the process that asked for memory was taken"
        if killed.chosen not in (None, killed.pid):
            why += f", and its child {killed.name} ({killed.pid}) killed in its place"
        yield "RPL402", why
    if "BPF" in report.constraint or "bpf" in by.lower():
        program = by.partition("bpf: ")[2]
        yield "RPL410", f"the BPF program {program} chose" if program else "a BPF program chose"
    if killed is None:
        for note in report.notes:
            if "panic" in note or "no process that" in note:
                yield "RPL409", note


def _faults(table: Table, killed: Killed) -> Iterator[Reason]:
    """Yield what is wrong with a table."""
    for name in table.columns:
        if name not in generations.KNOWN_COLUMNS:
            why = f"no released kernel prints the column {name}"
            yield "RPL407", f"{why} of line {table.line}" if table.line else why
    for first, second in _twice(table.rows):
        lines = f"lines {first.line} and {second.line}"
        yield "RPL406", f"{lines} differ on process {first.pid}: two reports are mixed"
    pid = trials.chosen_pid(killed)
    if all(row.pid != pid for row in table.rows):
        yield "RPL404", f"process {pid}, which line {killed.line} names, has no row"
    if not table.complete:
        yield "RPL405", table.doubts[0] if table.doubts else "the table is not complete"


def _is_filtered(table: Table, killed: Killed) -> bool:
    """Return whether the rows are those that a search for the victim and for "oom" leaves."""
    return all(
        row.name == killed.name or any(word in row.name.lower() for word in _SEARCHED)
        for row in table.rows
    )


def _twice(rows: tuple[Row, ...]) -> Iterator[tuple[Row, Row]]:
    """Yield two rows of one process that say different things of it."""
    seen: dict[int, Row] = {}
    for row in rows:
        before = seen.setdefault(row.pid, row)
        if dict(before.values) != dict(row.values):
            yield before, row
