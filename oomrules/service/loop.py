"""The service's one loop: it waits for what happens, and does what is due."""

from __future__ import annotations

import os
import select
import signal
import time

from oomrules import files
from oomrules.accounts import passwd
from oomrules.errors import Failure, reason
from oomrules.kills import journal
from oomrules.kills.kernel_log import KernelLog
from oomrules.lean import Any, NamedTuple
from oomrules.processes.cgroups import Hierarchy
from oomrules.service import memory, metrics, status
from oomrules.service.compile_timer import CompileTimer
from oomrules.service.kills import Recorder
from oomrules.service.list import CurrentList
from oomrules.service.listener import NAME, REFRESH, STATUS, Client, Listener
from oomrules.service.notify import Notifier
from oomrules.service.outbox import Outbox
from oomrules.service.pace import Pace
from oomrules.service.pressure import Pressure
from oomrules.service.problems import Problems
from oomrules.service.rules import Rules
from oomrules.service.watch import RuleWatch, UnitWatch
from oomrules.state import State, now

# The watchdog hears from us so many times in its interval.
_ALIVE = 2

# What systemd or journald did not take is offered again after so long.
_OFFER_AGAIN = 0.5

_METRICS_EVERY = 10.0

# A user can make directories in his own part of the tree faster than this process hears of them,
# so it listens only so often; the kernel's queue has an end, too.
_LISTEN_AGAIN = 0.2

_NEVER = float("inf")


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


class Service:
    """Everything that the service has: made once, and never more of it.

    Raises:
        Failure: it cannot work at all here.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.outbox = Outbox()
        self.notifier = Notifier()
        # It must not wait for another process.
        self.state = State(wait=False)
        self._only = self.state.only_one()
        self.state.tidy()
        self.keeper = CurrentList(self.state)
        self.keeper.direct(options.to, options.head)
        self.counts = status.Counts()
        self.pace = Pace(options.heartbeat, now())
        self.problems = Problems(self.outbox)
        self.compiler = CompileTimer(options.path, options.prepare)
        self.rules = Rules(self.keeper, self.problems)
        self.recorder = Recorder(self.outbox)
        self.ready = self.stopping = False
        self._alive_at = self._looked_at = self._figures_at = -_NEVER
        self._listen_at = _NEVER
        self._locked = ""
        self.poll = select.poll()
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _nothing)
        self._register(self._wake)
        self.pressure = Pressure()
        self._register(self.pressure.descriptor, select.POLLPRI)
        self.rule_watch = RuleWatch(options.directories, options.suffix, options.files)
        self._register(self.rule_watch.descriptor)
        # The names in rules stand for whom these files say.
        files = [os.path.join(passwd.directory(), name) for name in passwd.FILES.values()]
        self.account_watch = RuleWatch((), "", files)
        self._register(self.account_watch.descriptor)
        groups = Hierarchy()
        root = groups.units and groups.units.directory(groups.unit_root() or "/")
        self.unit_watch = UnitWatch(root) if root else None
        self._register(self.unit_watch.descriptor if self.unit_watch else -1)
        self.kernel_log = self._open_kernel_log()
        self._register(self.kernel_log.descriptor if self.kernel_log else -1)
        self.listener: Listener | None = None
        try:
            self.listener = Listener(self.state.path(NAME))
            self._register(self.listener.socket.fileno())
        except Failure as error:
            self.problems.report("listener", error.message, error.hint)

    def _register(self, descriptor: int, events: int = select.POLLIN) -> None:
        if descriptor >= 0:
            self.poll.register(descriptor, events)

    def _open_kernel_log(self) -> KernelLog | None:
        """Open it where a service before this one, or a hook, has stopped reading."""
        last = self.state.last_list()
        known = last.get("kernel_log")
        after = known if isinstance(known, int) else None
        try:
            return KernelLog(after, left=last.get("kills_left", ()), lost=self.recorder.miss)
        except OSError as error:
            self.problems.report("kmsg", f"kills are not recorded: /dev/kmsg: {reason(error)}")
            return None

    # --- the loop --------------------------------------------------------------------

    def run(self) -> None:
        """Work until a signal ends it."""
        self.keeper.recall()
        if not self.options.given:
            self.keeper.resume()
            # There may be no time to lose.
            self._refresh("start")
        self._compile()
        while not self.stopping:
            self._alive()
            self._wait()
            if not self.stopping:
                self._work()
        self._stop()

    def _due(self) -> float:
        """When there is something to do, if nothing happens before."""
        at = now()
        due = [self.pace.due if self.keeper.program else _NEVER]
        due.append(self.compiler.due(self.pace.calm_at))
        if self.pressure.look is not None:
            due.append(self._looked_at + self.pressure.look)
        if self.notifier.watchdog is not None:
            due.append(self._alive_at + self.notifier.watchdog / _ALIVE)
        if self.listener:
            due.append(self.listener.due)
        if self.outbox.waiting or self.notifier.waiting:
            due.append(at + _OFFER_AGAIN)
        due.append(self._listen_at)
        return max(0.0, min(due) - at)

    def _wait(self) -> None:
        # Rounded up: a millisecond too early would go round for nothing.
        timeout = int(min(self._due(), 3600.0) * 1000) + 1
        for descriptor, events in self.poll.poll(timeout):
            self._happened(descriptor, events)

    def _happened(self, descriptor: int, events: int) -> None:
        """Take note of what a descriptor has to say."""
        at = now()
        if descriptor == self._wake:
            self._signalled()
        elif descriptor == self.pressure.descriptor:
            self._pressed(at, events)
        elif descriptor == self.rule_watch.descriptor:
            if self.rule_watch.changed():
                self.compiler.change(at)
        elif descriptor == self.account_watch.descriptor:
            if self.account_watch.changed():
                self.compiler.rename(at)
        elif self.unit_watch and descriptor == self.unit_watch.descriptor:
            if self.unit_watch.changed():
                self.pace.stir(at)
                self.compiler.want(at)
            self._unregister(descriptor)
            self._listen_at = at + _LISTEN_AGAIN
        elif self.kernel_log and descriptor == self.kernel_log.descriptor:
            self._read_kernel_log()
            # A module that comes or goes leaves a word there, more often than not.
            if self.keeper.listed and self.keeper.misplaced:
                self.pace.ask(at)
        elif self.compiler.running and descriptor == self.compiler.running.descriptor:
            self._compiled()
        elif self.listener and descriptor == self.listener.socket.fileno():
            self._accept(at)
        elif self.listener and descriptor in self.listener.clients:
            self._hear(self.listener.clients[descriptor], at)
        else:
            # Closed while others were dealt with.
            self._unregister(descriptor)

    def _unregister(self, descriptor: int) -> None:
        try:
            self.poll.unregister(descriptor)
        except (KeyError, ValueError, OSError):
            pass

    def _signalled(self) -> None:
        try:
            numbers = os.read(self._wake, 64)
        except BlockingIOError:
            return
        if signal.SIGHUP in numbers:
            self.compiler.reload = True
            self.keeper.look_anew()
            self.notifier.reloading()
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self.stopping = True

    def _pressed(self, at: float, events: int) -> None:
        if events & select.POLLPRI:
            self.counts.pressure += 1
            self.pace.press(at)
        if events & (select.POLLERR | select.POLLNVAL):
            # The kernel takes a trigger back when PSI is switched off.
            self._unregister(self.pressure.descriptor)
            self.pressure.open()
            self._register(self.pressure.descriptor, select.POLLPRI)

    def _work(self) -> None:
        """Do what is due."""
        at = now()
        self.recorder.sum_up(at)
        self.outbox.flush()
        self.notifier.flush()
        if self.pressure.look is not None and at >= self._looked_at + self.pressure.look:
            self._looked_at = at
            if self.pressure.high(at):
                self.counts.pressure += 1
                self.pace.press(at)
        if self.unit_watch and at >= self._listen_at:
            self._listen_at = _NEVER
            self._register(self.unit_watch.descriptor)
        if at >= self.compiler.due(self.pace.calm_at):
            if self.compiler.running:
                self._compiled()
            else:
                self._compile()
        if self.keeper.program and at >= self.pace.due:
            self._refresh(self.pace.reason())
        if self.listener:
            self.listener.expire(at)
            self._listen()

    def _alive(self) -> None:
        if self.notifier.watchdog is None:
            return
        at = now()
        if at >= self._alive_at + self.notifier.watchdog / _ALIVE:
            self._alive_at = at
            self.notifier.alive()

    # --- the rules -------------------------------------------------------------------

    def _compile(self) -> None:
        self.counts.compilations += 1
        try:
            running = self.compiler.start(now())
        except Failure as error:
            self._not_compiled(error)
            return
        self.keeper.own(running.pid)
        self._register(running.descriptor)

    def _compiled(self) -> None:
        """The short-lived half has ended, or was given up."""
        assert self.compiler.running
        self._unregister(self.compiler.running.descriptor)
        try:
            compiled = self.compiler.finish()
        except Failure as error:
            self._not_compiled(error)
            return
        finally:
            self.keeper.own(0)
        self.rules.judge(compiled)
        self.rule_watch.watch()
        self._refresh("rules" if self.ready else "start")
        self._settle()

    def _not_compiled(self, error: Failure) -> None:
        """Go on with the rules there are, and be it none: to start anew would mend nothing."""
        self.counts.compile_failures += 1
        self.rules.unknown(error)
        self._refresh("rules" if self.ready else "start")
        self._settle()

    def _settle(self) -> None:
        """All that a round needs has been needed once: now the memory stays."""
        if self.compiler.reload:
            return  # another reload came while this one was on its way
        if not self.ready:
            status.encode(self._document())
            memory.settle()
            self._locked = memory.lock()
            if self._locked:
                self.problems.report("lock", f"the memory cannot be locked: {self._locked}")
        memory.bound(memory.sizes().get("VmData", 0))
        self.ready = True
        self.notifier.ready()
        self._show()

    # --- the list --------------------------------------------------------------------

    def _refresh(self, why: str) -> None:
        """Make the list anew; on a quiet host it is true as it is."""
        begun, cost = now(), time.process_time()
        if why == "heartbeat":
            if self.keeper.stale:
                self.compiler.change(begun)
            if self.keeper.quiet():
                self.counts.quiet += 1
                self.pace.done(begun, 0.0)
                return
        # Who died was on the list that was in force then.
        self._read_kernel_log()
        try:
            listed = self.keeper.refresh(why == "pressure", self.pace.stirred)
        except Failure as error:
            listed = None
            self.counts.failures += 1
            self.problems.report("list", error.message, error.hint)
        ended = now()
        self.pace.done(ended, time.process_time() - cost)
        if listed:
            self.counts.refreshes[why] += 1
            self.counts.took = ended - begun
            self.counts.seconds += ended - begun
            if self.keeper.problem:
                self.problems.report("list", self.keeper.problem)
            else:
                self.problems.clear("list")
            slow = self.keeper.slow_searches()
            if slow:
                self.problems.report("searches", "; ".join(slow))
            else:
                self.problems.clear("searches")
        self._answer_waiting()
        if ended >= self._figures_at + _METRICS_EVERY:
            self._write_figures(ended)
        if self.ready:
            self._show()

    def _write_figures(self, at: float) -> None:
        self._figures_at = at
        if not self.options.metrics:
            return
        text = metrics.text(self._document(), self.counts.failures, self.counts.seconds)
        try:
            files.replace(self.options.metrics, text.encode())
            self.problems.clear("metrics")
        except Failure as error:
            self.problems.report("metrics", error.message)

    # --- kills -----------------------------------------------------------------------

    def _read_kernel_log(self) -> None:
        if not self.kernel_log:
            return
        try:
            found = self.kernel_log.read()
        except OSError as error:
            self.problems.report(
                "kmsg", f"kills are no longer recorded: /dev/kmsg: {reason(error)}"
            )
            self._unregister(self.kernel_log.descriptor)
            self.kernel_log.close()
            self.kernel_log = None
            return
        self.keeper.log = self.kernel_log.last
        for kill in found:
            keeper = self.keeper
            self.recorder.record(kill, keeper.listed, keeper.before, keeper.known)
        if found:
            self.keeper.dealt_with(self.kernel_log.last)
        # Whoever has a limit of his own can have somebody killed at it as often as he likes.
        if all(kill.constraint.endswith("MEMCG") for kill in found):
            if found:
                self.pace.stir(now())
        else:
            self.pace.ask(now())

    # --- those who ask ---------------------------------------------------------------

    def _listen(self) -> None:
        """Let others in as long as there is room for them."""
        assert self.listener
        if self.listener.room:
            self._register(self.listener.socket.fileno())
        else:
            self._unregister(self.listener.socket.fileno())

    def _accept(self, at: float) -> None:
        assert self.listener
        client = self.listener.accept(at) if self.listener.room else None
        if client:
            self._register(client.socket.fileno())

    def _hear(self, client: Client, at: float) -> None:
        assert self.listener
        descriptor = client.socket.fileno()
        word = "" if client.waits else self.listener.hear(client)
        if client.waits:
            # It has said all it has to say; this is its end of the connection that closed.
            self.listener.dismiss(client)
        elif word == REFRESH and self.keeper.program:
            client.waits = True
            self.pace.ask(at)
            self.poll.modify(descriptor, 0)
            return
        elif word in (STATUS, REFRESH):
            self.listener.answer(client, status.encode(self._document()))
        elif word:
            self.listener.dismiss(client)
        if client.socket.fileno() < 0:
            self._unregister(descriptor)

    def _answer_waiting(self) -> None:
        if not self.listener:
            return
        waiting = [client for client in self.listener.clients.values() if client.waits]
        if not waiting:
            return
        document = status.encode(self._document())
        for client in waiting:
            self._unregister(client.socket.fileno())
            self.listener.answer(client, document)

    def _document(self) -> dict[str, Any]:
        more = {
            "ready": self.ready,
            "preparing": self.compiler.running is not None,
            "memory": {**status.sizes(), "lock": self._locked or None},
            "descriptors": self.keeper.descriptors,
            "watches": self.unit_watch.watches if self.unit_watch else 0,
            "under_pressure": self.pace.pressed(now()),
            "quiet_heartbeats": self.counts.quiet,
            "preparations": self.counts.compilations,
            "complaints": self.problems.standing,
        }
        return status.document(
            self.keeper, self.pressure, self.counts, self.rules.state, self.recorder, more
        )

    # --- what it says ----------------------------------------------------------------

    def _show(self) -> None:
        """Keep the line in ``systemctl status`` true."""
        listed = self.keeper.listed
        to = " ".join(listed.to) if listed else ""
        where = f"the list is in {to}" if to else "there is no list"
        self.notifier.status(f"{self.rules.line}; {where}")

    # --- the end ---------------------------------------------------------------------

    def _stop(self) -> None:
        """Leave everything as it was before."""
        self.notifier.stopping()
        if self.compiler.running:
            self.compiler.running.abandon()
        try:
            self.keeper.release()
        except Failure as error:
            self.problems.say(error.message, journal.ERROR)
        if self.options.metrics:
            try:
                os.unlink(self.options.metrics)
            except OSError:
                pass
        if self.listener:
            self.listener.close()
        self.keeper.close()
        self.recorder.sum_up(_NEVER)
        self.outbox.flush()
        self.pressure.close()
        self.notifier.close()


def _nothing(number: int, frame: Any) -> None:
    """Let the wake-up descriptor tell of a signal."""
