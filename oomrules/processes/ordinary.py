"""Made-up hosts: an ordinary process on each, but for what matters of it.

They are written as the lines of a recording and read as one, so what no recording may say is
refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from oomrules.fields import FIELDS
from oomrules.processes import recorded

PAGE_SIZE = 4096

# Documentation/admin-guide/devices.txt: the major number, and the first of the minor ones.
_TERMINALS = {"pts/": (136, 0), "tty": (4, 0), "ttyS": (4, 64)}


def process_line(pid: int, **values: Any) -> dict[str, Any]:
    """Return the line of an ordinary process: its own session, by a user, in a service.

    What is not ordinary is given by the name of the field; ``starttime`` at least.
    """
    usual = {name: field.ordinary for name, field in FIELDS.items() if not field.optional}
    return recorded.process_line({**usual, "pid": pid, "session": pid, **values})


def snapshot(
    name: str, host: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]
) -> recorded.Recorded:
    """Return the snapshot of a host with pages of ``PAGE_SIZE``.

    Args:
        name: what it is called in messages.
        host: ``clock_ticks``, ``uptime`` and ``mem_total`` at least, by the key of a recording.
        lines: of its processes and control groups.

    Raises:
        Failure: a line says something impossible.
    """
    usual = {"kind": "host", "schema": recorded.SCHEMA, "page_size": PAGE_SIZE}
    return recorded.parse(map(json.dumps, ({**usual, **host}, *lines)), name)


def terminal(name: str) -> int | None:
    """Return the number of a terminal, as ``tty_nr`` has it, by the attribute ``tty``, or None."""
    found = re.fullmatch(r"(pts/|ttyS?)([0-9]{1,7})", name)
    if not found:
        return None if name else 0
    major, first = _TERMINALS[found[1]]
    minor = first + int(found[2])
    if (found[1] == "tty" and minor >= 64) or minor >= 1 << 20:
        return None
    # new_encode_dev(), include/linux/kdev_t.h
    return major << 8 | minor & 0xFF | (minor & 0xFFF00) << 12
