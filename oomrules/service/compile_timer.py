"""When the rules are compiled and systemd is asked: after a change, and at most so often."""

from __future__ import annotations

from oomrules.clock import now
from oomrules.errors import Failure
from oomrules.service.compile_child import CompileChild, Compiled
from oomrules.service.pace import NEVER, Settling

# A rule file is stable after _QUIET seconds without a change. After _LONGEST seconds it is read
# as it is, since an editor may never stop.
_QUIET, _LONGEST = 1.0, 10.0

# Between two times that D-Bus is asked, wait at least _ASK_EVERY seconds, or _ASK_TIMES what the
# last one took.
_ASK_EVERY, _ASK_TIMES = 10.0, 20

# A change of a session moves no unit, so D-Bus is asked again after this long in any case.
_ASK_AGAIN = 300.0

# After a failure: seconds until the next try, twice as many each time.
_RETRY, _RETRY_LONGEST = 5.0, 300.0


class CompileTimer:
    """Starts the short-lived half when it is due, one at a time.

    Args:
        path: what it may import from.
        arguments: its options.

    Attributes:
        running: the child that is at work.
        reload: whether a reload was asked for, which waits for nothing.
        files: changes of rule files.
        accounts: changes of users and groups, which matter only if a rule names any. Users can
            cause them (chsh(1)), so they are no more urgent than a unit's.
    """

    def __init__(self, path: list[str], arguments: list[str]) -> None:
        self._path, self._arguments = path, arguments
        self.running: CompileChild | None = None
        self.reload = False
        self.files = Settling(_QUIET, _LONGEST)
        self.accounts = Settling(_QUIET, _LONGEST)
        # Whether a rule in force needs what only D-Bus knows; when that may have changed; when
        # D-Bus was asked last, and how long that took.
        self._asks = False
        self._wanted_at, self._started_at, self._took = NEVER, -NEVER, 0.0
        self._retry, self._retry_at = _RETRY, NEVER

    def want(self, at: float) -> None:
        """Take note that a unit came or went; it matters only if a rule asks D-Bus about units."""
        if self._asks:
            self._wanted_at = min(self._wanted_at, at)

    def due(self, calm_at: float) -> float:
        """Return when to ``start``, or to ``finish`` the child that is running.

        Args:
            calm_at: when there is expected to be memory for it.
        """
        if self.running:
            return self.running.deadline
        if self.reload:
            return 0.0
        wanted = NEVER
        if self._asks:
            again = self._started_at + _ASK_AGAIN
            wanted = min(self._wanted_at, self.accounts.due, again)
            wanted = max(wanted, self._started_at + max(_ASK_EVERY, _ASK_TIMES * self._took))
        # It takes memory, and under pressure there is none.
        return max(min(self.files.due, self._retry_at, wanted), calm_at)

    def start(self, at: float) -> CompileChild:
        """Start a child, for all changes until now.

        Raises:
            Failure: it cannot be started; it is due again later.
        """
        self.files.reset()
        self.accounts.reset()
        self.reload = False
        self._wanted_at, self._started_at, self._retry_at = NEVER, at, NEVER
        try:
            self.running = CompileChild(self._path, self._arguments, at)
        except Failure:
            self._try_again()
            raise
        return self.running

    def finish(self) -> Compiled:
        """Collect what the child found out.

        Raises:
            Failure: it failed, or was given up; it is due again later.
        """
        assert self.running
        running, self.running = self.running, None
        self._took = now() - self._started_at
        try:
            compiled = running.finish()
        except Failure:
            self._try_again()
            raise
        facts = compiled.facts
        unknown = None in (facts.units, facts.sessions) or not facts.whole
        if compiled.asks and (unknown or not compiled.names_complete):
            # The bus will be back, or the directory, and no unit may come to tell of it.
            self._try_again()
        else:
            self._retry = _RETRY
        self._asks = compiled.asks
        return compiled

    def _try_again(self) -> None:
        self._retry_at, self._retry = now() + self._retry, min(2 * self._retry, _RETRY_LONGEST)
