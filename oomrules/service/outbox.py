"""Entries on their way to the journal: journald may be slow just when memory is short."""

from __future__ import annotations

import errno

from oomrules.kills import journal

# Beyond this many, the oldest entries are given up: a journald that takes none for so long is
# broken.
_MOST = 256


class Outbox:
    """Hands entries to journald as it takes them, and never waits for it.

    Attributes:
        lost: how many were given up since the journal was last told of it.
    """

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self.lost = 0

    def send(
        self, message: str, priority: int = journal.INFO, fields: dict[str, str] | None = None
    ) -> bool:
        """Send an entry now, or by a later ``flush``.

        Returns:
            False if there is no journal to take it, or it is too long.
        """
        self._waiting.append(journal.entry(message, priority, fields))
        return self.flush()

    def flush(self) -> bool:
        """Send what is waiting, as far as journald takes it.

        Returns:
            False if there is no journal, or the last entry is too long for it; then nothing is
            waiting any more.
        """
        while self._waiting:
            try:
                journal.deliver(self._waiting[0], 0.0)
            except BlockingIOError:
                surplus = len(self._waiting) - _MOST
                if surplus > 0:
                    del self._waiting[:surplus]
                    self.lost += surplus
                return True
            except OSError as error:
                if error.errno != errno.EMSGSIZE or len(self._waiting) == 1:
                    self._waiting.clear()
                    return False
                # There is a journal, and the other entries can still be sent.
                self.lost += 1
            del self._waiting[0]
            if self.lost and not self._waiting:
                message = (
                    f"{self.lost} entries are lost: too long, or journald took none for too long"
                )
                self._waiting.append(journal.entry(message, journal.WARNING))
                self.lost = 0
        return True

    @property
    def waiting(self) -> bool:
        """Whether there is something to ``flush``."""
        return bool(self._waiting)
