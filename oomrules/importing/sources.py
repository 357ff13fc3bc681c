"""The files to import: found, read within bounds, and cut into lines."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from oomrules import roots
from oomrules.errors import Failure, reason
from oomrules.roots import Root

# Bytes of a file, and of all files; files, and levels of directories.
LARGEST = 1 << 20
_MOST_BYTES = 16 << 20
_MOST_FILES = 10_000
_MOST_DEEP = 8

STDIN = "-"
# In a directory only these are looked at.
SUFFIXES = (
    ".conf",
    ".oomrule",
    ".rules",
    ".types",
    ".cgroups",
    ".service",
    ".scope",
    ".slice",
    ".socket",
    ".mount",
    ".swap",
)
# Links to units that stand elsewhere.
_LINKS = (".wants", ".requires", ".upholds")


class Source(NamedTuple):
    """A file.

    Attributes:
        name: as it was given, or found below what was given.
        lines: its lines, without their ends.
        found: whether it was found in a directory, and not named itself.
    """

    name: str
    lines: list[str]
    found: bool = False


def read(paths: Sequence[str], root: Path, lenient: bool = False) -> list[Source]:
    """Return the files of this name, and those in directories of this name.

    Args:
        root: no link below it leads out of it.
        lenient: whether a file that cannot be read counts as empty, and a directory may be. In a
            directory a link to /dev/null always does: both mask a unit.

    Raises:
        Failure: a file cannot be read, or there is too much.
    """
    tree = roots.named(root)
    found, size = list[Source](), 0
    wanted = {path: path != given for given in paths for path in _files(given, tree, lenient)}
    for name, in_directory in wanted.items():
        try:
            data = sys.stdin.buffer.read(LARGEST + 1) if name == STDIN else tree.read(name, LARGEST)
        except OSError as error:
            masks = in_directory and tree.is_null(name)
            if in_directory and not masks and error.errno == errno.ENOENT:
                # A link to a unit that is gone: no settings, and for systemd no mask.
                continue
            if not lenient and not masks:
                raise Failure(
                    f"cannot read {name}: {reason(error)}", "name files that can be read"
                ) from error
            data = b""
        size += len(data)
        if len(data) > LARGEST:
            raise Failure("standard input is larger than 1 MiB", "import it file by file")
        if size > _MOST_BYTES or len(found) >= _MOST_FILES:
            raise Failure(
                f"these are more than {_MOST_FILES} files or {_MOST_BYTES >> 20} MiB",
                "import them directory by directory",
            )
        found.append(Source(name, _lines(data), in_directory))
    return found


def _lines(data: bytes) -> list[str]:
    # What is no UTF-8 reaches the rule file in a comment only, as signs that stand for it.
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []


def _files(name: str, tree: Root, lenient: bool) -> Iterator[str]:
    if "\0" in name:
        raise Failure(f"cannot read {name}: there is a null character in its name")
    if name == STDIN or not tree.is_dir(name):
        yield name
        return
    inside = sorted(_inside(name, tree, 0))
    if not inside and not lenient:
        raise Failure(
            f"in {name} there is no file of a tool that is known here",
            f"name the file; in a directory only {', '.join(SUFFIXES)} are looked at",
        )
    yield from inside


def _inside(directory: str, tree: Root, depth: int) -> Iterator[str]:
    try:
        names = sorted(tree.names(directory))
    except OSError as error:
        raise Failure(f"cannot read {directory}: {reason(error)}", "name its files") from error
    if len(names) > _MOST_FILES:
        raise Failure(f"{directory} has more than {_MOST_FILES} files", "name its files")
    for name in names:
        path = os.path.join(directory, name)
        if name.startswith("."):
            continue
        if tree.is_dir(path):
            if depth < _MOST_DEEP and not name.endswith(_LINKS):
                yield from _inside(path, tree, depth + 1)
        elif name.endswith(SUFFIXES):
            yield path
