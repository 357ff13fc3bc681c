"""A rule file as it stands in an editor, and what is known about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from oomrules import resources
from oomrules.attributes import ATTRIBUTES
from oomrules.capabilities import CAPABILITIES
from oomrules.language import formatter, rulefiles
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
    """A word that completes another; ``kind`` is keyword, attribute, name, list or capability."""

    word: str
    kind: str
    about: str


@dataclass(frozen=True)
class Document:
    """A text, the files that are in force with it, and all findings in it."""

    text: RuleText
    rules: RuleSet
    findings: tuple[Diagnostic, ...]


def read(path: str, text: str) -> Document:
    """Return a text with its findings, beside the other files of its directory and the shipped."""
    found = _together(RuleText(path, text.removeprefix("\ufeff"), 0))
    document = next(file for file in found.files if file.name == path)
    rules, findings = linter.lint(found)
    own = tuple(finding for finding in findings if finding.source == document)
    return Document(text=document, rules=rules, findings=own)


def _together(document: RuleText) -> Found:
    folder = Path(document.name).parent
    shipped: list[RuleText] = []
    if folder in rulefiles.directories():
        others = list(rulefiles.system().files)
    else:
        others = list(rulefiles.given([str(folder)]).files) if folder.is_dir() else []
        here = {Path(file.name).name for file in (document, *others)}
        shipped = [
            # Definitions of the shipped rules have the lowest precedence.
            replace(file, level=len(rulefiles.DIRECTORIES))
            for file in rulefiles.given([str(resources.rules())]).files
            if Path(file.name).name not in here
        ]
    before = next((file for file in others if file.name == document.name), document)
    files = {file.name: file for file in [*shipped, *others]}
    files.pop(document.name, None)
    return Found((*files.values(), replace(document, level=before.level)))


def formatted(document: Document) -> str | None:
    """Return the text in its one form, or None if it has syntax errors."""
    try:
        return formatter.formatted(document.text)
    except Rejected:
        return None


def offers(document: Document, offset: int) -> list[Offer]:
    """Return the words that may stand at an offset."""
    text = document.text.text
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    if re.search(r"@\w*$", line):
        return [Offer(f"@{name}", "list", "") for name in sorted(document.rules.checked.listed)]
    if _BEFORE_CAPABILITY.search(line):
        return [Offer(name, "capability", f"CAP_{name}") for name in CAPABILITIES]
    if not line.strip() or re.fullmatch(r"\s*\w*|.*[:{]\s*\w*", line):
        return [Offer(word, "keyword", form) for word, form in FORMS.items()]
    return [
        *(Offer(name, "attribute", about.doc) for name, about in ATTRIBUTES.items()),
        *(Offer(name, "name", "") for name in sorted(document.rules.checked.defined)),
        *(Offer(name, "keyword", "") for name in (*KEYWORDS, *FUNCTIONS)),
    ]


def about(document: Document, offset: int) -> tuple[Span, str] | None:
    """Return the span of the word at an offset and what it means; None if it means nothing."""
    for match in _WORD.finditer(document.text.text):
        if match.start() <= offset <= match.end():
            meaning = _meaning(document, match.group())
            return (Span(*match.span()), meaning) if meaning else None
    return None


def _meaning(document: Document, word: str) -> str:
    checked = document.rules.checked
    if word in ATTRIBUTES:
        attribute = ATTRIBUTES[word]
        return (
            f"`{word}`: {attribute.type.value}; {attribute.doc} (from {attribute.provider.value})"
        )
    named = checked.listed.get(word[1:]) if word.startswith("@") else checked.defined.get(word)
    if named is not None:
        return f"`{named.text}`\n\n{named.place}"
    if word in FORMS:
        return f"`{FORMS[word]}`"
    return ""
