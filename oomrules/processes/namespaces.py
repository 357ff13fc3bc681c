"""User and pid namespaces of processes, and what capabilities are worth in them."""

from __future__ import annotations

import os
from functools import cached_property

from oomrules.files import read_small
from oomrules.processes.snapshot import Process
from oomrules.processes.threads import Threads


class Namespaces:
    """The namespaces of processes, beside those of this process."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        # The start and the capabilities of processes that have them in another user namespace.
        self._elsewhere: dict[int, tuple[int | None, int]] = {}

    def is_elsewhere(self, pid: int) -> bool:
        """Return whether a process is in another user or pid namespace than this one.

        Only with a right of root's can a process take on groups outside of those.
        """
        try:
            return self._of(str(pid)) != self._own
        except OSError:
            return False

    @cached_property
    def _own(self) -> tuple[str, ...]:
        return self._of("self")

    def _of(self, pid: str) -> tuple[str, ...]:
        directory = f"{self._threads.prefix}{pid}/ns"
        return tuple(os.readlink(f"{directory}/{kind}") for kind in ("user", "pid"))

    def worth(self, process: Process, effective: int | None) -> int | None:
        """Return the part of an effective set that is worth something on this host.

        A user has every capability in a user namespace of his own. What a process of root has,
        root gave it, in such a namespace too.
        """
        if not effective or process.euid == 0:
            return effective
        pid, known = process.pid, (process.starttime, effective)
        if self._elsewhere.get(pid) == known:
            # No process comes back to where it has no rights.
            return 0
        worth = self._outside_of_own(pid, effective)
        if worth == 0:
            self._elsewhere[pid] = known
        return worth

    def _outside_of_own(self, pid: int, effective: int) -> int | None:
        """Return the capabilities that a process has in our user namespace."""
        try:
            theirs = self._threads.read(pid, "uid_map", read_small)
            return effective if theirs.split() == self._own_ids else 0
        except FileNotFoundError:
            # A kernel without user namespaces, or it is gone.
            return effective
        except OSError:
            return None

    @cached_property
    def _own_ids(self) -> list[bytes]:
        """Return how ids are mapped in our user namespace; no other namespace has the same map."""
        return read_small(f"{self._threads.prefix}self/uid_map").split()
