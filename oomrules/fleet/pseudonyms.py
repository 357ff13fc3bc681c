"""Names and ids that stand for others, and that rules cannot tell from them.

A text is replaced by a keyed hash. Where a condition of the rules would then have another value,
only those characters are replaced that the condition does not look at: of "firefox" under "fire*"
the first four stay, and a name that a rule spells out stays as it is.
"""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from oomrules.errors import Failure
from oomrules.program import nodes
from oomrules.program.automaton import WORK
from oomrules.program.nodes import Node
from oomrules.program.program import PART_OF, USER_UNIT, WANTED_BY, Program

# A pattern that a text is compared with: glob or search, and the pattern.
Pattern = tuple[str, str]
_LENGTH = 11
_MOST_TRIED = 100
# Far more than a rule may take of one process.
_MOST_WORK = 100_000_000
_DIGITS, _SMALL = "0123456789", "abcdefghijklmnopqrstuvwxyz"
# The ids at which other kinds of users begin: root, the system's, people, dynamic users of systemd
# (systemd, docs/UIDS-GIDS.md), nobody, and what user namespaces have.
_BORDERS = (0, 1, 1000, 60000, 61184, 65520, 65534, 65536, 2**32 - 2)


class Asked(NamedTuple):
    """What rules ask for: patterns by attribute, patterns of units' names, and all numbers."""

    patterns: dict[str, frozenset[Pattern]]
    numbers: frozenset[int]

    def of(self, *attributes: str) -> frozenset[Pattern]:
        """Return the patterns that some attributes are compared with."""
        return frozenset().union(*(self.patterns.get(name, frozenset()) for name in attributes))


def asked(program: Program) -> Asked:
    """Return what the rules of a program ask of texts and ids.

    The targets of blocks and of ``kill whole`` stand under ``unit``.
    """
    found: dict[str, set[Pattern]] = {"unit": set()}
    numbers: set[int] = set()
    for scope in program.scopes:
        for target in (*scope.targets, *(whole.target for whole in scope.wholes)):
            for words in (WANTED_BY, PART_OF, USER_UNIT):
                target = target.removeprefix(words)
            found["unit"].add(("glob", target))
    for node in (part for stated in program.nodes for part in nodes.walk(stated)):
        if node[0] == "number":
            numbers.add(node[1])
        for name, pattern in _patterns(node):
            found.setdefault(name, set()).add(pattern)
            # As a name, a number means the id that has none.
            if name.endswith(("user", "group")) and pattern[1].isdecimal():
                numbers.add(int(pattern[1]))
    return Asked({name: frozenset(some) for name, some in found.items()}, frozenset(numbers))


def _patterns(node: Node) -> Iterator[tuple[str, Pattern]]:
    names = [part[1] for part in nodes.operands(node) if part[0] == "attr"]
    if node[0] in ("glob", "among", "search"):
        kind = "search" if node[0] == "search" else "glob"
        yield from ((name, (kind, text)) for name in names for text in node[2:])
    elif node[0] in ("==", "!="):
        texts = [part[1] for part in nodes.operands(node) if part[0] == "text"]
        yield from ((name, ("is", text)) for name in names for text in texts)


class _Framed(NamedTuple):
    """A text between two others that stay."""

    before: str
    text: str
    after: str

    def whole(self, text: str) -> str:
        """Return another text between them."""
        return f"{self.before}{text}{self.after}"


class Pseudonyms:
    """Replaces texts; the same text has the same replacement, another one another."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(key).digest()
        self._known: dict[tuple[frozenset[Pattern], str], str] = {}
        self._taken: dict[tuple[frozenset[Pattern], str], str] = {}

    def digest(self, text: str, salt: int = 0) -> bytes:
        """Return 64 bytes that tell nothing of a text without the key."""
        data = f"{salt}:{text}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key).digest()

    def name(self, text: str) -> str:
        """Return a name for a text, whatever rules ask for."""
        return "x" + base64.b32encode(self.digest(text)).decode().lower()[: _LENGTH - 1]

    def alike(self, one: str, other: str, patterns: frozenset[Pattern]) -> bool:
        """Return whether patterns say the same of two texts."""
        return one == other or _signature(one, patterns) == _signature(other, patterns)

    def replaced(
        self,
        text: str,
        patterns: frozenset[Pattern],
        before: str = "",
        after: str = "",
        whole: str = "",
    ) -> str:
        """Return what stands for a text under some patterns.

        Args:
            before: what the text begins with and keeps.
            after: what it ends with and keeps, as the suffix of a unit.
            whole: what stands for the rest where no pattern looks at it; else a name.

        Raises:
            Failure: the patterns leave too few texts.
        """
        known = self._known.get((patterns, text))
        if known is None:
            inner = text[len(before) : len(text) - len(after)]
            for new in self._proposed(inner, whole) if inner else ("",):
                found = self._closest(_Framed(before, inner, after), new, patterns)
                if self._taken.setdefault((patterns, found), text) == text:
                    known = self._known[patterns, text] = found
                    break
            else:
                raise Failure(
                    f"the rules leave too few names like {text}, so some would be the same",
                    "leave --redact out, or name other rules with --rules",
                )
        return known

    def _proposed(self, text: str, whole: str) -> Iterator[str]:
        yield whole or self.name(text)
        yield from (self._characters(text, salt) for salt in range(_MOST_TRIED))

    def _closest(self, old: _Framed, new: str, patterns: frozenset[Pattern]) -> str:
        """Return a text in place of an old one, with all of it replaced that no pattern looks at.

        Where that is not all of it, character by character, so that the length is the old one.
        """
        wanted = _signature(old.whole(old.text), patterns)
        if _signature(old.whole(new), patterns) == wanted:
            return old.whole(new)
        if len(new) != len(old.text):
            new = self._characters(old.text, 0)
        # Halves of what must not be replaced as a whole.
        left, now = [(0, len(new))], old.text
        while left:
            start, end = left.pop()
            next_ = now[:start] + new[start:end] + now[end:]
            if _signature(old.whole(next_), patterns) == wanted:
                now = next_
            elif end - start > 1:
                middle = (start + end) // 2
                left += [(start, middle), (middle, end)]
        return old.whole(now)

    def _characters(self, text: str, salt: int) -> str:
        """Return a text of the same length; letters, digits and punctuation stay what they are."""
        noise = b""
        while len(noise) < len(text):
            noise += self.digest(text, salt + len(noise) * _MOST_TRIED + 1)
        return "".join(map(_other, text, noise))


def _other(char: str, noise: int) -> str:
    """Return another digit or letter in place of one; anything else as it is."""
    if not char.isalnum():
        return char
    others = (_DIGITS if char.isdecimal() else _SMALL).replace(char.lower(), "")
    new = others[noise % len(others)]
    return new.upper() if char.isupper() else new


def _signature(text: str, patterns: frozenset[Pattern]) -> list[object]:
    """Return what each pattern says of a text."""
    WORK.begin(_MOST_WORK)
    return [_SAYS[kind](text, pattern) for kind, pattern in sorted(patterns)]


_SAYS: dict[str, Callable[[str, str], object]] = {
    "glob": nodes.glob,
    "search": nodes.search_within,
    "is": str.__eq__,
}


def ids(found: Iterable[int], numbers: Iterable[int]) -> dict[int, int]:
    """Return what stands for ids: in the same order, and on the same side of each number.

    An id that is one of the numbers, root's and nobody's stay.
    """
    points = {*numbers, 65534, 2**32 - 1}
    borders = sorted({*_BORDERS, *points, *(point + 1 for point in points)})
    made: dict[int, int] = {}
    last = -1
    for one in sorted(set(found)):
        # No id is there that the kernel could not tell.
        at = bisect_right(borders, one)
        new = one if one < 0 or not at else max(borders[at - 1], last + 1)
        made[one] = last = new
    return made
