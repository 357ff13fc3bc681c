"""Guards over a recording: what they would have done and when, beside what happened."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from oomrules import files
from oomrules.errors import Failure, reason
from oomrules.guard import decision, recording
from oomrules.guard.model import HOST, NOBODY, Armed, Event, Ready, Sample
from oomrules.guard.ready import FIRST, Arming
from oomrules.guard.recording import Happened, Listed, Start
from oomrules.guard.replay import Replay
from oomrules.processes import recorded
from oomrules.processes.snapshot import Process
from oomrules.processes.units import ROOT_SLICE, Placement, placement
from oomrules.program.program import Program
from oomrules.ranking.blocks import meant
from oomrules.ranking.ranker import Ranker
from oomrules.terminal import Column, Paint, called, clip, count, duration, memory, middle, table

SCHEMA = "oomrules.guard-replay/1"

# Events that are kept: a recording of someone else may make any number of them.
_MOST = 10_000
# Placements of units that are remembered.
_MOST_PLACES = 4096

# What an event is for people: of the guard in the replay, and of what was recorded.
_WORDS = {
    "warned": "would warn",
    "over": "warning over",
    "nobody": "nobody to take",
    "asked": "would ask to end",
    "killed": "would kill",
    "ended": "gone",
}
_HAPPENED = {
    "warned": "warned",
    "over": "warning over",
    "nobody": "nobody to take",
    "asked": "asked to end",
    "killed": "killed",
    "ended": "gone",
    "failed": "the guard failed",
    "kernel": "kernel kill",
}
COLUMNS = (
    Column("AFTER", right=True),
    Column("TIME", least=8, enough=8, turn=1, goes=1),
    Column("WHAT", least=10, enough=16, turn=2),
    Column("WHOM", least=10, enough=16, turn=4),
    Column("UNIT", least=12, enough=20, turn=3, goes=2, cut=middle),
    Column("AVAILABLE", right=True, goes=3),
    Column("WHY", least=16, turn=5),
)


class Row(NamedTuple):
    """Something that happened, or would have.

    Attributes:
        at: seconds since the boot.
        replayed: whether the guard would have done it in the replay; else it was recorded.
        kind: as in ``model.Event``; ``kernel`` for a kill by the kernel.
        guard, place: the statement, and where it stands.
        unit: the guard's place for people; empty for the host.
        available: ``host.available`` at the decision; None if unknown.
    """

    at: float
    replayed: bool
    kind: str
    guard: str = ""
    place: str = ""
    unit: str = ""
    pid: int | None = None
    comm: str = ""
    rank: int | None = None
    expected: int | None = None
    won: int | None = None
    lasted: float | None = None
    available: int | None = None
    problem: str = ""


class Extremes(NamedTuple):
    """How bad a recording became.

    Attributes:
        available: the least ``host.available`` in bytes; None if it is unknown.
        available_at: when.
        stall: the greatest share of the time between two samples in which all tasks waited, in
            percent; None if it is unknown.
        stall_at: when.
    """

    available: int | None = None
    available_at: float = 0.0
    stall: float | None = None
    stall_at: float = 0.0

    def after(self, before: Sample | None, sample: Sample) -> Extremes:
        """Return them with one more sample."""
        found, available = self, sample.host.get("available")
        if available is not None and (found.available is None or available < found.available):
            found = found._replace(available=available, available_at=sample.at)
        was, is_ = (one and one.host.get("full") for one in (before, sample))
        if before is not None and was is not None and is_ is not None and is_ >= was:
            stall = min(100.0, (is_ - was) / 1e4 / (sample.at - before.at))
            if found.stall is None or stall > found.stall:
                found = found._replace(stall=round(stall, 2), stall_at=sample.at)
        return found


class Replayed(NamedTuple):
    """A replay.

    Attributes:
        start: of the recording; ``end`` when its last sample was taken.
        rows: what happened, and would have, in the order of time.
        left_out: how many more there were.
        reranked: whether the lists were made by the given rules, from snapshots.
        unseen: guards that stood at no place in the recording, by number.
        extremes: how bad it became.
    """

    start: Start
    end: float
    samples: int
    lists: int
    rows: tuple[Row, ...]
    left_out: int
    reranked: bool
    unseen: tuple[int, ...]
    extremes: Extremes

    @property
    def acts(self) -> bool:
        """Whether a guard would have signalled a process."""
        return any(row.replayed and row.kind in ("asked", "killed") for row in self.rows)


Watcher = Callable[[Start, Sample, Ready], None]


def _nobody_watches(start: Start, sample: Sample, ready: Ready) -> None:
    """Do nothing."""


def replay(program: Program, path: str, watch: Watcher = _nobody_watches) -> Replayed:
    """Run the guards of a program over a recording.

    Args:
        program: the rules.
        path: of the recording; ``-`` is standard input.
        watch: called with each sample, and the list at that time.

    Raises:
        Failure: it cannot be read, or a line of it is wrong.
    """
    name = "standard input" if path == "-" else path
    try:
        lines = files.lines("/dev/stdin" if path == "-" else path, recording.LONGEST_LINE)
        return _replayed(program, recording.read(lines, name), name, watch)
    except OSError as error:
        raise Failure(f"cannot read the recording {name}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"the recording {name} is no UTF-8 text", recording.HINT) from error


def _replayed(
    program: Program, lines: Iterable[recording.Line], name: str, watch: Watcher
) -> Replayed:
    start = Start(0.0, "", 1.0)
    world = Lists(program)
    guard = Replay()
    rows: list[Row] = []
    samples = left_out = 0
    end = 0.0
    seen: set[int] = set()
    before: Sample | None = None
    extremes = Extremes()
    for line in lines:
        found: list[Row] = []
        if isinstance(line, Start):
            start, end = line, line.at
            guard = Replay(gap=max(decision.GAP, 2.5 * line.every))
        elif isinstance(line, Listed):
            world.take_list(line)
            guard.alive(one.identity for one in line.candidates)
        elif isinstance(line, recording.Snapshot):
            guard.alive(world.take_snapshot(line, name))
        elif isinstance(line, Happened):
            found = [_happened(line)]
        else:
            if samples and line.at <= end:
                continue
            samples, end = samples + 1, line.at
            extremes, before = extremes.after(before, line), line
            ready = world.ready(line)
            watch(start, line, ready)
            seen.update(one.number for one in ready.armed)
            found = [_done(event, line) for event in guard.look(line, ready)]
        left_out += max(0, len(rows) + len(found) - _MOST)
        rows += found[: _MOST - len(rows)]
    return Replayed(
        start=start,
        end=end,
        samples=samples,
        lists=world.lists,
        rows=tuple(sorted(rows, key=lambda row: row.at)),
        left_out=left_out,
        reranked=world.reranked,
        unseen=tuple(number for number in range(len(program.guards)) if number not in seen),
        extremes=extremes,
    )


class Lists:
    """The ready lists of a recording: made by the given rules where it has snapshots.

    Attributes:
        lists: how many there were.
        reranked: whether they come from snapshots.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._arming = Arming(program)
        self._ready = NOBODY._replace(definitions=program.definitions)
        self._listed: Listed | None = None
        # Where each unit of the recording has guards.
        self._places: dict[str, tuple[tuple[int, Placement], ...]] = {}
        self.lists = 0
        self.reranked = False

    def take_list(self, listed: Listed) -> None:
        """Take a list that was made by the rules of the recording."""
        if not self.reranked:
            self._listed = listed
            self.lists += 1

    def take_snapshot(self, said: recording.Snapshot, name: str) -> list[tuple[int, int]]:
        """Rank a snapshot; return which processes there are."""
        source = recorded.parse(said.lines, f"{name}, a snapshot in it")
        ranking = Ranker(self._program, source.host).rank(source)
        self._ready = self._arming.ready(ranking, said.at)
        if not self.reranked:
            self.lists, self.reranked = 0, True
        self.lists += 1
        return [(one.pid, one.starttime or 0) for one in source.by_pid.values()]

    def ready(self, sample: Sample) -> Ready:
        """Return the list for a sample."""
        if self.reranked:
            return self._ready
        armed = [
            Armed(guard, number)
            for number, (targets, guard) in enumerate(self._program.guards)
            if not targets
        ]
        for path in sample.units:
            armed += (
                Armed(
                    guard=self._program.guards[number][1],
                    number=number,
                    unit=place.path,
                    name=place.unit or ROOT_SLICE,
                    manager=place.manager,
                )
                for number, place in self._at(path)
            )
        listed = self._listed or Listed(float("-inf"), (), 0)
        candidates = recording.places(listed, sample.units, FIRST)
        if "/" in candidates:
            candidates["/"] = candidates[HOST]
        return Ready(
            at=listed.at,
            armed=tuple(sorted(armed, key=lambda one: one.key)),
            candidates=candidates,
            length=listed.length,
            definitions=self._program.definitions,
        )

    def _at(self, path: str) -> tuple[tuple[int, Placement], ...]:
        """Return the guards whose blocks are about a unit."""
        if path not in self._places:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            place = placement(path, "")
            self._places[path] = tuple(
                (number, where)
                for number, (targets, _) in enumerate(self._program.guards)
                if targets
                for where in meant(targets, place, _UNTOLD)[0]
                if where.path == path
            )
        return self._places[path]


class _Untold:
    """A host of which nothing is known but the names in paths."""

    host: Any = None
    own_pids = frozenset[int]()
    ranker: Any = None
    tells_changes = False
    by_pid: dict[int, Process] = {}  # noqa: RUF012  (nothing is ever put into it)

    def scope(self, cgroup: str) -> None:
        return None

    def fact(self, place: Placement, name: str) -> None:
        return None

    def container_fact(self, process: Process, id_: str, name: str) -> None:
        return None

    def read(self, process: Process, field: str) -> None:
        return None


_UNTOLD = _Untold()


def _done(event: Event, sample: Sample) -> Row:
    armed, victim = event.armed, event.victim
    unit = armed.name if armed and armed.unit != HOST else ""
    return Row(
        at=event.at,
        replayed=True,
        kind=event.kind,
        guard=armed.guard.text if armed else "",
        place=armed.guard.place if armed else "",
        unit=unit or (victim.unit if victim else ""),
        pid=victim.pid if victim else None,
        comm=victim.comm if victim else "",
        rank=victim.rank if victim else None,
        expected=victim.expected if victim else None,
        won=event.won,
        lasted=event.lasted,
        available=sample.host.get("available"),
        problem=event.problem,
    )


def _happened(line: Happened) -> Row:
    return Row(
        at=line.at,
        replayed=False,
        kind=line.kind,
        guard=line.guard,
        place=line.place,
        unit=line.unit,
        pid=line.pid,
        comm=line.comm,
        problem=line.problem,
    )


# --- for people, and for programs -----------------------------------------------------------------


def lines(found: Replayed, program: Program, paint: Paint) -> Iterator[str]:
    """Yield a table of what would have been done, and sentences on what it rests on."""
    rows, styles = [], []
    for row in found.rows:
        rows.append(texts(row, found.start))
        styles.append(_style(row))
    if rows:
        yield table(COLUMNS, rows, paint, styles)
        yield ""
    span = duration(round(1000 * max(0.0, found.end - found.start.at)))
    signals = sum(row.replayed and row.kind in ("asked", "killed") for row in found.rows)
    yield (
        f"{count(found.samples, 'sample')} in {span}, {count(found.lists, 'list')}: the guards "
        + (f"would have sent {count(signals, 'signal')}" if signals else "would have killed nobody")
    )
    yield from _at_worst(found)
    if found.left_out:
        yield f"{count(found.left_out, 'event')} more are not shown"
    for number in found.unseen:
        targets, guard = program.guards[number]
        yield (
            f"the recording has no unit that `in {targets[-1] if targets else 'the host'}` means, "
            f"so nothing is known of the guard at {guard.place}"
        )
    if not found.reranked:
        yield (
            "the lists are those of the rules that were in force then; `oomrules record "
            "--snapshots` makes a recording that other rules can rank"
        )


def _at_worst(found: Replayed) -> Iterator[str]:
    worst, said = found.extremes, []
    if worst.available is not None:
        after = worst.available_at - found.start.at
        said.append(f"{memory(worst.available)} available after {after:.1f} s")
    if worst.stall is not None:
        after = worst.stall_at - found.start.at
        said.append(f"all tasks stalled for {worst.stall:.1f} % of the time after {after:.1f} s")
    if said:
        yield f"at worst, as recorded: {'; '.join(said)}"


def texts(row: Row, start: Start) -> list[str]:
    """Return what stands in the columns of a row."""
    words = (_WORDS if row.replayed else _HAPPENED).get(row.kind, row.kind)
    whom = f"{called(row.comm)} ({row.pid})" if row.pid is not None else "-"
    why = row.guard
    if row.kind == "ended":
        took = "" if row.lasted is None else f"after {row.lasted:.1f} s"
        won = "" if row.won is None else f"available {_signed(row.won)}"
        why = ", ".join(part for part in (took, won, row.problem) if part)
    elif row.problem:
        why = f"{row.guard}: {row.problem}" if row.guard else row.problem
    return [
        f"{row.at - start.at:.1f} s",
        _clock(row, start),
        words,
        whom,
        row.unit or "-",
        memory(row.available) if row.available is not None else "-",
        why,
    ]


def _signed(size: int) -> str:
    return f"{'-' if size < 0 else '+'}{memory(abs(size))}"


def _clock(row: Row, start: Start) -> str:
    moment = _moment(row.at, start)
    return "-" if moment is None else clip(moment.strftime("%H:%M:%S"), 8)


def _moment(at: float, start: Start) -> datetime | None:
    try:
        return datetime.fromisoformat(start.time) + timedelta(seconds=at - start.at)
    except (ValueError, OverflowError):
        return None


def _style(row: Row) -> str:
    if row.replayed:
        return {"asked": "red", "killed": "red", "warned": "yellow"}.get(row.kind, "")
    return "bold" if row.kind in ("killed", "kernel") else "dim"


def as_data(found: Replayed, program: Program) -> dict[str, Any]:
    """Return a replay for a program."""
    events = []
    for row in found.rows:
        moment = _moment(row.at, found.start)
        data = row._asdict()
        events.append(
            {
                "at": round(row.at, 3),
                "after": round(row.at - found.start.at, 3),
                "time": moment and moment.isoformat(timespec="milliseconds"),
                "by": "replay" if data.pop("replayed") else "recording",
                "event": data.pop("kind"),
                **{key: value for key, value in data.items() if key != "at"},
            }
        )
    return {
        "schema": SCHEMA,
        "time": found.start.time,
        "seconds": round(max(0.0, found.end - found.start.at), 3),
        "samples": found.samples,
        "lists": found.lists,
        "reranked": found.reranked,
        "worst": found.extremes._asdict(),
        "events": events,
        "left_out": found.left_out,
        "unseen": [program.guards[number][1].place for number in found.unseen],
    }


def show(found: Replayed, program: Program) -> None:
    """Print a replay for people."""
    for line in lines(found, program, Paint(sys.stdout)):
        print(line)
