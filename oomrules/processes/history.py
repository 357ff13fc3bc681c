"""What was seen at earlier looks at the host: stalls and footprints that one look cannot tell.

Times are in seconds since the boot. What is kept has bounds: of each group a few looks within the
last seconds, of each process two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from oomrules.lean import Any
from oomrules.processes.snapshot import Process
from oomrules.program.nodes import SELF_MADE

# A share or a rate is measured over a second at least; a stall over no more than a few.
_LEAST = 1.0
_LONGEST_STALL = 5.0
# How long looks lie apart that are kept.
_APART = 0.25
# Growth is measured over 5 to 10 seconds, if there are looks so close together.
_GROWTH = 5.0

_MICROSECONDS = 10**6


class Stalls:
    """How long tasks have waited for memory in all, at the looks of the last seconds."""

    def __init__(self) -> None:
        # By group, the oldest look first; the host is the empty one.
        self._looks: dict[str, list[tuple[float, int]]] = {}

    def share(self, group: str, now: float, total: int) -> float | None:
        """Return the share of the last second that was stalled, in percent; note this look.

        Args:
            group: the control group, or an empty text for the host.
            total: the microseconds that were stalled since the boot.

        Returns:
            the share of the time since the last look that is a second old; None if there was none
            within the last seconds.
        """
        looks = self._looks.setdefault(group, [])
        old = [(at, was) for at, was in looks if _LEAST <= now - at <= _LONGEST_STALL]
        # Of those that are old enough, the last one is enough for the looks to come.
        looks[:] = [*old[-1:], *(look for look in looks if 0 <= now - look[0] < _LEAST)]
        if not looks or now - looks[-1][0] >= _APART:
            looks.append((now, total))
        if not old:
            return None
        at, was = old[-1]
        stalled = max(0, total - was) / _MICROSECONDS
        return min(100.0, round(100 * stalled / (now - at), 2))

    def of(self, group: str, now: float) -> Callable[[int], float | None]:
        """Return ``share`` of one group at one time."""
        return partial(self.share, group, now)

    def forget(self, now: float) -> None:
        """Forget the groups that nobody has asked for in the last seconds."""
        old = [group for group, looks in self._looks.items() if now - looks[-1][0] > _LONGEST_STALL]
        for group in old:
            del self._looks[group]


class Growth:
    """What each process held at two earlier looks.

    A process is known by its pid and its start, so an exec makes no other of it.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        # The start of the process, then the time of each look and the bytes that it held.
        self._looks: dict[int, tuple[Any, float, int, float, int]] = {}

    def look(self, held: Iterable[tuple[Process, Any]], now: float) -> None:
        """Note what all processes hold, in bytes, and set their growth."""
        before, self._looks = self._looks, {}
        if self._begun is None:
            self._begun = now
        for process, size in held:
            known = before.get(process.pid)
            if known is None or known[0] != process.starttime:
                known = None
            if type(size) is int:
                known = known or (process.starttime, now, size, now, size)
                process.growth = self._rate(known, size, now)
                start, _, _, late_at, late = known
                if now - late_at >= _GROWTH:
                    known = (start, late_at, late, now, size)
            else:
                process.growth = size
            if known is not None:
                self._looks[process.pid] = known

    def of(self, process: Process, size: Any, now: float) -> Any:
        """Return the growth of a process that was looked at, once more."""
        known = self._looks.get(process.pid)
        if known is None or known[0] != process.starttime or type(size) is not int:
            return size if size is SELF_MADE else None
        return self._rate(known, size, now)

    def _rate(self, known: tuple[Any, float, int, float, int], size: int, now: float) -> Any:
        """Return bytes a second; 0 for a process that shrank.

        It is unknown until there is a second between two looks. A process can make that so by
        beginning anew, unless it is the looks that have just begun.
        """
        _, at, was, late_at, late = known
        if now - at > 2 * _GROWTH and now - late_at >= _LEAST:
            at, was = late_at, late
        if now - at >= _LEAST:
            return max(0, int((size - was) / (now - at)))
        return SELF_MADE if self._begun is not None and at > self._begun else None
