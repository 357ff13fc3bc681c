"""The recording that ``--snapshot`` names, packed or not."""

from __future__ import annotations

from oomrules.processes import recorded
from oomrules.processes.recorded import Recorded


def load(path: str) -> Recorded:
    """Read a recording; one whose name ends as a packed one is unpacked.

    Raises:
        Failure: it cannot be read, or a line of it is wrong.
    """
    if not path.endswith((".gz", ".zst")):
        return recorded.load(path)
    from oomrules.fleet import recordings

    return recordings.load(path)
