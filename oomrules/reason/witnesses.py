"""Witnesses: a process on a small host, made from a box, for the real evaluator to judge.

What is made here is only proposed. Whoever uses it runs the evaluator on it, and drops
the witness where the evaluator disagrees.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from math import inf, isinf
from typing import Any, NamedTuple

from oomrules.attributes import ATTRIBUTES
from oomrules.capabilities import CAPABILITIES
from oomrules.reason import arithmetic, texts, variables
from oomrules.reason.intervals import Numbers, whole
from oomrules.reason.judging import Judge
from oomrules.reason.regions import Box, Region, narrowed
from oomrules.reason.texts import Texts, Undecided
from oomrules.reason.variables import (
    FALSE,
    GRANULE,
    IN,
    NOTHING_BY_NOTHING,
    OUT,
    TRUE,
    UNKNOWN,
    Values,
    Variable,
)
from oomrules.runtime import nodes, recorded
from oomrules.runtime.evaluator import Verdict
from oomrules.runtime.model import NO_LIMIT, Host, Process
from oomrules.runtime.program import PART_OF, WANTED_BY, Program
from oomrules.runtime.units import ROOT_SLICE, placement

PID = 4242
_MEMORY = 2**33
_TICKS = 1000  # so that a tick is a millisecond

# An ordinary process of a user; memory in pages of 4 KiB, times in milliseconds.
_NUMBERS: dict[str, int] = {
    "pid": PID,
    "ppid": 1,
    "session": PID,
    **dict.fromkeys(("uid", "euid", "gid", "egid"), 1000),
    "nice": 0,
    "threads": 1,
    "oom_score_adj": 0,
    "cpu_time": 1000,
    "run_time": 3_600_000,
    "total_vm": 65_536,
    "rss": 16_384,
    "anon": 16_384,
    "unit.memory": 32_768,
    "unit.memory_max": NO_LIMIT // GRANULE,
    "unit.memory_high": NO_LIMIT // GRANULE,
}
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
_PLACES = (
    "/system.slice/example.service",
    "/user.slice/user-1000.slice/session-1.scope",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-example.scope",
    "/example.slice",
    "/",
    "/example",
)
_SIZES = ("anon", "shmem", "locked", "pgtables")
_MOST_TRIES = 3000
_PROPERTIES = {
    "unit.description": "Description",
    "unit.active_state": "ActiveState",
    "unit.oom_policy": "OOMPolicy",
    "unit.oom_score_adjust": "OOMScoreAdjust",
    "unit.managed_oom_preference": "ManagedOOMPreference",
    "unit.managed_oom_memory_pressure": "ManagedOOMMemoryPressure",
}


class Witness(NamedTuple):
    """A process on a host of its own.

    Attributes:
        snapshot: the host, as a recorded one.
        process: the process in it.
    """

    snapshot: recorded.Recorded
    process: Process

    def about(self, region: Region) -> dict[str, Any]:
        """Give what a region asks of it, in the words of the language."""
        return _asked({variable for box in region for variable in box}, self)

    def judge(self, judge: Judge) -> Verdict:
        """Let the real evaluator decide about it."""
        return judge.judge(self.process, self.snapshot)

    def rule_holds(self, program: Program, node: Any) -> bool | None:
        """Let the real evaluator work out a condition for it."""
        host = self.snapshot.host
        get = partial(_value, self)
        names: dict[str, Any] = {}

        def define(name: str) -> Any:
            if name not in names:
                local = nodes.localise(program.definitions[name], host.page_size, _LIMIT)
                names[name] = nodes.reduce(local, get, define)
            return names[name]

        found = nodes.reduce(nodes.localise(node, host.page_size, _LIMIT), get, define)
        return None if found is None else bool(found)


_LIMIT = "(memory limit)"


def judge_of(program: Program) -> Judge:
    """Make a program ready for the hosts of witnesses, whose pages are all of one size."""
    return Judge(program, Host("", "", GRANULE, _TICKS, 0, _MEMORY, 0))


def _value(witness: Witness, name: str) -> Any:
    from oomrules.runtime.values import GETTERS

    return GETTERS[name](witness.process, witness.snapshot)


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
        for numbers, limit in _numbers(narrow):
            for cgroup, aliases, relations in itertools.islice(_places(narrow), 4):
                yield _made(narrow, numbers, limit, cgroup, aliases, relations)
    except Undecided:
        return


# --- numbers ---------------------------------------------------------------------------------


def _granules(name: str, value: int) -> int:
    """Give a value in the units of the attribute's set."""
    return value // 1000 if name == "run_time" else value


def _own_units(name: str, value: int) -> int:
    return value * 1000 if name == "run_time" else value


def _numbers(box: Box) -> Iterator[tuple[dict[str, int], int]]:
    """Choose the numbers and the memory limit, in a few ways."""
    plain: dict[str, list[int]] = {}
    hard: list[tuple[Variable, Values]] = []
    for variable, values in box.items():
        if variable.kind in ("order", "share") or (
            variable.kind == "number" and variable.key[0] != "attr"
        ):
            hard.append((variable, values))
        elif variable.kind == "number" and isinstance(values.known, Numbers) and values.known:
            name = variable.key[1]
            plain[name] = _choices(name, values.known)
    chosen = dict(_NUMBERS)
    chosen.update({name: choices[0] for name, choices in plain.items()})
    hard = [(variable, values) for variable, values in hard if not values.must_be_unknown]
    if not hard:
        yield chosen, _MEMORY
        for name, choices in plain.items():
            for other in choices[1:]:
                yield {**chosen, name: other}, _MEMORY
        return
    # To load z3 takes longer than to try a few numbers, and most of the first ones will do.
    searched = _searched(hard, chosen, plain)
    yield from itertools.islice(searched, 1)
    solved = arithmetic.solution(box) if arithmetic.available() else None
    if solved is not None:
        limit = solved.pop(arithmetic.LIMIT, _MEMORY)
        asked = {name for variable, _ in hard for name in arithmetic.mentioned(variable.key)}
        solved = {name: value for name, value in solved.items() if name in asked}
        yield {**chosen, **solved}, limit
    yield from searched


def _choices(name: str, numbers: Numbers) -> list[int]:
    liked = _granules(name, _NUMBERS.get(name, 0))
    found = [int(numbers.sample(liked))]
    for end in (end for span in numbers.spans for end in span):
        if not isinf(end) and end not in found:
            found.append(int(end))
    found += [big for big in (2**20, 2**30) if big in numbers and big not in found]
    return [_own_units(name, value) for value in found[:6]]


def _searched(
    hard: list[tuple[Variable, Values]], chosen: dict[str, int], plain: dict[str, list[int]]
) -> Iterator[tuple[dict[str, int], int]]:
    """Try edges, small and large numbers for what is compared in expressions."""
    names = sorted({name for variable, _ in hard for name in arithmetic.mentioned(variable.key)})
    edges: set[int] = set()
    for _, values in hard:
        if isinstance(values.known, Numbers):
            for end in (end for span in values.known.spans for end in span):
                bound = end[0] if isinstance(end, tuple) else end
                if not isinf(bound):
                    if isinstance(end, tuple):
                        bound = int(bound * _MEMORY / GRANULE)
                    edges |= {int(bound) - 1, int(bound), int(bound) + 1}
    pools = []
    for name in names:
        everything = variables.domain(Variable("number", ("attr", name))).known
        assert isinstance(everything, Numbers)
        tried = [chosen.get(name, 0), *(_own_units(name, edge) for edge in sorted(edges, key=abs))]
        tried += [_own_units(name, value) for value in (0, 1, 2, 7, 2**20, 2**40)]
        pool = plain.get(name) or [value for value in tried if _granules(name, value) in everything]
        pools.append(list(dict.fromkeys(pool)))
    found = 0
    for row in itertools.islice(itertools.product(*pools), _MOST_TRIES):
        numbers = {**chosen, **dict(zip(names, row, strict=True))}
        for limit in (_MEMORY, 0):
            if all(_fits(variable, wanted, numbers, limit) for variable, wanted in hard):
                yield numbers, limit
                found += 1
                if found == 6:
                    return


def _fits(variable: Variable, wanted: Values, numbers: dict[str, int], limit: int) -> bool:
    kind, key = variable

    def work_out(node: Any) -> int | None:
        local = nodes.localise(_as_node(node), GRANULE, _LIMIT)
        value: int | None = nodes.reduce(
            local, lambda name: limit if name == _LIMIT else numbers.get(name, 0), lambda _: None
        )
        return value

    if kind == "order":
        one, two = work_out(key[0]), work_out(key[1])
        if one is None or two is None:
            return UNKNOWN in wanted.others
        return ("<" if one < two else "=" if one == two else ">") in wanted.others
    value = work_out(key)
    if value is None:
        return UNKNOWN in wanted.others
    if wanted.known is None:
        return False
    if kind == "number":
        return value in wanted.known
    if key[0] != "bytes":
        value *= GRANULE
    else:
        value = key[1]
    if not limit:
        if not value:
            return NOTHING_BY_NOTHING in wanted.others
        return (inf if value > 0 else -inf, 0) in wanted.known
    return (Fraction(value, limit), 0) in wanted.known


def _as_node(key: Any) -> Any:
    """Turn a canonical key back into a node; a flat sum becomes pairs again."""
    if not isinstance(key, tuple):
        return key
    if key[0] in ("+", "*") and len(key) > 3:
        return [key[0], _as_node(key[:-1]), _as_node(key[-1])]
    return [_as_node(part) for part in key]


# --- places ----------------------------------------------------------------------------------

Place = tuple[str | None, dict[str, list[str]], dict[str, dict[str, list[str]]]]


def _places(box: Box) -> Iterator[Place]:
    """Propose control groups that lie where the box says, with aliases and relations."""
    inside: list[str] = []
    outside: list[str] = []
    related: list[str] = []
    units: list[tuple[str, ...]] = []
    unknown = False
    for (kind, key), values in box.items():
        if kind == "in":
            unknown = unknown or (values.must_be_unknown and variables.named(key))
            if IN in values.others and variables.named(key) and values.others == {IN}:
                inside.append(key)
            elif values.others == {IN} or (IN in values.others and not variables.named(key)):
                related.append(key)
            elif IN in values.others and OUT not in values.others:
                inside.append(key)
            elif values.others == {OUT}:
                outside.append(key)
        elif kind == "unit":
            unknown = unknown or values.must_be_unknown
            if TRUE in values.others and FALSE not in values.others:
                units.append(key)
        elif kind == "text" and key in ("cgroup", "unit", "slice"):
            unknown = unknown or values.must_be_unknown
    if unknown:
        yield None, {}, {}
        return
    for path in _paths(box, inside, texts.matching(tuple(outside)), units):
        place = placement(path)
        relations: dict[str, dict[str, list[str]]] = {}
        for target in related:
            key = "WantedBy" if target.startswith(WANTED_BY) else "PartOf"
            name = target.removeprefix(WANTED_BY).removeprefix(PART_OF)
            relations.setdefault(place.path, {}).setdefault(key, []).append(name)
        if related and place.above is None:
            continue
        yield path, {}, relations


def _paths(
    box: Box, inside: list[str], outside: Texts, units: list[tuple[str, ...]]
) -> Iterator[str]:
    exact = box.get(Variable("text", "cgroup"))
    own = box.get(Variable("text", "unit"))
    slices: list[str] = []
    others: list[str] = []
    wanted: list[Texts] = [texts.matching((target,)) for target in inside]
    last = variables.UNIT_NAMES
    if own is not None and isinstance(own.known, Texts):
        last = own.known & (variables.UNIT_NAMES | texts.literal(""))
    for globs in units:
        last = last & texts.matching(globs)
    names = [last.sample()] if (units or own is not None) and last else []
    for target in wanted:
        if ROOT_SLICE in target or any(name in target for name in [*names, *slices, *others]):
            continue
        possible = (target & variables.UNIT_NAMES) - outside
        if not possible:
            return
        slice_ = possible & texts.matching(("*.slice",))
        name = slice_.sample() if slice_ and slice_.these is None else possible.sample()
        (slices if name.endswith(".slice") else others).append(name)
    middle = box.get(Variable("text", "slice"))
    if middle is not None and isinstance(middle.known, Texts):
        sampled = (middle.known & texts.matching(("*.slice",))).sample() if middle.known else ""
        if sampled and sampled != ROOT_SLICE and sampled not in slices:
            slices.append(sampled)
    managers = [name for name in others if name.startswith("user@")]
    services = [name for name in others if name not in managers]
    managers = ["user@1000.service" if "*" in name else name for name in managers]
    given = [name for name in names if name]
    made = "".join(f"/{name}" for name in (*slices, *managers, *services, *given))
    if exact is None or not isinstance(exact.known, Texts):
        if made:
            yield made
            yield f"/user.slice/user-1000.slice{made}"
        if names != [""] and not made:
            yield from _PLACES
        elif not made:
            yield "/example"
            yield "/"
        return
    tried = [made, f"/user.slice{made}", *_PLACES] if made else list(_PLACES)
    yield from (path for path in tried if path and path in exact.known)
    for shape in ([f"/*.slice{made}", f"{made}/*"] if made else []) + ["/*"]:
        below = exact.known & texts.matching((shape,))
        if below:
            yield below.sample()


# --- the snapshot ----------------------------------------------------------------------------


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
        "clock_ticks": _TICKS,
        "uptime": uptime,
        "mem_total": limit,
        "swap_total": 0,
        "users": None if "user" in gone else users,
        "groups": None if "group" in gone else groups,
    }
    process: dict[str, Any] = {
        "kind": "process",
        **{name: numbers.get(name, 0) for name in _NUMBERS if "." not in name},
        **{name: numbers.get(name, 0) for name in ("swap",)},
        **{name: numbers.get(name, 0) * GRANULE for name in _SIZES},
        "comm": said["comm"],
        "cmdline": [said["cmdline"]] if said["cmdline"] else [],
        "exe": said["exe"],
        "state": said["state"],
        "capabilities": f"{caps:x}",
        "utime": numbers["cpu_time"],
        "stime": 0,
        "starttime": (uptime - numbers["run_time"] // 1000) * _TICKS,
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
            yield from sorted(arithmetic.mentioned(key))[:1]
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


# --- for people ------------------------------------------------------------------------------


def _asked(questions: set[Variable], witness: Witness) -> dict[str, Any]:
    names: set[str] = set()
    caps = False
    for kind, key in questions:
        if kind in ("number", "order", "share"):
            names |= arithmetic.mentioned(key)
        elif kind in ("text", "flag"):
            names.add(key)
        elif kind == "search":
            names.add(key[0])
        elif kind == "same":
            names |= set(key)
        elif kind in ("unit", "in"):
            names.add("unit" if kind == "unit" else "cgroup")
        elif kind == "cap":
            caps = True
    found: dict[str, Any] = {"pid": witness.process.pid, "comm": witness.process.comm}
    for name in ATTRIBUTES:
        if name in names:
            found[name] = _said(name, _value(witness, name))
    if caps:
        bits = witness.process.capabilities
        held = [name for name, bit in CAPABILITIES.items() if bits is not None and bits >> bit & 1]
        found["capabilities"] = "unknown" if bits is None else ", ".join(held) or "none"
    return found


def _said(name: str, value: Any) -> Any:
    if value is None:
        return "unknown"
    kind = ATTRIBUTES[name].type.value
    if kind == "memory":
        return _memory(value * GRANULE)
    if kind == "duration":
        return f"{value // 1000}s" if value % 1000 == 0 else f"{value}ms"
    if kind == "percentage":
        return f"{value / 100:g}%"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return f'"{value}"' if name != "comm" else str(value)
    return value


def _memory(size: int) -> str:
    if size >= NO_LIMIT // GRANULE * GRANULE:
        return "unlimited"
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"
