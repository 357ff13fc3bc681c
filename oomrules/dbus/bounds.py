"""Bounds of answers over D-Bus: the types of values that rules know, and sizes.

Users make units, and what their managers say of them may be anything.
"""

from __future__ import annotations

import json
from typing import Any

from oomrules.attributes import ATTRIBUTES, Provider

# Bytes of a text, of a unit's name (systemd's own limit), and members of a list.
MOST_TEXT, MOST_NAME, MOST_LIST = 4096, 256, 4096

# Types of properties (D-Bus Specification, "Type System") whose values are read.
SIGNATURES = frozenset(["s", "b", "y", "n", "q", "i", "u", "x", "t", "as"])

LISTS = frozenset("Names WantedBy PartOf Wants ConsistsOf".split())
_TYPES: dict[str, type] = {
    **{
        attribute.field: type(attribute.empty)
        for attribute in ATTRIBUTES.values()
        if attribute.provider is Provider.SYSTEMD
    },
    **dict.fromkeys(LISTS, list),
}


def text(given: str, most: int = MOST_TEXT) -> str:
    """Return a text, cut at ``most`` bytes of UTF-8."""
    if len(given) * 4 <= most:
        return given
    return given.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def names(given: Any) -> list[str]:
    """Return the names of units in a list; what cannot be a name is left out.

    A longer name is not cut, since its beginning would name another unit.
    """
    if not isinstance(given, list):
        return []
    return [name for name in given[:MOST_LIST] if isinstance(name, str) and _is_name(name)]


def _is_name(name: str) -> bool:
    try:
        return 0 < len(name.encode()) < MOST_NAME and "\0" not in name
    except UnicodeEncodeError:
        return False


def value(name: str, given: Any) -> Any:
    """Return a property's value; None if it is not of the type that rules expect."""
    wanted = _TYPES.get(name)
    if wanted is None or type(given) is not wanted:
        return None
    if wanted is list:
        return names(given)
    return text(given) if isinstance(given, str) else given


def size(given: Any) -> int:
    """Return the bytes of a value as JSON, which is how it is handed over."""
    return len(json.dumps(given))
