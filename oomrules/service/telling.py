"""What the guard did, told to people: the journal, hooks, notices, and systemd where a rule asks.

The guard's thread leaves events; this is the main loop's part. Nothing here waits: what could is
done by short-lived children (``tell_child``), of which there are at most three: for notices, for
hooks, and to have a unit stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from oomrules.clock import now
from oomrules.errors import Failure
from oomrules.guard.intent import KILL, TERMINATE, Intent
from oomrules.guard.model import HOST, Candidate, Event
from oomrules.kills import guarded, journal
from oomrules.kills.guarded import Act
from oomrules.lean import Any, NamedTuple
from oomrules.plain import quoted
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.units import placement
from oomrules.service.losses import Losses
from oomrules.service.outbox import Outbox
from oomrules.service.pace import NEVER
from oomrules.service.poll import PollTable
from oomrules.service.problems import Problems
from oomrules.service.ration import Ration
from oomrules.service.tell_child import TellChild

HOOKS = "/etc/oomrules/hooks.d"

# Entries within _SPAN seconds: of each user, of each unit, and of all.
_USER, _UNIT, _ALL, _SPAN = 30, 100, 300, 60.0

# A warning that comes and goes is said once within _SPAN, for each guard and each owner of a unit.
_MOST_FLAPPING = 256

# Memory is short after a signal, and a child takes some: it waits for the victim's end, but no
# longer than this, in seconds.
_HOLD = 3.0

# Notices are sent no more often; those in between are summed up. So many acts are told apart.
_NOTICES_EVERY, _MOST_NOTICES = 10.0, 32

# Events that wait for hooks, and how many of them may be about one owner; units to be stopped.
_MOST_HOOKS, _MOST_OF_OWNER, _MOST_STOPS = 16, 4, 8

# Events that one child runs the hooks for: it takes longer to start than most hooks run.
_BATCH = 4

# How long children may take, in seconds: to tell, to stop a unit, and to run all hooks of a batch.
_TO_TELL, _TO_STOP, _TO_HOOK = 60.0, 60.0, 180.0

_HOOKED = ("warned", "over", "asked", "killed", "ended", "nobody", "failed", "again", "stopped")
_NOTICED = ("warned", "asked", "killed")

# What never is stopped, whatever a rule says; and what only if a rule's target names it.
_NEVER = ("-.slice", "init.scope", "system.slice", "oomrules.service")
_BY_NAME = (".slice", ".scope")

_UNITS_TOLD = 10


class _Flap(NamedTuple):
    """A warning that was said.

    Attributes:
        at: when.
        shown: whether the last one was said, so that its end is said too.
        more: how many were not said since.
        act: the last of them.
    """

    at: float
    shown: bool
    more: int
    act: Act


class _Lane:
    """One child at a time."""

    def __init__(self, poll: PollTable, path: list[str]) -> None:
        self._poll, self._path = poll, path
        self._done: Callable[[dict[str, Any]], None] = lambda said: None
        self.running: TellChild | None = None

    def start(
        self, request: dict[str, Any], seconds: float, done: Callable[[dict[str, Any]], None]
    ) -> None:
        """Start a child; ``done`` gets what it says, at once if it cannot be started."""
        try:
            self.running = TellChild(self._path, request, now() + seconds)
        except Failure as error:
            done({"problems": [error.message]})
            return
        self._done = done
        self._poll.add(self.running.descriptor, lambda _: self.finish())

    @property
    def deadline(self) -> float:
        """When the running child has to be done."""
        return self.running.deadline if self.running else NEVER

    def finish(self) -> None:
        """Collect the child: it has ended, or its time is over."""
        if self.running:
            running, self.running = self.running, None
            self._poll.remove(running.descriptor)
            self._done(running.finish())


class Telling:
    """Tells people what the guard did.

    Args:
        outbox, problems, poll: of the service.
        path: what a child may import from.
        intent: what the guard's thread wrote down.

    Attributes:
        counts: acts by kind (``guarded.IDS``), those of a dry run apart, as ``dry``.
        reaction: seconds from the sample to the last signal; None if there was none.
        last: the last kill, or SIGTERM, for the status; ``last_at`` when it was.
    """

    def __init__(
        self,
        outbox: Outbox,
        problems: Problems,
        poll: PollTable,
        path: list[str],
        intent: Intent,
    ) -> None:
        self._outbox, self._problems, self._intent = outbox, problems, intent
        self._unit_root = Hierarchy().unit_root()
        self._ration = Ration(_USER, _UNIT, _ALL, _SPAN)
        self._flaps: dict[tuple[str, str], _Flap] = {}
        self._losses = Losses()
        self._unsettled: list[tuple[Candidate, str]] = []
        self._stopper, self._speaker, self._hooker = (_Lane(poll, path) for _ in range(3))
        self._stops: list[Act] = []
        self._notices: list[Act] = []
        self._more_notices = 0
        self._noticed_at = -NEVER
        self._hooks: list[tuple[str, Act]] = []
        self._hold = -NEVER
        self.counts = dict.fromkeys((*guarded.IDS, "dry"), 0)
        self.reaction: float | None = None
        self.last: dict[str, Any] | None = None
        self.last_at = 0.0

    # --- what comes in ---------------------------------------------------------------

    def recall(self) -> None:
        """Record what a service before this one wrote down and had no time to say."""
        self._problems.report("intent", self._intent.problem)
        for noted in self._intent.left:
            self._say(noted.act)
            self.counts["unsure"] += 1
        self._intent.settle()

    def tell(self, events: Iterable[Event], targets: Sequence[tuple[str, ...]] = ()) -> None:
        """Tell what the guard did.

        Args:
            targets: of each guard's block, by the guard's number (``Program.guards``).
        """
        for event in events:
            act = act_of(event)
            self._remember(event, act)
            owner = self._owner(event)
            if self._is_told(event, act, owner):
                self._say(act)
                self._pass_on(act, owner)
            if event.victim and event.kind in ("asked", "killed"):
                action = KILL if event.kind == "killed" else TERMINATE
                self._unsettled.append((event.victim, action))
                if not event.dry:
                    self._count_loss(event, act, targets)
        self._settle()

    def _remember(self, event: Event, act: Act) -> None:
        self.counts["dry" if act.dry and act.pid else act.kind] += 1
        if act.dry:
            return
        if act.kind in ("asked", "killed"):
            self._hold = now() + _HOLD
            self.reaction = event.reaction
            self.last_at = event.at
            self.last = {
                "act": act.kind,
                "pid": act.pid,
                "comm": act.comm,
                "unit": act.user_unit or act.system_unit,
                "guard": act.text,
                "place": act.place,
                "rank": act.rank,
                "listed": act.listed,
                "list_age": None if act.age is None else round(act.age, 3),
                "reaction": round(event.reaction, 4),
                "expected": act.expected,
                "won": None,
                "lasted": None,
            }
        elif act.kind == "ended":
            self._hold = -NEVER
            if self.last and self.last["pid"] == act.pid:
                lasted = None if act.lasted is None else round(act.lasted, 3)
                self.last = {**self.last, "won": act.won, "lasted": lasted}

    def _owner(self, event: Event) -> str:
        """Return whom an event is about: a user's slice, or a unit; empty for the host."""
        armed = event.armed
        cgroup = event.victim.cgroup if event.victim else armed.unit if armed else ""
        if not cgroup:
            return ""
        chain = placement(cgroup, self._unit_root).chain
        users = (unit for unit in chain if unit.startswith("user-") and unit.endswith(".slice"))
        return next(users, chain[-1])

    def _is_told(self, event: Event, act: Act, owner: str) -> bool:
        """Return whether an event is told by itself; no user makes a flood of them."""
        self.sum_up(now())
        if event.kind in ("warned", "over"):
            return self._is_new_warning(act, owner)
        # What a guard of the host does is always told, as the kernel's kills of the whole host are.
        of_host = event.armed is None or event.armed.unit == HOST
        return of_host or self._ration.take(owner, now())

    def _is_new_warning(self, act: Act, owner: str) -> bool:
        key = (act.place, owner)
        known = self._flaps.get(key)
        if act.kind == "over":
            # After a warning that was not said its end is not said either.
            return known is None or known.shown
        if known:
            self._flaps[key] = known._replace(shown=False, more=known.more + 1, act=act)
            return False
        if len(self._flaps) >= _MOST_FLAPPING:
            return False
        self._flaps[key] = _Flap(at=now(), shown=True, more=0, act=act)
        return True

    def sum_up(self, at: float) -> None:
        """Say how much was left out, once the time is over in which it was counted."""
        for owner, left_out in self._ration.over(at):
            self._outbox.send(
                f"the guard did {left_out} more things to {owner or 'other units'} within "
                f"{_SPAN:.0f} s, which are not recorded one by one",
                journal.WARNING,
            )
        for key, flap in list(self._flaps.items()):
            if at >= flap.at + _SPAN:
                del self._flaps[key]
                if flap.more:
                    times = f"it warned {flap.more} more times within {_SPAN:.0f} s"
                    self._say(flap.act._replace(problem=times))

    def _say(self, act: Act) -> None:
        def send(message: str, priority: int, fields: dict[str, str] | None) -> bool:
            journal.say(message, priority, fields, self._outbox.send)
            return True

        guarded.record(act, send)

    def _pass_on(self, act: Act, owner: str) -> None:
        """Leave an act to those who send notices and run hooks."""
        if act.dry:
            return
        if act.kind in _NOTICED:
            if len(self._notices) < _MOST_NOTICES:
                self._notices.append(act)
            else:
                self._more_notices += 1
        if act.kind in _HOOKED and _has_hooks():
            self._queue_hook(act, owner)

    def _queue_hook(self, act: Act, owner: str) -> None:
        self._hooks.append((owner, act))
        theirs = [entry for entry in self._hooks if entry[0] == owner]
        dropped = None
        if owner and len(theirs) > _MOST_OF_OWNER:
            dropped = theirs[0]
        elif len(self._hooks) > _MOST_HOOKS:
            dropped = self._hooks[0]
        if dropped:
            self._hooks.remove(dropped)
            self._problems.report(
                "hooks-late",
                f"hooks in {hooks_directory()} are slower than what they are told: the oldest "
                "events are left out",
                "let a hook start what takes long by `systemd-run --no-block`",
            )

    # --- units that lose processes again and again ---------------------------------------

    def _count_loss(self, event: Event, act: Act, targets: Sequence[tuple[str, ...]]) -> None:
        assert event.victim and event.armed
        victim = event.victim
        unit = f"user {victim.manager}" if victim.manager else victim.unit
        if not unit:
            return
        times = self._losses.add(unit, victim.identity, event.at)
        if not times:
            return
        again = act._replace(kind="again", times=times, problem="", ago=0.0)
        named = targets[event.armed.number] if event.armed.number < len(targets) else ()
        if not event.armed.guard.stop:
            if not victim.manager and not _why_not(act, named):
                again = again._replace(problem="`then stop` in the guard's sentence would stop it")
            self._tell_of(again)
            return
        self._tell_of(again)
        why = _why_not(act, named)
        if why:
            self._tell_of(again._replace(kind="stopped", problem=f"it is not stopped: {why}"))
        elif len(self._stops) < _MOST_STOPS:
            self._stops.append(again._replace(kind="stopped"))
            self._losses.begin_anew(unit)

    def _tell_of(self, act: Act) -> None:
        self.counts[act.kind] += 1
        self._say(act)
        self._pass_on(act, act.system_unit)

    # --- children ------------------------------------------------------------------------

    @property
    def _lanes(self) -> tuple[_Lane, ...]:
        return self._stopper, self._speaker, self._hooker

    @property
    def due(self) -> float:
        """When there is something to do, in seconds since the boot."""
        due = min(lane.deadline for lane in self._lanes)
        if self._stops and not self._stopper.running:
            # What takes memory again and again does so now.
            return -NEVER
        if self._notices and not self._speaker.running:
            due = min(due, max(self._hold, self._noticed_at + _NOTICES_EVERY))
        if self._hooks and not self._hooker.running:
            due = min(due, self._hold)
        ends = [flap.at + _SPAN for flap in self._flaps.values()]
        ends += [tally.since + _SPAN for tally in self._ration.tallies.values()]
        return min(due, *ends) if ends else due

    def work(self) -> None:
        """Do what is due."""
        at = now()
        self._settle()
        self.sum_up(at)
        for lane in self._lanes:
            if at >= lane.deadline:
                lane.finish()
        if self._stops and not self._stopper.running:
            self._stop(self._stops.pop(0))
        noticing = at >= max(self._hold, self._noticed_at + _NOTICES_EVERY)
        if self._notices and noticing and not self._speaker.running:
            self._notice(at)
        if self._hooks and not self._hooker.running and at >= self._hold:
            batch, self._hooks = self._hooks[:_BATCH], self._hooks[_BATCH:]
            self._run_hooks([act for _, act in batch])

    def _stop(self, act: Act) -> None:
        def stopped(said: dict[str, Any]) -> None:
            came = said.get("result") or _problem(said) or "systemd did not answer in time"
            self._tell_of(act._replace(problem=str(came)))

        self._stopper.start({"stop": act.unit}, _TO_STOP, stopped)

    def _notice(self, at: float) -> None:
        acts, self._notices = self._notices, []
        more, self._more_notices = self._more_notices, 0
        self._noticed_at = at

        def noticed(said: dict[str, Any]) -> None:
            self._problems.report("notices", _problem(said))

        told = [
            {
                "kind": act.kind,
                "pid": act.pid,
                "uid": act.uid,
                "comm": act.comm[:64],
                "others": act.others,
                "available": act.host.get("available"),
                "memory": act.host.get("memory"),
            }
            for act in acts
        ]
        self._speaker.start({"notices": told, "more": more}, _TO_TELL, noticed)

    def _run_hooks(self, acts: list[Act]) -> None:
        def hooked(said: dict[str, Any]) -> None:
            self._problems.report("hooks", _problem(said))
            if not self._hooks:
                self._problems.clear("hooks-late")

        events = [
            {"event": act.kind, "message": guarded.sentence(act), "fields": guarded.fields(act)}
            for act in acts
        ]
        self._hooker.start({"hooks": events, "directory": hooks_directory()}, _TO_HOOK, hooked)

    def _settle(self) -> None:
        """Tell the intent what is in the journal by now."""
        if self._unsettled and not self._outbox.waiting:
            for victim, action in self._unsettled:
                self._intent.recorded(victim, action)
            self._unsettled.clear()

    def close(self) -> None:
        """End the children; what they have not told is in the journal."""
        for lane in self._lanes:
            with suppress(OSError):
                lane.finish()
        self.sum_up(NEVER)
        self._settle()
        self._intent.close()

    # --- what others show ------------------------------------------------------------------

    def document(self, at: float) -> dict[str, Any]:
        """Return what ``oomrules status`` shows of it, as plain data; times in seconds."""
        last = self.last and {**self.last, "ago": round(max(0.0, at - self.last_at), 3)}
        counts = {kind: number for kind, number in self.counts.items() if number}
        return {"last": last, "counts": counts, "units": self._losses.most(_UNITS_TOLD)}


def act_of(event: Event) -> Act:
    """Return what an event of the guard's says, for the journal."""
    armed, sample, victim = event.armed, event.sample, event.victim
    act = Act(
        kind=event.kind,
        listed=event.listed,
        dry=event.dry,
        problem=event.problem,
        ago=max(0.0, now() - event.at),
    )
    if armed:
        act = act._replace(
            text=armed.guard.text,
            place=armed.guard.place,
            at_unit=armed.name,
            at_manager=armed.manager,
            within=armed.guard.within / 1000,
        )
    if sample:
        act = act._replace(host=sample.host)
        if armed and armed.unit:
            act = act._replace(scope=sample.units.get(armed.unit, {}))
    if victim:
        act = act._replace(
            pid=victim.pid,
            uid=victim.uid,
            comm=victim.comm,
            cgroup=victim.cgroup,
            unit=victim.unit,
            manager=victim.manager,
            rank=victim.rank,
            points=victim.points,
            expected=victim.expected,
            others=event.others,
            age=event.age,
            lasted=event.lasted,
            won=event.won,
            reaction=event.reaction if event.kind in ("asked", "killed") else None,
        )
    return act


def hooks_directory() -> str:
    """Return where the hooks are."""
    return os.environ.get("OOMRULES_HOOKS") or HOOKS


def _has_hooks() -> bool:
    try:
        with os.scandir(hooks_directory()) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _why_not(act: Act, named: tuple[str, ...]) -> str:
    """Return why a unit is not stopped, whatever its guard says; empty if it may be.

    Args:
        named: the targets of the guard's block.
    """
    unit = act.unit
    if act.manager:
        return (
            f"it is a unit of user {act.manager}, and the system's manager does not stop those; "
            f"`systemctl --user --machine={act.manager}@ stop {quoted(unit)}` does"
        )
    if unit in _NEVER:
        return "the host needs it"
    inside = unit.endswith(_BY_NAME) or unit.startswith("user@")
    if inside and unit not in named[-1:]:
        return (
            f"it may be a whole session; name it in the rule (`in {quoted(unit)}: …`) if "
            "that is meant"
        )
    return ""


def _problem(said: dict[str, Any]) -> str:
    """Return what a child says went wrong, bounded."""
    problems = [str(one)[:300] for one in said.get("problems") or () if one][:4]
    if said.get("late"):
        problems.append("it took too long and was ended")
    return "; ".join(problems)
