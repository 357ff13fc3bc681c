"""Numbers for a process that is to be in a box: chosen, searched for, or worked out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from math import inf, isinf
from typing import Any

from oomrules.attributes import ATTRIBUTES
from oomrules.fields import FIELDS, Unit
from oomrules.processes.snapshot import NO_LIMIT
from oomrules.processes.values import LIMIT
from oomrules.program import nodes
from oomrules.reason import arithmetic, solver, variables
from oomrules.reason.arithmetic import GRANULE
from oomrules.reason.numbers import Numbers
from oomrules.reason.variables import NOTHING_BY_NOTHING, UNKNOWN, Box, Values, Variable, attribute
from oomrules.reason.witness.witness import MEMORY

PID = 4242

# An ordinary process of a user; memory in pages of 4 KiB, times in milliseconds.
ORDINARY: dict[str, int] = {
    **{
        field.name: field.ordinary // GRANULE if field.unit is Unit.BYTES else field.ordinary
        for field in FIELDS.values()
        if field.name in ATTRIBUTES and isinstance(field.ordinary, int)
    },
    "pid": PID,
    "session": PID,
    "cpu_time": 1000,
    "run_time": 3_600_000,
    "unit.memory": 32_768,
    "totalpages": MEMORY // GRANULE,
    "host.totalpages": MEMORY // GRANULE,
    "host.memory": MEMORY // GRANULE,
    "host.available": MEMORY // GRANULE // 2,
    "host.free": MEMORY // GRANULE // 4,
    "host.swap": MEMORY // GRANULE // 4,
    "host.swap_free": MEMORY // GRANULE // 4,
    "user.processes": 1,
    "unit.processes": 1,
    "user.footprint": 0,
    "cgroup.processes": 1,
    "cgroup.memory": 32_768,
    "cgroup.memory_max": NO_LIMIT // GRANULE,
    "unit.memory_max": NO_LIMIT // GRANULE,
    "unit.memory_high": NO_LIMIT // GRANULE,
}
_MOST_TRIES = 3000


def numbers_in(box: Box) -> Iterator[tuple[dict[str, int], int]]:
    """Yield a few choices of numbers and a memory limit for a process in a box."""
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
    chosen = dict(ORDINARY)
    chosen.update({name: choices[0] for name, choices in plain.items()})
    hard = [(variable, values) for variable, values in hard if not values.must_be_unknown]
    if not hard:
        yield chosen, MEMORY
        for name, choices in plain.items():
            for other in choices[1:]:
                yield {**chosen, name: other}, MEMORY
        return
    # Loading z3 takes longer than trying a few numbers, and most of the first ones fit.
    searched = _searched(hard, chosen, plain)
    yield from itertools.islice(searched, 1)
    solved = solver.solution(box)
    if solved is not None:
        limit = solved.pop(LIMIT, MEMORY)
        asked = {name for variable, _ in hard for name in variable.attributes}
        solved = {name: value for name, value in solved.items() if name in asked}
        yield {**chosen, **solved}, limit
    yield from searched


def _choices(name: str, numbers: Numbers) -> list[int]:
    liked = _granules(name, ORDINARY.get(name, 0))
    found = [int(numbers.sample(liked))]
    for end in (end for span in numbers.spans for end in span):
        if not isinf(end) and end not in found:
            found.append(int(end))
    found += [big for big in (2**20, 2**30) if big in numbers and big not in found]
    return [_own_units(name, value) for value in found[:6]]


def _searched(
    hard: list[tuple[Variable, Values]], chosen: dict[str, int], plain: dict[str, list[int]]
) -> Iterator[tuple[dict[str, int], int]]:
    """Try edges, small and large numbers for the attributes of compared expressions."""
    names = sorted({name for variable, _ in hard for name in variable.attributes})
    edges: set[int] = set()
    for _, values in hard:
        if isinstance(values.known, Numbers):
            for end in (end for span in values.known.spans for end in span):
                bound = end[0] if isinstance(end, tuple) else end
                if not isinf(bound):
                    if isinstance(end, tuple):
                        bound = int(bound * MEMORY / GRANULE)
                    edges |= {int(bound) - 1, int(bound), int(bound) + 1}
    pools = []
    for name in names:
        everything = variables.domain(attribute(name)).known
        assert isinstance(everything, Numbers)
        tried = [chosen.get(name, 0), *(_own_units(name, edge) for edge in sorted(edges, key=abs))]
        tried += [_own_units(name, value) for value in (0, 1, 2, 7, 2**20, 2**40)]
        pool = plain.get(name) or [value for value in tried if _granules(name, value) in everything]
        pools.append(list(dict.fromkeys(pool)))
    found = 0
    for row in itertools.islice(itertools.product(*pools), _MOST_TRIES):
        numbers = {**chosen, **dict(zip(names, row, strict=True))}
        for limit in (MEMORY, 0):
            if all(_fits(variable, wanted, numbers, limit) for variable, wanted in hard):
                yield numbers, limit
                found += 1
                if found == 6:
                    return


def _fits(variable: Variable, wanted: Values, numbers: dict[str, int], limit: int) -> bool:
    kind, key = variable

    def work_out(node: Any) -> int | None:
        local = nodes.localise(_as_node(node), GRANULE, LIMIT)
        value: int | None = nodes.reduce(
            local, lambda name: limit if name == LIMIT else numbers.get(name, 0), lambda _: None
        )
        return value

    if kind == "order":
        one, two = work_out(key[0]), work_out(key[1])
        if one is None or two is None:
            return UNKNOWN in wanted.others
        return ("<" if one < two else "=" if one == two else ">") in wanted.others
    value = work_out(key)
    whole = arithmetic.whole_beside(key) if kind == "share" else ""
    if whole:
        limit = numbers.get(whole, 0) * GRANULE
    if value is None or (whole and not limit):
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


def _granules(name: str, value: int) -> int:
    """Return a value in the units of the attribute's set."""
    return value // 1000 if name == "run_time" else value


def _own_units(name: str, value: int) -> int:
    return value * 1000 if name == "run_time" else value
