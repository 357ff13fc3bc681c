"""The one error that ends a command: a sentence, and what to do next."""

from __future__ import annotations


class Failure(Exception):
    """A failure that the user can cause or must know of.

    Args:
        message: one sentence that names the file, the line, the pid or the unit.
        hint: what to do next, in one sentence, or None.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def full(self) -> str:
        """The message and the hint in one line, as in a log."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


def reason(error: OSError) -> str:
    """Return an operating system error in words, without its number or path."""
    words = error.strerror or str(error)
    return words[:1].lower() + words[1:]
