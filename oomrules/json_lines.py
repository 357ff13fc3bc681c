"""JSON Lines of unknown origin, a line at a time."""

from __future__ import annotations

import json

from oomrules.lean import Any

_LONGEST_KEY = 60


class NoObject(ValueError):
    """A line that is no JSON object; the text says what is wrong with it."""


def read_object(line: str) -> dict[str, Any]:
    """Return the object that a line is.

    Raises:
        NoObject: it is none, or has a number in it that JSON does not know, or one key twice.
    """
    try:
        data = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise NoObject(f"this is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise NoObject("a line is a JSON object")
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of a key that stands there twice, nobody knows which value is meant."""
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {json.dumps(twice)[:_LONGEST_KEY]} a second time")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
