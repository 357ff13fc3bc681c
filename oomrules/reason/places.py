"""Places for a process that is to be in a box: control groups that lie where it says."""

from __future__ import annotations

from collections.abc import Iterator

from oomrules.reason import texts, variables
from oomrules.reason.regions import Box
from oomrules.reason.texts import Texts
from oomrules.reason.variables import FALSE, IN, OUT, TRUE, Variable
from oomrules.runtime.program import PART_OF, WANTED_BY
from oomrules.runtime.units import ROOT_SLICE, placement

_PLACES = (
    "/system.slice/example.service",
    "/user.slice/user-1000.slice/session-1.scope",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-example.scope",
    "/example.slice",
    "/",
    "/example",
)
Place = tuple[str | None, dict[str, list[str]], dict[str, dict[str, list[str]]]]


def places_in(box: Box) -> Iterator[Place]:
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
