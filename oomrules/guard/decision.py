"""Samples, guards, the ready list and what is in flight -> what to do. No clock, no host.

``decide`` is a pure function: what it has to remember goes out as a ``State`` and comes in again.
What it means is said in docs/guard.md. In short: the strongest action of all guards that hold,
the first process in the list of their scopes, one at a time, and nothing on a figure that is not
known.
"""

from __future__ import annotations

from collections.abc import Mapping

from oomrules.guard import figures
from oomrules.guard.comparisons import Comparison, compared
from oomrules.guard.figures import Evaluate, Look, Point
from oomrules.guard.model import (
    HOST,
    NOBODY,
    Armed,
    Candidate,
    Decision,
    Flight,
    Ready,
    Sample,
    inside,
)
from oomrules.lean import NamedTuple
from oomrules.program.nodes import Node

# A gap, in seconds: while a duration is counted, samples are planned a second apart at most.
GAP = 2.5

# What is waited for the memory of a victim that is gone: this long, and as long as its swap takes
# to be given back, but no longer than the last one. Seconds, bytes a second.
LEAST, SWAP_RATE, MOST = 0.5, 200 * 2**20, 5.0
# How long a victim may take to be gone after SIGKILL, before its swap is counted: one that reads a
# page from a busy disk cannot die until it has it.
DYING = 2.0
# How long a kill by the kernel is waited for, whose victim is nobody's that we know of.
KERNEL = 1.0

# Why a flight is over: the memory is back; the victim is gone, its memory is not back in time; the
# victim is still there.
BACK, LATE, STUCK = "back", "late", "stuck"

# A warning is over when its condition has been false for so many seconds; what is only tried is
# not tried again within them.
CALM = 10.0
# A candidate that could not be signalled is tried again after so many seconds.
RETRY = 60.0
# A list that is not new may name a victim that is gone for so many seconds.
_LISTED = 3600.0
_FOREVER = float("inf")
# Who is passed over is remembered for so many at most; who is passed over the longest is kept.
_MOST_PASSED = 256
# A kill in an inner place begins the totals of the outer ones anew this often at most: or a user
# whose processes are killed again and again would keep the host's own guards from acting.
_RENEWED = 10.0
# Two times that differ by less are the same.
_SAME = 1e-6

# What takes a process, the strongest first.
ACTIONS = ("kill", "terminate")
_NEVER = float("-inf")


class Watch(NamedTuple):
    """What is remembered of an armed guard.

    Attributes:
        holds: its condition, compiled.
        since: since when it has been true in every sample; None if it is not.
        warned: it has warned, and that is not over.
        calm: since when it has been false after a warning.
        nobody: it was said that there is nobody to take.
    """

    armed: Armed
    holds: Evaluate
    since: float | None = None
    warned: bool = False
    calm: float | None = None
    nobody: bool = False

    def due(self, at: float) -> bool:
        """Return whether its condition has been true for its duration."""
        return self.since is not None and _reached(at, self.since + self.armed.guard.lasting / 1e3)


class State(NamedTuple):
    """What ``decide`` remembers. Only this module looks inside.

    Attributes:
        at: when the last sample was.
        watches: one for each armed guard of the ready list that they were made of.
        armed, definitions: of that list.
        totals: by place, the readings of its totals since the last kill or gap.
        renewed: by place, the first signal of the last victim further inside that began its totals
            anew.
        killed: the kernel's last kill that is known of.
        resumed: when the last gap was over.
        passed: who is passed over, by pid and start, and until when.
    """

    at: float = _NEVER
    watches: tuple[Watch, ...] = ()
    armed: tuple[Armed, ...] = NOBODY.armed
    definitions: Mapping[str, Node] = NOBODY.definitions
    totals: Mapping[str, tuple[Point, ...]] = {}
    renewed: Mapping[str, float] = {}
    killed: float = _NEVER
    resumed: float = _NEVER
    passed: Mapping[tuple[int, int], float] = {}


START = State()


def _reached(at: float, when: float) -> bool:
    return at >= when - _SAME


def deadline(victim: Candidate) -> float:
    """Return how many seconds the memory of a victim may take to be back once it is gone."""
    return min(MOST, LEAST + victim.swap / SWAP_RATE)


def dying(victim: Candidate) -> float:
    """Return how many seconds a victim may take to be gone after SIGKILL."""
    return min(MOST, DYING + victim.swap / SWAP_RATE)


def decide(
    state: State, sample: Sample, ready: Ready, flight: Flight | None, gap: float = GAP
) -> tuple[State, Decision]:
    """Return what a sample leads to.

    Where ``landed`` says that the one in flight is over, the action of the same decision is already
    about the next one.

    Args:
        state: what the last call returned; ``START`` at first, and where the guard begins anew.
        sample: the figures now.
        ready: the ready list, however old: a candidate is told from its successors by its start.
        flight: the victim that was signalled last, unless a decision has said that it is over.
        gap: how many seconds there are at most between two samples while something is counted.
    """
    at = sample.at
    watches, vanished = _followed(state, ready)
    late = _late(state, at, gap, flight is not None or _counting(watches))
    resumed = at if late else state.resumed
    anew = late or sample.killed > state.killed
    landed = _landed(flight, sample, resumed) if flight and not flight.dry else ""
    # What stalls while a victim dies is its death.
    eased = flight if flight and (landed or flight.killed is not None) else None
    renewed = _renewed(state.renewed, sample, eased)
    totals = _totals(state.totals, sample, eased, renewed, anew)
    looks = {place: Look(sample, place, totals) for place in {w.armed.unit for w in watches}}
    watches, warnings, over = _judged(watches, looks, at, anew, eased)

    passed = _passed(state.passed, flight, landed, at) if flight and landed else state.passed
    if flight and flight.dry and _reached(at, flight.since + CALM) and not _taking(watches):
        landed = BACK
    aloft = None if landed else flight
    nobody: tuple[Armed, ...] = ()
    armed: Armed | None = None
    victims: tuple[Candidate, ...] = ()
    waits = aloft is not None or at < sample.killed + KERNEL
    if not waits:
        watches, nobody = _deserted(watches, ready, passed, at)
        armed, victims = _chosen(watches, ready, passed, at)
    counting = _counting(watches)
    return State(
        at=at,
        watches=watches,
        armed=ready.armed,
        definitions=ready.definitions,
        totals=totals,
        renewed=renewed,
        killed=max(state.killed, sample.killed),
        resumed=resumed,
        passed=passed,
    ), Decision(
        action=armed.guard.kind if armed else "",
        armed=armed,
        victims=victims,
        escalate=aloft is not None and _escalates(aloft, watches, at, resumed),
        landed=landed,
        warnings=warnings,
        over=vanished + over,
        nobody=nobody,
        hot=waits or counting or _near(watches, sample, totals),
        counting=counting,
    )


def tried(state: State, decision: Decision, flight: Flight | None) -> State:
    """Return a state that passes over the candidates that could not be signalled.

    To be called after each attempt, with what came of it; without it the same candidates would be
    tried with each sample. After it ``decide`` may be called with the same sample again.

    Args:
        state: what ``decide`` returned with the decision.
        flight: the victim that was signalled; None if none could be.
    """
    passed = dict(state.passed)
    for candidate in decision.victims:
        if flight and candidate.identity == flight.victim.identity:
            break
        passed[candidate.identity] = state.at + RETRY
    return state._replace(passed=_bounded(passed, state.at))


def _late(state: State, at: float, gap: float, planned: bool) -> bool:
    """Return whether a sample is much later than it was planned, or before the last one."""
    return at < state.at or (planned and gap < at - state.at < _FOREVER)


def due(state: State) -> tuple[Armed, ...]:
    """Return the guards that have held for their duration at the last sample."""
    return tuple(watch.armed for watch in state.watches if watch.due(state.at))


# --- what is in flight -----------------------------------------------------------------------


def _landed(flight: Flight, sample: Sample, resumed: float) -> str:
    """Return why the one in flight is over; empty if it is not."""
    if flight.gone is not None:
        now, before = sample.host.get("available"), flight.available
        if now is not None and before is not None and 2 * (now - before) >= flight.expected:
            return BACK
        begun = max(flight.gone, min(resumed, sample.at))
        return LATE if _reached(sample.at, begun + deadline(flight.victim)) else ""
    killed = flight.escalate if flight.killed is None else flight.killed
    begun = max(killed, resumed)
    return STUCK if _reached(sample.at, begun + dying(flight.victim)) else ""


def _escalates(flight: Flight, watches: tuple[Watch, ...], at: float, resumed: float) -> bool:
    """Return whether a victim that was asked to end is to be killed now.

    Each guard that is about its place gives it the guard's own time from when it is due: else one
    that gives ten minutes would hold up the host's last resort. A guard that kills gives none, but
    to one that may access hardware (``polite``).
    """
    if flight.killed is not None or flight.gone is not None:
        return False
    given = flight.escalate - flight.since
    if _reached(at, max(flight.escalate, resumed + given)):
        return True
    for watch in watches:
        guard = watch.armed.guard
        if guard.kind in ACTIONS and watch.due(at) and _holds(watch.armed.unit, flight):
            begun = max(flight.since, (watch.since or 0) + guard.lasting / 1e3)
            at_once = guard.kind == "kill" and not flight.victim.polite
            if at_once or _reached(at, begun + guard.within / 1e3):
                return True
    return False


def _holds(place: str, flight: Flight) -> bool:
    """Return whether the victim in flight is of a place."""
    return place == flight.armed.unit or inside(flight.victim.cgroup, place)


def _passed(
    passed: Mapping[tuple[int, int], float], flight: Flight, landed: str, at: float
) -> dict[tuple[int, int], float]:
    """Return who is passed over, with a victim that is over and those that went with it."""
    others = flight.victim.whole.others if flight.victim.whole else ()
    until = _FOREVER if landed == STUCK else at + _LISTED
    with_others = {**passed, **dict.fromkeys(others, at + RETRY)}
    return _bounded({**with_others, flight.victim.identity: until}, at)


def _bounded(passed: dict[tuple[int, int], float], at: float) -> dict[tuple[int, int], float]:
    left = [(identity, until) for identity, until in passed.items() if until > at]
    return dict(sorted(left, key=lambda one: one[1])[-_MOST_PASSED:])


# --- totals ----------------------------------------------------------------------------------


def _renewed(
    renewed: Mapping[str, float], sample: Sample, eased: Flight | None
) -> Mapping[str, float]:
    """Return by place the victim that began its totals anew, with the one that does so now.

    At the place of the guard that took it, and further inside, each victim does.
    """
    if eased is None:
        return renewed
    known = {place: since for place, since in renewed.items() if eased.since - since < _RENEWED}
    for place in (HOST, *sample.units):
        if _holds(place, eased) and (place not in known or inside(place, eased.armed.unit)):
            known[place] = eased.since
    return known


def _totals(
    totals: Mapping[str, tuple[Point, ...]],
    sample: Sample,
    eased: Flight | None,
    renewed: Mapping[str, float],
    anew: bool,
) -> dict[str, tuple[Point, ...]]:
    """Return the readings of the totals by place, with these."""
    found = {}
    for place, raw in ((HOST, sample.host), *sample.units.items()):
        begins = anew or (
            eased is not None and _holds(place, eased) and renewed.get(place) == eased.since
        )
        found[place] = figures.noted(() if begins else totals.get(place, ()), sample.at, raw)
    return found


# --- what holds ------------------------------------------------------------------------------


def _followed(state: State, ready: Ready) -> tuple[tuple[Watch, ...], tuple[Armed, ...]]:
    """Return the watches of the guards of a list, and the guards gone whose warning is not over."""
    if ready.armed is state.armed and ready.definitions is state.definitions:
        return state.watches, ()
    known: dict[tuple[str, str, str, str], list[Watch]] = {}
    if ready.definitions == state.definitions:
        for watch in state.watches:
            known.setdefault(_name(watch.armed), []).append(watch)
    watches = []
    for armed in ready.armed:
        same = known.get(_name(armed), [])
        if same and same[-1].armed.guard == armed.guard:
            watches.append(same.pop()._replace(armed=armed))
        else:
            holds = figures.compiled(armed.guard.when, ready.definitions)
            watches.append(Watch(armed=armed, holds=holds))
    if ready.definitions == state.definitions:
        left = [watch for same in known.values() for watch in same]
    else:
        left = list(state.watches)
    return tuple(watches), tuple(watch.armed for watch in left if watch.warned)


def _name(armed: Armed) -> tuple[str, str, str, str]:
    guard = armed.guard
    return armed.unit, guard.kind, guard.text, guard.place


def _judged(
    watches: tuple[Watch, ...],
    looks: Mapping[str, Look],
    at: float,
    anew: bool,
    eased: Flight | None,
) -> tuple[tuple[Watch, ...], tuple[Armed, ...], tuple[Armed, ...]]:
    """Return the watches after a look; the guards that warn now, and whose warning is over.

    Durations begin anew after a gap and after a kill: after one of ours at the place of its guard
    and further inside.
    """
    judged: list[Watch] = []
    warnings: list[Armed] = []
    over: list[Armed] = []
    for watch in watches:
        armed = watch.armed
        holds = figures.truth(watch.holds, looks[armed.unit])
        begins = anew or (
            eased is not None and inside(armed.unit, eased.armed.unit) and _holds(armed.unit, eased)
        )
        since = None if holds is not True else at if begins else watch.since
        watch = watch._replace(
            since=at if holds is True and since is None else since,
            calm=(at if anew or watch.calm is None else watch.calm) if holds is False else None,
            nobody=watch.nobody and holds is not False,
        )
        if armed.guard.kind == "warn":
            if not watch.warned and watch.due(at):
                warnings.append(armed)
                watch = watch._replace(warned=True)
            elif watch.warned and watch.calm is not None and _reached(at, watch.calm + CALM):
                over.append(armed)
                watch = watch._replace(warned=False)
        judged.append(watch)
    return tuple(judged), tuple(warnings), tuple(over)


def _counting(watches: tuple[Watch, ...]) -> bool:
    """Return whether a guard holds that has something left to do.

    One that has nobody to take may have somebody with the next list.
    """
    return any(watch.since is not None and not watch.warned for watch in watches)


def _taking(watches: tuple[Watch, ...]) -> bool:
    """Return whether a guard holds that takes a process."""
    return any(watch.since is not None and watch.armed.guard.kind in ACTIONS for watch in watches)


def _near(
    watches: tuple[Watch, ...], sample: Sample, totals: Mapping[str, tuple[Point, ...]]
) -> bool:
    """Return whether a condition would hold if all were somewhat worse."""
    looks: dict[str, Look] = {}
    for watch in watches:
        place = watch.armed.unit
        if not watch.warned:
            if place not in looks:
                looks[place] = Look(sample, place, totals, worse=True)
            if figures.truth(watch.holds, looks[place]) is True:
                return True
    return False


# --- whom ------------------------------------------------------------------------------------


def _free(
    armed: Armed, ready: Ready, passed: Mapping[tuple[int, int], float], at: float
) -> list[Candidate]:
    """Return the candidates of a guard's place that are not passed over."""
    candidates = ready.candidates.get(armed.unit, ())
    return [one for one in candidates if passed.get(one.identity, _NEVER) <= at]


def _deserted(
    watches: tuple[Watch, ...], ready: Ready, passed: Mapping[tuple[int, int], float], at: float
) -> tuple[tuple[Watch, ...], tuple[Armed, ...]]:
    """Return the watches, and the guards of which it is to be said that there is nobody to take."""
    said: list[Armed] = []
    after: list[Watch] = []
    for watch in watches:
        if watch.armed.guard.kind in ACTIONS and watch.due(at):
            nobody = not _free(watch.armed, ready, passed, at)
            if nobody and not watch.nobody:
                said.append(watch.armed)
            watch = watch._replace(nobody=nobody)
        after.append(watch)
    return tuple(after), tuple(said)


def _chosen(
    watches: tuple[Watch, ...], ready: Ready, passed: Mapping[tuple[int, int], float], at: float
) -> tuple[Armed | None, tuple[Candidate, ...]]:
    """Return the guard that acts and its candidates, up to the first that another guard names.

    What does not depend on the order of rules decides between guards that name the same process:
    the one that gives it the least time, and that stops its unit.
    """
    for action in ACTIONS:
        due = [w.armed for w in watches if w.armed.guard.kind == action and w.due(at)]
        named = [(armed, _free(armed, ready, passed, at)) for armed in due]
        named = [(armed, free) for armed, free in named if free]
        if named:
            armed, free = min(named, key=lambda one: (one[1][0].rank, _precedence(one[0])))
            own = {candidate.identity for candidate in free}
            others = (one for _, found in named for one in found if one.identity not in own)
            end = min((one.rank for one in others), default=None)
            return armed, tuple(one for one in free if end is None or one.rank < end)
    return None, ()


def _precedence(armed: Armed) -> tuple[int, bool, str, str, str]:
    guard = armed.guard
    return guard.within, not guard.stop, guard.text, armed.unit, guard.place


# --- how far it is ---------------------------------------------------------------------------


class Distance(NamedTuple):
    """How far a guard is from acting.

    Attributes:
        holds: True, False, or None for unknown.
        since: since when it has held; None if it does not.
        due: whether it has held for its duration.
        comparisons: those of its condition, with those of its definitions.
        victim: whom it would take now; None for a warning, and if there is nobody.
        never: why it can never act here, as things are; empty if it can.
    """

    armed: Armed
    holds: bool | None
    since: float | None
    due: bool
    comparisons: tuple[Comparison, ...]
    victim: Candidate | None
    never: str


def distances(state: State, sample: Sample, ready: Ready) -> tuple[Distance, ...]:
    """Return how far each armed guard of a list is from acting.

    Args:
        state: what ``decide`` has made of this sample.
    """
    watches, _ = _followed(state, ready)
    found = []
    for watch in watches:
        look = Look(sample, watch.armed.unit, state.totals)
        holds = figures.truth(watch.holds, look)
        comparisons = tuple(compared(watch.armed.guard.when, ready.definitions, look))
        free = _free(watch.armed, ready, state.passed, sample.at)
        victim = free[0] if free and watch.armed.guard.kind in ACTIONS else None
        found.append(
            Distance(
                armed=watch.armed,
                holds=holds,
                since=watch.since,
                due=watch.due(sample.at),
                comparisons=comparisons,
                victim=victim,
                never=_never(watch.armed, sample, holds, comparisons, victim),
            )
        )
    return tuple(found)


def _never(
    armed: Armed,
    sample: Sample,
    holds: bool | None,
    comparisons: tuple[Comparison, ...],
    victim: Candidate | None,
) -> str:
    if armed.unit != HOST and armed.unit not in sample.units:
        return f"there is no {armed.name or armed.unit}"
    if holds is None:
        missing = sorted({name for one in comparisons for name in one.missing})
        if "host.swap" in missing and sample.host.get("swap") == 0:
            return "there is no swap, so there is no share of it"
        stalls = [name for name in missing if name.rpartition(".")[2] in figures.SHARES]
        if stalls:
            return f"the kernel says nothing of stalls (PSI): {', '.join(stalls)} is unknown"
        if missing:
            return f"{', '.join(missing)} is unknown"
    if victim is None and armed.guard.kind in ACTIONS:
        return "no process there may be taken"
    return ""
