"""Changed rule files: shown as a difference, or written in one step."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path

from oomrules.commands.terminal import printable
from oomrules.errors import Failure, reason
from oomrules.language import rulefiles
from oomrules.language.text import RuleText


def print_difference(before: RuleText, after: str) -> None:
    """Print a unified difference, as ``patch`` takes it."""
    lines = difflib.unified_diff(
        before.text.splitlines(keepends=True),
        after.splitlines(keepends=True),
        before.name,
        before.name,
    )
    for line in lines:
        print(printable(line.rstrip("\r\n")))
        if not line.endswith("\n"):
            print("\\ No newline at end of file")


def write(before: RuleText, after: str) -> None:
    """Replace a rule file's text, all or nothing.

    A link is followed; owner and mode are kept.

    Raises:
        Failure: the file is not what was read, or it cannot be written; it is untouched.
    """
    path = Path(os.path.realpath(before.name))
    now = rulefiles.read_file(path, before.level)
    if not isinstance(now, RuleText) or now.text != before.text:
        raise Failure(
            f"{before.name} was changed by somebody else meanwhile",
            "nothing was written; try again",
        )
    written = ""
    try:
        status = path.stat()
        descriptor, written = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(after)
            file.flush()
            os.fsync(descriptor)
            os.fchmod(descriptor, status.st_mode & 0o7777)
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, status.st_uid, status.st_gid)
        os.replace(written, path)
    except OSError as error:
        if written and os.path.exists(written):
            os.unlink(written)
        raise Failure(f"cannot write {before.name}: {reason(error)}") from error
