"""What the attributes of one process may be, where they are not known.

A value that is missing takes some value of its type and range; for rules that protect, and for
scores, it may also turn out to be unknown by the doing of the process or its user. Some values are
unknown and will stay so: a share of nothing, the user of a parent that does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping

from oomrules.attributes import ATTRIBUTES, FOOTPRINT, Provider, Type
from oomrules.fields import FIELDS, Unit
from oomrules.lean import Any, NamedTuple
from oomrules.processes import values
from oomrules.processes.containers import contained
from oomrules.processes.snapshot import UNREAD, Process, Snapshot
from oomrules.processes.units import placement
from oomrules.processes.values import LIMIT, WHOLES, Getter, parent_pid
from oomrules.program.nodes import SELF_MADE
from oomrules.ranking.local import Local
from oomrules.ranking.spans import EITHER, INFINITE, OWN, UNKNOWN, Span

# What asks (``processes.values``): a rule that does not protect, one that does, a score.
PLAIN, PROTECTING, SCORING = READINGS = ("plain", "protecting", "scoring")

_COUNTS = frozenset(
    f"{of}.{what}"
    for of in ("user", "unit", "scope", "cgroup")
    for what in ("processes", "footprint")
)
# What a unit, a group or a container may lack, whatever else is known of it.
_MAY_LACK = (Provider.SYSTEMD, Provider.SCOPE, Provider.BLOCK, Provider.RUNTIME)
_CLAIMED = (*_MAY_LACK, Provider.CGROUP)
_OF_GROUPS = (*_CLAIMED, Provider.LOGIND)
_BELOW_ZERO = ("pod.priority", "nice", "oom_score_adj", "unit.oom_score_adjust")
# A percentage, in hundredths.
_ALL = 10_000


class Open(NamedTuple):
    """A value that is not known.

    Attributes:
        span: what it may be, if it is a number.
        also: besides, it may be UNKNOWN or OWN, for what asks.
        never: texts that it is not.
        truths: what it may be, if it is yes or no.
        within: a control group that it is, or one below it; empty where none is known.
    """

    span: Span
    also: int = 0
    never: tuple[str, ...] = ()
    truths: int = EITHER
    within: str = ""


class Totals(NamedTuple):
    """Who may be counted where, since it is not known of some processes where they belong.

    Attributes:
        without_uid, without_place, without_group: the processes of which that is unknown; the last
            is the group that memory is charged to.
        unweighed: whether the footprint of some process is unknown.
        maybe: how many may have no memory of their own.
    """

    without_uid: tuple[Process, ...]
    without_place: tuple[Process, ...]
    without_group: tuple[Process, ...]
    unweighed: bool
    maybe: int

    @classmethod
    def of(cls, snapshot: Snapshot) -> Totals:
        """Look through the processes of a snapshot."""
        there = [one for one in list(snapshot.by_pid.values()) if one.total_vm != 0]
        get = values.GETTERS
        return cls(
            without_uid=tuple(one for one in there if get["uid"](one, snapshot) is None),
            without_place=tuple(one for one in there if values.cgroup(one, snapshot) is None),
            without_group=tuple(one for one in there if values.memory_group(one, snapshot) is None),
            unweighed=any(values.held(one, snapshot) is None for one in there),
            maybe=sum(one.total_vm is None for one in there),
        )

    def strangers(self, name: str) -> tuple[Process, ...]:
        """Return the processes that may be counted too, in an attribute that counts."""
        if name.startswith("user."):
            return self.without_uid
        return self.without_group if name.startswith("cgroup.") else self.without_place


class Unknowns:
    """What the attributes of processes may be.

    Args:
        local: has the getters of the program that asks.
        snapshot: what is known.
        places: by pid, a control group in or below which a process is whose own is not known.
    """

    def __init__(self, local: Local, snapshot: Snapshot, places: Mapping[int, str]) -> None:
        self.snapshot = snapshot
        self._places = places
        self._local = local
        self._getters: dict[str, dict[str, Getter]] = local.getters._asdict()
        self._totals = Totals.of(snapshot)

    def look(self, name: str, process: Process, reading: str) -> Any:
        """Return the value of an attribute for what asks, or what it may be as an ``Open``."""
        if name in self._local.relations:
            return self._relation(name, process, reading)
        plain = self._getters[PLAIN][name](process, self.snapshot)
        if name == "run_time" and self.snapshot.host.unknown and not self.snapshot.host.uptime:
            # A kernel's report did not tell the time, whatever is known of the start.
            plain = None
        base = name.partition(" ")[0]
        if base in _COUNTS and plain is not None and self._is_open(base):
            return self._counted(base, plain)
        if plain is None and not self._stays_unknown(name, process):
            if name == "footprint" and SELF_MADE in self._parts(process):
                return None if reading == PLAIN else SELF_MADE
            return self._missing(name, base, process, reading)
        value = plain if reading == PLAIN else self._getters[reading][name](process, self.snapshot)
        return None if value is SELF_MADE and reading == PLAIN else value

    def rss(self, process: Process) -> Span:
        """Return what the resident memory of a process may be, in pages."""
        return Span(0, INFINITE) if process.rss is None else Span(process.rss, process.rss)

    def _parts(self, process: Process) -> list[Any]:
        return [values.GETTERS[name](process, self.snapshot) for name in FOOTPRINT]

    def _stays_unknown(self, name: str, process: Process) -> bool:
        host = self.snapshot.host
        if name == WHOLES["host.swap"]:
            return "host.swap" not in host.unknown
        if name == WHOLES["host.memory"]:
            return host.hugetlb is not None and "host.memory" not in host.unknown
        if name == "parent.uid":
            return parent_pid(process, self.snapshot) == 0
        return False

    # --- what is missing -----------------------------------------------------------------

    def _missing(self, name: str, base: str, process: Process, reading: str) -> Open:
        attribute = ATTRIBUTES.get(base)
        provider = attribute.provider if attribute else Provider.CGROUP
        also = 0
        if provider in _MAY_LACK or base == "cgroup.memory" or name in WHOLES.values():
            also |= UNKNOWN
        if provider is Provider.PARENT and parent_pid(process, self.snapshot) is None:
            also |= UNKNOWN if reading == PLAIN else UNKNOWN | OWN
        if reading != PLAIN and self._may_be_claimed(name, provider, process, reading):
            also |= OWN
        return Open(
            span=self._span(name, base, process),
            also=also,
            never=self._not(base, process),
            within=self._within(process) if name == "cgroup" else "",
        )

    def _may_be_claimed(
        self, name: str, provider: Provider, process: Process, reading: str
    ) -> bool:
        """Return whether a user may turn out to be in charge of a value."""
        if self._getters[reading][name](process, self.snapshot) is SELF_MADE:
            return True
        nowhere = values.cgroup(process, self.snapshot) is None
        partly = name.startswith("cgroup.") or bool(self.snapshot.host.unknown)
        return provider in _CLAIMED and (nowhere or partly)

    def _within(self, process: Process) -> str:
        """Return a group that a process is in or below; empty where none is known.

        In v1 memory is counted in another hierarchy than that which ``cgroup`` is of. Groups of
        units and of containers have the same path in both.
        """
        path = values.cgroup(process, self.snapshot)
        if path is None:
            path, root = self._places.get(process.pid, ""), self.snapshot.host.unit_root
            inside = contained(path, root)
            if not (placement(path, root).unit or inside.id or inside.pod):
                return ""
        return path.rstrip("/")

    def _not(self, base: str, process: Process) -> tuple[str, ...]:
        if base not in ("user", "group"):
            return ()
        number = values.GETTERS["uid" if base == "user" else "gid"](process, self.snapshot)
        # Id 0 is root on every host, and no other id is.
        return ("root",) if number else ()

    def _span(self, name: str, base: str, process: Process) -> Span:
        host, attribute = self.snapshot.host, ATTRIBUTES.get(base)
        if name == "footprint":
            return Span(self._least_held(process), INFINITE)
        if name == "cpu_time":
            ticks = (process.utime or 0) + (process.stime or 0)
            return Span(ticks * 1000 // host.clock_ticks, INFINITE)
        if name == "run_time":
            # A kernel's report may not tell for how long the host had been up.
            return Span(0, int(host.uptime) * 1000 or INFINITE)
        if name == "total_vm":
            return Span(1, INFINITE)
        if name == "totalpages":
            if "host.totalpages" in host.unknown:
                return Span(1, INFINITE)
            most = (host.mem_total + host.swap_total) // host.page_size
            return Span(min(1, most), max(1, most))
        if "host.memory" not in host.unknown and name in ("host.memory", WHOLES["host.memory"]):
            most = host.mem_total // host.page_size
            return Span(0, most if name == "host.memory" else most * host.page_size)
        if attribute is None or name == LIMIT:
            return Span(0, INFINITE)
        if attribute.type is Type.PERCENTAGE:
            return Span(0, _ALL)
        return self._ranged(name)

    def _ranged(self, name: str) -> Span:
        field = FIELDS.get(name)
        if field is None:
            return Span(-INFINITE if name in _BELOW_ZERO else 0, INFINITE)
        most = INFINITE if field.most is None else field.most
        return Span(0 if field.unit is Unit.BYTES else field.least, most)

    def _least_held(self, process: Process) -> int:
        rss, swap, tables = (part or 0 for part in self._parts(process))
        return int(rss + swap + tables // self.snapshot.host.page_size)

    # --- what is counted over all processes ------------------------------------------------

    def _is_open(self, name: str) -> bool:
        found = self._totals
        if found.strangers(name) or found.maybe:
            return True
        return found.unweighed and name.endswith("footprint")

    def _counted(self, name: str, known: int) -> Open:
        if name.endswith("footprint"):
            return Open(Span(0, INFINITE))
        most = known + len(self._totals.strangers(name))
        return Open(Span(max(0, known - self._totals.maybe), most))

    # --- parents and ancestors -----------------------------------------------------------------

    def _relation(self, name: str, process: Process, reading: str) -> Any:
        """Return what ``under`` or ``child of`` comes to.

        Where any value that it asks for is unknown, everything is possible: the parents that a
        process has, and who is in charge of what they tell.
        """
        value = self._getters[reading][name](process, self.snapshot)
        value = None if value is SELF_MADE and reading == PLAIN else value
        if self._local.decided(name, process, self.snapshot):
            return value
        return Open(Span(INFINITE, -INFINITE), UNKNOWN if reading == PLAIN else UNKNOWN | OWN)


def asked_of(name: str, process: Process, snapshot: Snapshot) -> str:
    """Return which attribute would have to be known for one to be, in the words of the language."""
    base = name.partition(" ")[0]
    if name == LIMIT or name in WHOLES.values():
        base = name.strip("()")
    attribute = ATTRIBUTES.get(base)
    if attribute is None:
        if name == LIMIT and values.cgroup(process, snapshot) is not None:
            return "the memory limit"
        return "unit" if name == LIMIT else "ppid"
    if attribute.provider in _OF_GROUPS and values.cgroup(process, snapshot) is None:
        return "unit"
    if attribute.provider is Provider.PARENT and parent_pid(process, snapshot) is None:
        return "ppid"
    missing = [field for field in attribute.needs if getattr(process, field, UNREAD) is None]
    if missing and base == "footprint":
        return missing[0]
    if base in ("user", "group"):
        number = "uid" if base == "user" else "gid"
        return number if values.GETTERS[number](process, snapshot) is None else base
    return base
