"""Where the hierarchies of control groups are mounted (proc_pid_mountinfo(5)).

A path in ``/proc/PID/cgroup`` begins at the root of the reader's control group namespace; without
one that is the hierarchy's own root, also in a container. What a mount shows may begin elsewhere:
a container sees a part of the tree, bound to where the whole one is on a host. The field ``root``
is the path of the group that a mount begins at, in the same terms, so it leads from the path of a
group to its directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import accumulate, islice

from oomrules.lean import NamedTuple

MOUNTINFO = "/proc/self/mountinfo"

_ESCAPE = re.compile(r"\\([0-7]{3})")
_TYPES = ("cgroup", "cgroup2")
# So many groups are looked at for our own.
_MOST_WAYS = 10_000
# Fields before the optional ones.
_FIXED = 6


class Mount(NamedTuple):
    """One line of mountinfo.

    Attributes:
        number: identifies it.
        parent: the mount that it is mounted on; None where that is out of sight.
        root: the directory of its file system that it shows; of control groups, the group.
        point: the directory where it is mounted.
        kind: the type of the file system.
        options: those of the file system; for v1, its controllers and its name are among them.
    """

    number: int
    parent: int | None
    root: str
    point: str
    kind: str
    options: tuple[str, ...]


class Table:
    """The mounts that lead to control groups, and those that lie over them, from mountinfo."""

    def __init__(self, path: str = MOUNTINFO) -> None:
        points = {mount.point for mount in _mounts(path) if mount.kind in _TYPES}
        ways = {prefix for point in points for prefix in _prefixes(point)}
        # Containers mount, too, as much as they like: what lies elsewhere is not kept.
        kept = [
            mount
            for mount in _mounts(path)
            if mount.point in ways or not points.isdisjoint(_prefixes(mount.point))
        ]
        numbers = {mount.number for mount in kept}
        self.groups = [mount for mount in kept if mount.kind in _TYPES]
        self._on = {
            (mount.parent if mount.parent in numbers else None, mount.point): mount.number
            for mount in kept
        }

    def at(self, path: str) -> int | None:
        """Find the mount that a path leads to; None if it is none of those that are kept."""
        # What lies over the root is out of sight for a process that has it as its root.
        current = self._on.get((None, "/"))
        for prefix in _prefixes(path)[1:]:
            # The last one that was mounted there lies on top.
            while (current, prefix) in self._on:
                current = self._on[current, prefix]
        return current


class Tree:
    """One hierarchy of control groups, by the mounts that show it.

    Where a mount begins around our control group namespace, as where a container was given the
    host's tree, paths are taken for those that are seen from there, as far as the way in is found.

    Args:
        mounts: those of the hierarchy.
        own: our own group in it, as ``/proc/self/cgroup`` has it; empty if that is unknown.
    """

    def __init__(self, table: Table, mounts: list[Mount], own: str) -> None:
        self._table = table
        # What shows most comes first.
        mounts = sorted(mounts, key=_narrowness)
        self._way_in = next(filter(None, (self._way(mount, own) for mount in mounts)), ())
        self.mounts = [mount._replace(root=self.seen(mount.root)) for mount in mounts]

    def seen(self, group: str) -> str:
        """Return the path of a group, as the kernel says it to us, as it is to be taken here."""
        names = group.split("/")[1:]
        outwards = next((n for n, name in enumerate(names) if name != ".."), len(names))
        if not self._way_in or outwards > len(self._way_in):
            return group
        inwards = self._way_in[: len(self._way_in) - outwards]
        return "/" + "/".join(filter(None, (*inwards, *names[outwards:])))

    def _way(self, mount: Mount, own: str) -> tuple[str, ...]:
        """Find the names between where a mount begins and the root of our namespace.

        No file tells them, but our own process is in one group alone.
        """
        names = mount.root.split("/")[1:]
        shown = self._table.at(mount.point) == mount.number
        if set(names) != {".."} or not shown or not own or below(own, "/") is None:
            return ()
        found: list[tuple[str, ...]] = [()]
        for _ in names:
            found = [
                (*way, name)
                for way in found
                for name in _directories("/".join((mount.point, *way)))
            ][:_MOST_WAYS]
        ours = (way for way in found if _is_in("/".join((mount.point, *way)) + own))
        return next(ours, ())

    def directory(self, group: str) -> str | None:
        """Return the directory of a group, be it there or not; None if it is out of sight."""
        for mount in self.mounts:
            rest = below(group, mount.root)
            if rest is not None:
                path = mount.point.rstrip("/") + rest
                # Something else may be mounted over it, or a part of the same tree once more.
                if self._table.at(path) == mount.number:
                    return path or "/"
        return None

    def is_above(self, group: str) -> bool:
        """Return whether a group is out of sight because what is seen begins below it."""
        return any(below(mount.root, group) is not None for mount in self.mounts)


def below(path: str, top: str) -> str | None:
    """Return what of a path comes below another, empty for that itself; None if it is elsewhere.

    Both may begin with ``/..``, the group around the namespace's root; what is reached by more of
    them lies further out.
    """
    top = "" if top == "/" else top
    path = "" if path == "/" else path
    if path != top and not path.startswith(f"{top}/"):
        return None
    rest = path[len(top) :]
    return None if rest == "/.." or rest.startswith("/../") else rest


def _mounts(path: str) -> Iterator[Mount]:
    """Read a list of mounts line by line: others decide how many there are."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for line in file:
                fields = line.rstrip("\n").split(" ")
                try:
                    number, parent, _, root, point, *_ = fields
                    kind, _, options, *_ = fields[fields.index("-", _FIXED) + 1 :]
                    yield Mount(
                        number=int(number),
                        parent=int(parent) if parent != number else None,
                        root=_unescaped(root),
                        point=_unescaped(point),
                        kind=kind,
                        options=tuple(options.split(",")),
                    )
                except ValueError:
                    continue
    except OSError:
        return


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _is_in(directory: str) -> bool:
    """Return whether this process is in the control group of a directory."""
    try:
        with open(f"{directory}/cgroup.procs", "rb") as file:
            return b"%d\n" % os.getpid() in file
    except OSError:
        return False


def _unescaped(field: str) -> str:
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), field)


def _prefixes(path: str) -> list[str]:
    """Return the directories on the way to a path, from ``/``, and the path itself."""
    names = path.rstrip("/").split("/")[1:]
    return ["/", *islice(accumulate(names, "{}/{}".format, initial=""), 1, None)]


def _narrowness(mount: Mount) -> tuple[int, int]:
    names = [name for name in mount.root.split("/") if name]
    return -names.count(".."), len(names)
