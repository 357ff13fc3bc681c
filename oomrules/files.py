"""Files: replaced whole, read within bounds, and no link followed that a stranger made.

Root works in directories that other users can write, ``/tmp`` above all. Under the name that root
gave there may be a link to /etc/passwd, a pipe, or a file that all users can read. So a path is
walked name by name on descriptors: the file that was checked is the file that is used.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from oomrules.errors import Failure, reason
from oomrules.plain import printable, quoted

# Names of files that the caller has opened already.
STREAMS = ("/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
_READABLE_STREAMS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")

# As in Linux, MAXSYMLINKS.
_MOST_LINKS = 40

_PIECE = 65536

_ELSEWHERE = "name a file elsewhere"


def replace(path: str, data: bytes, mode: int = 0o644, expected: bytes | None = None) -> None:
    """Replace a file atomically; pipes and devices are written as they are.

    A link is followed if root or the caller made it, on the way as at the end. Pipes and devices
    of others are not written where others could have put them.

    Args:
        mode: of a new file. A file of the caller's keeps its own, unless ``mode`` shuts out all
            other users, which then holds in any case.
        expected: what the file must hold to be replaced; it then keeps its owner and mode.

    Raises:
        Failure: it cannot be written; an old file is left as it was.
    """
    try:
        _refuse_null(path)
        directory, name = (None, path) if path.startswith(STREAMS) else _parent(path)
        if directory is None:
            # It may be a file with something in it already.
            with opened(name, os.O_WRONLY | os.O_APPEND) as descriptor:
                _write_all(descriptor, data)
            return
        try:
            put(directory, name, path, data, mode, expected)
        finally:
            os.close(directory)
    except OSError as error:
        raise unwritten(path, error) from error


def unwritten(path: str, error: OSError) -> Failure:
    """Return what is said of a file that could not be written, with what to do next."""
    return Failure(f"cannot write {path}: {reason(error)}", _remedy(path, error.errno))


def _remedy(path: str, code: int | None) -> str:
    around = os.path.dirname(path) or "."
    # A name that cannot be pasted is not proposed.
    if any(part != printable(part) for part in (path, around)) or path.startswith(STREAMS):
        return _ELSEWHERE
    if code == errno.ENOENT and not os.path.lexists(path) and not os.path.lexists(around):
        return f"make the directory first: `mkdir -p -- {quoted(around)}`"
    if code in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
        return f"see where the names on the way lead: `namei -l -- {quoted(path)}`"
    if code in (errno.EACCES, errno.EPERM):
        return _ELSEWHERE if os.geteuid() == 0 else f"run it as root, or {_ELSEWHERE}"
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"make room there: `df -h -- {quoted(around)}` shows how full it is"
    return _ELSEWHERE


def remove(path: str) -> None:
    """Remove a file, unless it is gone already.

    Raises:
        Failure: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Failure(f"cannot remove {path}: {reason(error)}", "run it as root") from error


def read_small(path: str | bytes, directory: int | None = None) -> bytes:
    """Read a small file of proc or of a control group: up to 64 KiB, which is all of most files.

    Args:
        directory: an open directory that the path begins at.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


@contextmanager
def opened(path: str, flags: int, mode: int = 0o777, directory: int | None = None) -> Iterator[int]:
    """Open a file as os.open() does, and close it at the end of the ``with``."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_regular(path: str, follow: bool = True) -> int:
    """Open a regular file, or what the caller has opened already, for reading.

    Args:
        follow: whether the name may be a link, or that of a stream.

    Raises:
        OSError: it cannot be opened, or it is a pipe, a device or a directory.
    """
    _refuse_null(path)
    if follow and path.startswith(_READABLE_STREAMS):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    # Opening some devices has an effect, so the kind of file is checked first.
    refuse_odd(os.stat(path, follow_symlinks=follow))
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    try:
        refuse_odd(os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_found(path: str) -> int:
    """Open a regular file that was found in a directory in which others may write.

    Its name may be a link if root or the caller made that. Where a stranger's leads, reading can
    have an effect, as of /proc/kmsg.

    Raises:
        OSError: it cannot be opened, is no regular file, or a link that a stranger made.
    """
    _refuse_null(path)
    with opened(path, os.O_PATH | os.O_NOFOLLOW) as found:
        status = os.fstat(found)
        if not stat.S_ISLNK(status.st_mode):
            return open_regular(path, follow=False)
        if status.st_uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, f"it is a link that uid {status.st_uid} made")
        target = os.readlink("", dir_fd=found)
    return open_regular(os.path.join(os.path.dirname(path), target))


def read(path: str, most: int, follow: bool = True) -> bytes:
    """Read what ``open_regular`` opens, up to so many bytes.

    Raises:
        OSError: it cannot be read, or is no regular file, or larger.
    """
    return read_opened(open_regular(path, follow), path, most)


def read_opened(descriptor: int, path: str, most: int) -> bytes:
    """Read an open file to its end, and close it.

    Raises:
        OSError: it cannot be read, or is larger.
    """
    try:
        # Not more than there is: the service has memory for what it reads, not for the bound.
        size = os.fstat(descriptor).st_size
        pieces, left = list[bytes](), most + 1
        while left and size <= most:
            piece = os.read(descriptor, min(left, max(size + 1, _PIECE)))
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            left -= len(piece)
    finally:
        os.close(descriptor)
    raise OSError(errno.EFBIG, f"it is larger than {_size(most)}", path)


def lines(path: str, most: int) -> Iterator[str]:
    """Read a text in UTF-8, line by line, each up to so many characters.

    Raises:
        OSError: the file cannot be read, or is no regular file, or a line is longer.
        UnicodeDecodeError: it is no UTF-8.
    """
    return lines_opened(open_regular(path), path, most)


def lines_opened(descriptor: int, path: str, most: int) -> Iterator[str]:
    """Read the lines of an open file, as ``lines`` does, and close it."""
    with os.fdopen(descriptor, encoding="utf-8") as file:
        for number, line in enumerate(iter(lambda: file.readline(most + 1), ""), 1):
            if len(line) > most:
                raise OSError(errno.EFBIG, f"line {number} is longer than {_size(most)}", path)
            yield line


def _size(most: int) -> str:
    return f"{most >> 20} MiB" if most >= 2**20 else f"{most >> 10} KiB"


def _refuse_null(path: str) -> None:
    """Refuse a name with a null character, at which it would end for the kernel."""
    if "\0" in path:
        raise OSError(errno.EINVAL, "there is a null character in its name")


def refuse_odd(status: os.stat_result) -> None:
    """Refuse what is no regular file: reading it could wait for ever, or have an effect.

    Raises:
        OSError: it is none.
    """
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "it is a symbolic link")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def create(path: str, mode: int = 0o600) -> int:
    """Create a file that is written bit by bit, and return its descriptor, open for writing.

    Raises:
        Failure: it is there already, or a stranger's link stands on the way.
        OSError: it cannot be created.
    """
    _refuse_null(path)
    directory, name = _parent(path)
    if directory is None:
        raise Failure(f"{path} leads to {name}, which is a stream", "name a file that is not there")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, mode, dir_fd=directory)
    except FileExistsError as error:
        raise Failure(
            f"{path} is there already, and nothing is written over it",
            "name a file that is not there, or remove it",
        ) from error
    finally:
        os.close(directory)


# --- the way to a file ------------------------------------------------------------------------


def _parent(path: str) -> tuple[int | None, str]:
    """Open the directory that a file is in, following the links that may be followed.

    Returns:
        its descriptor and the file's name there, which is no link; or None and the path of a
        stream, if a link leads to one.
    """
    if path.endswith("/"):
        raise Failure(f"{path} is a directory", "name the file to write")
    left, links = path.split("/")[::-1], 0
    directory = os.open("/" if path.startswith("/") else ".", os.O_PATH | os.O_CLOEXEC)
    try:
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            try:
                found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            except FileNotFoundError:
                if left:
                    raise
                return os.dup(directory), name
            try:
                status = os.fstat(found)
                if stat.S_ISLNK(status.st_mode):
                    target, links = _target(found, status, name, path), links + 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    if target.startswith(STREAMS):
                        return None, "/".join([target, *left[::-1]])
                    left += target.split("/")[::-1]
                    follow = os.open("/", os.O_PATH | os.O_CLOEXEC) if target[0] == "/" else None
                elif left or name == "..":
                    follow = os.dup(found)
                else:
                    return os.dup(directory), name
            finally:
                os.close(found)
            if follow is not None:
                os.close(directory)
                directory = follow
    finally:
        os.close(directory)
    raise Failure(f"{path} is a directory", "name the file to write")


def _target(link: int, status: os.stat_result, name: str, path: str) -> str:
    """Read a link, if it may be followed."""
    if status.st_uid not in (0, os.geteuid()):
        raise Failure(
            f"cannot write {path}: {name} is a link that uid {status.st_uid} made, and that user "
            "decides where it leads",
            "remove the link, or name the file that is meant; "
            "only your own links and root's are followed",
        )
    return os.readlink("", dir_fd=link)


# --- writing ------------------------------------------------------------------------------------


def put(
    directory: int, name: str, path: str, data: bytes, mode: int, expected: bytes | None
) -> None:
    """Replace a file in an open directory, as ``replace`` does; ``path`` is for the messages.

    Raises:
        Failure, OSError: it cannot be written; an old file is left as it was.
    """
    try:
        there: os.stat_result | None = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        there = None
    owner = None
    if expected is not None:
        there = _checked(directory, name, path, expected)
        owner = there.st_uid, there.st_gid
    if there is None or stat.S_ISREG(there.st_mode):
        _exchange(directory, name, data, _mode(there, mode, expected is not None), owner)
    elif stat.S_ISDIR(there.st_mode):
        raise Failure(f"{path} is a directory", "name the file to write")
    else:
        _write_special(directory, name, path, data, there)


def _mode(there: os.stat_result | None, mode: int, known: bool) -> int:
    """Return the mode of the new file; a known old one is meant, whatever its owner."""
    if there is None or not mode & 0o077:
        return mode
    # Another user may have made a second name for some other file of ours: its mode is not meant.
    ours = there.st_uid == os.geteuid() and there.st_nlink == 1
    return stat.S_IMODE(there.st_mode) & 0o777 if ours or known else mode


def _checked(directory: int, name: str, path: str, expected: bytes) -> os.stat_result:
    """Return the status of a file that still holds what it held; refuse any other one."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as file:
        status = os.fstat(file.fileno())
        refuse_odd(status)
        if file.read(len(expected) + 1) == expected:
            return status
    raise Failure(
        f"{path} was changed by another process meanwhile", "nothing was written; try again"
    )


def _exchange(
    directory: int, name: str, data: bytes, mode: int, owner: tuple[int, int] | None
) -> None:
    """Write a new file beside the old one and give it the old one's name."""
    # No other user can guess the name; ``State.tidy`` knows its end.
    temporary = f"{name[:40]}.{os.urandom(8).hex()}.{os.getpid()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with opened(temporary, flags, 0o600, directory) as descriptor:
            if owner and owner != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            _write_all(descriptor, data)
            # Without this a crash can leave an empty file under the new name.
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        try:
            os.unlink(temporary, dir_fd=directory)
        except OSError:
            pass
        raise


def _write_special(
    directory: int, name: str, path: str, data: bytes, there: os.stat_result
) -> None:
    """Write to a pipe or a device, unless a stranger may have put it there."""
    ours = (0, os.geteuid())
    around = os.fstat(directory)
    safe = around.st_uid in ours and not around.st_mode & 0o022
    if there.st_uid not in ours and not safe:
        raise Failure(
            f"cannot write {path}: it is no regular file, and uid {there.st_uid} made it and "
            "would get what is written",
            "remove it, or name a file in a directory that only you can write",
        )
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NOCTTY
    with opened(name, flags, directory=directory) as descriptor:
        if not os.path.samestat(os.fstat(descriptor), there):
            raise OSError(errno.ESTALE, "it was exchanged meanwhile")
        _write_all(descriptor, data)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
