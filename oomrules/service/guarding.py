"""The guard, as the main loop has it: started, given ready lists, heard, looked after, ended."""

from __future__ import annotations

from collections.abc import Callable

from oomrules.clock import now
from oomrules.errors import Failure, reason
from oomrules.guard.comparisons import Comparison
from oomrules.guard.decision import Distance, distances
from oomrules.guard.intent import Intent
from oomrules.guard.killing import Killer
from oomrules.guard.model import Armed, Event
from oomrules.guard.ready import Arming
from oomrules.guard.sampling import Sampler
from oomrules.guard.trial import is_short
from oomrules.guard.watch import Last, Watch
from oomrules.lean import Any
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranking
from oomrules.service.pace import NEVER
from oomrules.service.poll import PollTable
from oomrules.service.problems import Problems

ON, DRY, OFF = MODES = ("on", "dry-run", "off")

# While something holds or is near, the ready list is made anew after so many seconds, or after so
# many times what the last one has cost. Pressure of the host asks for lists by itself.
_EVERY, _TIMES = 3.0, 20
# Once memory was taken since, by processes that it knows as smaller; at most so many seconds later.
_SOON, _FEW_TIMES = 0.25, 3

# How often the thread is looked after, and how late it may be before that is said.
_LOOK, _LATE = 30.0, 3.0

# A guard that could not be started is tried again after so many seconds, each time after twice as
# many, up to the longest. What has to be mended (a right, a setting) is tried again hardly ever.
_AGAIN, _AGAIN_LONGEST, _AGAIN_HARDLY = 5.0, 300.0, 3600.0

# Guards that the status shows, those that hold first; kills that are counted apart.
_SHOWN, _COUNTED = 50, 512

_NOT_ASKED = "no rule says when (`kill when`, `terminate when`, `warn when`)"
_SWITCHED_OFF = "oomrules.conf says Mode=off, or is wrong"


class Guarding:
    """Starts the guard where the rules in force have one, and ends it where they have none.

    Args:
        poll, problems: of the service.
        intent: what is written down before a signal.
        tell: takes what the guard has done, with the targets of each guard's block.
        urge: has a list made soon.

    Attributes:
        mode: ``on``, ``dry-run`` (all but the signals) or ``off``.
        why: why the guard is off; empty if it is not.
    """

    def __init__(
        self,
        poll: PollTable,
        problems: Problems,
        intent: Intent,
        tell: Callable[[list[Event], list[tuple[str, ...]]], None],
        urge: Callable[[], None],
        mode: str = ON,
    ) -> None:
        self._poll, self._problems, self._intent = poll, problems, intent
        self._tell, self._urge = tell, urge
        self.mode, self.why = mode, _NOT_ASKED
        self._program: Program | None = None
        self._mode_in_force = mode
        self._arming: Arming | None = None
        self._watch: Watch | None = None
        self._sampler: Sampler | None = None
        self._killer: Killer | None = None
        self._listed_at, self._cost = -NEVER, 0.0
        self._looked_at, self._was_late = 0.0, False
        # When a guard that could not be started is tried again, and the pause before the next time.
        self._again_at, self._again = NEVER, _AGAIN
        self._kills: dict[tuple[str, str], int] = {}
        self._targets: list[tuple[str, ...]] = []

    # --- which guards ------------------------------------------------------------------------

    def settle(self, program: Program | None) -> bool:
        """Guard by the rules in force, if they are others than before.

        Returns:
            whether the guard runs, and so needs a list.
        """
        if program is self._program and self.mode == self._mode_in_force:
            return self._watch is not None
        changed = self.mode != self._mode_in_force
        self._program, self._mode_in_force = program, self.mode
        guards = program.guards if program else []
        self._arming, self._targets = None, [targets for targets, _ in guards]
        self._kills.clear()
        self._again_at, self._again = NEVER, _AGAIN
        if changed or not guards or self.mode == OFF:
            self._end()
        if not program or not guards or self.mode == OFF:
            self.why = _SWITCHED_OFF if guards else _NOT_ASKED
            self._clear()
            return False
        if self._watch is None:
            self._begin()
        if self._watch is not None:
            self._arming = Arming(program)
        return self._watch is not None

    def _begin(self) -> None:
        """Try the way of a kill, and start the thread; or say why the guard is off."""
        killer = sampler = None
        hint, passes = "mend that, then `systemctl restart oomrules`", False
        try:
            killer = Killer(dry=self.mode == DRY)
            self._intent.dry = killer.dry
            killer.start()
            # In a dry run too: that is to show whether all would go well.
            why = killer.self_test()
            if not why:
                sampler = Sampler()
                watch = Watch(sampler, killer, self._intent)
                watch.start()
                self._killer, self._sampler, self._watch = killer, sampler, watch
                self._poll.add(watch.descriptor, lambda _: self.hear())
                self.why, self._again_at = "", NEVER
                dry = " without signals (dry run)" if killer.dry else ""
                self._problems.clear("guard", f"the guard is on{dry}, after it was off")
                self._problems.report("guard-figures", sampler.problem)
                self._problems.report("guard-rights", killer.remark)
                return
            passes = killer.passes
        except Failure as error:
            why, hint = error.message, error.hint or hint
        except OSError as error:
            why, passes = reason(error), is_short(error)
        except (MemoryError, RuntimeError) as error:
            # There can be no more threads.
            why, passes = str(error) or "there is no memory for it", True
        if killer is not None:
            killer.close()
        if sampler is not None:
            sampler.close()
        self.why = why
        self._again_at = now() + (self._again if passes else _AGAIN_HARDLY)
        if passes:
            self._again = min(2 * self._again, _AGAIN_LONGEST)
            hint = "it is tried again by itself, with growing pauses"
        self._problems.report("guard", f"the guard is off: {why}", hint)

    def _try_again(self) -> None:
        self._begin()
        if self._watch is not None and self._program is not None:
            self._arming = Arming(self._program)
            self._urge()

    def _end(self) -> None:
        if self._watch is not None:
            self._poll.remove(self._watch.descriptor)
            self._watch.stop()
            self._told(self._watch.take())
        self._watch = self._sampler = self._killer = None

    def _clear(self) -> None:
        for topic in (
            "",
            "-figures",
            "-late",
            "-list",
            "-pressure",
            "-rights",
            "-status",
            "-units",
        ):
            self._problems.clear(f"guard{topic}")

    def close(self) -> None:
        """End the guard."""
        self._end()

    # --- what comes and goes -----------------------------------------------------------------

    def ranked(
        self, ranking: Ranking, source: ProcSource, read: float, pressed: bool = False
    ) -> None:
        """Hand over the ready list that a ranking makes.

        Args:
            read: when the processes were read.
            pressed: whether memory is short.
        """
        watch, sampler, arming = self._watch, self._sampler, self._arming
        if watch is None or sampler is None or arming is None:
            return
        if self._killer is not None:
            self._killer.own = source.own_pids
        self._listed_at = read
        try:
            ready = arming.ready(ranking, read, afresh=pressed or watch.hot or watch.outdated)
            watch.arm(sampler.prepare(ready, arming.listed, watch.places))
        except Exception as error:
            # The kernel's list must not be lost by it.
            self._problems.report("guard-list", _mistake("the guard keeps its last list", error))
            return
        self._problems.clear("guard-list")
        self._problems.report("guard-units", _unwatched(arming, watch.places.missing))
        # Users can switch it in groups of theirs, so this names none: it is said once.
        self._problems.report(
            "guard-pressure",
            "in units whose pressure is switched off (cgroup.pressure) the guards do not act that "
            "ask for scope.stall or scope.pressure"
            if watch.places.switched_off
            else "",
            "`oomrules guard` names them",
        )

    def listed(self, cost: float) -> None:
        """Take note of what the last list has cost, in seconds of processor time."""
        self._cost = cost

    def kernel_killed(self, at: float) -> None:
        """Take note that the kernel has killed for want of memory of the whole host."""
        if self._watch is not None:
            self._watch.kernel_killed(at)

    def hear(self) -> None:
        """Take what the guard has done, and have it told."""
        if self._watch is not None:
            self._told(self._watch.take())
            if not self._watch.alive:
                self.look()

    def _told(self, events: list[Event]) -> None:
        for event in events:
            if event.kind in ("asked", "killed") and event.armed is not None:
                key = _key(event.armed)
                if key in self._kills or len(self._kills) < _COUNTED:
                    self._kills[key] = self._kills.get(key, 0) + 1
        if events:
            self._tell(events, self._targets)
        if any(event.kind in ("killed", "ended", "nobody", "failed") for event in events):
            # The list has run out, or is another one by now.
            self._urge()

    # --- when --------------------------------------------------------------------------------

    @property
    def list_due(self) -> float:
        """When the next list is due for the guard's sake, in seconds since the boot."""
        if self._watch is None:
            return NEVER
        if self._watch.wanting:
            return self._listed_at + self._cost
        if self._watch.outdated:
            return self._listed_at + min(_EVERY, max(_SOON, _FEW_TIMES * self._cost))
        return self._listed_at + max(_EVERY, _TIMES * self._cost) if self._watch.hot else NEVER

    @property
    def due(self) -> float:
        """When ``look`` is due."""
        if self._watch is None:
            return self._again_at
        return self._looked_at + (_LATE if self._was_late else _LOOK)

    def look(self) -> None:
        """Look after the thread: one that has ended is started anew, a late one is told of.

        A guard that could not be started is tried again when that is due.
        """
        self._looked_at = at = now()
        watch = self._watch
        if watch is None:
            if at >= self._again_at:
                self._try_again()
            return
        if not watch.alive:
            self._problems.report("guard-late", "the guard's thread has ended, and is started anew")
            try:
                watch.start()
            except RuntimeError as error:
                self._problems.report(
                    "guard-late",
                    f"the guard's thread has ended, and cannot be started anew: {error}",
                    "`systemctl restart oomrules`",
                )
            return
        late = at - watch.due
        # Once may be a suspend that both of us woke from: then it is looked at again soon.
        if late > _LATE and self._was_late:
            self._problems.report(
                "guard-late",
                "the guard does not go round: it waits in the kernel, or for its turn",
                "`cat /proc/$(pidof oomrules)/task/*/wchan` shows where",
            )
        elif late <= _LATE:
            self._problems.clear("guard-late")
        self._was_late = late > _LATE

    # --- what others show --------------------------------------------------------------------

    def document(self, at: float) -> dict[str, Any]:
        """Return how the guard is, as plain data; times in seconds, memory in bytes."""
        watch, sampler, arming = self._watch, self._sampler, self._arming
        state = OFF if watch is None else self._mode_in_force
        found: dict[str, Any] = {
            "state": state,
            "why": self.why or None,
            "again": round(max(0.0, self._again_at - at), 3) if self._again_at < NEVER else None,
            "armed": 0,
            "guards": [],
        }
        if watch is None or sampler is None:
            return found
        places, last = watch.places, watch.last
        # The guard adds to it meanwhile.
        reactions = list(watch.reactions.copy())
        found |= {
            "armed": len(places.ready.armed),
            "left_out": arming.left_out if arming else 0,
            "unopened": places.missing,
            "source": sampler.source,
            "contained": sampler.contained or None,
            "unknown": sampler.problem or None,
            "hot": watch.hot,
            "rounds": watch.rounds,
            "late": {"times": watch.late, "most": round(watch.latest, 3)},
            "realtime": watch.realtime,
            "dropped": watch.dropped,
            # Whether what a round has found is about the guards that are armed now.
            "current": last is not None and last.ready.armed == places.ready.armed,
            "list_age": round(max(0.0, at - places.ready.at), 3) if places.ready.armed else None,
            "ready": {
                "host": len(places.ready.candidates.get("", ())),
                "candidates": places.ready.length,
            },
            "reaction": None,
        }
        if reactions:
            ordered = [round(one, 6) for one in sorted(reactions)]
            found["reaction"] = {
                "min": ordered[0],
                "median": ordered[len(ordered) // 2],
                "max": ordered[-1],
                "last": round(reactions[-1], 6),
                "count": len(reactions),
            }
        if last is not None:
            try:
                found |= self._of_round(last, at)
            except Exception as error:
                self._problems.report("guard-status", _mistake("not all is shown", error))
        return found

    def _of_round(self, last: Last, at: float) -> dict[str, Any]:
        flight = last.flight
        far = distances(last.state, last.sample, last.ready)
        shown = sorted(far, key=lambda one: (one.holds is not True, bool(one.never), one.armed.key))
        return {
            "sampled": round(max(0.0, at - last.sample.at), 3),
            "host": {key: value for key, value in last.sample.host.items() if value is not None},
            "flight": flight
            and {
                "pid": flight.victim.pid,
                "comm": flight.victim.comm,
                "since": round(max(0.0, at - flight.since), 3),
                "killed": flight.killed is not None,
                "gone": flight.gone is not None,
            },
            "guards": [self._shown(one, at) for one in shown[:_SHOWN]],
        }

    def _shown(self, one: Distance, at: float) -> dict[str, Any]:
        armed, victim = one.armed, one.victim
        return {
            "text": armed.guard.text,
            "place": armed.guard.place,
            "action": armed.guard.kind,
            "unit": armed.name or None,
            "manager": armed.manager or None,
            "holds": one.holds,
            "since": None if one.since is None else round(max(0.0, at - one.since), 3),
            "for": armed.guard.lasting / 1000,
            "due": one.due,
            "never": one.never or None,
            "comparisons": [_comparison(part) for part in one.comparisons],
            "would_take": victim
            and {
                "pid": victim.pid,
                "comm": victim.comm,
                "uid": victim.uid,
                "unit": victim.unit or None,
                "manager": victim.manager or None,
                "rank": victim.rank,
                "expected": victim.expected,
                "others": len(victim.whole.others) if victim.whole else 0,
            },
            "kills": self._kills.get(_key(armed), 0),
        }


def _comparison(one: Comparison) -> dict[str, Any]:
    least, most = one.value or (None, None)
    return {
        "text": one.text,
        "value": least,
        "most": most,
        "limit": one.limit[0] if one.limit else None,
        "whole": one.whole,
        "holds": one.holds,
        "missing": list(one.missing),
    }


def _key(armed: Armed) -> tuple[str, str]:
    return armed.guard.place, armed.unit


def _mistake(what: str, error: Exception) -> str:
    return f"{what}, by a mistake in oomrules itself: {type(error).__name__}: {error}"


def _unwatched(arming: Arming, missing: int) -> str:
    """Return a sentence on the units that no guard is at though a block may be about them."""
    said = []
    if arming.left_out:
        said.append(
            f"{arming.left_out} units more than are watched are meant by the blocks of guards; "
            "those that hold most are watched"
        )
    if missing:
        said.append(f"the files of {missing} units cannot be opened, so no guard acts there")
    if arming.doubts:
        said.append(
            f"systemd has not said enough of all units, so {len(arming.doubts)} guards may be "
            "missing at some of them"
        )
    return "; ".join(said)
