"""The service's one loop: it waits for what happens, and does what is due."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

from oomrules.accounts import passwd
from oomrules.clock import now
from oomrules.errors import Failure, reason
from oomrules.guard import intent as intents
from oomrules.guard.intent import Intent
from oomrules.kills import journal
from oomrules.kills.entry import died
from oomrules.kills.kernel_log import KernelLog, Kill
from oomrules.lean import NamedTuple
from oomrules.processes.cgroups import Hierarchy
from oomrules.service import memory, status
from oomrules.service.compile_timer import CompileTimer
from oomrules.service.guarding import ON, Guarding
from oomrules.service.list import CurrentList
from oomrules.service.listener import NAME, Listener
from oomrules.service.metrics import Metrics
from oomrules.service.notify import Notifier
from oomrules.service.outbox import Outbox
from oomrules.service.pace import NEVER, Pace
from oomrules.service.poll import PollTable
from oomrules.service.pressure import Pressure
from oomrules.service.problems import Problems
from oomrules.service.recorder import Recorder
from oomrules.service.rules import Rules
from oomrules.service.status import Counts
from oomrules.service.telling import Telling
from oomrules.service.watch import RuleWatch, UnitWatch
from oomrules.state import State

# How often the watchdog hears from us within its interval.
_ALIVE = 2

# What systemd or journald did not take is offered again after this many seconds.
_OFFER_AGAIN = 0.5

# Users can make directories in their part of the tree faster than this process hears of them, so
# it listens again only after this long; the kernel's queue has an end, too.
_LISTEN_AGAIN = 0.2

_LONGEST_WAIT = 3600.0


class Options(NamedTuple):
    """How the service was started.

    Attributes:
        path: what the short-lived half may import from.
        prepare: its options.
        directories, suffix, files: where rule files are or may come to be.
        heartbeat: seconds between two refreshes when nothing happens.
        metrics: a file for the figures; empty for none.
        given: whether the rules are not the system's, so that the last ones may be others.
        to, head: where the list goes at first, as for ``compile_child.Compiled``.
        guard: what the guard does (``guarding.MODES``) whatever the configuration says; or empty.
        mode: what it does at first by the configuration.
    """

    path: list[str]
    prepare: list[str]
    directories: list[str]
    suffix: str
    files: list[str]
    heartbeat: float
    metrics: str
    given: bool
    to: list[str] | None
    head: int | None
    guard: str = ""
    mode: str = ON


class Service:
    """Everything that the service has: made once, and never more of it.

    Raises:
        Failure: it cannot work at all here.
    """

    def __init__(self, options: Options) -> None:
        self.poll = PollTable()
        self._wake = self._catch_signals()
        self.outbox = Outbox()
        self.notifier = Notifier()
        # It must not wait for another process.
        self.state = State(wait=False)
        self._only = self.state.only_one()
        self.state.tidy()
        self.current_list = CurrentList(self.state)
        self.current_list.direct(options.to, options.head)
        self.pace = Pace(options.heartbeat, now())
        self.problems = Problems(self.outbox)
        self.compiler = CompileTimer(options.path, options.prepare)
        self.rules = Rules(self.current_list, self.problems)
        self.recorder = Recorder(self.outbox)
        intent = Intent(self.state.path(intents.NAME))
        self.telling = Telling(self.outbox, self.problems, self.poll, options.path, intent)
        self._guard = options.guard
        self.guarding = Guarding(
            self.poll,
            self.problems,
            intent,
            self.telling.tell,
            lambda: self.pace.ask(now()),
            self._guard or options.mode,
        )
        self.pressure = Pressure()
        self.unit_watch = _unit_watch()
        self.counts = Counts()
        self.metrics = Metrics(options.metrics)
        self.ready = self.stopping = False
        self.unlocked = self._uncovered = ""
        self._resumes = not options.given
        self._alive_at = self._looked_at = 0.0
        self._listen_at = NEVER
        # When something is due, in seconds since the boot, and what is done then.
        self._timers: list[tuple[Callable[[], float], Callable[[], None]]] = [
            (lambda: self._alive_at + (self.notifier.watchdog or NEVER) / _ALIVE, self._alive),
            (lambda: self._looked_at + (self.pressure.look or NEVER), self._look_for_pressure),
            (lambda: self._listen_at, self._listen_to_units),
            (lambda: self.compiler.due(self.pace.calm_at), self._compile),
            (
                lambda: self.pace.due if self.current_list.program else NEVER,
                lambda: self._refresh(self.pace.reason()),
            ),
            (lambda: self.guarding.list_due, lambda: self._refresh("guard")),
            (lambda: self.guarding.due, self.guarding.look),
            (lambda: self.telling.due, self.telling.work),
        ]
        self.poll.add(self.pressure.descriptor, self._feel_pressure, select.POLLPRI)
        self.rule_watch = RuleWatch(options.directories, options.suffix, options.files)
        self._follow(self.rule_watch, self.compiler.files.change)
        # The names in rules stand for the ids that these files give them.
        files = [os.path.join(passwd.directory(), name) for name in passwd.FILES.values()]
        self._follow(RuleWatch((), "", files), self.compiler.accounts.change)
        self._listen_to_units()
        self.kernel_log = self._open_kernel_log()
        self.listener = self._open_listener()

    def _catch_signals(self) -> int:
        """Return a descriptor that is readable when a signal has come."""
        readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # The descriptor tells of it.
            signal.signal(number, lambda *_: None)
        self.poll.add(readable, lambda _: self._read_signals())
        return readable

    def _follow(self, watch: RuleWatch, tell: Callable[[float], None]) -> None:
        """Call a function when watched files change."""

        def read(events: int) -> None:
            if watch.changed():
                tell(now())

        self.poll.add(watch.descriptor, read)

    def _open_kernel_log(self) -> KernelLog | None:
        """Open it where a service before this one, or a hook, has stopped reading."""
        last = self.state.last_list()
        try:
            log = KernelLog(last.get("kernel_log"), left=last.get("kills_left", ()))
        except OSError as error:
            self.problems.report("kmsg", f"kills are not recorded: /dev/kmsg: {reason(error)}")
            return None
        self.poll.add(log.descriptor, lambda _: self._hear_kernel())
        return log

    def _open_listener(self) -> Listener | None:
        try:
            listener = Listener(
                self.state.path(NAME), self.poll, lambda: status.encode(self), self._promise_refresh
            )
        except Failure as error:
            self.problems.report("listener", error.message, error.hint)
            return None
        self._timers.append((lambda: listener.due, lambda: listener.expire(now())))
        return listener

    # --- the loop --------------------------------------------------------------------

    def run(self) -> None:
        """Work until a signal ends it."""
        self.current_list.recall()
        self.telling.recall()
        if self._resumes:
            self.current_list.resume()
            # Memory may be short already: the kernel gets its list before the guard is tried.
            self._refresh("start")
            if self.guarding.settle(self.current_list.program):
                self.pace.ask(now())
        self._compile()
        while not self.stopping:
            self.poll.wait(min(self._idle(), _LONGEST_WAIT))
            if not self.stopping:
                self._work()
        self._stop()

    def _idle(self) -> float:
        """Return the seconds until there is something to do, if nothing happens before."""
        idle = min(due() for due, _ in self._timers) - now()
        if self.outbox.waiting or self.notifier.waiting:
            idle = min(idle, _OFFER_AGAIN)
        return max(0.0, idle)

    def _work(self) -> None:
        """Do what is due."""
        self.recorder.sum_up(now())
        self.outbox.flush()
        self.notifier.flush()
        for due, act in self._timers:
            if now() >= due():
                act()

    def _read_signals(self) -> None:
        try:
            numbers = os.read(self._wake, 64)
        except BlockingIOError:
            return
        if signal.SIGHUP in numbers:
            self.compiler.reload = True
            self.current_list.look_anew()
            self.notifier.reloading()
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self.stopping = True

    def _alive(self) -> None:
        self._alive_at = now()
        self.notifier.alive()

    # --- pressure and units ----------------------------------------------------------

    def _feel_pressure(self, events: int) -> None:
        if events & select.POLLPRI:
            self._press()
        if events & (select.POLLERR | select.POLLNVAL):
            # The kernel takes a trigger back when PSI is switched off.
            self.poll.remove(self.pressure.descriptor)
            self.pressure.open()
            self.poll.add(self.pressure.descriptor, self._feel_pressure, select.POLLPRI)

    def _look_for_pressure(self) -> None:
        self._looked_at = now()
        if self.pressure.high(self._looked_at):
            self._press()

    def _press(self) -> None:
        self.counts.pressure += 1
        self.pace.press(now())

    def _listen_to_units(self) -> None:
        self._listen_at = NEVER
        if self.unit_watch:
            self.poll.add(self.unit_watch.descriptor, lambda _: self._hear_units())

    def _hear_units(self) -> None:
        assert self.unit_watch
        at = now()
        if self.unit_watch.changed():
            self.pace.stir(at)
            self.compiler.want(at)
        self.poll.remove(self.unit_watch.descriptor)
        self._listen_at = at + _LISTEN_AGAIN

    # --- the rules -------------------------------------------------------------------

    def _compile(self) -> None:
        """Start the child; one that is still at work has run out of time."""
        if self.compiler.running:
            self._collect()
            return
        self.counts.compilations += 1
        try:
            running = self.compiler.start(now())
        except Failure as error:
            self._fail(error)
            return
        self.current_list.own(running.pid)
        self.poll.add(running.descriptor, lambda _: self._collect())

    def _collect(self) -> None:
        """Take what the child found out: it has ended, or its time is over."""
        assert self.compiler.running
        self.poll.remove(self.compiler.running.descriptor)
        try:
            compiled = self.compiler.finish()
        except Failure as error:
            self._fail(error)
            return
        finally:
            self.current_list.own(0)
        self.rules.adopt(compiled)
        if compiled.guard and not self._guard:
            self.guarding.mode = compiled.guard
        self.rule_watch.watch()
        self._settle()

    def _fail(self, error: Failure) -> None:
        """Go on with the rules there are, and be it none: to start anew would mend nothing."""
        self.rules.fail(error)
        self._settle()

    def _settle(self) -> None:
        """Make a list by the rules there are; then all that a round needs was needed once."""
        self.guarding.settle(self.current_list.program)
        self._refresh("rules" if self.ready else "start")
        if self.compiler.reload:
            return  # another reload came while this one was on its way
        if not self.ready:
            status.encode(self)
            memory.settle()
            self.unlocked = memory.lock()
            if self.unlocked:
                self.problems.report("lock", f"the memory cannot be locked: {self.unlocked}")
        memory.bound(memory.sizes().get("VmData", 0))
        self.ready = True
        self.notifier.ready()
        self._show()

    # --- the list --------------------------------------------------------------------

    def _promise_refresh(self) -> bool:
        """Make a list soon, if there are rules to make it by."""
        if self.current_list.program is None:
            return False
        self.pace.ask(now())
        return True

    def _refresh(self, why: str) -> None:
        """Make the list anew; on a quiet host it is true as it is."""
        begun, cost = now(), time.process_time()
        if why == "heartbeat":
            if self.current_list.stale:
                self.compiler.files.change(begun)
            if self.current_list.quiet():
                self.counts.quiet += 1
                self.pace.done(begun, 0.0)
                return
        # A process that was killed was on the list that was in force then.
        self._read_kernel_log()
        try:
            listed = self.current_list.refresh(
                why == "pressure", self.pace.stirred, self.guarding.ranked
            )
        except Failure as error:
            listed = None
            self.counts.failures += 1
            self.problems.report("list", error.message, error.hint)
        ended = now()
        self.pace.done(ended, time.process_time() - cost)
        self.guarding.listed(time.process_time() - cost)
        if listed:
            self.counts.made(why, ended - begun)
            self.problems.report("list", self.current_list.problem)
            self.problems.report("groups", "; ".join(self.current_list.one_by_one))
            self.problems.report("searches", "; ".join(self.current_list.slow_searches()))
            self._tell_uncovered()
        if self.listener:
            self.listener.answer_waiting()
        self.metrics.write(self, ended)
        if self.ready:
            self._show()

    def _tell_uncovered(self) -> None:
        """Log what the kernel's module does not cover, once until that changes."""
        before, self._uncovered = self._uncovered, self.current_list.uncovered
        if self._uncovered != before:
            self.problems.say(self._uncovered or f"no longer so: {before}", journal.INFO)

    def _show(self) -> None:
        """Keep the line in ``systemctl status`` true."""
        listed = self.current_list.listed
        to = " ".join(listed.to) if listed else ""
        where = f"the list is in {to}" if to else "there is no list"
        self.notifier.status(f"{self.rules.line}; {where}")

    # --- kills -----------------------------------------------------------------------

    def _hear_kernel(self) -> None:
        self._read_kernel_log()
        # A module that comes or goes leaves a word there, more often than not.
        if self.current_list.listed and self.current_list.misplaced:
            self.pace.ask(now())

    def _read_kernel_log(self) -> None:
        """Record the kills that the kernel has told of since the last reading."""
        if not self.kernel_log:
            return
        try:
            kills = self.kernel_log.read()
        except OSError as error:
            self.problems.report(
                "kmsg", f"kills are no longer recorded: /dev/kmsg: {reason(error)}"
            )
            self.poll.remove(self.kernel_log.descriptor)
            self.kernel_log.close()
            self.kernel_log = None
            return
        current = self.current_list
        current.log, self.recorder.lost = self.kernel_log.last, self.kernel_log.lost
        for kill in kills:
            self.recorder.record(
                kill, current.listed, current.before, current.known, current.aftermath
            )
        if kills:
            current.dealt_with(self.kernel_log.last)
        of_host = [kill for kill in kills if not kill.polite and _of_host(kill)]
        if of_host:
            self.guarding.kernel_killed(max(map(died, of_host)))
        # Users can have their own processes killed at their own limits without end.
        if not all(kill.constraint.endswith("MEMCG") for kill in kills):
            self.pace.ask(now())
        elif kills:
            self.pace.stir(now())

    # --- the end ---------------------------------------------------------------------

    def _stop(self) -> None:
        """Leave everything as it was before."""
        self.notifier.stopping()
        # It knows nothing of a list that is taken back.
        self.guarding.close()
        if self.compiler.running:
            self.compiler.running.abandon()
        try:
            self.current_list.release()
        except Failure as error:
            self.problems.say(error.message, journal.ERROR)
        self.metrics.remove()
        if self.listener:
            self.listener.close()
        self.current_list.close()
        self.recorder.sum_up(NEVER)
        self.outbox.flush()
        self.telling.close()
        intents.tidy(self.state.path(intents.NAME))
        self.pressure.close()
        self.notifier.close()


def _of_host(kill: Kill) -> bool:
    """Return whether the kernel killed for want of memory of the whole host."""
    return bool(kill.constraint) and not kill.constraint.endswith("MEMCG")


def _unit_watch() -> UnitWatch | None:
    """Watch the units of this host, if there are any."""
    groups = Hierarchy()
    root = groups.units and groups.units.directory(groups.unit_root() or "/")
    return UnitWatch(root) if root else None
