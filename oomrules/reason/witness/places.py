"""Control groups for a process that is to be in a box: they lie where the box says."""

from __future__ import annotations

from collections.abc import Iterator

from oomrules.processes import ordinary
from oomrules.processes.containers import RUNTIMES
from oomrules.processes.units import ROOT_SLICE, placement
from oomrules.program.program import PART_OF, USER_UNIT, WANTED_BY
from oomrules.reason import globs, variables
from oomrules.reason.globs import Texts
from oomrules.reason.variables import FALSE, IN, OUT, SLICES, TRUE, Box, Variable, attribute

_PLACES = (
    "/system.slice/example.service",
    "/user.slice/user-1000.slice/session-1.scope",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-example.scope",
    "/example.slice",
    "/",
    "/example",
)
_MANAGER = "user@1000.service"


def places_in(box: Box) -> Iterator[tuple[str | None, dict[str, list[str]]]]:
    """Propose control groups that lie where the box says, with the relations of their unit."""
    inside: list[str] = []
    outside: list[str] = []
    related: list[str] = []
    of_user: dict[str, str] = {}
    units: list[tuple[str, ...]] = []
    unknown = False
    for (kind, key), values in box.items():
        if kind == "in":
            unknown = unknown or (values.must_be_unknown and variables.in_cgroup(key))
            if variables.of_user(key):
                if len(values.others) == 1:
                    (of_user[key.removeprefix(USER_UNIT)],) = values.others
            elif IN in values.others and not variables.named(key):
                related.append(key)
            elif IN in values.others and OUT not in values.others:
                inside.append(key)
            elif values.others == {OUT}:
                outside.append(key)
        elif kind == "unit":
            unknown = unknown or values.must_be_unknown
            if TRUE in values.others and FALSE not in values.others:
                units.append(key)
        elif kind == "text" and key in ("cgroup", "unit", "slice", "user.unit", "user.slice"):
            unknown = unknown or values.must_be_unknown
    if unknown:
        yield None, {}
        return
    below = _of_user(box, of_user)
    if below is None:
        return
    for path in containers_in(box):
        yield path, {}
    relations: dict[str, list[str]] = {}
    for target in related:
        key = "WantedBy" if target.startswith(WANTED_BY) else "PartOf"
        name = target.removeprefix(WANTED_BY).removeprefix(PART_OF)
        relations.setdefault(key, []).append(name)
    for path in _paths(box, inside, globs.matching(tuple(outside)), units, below):
        if not related or placement(path).system.above is not None:
            yield path, relations


_CONTAINER_ID = "0123456789abcdef" * 4
_POD_UID = "01234567-89ab-cdef-0123-456789abcdef"
_OF_POD = ("pod.uid", "pod.qos", "pod.name", "pod.namespace")
_OF_CONTAINER = ("container.id", "container.runtime", "container.name", "container.image", *_OF_POD)


def containers_in(box: Box) -> Iterator[str]:
    """Propose control groups of containers, if the box asks for one; some may lie outside of it."""
    asked = {name: known for name in _OF_CONTAINER if (known := known_text(box, name)) is not None}
    priority = box.get(attribute("pod.priority"))
    unknown = {name for name in _OF_CONTAINER if name not in asked and attribute(name) in box}
    in_pod = any(name in unknown or (name in asked and "" not in asked[name]) for name in _OF_POD)
    if priority is not None and (priority.must_be_unknown or 0 not in (priority.known or ())):
        in_pod = True
    if not (in_pod or unknown or any("" not in known for known in asked.values())):
        return

    def one_of(name: str, *liked: str) -> list[str]:
        known = asked.get(name)
        if known is None:
            return [*liked]
        fits = [text for text in liked if text in known]
        return fits or ([known.sample()] if known else [])

    for id_ in one_of("container.id", _CONTAINER_ID):
        for runtime in one_of("container.runtime", *RUNTIMES):
            pods = one_of("pod.uid", _POD_UID, _CONTAINER_ID) if in_pod else [""]
            for pod in pods:
                for qos in one_of("pod.qos", "Burstable", "") if pod else [""]:
                    path = ordinary.container_group(id_, runtime, pod, qos)
                    if path is not None:
                        yield path


def _of_user(box: Box, targets: dict[str, str]) -> str | None:
    """Propose a path below a user's manager; an empty one if no user's unit is asked for.

    Args:
        box: what is asked of ``user.unit`` and ``user.slice``.
        targets: the blocks for users' units, and whether the process is in or out.

    Returns:
        the end of a path, or None if there can be none.
    """
    outside = globs.matching(tuple(name for name, where in targets.items() if where == OUT))
    possible = variables.UNIT_NAMES - outside
    own, slice_ = (known_text(box, name) for name in ("user.unit", "user.slice"))
    wanted = [globs.matching((name,)) for name, where in targets.items() if where == IN]
    if not wanted and all(known is None or "" in known for known in (own, slice_)):
        return ""
    last = possible if own is None else own & possible
    if slice_ is not None and not slice_ - globs.literal(""):
        last -= SLICES
    slices: list[str] = []
    # Targets that leave the least choice come first.
    for target in sorted(wanted, key=lambda target: target.these is None):
        fits = target & possible
        if any(name in fits for name in slices):
            continue
        if last & fits:
            last &= fits
        elif SLICES & fits:
            slices.append((SLICES & fits).sample())
        else:
            return None
    if slice_ is not None and "" not in slice_ and not any(name in slice_ for name in slices[-1:]):
        if last & SLICES & slice_:
            last &= SLICES & slice_
        elif slice_ & possible:
            slices.append((slice_ & possible).sample())
    if not last:
        return None
    name = (last - SLICES or last).sample()
    return "".join(f"/{one}" for one in (*slices, name))


def known_text(box: Box, name: str) -> Texts | None:
    """Return the texts that a box allows for an attribute; None if it does not ask for it."""
    values = box.get(Variable("text", name))
    return values.known if values is not None and isinstance(values.known, Texts) else None


def _paths(
    box: Box, inside: list[str], outside: Texts, units: list[tuple[str, ...]], of_user: str
) -> Iterator[str]:
    exact, own, middle = (known_text(box, name) for name in ("cgroup", "unit", "slice"))
    slices: list[str] = []
    others: list[str] = []
    wanted: list[Texts] = [globs.matching((target,)) for target in inside]
    last = variables.UNIT_NAMES
    if own is not None:
        last = own & (variables.UNIT_NAMES | globs.literal(""))
    for patterns in units:
        last = last & globs.matching(patterns)
    names = [last.sample()] if (units or own is not None) and last else []
    for target in wanted:
        if ROOT_SLICE in target or any(name in target for name in [*names, *slices, *others]):
            continue
        possible = (target & variables.UNIT_NAMES) - outside
        if not possible:
            return
        slice_ = possible & SLICES
        name = slice_.sample() if slice_ and slice_.these is None else possible.sample()
        (slices if name.endswith(".slice") else others).append(name)
    if middle:
        sampled = (middle & SLICES).sample()
        if sampled != ROOT_SLICE and sampled not in slices:
            slices.append(sampled)
    managers = [name for name in others if name.startswith("user@")]
    services = [name for name in others if name not in managers]
    managers = [name if placement(f"/{name}/x.scope").manager else _MANAGER for name in managers]
    given = [name for name in names if name]
    if of_user and not managers:
        given = [name for name in given if placement(f"/{name}/x.scope").manager] or [_MANAGER]
    made = "".join(f"/{name}" for name in (*slices, *managers, *services, *given)) + of_user
    if exact is None:
        if made:
            yield from (made, f"/user.slice/user-1000.slice{made}")
        else:
            yield from ("/example", "/") if names == [""] else _PLACES
        return
    tried = [made, f"/user.slice{made}", *_PLACES] if made else list(_PLACES)
    yield from (path for path in tried if path and path in exact)
    for shape in ([f"/*.slice{made}", f"{made}/*"] if made else []) + ["/*"]:
        below = exact & globs.matching((shape,))
        if below:
            yield below.sample()
