"""Where rules come from: drop-in directories in systemd's convention."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oomrules import __version__, files, resources
from oomrules.errors import Failure, reason
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.text import RuleText, Span

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

# A rule file is written by hand; one of this size is something else.
LARGEST = 2**20

# Documentation/admin-guide/devices.txt: /dev/null.
_NULL = os.makedev(1, 3)


@dataclass(frozen=True)
class Found:
    """The rule files in force, and what stood in their way.

    Attributes:
        files: the files, in the order of their names; the vocabulary comes first.
        masked: files that are switched off by a link to /dev/null or an empty file.
        replaced: files of a lower directory, with the one that replaces each.
    """

    files: tuple[RuleText, ...]
    masked: tuple[Path, ...] = ()
    replaced: tuple[tuple[Path, Path], ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def adds_vocabulary(self) -> bool:
        """Whether the shipped vocabulary was put below the files that were found."""
        return bool(self.files) and self.files[0].name == str(resources.rules() / VOCABULARY)


def system(root: Path = Path("/")) -> Found:
    """Find the rules of this host.

    The rules shipped in the package stand in for /usr/lib/oomrules.d where that
    directory does not exist, so that a drop-in alone never leaves a host without the
    protecting ones.

    Args:
        root: where the four directories are looked for, ``/`` but in tests and images.
    """
    looked_in = directories(root)
    chosen: dict[str, tuple[int, Path]] = {}
    replaced: list[tuple[Path, Path]] = []
    problems: list[Diagnostic] = []
    for level, directory in enumerate(looked_in):
        try:
            names = _rule_names(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(_unreadable(directory, reason(error)))
            continue
        for name in names:
            if name in chosen:
                replaced.append((directory / name, chosen[name][1]))
            else:
                chosen[name] = (level, directory / name)
    masked = tuple(path for _, path in chosen.values() if _is_mask(path))
    wanted = sorted((path.name, level, path) for level, path in chosen.values())
    in_force = [(path, level) for _, level, path in wanted if path not in masked]
    texts, unread = _read(in_force)
    return Found(
        _with_vocabulary(texts, len(looked_in)),
        masked,
        tuple(replaced),
        (*problems, *unread),
    )


def directories(root: Path = Path("/")) -> list[Path]:
    """List where the rules of a host are looked for, the highest precedence first."""
    found = [root / directory.lstrip("/") for directory in DIRECTORIES]
    if not found[-1].is_dir():
        found[-1] = resources.rules()
    return found


def fingerprint(root: Path = Path("/")) -> list[list[str | int]]:
    """Tell whether the rules of this host may have changed: what is in their directories.

    Returns:
        plain data that is equal as long as no file was added, removed or written.
    """
    seen: list[list[str | int]] = [["oomrules", __version__]]
    for directory in [*directories(root), resources.rules()]:
        try:
            names = _rule_names(directory)
        except OSError as error:
            seen.append([str(directory), error.errno or 0])
            continue
        for name in names:
            path = directory / name
            try:
                status = path.stat()
                seen.append([str(path), status.st_ino, status.st_size, status.st_mtime_ns])
            except OSError as error:
                seen.append([str(path), error.errno or 0])
    return seen


def given(paths: Sequence[str]) -> Found:
    """Read the rules of ``--rules``: files, or directories of drop-ins.

    Raises:
        Failure: a path is not there.
    """
    wanted: list[tuple[Path, int]] = []
    masked: list[Path] = []
    problems: list[Diagnostic] = []
    for written in paths:
        path = Path(written)
        if not path.is_dir():
            if not path.exists():
                raise Failure(f"no such rule file or directory: {written}")
            wanted.append((path, 0))
            continue
        try:
            inside = [path / name for name in _rule_names(path)]
        except OSError as error:
            problems.append(_unreadable(path, reason(error)))
            continue
        masked += [file for file in inside if _is_mask(file)]
        wanted += [(file, 0) for file in inside if file not in masked]
    # A file that is named twice, by whatever way, is one file.
    once = {os.path.realpath(path): (path, level) for path, level in wanted}
    texts, unread = _read(once.values())
    return Found(_with_vocabulary(texts, 1), tuple(masked), (), (*problems, *unread))


def _rule_names(directory: Path) -> list[str]:
    """List the drop-ins of a directory in order; other names are not looked at."""
    return sorted(
        name for name in os.listdir(directory) if name.endswith(SUFFIX) and not name.startswith(".")
    )


def _is_mask(path: Path) -> bool:
    """Tell whether a file is empty or a link to /dev/null; a broken link is neither."""
    try:
        status = path.stat()
    except OSError:
        return False
    is_null = stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL
    return is_null or (stat.S_ISREG(status.st_mode) and status.st_size == 0)


def _with_vocabulary(texts: Sequence[RuleText], level: int) -> tuple[RuleText, ...]:
    """Put the shipped vocabulary below everything else, unless it is there already."""
    path = resources.rules() / VOCABULARY
    if any(os.path.exists(text.name) and path.samefile(text.name) for text in texts):
        return tuple(texts)
    vocabulary = RuleText(str(path), path.read_text(encoding="utf-8"), level)
    return (vocabulary, *texts)


def _read(
    paths: Iterable[tuple[Path, int]],
) -> tuple[list[RuleText], list[Diagnostic]]:
    texts: list[RuleText] = []
    problems: list[Diagnostic] = []
    for path, level in paths:
        text = read_file(path, level)
        if isinstance(text, RuleText):
            texts.append(text)
        else:
            problems.append(text)
    return texts, problems


def read_file(path: Path, level: int = 0) -> RuleText | Diagnostic:
    """Read one rule file, or say why it cannot be read."""
    try:
        data = files.read(str(path), LARGEST)
    except OSError as error:
        return _unreadable(path, reason(error))
    return decode(data, str(path), level)


def standard_input() -> RuleText | Diagnostic:
    """Read rules from standard input, or say why they are none."""
    data = sys.stdin.buffer.read(LARGEST + 1)
    if len(data) > LARGEST:
        return _unreadable(Path(STDIN), f"it is larger than {LARGEST >> 20} MiB")
    return decode(data, STDIN)


def decode(data: bytes, name: str, level: int = 0) -> RuleText | Diagnostic:
    """Make the text of a rule file from its bytes, or say where it is not UTF-8."""
    try:
        # Editors on other systems put a byte order mark in front; it means nothing.
        return RuleText(name, data.decode("utf-8").removeprefix("\ufeff"), level)
    except UnicodeDecodeError as error:
        readable = data[: error.start].decode("utf-8").removeprefix("\ufeff")
        text = RuleText(name, readable + data[error.start :].decode("latin-1"), level)
        return Diagnostic(
            "OOM002",
            f"this is not UTF-8: byte 0x{data[error.start]:02x}",
            text,
            Span(len(readable), len(readable) + 1),
            f"save the file as UTF-8, for example with `iconv -f {_guess(data)} -t utf8`",
        )


def _guess(data: bytes) -> str:
    """Guess the encoding of a file that is not UTF-8: editors mark UTF-16 by its first bytes."""
    return "utf16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin1"


def _unreadable(path: Path, why: str) -> Diagnostic:
    return Diagnostic(
        "OOM001",
        f"cannot read {path}: {why}",
        RuleText(str(path), ""),
        Span(0, 0),
        "mend or remove it; rules are not used without one of their files",
    )
