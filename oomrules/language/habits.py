"""What people write who know another language, and the words that say it here.

Each function looks at a line around the place where the parser stopped, and returns what to do; an
empty text if it knows nothing. As in ``type_help``, what stands in backquotes is a proposal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language.quantities import spelt_out
from oomrules.language.syntax import KEYWORDS
from oomrules.language.type_help import (
    as_term,
    as_value,
    product_help,
    say_what_it_is,
    weight_help,
)
from oomrules.processes.units import UNIT_SUFFIXES

# So much of a line is looked at, before the place and behind it: some of the patterns take the
# square of the length.
_WINDOW = 200


class Place(NamedTuple):
    """A part of a line, and the place in it where the parser stopped."""

    line: str
    column: int

    def around(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Return the first match that the place is in; its end counts as inside."""
        return next(
            (one for one in pattern.finditer(self.line) if one.start() <= self.column <= one.end()),
            None,
        )


def place(before: str, rest: str) -> Place:
    """Return a place between two parts of a line, with what is near it."""
    before = before[-_WINDOW:]
    return Place(before + rest[:_WINDOW], len(before))


def is_text(name: str) -> bool:
    """Return whether a name is an attribute that is a text."""
    return name in ATTRIBUTES and ATTRIBUTES[name].type is Type.TEXT


# --- quantities --------------------------------------------------------------------------------

_NUMBER = r"\d[\d_]*(?:\.\d+)?"
_UNIT = rf"{_NUMBER}[ \t]*[A-Za-z%]+"
_AMOUNTS = re.compile(rf"(?<![\w.]){_UNIT}(?:[ \t]+(?:and[ \t]+)?{_UNIT})*(?![\w.(])")
_CLOCK = re.compile(
    r"(?<![\w.:])(\d{1,4}):([0-5]\d)(?::([0-5]\d))?[ \t]*(?:h|hours?|min)?(?![\w:])"
)
_COMMA = re.compile(r"(?<![\w.,\"])(\d+),(\d+[A-Za-z%]*)(?![\w,\"])")
_FACTOR = re.compile(
    rf"(?<![\w.])by[ \t]+(?:(?:factor|x|\*|=)[ \t]*)?({_NUMBER})[ \t]*(?:x|times|fold)?(?![\w.%])"
)
_TWICE = re.compile(r"(?<![\w.])(?:by[ \t]+(?:half|two|double)|twice|double)(?![\w.])")
_SHARE = re.compile(rf"(prefer|spare)\b.*\bby[ \t]+({_NUMBER})[ \t]*(?:%|percent)")


def quantity(where: Place) -> str:
    """Return what to write for a quantity in two words, as a clock shows it or with a comma."""
    share = where.around(_SHARE)
    if share:
        return weight_help(share[1], Fraction(share[2].replace("_", "")))
    amounts = where.around(_AMOUNTS)
    if amounts:
        parts = re.findall(rf"({_NUMBER})[ \t]*([A-Za-z%]+)", amounts.group())
        written = [spelt_out(*part) for part in parts]
        if all(written):
            return f"write the unit without a space: `{''.join(written)}`"
    clock = where.around(_CLOCK)
    if clock:
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        if seconds:
            return f"write a duration in one unit: `{hours * 3600 + minutes * 60 + seconds}s`"
        return f"write a duration in one unit: `{hours * 60 + minutes}min`"
    comma = where.around(_COMMA)
    if comma and comma[1] == "0" and comma[2].isdecimal():
        return f"a share of memory is written `{float(f'0.{comma[2]}') * 100:g}%`"
    if comma:
        return f"write a point before decimals: `{comma[1]}.{comma[2]}`"
    factor = where.around(_FACTOR)
    if factor and factor.end(1) - factor.start() > len(f"by {factor[1]}"):
        return f"write the number alone: `by {factor[1]}`"
    if factor and where.column > factor.end(1):
        return f"write the number alone: `by {factor[1]}`"
    return "write the factor as a number: `by 2`" if where.around(_TWICE) else ""


# --- names -------------------------------------------------------------------------------------

_TEXT = r'"(?:\\"|[^"\n])*"'
_WORD = r"[^\s\"'{}#,;:()=<>!]+"
# What stands where a selector begins, and what is listed behind it.
_BARE = re.compile(
    r"(?<![\w.])(?:(?:never|only)[ \t]+kill|kill[ \t]+(?:first|last)|prefer|spare)[ \t]+"
    rf"(?P<word>{_TEXT}|{_WORD})(?P<more>(?:[ \t]*,[ \t]*(?:{_TEXT}|{_WORD}))*)"
)
_KILL = re.compile(
    rf"(?P<start>kill|never|only)[ \t]+(?P<word>{_TEXT}|{_WORD})"
    r"(?:[ \t]+(?P<tier>first|last))?[ \t]*$"
)
_NOT_KILL = re.compile(
    r"(?:do[ \t]+not|don't|dont|no)[ \t]+(?P<start>never|kill)[ \t]+"
    rf"(?P<word>{_TEXT}|{_WORD})(?P<tier>)[ \t]*$"
)
_ITEM = re.compile(rf"{_TEXT}|[^\s,]+")
_LIST = re.compile(
    rf"(?P<kind>list|define)[ \t]+(?P<name>[A-Za-z_]\w*)[ \t]*(?:=|:)?[ \t]*"
    rf"(?P<items>(?:{_TEXT}|{_WORD})(?:(?:[ \t]*,[ \t]*|[ \t]+)(?:{_TEXT}|{_WORD}))*)[ \t]*$"
)


def bare_word(where: Place) -> str:
    """Return how a rule says what a name is that stands alone in its selector."""
    found = where.around(_BARE)
    word = found["word"].strip('"') if found else ""
    if not found or where.column < found.start("word") or not word or '"' in word:
        return ""
    if word in ATTRIBUTES or word in KEYWORDS:
        return ""
    if word.startswith("@"):
        return f"say of what it is a list, as in `comm {word}`" if word[1:] else ""
    items = [item.strip('"') for item in _ITEM.findall(found["more"])]
    if items:
        kind = "unit" if word.endswith(UNIT_SUFFIXES) else "comm"
        return (
            f"put them into a list: `list NAME = {_texts([word, *items])}`, and write "
            f"`{kind} @NAME`"
        )
    # Where a name can stand it was read, and something behind it is wrong.
    if where.column >= found.end("word") and re.fullmatch(r"[\w.]+", found["word"]):
        return ""
    return say_what_it_is(word)


def statement(where: Place) -> str:
    """Return what to write for a statement whose words are in another order."""
    listed = where.around(_LIST)
    if listed:
        items = [item.strip('"') for item in _ITEM.findall(listed["items"])]
        quoted = '"' in listed["items"]
        missing = listed["kind"] == "list" and not re.search(rf"=[ \t]*{_TEXT}", listed.group())
        texts = missing or (listed["kind"] == "define" and len(items) > 1 and quoted)
        if texts and not any('"' in item for item in items):
            return f"write `list {listed['name']} = {_texts(items)}`"
    kill = where.around(_NOT_KILL) or where.around(_KILL)
    if not kill:
        return ""
    word = kill["word"].strip('"')
    if word in (*KEYWORDS, *ATTRIBUTES, "whole") or '"' in word:
        return ""
    start = "kill first" if kill["start"] == "kill" else f"{kill['start']} kill"
    start = "kill last" if kill["tier"] == "last" else start
    start = "never kill" if kill.re is _NOT_KILL else start
    kind = "unit" if word.endswith(UNIT_SUFFIXES) else "comm"
    return f"say it in this order: `{start} {as_term(kind, word)}`"


def _texts(items: list[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


# --- conditions --------------------------------------------------------------------------------

_SIDE = r"[\w.%]+(?:[ \t]*[+*/-][ \t]*[\w.%]+)*"
_CHAIN = re.compile(
    rf"(?<![\w.%])({_SIDE})[ \t]*([<>]=?)[ \t]*({_SIDE})[ \t]*([<>]=?)[ \t]*({_SIDE})"
)
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_AMONG = re.compile(
    rf"([\w.]+)[ \t]+(not[ \t]+)?in[ \t]+"
    rf"(@\w+|[(\[]?[ \t]*((?:{_TEXT}|[\w.-]+)(?:[ \t]*,[ \t]*(?:{_TEXT}|[\w.-]+))*)[ \t]*[)\]]?)"
)
_BETWEEN = re.compile(
    rf"([\w.]+)[ \t]+(?:between|from|in)[ \t]+({_NUMBER}[A-Za-z%]*)"
    rf"[ \t]*(?:and|to|\.\.\.?|-)[ \t]*({_NUMBER}[A-Za-z%]*)"
)
_NOT_FOUND = re.compile(rf"([\w.]+)[ \t]*!~[ \t]*({_TEXT})")
_SHARE_OF = re.compile(rf"({_NUMBER})%[ \t]+of[ \t]+([\w.]+)")
# Words of other languages between two sides, and the sign for each.
_COMPARED_BY = re.compile(
    r"([\w.]+)[ \t]+(is[ \t]+not|isnt|is|equals|eq|ne|contains|matches|like)[ \t]+"
    rf"({_TEXT}|[\w.@-]+)"
)
_MORE = re.compile(
    r"([\w.]+)[ \t]+(?:is[ \t]+)?(greater|more|larger|bigger|higher|above|over|exceeds|gt"
    r"|less|smaller|lower|fewer|below|lt)(?:[ \t]+than)?[ \t]+"
    rf"({_NUMBER}[A-Za-z%]*)"
)
_LESS = ("less", "smaller", "lower", "fewer", "below", "lt")
_WITH_A_TERM = re.compile(rf"with(?:out)?[ \t]+([\w.]+)[ \t]+({_TEXT}|\d\S*|@\w+)")
_YES = ("true", "yes", "on")
_NO = ("false", "no", "off")


def condition(where: Place) -> str:
    """Return what to write for a condition as other languages have it."""
    forms: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
        (_CHAIN, _of_chain),
        (_BETWEEN, lambda found: _between(*found.groups())),
        (_AMONG, _of_list),
        (_SHARE_OF, _of_share),
        (_MORE, _of_more),
        (_COMPARED_BY, _of_words),
        (_WITH_A_TERM, _of_with),
    )
    for pattern, said in forms:
        found = where.around(pattern)
        # What ends before the place was read.
        help_ = said(found) if found and found.start() < where.column < found.end() else ""
        if help_:
            return help_
    return ""


def not_found(where: Place) -> str:
    """Return what to write for ``comm !~ "x"``."""
    found = where.around(_NOT_FOUND)
    return f"write `not {found[1]} ~ {found[2]}`" if found else ""


def _of_chain(found: re.Match[str]) -> str:
    left, first, middle, second, right = found.groups()
    if middle[0].isdecimal() and not left[0].isdecimal():
        return f"compare twice: `{left} {first} {middle} and {left} {second} {right}`"
    return f"compare twice: `{middle} {_TURNED[first]} {left} and {middle} {second} {right}`"


def _between(name: str, low: str, high: str) -> str:
    return f"compare twice: `{name} >= {low} and {name} <= {high}`"


def _of_list(found: re.Match[str]) -> str:
    name, negative, listed, inside = found.groups()
    if listed.startswith("@"):
        return f"write `not {name} in {listed}`" if negative else ""
    items = [item.strip('"') for item in _ITEM.findall(inside or "")]
    if name not in ATTRIBUTES or not items:
        return ""
    if not is_text(name):
        joined = " or ".join(f"{name} == {item}" for item in items)
        return f"compare each: `{f'not ({joined})' if negative else joined}`"
    if len(items) == 1:
        return f"write `{'not ' if negative else ''}{as_term(name, items[0])}`"
    texts = _texts([as_value(name, item) for item in items])
    return (
        f"put them into a list: `list NAME = {texts}`, and write "
        f"`{'not ' if negative else ''}{name} @NAME`"
    )


def _of_share(found: re.Match[str]) -> str:
    if found[2] not in ATTRIBUTES:
        return (
            f"write `{found[1]}%` alone: beside memory it is a share of the nearest limit above "
            "the process, else of the RAM"
        )
    return product_help(found[2], Fraction(found[1].replace("_", "")) / 100)


def _of_more(found: re.Match[str]) -> str:
    return f"write `{found[1]} {'<' if found[2] in _LESS else '>'} {found[3]}`"


def _of_words(found: re.Match[str]) -> str:
    name, word, value = found.groups()
    kind = ATTRIBUTES[name].type if name in ATTRIBUTES else None
    value, word = value.strip('"'), " ".join(word.split())
    negative = word in ("is not", "isnt", "ne")
    if kind is Type.BOOLEAN and value in (*_YES, *_NO):
        return f"write `{'not ' if (value in _NO) is not negative else ''}{name}`"
    if '"' in value or kind is None or value in KEYWORDS:
        return ""
    if kind is not Type.TEXT:
        return f"write `{name} {'!=' if negative else '=='} {value}`" if value.isdecimal() else ""
    if word == "like":
        return f"write `{as_term(name, value.replace('%', '*'))}`"
    if word in ("contains", "matches"):
        return f'write `{name} ~ "{value}"`'
    return f"write `{'not ' if negative else ''}{as_term(name, value)}`"


def _of_with(found: re.Match[str]) -> str:
    if found[1] not in ATTRIBUTES:
        return ""
    return f"`with` asks for capabilities; without it this is `{found[1]} {found[2]}`"
