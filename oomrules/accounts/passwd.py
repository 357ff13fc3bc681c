"""The users and groups of the host's own files, /etc/passwd and /etc/group.

A rule means the user or group that its name stands for when it is looked up. An id whose name
has not been looked up stands for itself, as in ps(1): it is never unknown, since a user with
subordinate ids could choose one that is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from oomrules import files
from oomrules.accounts.mentions import Mentions, is_number, mentioned
from oomrules.errors import reason
from oomrules.lean import Any
from oomrules.program import nodes
from oomrules.program.program import Program

# By the attribute that asks for the names: the file that has them.
FILES = {"user": "passwd", "group": "group"}

# Longer names are none (useradd(8) allows 32 bytes, a directory more).
MOST_BYTES = 256
# Ids end here: the largest 32-bit number stands for none.
MOST_ID = 2**32 - 2

# Names that are kept for rules that could mean any.
MOST_NAMES = 4096
_MOST_ALIASES = 16

# A file of so many bytes has some 200,000 users; more is not read.
_LARGEST = 16 << 20


def directory() -> str:
    """Name the directory of the files; the environment may name another."""
    return os.environ.get("OOMRULES_ACCOUNTS") or "/etc"


class Accounts:
    """Names that have been found. The first who has a name keeps it.

    Attributes:
        by_id: the name of each id; one that has several is a ``nodes.Names``.
    """

    def __init__(self) -> None:
        # Whatever is said elsewhere: id 0 alone is root, and root is called so.
        self.by_id: dict[int, str] = {0: "root"}
        self._ids: dict[str, int] = {"root": 0}

    def id_of(self, name: str) -> int | None:
        """Return the id that a name stands for; None if it is not known."""
        return self._ids.get(name)

    def add(self, name: str, number: int) -> bool:
        """Take a name for an id; False if it is malformed, a number, or the name of another id."""
        if not (acceptable(name) and 0 <= number <= MOST_ID):
            return False
        if self._ids.setdefault(name, number) != number:
            return False
        first = self.by_id.setdefault(number, name)
        aliases = getattr(first, "aliases", ())
        if name != first and name not in aliases and len(aliases) < _MOST_ALIASES:
            self.by_id[number] = nodes.Names(str(first), (*aliases, name))
        return True

    def chosen(self, asked: Mentions, present: Iterable[int] = ()) -> dict[int, str]:
        """Return the names that can matter to rules: at most MOST_NAMES, those present first.

        A number that a pattern matches matters too: its id is known by its name.
        """
        order = [*(number for number in present if number in self.by_id), *self.by_id]
        found: dict[int, str] = {}
        for number in order:
            if len(found) >= MOST_NAMES:
                break
            name = self.by_id[number]
            if asked.matches(name) or asked.matches(str(number)):
                found[number] = name
        return found


def acceptable(name: str) -> bool:
    """Return whether a text can be a name; a number cannot, since it would be another's id."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    return (
        0 < size <= MOST_BYTES and not any(char in name for char in ":\n\0") and not is_number(name)
    )


def read(kind: str) -> tuple[Accounts, str]:
    """Return the names in /etc/passwd or /etc/group, and why they are not all, or no text."""
    path = os.path.join(directory(), FILES[kind])
    known, problem = Accounts(), ""
    try:
        # A regular file, which cannot block, and one byte more than is used of it.
        with os.fdopen(files.open_regular(path), "rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        return known, f"{path} cannot be read ({reason(error)}), so its names are not known"
    if len(data) > _LARGEST:
        problem = f"only the first {_LARGEST >> 20} MiB of {path} were read"
        data = data[: data.rfind(b"\n", 0, _LARGEST) + 1]
    for line in data.split(b"\n"):
        name, _, rest = line.partition(b":")
        number = rest.partition(b":")[2].partition(b":")[0]
        # Lines with a sign are NIS's, which nsswitch.conf(5) knows better.
        if name[:1] not in (b"#", b"+", b"-") and number.isdigit() and len(number) <= 10:
            known.add(name.decode("utf-8", "backslashreplace"), int(number))
    return known, problem


Both = tuple[dict[int, str], dict[int, str]]


def of_files(program: Program, besides: Both = ({}, {})) -> Both:
    """Return the names that rules ask for, users' and groups', as far as the files have them.

    Args:
        besides: names from elsewhere, which count where the files do not say otherwise.
    """
    found: list[dict[int, str]] = []
    for kind, more in zip(FILES, besides, strict=True):
        asked = mentioned(program, kind)
        if asked.nothing:
            found.append({})
            continue
        known = read(kind)[0]
        for number, name in more.items():
            for one in (name, *getattr(name, "aliases", ())):
                known.add(str(one), number)
        found.append(known.chosen(asked, more))
    return found[0], found[1]


def to_data(names: dict[int, str]) -> dict[str, Any]:
    """Return names as plain data: a text, or a list where there are aliases."""
    return {
        str(number): [str(name), *name.aliases] if isinstance(name, nodes.Names) else name
        for number, name in names.items()
    }


def from_data(data: Any) -> dict[int, str]:
    """Read names from plain data.

    Raises:
        ValueError, TypeError, AttributeError: they are none.
    """
    found: dict[int, str] = {}
    for number, name in data.items():
        texts = [name] if isinstance(name, str) else list(name)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"the names of {number}")
        found[int(number)] = nodes.Names(texts[0], texts[1:]) if len(texts) > 1 else texts[0]
    return found
