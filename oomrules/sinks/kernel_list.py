"""The kernel module's list, ``/proc/oom``, and its format."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from oomrules import files, targets
from oomrules.errors import Failure, reason
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranking

_PIECE = 256

_REFUSED = {
    errno.EACCES: "only root writes it",
    errno.EPERM: "only root with CAP_SYS_RESOURCE writes it",
    errno.EINVAL: "the module takes decimal pids and nothing else; is its version this one's?",
    errno.ENOMEM: "the kernel has no memory for the list; the old one is still in force",
    errno.EFBIG: "the list is longer than the module takes; the old one is still in force",
}


class KernelList:
    """The list that the kernel module kills by, in the module's file."""

    def __init__(self, name: str = targets.KERNEL_LIST) -> None:
        self.name = name

    def put(self, ranking: Ranking, source: ProcSource | None) -> str:
        """Replace the kernel's list, also by an empty one: an old list must not stay."""
        return self.write(ranking.pids)

    def take_back(self) -> None:
        """Leave the choice to the kernel, by an empty list."""
        if is_there():
            self.write([])

    def write(self, pids: Sequence[int]) -> str:
        """Replace the kernel's list, in one write and never more; say so.

        Raises:
            Failure: the kernel refused it, or took only a part.
        """
        data = format_pids(pids).encode()
        try:
            with files.opened(self.name, os.O_WRONLY) as descriptor:
                written = os.write(descriptor, data)
        except OSError as error:
            raise Failure(
                f"{self.name} refused the list of {len(pids)} pids: {reason(error)}",
                _advice(error.errno),
            ) from error
        if written != len(data):
            raise Failure(
                f"{self.name} took {written} of {len(data)} bytes",
                "is it the file of oomrules' module?",
            )
        return said(pids, self.name)


def _advice(number: int | None) -> str:
    """Return what to do when the kernel has refused a list."""
    if number == errno.ENOENT:
        # Loaded only where it is to be said.
        from oomrules.sinks import absence

        return absence.advice()
    return _REFUSED.get(number or 0, "see the kernel log")


def is_there() -> bool:
    """Return whether the kernel module is loaded."""
    return os.path.exists(targets.KERNEL_LIST)


def said(pids: Sequence[int], target: str) -> str:
    """Return a message that a list was written."""
    return f"{len(pids)} pid{'s' if len(pids) != 1 else ''} written to {target}"


def format_pids(pids: Sequence[int]) -> str:
    """Return a list in the format of 2005: decimal pids, single spaces, worst first, a newline."""
    # In pieces, since a text for each of many pids takes ten times what they come to.
    pieces = [
        " ".join(map(str, pids[start : start + _PIECE])) for start in range(0, len(pids), _PIECE)
    ]
    return " ".join(pieces) + "\n"
