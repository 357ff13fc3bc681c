"""Where a list goes: the kernel's /proc/oom, a file, or a descriptor."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from oomrules.errors import Failure, reason
from oomrules.files import replace as replace

KERNEL_LIST = "/proc/oom"

_PIECE = 256

_REFUSED = {
    errno.EACCES: "only root writes it",
    errno.EPERM: "only root with CAP_SYS_RESOURCE writes it",
    errno.EINVAL: "the module takes decimal pids and nothing else; is its version this one's?",
    errno.ENOMEM: "the kernel has no memory for the list; the old one is still in force",
    errno.EFBIG: "the list is longer than the module takes; the old one is still in force",
    errno.ENOENT: "load the module first: `modprobe oom`",
}


def format_pids(pids: Sequence[int]) -> str:
    """The format of 2005: decimal pids, single spaces, worst first, one newline."""
    # In pieces, since a text for each of many pids takes ten times what they come to.
    pieces = [
        " ".join(map(str, pids[start : start + _PIECE])) for start in range(0, len(pids), _PIECE)
    ]
    return " ".join(pieces) + "\n"


def write_kernel(pids: Sequence[int], path: str = KERNEL_LIST) -> None:
    """Replace the kernel's list, in one write and never more.

    Raises:
        Failure: the kernel refused it, or took only a part.
    """
    data = format_pids(pids).encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Failure(
            f"{path} refused the list of {len(pids)} pids: {reason(error)}",
            _REFUSED.get(error.errno or 0, "see the kernel log"),
        ) from error
    if written != len(data):
        raise Failure(
            f"{path} took {written} of {len(data)} bytes", "is it the file of oomrules' module?"
        )


def write_file(path: str, pids: Sequence[int]) -> None:
    """Replace a file by the list.

    Raises:
        Failure: as ``replace``.
    """
    replace(path, format_pids(pids).encode())
