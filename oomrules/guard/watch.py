"""The thread that goes round: wait, sample, decide, signal. It waits for nobody else.

Making a list may take seconds while the host thrashes, and so may a line to the journal. None of
that is done here. The main loop hands over a ready list (``arm``) and takes the events. Whole
immutable objects are swapped, so there is no lock that one side could hold while it waits.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from _thread import allocate_lock, stack_size, start_new_thread
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from oomrules.clock import now
from oomrules.guard import realtime
from oomrules.guard.decision import BACK, START, STUCK, State, decide, tried
from oomrules.guard.figures import SHARES, share
from oomrules.guard.growth import grown
from oomrules.guard.killing import Killer
from oomrules.guard.model import (
    HOST,
    Armed,
    Candidate,
    Decision,
    Event,
    Figures,
    Flight,
    Ready,
    Sample,
)
from oomrules.guard.sampling import HOT, Places, Sampler
from oomrules.lean import NamedTuple, Protocol

# Events that nobody has taken yet; the oldest go first. What happened is a few a minute at most.
_MOST_EVENTS = 256
_STACK = 256 << 10
# Two threads share the interpreter. The one that makes a list of many processes lets the guard have
# its turn after so many seconds; Python's own is 5 ms, and a round takes several turns.
_TURN = 0.0002
# Later than planned by so many seconds is late.
_LATE = 0.25
# After a mistake of ours the guard goes on after so many seconds.
_AFTER_MISTAKE = 1.0
# How long an end waits for a round that is under way.
_LAST_WAIT = 1.0
# A list is outdated once this part of what was left then has been taken by processes that it knows
# as smaller: of what was left until a guard could act by a level, or of all that was available.
_TAKEN = 0.2
# What is no change in any case: this part of the memory.
_LITTLE = 200
# The first of an outdated list may be the wrong one if more was taken since than this part of what
# he holds: a new list is waited for, so many seconds at the most.
_MUCH, _PATIENCE = 0.5, 0.5
# Readings that are kept to tell what was available when a list was read.
_READINGS = 32
# So many seconds nothing is decided at the most while nothing can hold.
_UNDECIDED = 60.0
_NOTHING = Decision()
# Reaction times that are kept.
_REACTIONS = 100


class Intent(Protocol):
    """What is written down before a signal; it must not wait."""

    def note(
        self,
        action: str,
        victim: Candidate,
        armed: Armed,
        sample: Sample,
        listed: int = 0,
        age: float = 0.0,
    ) -> None:
        """Write down that a victim is about to be signalled."""

    def withdraw(self) -> None:
        """Take back what was noted last: the signal was refused."""


class Last(NamedTuple):
    """The last round: what distances are made of, by whoever asks for them."""

    state: State
    sample: Sample
    ready: Ready
    decision: Decision
    flight: Flight | None


class Watch:
    """The guard at work.

    Args:
        sampler: takes the samples.
        killer: sends the signals.
        intent: is told before each signal.

    Attributes:
        events: for the main loop, which takes them from the left.
        descriptor: readable when there are new ones.
        last: the last round; None before the first.
        rounds: how many there were.
        late: how many began later than planned, and ``latest`` by how many seconds at the most.
        due: when the next round is due at the latest, in seconds since the boot.
        reactions: the last times from a sample to its signal, in seconds.
        dropped: events that nobody took in time.
        hot: something holds or is near, or a victim is in flight; the descriptor tells when that
            begins.
        outdated: much memory was taken since the ready list was made, so that its order may be
            another one by now; the descriptor tells when that begins.
        wanting: a victim is to be taken, and a list is waited for; the descriptor tells that too.
        realtime: whether the thread goes before all that is not realtime itself.
    """

    def __init__(
        self,
        sampler: Sampler,
        killer: Killer,
        intent: Intent,
    ) -> None:
        self._sampler, self._killer, self._intent = sampler, killer, intent
        self._places = self._opened = Places()
        self._killed = float("-inf")
        self._state = START
        self._flight: Flight | None = None
        # How many processes went with the one in flight.
        self._others = 0
        self._told = False
        self._said: dict[object, str] = {}
        self._ending = False
        self._pause = 0.0
        self._followed = -1
        self._running = allocate_lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.events = deque[Event](maxlen=_MOST_EVENTS)
        self.reactions = deque[float](maxlen=_REACTIONS)
        self.last: Last | None = None
        self.rounds = self.late = self.dropped = 0
        self.latest, self.due = 0.0, now()
        self.hot = self.outdated = self.wanting = False
        self.realtime = False
        # The list that the present wait is about, and until when it goes on.
        self._wanted_since, self._wanted_until = 0.0, 0.0
        # The ready list of the last decision, and when that was; warnings that are not over.
        self._decided: Places | None = None
        self._decided_at = 0.0
        self._warned: set[tuple[int, str]] = set()
        self._readings = deque[tuple[float, int]](maxlen=_READINGS)

    # --- for the main loop -------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, or start it anew if it has ended.

        Raises:
            RuntimeError: there can be no more threads.
        """
        if self.alive:
            return
        sys.setswitchinterval(_TURN)
        self.due = now()
        before = stack_size(_STACK)
        try:
            self._running.acquire()
            start_new_thread(self._go_round, ())
        except BaseException:
            self._running.release()
            raise
        finally:
            stack_size(before)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._running.locked()

    def arm(self, places: Places) -> None:
        """Put a ready list in force; it is looked at once if it matters now."""
        before, self._places = self._places.ready.armed, places
        if self.hot or places.ready.armed != before:
            self._ring(self._wake)

    @property
    def places(self) -> Places:
        """The ready list in force."""
        return self._places

    def kernel_killed(self, at: float) -> None:
        """Take note that the kernel has killed because the whole host was out of memory."""
        self._killed = max(self._killed, at)
        self._ring(self._wake)

    def take(self) -> list[Event]:
        """Return the events since the last call; the last ones after ``stop``."""
        if self.descriptor >= 0:
            with suppress(BlockingIOError):
                os.eventfd_read(self.descriptor)
        found = []
        while self.events:
            found.append(self.events.popleft())
        return found

    def stop(self) -> None:
        """End the thread, and close everything that it has."""
        self._ending = True
        self._ring(self._wake)
        if not self._running.acquire(timeout=_LAST_WAIT):
            # It waits in the kernel. What it has is closed with the process.
            return
        self._running.release()
        self._killer.close()
        self._sampler.close()
        for descriptor in (self._wake, self.descriptor):
            os.close(descriptor)
        self._wake = self.descriptor = -1

    def _ring(self, descriptor: int) -> None:
        if descriptor >= 0:
            os.eventfd_write(descriptor, 1)

    # --- the thread --------------------------------------------------------------------------

    def _go_round(self) -> None:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            self.realtime = realtime.enter()
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            self._followed = -1
            while not self._ending:
                self._pause = self._safely("round", self._round)
                if self._safely("wait", partial(self._wait, poll)):
                    time.sleep(HOT)
        finally:
            self._running.release()
            if not self._ending:
                # The main loop starts it anew.
                self._ring(self.descriptor)

    def _safely(self, topic: str, work: Callable[[], float]) -> float:
        """Do a part of the round; nothing that goes wrong ends the guard.

        Returns:
            the seconds to wait then.
        """
        try:
            pause = work()
            self._said.pop(topic, None)
            return pause
        except Exception as error:
            self._say_once(topic, f"{type(error).__name__}: {error} ({_place(error)})")
            return _AFTER_MISTAKE
        finally:
            if self._told:
                self._told = False
                self._ring(self.descriptor)

    def _follow(self, poll: select.poll) -> None:
        """Wait for the sampler's descriptor from now on, and for an earlier one no longer."""
        before, self._followed = self._followed, -1
        if before >= 0:
            poll.unregister(before)
        if self._sampler.descriptor >= 0:
            poll.register(self._sampler.descriptor, select.POLLPRI)
            self._followed = self._sampler.descriptor

    def _wait(self, poll: select.poll) -> float:
        """Wait until a sample is due: by the clock, by the kernel's word or by the main loop's."""
        if self._followed != self._sampler.descriptor:
            self._follow(poll)
        pause = self._pause
        self.due = now() + pause
        # Rounded up: a millisecond too early would go round for nothing.
        ready = poll.poll(int(pause * 1000) + 1)
        late = now() - self.due
        if not ready and late > _LATE:
            self.late += 1
            self.latest = max(self.latest, late)
        for descriptor, events in ready:
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
                continue
            if events & select.POLLPRI:
                self._sampler.stir(now())
            if events & (select.POLLERR | select.POLLNVAL):
                # The kernel takes a trigger back when PSI is switched off.
                poll.unregister(descriptor)
                self._followed = -1
                self._sampler.reopen(now())
        return 0.0

    def _round(self) -> float:
        """Sample, decide, act, tell; return how many seconds the next round may wait."""
        self.rounds += 1
        places = self._places
        ready, flight = places.ready, self._flight
        sample = self._sampler.read(places, self._killed)
        if flight is not None:
            flight = self._flight = self._killer.look(flight)
        if self._can_rest(places, sample):
            return self._rest(places, sample)
        state, decision = decide(self._state, sample, ready, flight)
        self._state, self._decided, self._decided_at = state, places, sample.at
        self._warned |= {one.key for one in decision.warnings}
        self._warned -= {one.key for one in decision.over}
        others = self._others
        if flight is not None and decision.landed:
            self._flight = None
        elif flight is not None and decision.escalate:
            self._escalate(flight, sample, ready)
        taken = self._taken(places, sample)
        if _unexplained(decision, taken):
            decision = decision._replace(victims=grown(decision.victims))
        wanting = self._wants_list(decision, sample, ready, taken)
        if decision.action and decision.armed and not wanting:
            self._strike(decision, decision.armed, sample, ready)
        if flight is not None and decision.landed:
            self._end(decision, flight, sample, ready, others)
        for armed in decision.warnings:
            self._say(Event("warned", now(), armed=armed, sample=sample, listed=ready.length))
        for armed in decision.over:
            self._say(Event("over", now(), armed=armed, sample=sample))
        for armed in decision.nobody:
            self._say(Event("nobody", now(), armed=armed, sample=sample, listed=ready.length))
        self.last = Last(state, sample, ready, decision, self._flight)
        hot = decision.hot or decision.counting or self._flight is not None
        outdated = _outdates(places, sample, taken)
        now_so = (hot and not self.hot, outdated and not self.outdated, wanting)
        self._told = self._told or any(now_so)
        self.hot, self.outdated, self.wanting = hot, outdated, wanting
        if places is not self._opened and self._killer.prepare(ready.candidates.values()):
            self._opened = places
        pause = self._sampler.pause(decision, sample, places, self._flight)
        return min(pause, HOT) if outdated else pause

    def _can_rest(self, places: Places, sample: Sample) -> bool:
        """Return whether there is nothing to decide: most samples of a host are such.

        Every guard is far from a level without which it cannot hold, and nothing else is going on.
        """
        return (
            places is self._decided is self._opened
            and not (self.hot or self.outdated or self.wanting or self._warned)
            and sample.at - self._decided_at < _UNDECIDED
            and (self.last is None or sample.killed == self.last.sample.killed)
            and self._sampler.rests(sample, places)
        )

    def _rest(self, places: Places, sample: Sample) -> float:
        self.last = Last(self._state, sample, places.ready, _NOTHING, None)
        self.outdated = _outdates(places, sample, self._taken(places, sample))
        self._told = self._told or self.outdated
        pause = self._sampler.pause(_NOTHING, sample, places, None)
        return min(pause, HOT) if self.outdated else pause

    def _taken(self, places: Places, sample: Sample) -> int:
        """Return by how many bytes less is available than when the ready list was read."""
        available = sample.host.get("available")
        if available is None or not places.ready.armed:
            return 0
        self._readings.append((sample.at, available))
        # The last reading before the processes were read, or the first one known.
        before = [had for at, had in self._readings if at <= places.ready.at]
        return (before[-1] if before else self._readings[0][1]) - available

    def _wants_list(self, decision: Decision, sample: Sample, ready: Ready, taken: int) -> bool:
        """Return whether the signal waits for a list that is read from now on.

        Memory that was taken since the list may be held by a process that it does not know: who is
        the first by the list is then the wrong one. The sizes of those that it knows are looked at
        before (``growth``).
        """
        if not decision.action or not decision.victims:
            self._wanted_until = 0.0
            return False
        if not self._wanted_until:
            self._wanted_since, self._wanted_until = sample.at, sample.at + _PATIENCE
        return (
            ready.at < self._wanted_since
            and sample.at < self._wanted_until
            and _unexplained(decision, taken)
        )

    def _strike(self, decision: Decision, armed: Armed, sample: Sample, ready: Ready) -> None:
        """Signal the first of the victims that can be signalled."""
        noted = False
        signalled = sample.at

        def before(flight: Flight) -> None:
            nonlocal noted, signalled
            if noted:
                self._withdraw()
            noted = True
            self._note(flight, sample, ready)
            signalled = now()

        flight, passed = self._killer.strike(
            decision.victims, armed, decision.action, sample, before
        )
        self._state = tried(self._state, decision, flight)
        problem = "; ".join(passed)
        if flight is None:
            if noted:
                self._withdraw()
            self._say_once(armed.key, problem, armed, sample)
            return
        self._flight, self._others = flight, self._killer.others
        self._said.pop(armed.key, None)
        reaction = max(0.0, signalled - sample.at)
        self.reactions.append(reaction)
        self._tell(flight, sample, ready, reaction, problem)

    def _escalate(self, flight: Flight, sample: Sample, ready: Ready) -> None:
        """Kill whom was only asked to end."""
        self._note(flight._replace(killed=sample.at), sample, ready)
        self._flight = self._killer.escalate(flight)
        self._tell(self._flight, sample, ready)

    def _note(self, flight: Flight, sample: Sample, ready: Ready) -> None:
        action = "terminate" if flight.killed is None else "kill"
        age = max(0.0, sample.at - ready.at)
        # Whatever goes wrong with the record, the signal has to go out.
        with suppress(Exception):
            self._intent.note(action, flight.victim, flight.armed, sample, ready.length, age)

    def _withdraw(self) -> None:
        with suppress(Exception):
            self._intent.withdraw()

    def _tell(
        self,
        flight: Flight,
        sample: Sample,
        ready: Ready,
        reaction: float = 0.0,
        problem: str = "",
    ) -> None:
        self._say(
            Event(
                kind="asked" if flight.killed is None else "killed",
                at=now(),
                armed=flight.armed,
                sample=sample,
                victim=flight.victim,
                listed=ready.length,
                age=max(0.0, sample.at - ready.at),
                reaction=reaction,
                others=self._others,
                dry=self._killer.dry,
                problem=problem,
            )
        )

    def _end(
        self, decision: Decision, flight: Flight, sample: Sample, ready: Ready, others: int
    ) -> None:
        """Tell that a flight is over, with what it has won."""
        available = sample.host.get("available")
        known = available is not None and flight.available is not None
        problem = ""
        if decision.landed == STUCK:
            problem = "it has not ended; the next candidate is taken if that is still needed"
        elif decision.landed != BACK:
            problem = "it has ended, but its memory has not come back in time"
        self._say(
            Event(
                kind="ended",
                at=now(),
                armed=flight.armed,
                sample=sample,
                victim=flight.victim,
                listed=ready.length,
                others=others,
                lasted=None if flight.gone is None else max(0.0, flight.gone - flight.since),
                won=available - flight.available if known else None,  # type: ignore[operator]
                dry=self._killer.dry,
                problem=problem,
            )
        )

    def _say(self, event: Event) -> None:
        if event.sample is not None:
            event = event._replace(sample=_with_shares(event.sample, self._state))
        if len(self.events) == _MOST_EVENTS:
            self.dropped += 1
        self.events.append(event)
        self._told = True

    def _say_once(
        self,
        topic: object,
        problem: str,
        armed: Armed | None = None,
        sample: Sample | None = None,
    ) -> None:
        """Say what went wrong, once until that changes."""
        if self._said.get(topic) != problem:
            if len(self._said) >= _MOST_EVENTS:
                self._said.clear()
            self._said[topic] = problem
            self._say(Event("failed", now(), armed=armed, sample=sample, problem=problem))


def _unexplained(decision: Decision, taken: int) -> bool:
    """Return whether more was taken since the list than the one to be taken may hold of it."""
    return bool(decision.victims) and taken > _MUCH * decision.victims[0].expected


def _outdates(places: Places, sample: Sample, taken: int) -> bool:
    """Return whether so much memory was taken since the list that its order is in doubt.

    So lists are made as memory gets short and before anybody waits for it: the closer, the more
    often.
    """
    available = sample.host.get("available")
    if available is None or not places.ready.armed:
        return False
    left = min([float(available), *(far(sample) for far in places.levels)])
    little = (sample.host.get("memory") or 0) / _LITTLE
    return taken > max(little, _TAKEN * (left + taken))


def _with_shares(sample: Sample, state: State) -> Sample:
    """Return a sample with the stalls and pressures in it, in hundredths of a percent.

    They are the least that is proven (``figures.share``).
    """

    def whole(place: str, figures: Figures) -> Figures:
        points = state.totals.get(place, ())
        pairs = {word: share(points, sample.at, figures, word) for word in SHARES}
        return {**figures, **{word: pair and pair[0] for word, pair in pairs.items()}}

    units = {path: whole(path, figures) for path, figures in sample.units.items()}
    return sample._replace(host=whole(HOST, sample.host), units=units)


def _place(error: BaseException) -> str:
    """Return where an error happened: the innermost file and line."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
