"""What goes through the guard: plain data. Times are seconds since the boot, memory is bytes."""

from __future__ import annotations

from collections.abc import Mapping

from oomrules.lean import NamedTuple
from oomrules.program.nodes import Node
from oomrules.program.program import Guard

# What stands for the host where the path of a unit's control group would stand.
HOST = ""


def inside(path: str, place: str) -> bool:
    """Return whether a control group is a place, or is inside it; one that is unknown is not.

    The place of ``-.slice`` is ``/``, and everything is inside the host.
    """
    return place == HOST or (path != "" and f"{path}/".startswith(f"{place.rstrip('/')}/"))


# Raw figures of the host or of a unit, by the last word of their attribute (``available`` of
# ``host.available``), besides ``some`` and ``full``: the microseconds since the boot in which some
# or all tasks have waited for memory. None, and what is missing, is unknown.
Figures = Mapping[str, "int | None"]


class Armed(NamedTuple):
    """A guard at one place: at the host, or at one unit that its block is about.

    Attributes:
        number: the guard's place in ``Program.guards``.
        unit: the path of the unit's control group; ``HOST``.
        name: the unit's name for people; empty for the host.
        manager: the user whose manager the unit belongs to; empty for the system's.
    """

    guard: Guard
    number: int
    unit: str = HOST
    name: str = ""
    manager: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """What tells one armed guard from another."""
        return self.number, self.unit


class Whole(NamedTuple):
    """What is killed with a victim, by ``kill whole``.

    Attributes:
        path: the control group of the unit.
        at_once: whether the whole group may be killed (``cgroup.kill``): nobody inside is
            protected.
        others: the processes that go besides, by pid and start; the candidates first.
        held: bytes that they hold together.
    """

    path: str
    at_once: bool
    others: tuple[tuple[int, int], ...]
    held: int = 0


class Candidate(NamedTuple):
    """A process that may be taken.

    Attributes:
        pid, start: it; the start in clock ticks since the boot, as in ``/proc/PID/stat``.
        rank: its place in the list, from 1.
        points: its points, rounded down.
        uid, comm: as they were read; a comm proves nothing.
        cgroup: the path of its control group.
        unit, manager: the innermost unit, and the user whose manager that belongs to, or empty.
        held: its footprint: what its end should give back.
        swap: how much of that is swapped out.
        polite: whether it gets SIGTERM first in any case: it has CAP_SYS_RAWIO, or a process has it
            that goes with it.
        whole: what goes with it.
        level: its tier and degree as one number; less is killed sooner.
        mapped: its address space, where that is what the score measures; else 0.
    """

    pid: int
    start: int
    rank: int
    points: int | None = None
    uid: int | None = None
    comm: str = ""
    cgroup: str = ""
    unit: str = ""
    manager: str = ""
    held: int = 0
    swap: int = 0
    polite: bool = False
    whole: Whole | None = None
    level: int = 0
    mapped: int = 0

    @property
    def identity(self) -> tuple[int, int]:
        """What tells a process from another one that has its pid later."""
        return self.pid, self.start

    @property
    def expected(self) -> int:
        """Bytes that should come back when it has ended, with those that go with it."""
        return self.held + (self.whole.held if self.whole else 0)


class Ready(NamedTuple):
    """The ready list: made ahead of time, so that nothing has to be looked for when it counts.

    Attributes:
        at: when the processes were read.
        armed: the guards, at each place that they hold at now.
        candidates: by the path of a unit that a guard is at, or ``HOST``: the first of the
            candidates there, worst first.
        length: how many candidates the whole list has.
        definitions: what the names in the guards' conditions stand for (``Program.definitions``).
    """

    at: float
    armed: tuple[Armed, ...]
    candidates: Mapping[str, tuple[Candidate, ...]]
    length: int
    definitions: Mapping[str, Node] = {}


NOBODY = Ready(float("-inf"), (), {}, 0)


class Sample(NamedTuple):
    """One reading of the figures.

    Attributes:
        at: when.
        host: ``memory``, ``available``, ``free``, ``shmem``, ``swap``, ``swap_free``,
            ``totalpages``, ``some``, ``full``.
        units: by path: ``memory``, ``memory_max``, ``memory_high``, ``swap``, ``oom_kills``,
            ``processes``, ``footprint``, ``some``, ``full``, and ``limit``: the nearest memory
            limit. A unit that is not there is gone, or is another one with the same path.
        killed: when the kernel last killed because the whole host was out of memory.
    """

    at: float
    host: Figures
    units: Mapping[str, Figures]
    killed: float = float("-inf")


class Flight(NamedTuple):
    """A victim that was signalled, until its memory is back.

    Attributes:
        victim, armed: whom, and by which guard.
        since: when it got its first signal.
        killed: when it got SIGKILL; None as long as it was only asked to end.
        escalate: when it gets SIGKILL if it is still there; for what was only asked.
        expected: bytes that should come back.
        available: ``host.available`` at the decision; None if unknown.
        gone: when it was seen to be gone; None as long as it is there.
        dry: it was not really signalled, so nothing comes of it: it is over with the shortage.
    """

    victim: Candidate
    armed: Armed
    since: float
    killed: float | None
    escalate: float
    expected: int
    available: int | None
    gone: float | None = None
    dry: bool = False


class Decision(NamedTuple):
    """What a sample leads to.

    Attributes:
        action: ``kill``, ``terminate`` or empty: what to do with the first of ``victims`` that can
            be signalled.
        armed: the guard that says so.
        victims: candidates in their order; the one in flight and those given up are not among them.
        escalate: the one in flight gets SIGKILL now.
        landed: the one in flight is over, and why (``decision.BACK``, ``LATE``, ``STUCK``); there
            may be a next one in the same decision.
        warnings: the ``warn`` guards whose condition has just held for long enough.
        over: those of earlier warnings that hold no more.
        nobody: guards that hold with nobody to take, to be said once.
        hot: whether the next sample is due soon: something holds, or is near.
        counting: whether a duration is being counted: the next sample is due within a second.
    """

    action: str = ""
    armed: Armed | None = None
    victims: tuple[Candidate, ...] = ()
    escalate: bool = False
    landed: str = ""
    warnings: tuple[Armed, ...] = ()
    over: tuple[Armed, ...] = ()
    nobody: tuple[Armed, ...] = ()
    hot: bool = False
    counting: bool = False


class Event(NamedTuple):
    """What the guard has done or seen, for those who tell people. Few a minute at most.

    Attributes:
        kind: ``warned``, ``over`` (of a warning), ``asked`` (SIGTERM), ``killed``, ``ended`` (the
            flight is over), ``nobody``, ``failed`` (of the guard itself; ``problem`` says how).
        at: when.
        sample: the figures at the decision; ``armed`` the guard, ``victim`` whom it took.
        listed: how many candidates there were, and ``age`` how old the list was, in seconds.
        reaction: seconds from the sample to the signal.
        others: how many processes went with the victim.
        lasted: seconds from the first signal to the end; None if it has not ended.
        won: bytes by which ``host.available`` has grown; None if unknown.
        dry: nothing was really signalled.
        problem: what went wrong, in a sentence, and candidates that were passed over.
    """

    kind: str
    at: float
    armed: Armed | None = None
    sample: Sample | None = None
    victim: Candidate | None = None
    listed: int = 0
    age: float = 0.0
    reaction: float = 0.0
    others: int = 0
    lasted: float | None = None
    won: int | None = None
    dry: bool = False
    problem: str = ""
