"""The value of each attribute of a process, from the raw fields of a snapshot.

An attribute that is not simply a field has a line here. A getter gives an int, a text or a bool,
or None if a raw value that it needs is unknown, or SELF_MADE if the process or its user made it so.
Memory is in whole pages, durations in milliseconds, percentages in hundredths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from oomrules.attributes import ATTRIBUTES, FOOTPRINT, Attribute, Provider, Type
from oomrules.fields import FIELDS, Unit
from oomrules.lean import Any
from oomrules.processes.cgroups import enclosing
from oomrules.processes.containers import NAMED_BY_PATH, Contained, contained
from oomrules.processes.facts import CONTAINER_FACTS
from oomrules.processes.snapshot import NO_LIMIT, PF_KTHREAD, UNREAD, Process, Snapshot
from oomrules.processes.units import Placement, placement
from oomrules.program import nodes
from oomrules.program.nodes import SELF_MADE

Getter = Callable[[Process, Snapshot], Any]

# The share of a limit is worked out from this; no rule can name it.
LIMIT = "(memory limit)"
# The same for shares of what the host has (``Attribute.whole``), by the attribute's name.
WHOLES = {name: nodes.whole_of(name) for name in ("host.memory", "host.swap")}

# The figures of a control group that are memory.
_IN_PAGES = (
    *("memory", "memory_max", "memory_high", "memory_min", "memory_low"),
    *("swap", "swap_max"),
)
# Those that are percentages.
_SHARES = ("pressure", "stall")


def _field(name: str) -> Getter:
    def get(process: Process, snapshot: Snapshot) -> Any:
        value = getattr(process, name)
        return snapshot.read(process, name) if value is UNREAD else value

    return get


_uid = _field("uid")


def place_of(path: str, snapshot: Snapshot) -> Placement:
    """Find the units around a control group of a host."""
    return placement(path, snapshot.host.unit_root)


def cgroup(process: Process, snapshot: Snapshot) -> str | None:
    """Return the control group of a process; None if it is unknown."""
    path: str | None = process.cgroup
    return snapshot.read(process, "cgroup") if path is UNREAD else path


def innermost_place(process: Process, snapshot: Snapshot) -> Placement | None:
    """Return the placement of the unit that a process is in; None if it is unknown."""
    path = cgroup(process, snapshot)
    return None if path is None else place_of(path, snapshot)


def innermost_unit(process: Process, snapshot: Snapshot) -> str | None:
    """Return the name of the unit that a process is in, the system's or a user's, for people.

    None if it is unknown, an empty text outside every unit.
    """
    place = innermost_place(process, snapshot)
    return place and place.unit


def places(snapshot: Snapshot) -> set[Placement]:
    """Return the placements of the units that processes are in, as far as they are known."""
    paths = {cgroup(process, snapshot) for process in snapshot.by_pid.values()}
    return {place_of(path, snapshot) for path in paths if path}


def container_of(process: Process, snapshot: Snapshot) -> Contained | None:
    """Return the container and the pod around a process; None if its place is unknown."""
    path = cgroup(process, snapshot)
    return None if path is None else contained(path, snapshot.host.unit_root)


def containers(snapshot: Snapshot) -> set[Contained]:
    """Return the containers and pods that processes are in, as far as their place tells them."""
    found = (container_of(process, snapshot) for process in snapshot.by_pid.values())
    return {one for one in found if one is not None and (one.id or one.pod)}


def memory_group(process: Process, snapshot: Snapshot) -> str | None:
    """Return the control group that the memory of a process is charged to; None if unknown."""
    path = cgroup(process, snapshot)
    charged = process.memory_cgroup
    return path if charged is UNREAD else charged


def _known(name: str, convert: Callable[[Any, Snapshot], Any]) -> Getter:
    field = _field(name)

    def get(process: Process, snapshot: Snapshot) -> Any:
        value = field(process, snapshot)
        return value if value is None or value is SELF_MADE else convert(value, snapshot)

    return get


def _cpu_time(process: Process, snapshot: Snapshot) -> int | None:
    if process.utime is None or process.stime is None:
        return None
    return (process.utime + process.stime) * 1000 // snapshot.host.clock_ticks


def _run_time(process: Process, snapshot: Snapshot) -> int | None:
    # Whole seconds on both sides, as in 2.6.10's badness().
    if process.starttime is None:
        return None
    host = snapshot.host
    return max(0, int(host.uptime) - process.starttime // host.clock_ticks) * 1000


def _tty(number: int, snapshot: Snapshot) -> str:
    """Name a terminal by its device number (Documentation/admin-guide/devices.txt)."""
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    if number == 0:
        return ""
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return f"{major}:{minor}"


def _named(number: int, names: Mapping[int, str] | None) -> str | None:
    # Root has the same name on every host. Any other id without a name is unknown if no names are
    # known, and stands for itself otherwise, as in ps(1).
    nameless = "root" if number == 0 else None if names is None else str(number)
    return nameless if names is None else names.get(number, nameless)


def of_group(path: str, key: str, snapshot: Snapshot) -> Any:
    """Return a figure of a control group as rules count it; None if it is unknown.

    Args:
        path: of the group.
        key: as in a recording; ``processes`` and ``footprint`` are those of the group and of all
            below it.
    """
    if key == "processes":
        return _number_below(snapshot).get(path, 0)
    if key == "footprint":
        return _held_below(snapshot).get(path, 0)
    scope = snapshot.scope(path)
    value = None if scope is None else scope.get(key)
    if value is None:
        return None
    if key in _SHARES:
        return round(value * 100)
    return int(value // snapshot.host.page_size if key in _IN_PAGES else value)


def _of_scope(key: str) -> Getter:
    def get(process: Process, snapshot: Snapshot) -> Any:
        place = innermost_place(process, snapshot)
        return None if place is None else of_group(place.path, key, snapshot)

    return get


def _of_own_group(key: str) -> Getter:
    def get(process: Process, snapshot: Snapshot) -> Any:
        path = memory_group(process, snapshot)
        return None if path is None else of_group(path, key, snapshot)

    return get


def _processes_of_own_group(process: Process, snapshot: Snapshot) -> int | None:
    path = memory_group(process, snapshot)
    return None if path is None else _number_charged_below(snapshot).get(path, 0)


def _of_host(key: str) -> Getter:
    def get(_: Process, snapshot: Snapshot) -> Any:
        value = getattr(snapshot.host, key)
        if value is None:
            return None
        return round(value * 100) if key in _SHARES else value // snapshot.host.page_size

    return get


def _host_memory(_: Process, snapshot: Snapshot) -> int | None:
    """Return RAM without huge pages, in pages: nothing in those can be had by a kill."""
    host = snapshot.host
    if host.hugetlb is None:
        return None
    return max(0, host.mem_total - host.hugetlb) // host.page_size


def _whole(get: Getter) -> Getter:
    """Return a getter of bytes that others are a share of; none is no whole."""

    def in_bytes(process: Process, snapshot: Snapshot) -> int | None:
        pages = get(process, snapshot)
        return pages * snapshot.host.page_size if pages else None

    return in_bytes


def limit(process: Process, snapshot: Snapshot) -> int | None:
    """Find the memory limit of the innermost control group that has one, else the RAM, in bytes.

    None if a limit on the way could not be read.
    """
    path = memory_group(process, snapshot)
    if path is None:
        return None
    # The root comes last: in a container it is the container's own, with its limit.
    for group in enclosing(path):
        scope = snapshot.scope(group)
        if scope is not None:
            value = scope.get("memory_max")
            if value is None:
                return None
            if value < NO_LIMIT:
                return int(value)
    return snapshot.host.mem_total


_PARTS = tuple(map(_field, FOOTPRINT))


def _footprint(process: Process, snapshot: Snapshot) -> Any:
    """Return what a process holds, in pages, as oom_badness() adds it up (mm/oom_kill.c)."""
    rss, swap, tables = (get(process, snapshot) for get in _PARTS)
    if rss is None or swap is None or tables is None:
        return None
    if swap is SELF_MADE or tables is SELF_MADE:
        return SELF_MADE
    return rss + swap + tables // snapshot.host.page_size


def held(process: Process, snapshot: Snapshot) -> Any:
    """Return the footprint of a process in bytes; None or SELF_MADE if it is unknown."""
    pages = _footprint(process, snapshot)
    return pages * snapshot.host.page_size if type(pages) is int else pages


def _host_totalpages(_: Process, snapshot: Snapshot) -> int:
    host = snapshot.host
    return (host.mem_total + host.swap_total) // host.page_size


def _totalpages(process: Process, snapshot: Snapshot) -> int | None:
    if snapshot.host.totalpages is not None:
        # The kernel has said what it divides by, whatever group a process is in.
        return snapshot.host.totalpages
    path = memory_group(process, snapshot)
    if path is None:
        return None
    found: dict[str, int | None] = _known_totalpages(snapshot)
    if path not in found:
        found[path] = _totalpages_of(path, snapshot)
    return found[path]


def _totalpages_of(path: str, snapshot: Snapshot) -> int | None:
    """Return what the kernel's killer divides by when memory runs out around a group, in pages.

    That is the host's RAM and swap, or the limit of a control group with the swap that it may
    use (constrained_alloc() in mm/oom_kill.c, mem_cgroup_get_max() in mm/memcontrol.c). With a
    limit of the RAM or more, the host runs out first. None if a limit could not be read.
    """
    host = snapshot.host
    for group in enclosing(path):
        scope = snapshot.scope(group)
        most = NO_LIMIT if scope is None else scope.get("memory_max")
        if most is None:
            return None
        if scope is not None and most < min(NO_LIMIT, host.mem_total):
            # At 0 the kernel leaves out the swap. Only groups of v1 have a swappiness of their own.
            own = scope.get("swappiness")
            swappiness = host.swappiness if own is None else own
            swap = scope.get("swap_max") if swappiness != 0 else 0
            if swap is None:
                return None
            # The kernel takes 1 for 0.
            return max(1, int(most + min(swap, host.swap_total)) // host.page_size)
    return (host.mem_total + host.swap_total) // host.page_size


def _of_unit(name: str, wanted: type) -> Getter:
    def get(process: Process, snapshot: Snapshot) -> Any:
        place = innermost_place(process, snapshot)
        value = place and snapshot.fact(place, name)
        # A property of another type than the rules were checked for is as good as unknown.
        return value if type(value) is wanted else None

    return get


def _of_session(name: str, otherwise: bool | int | str) -> Getter:
    """What holds for the session of a process: that of the innermost unit that has one."""

    def get(process: Process, snapshot: Snapshot) -> Any:
        innermost = innermost_place(process, snapshot)
        if innermost is None:
            return None
        for place in innermost.ancestors:
            # The root slice belongs to no session.
            session = snapshot.fact(place, "session") if place.above else {}
            if session is None or session:
                value = session and session.get(name)
                return value if type(value) is type(otherwise) else None
        # It is known that there is none, which is no doubt.
        return otherwise

    return get


def _of_place(name: str) -> Getter:
    """What the place of a process tells of its container or its pod."""

    def get(process: Process, snapshot: Snapshot) -> Any:
        found = container_of(process, snapshot)
        return None if found is None else getattr(found, name)

    return get


def _runtime(process: Process, snapshot: Snapshot) -> Any:
    found = container_of(process, snapshot)
    if found is None or not found.id or found.runtime:
        return found and found.runtime
    # With cgroupfs the path has nothing but the id.
    return _said(process, snapshot, found, "runtime")


def _container_name(process: Process, snapshot: Snapshot) -> Any:
    found = container_of(process, snapshot)
    if found is None or not found.id or found.name:
        return found and found.name
    return _said(process, snapshot, found, "name")


def _image(process: Process, snapshot: Snapshot) -> Any:
    found = container_of(process, snapshot)
    if found is None or not found.id or found.runtime in NAMED_BY_PATH:
        # Those have a root directory, and no image.
        return None if found is None else ""
    return _said(process, snapshot, found, "image")


def _of_pod(name: str, otherwise: int | str) -> Getter:
    """What the runtime says of the pod of a process; Podman's pods have no more than a name."""

    def get(process: Process, snapshot: Snapshot) -> Any:
        found = container_of(process, snapshot)
        if found is None:
            return None
        if not found.pod or (name != "pod_name" and not found.qos):
            return otherwise
        return _said(process, snapshot, found, name)

    return get


def _said(process: Process, snapshot: Snapshot, place: Contained, name: str) -> Any:
    value = snapshot.container_fact(process, place.id, name)
    # A value of another type than the rules were checked for is as good as unknown.
    return value if type(value) is CONTAINER_FACTS[name] else None


def parent_pid(process: Process, snapshot: Snapshot) -> int | None:
    """Return the pid of the parent of a process, 0 if it has none; None if it is unknown."""
    # As ``process.ppid`` has it; a call less, for every process at each refresh.
    more = process.more
    pid: int | None = UNREAD if more is None else more.get("ppid", UNREAD)
    return snapshot.read(process, "ppid") if pid is UNREAD else pid


def tells_nothing(process: Process) -> bool:
    """Return whether a process has ended since it was read, or is a kernel thread.

    Neither has the files that tell the rest, and a user brings the one about.
    """
    return process.state in ("Z", "X", "x") or bool((process.flags or 0) & PF_KTHREAD)


def _of_parent(name: str) -> Getter:
    """What holds for the parent of a process; a process without one has an empty text, or no id.

    A parent that is not there has just ended, which the process can bring about.
    """
    nothing = "" if ATTRIBUTES[name].type is Type.TEXT else None

    def get(process: Process, snapshot: Snapshot) -> Any:
        pid = parent_pid(process, snapshot)
        if not pid:
            return None if pid is None else nothing
        parent = snapshot.by_pid.get(pid)
        if parent is None:
            return SELF_MADE
        value = GETTERS[name.removeprefix("parent.")](parent, snapshot)
        return SELF_MADE if value is None and tells_nothing(parent) else value

    return get


def outer_place(process: Process, snapshot: Snapshot, level: int) -> Placement | None:
    """Return the placement of a unit around a process, 0 for the outermost; None if unknown."""
    place = innermost_place(process, snapshot)
    for _ in range(0 if place is None else len(place.chain) - 1 - level):
        place = place and place.above
    return place if place is not None and len(place.chain) - 1 == level else None


def of_block(name: str, level: int) -> Getter:
    """Return the getter of ``scope.*`` for the unit that lies so deep around a process."""
    key = ATTRIBUTES[name].field

    def get(process: Process, snapshot: Snapshot) -> Any:
        place = outer_place(process, snapshot, level)
        if place is None or name in snapshot.host.unknown:
            return None
        return of_group(place.path, key, snapshot)

    return get


def of_outer_unit(getter: Getter, level: int) -> Getter:
    """Return a getter for what protects: what a user can keep secret of a unit is no doubt."""

    def get(process: Process, snapshot: Snapshot) -> Any:
        value = getter(process, snapshot)
        if snapshot.host.unknown:
            return value
        place = outer_place(process, snapshot, level) if value is None else None
        return SELF_MADE if place is not None and place.manager else value

    return get


def _unit_name(path: str, snapshot: Snapshot) -> str:
    place = place_of(path, snapshot).system
    return nodes.Names(place.unit, snapshot.fact(place, "Names") or ())


# What was worked out about all processes together, and on which host.
_together: tuple[Any, dict[str, Any]] = (None, {})


def _once(make: Callable[[Snapshot], Any]) -> Callable[[Snapshot], Any]:
    """Have something worked out once each refresh, which makes a new host.

    It comes from the processes themselves: the files of a user's control groups are the user's to
    switch off.
    """
    name = make.__name__

    def get(snapshot: Snapshot) -> Any:
        global _together
        host, found = _together
        if host is not snapshot.host:
            found = {}
            _together = snapshot.host, found
        if name not in found:
            found[name] = make(snapshot)
        return found[name]

    return get


@_once
def _known_totalpages(snapshot: Snapshot) -> dict[str, int | None]:
    """Return the ``totalpages`` of control groups, as far as they are known."""
    return {}


def _present(snapshot: Snapshot) -> Iterator[Process]:
    """Yield the processes that have memory of their own."""
    # Reading one may drop it.
    return (process for process in list(snapshot.by_pid.values()) if process.total_vm != 0)


@_once
def _number_below(snapshot: Snapshot) -> dict[str, int]:
    """Count the processes by control group, with all below it."""
    return _counted(cgroup, snapshot)


@_once
def _number_charged_below(snapshot: Snapshot) -> dict[str, int]:
    """Count the processes by the group that their memory is charged to, with all below it."""
    return _counted(memory_group, snapshot)


def _counted(group_of: Getter, snapshot: Snapshot) -> dict[str, int]:
    found: dict[str, int] = {}
    paths = Counter(group_of(process, snapshot) for process in _present(snapshot))
    for path, number in paths.items():
        for group in enclosing(path) if path is not None else ():
            found[group] = found.get(group, 0) + number
    return found


@_once
def _held_below(snapshot: Snapshot) -> dict[str, int | None]:
    """Add up the footprints by control group, with all below it; see ``_sums``."""
    found: dict[str, int | None] = {}
    for path, held in _sums(cgroup, snapshot).items():
        for group in enclosing(path):
            before = found.get(group, 0)
            found[group] = None if held is None or before is None else before + held
    return found


@_once
def _held_by_users(snapshot: Snapshot) -> dict[int, int | None]:
    """Add up the footprints by real user; see ``_sums``."""
    return _sums(_uid, snapshot)


@_once
def _number_of_users(snapshot: Snapshot) -> dict[int, int]:
    """Count the processes by real user."""
    return Counter(_uid(process, snapshot) for process in _present(snapshot))


def _sums(key: Getter, snapshot: Snapshot) -> dict[Any, int | None]:
    """Add up footprints by a value of each process; a sum is unknown if one of them is.

    A process that made its own unknown counts by its resident memory: it must not hide what the
    others hold. In no sum is one whose value is unknown.
    """
    found: dict[Any, int | None] = {}
    for process in _present(snapshot):
        of = key(process, snapshot)
        if of is None:
            continue
        held, before = _footprint(process, snapshot), found.get(of, 0)
        if process.state == "X":
            # It vanished while it was read.
            continue
        if held is SELF_MADE:
            held = process.rss
        found[of] = None if held is None or before is None else before + held
    return found


def _of_user(table: Callable[[Snapshot], dict[int, int | None]]) -> Getter:
    def get(process: Process, snapshot: Snapshot) -> Any:
        uid = _uid(process, snapshot)
        return None if uid is None else table(snapshot).get(uid, 0)

    return get


def known(name: str, process: Process, snapshot: Snapshot) -> Any:
    """Return an attribute of a process, for people; None if it is unknown, for whatever reason."""
    value = GETTERS[name](process, snapshot)
    return None if value is SELF_MADE else value


def _if_told(name: str, getter: Getter) -> Getter:
    """Return a getter that knows nothing where a recording does not tell an attribute."""

    def get(process: Process, snapshot: Snapshot) -> Any:
        return None if name in snapshot.host.unknown else getter(process, snapshot)

    return get


# What is worked out from more than the process itself, which a recording may have only a part of.
_HOST_MEMORY = _if_told("host.memory", _host_memory)
_HOST_SWAP = _if_told("host.swap", _of_host("swap_total"))
_TOTALPAGES = _if_told("totalpages", _totalpages)
# A group further down may have a limit of its own.
_LIMIT = _if_told("cgroup", _if_told("host.memory", limit))

_SPECIAL: dict[str, Getter] = {
    "cmdline": _known("cmdline", lambda value, _: value.replace("\0", " ")),
    "user": _known("uid", lambda value, snapshot: _named(value, snapshot.host.users)),
    "group": _known("gid", lambda value, snapshot: _named(value, snapshot.host.groups)),
    "cpu_time": _cpu_time,
    "run_time": _run_time,
    "tty": _known("tty_nr", _tty),
    "unit": _known("cgroup", _unit_name),
    "slice": _known("cgroup", lambda value, snapshot: place_of(value, snapshot).system.slice),
    "user.unit": _known("cgroup", lambda value, snapshot: place_of(value, snapshot).user_unit),
    "user.slice": _known("cgroup", lambda value, snapshot: place_of(value, snapshot).user_slice),
    "cgroup": _if_told("cgroup", _field("cgroup")),
    "container.id": _if_told("container.id", _of_place("id")),
    "container.runtime": _if_told("container.id", _runtime),
    "container.name": _if_told("container.id", _container_name),
    "container.image": _if_told("container.id", _image),
    "pod.uid": _if_told("pod.uid", _of_place("pod")),
    "pod.qos": _if_told("pod.uid", _of_place("qos")),
    "pod.name": _if_told("pod.uid", _of_pod("pod_name", "")),
    "pod.namespace": _if_told("pod.uid", _of_pod("pod_namespace", "")),
    "pod.priority": _if_told("pod.uid", _of_pod("pod_priority", 0)),
    "unit.processes": _if_told("unit.processes", _of_scope("processes")),
    "user.footprint": _if_told("user.footprint", _of_user(_held_by_users)),
    "user.processes": _if_told("user.processes", _of_user(_number_of_users)),
    "cgroup.processes": _if_told("cgroup.processes", _processes_of_own_group),
    **{f"cgroup.{key}": _if_told("cgroup", _of_own_group(key)) for key in ("memory", "memory_max")},
    "host.memory": _HOST_MEMORY,
    "host.swap": _HOST_SWAP,
    WHOLES["host.memory"]: _whole(_HOST_MEMORY),
    WHOLES["host.swap"]: _whole(_HOST_SWAP),
    "footprint": _footprint,
    "totalpages": _TOTALPAGES,
    "host.totalpages": _if_told("host.totalpages", _host_totalpages),
    LIMIT: _LIMIT,
}


def _getter(attribute: Attribute) -> Getter:
    if attribute.provider is Provider.SCOPE:
        return _of_scope(attribute.field)
    if attribute.provider is Provider.PARENT:
        return _of_parent(attribute.name)
    if attribute.provider is Provider.BLOCK:
        # Only a rule in a block asks for it, of the block's unit (``of_block``).
        return lambda process, snapshot: None
    if attribute.provider is Provider.HOST:
        return _of_host(attribute.field)
    if attribute.provider is Provider.SYSTEMD:
        return _of_unit(attribute.field, type(attribute.empty))
    if attribute.provider is Provider.LOGIND:
        return _of_session(attribute.field, attribute.empty)
    if attribute.name in _SPECIAL:
        return _SPECIAL[attribute.name]
    if FIELDS[attribute.field].unit is Unit.BYTES:
        return _known(attribute.field, lambda value, snapshot: value // snapshot.host.page_size)
    return _field(attribute.field)


GETTERS: dict[str, Getter] = {
    **{name: _getter(attribute) for name, attribute in ATTRIBUTES.items() if name not in _SPECIAL},
    **_SPECIAL,
}


def _told_by_a_user(getter: Getter, known_too: bool) -> Getter:
    """Take what a user says of a unit for no reason to protect; with ``known_too`` all of it."""

    def get(process: Process, snapshot: Snapshot) -> Any:
        place = innermost_place(process, snapshot)
        theirs = place is not None and place.manager
        if theirs and known_too:
            return SELF_MADE
        value = getter(process, snapshot)
        # What a report of the kernel's lacks is no user's doing.
        return SELF_MADE if theirs and value is None and not snapshot.host.unknown else value

    return get


def _claimed(getter: Getter, instead: Any) -> Getter:
    """Take a place inside a service for no proof of a container: its user may have made it."""

    def get(process: Process, snapshot: Snapshot) -> Any:
        found = container_of(process, snapshot)
        return instead if found is not None and found.claimed else getter(process, snapshot)

    return get


def _of_lower_group(getter: Getter) -> Getter:
    """Take what a group below a unit does not tell for no reason to protect.

    Whoever the unit is delegated to, as the root of a container, makes such groups and decides
    what is measured in them.
    """
    by_user = _told_by_a_user(getter, known_too=False)

    def get(process: Process, snapshot: Snapshot) -> Any:
        value = by_user(process, snapshot)
        path = None if snapshot.host.unknown else memory_group(process, snapshot)
        if value is None and path is not None and place_of(path, snapshot).path != path:
            return SELF_MADE
        return value

    return get


_CONTAINERS = {
    name: _claimed(GETTERS[name], SELF_MADE)
    for name in ATTRIBUTES
    if name.startswith(("container.", "pod."))
}

# The same for what is decided once for a process: PENDING is left for the rule that asks, because
# there the answer depends on what kind of rule it is.
LASTING: dict[str, Getter] = {
    **GETTERS,
    **{name: _claimed(GETTERS[name], nodes.PENDING) for name in _CONTAINERS},
}

# The same for scores: a user who has a manager can keep it from answering, and can take away
# the files of its control groups.
SCORING: dict[str, Getter] = {
    **GETTERS,
    **{
        name: _told_by_a_user(GETTERS[name], known_too=False)
        for name, attribute in ATTRIBUTES.items()
        if attribute.provider in (Provider.SYSTEMD, Provider.SCOPE)
    },
    **_CONTAINERS,
    "totalpages": _told_by_a_user(_TOTALPAGES, known_too=False),
    LIMIT: _told_by_a_user(_LIMIT, known_too=False),
    **{name: _of_lower_group(GETTERS[name]) for name in ("cgroup.memory", "cgroup.memory_max")},
}

# The same for rules that protect: he also says what its units are like.
PROTECTING: dict[str, Getter] = {
    **SCORING,
    **{
        name: _told_by_a_user(GETTERS[name], known_too=True)
        for name, attribute in ATTRIBUTES.items()
        if attribute.provider is Provider.SYSTEMD
    },
}

# The same for the values that stat always gives, as source text for compiled rules:
# p is the process, now the uptime in whole seconds, hz the clock ticks per second.
INLINE: dict[str, str] = {
    "nice": "p.nice",
    "threads": "p.threads",
    "state": "p.state",
    "total_vm": "p.total_vm",
    "rss": "p.rss",
    "cpu_time": "((p.utime + p.stime) * 1000 // hz)",
    "run_time": "(max(0, now - p.starttime // hz) * 1000)",
}
# Those that change only when the process itself is seen to have changed (``Process.changed``).
STEADY = frozenset(
    name
    for name, attribute in ATTRIBUTES.items()
    if name in INLINE or name == "footprint" or (name in FIELDS and attribute.changes)
) - {"run_time", "growth"}
