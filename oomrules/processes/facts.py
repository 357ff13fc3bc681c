"""What only others know of units, sessions and containers, as plain data.

The compile-time half asks systemd, logind and the containers' runtimes and hands this over; the
run-time half looks things up by the control group's place.
"""

from __future__ import annotations

from oomrules.lean import Any, NamedTuple
from oomrules.processes.units import Placement


class Facts(NamedTuple):
    """What was found out.

    Attributes:
        units: by ``key``, each unit's properties by their D-Bus names, and ``Names``: its
            name and its aliases. None if systemd could not be asked.
        sessions: by unit, the session that it belongs to. None if logind could not be asked.
        problems: what could not be found out, each in one sentence.
        places: the system's units that were there when this was asked; of others nothing is
            known. None if it is new enough to speak of all.
        whole: whether systemd told of every unit, and the runtimes of every container; it is
            worth asking again where they did not.
        containers: by full id, what a runtime says of a container, by the names in
            ``CONTAINER_FACTS``. None if no runtime was asked.
    """

    units: dict[str, dict[str, Any]] | None = None
    sessions: dict[str, dict[str, Any]] | None = None
    problems: tuple[str, ...] = ()
    places: frozenset[str] | None = None
    whole: bool = True
    containers: dict[str, dict[str, Any]] | None = None

    def of_container(self, id_: str, name: str) -> Any:
        """Look up what is known of a container; None if it is unknown."""
        return None if self.containers is None else self.containers.get(id_, {}).get(name)

    def get(self, place: Placement, name: str) -> Any:
        """Look up what is known of a unit; None if it is unknown.

        A property that says how units belong together is an empty list where the unit has
        none, and ``session`` an empty object where it belongs to no session. A unit of a user's
        manager has neither, and that is known however new it is: users make them as they like.
        """
        none: Any = [] if name in RELATIONS else {} if name == "session" else None
        if place.manager:
            if none is not None:
                return none
        elif self.places is not None and key(place) not in self.places:
            return None
        if name == "session":
            return None if self.sessions is None else self.sessions.get(key(place), none)
        return None if self.units is None else self.units.get(key(place), {}).get(name, none)


# Aliases, and how units belong together: asked for only where a rule names the other side.
RELATIONS = ("Names", "WantedBy", "PartOf")


# What a runtime says of a container, and the type of each value.
CONTAINER_FACTS: dict[str, type] = {
    "runtime": str,
    "name": str,
    "image": str,
    "pod_name": str,
    "pod_namespace": str,
    "pod_priority": int,
}


def key(place: Placement) -> str:
    """Name a unit so that a user's unit is not taken for the system's of the same name."""
    return f"{place.manager}/{place.unit}" if place.manager else place.unit
