"""Processes that may be in a box, each on a small host of its own.

These are only proposals. The caller runs the evaluator on each, and drops the witness where the
evaluator disagrees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from oomrules.attributes import ATTRIBUTES, FOOTPRINT, Provider, Type
from oomrules.fields import FIELDS, Unit
from oomrules.processes import ordinary, recorded
from oomrules.processes.containers import contained
from oomrules.processes.snapshot import HOST_MEMORY, HOST_SHARES, NO_LIMIT
from oomrules.processes.units import Placement, placement
from oomrules.program.nodes import glob
from oomrules.program.program import PART_OF, USER_UNIT, WANTED_BY
from oomrules.reason import Undecided
from oomrules.reason.arithmetic import GRANULE, entry, unbound
from oomrules.reason.regions import Region, narrowed
from oomrules.reason.variables import FALSE, TRUE, Box, Variable, attribute
from oomrules.reason.witness import relatives
from oomrules.reason.witness.numbers import numbers_in
from oomrules.reason.witness.places import known_text, places_in
from oomrules.reason.witness.witness import TICKS, Witness

_TEXTS: dict[str, tuple[str, ...]] = {
    "comm": ("example", "bash", "java"),
    "cmdline": ("example", ""),
    "exe": ("/usr/bin/example",),
    "state": ("S", "R", "D"),
    "user": ("ann", "root"),
    "group": ("users", "root"),
    "tty": ("", "pts/0", "pts/1", "tty1"),
    "unit.description": ("An example",),
    "unit.active_state": ("active",),
    "unit.oom_policy": ("stop", "continue"),
    "unit.managed_oom_preference": ("none",),
    "unit.managed_oom_memory_pressure": ("auto",),
    "session.class": ("user", ""),
    "session.type": ("tty", "wayland", ""),
    "container.name": ("example", ""),
    "container.image": ("docker.io/library/example:latest", ""),
    "pod.name": ("example-0", ""),
    "pod.namespace": ("default", ""),
}
# The first of the ancestors of a process, and where they are if that does not matter.
_ANCESTOR = 4300
_PLACE_OF_ANCESTORS = "/system.slice/parent.service"
_PLACE = ("cgroup", "unit", "slice", "user.unit", "user.slice")
# What a host has under another key, or none.
_LIMITS = ("memory_max", "memory_high")
_HOST_KEYS = {"host.memory": "hugetlb"}
_MAY_BE_UNKNOWN = (*HOST_MEMORY, *HOST_SHARES)
# So many processes are made up beside a witness at the most, by a user of their own.
_MOST_OTHERS = 64
_OTHER_UID = 4321
_COUNTS = ("unit.processes", "cgroup.processes", "scope.processes")
_SIZES = [name for name, field in FIELDS.items() if field.unit is Unit.BYTES]


def in_region(region: Region, boxes: int, tries: int) -> Iterator[Witness]:
    """Yield processes that may be in a region: up to ``tries`` for each of the first ``boxes``."""
    for box in region[:boxes]:
        yield from itertools.islice(proposals(box), tries)


def proposals(box: Box) -> Iterator[Witness]:
    """Yield a few processes that may be in a box, the plainest first."""
    try:
        narrow = narrowed(box)
        if narrow is None:
            return
        for numbers, limit in numbers_in(narrow):
            ancestors = relatives.boxes_of(narrow)
            if ancestors is None:
                return
            for cgroup, relations in itertools.islice(places_in(narrow), 4):
                yield _made(narrow, numbers, limit, cgroup, relations, ancestors)
    except Undecided:
        return


def _made(
    box: Box,
    numbers: dict[str, int],
    limit: int,
    cgroup: str | None,
    relations: dict[str, list[str]],
    ancestors: list[Box],
) -> Witness:
    said = {name: _chosen_text(box, name) for name in _TEXTS}
    gone = set(_unknowns(box))
    asked = _asked(box)
    flags = {key for kind, key in _true(box) if kind == "flag"}
    uptime = max(numbers["run_time"] // 1000 + 100, 86_400)
    named = {variable.key for variable in box if variable.kind == "text"}
    names: dict[str, dict[str, str] | None] = {}
    for kind, number in (("user", numbers["uid"]), ("group", numbers["gid"])):
        name = said[kind] if kind in named else "root" if number == 0 else _TEXTS[kind][0]
        names[f"{kind}s"] = None if kind in gone else {str(number): name}
    figures = _host_of(numbers, asked, limit)
    host = {"clock_ticks": TICKS, "uptime": uptime, **names, **figures}
    for name in gone:
        if name.startswith("host."):
            key = _HOST_KEYS.get(name, name.removeprefix("host."))
            # RAM and swap are known on every host.
            host |= {key: None} if key in _MAY_BE_UNKNOWN else {}
    values = _values(box, numbers, uptime, cgroup)
    for name in asked:
        if name.startswith("scope.footprint") and "rss" not in asked:
            # The process is alone there.
            held = values["swap"] + values["pgtables"] // GRANULE
            values["rss"] = max(0, numbers[name] - held)
    values |= _of_container(cgroup, {**numbers, **said}, gone)
    family, groups = _family(box, ancestors, values, uptime, names["users"])
    scopes = _scopes(cgroup, numbers, said, flags, relations, gone)
    if scopes and {"totalpages", "host.totalpages"} <= asked:
        # The process is in a unit with a limit of its own.
        scopes[0] |= {"memory_max": numbers["totalpages"] * GRANULE, "swap_max": 0}
    scopes += [line for line in groups if line["cgroup"] not in {one["cgroup"] for one in scopes}]
    _own_group(scopes, cgroup, numbers, asked, gone)
    others = _others(values, numbers, asked)
    lines = [*scopes, ordinary.process_line(**values), *others, *family]
    snapshot = ordinary.snapshot("a witness", host, lines)
    return Witness(snapshot, snapshot.by_pid[numbers["pid"]])


def _true(box: Box) -> list[Variable]:
    """Return the questions that have to be answered with yes."""
    return [
        variable
        for variable, values in box.items()
        if TRUE in values.others and FALSE not in values.others
    ]


def _values(box: Box, numbers: dict[str, int], uptime: int, cgroup: str | None) -> dict[str, Any]:
    """Return the raw fields of a process."""
    values: dict[str, Any] = {
        **{name: numbers[name] for name in FIELDS if name in numbers},
        **{name: numbers[name] * GRANULE for name in _SIZES},
        **{name: _chosen_text(box, name) for name in ("comm", "cmdline", "exe", "state")},
        "capabilities": sum(1 << key for kind, key in _true(box) if kind == "cap"),
        "utime": numbers["cpu_time"],
        "starttime": max(0, uptime - numbers["run_time"] // 1000) * TICKS,
        "tty_nr": ordinary.terminal(_chosen_text(box, "tty")) or 0,
        "cgroup": cgroup,
    }
    for name in _unknowns(box):
        field = {"cpu_time": "utime", "run_time": "starttime", "tty": "tty_nr"}.get(name, name)
        if field in FIELDS:
            values[field] = None
    return values


def _family(
    box: Box,
    ancestors: list[Box],
    values: dict[str, Any],
    uptime: int,
    users: dict[str, str] | None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines of a process's ancestors, and of the control groups that they are in.

    The process, and the last of them, get the parent that they have by it; user names are added.
    """
    asked = _asked(box)
    if not any(name == "ppid" or name.startswith(relatives.PARENT) for name in asked):
        return [], []
    lines: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    kin = any(variable.kind == "kin" for variable in box)
    below, following = values, values["ppid"] if not kin and values["ppid"] else _ANCESTOR
    for inner in ancestors:
        numbers, _ = next(numbers_in(inner))
        cgroup, _ = next(places_in(inner), (None, {}))
        if _asked(inner).isdisjoint(_PLACE):
            cgroup = _PLACE_OF_ANCESTORS
        line = _values(inner, numbers, uptime, cgroup)
        if users is not None and Variable("text", "user") in inner:
            name = _chosen_text(inner, "user")
            if attribute("uid") not in inner:
                line["uid"] = 0 if name == "root" else _ANCESTOR + following
            users[str(line["uid"])] = name
        if below["ppid"] is not None:
            below["ppid"] = following
        line |= {"pid": following, "session": following}
        flags = {key for kind, key in _true(inner) if kind == "flag"}
        texts = {name: _chosen_text(inner, name) for name in _TEXTS}
        groups += _scopes(cgroup, numbers, texts, flags, {}, set(_unknowns(inner)))
        lines.append(line)
        below, following = line, following + 1
    if kin and below["ppid"] is not None:
        below["ppid"] = 0
    found: dict[str, dict[str, Any]] = {group["cgroup"]: group for group in reversed(groups)}
    return [ordinary.process_line(**line) for line in lines], list(found.values())


def _of_container(
    cgroup: str | None, values: dict[str, Any], gone: set[str]
) -> dict[str, dict[str, Any]]:
    """Return what the runtime says of the container that a control group is of, if it is of one."""
    place = contained(cgroup or "")
    said = {
        a.field: values.get(a.name, a.empty)
        for a in ATTRIBUTES.values()
        if a.provider is Provider.RUNTIME and a.name not in gone
    }
    return recorded.container_lines(place.id, place.runtime, place.pod, place.qos, said)


def _asked(box: Box) -> set[str]:
    return {name for variable in box for name in variable.attributes}


def _host_of(numbers: dict[str, int], asked: set[str], limit: int) -> dict[str, Any]:
    """Return the memory of a host where numbers are what they are.

    Args:
        numbers: of attributes, memory in granules.
        asked: those that matter.
        limit: RAM, where nothing says that it is more or less.
    """
    size = {name: number * GRANULE for name, number in numbers.items()}
    swap = size["host.swap"]
    one = "totalpages" if "host.totalpages" not in asked else "host.totalpages"
    memory = size["host.memory"] if "host.memory" in asked else limit
    if one in asked and "host.swap" in asked:
        ram = size[one] - swap
    elif one in asked:
        ram = size[one] if "host.memory" not in asked and size[one] < memory else memory
        swap = max(0, size[one] - ram)
    else:
        ram = memory
    return {
        "mem_total": max(0, ram),
        "swap_total": swap,
        "hugetlb": max(0, ram - memory),
        **{key: size.get(f"host.{key}", 0) for key in ("available", "free", "swap_free", "shmem")},
        **{key: numbers.get(f"host.{key}", 0) / 100 for key in HOST_SHARES},
    }


def _own_group(
    scopes: list[dict[str, Any]],
    cgroup: str | None,
    numbers: dict[str, int],
    asked: set[str],
    gone: set[str],
) -> None:
    """Give the control group of a process the figures that are asked for."""
    keys = [key for key in ("memory", "memory_max") if f"cgroup.{key}" in asked]
    if cgroup is None or not keys:
        return
    line = next((line for line in scopes if line["cgroup"] == cgroup), None)
    if line is None:
        line = {"kind": "scope", "cgroup": cgroup, "memory_max": None}
        scopes.append(line)
    for key in keys:
        name = f"cgroup.{key}"
        pages = numbers[name]
        line[key] = None if name in gone or pages >= NO_LIMIT // GRANULE else pages * GRANULE
        if name in gone:
            line["unreadable"] = [*line.get("unreadable", ()), key]


def _others(
    values: dict[str, Any], numbers: dict[str, int], asked: set[str]
) -> list[dict[str, Any]]:
    """Return the lines of other processes: of the same user, and in the same control group.

    The first of those of the user holds what the process, of these values, does not hold itself.
    """
    lines: list[dict[str, Any]] = []
    usual = {"starttime": values["starttime"], "total_vm": 1, "rss": 0, "pgtables": 0}

    def add(**others: Any) -> None:
        lines.append(
            ordinary.process_line(values["pid"] % 2**22 + 1 + len(lines), **usual | others)
        )

    rest = 0
    if "user.footprint" in asked and None not in (parts := [values[key] for key in FOOTPRINT]):
        rss, swap, tables = parts
        rest = numbers["user.footprint"] - rss - swap - tables // GRANULE
        if rest < 0 and "rss" not in asked:
            values["rss"], rest = max(0, rss + rest), 0
    of_user = numbers["user.processes"] - 1 if "user.processes" in asked else min(1, max(0, rest))
    for number in range(min(of_user, _MOST_OTHERS)):
        add(uid=values["uid"], cgroup="/other.slice", rss=0 if number else max(0, rest))
    counted = (name for name in asked if unbound(name)[0] in _COUNTS)
    inside = max((numbers[name] for name in counted), default=1)
    for _ in range(min(inside - 1, _MOST_OTHERS)):
        add(uid=_OTHER_UID, cgroup=values["cgroup"])
    return lines


def _chosen_text(box: Box, name: str) -> str:
    known, liked = known_text(box, name), _TEXTS[name]
    if not known:
        return liked[0]
    return next((text for text in liked if text in known), None) or known.sample()


def _unknowns(box: Box) -> Iterable[str]:
    for variable, values in box.items():
        # ``places_in`` handles an unknown place of the process.
        if values.must_be_unknown and variable.kind not in ("unit", "in"):
            yield from sorted(variable.attributes)[:1]


def _scopes(
    cgroup: str | None,
    numbers: dict[str, int],
    said: dict[str, str],
    flags: set[str],
    relations: dict[str, list[str]],
    gone: set[str],
) -> list[dict[str, Any]]:
    if cgroup is None:
        return []
    place = placement(cgroup)
    lines = []
    for inner in place.ancestors:
        properties: dict[str, Any] = {"Names": [inner.chain[-1]], "WantedBy": [], "PartOf": []}
        if inner is place.system:
            properties.update(relations)
        line: dict[str, Any] = {"kind": "scope", "cgroup": inner.path, "memory_max": None}
        if inner is place:
            for key in (*_LIMITS, "memory", "memory_min", "memory_low", "swap"):
                pages = numbers.get(f"unit.{key}", 0)
                unlimited = pages >= NO_LIMIT // GRANULE
                line[key] = None if unlimited else pages * GRANULE
            line["unreadable"] = [key for key in _LIMITS if f"unit.{key}" in gone]
            line["oom_kills"] = numbers.get("unit.oom_kills", 0)
            line["pressure"] = numbers.get("unit.pressure", 0) / 100
            values = {**numbers, **said, **dict.fromkeys(flags, True)}
            properties.update(_told(Provider.SYSTEMD, values, gone))
            line["session"] = _told(Provider.LOGIND, values, gone)
        _say_of_block(line, inner, place, numbers, gone)
        line["properties"] = properties
        lines.append(line)
    return lines


def _say_of_block(
    line: dict[str, Any],
    inner: Placement,
    place: Placement,
    numbers: dict[str, int],
    gone: set[str],
) -> None:
    """Write the figures of a unit that blocks are about (``arithmetic.bound``)."""
    for name in sorted({*numbers, *gone}):
        own, target = unbound(name)
        key = own.rpartition(".")[2]
        if not target or key in ("processes", "footprint") or _meant(target, place) != inner:
            continue
        if name in gone:
            line[key] = None
            line["unreadable"] = [*line.get("unreadable", ()), key]
        elif entry(own).type is Type.MEMORY:
            unlimited = numbers[name] >= NO_LIMIT // GRANULE
            line[key] = None if unlimited else numbers[name] * GRANULE
        else:
            line[key] = numbers[name] / 100 if key in ("pressure", "stall") else numbers[name]


def _meant(target: str, place: Placement) -> Placement | None:
    """Return the innermost unit around a process that a target means."""
    of_user = target.startswith(USER_UNIT)
    name = target.removeprefix(USER_UNIT)
    if target.startswith((WANTED_BY, PART_OF)):
        return place.system
    for inner in place.ancestors:
        if bool(inner.manager) is of_user and glob(inner.chain[-1], name):
            return inner
    return None


def _told(provider: Provider, values: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    """Return what systemd or logind says, by the names in a recording; no value means empty."""
    return {
        a.field: values.get(a.name, a.empty)
        for a in ATTRIBUTES.values()
        if a.provider is provider and a.name not in gone
    }
