"""When the rules are compiled and systemd is asked: after a change, and at most so often."""

from __future__ import annotations

from oomrules.errors import Failure
from oomrules.service.compile_child import CompileChild, Compiled
from oomrules.service.pace import Settling
from oomrules.state import now

# A rule file is stable when nothing happened to it for so long; an editor that never stops
# is not waited for.
_QUIET, _LONGEST = 1.0, 10.0

# D-Bus is asked again at most so often, and no more often than so many times what it takes.
_ASK_EVERY, _ASK_TIMES = 10.0, 20

# What sessions do moves no unit, so it is asked for now and then.
_ASK_AGAIN = 300.0

# After a failure: seconds until the next try, twice as long each time.
_RETRY, _RETRY_LONGEST = 5.0, 300.0

_NEVER = float("inf")


class CompileTimer:
    """Starts the short-lived half when it is due, one at a time.

    Args:
        path: what it may import from.
        arguments: its options.

    Attributes:
        running: the one that is at work.
        reload: whether somebody has asked for it: then nothing is waited for.
    """

    def __init__(self, path: list[str], arguments: list[str]) -> None:
        self._path, self._arguments = path, arguments
        self.running: CompileChild | None = None
        self.reload = False
        self._settling = Settling(_QUIET, _LONGEST)
        self._accounts = Settling(_QUIET, _LONGEST)
        # Whether a rule in force needs what only D-Bus knows; when it was worth asking again;
        # when it was asked last, and how long that took.
        self._asks = False
        self._wanted_at, self._started_at, self._took = _NEVER, -_NEVER, 0.0
        self._retry, self._retry_at = _RETRY, _NEVER

    def change(self, at: float) -> None:
        """A rule file changed."""
        self._settling.change(at)

    def rename(self, at: float) -> None:
        """A user or group came or went; it matters only if a rule names any.

        Users may have a part in that (chsh(1)), so it is no more urgent than a unit.
        """
        self._accounts.change(at)

    def want(self, at: float) -> None:
        """A unit came or went; it matters only if a rule asks for what D-Bus knows of it."""
        if self._asks:
            self._wanted_at = min(self._wanted_at, at)

    def due(self, calm_at: float) -> float:
        """When to ``start``, or to ``finish`` the one that is running if it has not ended.

        Args:
            calm_at: when memory is expected to be there for it.
        """
        if self.running:
            return self.running.deadline
        if self.reload:
            return 0.0
        wanted = _NEVER
        if self._asks:
            again = self._started_at + _ASK_AGAIN
            wanted = min(self._wanted_at, self._accounts.due, again)
            wanted = max(wanted, self._started_at + max(_ASK_EVERY, _ASK_TIMES * self._took))
        # It takes memory, and under pressure there is none.
        return max(min(self._settling.due, self._retry_at, wanted), calm_at)

    def start(self, at: float) -> CompileChild:
        """Start it, for all that has happened until now.

        Raises:
            Failure: it cannot be started; it is due again later.
        """
        self._settling.reset()
        self._accounts.reset()
        self.reload = False
        self._wanted_at, self._started_at, self._retry_at = _NEVER, at, _NEVER
        try:
            self.running = CompileChild(self._path, self._arguments, at)
        except Failure:
            self._try_again()
            raise
        return self.running

    def finish(self) -> Compiled:
        """Collect what it found out.

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
