"""The live ranking on a terminal, by textual."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.coordinate import Coordinate
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Resize
from textual.widgets import DataTable, Footer, Static

from oomrules.commands.parts import selection, wholes
from oomrules.commands.parts.verdicts import COLUMNS, Row
from oomrules.dbus import gather
from oomrules.errors import Failure
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker, fresh, within
from oomrules.terminal import Layout, count, layout, legible, width

# More rows than a user looks at: the verdict of each is computed anew each time.
_MOST = 200
# Stands for a character that not all take for equally wide.
_UNCLEAR = "\N{REPLACEMENT CHARACTER}"


def cells(row: Row, where: Layout) -> list[Text]:
    """Return a row's cells, as wide as they are laid out; nothing in them is taken for markup."""
    return [
        Text(text, row.style, justify="right" if column.right else "left", no_wrap=True)
        for text, column in zip(_in_place(texts(row), where), COLUMNS, strict=True)
    ]


def texts(row: Row) -> list[str]:
    """Return what stands in a row's columns, made harmless."""
    return list(map(_plain, row.texts()))


def _in_place(texts: Sequence[str], where: Layout) -> list[str]:
    """Return texts cut as they are laid out; those aligned to the left have the gap before them."""
    wide = dict(zip(where.shown, where.widths, strict=True))
    return [
        ("" if column.right else " " * where.gap) + column.cut(text, wide.get(number, 0))
        for number, (text, column) in enumerate(zip(texts, COLUMNS, strict=True))
    ]


def _plain(text: str) -> str:
    """Return a text made harmless, without what is wider to textual than to terminals."""
    text = legible(text)
    if not text.isascii() and cell_len(text) != width(text):
        text = "".join(one if cell_len(one) == width(one) else _UNCLEAR for one in text)
    if not text.isascii() and cell_len(text) != width(text):
        text = "".join(one if one.isascii() else _UNCLEAR for one in text)
    return text


# By key: the name of an order, and what to sort by.
_ORDERS: dict[str, tuple[str, Callable[[Row], Any]]] = {
    "r": ("rank", lambda row: row.rank),
    "m": ("memory", lambda row: -(row.rss or 0)),
    "u": ("unit", lambda row: (row.unit, row.rank)),
    "c": ("command", lambda row: (row.command, row.rank)),
    "p": ("pid", lambda row: row.pid),
}


class Ranks:
    """Reads and ranks this host, or a unit and what is below it, again and again."""

    def __init__(self, made: Program, within_unit: str | None, most: int | None) -> None:
        questions = gather.questions(made, [within_unit] if within_unit else [])
        self._source: ProcSource = selection.live(made, questions)
        self._ranker = Ranker(made, self._source.host)
        self._keep = within(within_unit) if within_unit else None
        self._most = min(most or _MOST, _MOST)

    def rows(self) -> tuple[list[Row], int]:
        """Read the host; return the rows, worst first, and the number of candidates.

        Raises:
            Failure: the processes cannot be read.
        """
        ranking = fresh(self._ranker, self._source.refresh(), self._keep)
        first = ranking.candidates[: self._most]
        selection.show_names(first, ranking.snapshot)
        return wholes.rows(ranking._replace(candidates=first)), len(ranking.candidates)


def end_with_terminal() -> None:
    """End this process when its terminal is gone, even if the signal for that is ignored.

    No user is left to read a message, and there is no terminal to restore.
    """
    terminal = select.poll()
    for descriptor in range(3):
        if os.isatty(descriptor):
            # A hang-up is always reported, even without any event asked for.
            terminal.register(descriptor, 0)
    while not terminal.poll(1000):
        pass
    os._exit(1)


class Keyboard(LinuxDriver):
    """The terminal's input, of any bytes."""

    def run_input_thread(self) -> None:
        """Wait for input, and skip what is no UTF-8."""
        while not self.exit_event.is_set():
            try:
                super().run_input_thread()
            except UnicodeDecodeError:
                pass


class Screen(App[None]):
    """The terminal; ``failure`` says why it ended, if the user did not ask for that."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        *((key, f"order('{key}')", f"By {name}") for key, (name, _) in _ORDERS.items()),
    ]
    CSS = """
    DataTable { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; overflow-y: scroll; }
    #whole { height: auto; max-height: 3; }
    """
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self, made: Program, within_unit: str | None, most: int | None, interval: float
    ) -> None:
        super().__init__(driver_class=Keyboard)
        self.failure: Failure | None = None
        self._given = (made, within_unit, most)
        self._interval = interval
        self._ranks: Ranks | None = None
        self._rows: list[Row] = []
        # What the table shows, in its order.
        self._shown: list[Row] = []
        self._order = "r"

    def compose(self) -> ComposeResult:
        """Yield the widgets, from top to bottom."""
        yield Static("reading…", id="said", markup=False)
        yield DataTable(cursor_type="row", zebra_stripes=True, cell_padding=0)
        yield Static("", id="whole", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Add the columns, and start to read."""
        table = self.query_one(DataTable)
        for column in COLUMNS:
            table.add_column(column.name, width=len(column.name) + 1)
        self._look()
        self.set_interval(self._interval, self._look)

    def on_resize(self, event: Resize) -> None:
        """Lay the columns out anew."""
        self._show(event.size.width)

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """Show all of the row that is now under the cursor."""
        self._say_whole()

    def action_order(self, key: str) -> None:
        """Sort by another column."""
        self._order = key
        self._show()

    def panic(self, *renderables: Any) -> None:
        """End with one sentence instead of a traceback."""
        if os.environ.get("OOMRULES_DEBUG"):
            super().panic(*renderables)
            return
        self._break(sys.exception())

    def _fatal_error(self) -> None:
        if os.environ.get("OOMRULES_DEBUG"):
            super()._fatal_error()
            return
        self._break(sys.exception())

    def _break(self, error: BaseException | None) -> None:
        what = f"{type(error).__name__}: {error}" if error else "the terminal's input failed"
        self.failure = self.failure or Failure(
            f"a mistake in oomrules top: {what}",
            "run it with OOMRULES_DEBUG=1 to see where, and report it; "
            "`watch oomrules rank --top 20` does without",
        )
        self.exit()

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

    def _show(self, wide: int | None = None) -> None:
        """Fill the table; what is on the screen stays there, and the cursor on its process."""
        table = self.query_one(DataTable)
        at = table.cursor_row
        pid = self._shown[at].pid if 0 <= at < len(self._shown) else None
        self._shown = sorted(self._rows, key=_ORDERS[self._order][1])
        # One column is the scroll bar's.
        where = layout(COLUMNS, map(texts, self._shown), (wide or self.size.width) - 1)
        self._set_widths(table, where)
        while table.row_count > len(self._shown):
            table.remove_row(table.coordinate_to_cell_key(Coordinate(table.row_count - 1, 0))[0])
        for number, row in enumerate(self._shown):
            _fill(table, number, cells(row, where))
        pids = [row.pid for row in self._shown]
        if pid in pids:
            table.move_cursor(row=pids.index(pid), scroll=False)
        self._say_whole()

    def _set_widths(self, table: DataTable[Text], where: Layout) -> None:
        """Make the columns as wide as they are laid out, with the gap behind; 0 hides one."""
        wanted = dict(zip(where.shown, where.widths, strict=True))
        names = _in_place([column.name for column in COLUMNS], where)
        for number, column in enumerate(table.ordered_columns):
            wide = wanted[number] + (where.gap if number else 0) if number in wanted else 0
            label = Text(names[number].rjust(wide) if COLUMNS[number].right else names[number])
            if column.width != wide or column.label != label:
                column.width, column.label = wide, label
                table.refresh(layout=True)

    def _say_whole(self) -> None:
        """Show the row under the cursor in full: its columns may be too narrow."""
        at = self.query_one(DataTable).cursor_row
        text = ""
        if 0 <= at < len(self._shown):
            row = self._shown[at]
            names = f"{row.pid} {_plain(row.command)}, user {_plain(row.user)}"
            text = f"{names}, unit {_plain(row.unit)}: {_plain(row.why)}"
        self.query_one("#whole", Static).update(text)


def _fill(table: DataTable[Text], number: int, cells: list[Text]) -> None:
    """Write a row into its place in the table, where it differs."""
    if number >= table.row_count:
        table.add_row(*cells)
        return
    before = table.get_row_at(number)
    for column, (old, new) in enumerate(zip(before, cells, strict=True)):
        if old != new or old.style != new.style:
            table.update_cell_at(Coordinate(number, column), new)
