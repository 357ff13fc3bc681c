"""JSON Lines of unknown origin, a line at a time."""

from __future__ import annotations

import json

from oomrules.lean import Any


class NoObject(ValueError):
    """A line that is no JSON object; the text says what is wrong with it."""


def read_object(line: str) -> dict[str, Any]:
    """Return the object that a line is.

    Raises:
        NoObject: it is none, or has a number in it that JSON does not know.
    """
    try:
        data = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NoObject(f"this is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise NoObject("a line is a JSON object")
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
