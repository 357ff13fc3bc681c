"""Quantities: ``512MiB``, ``1h30min``, ``25%``, ``1_000``. The lexer accepts any suffix."""

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
    **{
        f"{long}{end}": unit
        for unit, begin in (("KiB", "kilo kibi"), ("MiB", "mega mebi"), ("GiB", "giga gibi"))
        for long in begin.split()
        for end in ("byte", "bytes")
    },
    **dict.fromkeys(("tera", "terabyte", "terabytes", "tebibytes"), "TiB"),
    **dict.fromkeys(("gig", "gigs"), "GiB"),
    **dict.fromkeys(("meg", "megs"), "MiB"),
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

# What durations call a unit that are written together: there `m` means nothing else.
_TOGETHER = {**_HABITS, "m": "min"}
_PIECE = re.compile(r"(\d[\d_]*(?:\.\d+)?)([^\W\d_]*|%)")
# Characters of such durations.
_LONGEST = 60

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


def _similar(suffix: str) -> str | None:
    known = [*UNITS, *(word for word in _HABITS if len(word) > 3)]
    # Another beginning is another unit: gigabytes are no bytes.
    close = similar(suffix, [word for word in known if word[0].lower() == suffix[0].lower()])
    return _HABITS.get(close[0], close[0]) if close else None


def read(written: str) -> Value:
    """Return what a quantity means, exactly.

    Raises:
        BadQuantity: unknown unit, not whole in its smallest unit, or out of range.
    """
    amount, suffix = number(written)
    if re.match(rf"(?:{'|'.join(map(re.escape, [*UNITS, *_TOGETHER]))})\d", suffix):
        return _together(written)
    if suffix and suffix not in UNITS:
        digits = written[: len(written) - len(suffix)]
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


def _together(written: str) -> Value:
    """Return what durations mean that are written together: ``1h30min``.

    Raises:
        BadQuantity: the units do not come from the longest to the shortest, each of them once.
    """
    pieces = _PIECE.findall(written)
    if len(written) > _LONGEST or "".join(map("".join, pieces)) != written:
        raise BadQuantity(
            "OOM401", f"`{written}` is no quantity", "write a number and its unit, as in `512MiB`"
        )
    meant = [(amount, _TOGETHER.get(unit, unit)) for amount, unit in pieces]
    if any(unit not in _DURATION for _, unit in meant):
        unknown = next(unit for _, unit in meant if unit not in _DURATION)
        raise BadQuantity(
            "OOM401",
            f"`{written}` has {f'a part in `{unknown}`' if unknown else 'a part without a unit'}; "
            "only durations are written together",
            _help_together(pieces),
        )
    whole = sum(Fraction(amount.replace("_", "")) * _DURATION[unit] for amount, unit in meant)
    ordered = _in_units(whole)
    units = [unit for _, unit in pieces]
    longest_first = sorted(set(units), key=lambda unit: -_DURATION.get(unit, 0))
    if meant != pieces or units != longest_first or any("." in amount for amount, _ in pieces):
        raise BadQuantity(
            "OOM401",
            f"`{written}` is not written as durations are: whole numbers, the longest unit first, "
            "and each of them once",
            f"write `{ordered}`" if ordered else "write it in one unit",
            ordered if [unit for _, unit in meant] == units else "",
        )
    if whole >= _LIMIT:
        raise BadQuantity("OOM402", f"`{written}` is out of range", "write a smaller quantity")
    return Value(Type.DURATION, Fraction(whole))


def _in_units(milliseconds: Fraction | int) -> str:
    """Return a duration as it is written; empty if it has parts of a millisecond."""
    left, words = Fraction(milliseconds), ""
    for unit, factor in sorted(_DURATION.items(), key=lambda item: -item[1]):
        count = left // factor
        left -= count * factor
        words += f"{count}{unit}" if count else ""
    return "" if left else words


def _help_together(pieces: list[tuple[str, str]]) -> str:
    units = [unit for _, unit in pieces]
    if all(unit in _DURATION or not unit for unit in units):
        *before, (amount, _) = pieces
        longer = before[-1][1] if before else ""
        names = sorted(_DURATION, key=lambda unit: -_DURATION[unit])
        shorter = names[names.index(longer) + 1 :][:1] if longer else []
        if shorter:
            said = "".join(map("".join, before))
            return f"give each part a unit, as in `{said}{amount}{shorter[0]}`"
    if all(unit in _MEMORY for unit in units):
        size = sum(Fraction(count.replace("_", "")) * _MEMORY[unit] for count, unit in pieces)
        smallest = min(units, key=lambda one: _MEMORY[one])
        return f"write it in one unit: `{float(size / _MEMORY[smallest]):.15g}{smallest}`"
    return "write a number and its unit, as in `512MiB` or `1h30min`"
