"""Rule files that were made, and what they are held against."""

from __future__ import annotations

import re
from collections.abc import Sequence

from oomrules.importing import recognition, rulefile
from oomrules.importing.sources import Source
from oomrules.importing.translation import Translation
from oomrules.language import checker, formatter
from oomrules.language.diagnostics import Level
from oomrules.language.text import RuleText
from oomrules.plain import printable


def translated(name: str, text: str, tool: str | None = None) -> Translation:
    """Return what one file means."""
    (found,), _ = recognition.translations([Source(name, text.split("\n"))], tool)
    return found


def written(translations: Sequence[Translation]) -> str:
    """Return the rule file, which is sound: it compiles, has its one form, names every setting."""
    translations = rulefile.sound(translations)
    text = rulefile.written(translations)
    source = RuleText("made.oom", text)
    said = sentences(text)
    for guard in (guard for one in translations for guard in one.guards):
        assert said.count(" ".join(guard.split())) == 1, guard
    errors = [one for one in checker.check([source]).diagnostics if one.level is Level.ERROR]
    assert errors == []
    assert formatter.formatted(source) == text
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    for translation in translations:
        for piece in translation.pieces:
            starts = tuple(f"{before}{printable(piece.place)}:" for before in ("", "./"))
            assert any(comment.startswith(starts) for comment in comments), piece
            assert bool(piece.sentences) or piece.reason
    return text


def sentences(text: str) -> list[str]:
    """Return the statements of a rule file, each in one line."""
    joined = text.replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


_GUARD = re.compile(r"(?:^|: )(?:kill|terminate|warn) when ")


def rules(text: str) -> list[str]:
    """Return those of the statements that say whom, and not when."""
    return [sentence for sentence in sentences(text) if not _GUARD.search(sentence)]


def guards(text: str) -> list[str]:
    """Return those of the statements that say when."""
    return [sentence for sentence in sentences(text) if _GUARD.search(sentence)]
