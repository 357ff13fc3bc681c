"""What is wrong now: said once when it begins, and once when it ends.

In the status these are the ``complaints``; its key ``problems`` is what could not be found out.
"""

from __future__ import annotations

from oomrules.kills import journal
from oomrules.service.outbox import Outbox


class Problems:
    """At most one problem for each topic; the topics are those in the code, so they are few."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._standing: dict[str, str] = {}

    def report(self, topic: str, message: str = "", hint: str | None = None) -> None:
        """Log what is wrong, once until that changes; without a message, that nothing is."""
        if not message:
            self.clear(topic)
        elif self._standing.get(topic) != message:
            self._standing[topic] = message
            self.say(f"{message}; {hint}" if hint else message, journal.WARNING)

    def clear(self, topic: str, instead: str = "") -> None:
        """Log that what was wrong with a topic is so no longer, if anything was.

        Args:
            instead: what is so instead, in a sentence.
        """
        before = self._standing.pop(topic, None)
        if before:
            self.say(instead or f"no longer so: {before}", journal.INFO)

    def say(self, message: str, priority: int, fields: dict[str, str] | None = None) -> None:
        """Write an entry to the journal, with fields of its own."""
        journal.say(message, priority, fields, self._outbox.send)

    @property
    def standing(self) -> list[str]:
        """What is wrong now."""
        return sorted(self._standing.values())
