"""Text of unknown origin, made harmless to print."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 5
# Characters that a shell takes as they are.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.@+,=/")


def printable(text: str) -> str:
    """Return a text of unknown origin as one harmless line of the same length.

    Control characters (C0 and C1), line and paragraph separators, what turns the direction of
    writing, what has no width and halves of surrogate pairs become U+FFFD; a tab becomes a blank.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else (" " if char == "\t" else "\N{REPLACEMENT CHARACTER}")
        for char in text
    )


def quoted(name: str) -> str:
    """Return a name as a shell takes it (``shlex.quote``, which is not loaded for this)."""
    return name if name and _PLAIN.issuperset(name) else "'" + name.replace("'", "'\\''") + "'"


def some(names: Sequence[str]) -> str:
    """Join the first five names of a list, and say how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def printable_lines(text: str) -> str:
    """Return a text of several lines made harmless; its line ends stay."""
    return "\n".join(map(printable, text.split("\n")))
