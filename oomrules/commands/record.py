"""Record the figures of this host and its candidates over time, to try guards on them later."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType

from oomrules import files
from oomrules.clock import now
from oomrules.commands import snapshot
from oomrules.commands.parts import armed, guarding, selection, shared
from oomrules.errors import Failure, reason
from oomrules.guard import recording
from oomrules.guard.model import Armed, Candidate, Event
from oomrules.kills.entry import died
from oomrules.kills.kernel_log import KernelLog, Kill
from oomrules.program.nodes import Node
from oomrules.program.program import Guard, Program, Scope
from oomrules.service import client
from oomrules.service.listener import STATUS
from oomrules.terminal import count, memory, say

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MOST = 1 << 30
# How long the service may take to say what its guard did, in seconds.
_PATIENCE = 1.0
# The figures of a unit that are recorded for those who name it.
_FIGURES = (
    *("memory", "memory_max", "memory_high", "swap", "oom_kills", "stall", "pressure"),
    *("processes", "footprint"),
)
# Has the nearest limit read as well.
_SHARE: Node = ["<", ["attr", "scope.memory"], ["share", 0, 1]]

EXITS = {
    0: "the recording is written",
    1: "the file became full before the time was over",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``record``."""
    parser.add_argument(
        "-o",
        "--output",
        type=shared.named("-o"),
        metavar="FILE",
        required=True,
        help="a file that is not there yet; - is standard output",
    )
    parser.add_argument(
        "--for",
        dest="lasting",
        type=shared.duration("--for", 1, 30 * 86_400),
        metavar="DURATION",
        help="how long, as in 1h30min; else until Ctrl+C",
    )
    parser.add_argument(
        "--every",
        type=shared.duration("--every", 0.1, 3600),
        default=1.0,
        metavar="DURATION",
        help="how long between two samples (1s)",
    )
    parser.add_argument(
        "--lists",
        type=shared.duration("--lists", 1, 3600),
        default=30.0,
        metavar="DURATION",
        help="how long between two lists of candidates (30s)",
    )
    shared.add_value(
        parser,
        "--units",
        "UNIT",
        "figures of these units too (a glob; repeatable); those at which a guard is are recorded "
        "in any case",
        action="append",
        default=[],
    )
    shared.add_flag(
        parser,
        "--snapshots",
        "all processes with each list, with their command lines, to try other rules for them",
    )
    parser.add_argument(
        "--most",
        type=shared.size("--most", 1 << 16),
        default=_MOST,
        metavar="SIZE",
        help="how large the file may become (1GiB)",
    )
    shared.add_rules(parser)


class Lines:
    """A file of JSON Lines that grows: each line is written whole, or not at all.

    Args:
        path: of a file that is not there yet; ``-`` is standard output.
        most: how large it may become, in bytes.

    Attributes:
        lines: how many were written.
        size: their bytes.
        full: whether it is as large as it may become.
        left: whether the reader of a pipe has left.
        problem: why no more can be written; empty as long as it can.

    Raises:
        Failure: the file is there, or cannot be made.
    """

    def __init__(self, path: str, most: int) -> None:
        self.lines = self.size = 0
        self.full = self.left = False
        self.problem = ""
        self._most = most
        self._descriptor = -1
        if path != "-":
            try:
                self._descriptor = files.create(path)
            except OSError as error:
                raise files.unwritten(path, error) from error

    def put(self, line: str) -> None:
        """Write a line, with its end, unless no more can be written."""
        data = line.encode()
        self.full |= self.size + len(data) > self._most
        if self.ended:
            return
        if self._descriptor >= 0:
            self.problem = self._append(data)
        else:
            sys.stdout.write(line)
            sys.stdout.flush()
            lost = getattr(getattr(sys.stdout.buffer, "raw", None), "lost", None)
            self.left = isinstance(lost, BrokenPipeError)
            self.problem = reason(lost) if lost and not self.left else ""
        if not self.ended:
            self.lines += 1
            self.size += len(data)

    @property
    def ended(self) -> bool:
        """Whether no more is written."""
        return self.full or self.left or self.problem != ""

    def _append(self, data: bytes) -> str:
        """Return why a line could not be written; what was written of it is taken away."""
        try:
            left = data
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            # A pipe or a device cannot be cut, and cannot be created either.
            os.ftruncate(self._descriptor, self.size)
            return reason(error)
        return ""

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Signals:
    """The signals that end a recording, as something to wait for.

    Attributes:
        came: whether one came.
    """

    def __init__(self) -> None:
        self.came = False
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {number: signal.signal(number, self._note) for number in _ENDS}
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True

    def wait(self, seconds: float) -> None:
        """Wait so long, or until a signal comes."""
        if not self.came and seconds > 0:
            select.select([self._reader], [], [], seconds)

    def close(self) -> None:
        """Have the signals do again what they did before."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)


@contextmanager
def _ending() -> Iterator[Signals]:
    signals = Signals()
    try:
        yield signals
    finally:
        signals.close()


def run(options: argparse.Namespace) -> int:
    """Record until the time is over or a signal comes; 1 if the file is full before that."""
    made = shared.program(options)
    host = armed.Live(_watching(made, options.units))
    lines = Lines(options.output, options.most)
    try:
        with _ending() as signals:
            _record(host, lines, signals, options)
    finally:
        lines.close()
        host.close()
    shared.print_notes([*selection.notes(host.source), *host.notes()])
    where = "standard output" if options.output == "-" else options.output
    written = f"{count(lines.lines, 'line')} ({memory(lines.size)}) written to {where}"
    if lines.problem:
        raise Failure(
            f"the recording has ended early: {where}: {lines.problem}",
            f"{written}, each of them whole",
        )
    say(written, sys.stderr)
    if lines.full:
        say("  no more fits; `--most SIZE` allows a larger file", sys.stderr)
    return 1 if lines.full else 0


def _watching(made: Program, units: list[str]) -> Program:
    """Return a program that makes the host and these units be looked at, besides its guards.

    Its further guards never hold: nothing is less than nothing.
    """
    asked = [f"scope.{key}" for key in _FIGURES]
    of_units: Node = ["or", *(_below_nothing(name) for name in asked), _SHARE]
    scopes = [_scope((unit,), of_units) for unit in units]
    scopes.append(_scope((), _below_nothing("host.available")))
    return made._replace(scopes=(*made.scopes, *scopes))


def _below_nothing(name: str) -> Node:
    return ["<", ["attr", name], ["number", 0]]


def _scope(targets: tuple[str, ...], when: Node) -> Scope:
    guard = Guard(kind="warn", when=when, place="", text="")
    return Scope(targets=targets, score=None, rules=(), guards=(guard,))


def _record(host: armed.Live, lines: Lines, signals: Signals, options: argparse.Namespace) -> None:
    begin = next_list = next_sample = now()
    until = begin + options.lasting if options.lasting else float("inf")
    lines.put(recording.start_line(begin, datetime.now().astimezone().isoformat(), options.every))
    log = _kernel_log()
    killed = float("-inf")
    acts = Acts(begin)
    while not (signals.came or lines.ended):
        if now() >= next_list:
            for event in acts.new():
                lines.put(recording.event_line(event))
            lines.put(recording.ready_line(host.rank()))
            if options.snapshots:
                lines.put(recording.snapshot_line(now(), snapshot.taken()[0]))
            next_list = max(now(), next_list + options.lists)
        for kill in log.read() if log else ():
            lines.put(recording.event_line(_by_kernel(kill)))
            if not kill.polite and not kill.constraint.endswith("MEMCG"):
                killed = died(kill)
        lines.put(recording.sample_line(host.sample(killed)))
        if now() >= until:
            break
        # A sample that comes late is not made up for.
        next_sample = max(now(), next_sample + options.every)
        signals.wait(min(next_sample, until) - now())
    for event in acts.new():
        lines.put(recording.event_line(event))
    if log:
        log.close()


class Acts:
    """What the guard of the service does meanwhile, if one runs: its last act at each list.

    Args:
        since: when the recording began.
    """

    def __init__(self, since: float) -> None:
        self._since = since

    def new(self) -> Iterator[Event]:
        """Yield the last act, if it came after the one before."""
        try:
            document = client.ask(STATUS, _PATIENCE) or {}
        except PermissionError:
            return
        last = guarding.of(document).get("last")
        ago = last.get("ago") if isinstance(last, dict) else None
        if not isinstance(last, dict) or not isinstance(ago, int | float):
            return
        at = now() - ago
        # The age of an act is rounded.
        if at <= self._since + 0.05:
            return
        self._since = at
        guard = Guard(
            kind="kill", when=[], place=str(last.get("place")), text=str(last.get("guard"))
        )
        pid = last.get("pid")
        yield Event(
            kind="asked" if last.get("act") == "asked" else "killed",
            at=at,
            armed=Armed(guard, 0),
            victim=Candidate(
                pid=pid if type(pid) is int else 0,
                start=0,
                rank=0,
                comm=str(last.get("comm")),
            ),
        )


def _by_kernel(kill: Kill) -> Event:
    """Return a kill by the kernel as an event of a recording."""
    at = "the kernel killed it, at the limit of its unit"
    if not kill.constraint.endswith("MEMCG"):
        at = "the kernel killed it, because the host had no memory left"
    victim = Candidate(pid=kill.pid, start=0, rank=0, comm=kill.comm, cgroup=kill.cgroup)
    return Event(
        kind="kernel",
        at=died(kill),
        victim=victim,
        problem="the module asked it to end" if kill.polite else at,
    )


def _kernel_log() -> KernelLog | None:
    """Return the kernel's log from now on; None if it cannot be read, as by a user."""
    try:
        return KernelLog(after=None)
    except OSError:
        return None
