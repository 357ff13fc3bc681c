"""Characters that make a text look like another one (Unicode Technical Standard 39)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from oomrules.language import syntax
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.text import RuleText, Span
from oomrules.lint.ruleset import Check, RuleSet, nodes

# They reorder what is shown: https://trojansource.codes, CVE-2021-42574.
_BIDIRECTIONAL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u180e\u200b-\u200d\u2060-\u2064\u3164\ufeff\uffa0]"
)
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")

# Letters of Cyrillic and Greek that look like a Latin one in most fonts.
_TWINS = dict(
    zip(
        "аеорсухіјѕһԁԛԝьАВЕКМНОРСТУХІЈЅҮοναικΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        "aeopcyxijshdqwbABEKMHOPCTYXIJSYovaikABEZHIKMNOPTYX",
        strict=True,
    )
)
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"
# Letters in a row, or a typographical dash between plain letters or digits.
_WORD = re.compile(rf"[^\W\d_]+|(?<=[0-9A-Za-z])[{_DASHES}](?=[0-9A-Za-z*])")


def _named(char: str) -> str:
    return f"U+{ord(char):04X} ({unicodedata.name(char, 'no name')})"


def _reordering(rules: RuleSet) -> Iterator[Diagnostic]:
    for source in rules.sources:
        for match in _BIDIRECTIONAL.finditer(source.text):
            yield BIDIRECTIONAL.at(
                source,
                Span(*match.span()),
                f"{_named(match.group())} changes the order in which this line is shown",
                "remove it: what is read here and what holds must be the same",
            )


def _quoted(rules: RuleSet) -> Iterator[tuple[RuleText, syntax.Text | syntax.Name]]:
    """Yield every text and every name that a file spells out."""
    for stated in rules.checked.sound:
        statement = stated.statement
        if stated.source.text.isascii():
            continue
        if isinstance(statement, syntax.Define | syntax.ListOf):
            yield stated.source, statement.name
        if isinstance(statement, syntax.ListOf):
            yield from ((stated.source, item) for item in statement.items)
        for node in nodes(statement):
            match node:
                case syntax.Matches(glob=text) | syntax.Searched(pattern=text):
                    yield stated.source, text
                case syntax.Text():
                    yield stated.source, node
    for source, _, target, _ in rules.targets:
        if not source.text.isascii():
            yield source, target.unit


def _plain(char: str) -> str | None:
    """Return the ASCII character that another one looks like; None if there is none."""
    if char.isascii():
        return None
    if char in _TWINS or char in _DASHES:
        return _TWINS.get(char, "-")
    plain = unicodedata.normalize("NFKC", char)  # full-width letters and their like
    return plain if len(plain) == 1 and plain.isascii() and plain != " " else None


def _look_alikes(rules: RuleSet) -> Iterator[Diagnostic]:
    for source, node in _quoted(rules):
        for match in _WORD.finditer(source.text, node.span.start, node.span.end):
            word = match.group()
            strange = [at for at, char in enumerate(word) if _plain(char)]
            # A word with all its letters from another script is a word of another language.
            if not strange or not (word in _DASHES or any(char.isascii() for char in word)):
                continue
            at, char = match.start() + strange[0], word[strange[0]]
            meant = "".join(_plain(one) or one for one in word)
            yield LOOK_ALIKE.at(
                source,
                Span(at, at + 1),
                f"{_named(char)} looks like `{_plain(char)}` and is not",
                f"write `{meant}` in plain letters, if that is meant",
            )


def _unseen(rules: RuleSet) -> Iterator[Diagnostic]:
    for source, node in _quoted(rules):
        text = source.text[node.span.start : node.span.end]
        for pattern, what in ((_INVISIBLE, "is invisible"), (_SPACES, "looks like a space")):
            for match in pattern.finditer(text):
                at = node.span.start + match.start()
                yield UNSEEN.at(
                    source,
                    Span(at, at + 1),
                    f"{_named(match.group())} {what}, and is part of this text",
                    "remove it, or write a plain space",
                )


BIDIRECTIONAL = Check("OOM111", "a character that reorders the line", _reordering)
LOOK_ALIKE = Check("OOM112", "a letter that looks like another", _look_alikes)
UNSEEN = Check("OOM113", "an invisible character in a text", _unseen)
CHECKS = (BIDIRECTIONAL, LOOK_ALIKE, UNSEEN)
