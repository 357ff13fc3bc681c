"""The descriptors that the loop waits for, and what is called when one of them is ready."""

from __future__ import annotations

import select
from collections.abc import Callable


class PollTable:
    """Descriptors, each with its handler, which is given the events of poll(2)."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def add(
        self, descriptor: int, handler: Callable[[int], None], events: int = select.POLLIN
    ) -> None:
        """Wait for a descriptor from now on, or for other events of it; -1 stands for none."""
        if descriptor >= 0:
            self._handlers[descriptor] = handler
            self._poll.register(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Wait for a descriptor no longer. Call it before the descriptor is closed."""
        if self._handlers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> None:
        """Wait until something is ready, but not for longer, and call the handlers."""
        # Rounded up: a millisecond too early would go round for nothing.
        for descriptor, events in self._poll.poll(int(seconds * 1000) + 1):
            # The handler of another one may have removed it.
            handler = self._handlers.get(descriptor)
            if handler is not None:
                handler(events)
