"""Processes that may be in a box, each on a small host of its own.

What is made here is only proposed. Whoever uses it runs the evaluator on it, and drops
the witness where the evaluator disagrees.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from oomrules.processes import recorded
from oomrules.processes.snapshot import NO_LIMIT
from oomrules.processes.units import placement
from oomrules.reason import solver
from oomrules.reason.atoms import FALSE, GRANULE, TRUE, Values, Variable
from oomrules.reason.globs import Texts, Undecided
from oomrules.reason.numbers import whole
from oomrules.reason.regions import Box, narrowed
from oomrules.reason.witness.numbers import ORDINARY, numbers_in
from oomrules.reason.witness.places import places_in
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
}
_SIZES = ("anon", "shmem", "locked", "pgtables")
_PROPERTIES = {
    "unit.description": "Description",
    "unit.active_state": "ActiveState",
    "unit.oom_policy": "OOMPolicy",
    "unit.oom_score_adjust": "OOMScoreAdjust",
    "unit.managed_oom_preference": "ManagedOOMPreference",
    "unit.managed_oom_memory_pressure": "ManagedOOMMemoryPressure",
}


def ordinary(**numbers: int) -> Box:
    """Give the box of processes with these numbers, memory in pages of 4 KiB."""
    return {
        Variable("number", ("attr", name)): Values(whole(value, value))
        for name, value in numbers.items()
    }


def proposals(box: Box) -> Iterator[Witness]:
    """Make a few processes that may be in a box, the plainest first."""
    try:
        narrow = narrowed(box)
        if narrow is None:
            return
        for numbers, limit in numbers_in(narrow):
            for cgroup, aliases, relations in itertools.islice(places_in(narrow), 4):
                yield _made(narrow, numbers, limit, cgroup, aliases, relations)
    except Undecided:
        return


def _made(
    box: Box,
    numbers: dict[str, int],
    limit: int,
    cgroup: str | None,
    aliases: dict[str, list[str]],
    relations: dict[str, dict[str, list[str]]],
) -> Witness:
    said = {name: _chosen_text(box, name) for name in _TEXTS}
    gone = set(_unknowns(box))
    flags = {
        key: TRUE in values.others and FALSE not in values.others
        for (kind, key), values in box.items()
        if kind == "flag"
    }
    caps = sum(
        1 << key
        for (kind, key), values in box.items()
        if kind == "cap" and TRUE in values.others and FALSE not in values.others
    )
    uptime = max(numbers["run_time"] // 1000 + 100, 86_400)
    ids = {name: numbers[name] for name in ("uid", "gid")}
    users: dict[str, str] | None = {str(ids["uid"]): said["user"]}
    groups: dict[str, str] | None = {str(ids["gid"]): said["group"]}
    named = {variable.key for variable in box if variable.kind == "text"}
    if "user" not in named:
        users = {str(ids["uid"]): "root" if ids["uid"] == 0 else "ann"}
    if "group" not in named:
        groups = {str(ids["gid"]): "root" if ids["gid"] == 0 else "users"}
    host = {
        "kind": "host",
        "schema": recorded.SCHEMA,
        "page_size": GRANULE,
        "clock_ticks": TICKS,
        "uptime": uptime,
        "mem_total": limit,
        "swap_total": 0,
        "users": None if "user" in gone else users,
        "groups": None if "group" in gone else groups,
    }
    process: dict[str, Any] = {
        "kind": "process",
        **{name: numbers.get(name, 0) for name in ORDINARY if "." not in name},
        **{name: numbers.get(name, 0) for name in ("swap",)},
        **{name: numbers.get(name, 0) * GRANULE for name in _SIZES},
        "comm": said["comm"],
        "cmdline": [said["cmdline"]] if said["cmdline"] else [],
        "exe": said["exe"],
        "state": said["state"],
        "capabilities": f"{caps:x}",
        "utime": numbers["cpu_time"],
        "stime": 0,
        "starttime": (uptime - numbers["run_time"] // 1000) * TICKS,
        "flags": 0,
        "tty_nr": _terminal(said["tty"]),
        "cgroup": cgroup,
    }
    for name in ("cpu_time", "run_time"):
        del process[name]
    for name in gone:
        field = {"cpu_time": "utime", "run_time": "starttime", "tty": "tty_nr"}.get(name, name)
        if field in process:
            process[field] = None
    scopes = _scopes(cgroup, numbers, said, flags, relations, gone)
    lines = [json.dumps(line) for line in (host, *scopes, process)]
    snapshot = recorded.parse(lines, "a witness")
    return Witness(snapshot, snapshot.by_pid[numbers["pid"]])


def _chosen_text(box: Box, name: str) -> str:
    values = box.get(Variable("text", name))
    liked = _TEXTS[name]
    if values is None or not isinstance(values.known, Texts):
        return liked[0]
    for text in liked:
        if text in values.known:
            return text
    return values.known.sample() if values.known else liked[0]


def _unknowns(box: Box) -> Iterable[str]:
    for (kind, key), values in box.items():
        if not values.must_be_unknown:
            continue
        if kind == "cap":
            yield "capabilities"
        elif kind in ("text", "flag"):
            yield key
        elif kind == "search":
            yield key[0]
        elif kind in ("number", "order", "share", "same"):
            yield from sorted(solver.mentioned(key))[:1]
            if kind == "same":
                yield key[0]


def _terminal(name: str) -> int:
    for prefix, major in (("pts/", 136), ("tty", 4)):
        number = name.removeprefix(prefix)
        if name.startswith(prefix) and number.isdigit() and int(number) < 64:
            return major << 8 | int(number)
    return 0


def _scopes(
    cgroup: str | None,
    numbers: dict[str, int],
    said: dict[str, str],
    flags: dict[str, bool],
    relations: dict[str, dict[str, list[str]]],
    gone: set[str],
) -> list[dict[str, Any]]:
    if cgroup is None:
        return []
    place = placement(cgroup)
    lines = []
    inner = place
    while True:
        properties: dict[str, Any] = {"Names": [inner.chain[-1]], "WantedBy": [], "PartOf": []}
        properties.update(relations.get(inner.path, {}))
        line: dict[str, Any] = {"kind": "scope", "cgroup": inner.path, "memory_max": None}
        if inner is place:
            for key in ("memory", "memory_max", "memory_high", "swap"):
                pages = numbers.get(f"unit.{key}", 0)
                unlimited = pages >= NO_LIMIT // GRANULE
                line[key] = None if unlimited else pages * GRANULE
            line["unreadable"] = [
                key for key in ("memory_max", "memory_high") if f"unit.{key}" in gone
            ]
            line["oom_kills"] = numbers.get("unit.oom_kills", 0)
            line["pressure"] = numbers.get("unit.pressure", 0) / 100
            properties.update(
                {
                    key: numbers.get(name, 0) if name.endswith("adjust") else said[name]
                    for name, key in _PROPERTIES.items()
                    if name not in gone
                }
            )
            line["session"] = {
                key: value
                for key, name, value in (
                    ("active", "session.active", flags.get("session.active", False)),
                    ("remote", "session.remote", flags.get("session.remote", False)),
                    ("idle", "session.idle", flags.get("session.idle", False)),
                    ("class", "session.class", said["session.class"]),
                    ("type", "session.type", said["session.type"]),
                )
                if name not in gone
            }
        line["properties"] = properties
        lines.append(line)
        if inner.above is None:
            return lines
        inner = inner.above
