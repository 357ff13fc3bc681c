"""The tree of control groups, typed: cgroup v2 on cgroupspy's nodes and file descriptors.

cgroupspy comes with the controllers of v1; those of v2 are defined here the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from cgroupspy.controllers import Controller
from cgroupspy.interfaces import BaseFileInterface, DictFile, IntegerFile
from cgroupspy.nodes import Node

from oomrules.processes.snapshot import NO_LIMIT


class LimitFile(BaseFileInterface):  # type: ignore[misc]
    """A limit in bytes; ``max`` is no limit."""

    readonly = True

    def sanitize_get(self, value: str) -> int:
        """Return the limit in bytes, or ``NO_LIMIT``."""
        return NO_LIMIT if value.strip() == "max" else int(value)


class PressureFile(BaseFileInterface):  # type: ignore[misc]
    """Pressure stall information: the share of the last 10 s in which some task waited."""

    readonly = True

    def sanitize_get(self, value: str) -> float:
        """Return ``some avg10``, in percent."""
        first = value.splitlines()[0]
        return float(dict(part.split("=") for part in first.split()[1:])["avg10"])


class MemoryController(Controller):  # type: ignore[misc]
    """The memory controller of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst)."""

    current = IntegerFile("memory.current", readonly=True)
    max = LimitFile("memory.max")
    high = LimitFile("memory.high")
    swap = IntegerFile("memory.swap.current", readonly=True)
    pressure = PressureFile("memory.pressure")
    events = DictFile("memory.events", readonly=True)

    def figure(self, name: str) -> Any:
        """Return a figure; None if the group is gone or has no such file."""
        try:
            return getattr(self, name)
        except (OSError, ValueError, KeyError, IndexError):
            return None


def groups(directory: str, root: str = "") -> Iterator[tuple[str, MemoryController]]:
    """Return the control groups below one of v2, each before those below it.

    Args:
        directory: where the group is. cgroupspy is never given sub-groups, which it would create.
        root: the path of that group; empty for the root.
    """
    # Users decide how deep the tree is: neither this walk nor a node goes through its parents.
    left = [os.fsencode(directory)]
    while left:
        path = left.pop()
        name = path.decode("utf-8", "surrogateescape").removeprefix(directory)
        yield root + name or "/", MemoryController(Node(path))
        left += reversed(_below(path))


def _below(path: bytes) -> list[bytes]:
    """Return the groups in one by name; none if it is gone or its path is too long to open."""
    try:
        with os.scandir(path) as entries:
            inside = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [os.path.join(path, name) for name in inside]
