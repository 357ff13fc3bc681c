"""Quantities: ``512MiB``, ``8192ms``, ``25%``, ``1_000``. The lexer accepts any suffix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from oomrules.attributes import Type
from oomrules.language.diagnostics import similar

_MEMORY = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
# In milliseconds.
_DURATION = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
UNITS: dict[str, tuple[Type, int]] = {
    **{unit: (Type.MEMORY, factor) for unit, factor in _MEMORY.items()},
    **{unit: (Type.DURATION, factor) for unit, factor in _DURATION.items()},
    "%": (Type.PERCENTAGE, 1),
}

# Other ways of writing a unit, and what is meant by them.
_HABITS = {
    **{f"{p}{b}": f"{p.upper()}iB" for p in "kKmMgGtTpP" for b in ("", "B", "b", "i", "ib", "Bi")},
    **dict.fromkeys(("b", "bytes"), "B"),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    "m": "min` or `{}MiB",
    **dict.fromkeys(("mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("week", "weeks"), "w"),
    "percent": "%",
}

# These may mean more than one thing, or another amount: no fix is proposed for them.
_UNCERTAIN = ("m",)

# No quantity of a machine is larger, and the integers stay small.
_LIMIT = 2**63


@dataclass(eq=False)
class BadQuantity(Exception):
    """A quantity that means nothing; holds a code, a message, the help, and what was meant."""

    code: str
    message: str
    help: str
    meant: str = ""


class Value(NamedTuple):
    """A quantity's meaning: bytes, milliseconds, percent or a plain number."""

    type: Type
    amount: Fraction


def number(written: str) -> tuple[Fraction, str]:
    """Return the exact number of a quantity and its suffix; raise BadQuantity if it is too long."""
    matched = re.match(r"[\d_]*(?:\.\d+)?", written)
    digits = matched.group() if matched else ""
    if len(digits) > 40:
        raise BadQuantity("OOM402", f"`{written}` has too many digits", "write a smaller number")
    return Fraction(digits.replace("_", "")), written[len(digits) :]


def digits(written: str) -> str:
    """Return the number of a quantity as it is written, without its unit."""
    return written[: len(written) - len(number(written)[1])]


def kind(written: str) -> Type | None:
    """Return the type of a quantity as it is written; None if it is none."""
    matched = re.fullmatch(r"\d[\d_]*(?:\.\d+)?([A-Za-z%]*)", written)
    return (
        UNITS.get(matched[1], (None, 0) if matched[1] else (Type.COUNT, 1))[0] if matched else None
    )


def spelt_out(amount: str, unit: str) -> str:
    """Return a quantity whose unit stands behind a space or in another spelling; else nothing."""
    unit = unit if unit in UNITS else _HABITS.get(unit, _HABITS.get(unit.lower(), ""))
    return f"{amount}{unit}" if unit and "{" not in unit else ""


# The unit that is meant where none stands behind the second number, and how many make the first.
_NEXT = {"w": ("d", 7), "d": ("h", 24), "h": ("min", 60), "min": ("s", 60)}


def _in_one_unit(written: str) -> str:
    """Return a duration such as ``1h30`` in its smaller unit; empty if it is none."""
    parts = re.fullmatch(r"(\d{1,6})(w|d|h|min|m)(\d{1,6})(h|min|m|s)?", written)
    if not parts:
        return ""
    first, unit, second, named = parts.groups()
    smaller, many = _NEXT["min" if unit == "m" else unit]
    if named not in (None, smaller, "m" if smaller == "min" else smaller):
        return ""
    return f"{int(first) * many + int(second)}{smaller}"


def _similar(suffix: str) -> str | None:
    # What has digits in it is two quantities.
    close = suffix.isalpha() and similar(
        suffix, [*UNITS, *(word for word in _HABITS if len(word) > 3)]
    )
    return _HABITS.get(close[0], close[0]) if close else None


def read(written: str) -> Value:
    """Return what a quantity means, exactly.

    Raises:
        BadQuantity: unknown unit, not whole in its smallest unit, or out of range.
    """
    amount, suffix = number(written)
    if suffix and suffix not in UNITS:
        digits = written[: len(written) - len(suffix)]
        whole = _in_one_unit(written)
        if whole:
            raise BadQuantity("OOM401", f"unknown unit `{suffix}`", f"write `{whole}`")
        habit = _HABITS.get(suffix)
        meant = habit or _similar(suffix)
        raise BadQuantity(
            "OOM401",
            f"unknown unit `{suffix}`",
            f"write `{digits}{meant.format(digits)}`"
            if meant
            else f"units of memory are {', '.join(_MEMORY)}; of time {', '.join(_DURATION)}",
            f"{digits}{habit}" if habit and suffix not in _UNCERTAIN else "",
        )
    kind, factor = UNITS.get(suffix, (Type.COUNT, 1))
    amount *= factor
    if kind is not Type.PERCENTAGE and amount.denominator != 1:
        smallest = {Type.MEMORY: "bytes", Type.DURATION: "milliseconds"}.get(kind)
        raise BadQuantity(
            "OOM402",
            f"`{written}` is not a whole number{f' of {smallest}' if smallest else ''}",
            "write a whole number",
        )
    if amount >= _LIMIT:
        raise BadQuantity("OOM402", f"`{written}` is out of range", "write a smaller quantity")
    return Value(kind, amount)
