"""How often units have lost a process to the guard: what is started anew each time dies again."""

from __future__ import annotations

from oomrules.lean import NamedTuple

# So many losses within so many seconds are said, and said again no sooner than after as many.
OFTEN, SPAN = 3, 600.0

# Units that are counted apart, and the losses of one of them that are remembered.
_MOST, _REMEMBERED = 256, 32


class _Unit(NamedTuple):
    """What is known of a unit.

    Attributes:
        times: of its last losses.
        last: the process that it lost last, by pid and start.
        total: how many there were.
        told: when it was said.
    """

    times: tuple[float, ...] = ()
    last: tuple[int, int] = (0, 0)
    total: int = 0
    told: float = float("-inf")


class Losses:
    """A count of the processes that each unit has lost; the least recent units give way."""

    def __init__(self) -> None:
        self._units: dict[str, _Unit] = {}

    def add(self, unit: str, identity: tuple[int, int], at: float) -> int:
        """Count a loss; a process that is asked to end and killed afterwards is one.

        Args:
            unit: a unit of the system, or what stands for all units of a user.

        Returns:
            how many losses there were within the last ten minutes, if that is to be said now;
            else 0.
        """
        known = self._units.pop(unit, _Unit())
        if known.last == identity:
            self._units[unit] = known
            return 0
        times = (*(time for time in known.times if at - time < SPAN), at)[-_REMEMBERED:]
        often = len(times) >= OFTEN and at - known.told >= SPAN
        # The last one to lose something stands last.
        self._units[unit] = _Unit(
            times=times,
            last=identity,
            total=known.total + 1,
            told=at if often else known.told,
        )
        if len(self._units) > _MOST:
            del self._units[next(iter(self._units))]
        return len(times) if often else 0

    def begin_anew(self, unit: str) -> None:
        """Forget when a unit lost what: it is being stopped."""
        known = self._units.get(unit)
        if known:
            self._units[unit] = known._replace(times=(), told=float("-inf"))

    def most(self, number: int) -> dict[str, int]:
        """Return the units that lost most, with how many processes."""
        units = sorted(self._units.items(), key=lambda item: -item[1].total)
        return {unit: known.total for unit, known in units[:number]}
