"""The table of tasks in a report: its columns, its rows, and what in it is doubtful."""

from __future__ import annotations

import re
from collections.abc import Sequence

from oomrules.report.lines import Line
from oomrules.report.messages import COMM, Row
from oomrules.report.model import Row as Task
from oomrules.report.model import Table

# What is held of one table; a host that has more processes than this has none to spare.
_MOST_ROWS = 65_536
_MOST_DOUBTS = 12

# Seconds between two rows, by the kernel's clock, beyond which lines are missing. A serial console
# of 9600 baud takes 0.1 s for a row.
_PAUSE = 5.0

_NUMBERS = re.compile(rb"(?:[ \t]+-?\d{1,20})*")

# What somebody wrote behind a row to point at it.
_POINTER = re.compile(rb"[ \t]+(?:<[-=~]{2,}|[-=~]{2,}>?|\xe2\x86\x90|#|//|!!).*", re.DOTALL)

# The columns behind the pid, where their header is missing: by how many numbers a row has.
_START = ("uid", "tgid", "total_vm", "rss")
_COLUMNS = {
    6: (*_START, "cpu", "oom_adj"),
    8: (*_START, "nr_ptes", "nr_pmds", "swapents", "oom_score_adj"),
    9: (*_START, "nr_ptes", "nr_pmds", "nr_puds", "swapents", "oom_score_adj"),
    10: (
        *_START,
        "rss_anon",
        "rss_file",
        "rss_shmem",
        "pgtables_bytes",
        "swapents",
        "oom_score_adj",
    ),
}
_CPU = (*_START, "cpu", "oom_adj", "oom_score_adj")
_PTES = (*_START, "nr_ptes", "swapents", "oom_score_adj")
_BYTES = (*_START, "pgtables_bytes", "swapents", "oom_score_adj")


def name(comm: bytes) -> str:
    """Return a name as a snapshot has it."""
    return comm.decode("utf-8", "backslashreplace")


class Tables:
    """A table that is being read.

    Args:
        line: of its header; 0 without one.
        columns: of it; empty if they are not known yet.
    """

    def __init__(self, line: int, columns: tuple[str, ...] = ()) -> None:
        self.line = line
        self.columns = columns
        self.broken = False
        self._row = _pattern(columns) if columns else None
        self._tasks: list[Task] = []
        # Rows of a table without a header, until its columns are known.
        self._raw: list[tuple[Line, Row]] = []
        self._doubts: list[str] = []
        self._last: Line | None = None
        self._full = False

    def __len__(self) -> int:
        return len(self._tasks) or len(self._raw)

    def parse(self, row: Row) -> re.Match[bytes] | None:
        """Return the numbers and the name of a row; None if it is not a whole one."""
        return self._row.fullmatch(row.rest) if self._row else _ANY_ROW.fullmatch(row.rest)

    def add(self, line: Line, row: Row) -> None:
        """Take a row."""
        if len(self) >= _MOST_ROWS:
            if not self._full:
                self.doubt(
                    f"line {line.number}: the rows after the first {_MOST_ROWS} are not read"
                )
            self._full = True
            return
        self._look_at_time(line)
        if self._row is None:
            self._raw.append((line, row))
        elif match := self._row.fullmatch(row.rest) or self._row.fullmatch(_plain(row.rest)):
            self._add(line, row.pid, match)
        else:
            self.doubt(f"line {line.number} is not a whole row of the table")

    def doubt(self, sentence: str) -> None:
        """Take note that rows are missing."""
        self.broken = True
        if len(self._doubts) < _MOST_DOUBTS:
            self._doubts.append(sentence)

    def _look_at_time(self, line: Line) -> None:
        last, self._last = self._last, line
        if last and last.seconds is not None and line.seconds is not None:
            pause = line.seconds - last.seconds
            if not 0 <= pause <= _PAUSE:
                self.doubt(
                    f"between lines {last.number} and {line.number} the kernel's clock jumps by "
                    f"{pause:.0f} s: lines are missing, or these are two reports"
                )

    def _add(self, line: Line, pid: int, match: re.Match[bytes]) -> None:
        *numbers, comm = match.groups()
        values = dict(zip(self.columns[1:], map(int, numbers), strict=False))
        self._tasks.append(Task(line.number, {"pid": pid, **values}, name(comm or b"")))

    def table(self) -> Table | None:
        """Return the table; None if there is no row, or nobody can tell what its numbers are."""
        if self._raw:
            self.columns = ("pid", *_guess([row for _, row in self._raw]), "name")
            if len(self.columns) == 2:
                return None
            self._row = _pattern(self.columns)
            self.doubt("the header of the table is missing: its columns are told by the rows")
            raw, self._raw = self._raw, []
            for line, row in raw:
                if match := self._row.fullmatch(row.rest):
                    self._add(line, row.pid, match)
                else:
                    self.doubt(f"line {line.number} is not a whole row of the table")
        if not self._tasks:
            return None
        self._look_for_repeats()
        return Table(
            line=self.line,
            columns=self.columns,
            rows=tuple(self._tasks),
            complete=not self.broken,
            doubts=tuple(self._doubts),
        )

    def _look_for_repeats(self) -> None:
        """Tell rows of one process: of two reports, or copied twice."""
        seen: dict[int, Task] = {}
        copies, others = list[tuple[Task, Task]](), list[tuple[Task, Task]]()
        for task in self._tasks:
            before = seen.setdefault(task.pid, task)
            if before is not task:
                same = (task.values, task.name) == (before.values, before.name)
                (copies if same else others).append((before, task))
        if others:
            before, task = others[0]
            more = f", and so are {len(others) - 1} others" if len(others) > 1 else ""
            self.doubt(
                f"process {task.pid} is in lines {before.line} and {task.line}, with other "
                f"numbers{more}: these are pieces of two reports"
            )
        elif copies:
            before, task = copies[0]
            more = f", and so are {len(copies) - 1} others" if len(copies) > 1 else ""
            self.doubt(
                f"line {task.line} is a copy of line {before.line}{more}: rows may be missing "
                "in their place"
            )


_ANY_ROW = re.compile(rb"(?:[ \t]+-?\d{1,20}){6,}(?:[ \t]" + COMM + rb")?", re.DOTALL)


def columns_of(words: Sequence[bytes]) -> tuple[str, ...]:
    """Return the columns that a header names."""
    return tuple(name(word) for word in words[:24])


def _pattern(columns: Sequence[str]) -> re.Pattern[bytes]:
    """Return what the part of a row behind its pid looks like."""
    numbers = len(columns) - 2
    # An editor can have made tabs of blanks.
    return re.compile(rb"[ \t]+(-?\d{1,20})" * numbers + rb"(?:[ \t](" + COMM + rb"))?", re.DOTALL)


def _plain(rest: bytes) -> bytes:
    """Return a row without what somebody wrote behind it."""
    return _POINTER.sub(b"", rest)


def _guess(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the columns between pid and name; empty if they cannot be told."""
    # A name can begin with a number, so the row with the fewest numbers counts.
    numbers = [_leading(row.rest) for row in rows]
    count = min(map(len, numbers))
    if count != 7:
        return _COLUMNS.get(count, ())
    tables = [each[4] for each in numbers]
    others = [each[5] for each in numbers]
    if any(tables) and not any(each % 4096 for each in tables):
        return _BYTES
    adjusted = [(each[5], each[6]) for each in numbers]
    if 0 in tables and all(-17 <= each <= 15 for each in others):
        return _CPU
    if all(-17 <= old <= 15 and (old < 0) == (new < 0) for old, new in adjusted) and any(others):
        return _CPU
    return _PTES


def _leading(rest: bytes) -> list[int]:
    match = _NUMBERS.match(rest)
    return [int(each) for each in match[0].split()] if match else []
