"""Control group paths to systemd units.

The rule is systemd's own (cg_path_decode_unit): a path begins with slices, then comes
the unit, and what is below that the unit arranges for itself. Only a user's manager,
``user@UID.service``, has units of its own below, found by the same rule. So a service
inside a container's scope is not mistaken for one of this host.
"""

from __future__ import annotations

from functools import lru_cache

from oomrules.lean import NamedTuple

_SUFFIXES = (".service", ".scope", ".socket", ".mount", ".swap")
ROOT_SLICE = "-.slice"


class Placement(NamedTuple):
    """Where a control group stands among the units.

    Attributes:
        chain: the units around it, outermost first; ``-.slice`` is always the first.
        unit: the innermost, or an empty text for a group outside every unit.
        slice: the innermost slice.
        path: the control group of the innermost unit.
    """

    chain: tuple[str, ...]
    unit: str
    slice: str
    path: str


@lru_cache(maxsize=4096)
def placement(cgroup: str) -> Placement:
    """Find the units around a control group."""
    chain, slice_, unit, path = [ROOT_SLICE], ROOT_SLICE, "", "/"
    walked = ""
    in_slices = True
    for part in cgroup.strip("/").split("/"):
        walked += "/" + part
        # systemd puts "_" in front of a name that the kernel would take for a file.
        name = part.removeprefix("_")
        if in_slices and name.endswith(".slice"):
            slice_ = name
        elif in_slices and name.endswith(_SUFFIXES):
            in_slices = False
        elif not in_slices and _is_manager(chain[-1]) and name.endswith((".slice", *_SUFFIXES)):
            in_slices = name.endswith(".slice")
            slice_ = name if in_slices else slice_
        else:
            break
        chain.append(name)
        unit, path = name, walked
    return Placement(tuple(chain), unit, slice_, path)


def _is_manager(unit: str) -> bool:
    return unit.startswith("user@") and unit.endswith(".service")
