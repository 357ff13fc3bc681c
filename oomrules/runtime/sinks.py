"""Where a list goes: the kernel's /proc/oom, a file, or a descriptor."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from oomrules.errors import Failure, reason

KERNEL_LIST = "/proc/oom"

_PIECE = 256

# Names of what a caller has opened already.
_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")

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


def replace(path: str, data: bytes, mode: int = 0o644) -> None:
    """Replace a file atomically; pipes and devices are written as they are.

    Args:
        mode: of a new file; one that is there keeps its own.

    Raises:
        Failure: it cannot be written; an old file is left as it was.
    """
    try:
        there = os.stat(path).st_mode
    except OSError:
        there = stat.S_IFREG | mode
    if stat.S_ISDIR(there):
        raise Failure(f"{path} is a directory", "name the file to write")
    try:
        # What is called /dev/stdout may be a file that somebody else has written to before.
        if not stat.S_ISREG(there) or path.startswith(_STREAMS):
            _write_all(path, data, os.O_WRONLY | os.O_APPEND)
            return
        # A link stays a link: what it points to is replaced.
        target = os.path.realpath(path) if os.path.islink(path) else path
        temporary = f"{target}.{os.getpid()}.new"
        # One of that name is of a process that is gone, or this one would not have its pid.
        _remove(temporary)
        try:
            _write_all(temporary, data, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IMODE(there))
            os.rename(temporary, target)
        except OSError:
            _remove(temporary)
            raise
    except OSError as error:
        raise Failure(
            f"cannot write {path}: {reason(error)}", "what was in it before is unchanged"
        ) from error


def _write_all(path: str, data: bytes, flags: int, mode: int = 0o644) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        if flags & os.O_CREAT:
            os.fchmod(descriptor, mode)
        while data:
            data = data[os.write(descriptor, data) :]
        if flags & os.O_CREAT:
            # Without this a crash can leave an empty file under the new name.
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
