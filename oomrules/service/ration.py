"""So many entries within a time: users can have their own processes killed without end."""

from __future__ import annotations

# Units and users that are counted apart.
_MOST = 256


class Tally:
    """Entries of one unit or user since some time, and how many were left out."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.recorded = self.left_out = 0


class Ration:
    """Says which entries are written one by one.

    Args:
        user, unit, everything: how many of each user, of each unit, and of all, within ``span``.
        span: in seconds.

    Attributes:
        tallies: by owner.
    """

    def __init__(self, user: int, unit: int, everything: int, span: float) -> None:
        self._user, self._unit, self._all = user, unit, everything
        self._span = span
        self.tallies: dict[str, Tally] = {}

    def take(self, owner: str, at: float) -> bool:
        """Return whether an entry about an owner is written; those that are not are counted.

        Args:
            owner: a unit, or the slice of a user.
            at: in seconds; ``over`` has been called for it.
        """
        if owner not in self.tallies and len(self.tallies) >= _MOST:
            owner = ""
        tally = self.tallies.setdefault(owner, Tally(at))
        recorded = sum(each.recorded for each in self.tallies.values())
        most = self._user if owner.startswith("user-") else self._unit
        if tally.recorded >= most or recorded >= self._all:
            tally.left_out += 1
            return False
        tally.recorded += 1
        return True

    def over(self, at: float) -> list[tuple[str, int]]:
        """Forget the owners whose time is over; return those of whom entries were left out."""
        left_out = []
        for owner, tally in list(self.tallies.items()):
            if at >= tally.since + self._span:
                del self.tallies[owner]
                if tally.left_out:
                    left_out.append((owner, tally.left_out))
        return left_out
