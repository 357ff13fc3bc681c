"""The tree below ``--root``: files of another system, an image or a container.

The other system's links are not to be trusted, so no link in it leads out of it. A path is walked
name by name on descriptors, as openat2(2) does with RESOLVE_IN_ROOT: an absolute link begins at
the root again, and ``..`` ends there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from oomrules import files

# As in Linux, MAXSYMLINKS.
_MOST_LINKS = 40
# Each level is an open descriptor; no file system hierarchy is as deep.
_MOST_DEEP = 128

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Dangling(OSError):
    """A link, or what it leads to, is not there. It is not the error of a missing file.

    Attributes:
        link: the path of the link.
    """

    def __init__(self, link: str, target: str, missing: str) -> None:
        meant = "which" if missing == target else f"for which {missing} is looked for: that"
        super().__init__(errno.ENOENT, f"{link} is a link to {target}, {meant} does not exist")
        self.link = link


class _Found(NamedTuple):
    """What a walk ended at: a descriptor for looking, its directory's, and the names to it."""

    descriptor: int
    parent: int
    names: list[str]


class _Link(NamedTuple):
    """A link that was followed, and how many names were left to go beyond it."""

    path: str
    target: str
    left: int


class Root:
    """A directory that stands for ``/``.

    Paths are those that this host has for the files: ``/mnt/etc/oomrules.d`` below ``/mnt``. A path
    that is not below the root is this host's own, and opened as usual.

    ``stat``, ``real``, ``names``, ``read``, ``lines``, ``make`` and ``remove`` raise OSError where
    they cannot do it; it is ``Dangling`` where a link says that the file should be there.

    Args:
        path: the directory. Links on the way to it are the caller's own, and followed.
    """

    def __init__(self, path: Path | str = "/") -> None:
        self.path = Path(path)
        self._parts = self._absolute(self.path).parts

    @property
    def whole(self) -> bool:
        """Whether it is this host's own ``/``."""
        return self._parts == ("/",)

    def holds(self, path: Path | str) -> bool:
        """Return whether a path is below the root, as it is written."""
        return self._absolute(path).parts[: len(self._parts)] == self._parts

    def stat(self, path: Path | str) -> os.stat_result:
        """Return the status of a file."""
        if not self.holds(path):
            return os.stat(path)
        with self._walk(path) as found:
            return os.fstat(found.descriptor)

    def is_dir(self, path: Path | str) -> bool:
        """Return whether there is such a directory."""
        try:
            return stat.S_ISDIR(self.stat(path).st_mode)
        except OSError:
            return False

    def is_null(self, path: Path | str) -> bool:
        """Return whether a link leads to ``/dev/null``, which need not be there below a root."""
        if not self.holds(path):
            return os.path.realpath(path) == os.devnull
        try:
            with self._walk(path):
                return False
        except OSError as error:
            return isinstance(error, _Null)

    def real(self, path: Path | str) -> Path:
        """Return the path of a file without the links in it."""
        if not self.holds(path):
            return Path(os.path.realpath(path, strict=True))
        with self._walk(path) as found:
            return self.path.joinpath(*found.names)

    def names(self, directory: Path | str) -> list[str]:
        """Return the names in a directory."""
        if not self.holds(directory):
            return os.listdir(directory)
        with self._walk(directory) as found:
            inside = os.open(".", _READ | os.O_DIRECTORY, dir_fd=found.descriptor)
        try:
            return os.listdir(inside)
        finally:
            os.close(inside)

    def read(self, path: Path | str, most: int) -> bytes:
        """Return what a regular file of ``most`` bytes or fewer holds."""
        return files.read_opened(self._open(path), str(path), most)

    def lines(self, path: Path | str, most: int) -> Iterator[str]:
        """Read the lines of a text one by one, and raise errors, as ``files.lines`` does."""
        return files.lines_opened(self._open(path), str(path), most)

    def _open(self, path: Path | str) -> int:
        if not self.holds(path):
            return files.open_regular(str(path))
        with self._walk(path) as found:
            files.refuse_odd(os.fstat(found.descriptor))
            # The file that was looked at, whatever has its name by now.
            return os.open(f"/proc/self/fd/{found.descriptor}", _READ)

    def replace(self, path: Path | str, data: bytes, expected: bytes | None = None) -> None:
        """Replace a file atomically; a link to it stays, and what it leads to is replaced.

        Args:
            expected: what the file must hold to be replaced; it then keeps its owner and mode.

        Raises:
            Failure: it cannot be written; an old file is left as it was.
        """
        if not self.holds(path):
            files.replace(str(path), data, expected=expected)
            return
        try:
            try:
                with self._walk(path) as found:
                    files.put(found.parent, found.names[-1], str(path), data, 0o644, expected)
            except FileNotFoundError:
                with self._walk(Path(path).parent) as found:
                    name = Path(path).name
                    files.put(found.descriptor, name, str(path), data, 0o644, expected)
        except OSError as error:
            raise files.unwritten(str(path), error) from error

    def make(self, directory: Path) -> None:
        """Make a directory, and those around it, where they are not there."""
        try:
            self.stat(directory)
        except FileNotFoundError:
            self.make(directory.parent)
            with self._walk(directory.parent) as found:
                os.mkdir(directory.name, 0o755, dir_fd=found.descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file, or an empty directory; a link is removed itself."""
        with self._walk(path.parent) as found:
            status = os.stat(path.name, dir_fd=found.descriptor, follow_symlinks=False)
            remove = os.rmdir if stat.S_ISDIR(status.st_mode) else os.unlink
            remove(path.name, dir_fd=found.descriptor)

    # --- the walk ----------------------------------------------------------------------

    def _absolute(self, path: Path | str) -> Path:
        # Not normalised: what `..` means is decided by the directories, in the walk.
        return Path(path) if os.path.isabs(path) else Path.cwd() / path

    @contextmanager
    def _walk(self, path: Path | str) -> Iterator[_Found]:
        opened = [os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        try:
            names = self._follow(self._absolute(path).parts[len(self._parts) :], opened)
            yield _Found(opened[-1], opened[max(len(opened) - 2, 0)], names)
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _follow(self, parts: tuple[str, ...], opened: list[int]) -> list[str]:
        """Go to a file; ``opened`` has the descriptors of the directories to it, and its own."""
        left, names, links = list(parts[::-1]), list[str](), list[_Link]()
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if names:
                    os.close(opened.pop())
                    names.pop()
                continue
            try:
                found = os.open(name, _PATH, dir_fd=opened[-1])
            except FileNotFoundError:
                self._miss([link for link in links if link.left <= len(left)], [*names, name], left)
                raise
            opened.append(found)
            status = os.fstat(found)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink("", dir_fd=found)
                os.close(opened.pop())
                links.append(_Link(self._shown([*names, name]), target, len(left)))
                if len(links) > _MOST_LINKS:
                    raise OSError(errno.ELOOP, "its links lead in a circle, or are too many")
                if not left and os.path.normpath(os.path.join("/", *names, target)) == os.devnull:
                    raise _Null(links[-1].path, target, target)
                if target.startswith("/"):
                    names.clear()
                    while len(opened) > 1:
                        os.close(opened.pop())
                left += target.split("/")[::-1]
                continue
            names.append(name)
            if left and not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if len(opened) > _MOST_DEEP:
                raise OSError(errno.ENAMETOOLONG, f"it is more than {_MOST_DEEP} levels deep")
        return names

    def _miss(self, links: list[_Link], names: list[str], left: list[str]) -> None:
        """Blame the last of the links that have not been followed to their ends."""
        if links:
            link = links[-1]
            meant = [*names, *left[: link.left - len(left) - 1 : -1]]
            raise Dangling(link.path, link.target, self._shown(meant))

    def _shown(self, names: list[str]) -> str:
        return str(self.path.joinpath(*names))


class _Null(Dangling):
    """A link to ``/dev/null``, whatever that is below the root."""


class _Host(Root):
    """This host's own ``/``. Files are opened as usual, since a path may be a stream."""

    def holds(self, path: Path | str) -> bool:
        """Return False: no path is walked."""
        return False

    def stat(self, path: Path | str) -> os.stat_result:
        """Return the status of a file."""
        try:
            return os.stat(path)
        except FileNotFoundError as error:
            raise (missing(path) or error) from None


HOST = _Host()


def named(root: Path) -> Root:
    """Return the root for paths that the caller named: ``HOST``, or that of another system."""
    tree = Root(root)
    return HOST if tree.whole else tree


def missing(path: Path | str) -> Dangling | None:
    """Return the dangling link because of which a file of this host is missing, if one is."""
    try:
        Root().stat(path)
    except OSError as error:
        return error if isinstance(error, Dangling) else None
    return None
