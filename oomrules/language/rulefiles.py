"""Where rules come from: drop-in directories in systemd's convention."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oomrules import __version__, resources, roots
from oomrules.errors import Failure, reason
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.text import RuleText, Span
from oomrules.roots import Dangling, Root

# Highest precedence first.
DIRECTORIES = (
    "/etc/oomrules.d",
    "/run/oomrules.d",
    "/usr/local/lib/oomrules.d",
    "/usr/lib/oomrules.d",
)
SUFFIX = ".oom"
VOCABULARY = "00-vocabulary.oom"
STDIN = "<stdin>"

# The levels of files (``RuleText.level``). Each step of precedence has two: a preset that is
# linked into a directory yields to the files that an administrator has written there.
_NAMED, _IN_A_DIRECTORY = 0, 2
# From this level on, files belong to packages and programs.
PACKAGED = 4
LOWEST = PACKAGED + 2 * len(DIRECTORIES)
# The directory of presets, of which a host links some.
PRESETS = "presets"

# Rule files are written by hand; a larger file is something else.
LARGEST = 2**20

# Documentation/admin-guide/devices.txt: /dev/null.
_NULL = os.makedev(1, 3)


@dataclass(frozen=True)
class Found:
    """The rule files in force, and what could not be read.

    Attributes:
        files: the files, in the order of their names; the vocabulary comes first.
        masked: files that are switched off by a link to /dev/null or an empty file.
        replaced: files of a lower directory, with the one that replaces each.
        root: the directory that stands for ``/``.
    """

    files: tuple[RuleText, ...]
    masked: tuple[Path, ...] = ()
    replaced: tuple[tuple[Path, Path], ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    root: Path = Path("/")

    @property
    def adds_vocabulary(self) -> bool:
        """Whether the shipped vocabulary was put below the files that were found."""
        return bool(self.files) and self.files[0].name == str(resources.rules() / VOCABULARY)


def system(root: Path = Path("/"), links: Mapping[str, Path] | None = None) -> Found:
    """Return the rules of this host.

    The rules shipped in the package stand in for /usr/lib/oomrules.d where that
    directory does not exist, so that a drop-in alone never leaves a host without the
    protecting ones.

    Args:
        root: the directory that stands for ``/``, for tests and images.
        links: files that are taken as if they were linked into the first directory, by the names
            of their links, which are not there yet.
    """
    looked_in, tree, links = directories(root), Root(root), links or {}
    chosen = {name: (path, _level(_NAMED, path, tree)) for name, path in links.items()}
    replaced: list[tuple[Path, Path]] = []
    problems: list[Diagnostic] = []
    for step, directory in enumerate(looked_in):
        try:
            names = _rule_names(directory, tree)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(_unreadable(directory, error))
            continue
        for name in names:
            if name in chosen:
                replaced.append((directory / name, chosen[name][0]))
            else:
                path = directory / name
                chosen[name] = (path, _level(PACKAGED + 2 * step if step else _NAMED, path, tree))
    masked = tuple(path for path, _ in chosen.values() if _is_mask(path, tree))
    wanted = [chosen[name] for name in sorted(chosen)]
    texts, unread = _read((file for file in wanted if file[0] not in masked), tree)
    by_link = {str(path): str(looked_in[0] / name) for name, path in links.items()}
    texts = [replace(text, name=by_link.get(text.name, text.name)) for text in texts]
    in_force = _with_vocabulary(texts, LOWEST, tree)
    return Found(in_force, masked, tuple(replaced), (*problems, *unread), root)


def directories(root: Path = Path("/")) -> list[Path]:
    """Return the directories of a host's rules, the highest precedence first."""
    paths = [root / directory.lstrip("/") for directory in DIRECTORIES]
    if not Root(root).is_dir(paths[-1]):
        paths[-1] = resources.rules()
    return paths


def fingerprint(root: Path = Path("/")) -> list[list[str | int]]:
    """Return plain data that is equal as long as no rule file was added, removed or written."""
    seen: list[list[str | int]] = [["oomrules", __version__]]
    tree = Root(root)
    for directory in [*directories(root), resources.rules()]:
        try:
            names = _rule_names(directory, tree)
        except OSError as error:
            seen.append([str(directory), error.errno or 0])
            continue
        for name in names:
            path = directory / name
            try:
                status = tree.stat(path)
                seen.append([str(path), status.st_ino, status.st_size, status.st_mtime_ns])
            except OSError as error:
                seen.append([str(path), error.errno or 0])
    return seen


def given(paths: Sequence[str], root: Path = Path("/")) -> Found:
    """Return the rules of ``--rules``: files, or directories of drop-ins.

    A file that is named itself takes precedence over those of a directory.

    Args:
        root: no link below it leads out of it.

    Raises:
        Failure: a path is not there.
    """
    wanted: list[tuple[Path, int]] = []
    masked: list[Path] = []
    problems: list[Diagnostic] = []
    tree = roots.named(root)
    for written in paths:
        path = Path(written)
        try:
            if not stat.S_ISDIR(tree.stat(path).st_mode):
                wanted.append((path, _level(_NAMED, path, tree)))
                continue
            inside = [path / name for name in _rule_names(path, tree)]
        except FileNotFoundError as error:
            raise Failure(f"no such rule file or directory: {written}") from error
        except OSError as error:
            problems.append(_unreadable(path, error))
            continue
        masked += [file for file in inside if _is_mask(file, tree)]
        wanted += [
            (file, _level(_IN_A_DIRECTORY, file, tree)) for file in inside if file not in masked
        ]
    # A file that is named twice is one file, even by two paths.
    by_level = sorted(wanted, key=lambda file: -file[1])
    once = {_real(path, tree): (path, level) for path, level in by_level}
    texts, unread = _read(once.values(), tree)
    in_force = _with_vocabulary(texts, LOWEST, tree)
    return Found(in_force, tuple(masked), (), (*problems, *unread), root)


def _real(path: Path, tree: Root) -> str:
    try:
        return str(tree.real(path))
    except OSError:
        return str(path)


def is_preset(text: RuleText) -> bool:
    """Return whether a file is a preset, by itself or by a link to it."""
    return text.level % 2 == 1


def _level(step: int, path: Path, tree: Root) -> int:
    return step + (Path(_real(path, tree)).parent.name == PRESETS)


def _rule_names(directory: Path, tree: Root) -> list[str]:
    """Return the names of the drop-ins in a directory, in order."""
    names = tree.names(directory)
    return sorted(name for name in names if name.endswith(SUFFIX) and not name.startswith("."))


def _is_mask(path: Path, tree: Root) -> bool:
    """Return whether a file is empty or a link to /dev/null; a broken link is neither."""
    if tree.is_null(path):
        return True
    try:
        status = tree.stat(path)
    except OSError:
        return False
    is_null = stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL
    return is_null or (stat.S_ISREG(status.st_mode) and status.st_size == 0)


def _with_vocabulary(texts: Sequence[RuleText], level: int, tree: Root) -> tuple[RuleText, ...]:
    """Put the shipped vocabulary below everything else, unless it is there already."""
    path = resources.rules() / VOCABULARY
    shipped = path.stat()
    if any(_is_same(Path(text.name), shipped, tree) for text in texts):
        return tuple(texts)
    vocabulary = RuleText(str(path), path.read_text(encoding="utf-8"), level)
    return (vocabulary, *texts)


def _is_same(path: Path, other: os.stat_result, tree: Root) -> bool:
    try:
        return os.path.samestat(tree.stat(path), other)
    except OSError:
        return False


def _read(paths: Iterable[tuple[Path, int]], tree: Root) -> tuple[list[RuleText], list[Diagnostic]]:
    read = [read_file(path, level, tree) for path, level in paths]
    texts = [text for text in read if isinstance(text, RuleText)]
    return texts, [problem for problem in read if isinstance(problem, Diagnostic)]


def read_file(path: Path, level: int = 0, tree: Root = roots.HOST) -> RuleText | Diagnostic:
    """Return the text of a rule file, or why it cannot be read.

    Args:
        tree: the directory that stands for ``/``; no link in it leads out of it.
    """
    try:
        data = tree.read(path, LARGEST)
    except FileNotFoundError as error:
        return _unreadable(path, roots.missing(path) or error)
    except OSError as error:
        return _unreadable(path, error)
    return decode(data, str(path), level)


def standard_input() -> RuleText | Diagnostic:
    """Return the rules on standard input, or why they cannot be read."""
    data = sys.stdin.buffer.read(LARGEST + 1)
    if len(data) > LARGEST:
        return _unreadable(Path(STDIN), OSError(0, f"it is larger than {LARGEST >> 20} MiB"))
    return decode(data, STDIN)


def decode(data: bytes, name: str, level: int = 0) -> RuleText | Diagnostic:
    """Return the text of a rule file's bytes, or where they are not UTF-8."""
    try:
        # Editors on other systems put a byte order mark in front; it means nothing.
        return RuleText(name, data.decode("utf-8").removeprefix("\ufeff"), level)
    except UnicodeDecodeError as error:
        readable = data[: error.start].decode("utf-8").removeprefix("\ufeff")
        text = RuleText(name, readable + data[error.start :].decode("latin-1"), level)
        # UTF-16 begins with a mark.
        guess = "utf16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin1"
        return Diagnostic(
            code="OOM002",
            message=f"this is not UTF-8: byte 0x{data[error.start]:02x}",
            source=text,
            span=Span(len(readable), len(readable) + 1),
            help=f"save the file as UTF-8, for example with `iconv -f {guess} -t utf8`",
        )


def _unreadable(path: Path, error: OSError) -> Diagnostic:
    mend = "make it readable or remove it"
    if isinstance(error, Dangling):
        link = shlex.quote(error.link)
        mend = f"let it lead to another file with `ln -sfn FILE {link}`, or `rm {link}`"
    return Diagnostic(
        code="OOM001",
        message=f"cannot read {path}: {reason(error)}",
        source=RuleText(str(path), ""),
        span=Span(0, 0),
        help=f"{mend}; no rules are used while one of their files cannot be read",
    )
