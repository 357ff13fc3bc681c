"""Facts about a host, for the checks of ``check --host``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial

from oomrules.accounts import passwd
from oomrules.accounts.names import asks_elsewhere
from oomrules.dbus import gather
from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.systemd import Manager
from oomrules.errors import Failure
from oomrules.processes.snapshot import PF_KTHREAD, Process, Snapshot
from oomrules.processes.units import Placement
from oomrules.processes.values import places
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.verdict import Verdict
from oomrules.roots import Root

# The properties that systemd is asked for, for each unit that has processes.
PROPERTIES = ("OOMScoreAdjust", "OOMPolicy", "ManagedOOMPreference", "ManagedOOMMemoryPressure")
# systemd's own directories of units, which also name units that do not run at present.
_UNIT_FILES = (
    "/etc/systemd",
    "/run/systemd",
    "/usr/local/lib/systemd",
    "/usr/lib/systemd",
    "/lib/systemd",
)


@dataclass(frozen=True)
class HostFacts:
    """Facts about a host.

    Attributes:
        ranking: its processes, ranked by the rules.
        units: the names of the system's units; None if they are not known.
        user_units: the names of units of users' managers.
        aliases: other names of the system's units, each with the name of its unit.
        user_aliases: the same for units of users' managers.
        user: tells whether a user exists; None if that is not known.
        group: the same for groups.
        least_freeable: the share of the memory in use that must stay killable, in percent.
    """

    ranking: Ranking
    units: frozenset[str] | None = None
    user: Callable[[str], bool] | None = None
    group: Callable[[str], bool] | None = None
    least_freeable: int = 25
    user_units: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    user_aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def snapshot(self) -> Snapshot:
        """The processes."""
        return self.ranking.snapshot

    def verdict(self, process: Process) -> Verdict:
        """Return what the rules say of a process; several checks ask for it."""
        found = self._verdicts.get(process.pid)
        if found is None:
            found = self._verdicts[process.pid] = self.ranking.verdict(process)
        return found

    @cached_property
    def _verdicts(self) -> dict[int, Verdict]:
        return {}

    def processes(self) -> list[Process]:
        """The processes that hold memory of their own."""
        return [
            process
            for process in self.snapshot.by_pid.values()
            if process.total_vm and not (process.flags or 0) & PF_KTHREAD
        ]


def unit_files(kind: str, tree: Root) -> tuple[set[str], dict[str, str]]:
    """Return the units that have a file, whether they run or not.

    Args:
        kind: ``system`` or ``user``, the manager that they are for.
        tree: the system that the files are in.

    Returns:
        their names, and the name of the unit for each name that is a link to another (an alias,
        systemd.unit(5)).
    """
    found: set[str] = set()
    aliases: dict[str, str] = {}
    for directory in _UNIT_FILES:
        path = tree.path / directory.lstrip("/") / kind
        try:
            names = [name for name in tree.names(path) if "." in name]
        except OSError:
            continue  # not every host has all of them
        for name in sorted(set(names) - found):
            found.add(name)
            try:
                real = tree.real(path / name).name
            except OSError:
                continue  # masked, or it dangles
            # An instance of a template is no alias of it.
            if real != name and "." in real and "@." not in real:
                aliases[name] = real
    return found, aliases


def names_of(kind: str, tree: Root) -> frozenset[str] | None:
    """Return the users or groups of another system; None if they are not known.

    Args:
        kind: ``user`` or ``group``.
        tree: the system, of which only the files are read; no other source of accounts is asked.
    """
    try:
        if asks_elsewhere(kind, tree.read(tree.path / "etc/nsswitch.conf", 65536)):
            return None
    except FileNotFoundError:
        pass
    except OSError:
        return None
    try:
        data = tree.read(tree.path / "etc" / passwd.FILES[kind], 16 << 20)
    except OSError:
        return None
    found = (line.partition(b":")[0] for line in data.split(b"\n"))
    return frozenset(name.decode("utf-8", "backslashreplace") for name in found)


def recorded(ranking: Ranking, least_freeable: int) -> HostFacts:
    """Return the facts of a recorded host: its processes, and the units around them."""
    return HostFacts(
        ranking,
        units=units_of(ranking.snapshot),
        user_units=user_units_of(ranking.snapshot),
        aliases=aliases_of(ranking.snapshot),
        least_freeable=least_freeable,
    )


def live(
    ranking: Ranking,
    tree: Root,
    exists: Callable[[str, str], bool],
    least_freeable: int,
    booted: bool,
) -> HostFacts:
    """Return the facts of this host, or of another system in a directory.

    Args:
        ranking: the processes of this host.
        tree: the system that the rules are for.
        exists: tells whether this host has a ``user`` or a ``group`` of a name.
        least_freeable: see ``HostFacts``.
        booted: whether this host was booted with systemd.
    """
    unit_names, aliases = unit_files("system", tree)
    user_units, user_aliases = unit_files("user", tree)
    users: Callable[[str], bool] | None
    groups: Callable[[str], bool] | None
    if tree.whole:
        known = units_of(ranking.snapshot) | loaded_units() | unit_names if booted else None
        user_units |= user_units_of(ranking.snapshot)
        users, groups = (partial(exists, kind) for kind in ("user", "group"))
    else:
        # The processes are this host's, so they do not show users and units of the other system.
        known = frozenset(unit_names) if unit_names else None
        names = [names_of(kind, tree) for kind in ("user", "group")]
        users, groups = (None if found is None else found.__contains__ for found in names)
    return HostFacts(
        ranking,
        units=known,
        user=users,
        group=groups,
        least_freeable=least_freeable,
        user_units=frozenset(user_units),
        aliases=aliases,
        user_aliases=user_aliases,
    )


def _system_units(snapshot: Snapshot) -> Iterator[tuple[Placement, tuple[str, ...]]]:
    """Yield the system's units that processes are in and those around them, with their names."""
    for unit in {unit for place in places(snapshot) for unit in place.system.ancestors}:
        yield unit, tuple(snapshot.fact(unit, "Names") or ())


def units_of(snapshot: Snapshot) -> frozenset[str]:
    """Return the system's units that processes are in, those around them, and their aliases."""
    return frozenset(
        name for place, names in _system_units(snapshot) for name in (*place.chain, *names)
    )


def system_units(snapshot: Snapshot) -> frozenset[str]:
    """Return the system's units that processes are in; users' units are none of them."""
    return frozenset(place.unit for place, _ in _system_units(snapshot))


def aliases_of(snapshot: Snapshot) -> dict[str, str]:
    """Return the known aliases of the system's units that processes are in."""
    return {
        name: place.unit
        for place, names in _system_units(snapshot)
        for name in names
        if name != place.unit
    }


def user_units_of(snapshot: Snapshot) -> frozenset[str]:
    """Return the units of users' managers that processes are in, and those around them."""
    return frozenset(
        name for place in places(snapshot) for name in place.chain[len(place.system.chain) :]
    )


def loaded_units() -> frozenset[str]:
    """Return the units that systemd has loaded; none if it cannot be asked."""
    if not gather.booted_with_systemd():
        return frozenset()
    try:
        with closing(Connection()) as connection:
            return frozenset(Manager(connection).known())
    except (BusError, Failure):
        return frozenset()  # the notes say that systemd did not answer
