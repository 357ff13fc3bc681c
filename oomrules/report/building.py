"""A report while it is read."""

from __future__ import annotations

from dataclasses import replace

from oomrules.report import messages
from oomrules.report.lines import Line
from oomrules.report.model import HOST, LIMIT, NODES, SYSRQ, UNKNOWN, Figures, Killed, Report, Table
from oomrules.report.tables import Tables, columns_of, name

# So many rows are a table, whatever else is missing.
_MANY = 3

# Bounds of what is held of one report.
_MOST_NOTES, _MOST_KILLED, _MOST_PRINTED = 20, 4096, 2000

_PAGES = {
    "pages RAM": "ram",
    "pages of RAM": "ram",
    "pages of HIGHMEM": "highmem",
    "pages reserved": "reserved",
    "reserved pages": "reserved",
    "pages HighMem": "highmem",
    "pages HighMem/MovableOnly": "highmem",
    "pages cma reserved": "cma",
    "pages hwpoisoned": "hwpoisoned",
    "Total swap": "swap_total",
    "Free swap": "swap_free",
}


class Building:
    """A report while it is read.

    Args:
        source: the file, or what else it is from.
        line: the first line of it.

    Attributes:
        first, last: the numbers of the first and of the last line of it.
        seconds: the kernel's clock at the last line that has one.
        table: the table, as far as it has come.
        killed: those that got a signal.
    """

    def __init__(self, source: str, line: Line) -> None:
        self.last = line.number
        self.seconds = line.seconds
        self.table: Tables | None = None
        self.killed: list[Killed] = []
        self.kernel = ""
        self.invoker_pid: int | None = None
        self.boot = ""
        self.sysrq = False
        self.listed: int | None = None
        self._source, self.first, self._time = source, line.number, line.time
        self._head: messages.Head | None = None
        self._summary: tuple[int, messages.Summary] | None = None
        self._chosen: tuple[int, messages.Chosen] | None = None
        self._told_chosen: messages.Chosen | None = None
        self._limit: bool | None = None
        self._limited: messages.Limited | None = None
        self._whole = b""
        self._stats = b""
        self._nodes = b""
        self._figures: dict[str, int | None] = {}
        self._printed: dict[str, int] = {}
        self._notes: list[str] = []
        self._spared = False
        self._policy = ""

    def begin(self, line: Line, head: messages.Head) -> None:
        """Take the first line of a report."""
        self._head = head
        self._nodes = head.nodes
        self._touch(line)

    def limited(self, message: messages.Limited) -> None:
        """Take which groups it is about."""
        self._limited, self._limit = message, True

    def remark(self, line: Line, note: str) -> None:
        """Take a message that is worth a note."""
        self._touch(line)
        self._spared = True
        self._note(f"line {line.number}: {note}")

    def figure(
        self,
        message: messages.Nodes | messages.Number | messages.Usage | messages.Stats,
    ) -> bool:
        """Take figures; return whether they are of the report."""
        if isinstance(message, messages.Nodes):
            self._nodes = self._nodes or message.allowed
        elif isinstance(message, messages.Usage):
            self._take_usage(message)
        elif isinstance(message, messages.Stats):
            if not self._stats:
                self._stats = message.group or b"?"
                self._print(message.values)
        else:
            return self._take_number(message)
        return True

    def _take_usage(self, message: messages.Usage) -> None:
        keys = {"memory": "limit", "memory+swap": "memory_and_swap_limit", "swap": "swap_limit"}
        if message.what in keys:
            self._figures[keys[message.what]] = message.limit
        if message.what == "memory":
            self._figures["usage"] = message.usage
        self._print({f"{message.what} usage": message.usage})

    def _take_number(self, message: messages.Number) -> bool:
        if message.of_group and not self._stats:
            # "anon 4096" is a figure of a control group, and anything elsewhere.
            return False
        values = dict(message.values)
        for key in list(values):
            if key in _PAGES:
                self._figures[_PAGES[key]] = values.pop(key)
        self._print(values)
        return True

    def _print(self, values: object) -> None:
        assert isinstance(values, dict)
        for key, value in values.items():
            if len(self._printed) < _MOST_PRINTED:
                self._printed.setdefault(key, value)

    def header(self, line: Line, header: messages.Header) -> None:
        """Take the header of the table."""
        self._touch(line)
        columns = columns_of(header.columns)
        whole = columns[-1] == "name" and len(set(columns)) == len(columns) > 2
        self.table = Tables(line.number, columns if whole else ())
        if not whole:
            self.table.doubt(f"line {line.number}: the header of the table is not whole")

    def row(self, line: Line, row: messages.Row) -> bool:
        """Take what looks like a row; return whether it is one."""
        if self.table is None:
            if not messages.is_whole_row(row):
                return False
            self.table = Tables(0)
        if not row.rest[:1].isspace() or not row.rest.strip()[:1].isdigit():
            return False
        if self._summary or self._chosen:
            self.table.doubt(f"line {line.number}: a row comes after the choice")
        self._touch(line)
        self.table.add(line, row)
        return True

    def broken(self, line: Line, message: messages.Piece | messages.Gap) -> None:
        """Take note of a place where the table is broken."""
        if self.table is None or self.killed or self._summary or self._chosen:
            return
        self.table.doubt(
            f"line {line.number} is a piece of a row"
            if isinstance(message, messages.Piece)
            else f"line {line.number} says that messages were lost"
            if message.lost
            else f"line {line.number}: lines are left out"
        )

    def may(
        self,
        message: messages.Chosen | messages.Summary | messages.Signal | messages.Whole,
    ) -> bool:
        """Return whether a message about a kill can belong to this report."""
        if isinstance(message, messages.Whole):
            return not self._whole
        if isinstance(message, messages.Summary):
            return not (self._summary or self.killed or self._chosen)
        if isinstance(message, messages.Chosen):
            return not (self.killed or self._chosen) or message == self._told_chosen
        if message.other:
            summary = self._summary[1] if self._summary else None
            return bool(summary and summary.pid == message.pid and not self.killed)
        if not self.killed or self._whole:
            return True
        before = self.killed[-1]
        if before.polite:
            return True
        return before.pid == message.pid and before.total_vm == message.sizes.get("total-vm")

    def left(self) -> tuple[int, messages.Chosen] | None:
        """Return an announcement that came after this report's kill, and the line of it."""
        left = self._chosen if self.killed else None
        if left:
            self._chosen = None
        return left

    def announced(self, chosen: tuple[int, messages.Chosen]) -> None:
        """Take an announcement that the report before has left."""
        self.first, self._chosen, self._told_chosen = chosen[0], chosen, chosen[1]
        self._limit = chosen[1].limit

    def kill(
        self,
        line: Line,
        message: messages.Chosen | messages.Summary | messages.Signal | messages.Whole,
    ) -> None:
        """Take a message about a kill."""
        self._touch(line)
        if isinstance(message, messages.Whole):
            self._whole = message.group
            self._limit = True
        elif isinstance(message, messages.Summary):
            self._summary = line.number, message
        elif isinstance(message, messages.Chosen):
            self._chosen = line.number, message
            self._told_chosen, self._limit = message, message.limit
        else:
            self._take_signal(line, message)

    def _take_signal(self, line: Line, signal: messages.Signal) -> None:
        if signal.limit is not None:
            self._limit = signal.limit
        chosen, self._chosen = self._chosen, None
        for before in self.killed:
            if before.pid == signal.pid and before.polite == signal.polite:
                # Of a group that is killed as a whole, the kernel names the first one twice.
                if not self._whole:
                    self._note(f"line {line.number} says again what line {before.line} says")
                return
        if len(self.killed) >= _MOST_KILLED:
            return
        how = signal.how or (chosen[1].how if chosen else "")
        summary = self._summary[1] if self._summary else None
        uid = signal.uid
        if uid is None and summary and summary.pid == signal.pid:
            uid = summary.uid
        self.killed.append(
            Killed(
                line=line.number,
                pid=signal.pid,
                name=self._named(signal.pid, signal.comm),
                uid=uid,
                total_vm=signal.sizes.get("total-vm", signal.sizes.get("vsz")),
                anon_rss=signal.sizes.get("anon-rss"),
                file_rss=signal.sizes.get("file-rss"),
                shmem_rss=signal.sizes.get("shmem-rss"),
                page_tables=signal.sizes.get("pgtables"),
                oom_score_adj=signal.sizes.get("oom_score_adj"),
                chosen=chosen[1].pid if chosen else None,
                score=chosen[1].score if chosen else None,
                by=self._by(signal, how),
                polite=signal.polite,
            )
        )

    def _by(self, signal: messages.Signal, how: str) -> str:
        if signal.polite:
            return "module"
        if self._whole and self.killed:
            return "oom.group"
        if signal.other or self._policy:
            return f"bpf: {self._policy or how}"
        return how if how == "oom_kill_allocating_task" else ""

    def policy(self, message: messages.Policy) -> None:
        """Take the name of the program in BPF that handles this."""
        self._policy = name(message.name)

    def _named(self, pid: int, comm: bytes | None) -> str:
        if comm is not None:
            return name(comm)
        if self._summary and self._summary[1].pid == pid:
            return name(self._summary[1].details.rpartition(b",task=")[2])
        return ""

    def _touch(self, line: Line) -> None:
        self.last = max(self.last, line.number)
        if line.seconds is not None:
            self.seconds = line.seconds
        self._time = self._time or line.time

    def _note(self, sentence: str) -> None:
        if len(self._notes) < _MOST_NOTES:
            self._notes.append(sentence)

    def report(self) -> Report | None:
        """Return the report; None if this was none."""
        self._tell_missing()
        table = self._finished()
        told = self._head or self.killed or self._summary or self._spared
        if not (told or (table and (table.line or len(table.rows) >= _MANY))):
            return None
        head, summary = self._head, self._summary[1] if self._summary else None
        comm = self._comm()
        group = victim = b""
        if summary:
            group = messages.limited_group(summary, comm)
            victim = messages.victim_group(summary, comm)
        elif self._limited:
            group, victim = self._limited.group, self._limited.victim
        if self._whole and not victim:
            victim = self._whole
        if self._stats.startswith(b"/") and not group:
            group = self._stats
        nodes = (summary and messages.allowed(summary)) or self._nodes
        return Report(
            source=self._source,
            first=self.first,
            last=self.last,
            time=self._time,
            boot=self.boot,
            kernel=self.kernel,
            kind=self._kind(),
            constraint=summary.constraint.decode() if summary else "",
            group=name(group),
            victim_group=name(victim),
            nodes=nodes.decode("ascii", "backslashreplace"),
            invoker=name(head.comm) if head else "",
            invoker_pid=self.invoker_pid if head else None,
            gfp=head.gfp.decode("ascii", "backslashreplace") if head else "",
            order=head.order if head else None,
            invoker_adj=head.adj if head else None,
            listed=self.listed,
            figures=Figures(**self._figures, printed=self._printed),
            table=table,
            killed=tuple(self.killed),
            notes=tuple(self._notes),
        )

    def _comm(self) -> bytes:
        """Return the victim's comm as it stands in the summary."""
        if not self._summary:
            return b""
        summary = self._summary[1]
        for killed in self.killed:
            comm = killed.name.encode()
            if summary.details.endswith(b",task=" + comm):
                return comm
        return summary.details.rpartition(b",task=")[2]

    def _tell_missing(self) -> None:
        """Say whom the kernel announced where the line is missing that says whom it killed."""
        if self.killed or self._spared:
            return
        if self._chosen:
            line, chosen = self._chosen
            self._note(
                f"line {line} announces a kill, and the line that says who was killed is missing: "
                "it may be a child of that process"
            )
            self.killed.append(
                Killed(
                    line=line,
                    pid=chosen.pid,
                    name=name(chosen.comm),
                    chosen=chosen.pid,
                    score=chosen.score,
                    by=chosen.how if chosen.how == "oom_kill_allocating_task" else "",
                )
            )
        elif self._summary and self._summary[1].pid is not None:
            line, summary = self._summary
            self._note(f"the line that says who was killed is missing: line {line} says who should")
            pid = self._summary[1].pid
            self.killed.append(
                Killed(line=line, pid=pid, name=self._named(pid, None), uid=summary.uid)
            )

    def _finished(self) -> Table | None:
        if self.table is None:
            return None
        if not self.killed and not self._summary and not self._spared:
            self.table.doubt(f"the text ends in the table, at line {self.last}")
        table = self.table.table()
        if table is None or not self.killed:
            return table
        names = {row.pid: row.name for row in table.rows}
        self.killed = [
            each if each.name or each.pid not in names else replace(each, name=names[each.pid])
            for each in self.killed
        ]
        first = self.killed[0]
        pid = first.pid if first.chosen is None else first.chosen
        if pid in names:
            return table
        doubt = f"process {pid}, which the kernel chose, is not in the table: rows are missing"
        return replace(table, complete=False, doubts=(*table.doubts, doubt))

    def _kind(self) -> str:
        if self.sysrq or (self._head and self._head.order == -1):
            return SYSRQ
        constraint = self._summary[1].constraint if self._summary else b""
        if self._limit or self._limited or constraint == b"CONSTRAINT_MEMCG":
            return LIMIT
        if constraint in (b"CONSTRAINT_CPUSET", b"CONSTRAINT_MEMORY_POLICY"):
            return NODES
        if constraint:
            return HOST
        if self._limit is None and self._figures.get("ram") is None:
            return UNKNOWN if self._figures.get("limit") is None else LIMIT
        # Old kernels do not tell. The figures are of the nodes that may be used.
        return HOST
