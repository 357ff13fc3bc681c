"""Text of others, made harmless for whoever reads it."""

from __future__ import annotations


def printable(text: str) -> str:
    """Make a text of unknown origin one harmless line of the same length.

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
    """Make a text of several lines harmless; its line ends stay."""
    return "\n".join(map(printable, text.split("\n")))
