"""A list in a file, or on standard output: for people and other programs, not for the kernel."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from oomrules.files import replace
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranking
from oomrules.sinks.kernel_list import format_pids, written

STANDARD_OUTPUT = "-"


class File:
    """A file that is replaced by each list.

    Args:
        name: its path.
        mode: of the file, as ``files.replace`` has it.
    """

    def __init__(self, name: str, mode: int = 0o644) -> None:
        self.name, self.mode = name, mode

    def put(self, ranking: Ranking, source: ProcSource | None) -> str:
        """Replace the file, also by an empty list.

        Returns:
            what was done, in words.

        Raises:
            Failure: it cannot be written; an old file is left as it was.
        """
        write(self.name, ranking.pids, self.mode)
        return written(ranking.pids, self.name)

    def take_back(self) -> None:
        """Leave the file: nothing follows it but what people made to."""


class StandardOutput:
    """Standard output."""

    name = STANDARD_OUTPUT

    def put(self, ranking: Ranking, source: ProcSource | None) -> str:
        """Print the list; there is nothing to say about it."""
        sys.stdout.write(format_pids(ranking.pids))
        return ""

    def take_back(self) -> None:
        """Leave what is printed."""


def write(path: str, pids: Sequence[int], mode: int = 0o644) -> None:
    """Replace a file by a list.

    Raises:
        Failure: it cannot be written; an old file is left as it was.
    """
    replace(path, format_pids(pids).encode(), mode)
