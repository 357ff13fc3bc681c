"""The state directory and the files in it: where it is, who may make it, how it is read again.

Only its owner may have changed what is in it. A file that is damaged counts as missing: neither
its size nor its kind may stop the process that reads it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterable

from oomrules import files
from oomrules.errors import Failure, reason
from oomrules.lean import Any

STANDARD = "/run/oomrules"

# Other users may pass through the directory, to the figures for monitoring, but not list it.
DIRECTORY_MODE = 0o711
FILE_MODE = 0o600

# A list of 1000 candidates is 0.2 MiB; as for a program, see ``service.compile_child``.
LARGEST = 4 << 20

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def standard() -> str:
    """Return the path of the state directory, unless another one is asked for."""
    return os.environ.get("OOMRULES_STATE") or STANDARD


def directory(path: str) -> None:
    """Make a directory that only this user can change, or check that it is one.

    Raises:
        Failure: it cannot be made, or others could change what is in it.
    """
    path = os.path.abspath(path)
    above = os.path.dirname(path)
    try:
        # First, since others could put a link in the place of what is made.
        wrong = ancestor_of_others(above)
        if not wrong:
            os.makedirs(above, mode=0o755, exist_ok=True)
            try:
                os.mkdir(path, DIRECTORY_MODE)
                # Whatever the umask.
                os.chmod(path, DIRECTORY_MODE)
            except FileExistsError:
                pass
            wrong = _of_others(os.lstat(path))
    except OSError as error:
        raise Failure(f"cannot make {path}: {reason(error)}", "run it as root") from error
    if wrong:
        raise Failure(
            f"{path} cannot be trusted: {wrong}",
            "mend that, run it as the user who owns the directory, or name a directory of your "
            "own by OOMRULES_STATE",
        )


def _of_others(status: os.stat_result) -> str:
    """Return why others could change a state directory; empty if only this user can."""
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "it is no directory"
    if status.st_uid != os.geteuid():
        return f"it belongs to user id {status.st_uid}, and this process has {os.geteuid()}"
    if status.st_mode & _WRITABLE:
        return f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def ancestor_of_others(path: str) -> str:
    """Return which directory above lets others replace it, and why; empty if none does."""
    path = os.path.realpath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    while True:
        status = os.stat(path)
        if status.st_uid not in (0, os.geteuid()):
            return f"{path} belongs to user id {status.st_uid}"
        # What is in a sticky directory is moved by its owner only.
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            return f"everybody may write to {path}"
        if path == "/":
            return ""
        path = os.path.dirname(path)


def tighten(paths: Iterable[str]) -> None:
    """Make files private that an earlier version let others read."""
    for path in paths:
        try:
            if stat.S_ISREG(os.lstat(path).st_mode):
                os.chmod(path, FILE_MODE)
        except OSError:
            pass  # there is none


def lock(path: str, wait: bool = True) -> int:
    """Lock a file that only its owner can open, so no other user can hold it.

    Returns:
        the descriptor; closing it, or the end of the process, unlocks.

    Raises:
        BlockingIOError: another process holds it, and ``wait`` is False.
        OSError: the file cannot be opened or locked.
    """
    descriptor = _private(path)
    if descriptor < 0:
        # A file that others can open, or a link, is not ours.
        os.unlink(path)
        descriptor = _private(path)
    if descriptor < 0:
        raise OSError(errno.EPERM, "another user makes files there")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _private(path: str) -> int:
    """Open a file that no other user can have opened, or make it; -1 if it is another one."""
    # Not blocking, should it be a FIFO.
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return -1
        raise
    status = os.fstat(descriptor)
    shared = status.st_mode & 0o077 or status.st_uid != os.geteuid()
    if shared or not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return -1
    return descriptor


def load(path: str) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if there is no file, or anything else in it."""
    try:
        data = json.loads(files.read(path, LARGEST, follow=False))
    except (OSError, ValueError, RecursionError, MemoryError):
        return None
    return data if isinstance(data, dict) else None
