"""``/etc/oomrules.conf``: what an administrator configures besides the rules."""

from __future__ import annotations

import configparser
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from oomrules import files, targets
from oomrules.errors import Failure, reason
from oomrules.lean import NamedTuple
from oomrules.roots import Root

PATH = "/etc/oomrules.conf"

AUTO = "auto"

# What the guard does: all, all but the signals, or nothing.
ON, DRY, OFF = MODES = ("on", "dry-run", "off")

_EMIT, _GUARD = "Emit", "Guard"
_KEYS = {_EMIT: ("To", "Head"), _GUARD: ("Mode", "Hooks", "Notices")}
# How people are told what the guard did, besides the journal: at their desktops, and by a signal
# on the system's bus, as earlyoom does.
SESSIONS, BROADCAST = "sessions", "broadcast"
_WAYS = (SESSIONS, BROADCAST)
_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
_HINT = f"see docs/emit.md; without {PATH} the host decides"
_TOLD_HINT = "write yes or no; see docs/notices.md"
_MOST_HEAD = 1000
_LARGEST = 64 * 1024


class Config(NamedTuple):
    """The configuration.

    Attributes:
        to: the targets of the list (``oomrules.targets``); empty if the host decides.
        head: how many candidates ``oom_score_adj`` puts in order; None: as usual.
        hooks: whether programs are told what the guard did (docs/notices.md).
        notices: the ways in which people are told of it: ``SESSIONS``, ``BROADCAST``.
        guard: what the guard of the service does, one of ``MODES``.
    """

    to: tuple[str, ...] = ()
    head: int | None = None
    hooks: bool = True
    notices: tuple[str, ...] = _WAYS
    guard: str = ON


def load(path: str = PATH, root: Path = Path("/")) -> Config:
    """Read the configuration; a missing file is an empty one.

    Args:
        path: of the file, as it is below the root.
        root: what stands for ``/``. Another system's configuration must not name files of this
            host, which would be replaced.

    Raises:
        Failure: it cannot be read, or a line of it is wrong.
    """
    tree = Root(root)
    if tree.whole:
        return _load(path, os.stat, files.read)
    settled = _load(str(root / path.lstrip("/")), tree.stat, tree.read)
    for target in settled.to:
        if target not in targets.IN_FORCE:
            raise Failure(
                f"{root / path.lstrip('/')}: To= names {target}, which would be a file of this "
                "host, not of the one below --root",
                f"use `--to {shlex.quote(target)}` if it is meant",
            )
    return settled


def _load(
    path: str, look: Callable[[str], os.stat_result], read: Callable[[str, int], bytes]
) -> Config:
    try:
        status = look(path)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o002:
            whose = "every user" if status.st_mode & 0o002 else f"uid {status.st_uid}"
            raise Failure(
                f"{path} is writable by {whose}, who could change which files are overwritten",
                f"check its contents, then `chown root {path}` and `chmod 644 {path}`",
            )
        # Editors on other systems put a byte order mark in front; it means nothing.
        text = read(path, _LARGEST).decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is no UTF-8 text"
        raise Failure(f"cannot read {path}: {why}", _HINT) from error
    parser = configparser.RawConfigParser(strict=True, empty_lines_in_values=False)
    # Keys as they are written, for the messages.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.DuplicateOptionError as error:
        first = _line(text, rf"{re.escape(error.option)}\s*[=:]")
        raise Failure(
            f"{path}:{error.lineno}: {error.option}= a second time; it stands in line {first} too",
            "remove one of the two lines; To= takes several targets, separated by blanks",
        ) from error
    except configparser.DuplicateSectionError as error:
        first = _line(text, rf"\[{re.escape(error.section)}\]")
        raise Failure(
            f"{path}:{error.lineno}: [{error.section}] a second time; it begins in line {first} "
            "already",
            f"put the lines below it under the first [{error.section}]",
        ) from error
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or next(iter(getattr(error, "errors", [(1,)])))[0]
        raise Failure(f"{path}:{line}: not a section, nor `Key=value`", _HINT) from error
    for section in parser.sections():
        if section not in _KEYS:
            where = _line(text, rf"\[{re.escape(section)}\]")
            raise Failure(
                f"{path}:{where}: unknown section [{section}]",
                f"there are {' and '.join(f'[{one}]' for one in _KEYS)}",
            )
        for key in parser[section]:
            if key not in _KEYS[section]:
                where = _line(text, rf"{re.escape(key)}\s*[=:]")
                known = " and ".join(f"{one}=" for one in _KEYS[section])
                raise Failure(
                    f"{path}:{where}: unknown key {key}= in [{section}]", f"there are {known}"
                )
    emit, guard = (parser[name] if parser.has_section(name) else {} for name in (_EMIT, _GUARD))
    return Config(
        to=_to(emit.get("To", AUTO), path, text),
        head=_head(emit.get("Head"), path, text),
        hooks=_hooks(guard.get("Hooks", "yes"), path, text),
        notices=_notices(guard.get("Notices", "yes"), path, text),
        guard=_mode(guard.get("Mode", ON), path, text),
    )


def _mode(value: str, path: str, text: str) -> str:
    word = value.strip().lower()
    if word not in MODES:
        raise Failure(
            f"{path}:{_line(text, 'Mode')}: Mode={value[:40]} is no way for the guard to work",
            f"write one of {', '.join(MODES)}; see docs/service.md",
        )
    return word


def _hooks(value: str, path: str, text: str) -> bool:
    word = value.strip().lower()
    if word not in (*_YES, *_NO):
        raise Failure(
            f"{path}:{_line(text, 'Hooks')}: Hooks={value[:40]} is neither yes nor no", _TOLD_HINT
        )
    return word in _YES


def _notices(value: str, path: str, text: str) -> tuple[str, ...]:
    words = tuple(value.lower().split())
    if len(words) == 1 and words[0] in (*_YES, *_NO):
        return _WAYS if words[0] in _YES else ()
    for word in words:
        if word not in _WAYS:
            raise Failure(
                f"{path}:{_line(text, 'Notices')}: Notices={value[:40]}: `{word[:40]}` is no way "
                "to tell people",
                f"write yes, no, or one or more of {' '.join(_WAYS)}",
            )
    return tuple(dict.fromkeys(words))


def _to(value: str, path: str, text: str) -> tuple[str, ...]:
    words = tuple(value.split())
    if words in ((), (AUTO,)):
        return ()
    for word in words:
        if not targets.is_target(word):
            raise Failure(
                f"{path}:{_line(text, 'To')}: To={value}: `{word}` is no target",
                f"write {AUTO}, or one or more of {targets.CHOICES}",
            )
    return words


def _head(value: str | None, path: str, text: str) -> int | None:
    if value is None:
        return None
    # int() takes no more than 4,300 digits.
    digits = re.fullmatch("0*([0-9]{1,4})", value)
    if not digits or not 1 <= int(digits[1]) <= _MOST_HEAD:
        raise Failure(
            f"{path}:{_line(text, 'Head')}: Head={value[:40]} is no number from 1 to {_MOST_HEAD}",
            _HINT,
        )
    return int(digits[1])


def _line(text: str, pattern: str) -> int:
    """Return the number of the line that begins with a pattern, counted from 1."""
    found = re.search(rf"^\s*{pattern}", text, re.MULTILINE)
    return 1 + text.count("\n", 0, found.end() if found else 0)
