"""Diagnostics: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, NoReturn

from oomrules.language.text import RuleText, Span


class Level(Enum):
    """How bad a finding is. A rule set with an error is not used at all."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


# The title of each mistake that makes rules unusable. A code never changes its meaning, since
# scripts name it; the other codes are those of ``oomrules.lint``.
CODES: dict[str, str] = {
    "OOM001": "a rule file cannot be read",
    "OOM002": "a rule file is not UTF-8 text",
    "OOM101": "syntax error",
    "OOM102": "a text is not closed",
    "OOM103": "a character that has no meaning here",
    "OOM104": "a block is not closed",
    "OOM105": "a brace closes nothing",
    "OOM106": "nested too deeply",
    "OOM107": "more rules than there is room for",
    "OOM108": "an `or` beside a clause",
    "OOM201": "unknown name",
    "OOM202": "unknown capability",
    "OOM203": "ambiguous capability",
    "OOM204": "unknown list",
    "OOM205": "unknown function",
    "OOM206": "defined twice",
    "OOM207": "a definition that needs itself",
    "OOM208": "a definition with the name of an attribute",
    "OOM209": "two scores in one scope",
    "OOM210": "a definition inside a block",
    "OOM211": "a target that is no unit",
    "OOM212": "a figure of a block's unit, outside of every block",
    "OOM213": "a clause with the name of a definition",
    "OOM214": "a guard that asks about a process",
    "OOM301": "a comparison of unlike things",
    "OOM302": "arithmetic on unlike things",
    "OOM303": "a condition that is no yes or no",
    "OOM304": "a term without a value",
    "OOM305": "a score that is no number",
    "OOM306": "a text operation on something else",
    "OOM307": "a wrong argument of a function",
    "OOM401": "unknown unit of measure",
    "OOM402": "a quantity out of range",
    "OOM403": "a factor that does not weigh",
    "OOM404": "a regular expression that does not compile",
    "OOM405": "a regular expression that could take too long",
    "OOM406": "a text longer than any value",
}


class Edit(NamedTuple):
    """One replacement in the file of a finding."""

    span: Span
    text: str


class Fix(NamedTuple):
    """A change that repairs a finding and cannot be wrong: what it does, and its edits."""

    says: str
    edits: tuple[Edit, ...]


class Related(NamedTuple):
    """Another place that a finding rests on, perhaps in another file."""

    source: RuleText
    span: Span
    says: str


def replacing(span: Span, text: str) -> Fix:
    """Return the fix that puts a text in the place of another."""
    return Fix(f"write `{text}`" if text else "remove it", (Edit(span, text),))


@dataclass(frozen=True)
class Diagnostic:
    """One finding.

    Attributes:
        code: a key of ``CODES``.
        message: what is wrong, in one sentence without a full stop.
        source: the file's text; empty if it could not be read.
        span: where it is.
        help: what to do.
        label: a few words beside the caret.
        breaks: the name that would have been defined here; its uses are not reported too.
        fix: a safe change that repairs it, where there is one.
        related: other places that it rests on; the message names them too.
        witness: plain data that proves it, such as a process for which a rule does nothing.
    """

    code: str
    message: str
    source: RuleText
    span: Span
    help: str
    label: str = ""
    level: Level = Level.ERROR
    breaks: str = ""
    fix: Fix | None = None
    related: tuple[Related, ...] = ()
    witness: Mapping[str, Any] | None = None

    @property
    def sort_key(self) -> tuple[str, int, int, str]:
        """Its key in the order of files and of their text."""
        return (self.source.name, self.span.start, self.span.end, self.code)


class Bad(Exception):
    """A statement with a mistake; it carries the statement's one diagnostic."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Mistakes:
    """What is wrong in one file.

    Args:
        source: the file, for places.
    """

    def __init__(self, source: RuleText) -> None:
        self.source = source

    def bad(
        self, code: str, span: Span, message: str, help_: str, fix: Fix | None = None
    ) -> NoReturn:
        """End the check of this statement: raise Bad with the diagnostic of a mistake."""
        raise Bad(Diagnostic(code, message, self.source, span, help_, fix=fix))


class Rejected(Exception):
    """A rule set with errors; none of it is used."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        super().__init__("the rules have errors")
        self.diagnostics = tuple(diagnostics)


def similar(word: str, known: Iterable[str]) -> list[str]:
    """Return up to three known words that the written one was probably meant to be."""
    folded = {candidate.lower(): candidate for candidate in known}
    if word.lower() in folded:
        return [folded[word.lower()]]
    close = difflib.get_close_matches(word.lower(), folded, n=3, cutoff=0.65)
    return [folded[match] for match in close]


def only_the_case(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that differs from the written one only in its case, if it is one."""
    folded = word.lower()
    found = {same for same in known if same != word and same.lower() == folded}
    return found.pop() if len(found) == 1 else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the help for an unknown word: what was meant, or else what to do."""
    close = similar(word, known)
    if not close:
        return otherwise
    return f"did you mean {either(f'`{match}`' for match in close)}?"


def either(words: Iterable[str]) -> str:
    """Return words joined as in a sentence: ``a, b or c``."""
    *head, last = list(words)
    return f"{', '.join(head)} or {last}" if head else last
