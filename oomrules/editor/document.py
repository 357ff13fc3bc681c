"""A rule file as it stands in an editor, and what is known about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from oomrules import resources
from oomrules.attributes import ATTRIBUTES
from oomrules.capabilities import CAPABILITIES
from oomrules.language import formatter, rulefiles, syntax
from oomrules.language.diagnostics import Diagnostic, Rejected
from oomrules.language.rulefiles import Found
from oomrules.language.syntax import FORMS, KEYWORDS
from oomrules.language.text import RuleText, Span
from oomrules.language.typing import FUNCTIONS
from oomrules.lint import linter
from oomrules.lint.ruleset import RuleSet

_WORD = re.compile(r"@?[A-Za-z_][\w.]*")
_BEFORE_CAPABILITY = re.compile(r"(\b(with|without|any of)\b[\s\w,]*|\bcap\()\s*\w*$")


class Offer(NamedTuple):
    """A word that may be completed; ``kind`` is keyword, attribute, name, list or capability."""

    word: str
    kind: str
    about: str


@dataclass(frozen=True)
class Document:
    """A text, the files that it is used together with, and all findings in it."""

    text: RuleText
    rules: RuleSet
    findings: tuple[Diagnostic, ...]


def read(path: str, text: str) -> Document:
    """Look at a text with the other files of its directory, and the shipped ones."""
    document = RuleText(path, text.removeprefix("\ufeff"), 0)
    found = _together(document)
    document = next(file for file in found.files if file.name == path)
    rules, findings = linter.lint(found)
    return Document(document, rules, tuple(one for one in findings if one.source == document))


def _together(document: RuleText) -> Found:
    folder = Path(document.name).parent
    shipped: list[RuleText] = []
    if folder in rulefiles.directories():
        others = list(rulefiles.system().files)
    else:
        others = list(rulefiles.given([str(folder)]).files) if folder.is_dir() else []
        here = {Path(file.name).name for file in (document, *others)}
        shipped = [
            # Definitions of the shipped rules are there, below everything else.
            replace(file, level=len(rulefiles.DIRECTORIES))
            for file in rulefiles.given([str(resources.rules())]).files
            if Path(file.name).name not in here
        ]
    before = next((file for file in others if file.name == document.name), document)
    files = {file.name: file for file in [*shipped, *others]}
    files.pop(document.name, None)
    return Found((*files.values(), replace(document, level=before.level)))


def formatted(document: Document) -> str | None:
    """Give the text in its one form, or None if it has syntax errors."""
    try:
        return formatter.formatted(document.text)
    except Rejected:
        return None


def offers(document: Document, offset: int) -> list[Offer]:
    """List the words that may stand at a place."""
    text = document.text.text
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    if re.search(r"@\w*$", line):
        return [Offer(f"@{name}", "list", "") for name in sorted(document.rules.checked.listed)]
    if _BEFORE_CAPABILITY.search(line):
        return [Offer(name, "capability", f"CAP_{name}") for name in CAPABILITIES]
    if not line.strip() or re.fullmatch(r"\s*\w*|.*[:{]\s*\w*", line):
        return [Offer(word, "keyword", form) for word, form in FORMS.items()]
    return [
        *(Offer(name, "attribute", one.doc) for name, one in ATTRIBUTES.items()),
        *(Offer(name, "name", "") for name in sorted(document.rules.checked.defined)),
        *(Offer(name, "keyword", "") for name in (*KEYWORDS, *FUNCTIONS)),
    ]


def about(document: Document, offset: int) -> tuple[Span, str] | None:
    """Say what the word at a place means."""
    for match in _WORD.finditer(document.text.text):
        if match.start() <= offset <= match.end():
            said = _meaning(document, match.group())
            return (Span(*match.span()), said) if said else None
    return None


def _meaning(document: Document, word: str) -> str:
    checked = document.rules.checked
    if word in ATTRIBUTES:
        attribute = ATTRIBUTES[word]
        return f"`{word}`: {attribute.type.value}; {attribute.doc} (from {attribute.source.value})"
    named = checked.listed.get(word[1:]) if word.startswith("@") else checked.defined.get(word)
    if named is not None:
        assert isinstance(named.statement, syntax.Define | syntax.ListOf)
        return f"`{named.source.quote(named.statement.span)}`\n\n{named.place}"
    if word in FORMS:
        return f"`{FORMS[word]}`"
    return ""
