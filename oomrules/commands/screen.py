"""The live ranking on a terminal, by textual."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Static

from oomrules.commands import sources
from oomrules.commands.rank import why
from oomrules.commands.terminal import count, memory
from oomrules.errors import Failure
from oomrules.plain import printable
from oomrules.runtime.compiled import FIRST, LAST
from oomrules.runtime.evaluator import Evaluator
from oomrules.runtime.procfs import ProcSource
from oomrules.runtime.program import Program
from oomrules.runtime.ranking import Ranker, within
from oomrules.runtime.values import innermost_unit, known

# More rows than anybody looks at; the verdict of each is worked out anew each time.
_MOST = 200


class Row(NamedTuple):
    """A candidate, as it is shown."""

    rank: int
    pid: int
    user: str
    unit: str
    rss: int
    points: int
    command: str
    why: str
    tier: int

    def cells(self) -> list[Text]:
        """Give its cells; nothing in them is taken for markup."""
        style = {FIRST: "red", LAST: "green"}.get(self.tier, "")
        texts = [str(self.rank), str(self.pid), self.user, self.unit, memory(self.rss)]
        texts += [str(self.points), self.command, self.why]
        return [
            Text(printable(text), style, justify="right" if name in _RIGHT else "left")
            for name, text in zip(_COLUMNS, texts, strict=True)
        ]


_COLUMNS = ("RANK", "PID", "USER", "UNIT", "RSS", "POINTS", "COMMAND", "WHY")
_RIGHT = frozenset({"RANK", "PID", "RSS", "POINTS"})

# By the key that chooses it: what it is called, and what to sort by.
_ORDERS: dict[str, tuple[str, Callable[[Row], Any]]] = {
    "r": ("rank", lambda row: row.rank),
    "m": ("memory", lambda row: -row.rss),
    "u": ("unit", lambda row: (row.unit, row.rank)),
    "c": ("command", lambda row: (row.command, row.rank)),
    "p": ("pid", lambda row: row.pid),
}


class Ranks:
    """Reads and ranks this host again and again.

    Args:
        within_unit: only this unit and what is below it.
        most: how many rows at the most.
    """

    def __init__(self, made: Program, within_unit: str | None, most: int | None) -> None:
        asked = sources.asked_within(made, within_unit)
        self._source: ProcSource = sources.live(made, asked)
        self._ranker = Ranker(Evaluator(made, self._source.host))
        self._keep = within(within_unit) if within_unit else None
        self._most = min(most or _MOST, _MOST)

    def rows(self) -> tuple[list[Row], int]:
        """Look; give the rows, worst first, and how many candidates there are.

        Raises:
            Failure: the processes cannot be read.
        """
        ranking = self._ranker.rank(self._source.refresh(), self._keep)
        page, found = ranking.snapshot.host.page_size, []
        first = ranking.candidates[: self._most]
        sources.show_names(first, ranking.snapshot)
        for number, process in enumerate(first, 1):
            verdict = ranking.verdict(process)
            user = known("user", process, ranking.snapshot)
            unit = innermost_unit(process, ranking.snapshot)
            found.append(
                Row(
                    number,
                    process.pid,
                    user or "?",
                    "?" if unit is None else unit or "-",
                    (process.rss or 0) * page,
                    verdict.points,
                    process.comm or "?",
                    why(verdict),
                    verdict.tier,
                )
            )
        return found, len(ranking.candidates)


def end_with_terminal() -> None:
    """End this process when its terminal is gone, whoever ignores the signal that says so.

    Nobody is there to read what it would say, and nothing that it would have to put back.
    """
    terminal = select.poll()
    for descriptor in range(3):
        if os.isatty(descriptor):
            # A hang-up is told in any case.
            terminal.register(descriptor, 0)
    while not terminal.poll(1000):
        pass
    os._exit(1)


class Screen(App[None]):
    """The terminal.

    Attributes:
        failure: why it ended, if nobody asked it to.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        *((key, f"order('{key}')", f"By {name}") for key, (name, _) in _ORDERS.items()),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self, made: Program, within_unit: str | None, most: int | None, interval: float
    ) -> None:
        super().__init__()
        self.failure: Failure | None = None
        self._given = (made, within_unit, most)
        self._interval = interval
        self._ranks: Ranks | None = None
        self._rows: list[Row] = []
        self._order = "r"

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static("reading…", id="said", markup=False)
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        self.query_one(DataTable).add_columns(*_COLUMNS)
        self._look()
        self.set_interval(self._interval, self._look)

    def action_order(self, key: str) -> None:
        """Sort by something else."""
        self._order = key
        self._show()

    def _look(self) -> None:
        """Read in a thread of its own, so that keys are answered meanwhile."""
        if not any(worker.is_running for worker in self.workers):
            self.run_worker(self._read, thread=True)

    def _read(self) -> None:
        try:
            if self._ranks is None:
                self._ranks = Ranks(*self._given)
            rows, candidates = self._ranks.rows()
        except Failure as error:
            self.failure = error
            self.call_from_thread(self.exit)
            return
        self.call_from_thread(self._take, rows, candidates)

    def _take(self, rows: list[Row], candidates: int) -> None:
        self._rows = rows
        first = f"the first {len(rows)} of " if len(rows) < candidates else ""
        self.query_one("#said", Static).update(f"{first}{count(candidates, 'candidate')}")
        self._show()

    def _show(self) -> None:
        """Fill the table, leaving the cursor on the process that it was on."""
        table = self.query_one(DataTable)
        row, top = table.cursor_row, table.scroll_y
        at = str(table.get_row_at(row)[1]) if 0 <= row < table.row_count else None
        table.clear()
        ordered = sorted(self._rows, key=_ORDERS[self._order][1])
        for one in ordered:
            table.add_row(*one.cells())
        pids = [str(one.pid) for one in ordered]
        table.move_cursor(row=pids.index(at) if at in pids else min(row, len(pids)), scroll=False)
        table.scroll_to(y=top, animate=False)
