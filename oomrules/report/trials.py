"""Ways to read a report: by which formula, page size and total the kernel can have chosen."""

from __future__ import annotations

from dataclasses import dataclass

from oomrules.report import contest, generations
from oomrules.report import total as totals
from oomrules.report.contest import Range, Rival
from oomrules.report.generations import BEYOND, GENERATIONS, Generation, Weight
from oomrules.report.model import LIMIT, Killed, Report, Row, Total


def chosen(report: Report) -> Killed | None:
    """Return the message about the process that was chosen, not about its group; None if none."""
    apart = (each for each in report.killed if each.by != "oom.group")
    return next(apart, report.killed[0] if report.killed else None)


def chosen_pid(killed: Killed) -> int:
    """Return the process that the kernel chose; a child of it may have died in its place."""
    return killed.pid if killed.chosen is None else killed.chosen


def chosen_row(report: Report) -> Row | None:
    """Return the row of the process that was chosen; None if the table does not have it."""
    killed = chosen(report)
    return totals.row_of(report, chosen_pid(killed)) if killed else None


@dataclass(frozen=True)
class Trial:
    """One way to read a report.

    Attributes:
        report: the report.
        key: the formula, of ``GENERATIONS``.
        page_size: in bytes.
        total: what is known of the total by that formula.
        row: of the process that the kernel chose; None if the table does not have it.
        rows: those that may be chosen, in their order.
    """

    report: Report
    key: str
    page_size: int
    total: Total
    row: Row | None
    rows: tuple[Row, ...]

    @property
    def generation(self) -> Generation:
        """How points are counted."""
        return GENERATIONS[self.key]

    @property
    def victim(self) -> Row:
        """The row of the process that the kernel chose, where that is known to be there."""
        assert self.row is not None
        return self.row

    @property
    def most(self) -> int:
        """The greatest total, which may be beyond any host's."""
        return BEYOND if self.total.most is None else self.total.most

    @property
    def is_order_known(self) -> bool:
        """Whether the table is in the order in which the kernel looked."""
        return self.report.kind != LIMIT or self.generation.lists_as_scanned

    def weight(self, row: Row, admin: bool | None = None) -> Weight:
        """Return what a process brings into the formula.

        Args:
            row: its row.
            admin: whether it has CAP_SYS_ADMIN; None for what is assumed: root's have it.
        """
        admin = generations.is_root(row) if admin is None else admin
        return generations.weight(row, self.generation, self.page_size, admin)

    def value(self, row: Row, total: int) -> int:
        """Return the points of a process for one total."""
        return generations.value(self.weight(row), self.generation, total)

    def won(
        self,
        *,
        all_ties: bool = False,
        own_admin: bool | None = None,
        their_admin: bool | None = None,
        but: frozenset[int] = frozenset(),
    ) -> tuple[Range, ...]:
        """Return the totals for which the victim is taken.

        Args:
            all_ties: it wins every tie, else those that the order of looking lets it win.
            own_admin, their_admin: whether it, and the others, have CAP_SYS_ADMIN; see ``weight``.
            but: pids to leave out.
        """
        rivals = []
        passed = False
        for row in self.rows:
            if row is self.victim:
                passed = True
            elif row.pid not in but:
                is_before = passed == self.generation.last
                ties = not all_ties and (is_before or not self.is_order_known)
                rivals.append(Rival(weight=self.weight(row, their_admin), wins_ties=ties))
        own = self.weight(self.victim, own_admin)
        return contest.won(self.generation, own, rivals, self.total.least, self.total.most)

    def covers(self, ranges: tuple[Range, ...]) -> bool:
        """Return whether ranges are all totals that are possible."""
        return ranges == ((max(1, self.total.least), max(1, self.most)),)

    def equals(self) -> list[Row]:
        """Return the others that have as many points as the victim, for the least total."""
        own = self.value(self.victim, self.total.least)
        others = (row for row in self.rows if row is not self.victim)
        return [row for row in others if self.value(row, self.total.least) == own]

    def order(self) -> list[Row]:
        """Return the processes as the kernel puts them, first the one that it takes."""
        total = self._shown_total()
        rows = list(self.rows)
        if self.generation.last:
            rows.reverse()
        # Of equals the victim may be the first where the table does not tell.
        first = None if self.is_order_known else self.row
        rows.sort(key=lambda row: (-self.value(row, total), row is not first))
        return rows

    def _shown_total(self) -> int:
        """Return a total for which the victim is first, if there is one, else the least."""
        if self.row is None or generations.is_exempt(self.row):
            return self.total.least
        won = self.won() or self.won(all_ties=True)
        return won[0][0] if won else self.total.least


def trial(report: Report, key: str, page_size: int, total: Total | None) -> Trial:
    """Return one way to read a report.

    Args:
        report: the report.
        key: of ``GENERATIONS``.
        page_size: in bytes.
        total: the total; None for what the report tells of it.
    """
    if total is None:
        told = totals.total(report, page_size=page_size)
        total = totals.narrowed(told, report, GENERATIONS[key], page_size)
    return Trial(
        report=report,
        key=key,
        page_size=page_size,
        total=total,
        row=chosen_row(report),
        rows=_candidates(report),
    )


def _candidates(report: Report) -> tuple[Row, ...]:
    """Return the rows of those that may be chosen; a line that is there twice counts once."""
    once: dict[int, Row] = {}
    for row in report.table.rows if report.table else ():
        once.setdefault(row.pid, row)
    return tuple(row for row in once.values() if not generations.is_exempt(row))
