"""Text of unknown origin, made harmless to print."""

from __future__ import annotations


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


def printable_lines(text: str) -> str:
    """Return a text of several lines made harmless; its line ends stay."""
    return "\n".join(map(printable, text.split("\n")))
