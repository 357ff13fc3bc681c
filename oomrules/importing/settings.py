"""Files in systemd's syntax (systemd.syntax(7)): sections, settings, and whose unit a file is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from oomrules.importing.translation import Line, Untranslatable

_SECTION = re.compile(r"\[([^\]]*)\]")
_KINDS = "service|slice|scope|socket|mount|swap|timer|target|path|device|automount"
_NAME = re.compile(rf"[A-Za-z0-9:_.\\@-]*\.(?:{_KINDS})", re.ASCII)


class Setting(NamedTuple):
    """One assignment.

    Attributes:
        section: the section it stands in, or an empty text.
        name: of the setting; empty for a line that is no assignment.
        value: what is assigned.
        line: where it stands.
    """

    section: str
    name: str
    value: str
    line: Line


def settings(name: str, lines: Sequence[str]) -> tuple[list[Setting], int]:
    """Return the assignments of a file, and how many lines say nothing.

    A line that ends in a backslash goes on in the next; comments between them are left out.
    """
    found, section, ignored, at = list[Setting](), "", 0, 0
    while at < len(lines):
        number, text = at + 1, lines[at].strip()
        at += 1
        if not text or text[0] in "#;":
            ignored += 1
            continue
        while text.endswith("\\") and at < len(lines):
            more = lines[at].strip()
            at += 1
            if more[:1] in ("#", ";"):
                ignored += 1
            else:
                text = f"{text[:-1].rstrip()} {more}"
        heading = _SECTION.fullmatch(text)
        if heading:
            section, ignored = heading.group(1), ignored + 1
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        line = Line(f"{name}:{number}", text)
        found.append(Setting(section, key if equals else "", value if equals else "", line))
    return found, ignored


class Unit(NamedTuple):
    """Which units a file is about.

    Attributes:
        name: of the unit, or a glob.
        user: whether it is one of users' managers.
    """

    name: str
    user: bool


def unit_of(path: str) -> Unit:
    """Return the units that a file is about, by its path.

    Raises:
        Untranslatable: the path does not say it.
    """
    *directories, file = path.split("/")
    above = directories[-1] if directories else ""
    named = above[:-2] if above.endswith(".d") and file.endswith(".conf") else file
    user = "user" in directories and "systemd" in directories
    if re.fullmatch(_KINDS, named):
        return Unit(f"*.{named}", user)
    if not _NAME.fullmatch(named) or named.startswith("."):
        raise Untranslatable("Which unit it is for is not known from the name of the file.")
    if named == "-.slice":
        return Unit(named, user)
    stem, _, kind = named.rpartition(".")
    if stem.endswith("@") or (stem.endswith("-") and named != file):
        # A template; or what holds for all units whose names begin so.
        return Unit(f"{stem}*.{kind}", user)
    return Unit(named, user)
