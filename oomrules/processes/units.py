"""Control group paths to systemd units.

The rule is systemd's own (cg_path_decode_unit): a path begins with slices, then comes
the unit, and what is below that the unit arranges for itself. Only a user's manager,
``user@UID.service``, has units of its own below, found by the same rule. So a service
inside a container's scope is not mistaken for one of this host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from oomrules.lean import NamedTuple

ROOT_SLICE = "-.slice"
# The kinds of unit that have a control group (systemd.unit(5)).
UNIT_SUFFIXES = (".slice", ".scope", ".service", ".socket", ".mount", ".swap")
_MANAGER = re.compile(r"user@([0-9]+)\.service")

# systemd puts "_" in front of a name that the kernel could take for a file of its own, and of no
# other (cg_needs_escape). So no two groups are called like one unit.
_ESCAPED = re.compile(
    r"_(?:[_.]|notify_on_release$|release_agent$|tasks$|cgroup[.]|"
    r"(?:blkio|cpu|cpuacct|cpuset|devices|freezer|hugetlb|io|memory|misc|net_cls|net_prio|"
    r"perf_event|pids|rdma|dmem|debug)[.])"
)

# Units around a process, the root among them. systemd's own hosts have up to ten; below a
# group that is delegated to him a user makes as many as he likes.
_DEEPEST = 32


class Placement(NamedTuple):
    """Where a control group stands among the units.

    Attributes:
        chain: the units around it, outermost first; ``-.slice`` is always the first.
        unit: the innermost, or an empty text for a group outside every unit.
        slice: the innermost slice.
        path: the control group of the innermost unit.
        manager: the user id of the manager that the innermost unit belongs to, as a text;
            empty for the system's.
        above: the placement of the unit around the innermost one; None at the root.
    """

    chain: tuple[str, ...]
    unit: str
    slice: str
    path: str
    manager: str
    above: Placement | None

    @property
    def ancestors(self) -> Iterator[Placement]:
        """Yield this placement and those of the units around it, the root slice last."""
        place: Placement | None = self
        while place is not None:
            yield place
            place = place.above

    @property
    def system(self) -> Placement:
        """Return the placement of the innermost unit that is one of the system's manager."""
        return next(place for place in self.ancestors if not place.manager)

    @property
    def user_unit(self) -> str:
        """Return the innermost unit of a user's manager; empty where there is none."""
        return self.unit if self.manager else ""

    @property
    def user_slice(self) -> str:
        """Return the innermost slice of a user's manager; empty where there is none."""
        theirs = (place.unit for place in self.ancestors if place.manager)
        return next((unit for unit in theirs if unit.endswith(".slice")), "")


_ROOT = Placement((ROOT_SLICE,), "", ROOT_SLICE, "/", "", None)


@lru_cache(maxsize=256)
def placement(cgroup: str, root: str = "") -> Placement:
    """Find the units around a control group; they begin below ``Host.unit_root``."""
    place, path, in_slices = _ROOT, root, True
    if root:
        place = _ROOT._replace(path=root)
        if not cgroup.startswith(f"{root}/"):
            # It is in none.
            return place
    for part in cgroup[len(root) :].strip("/").split("/"):
        path += "/" + part
        name = part[1:] if _ESCAPED.match(part) else part
        manager = place.manager
        if not in_slices and not manager and (found := _MANAGER.fullmatch(place.unit)):
            manager, in_slices = found[1], True
        if not in_slices or not name.endswith(UNIT_SUFFIXES) or len(place.chain) == _DEEPEST:
            break
        in_slices = name.endswith(".slice")
        name = shown(name)
        slice_ = name if in_slices else place.slice
        place = Placement((*place.chain, name), name, slice_, path, manager, place)
    return place


def shown(name: str) -> str:
    """Return a name with what is no text shown by its number, as in every other attribute."""
    return name if name.isascii() else "".join(map(_shown, name))


def _shown(char: str) -> str:
    """Return a character, or the number of a byte that is no text (PEP 383)."""
    number = ord(char)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    # A recording may hold half of a pair, which no path does.
    return f"\\u{number:04x}" if 0xD800 <= number <= 0xDFFF else char
