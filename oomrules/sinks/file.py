"""A list in a file, or on standard output: for people and other programs, not for the kernel."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from oomrules import files
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranking
from oomrules.sinks.kernel_list import format_pids, said

STANDARD_OUTPUT = "-"


class File:
    """A file that is replaced by each list, with a mode as for ``files.replace``; or ``-``."""

    def __init__(self, name: str, mode: int = 0o644) -> None:
        self.name, self.mode = name, mode

    def put(self, ranking: Ranking, source: ProcSource | None) -> str:
        """Replace the file, or print the list, about which nothing need be said."""
        if self.name != STANDARD_OUTPUT:
            return self.write(ranking.pids)
        sys.stdout.write(format_pids(ranking.pids))
        return ""

    def take_back(self) -> None:
        """Leave the file: the kernel does not follow it."""

    def write(self, pids: Sequence[int]) -> str:
        """Replace the file by a list; say so.

        Raises:
            Failure: it cannot be written; an old file is left as it was.
        """
        files.replace(self.name, format_pids(pids).encode(), self.mode)
        return said(pids, self.name)
