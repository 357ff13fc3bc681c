"""The times of refreshes of the list: often enough, and never more often than is worth it."""

from __future__ import annotations

HEARTBEAT = 30.0

# The cost of a refresh is its processor time. A refresh that waited for memory has cost nothing,
# and the next one is all the more urgent.

# Under pressure, wait at least _LEAST seconds or _TIMES the cost of the last refresh, but never
# more than _MOST seconds. Pressure is over CALM seconds after its last sign.
_LEAST, _TIMES, _MOST = 0.5, 5, 3.0
CALM = 10.0

# When a unit comes or goes, wait _SETTLE seconds for those that come with it. Between two such
# refreshes, wait at least _LEAST_UNITS seconds or _TIMES_UNITS the cost of the last one.
_SETTLE, _LEAST_UNITS, _TIMES_UNITS = 0.2, 1.0, 20

# A client waits for the list; other clients may do the same, one after the other.
_TIMES_ASKED = 2

NEVER = float("inf")


class Pace:
    """The time when the next refresh is due. No clock is read here: every time is given.

    Args:
        heartbeat: seconds between two refreshes when nothing happens.
        now: seconds of any clock that never goes back.
    """

    def __init__(self, heartbeat: float, now: float) -> None:
        self._heartbeat = heartbeat
        self._ended, self._cost = now, 0.0
        self._pressed = -NEVER
        self._units = self._asked = NEVER

    def press(self, now: float) -> None:
        """Take note of a sign of pressure."""
        self._pressed = now

    def stir(self, now: float) -> None:
        """Take note that a unit came or went."""
        self._units = min(self._units, now)

    def ask(self, now: float) -> None:
        """Take note that a client waits for a fresh list."""
        self._asked = min(self._asked, now)

    def done(self, ended: float, cost: float) -> None:
        """Take note of a fresh list, and of its cost in seconds of processor time."""
        self._ended, self._cost = ended, cost
        self._units = self._asked = NEVER

    def pressed(self, now: float) -> bool:
        """Return whether there is pressure."""
        return now < self.calm_at

    @property
    def stirred(self) -> bool:
        """Whether a unit came or went since the last list, whatever the next one is made for."""
        return self._units < NEVER

    @property
    def calm_at(self) -> float:
        """The time when the pressure will be over if there is no further sign of it."""
        return self._pressed + CALM

    @property
    def due(self) -> float:
        """The time of the next refresh."""
        return min(self._dues().values())

    def reason(self) -> str:
        """Return why the next refresh is due: pressure, request, units or heartbeat."""
        dues = self._dues()
        return min(dues, key=dues.__getitem__)

    def _dues(self) -> dict[str, float]:
        """Return when each reason calls for a refresh."""
        ended, cost = self._ended, self._cost
        pressure = ended + min(_MOST, max(_LEAST, _TIMES * cost))
        pressed = pressure <= self.calm_at or self._pressed > ended
        units = ended + max(_LEAST_UNITS, _TIMES_UNITS * cost)
        return {
            "heartbeat": ended + self._heartbeat,
            "pressure": pressure if pressed else NEVER,
            "request": max(self._asked, ended + _TIMES_ASKED * cost),
            "units": max(self._units + _SETTLE, units),
        }


class Settling:
    """A wait until something that changes has come to rest.

    Args:
        quiet: seconds without a change.
        longest: seconds after the first change when the wait ends even if changes go on.
    """

    def __init__(self, quiet: float, longest: float) -> None:
        self._quiet, self._longest = quiet, longest
        self._first = self._last = NEVER

    def change(self, now: float) -> None:
        """Take note of a change."""
        self._first, self._last = min(self._first, now), now

    def reset(self) -> None:
        """Take note that the changes have been dealt with."""
        self._first = self._last = NEVER

    @property
    def due(self) -> float:
        """The time to deal with the changes."""
        return min(self._last + self._quiet, self._first + self._longest)
