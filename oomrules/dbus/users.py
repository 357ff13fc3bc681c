"""What users' managers say of their units: an attacker may write it, so all of it is bounded."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

import oomrules
from oomrules.child_lines import Child
from oomrules.dbus import bounds, users_child
from oomrules.processes.facts import RELATIONS, key
from oomrules.processes.units import Placement

# Seconds for each user, connection included, and for all of them.
EACH, TOTAL = 2.0, 10.0
# Seconds more for the child to load its libraries on a busy host.
_TO_START = 15.0

# Units of each user, and of all of them; a manager that has more is asked about the first.
MOST_UNITS, _MOST_OF_ALL = 256, 2048
# Bytes that all of them together may say.
_MOST_SAID = 1 << 20

_DIRECTORY = "/run/user"
_CODE = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from oomrules.dbus.users_child import main; main()"
)

Units = dict[str, dict[str, Any]]


class Users:
    """The question to all users' managers, which a child asks while other managers are asked.

    Args:
        places: units; those that are not of users' managers are passed over.
        properties: what to ask of each.
        each, total: seconds for each user and for all of them.
        directory: where each user has a directory with a bus in it.

    Attributes:
        problems: what could not be asked, each in one sentence.
    """

    def __init__(
        self,
        places: Iterable[Placement],
        properties: Iterable[str],
        each: float = EACH,
        total: float = TOTAL,
        directory: str = _DIRECTORY,
    ) -> None:
        self.problems: list[str] = []
        self._each, self._total = each, total
        self._child: Child | None = None
        self._deadline = 0.0
        # How units belong together is asked of the system's manager alone.
        wanted = [name for name in properties if name not in RELATIONS]
        self._places = self._bounded(places) if wanted else {}
        if not self._places:
            return
        request = {
            "users": [[user, [*units]] for user, units in self._places.items()],
            "properties": wanted,
            "each": each,
            "total": total,
            "directory": directory,
        }
        self._deadline = time.monotonic() + total + each + _TO_START
        path = [os.path.dirname(oomrules.__path__[0]), *filter(None, sys.path)]
        argv = [sys.executable, "-I", "-S", "-c", _CODE, json.dumps(path)]
        try:
            self._child = Child(argv, json.dumps(request).encode(), group=True)
        except OSError as error:
            self.problems.append(f"users' managers cannot be asked: {error.strerror}")

    def _bounded(self, places: Iterable[Placement]) -> dict[str, dict[str, Placement]]:
        """Return the units by user and name, users with few units first."""
        by_user: dict[str, dict[str, Placement]] = {}
        for place in places:
            user = place.manager
            if user.isascii() and user.isdigit() and len(user) <= 10 and bounds.names([place.unit]):
                by_user.setdefault(user, {})[place.unit] = place
        left, chosen = _MOST_OF_ALL, {}
        for user, units in sorted(by_user.items(), key=lambda item: (len(item[1]), item[0])):
            most = min(MOST_UNITS, left)
            chosen[user] = {name: units[name] for name in sorted(units)[:most]}
            left -= len(chosen[user])
            if len(units) > most:
                self.problems.append(
                    f"user {user} has {len(units)} units with processes; its manager is asked "
                    f"about {most} of them"
                )
        return {user: units for user, units in chosen.items() if units}

    def collect(self) -> Units:
        """Wait for the answers; a manager that gives none in time is among the problems.

        Returns:
            the properties of each unit, by ``facts.key``.
        """
        if self._child is None:
            return {}
        found: Units = {}
        silent = dict(self._places)
        left = _MOST_SAID
        most = 8 * (users_child.MOST_SAID + 4096) * len(self._places)
        for line in self._child.lines(self._deadline, most):
            user, said = json.loads(line)
            units = silent.pop(user, None)
            if units is None:
                continue
            left -= len(said)
            if left < 0:
                self._problem(user, "all users together say too much")
            else:
                self._take(user, units, said, found)
        for user in silent:
            self._problem(user, f"there was no time left of the {self._total:g} s for all users")
        return found

    def _take(self, user: str, units: dict[str, Placement], said: str, found: Units) -> None:
        """Add what one manager says to ``found``: the units and properties that were asked for."""
        if not said:
            self._problem(user, f"it gave no answer within {self._each:g} s")
            return
        try:
            answer = json.loads(said)
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, str):
            self._problem(user, bounds.text(answer, 200))
        elif not isinstance(answer, dict):
            self._problem(user, "it answered with something else")
        else:
            for unit in answer.keys() & units.keys():
                given = answer[unit] if isinstance(answer[unit], dict) else {}
                values = {name: bounds.value(name, value) for name, value in given.items()}
                known = {name: value for name, value in values.items() if value is not None}
                found[key(units[unit])] = known

    def _problem(self, user: str, why: str) -> None:
        self.problems.append(
            f"the manager of user {user} did not tell all about its units ({why}); what only it "
            "knows of them is unknown, which protects no process"
        )

    def close(self) -> None:
        """End the child and its children."""
        if self._child:
            self._child.end()
