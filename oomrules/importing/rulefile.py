"""The rule file that is made of translations: it compiles, and every setting stands in it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace

from oomrules.errors import Failure
from oomrules.importing.translation import Piece, Translation
from oomrules.language import checker, formatter
from oomrules.language.diagnostics import Level
from oomrules.language.rulefiles import LARGEST
from oomrules.language.text import RuleText
from oomrules.plain import printable

_WIDTH = 100
# Characters of a setting that are shown.
_SHOWN = 300
_COMPILED = "made"
_IN_FORCE = (
    "Under the name of the default measure this file takes the place of that measure and of the "
    "default weights (niced, superuser, RAWIO), which the tool does not have:"
)
_INSTALL = "install -m 644 THIS-FILE /etc/oomrules.d/10-badness-2.6.10.oom"
# How a comment begins that speaks to the linter (``lint/suppressions.py``).
_OURS = re.compile(r"#\s*(?=oomrules:)")


def sound(translations: Sequence[Translation]) -> list[Translation]:
    """Return translations of which every sentence compiles; what does not is said with a reason."""
    score = [""]
    found = [
        replace(
            one,
            pieces=tuple(_sound(piece, score) for piece in one.pieces),
            guards=tuple(guard for guard in one.guards if not _fault(guard)),
            acts=(*one.acts, *_faulty(one.guards)),
        )
        for one in translations
    ]
    if "oom_score_adj" not in score[0]:
        return found
    return [replace(one, pieces=tuple(map(_counted, one.pieces))) for one in found]


def _fault(guard: str) -> str:
    """Return why a guard does not compile; empty if it does."""
    found = checker.check([RuleText(_COMPILED, f"{guard}\n")]).diagnostics
    return found[0].message if found else ""


def _faulty(guards: Sequence[str]) -> list[str]:
    """Return sentences about guards that are not in the file."""
    faults = {guard: _fault(guard) for guard in guards}
    return [
        f"No guard says `{printable(guard)}`: {printable(fault)}."
        for guard, fault in faults.items()
        if fault
    ]


def _counted(piece: Piece) -> Piece:
    """Return a piece without its sentences if the score says them."""
    if not piece.adjusts or not piece.sentences:
        return piece
    reason = "The score counts oom_score_adj, which is what these set."
    return replace(piece, sentences=(), reason=reason)


def written(translations: Sequence[Translation], others: Sequence[str] = ()) -> str:
    """Return the rule file of translations that are ``sound``.

    Args:
        others: files that were found and are for no tool that is known here.

    Raises:
        Failure: it would be too large to be read.
    """
    lines = _head(translations, others)
    for one in translations:
        lines += _rules(one)
    seen = set[str]()
    for one in translations:
        lines += _guards(one, seen)
    for one in translations:
        lines += _without(one)
    # A file may be called so.
    text = "".join(f"{_addressed(line.rstrip())}\n" for line in lines)
    if len(text.encode()) > LARGEST:
        raise Failure(
            f"the rule file would be larger than {LARGEST >> 20} MiB", "import less at once"
        )
    return formatter.formatted(RuleText(_COMPILED, text))


def _addressed(line: str) -> str:
    """Return a line that is no comment for the linter, whatever the name of a file."""
    ours = _OURS.match(line)
    return f"# ./{line[ours.end() :]}" if ours else line


def summary(translations: Sequence[Translation]) -> tuple[int, int]:
    """Return how many settings became rules, and how many did not."""
    pieces = [piece for one in translations for piece in one.pieces]
    guarded = {
        id(piece) for one in translations if one.guards for piece in one.pieces if piece.when
    }
    said = sum(bool(piece.sentences) or id(piece) in guarded for piece in pieces)
    return said, len(pieces) - said


def _sound(piece: Piece, score: list[str]) -> Piece:
    """Return a piece whose sentences are fit to stand in the file; else one that says why not.

    Args:
        score: the score of the file so far, of which there can be one.
    """
    for sentence in piece.sentences:
        found = checker.check([RuleText(_COMPILED, f"{sentence}\n")]).diagnostics
        wrong = next((one for one in found if one.level is Level.ERROR), None)
        if wrong:
            return replace(
                piece, sentences=(), reason=f"No rule says the same: {printable(wrong.message)}."
            )
        if sentence.startswith("score "):
            if score[0] not in ("", sentence):
                reason = f"A file has one score, and `{score[0]}` is the first."
                return replace(piece, sentences=(), reason=reason)
            if score[0]:
                return replace(piece, sentences=(), reason="The score stands above.")
            score[0] = sentence
    return piece


# --- its parts -------------------------------------------------------------------------------


def _head(translations: Sequence[Translation], others: Sequence[str]) -> list[str]:
    lines = ["# Made by `oomrules import`. What it was made from:"]
    for one in translations:
        lines += [f"#   {_comment(name)} ({one.tool})" for name in one.inputs]
    for one in translations:
        if one.differences:
            lines += ["#", f"# What differs from {one.tool}:"]
            for text in one.differences:
                lines += _wrapped(text, "#   - ", "#     ")
    if others:
        lines += ["#", "# Files that are for no tool that is known here, and left out:"]
        lines += [f"#   {_comment(name)}" for name in others]
    if any(one.whole for one in translations):
        lines += ["#", *_wrapped(_IN_FORCE, "# ", "# "), "#", f"#     {_INSTALL}"]
    ignored = sum(one.ignored for one in translations)
    if ignored:
        lines += ["#", f"# Lines that are empty, comments or headings are left out: {ignored}."]
    return [*lines, ""]


def _rules(one: Translation) -> list[str]:
    lines, seen = list[str](), set[str]()
    for piece in one.pieces:
        if not piece.sentences:
            continue
        lines.append(f"# {_where(piece)}")
        for note in piece.notes:
            lines += _wrapped(note, "#   ", "#   ")
        for sentence in piece.sentences:
            # The linter would blame what stands there twice.
            lines.append(f"# above: {sentence}" if sentence in seen else sentence)
            seen.add(sentence)
        lines.append("")
    return lines


def _guards(one: Translation, seen: set[str]) -> list[str]:
    """Return the statements that say when to act, below the settings that they were made of."""
    if not one.guards:
        return []
    lines = [f"# --- when {one.tool} acts ---", ""]
    lines += [f"# {_where(piece)}" for piece in one.pieces if piece.when]
    for text in one.acts:
        lines += _wrapped(text, "#   - ", "#     ")
    for guard in one.guards:
        lines.append(f"# above: {guard}" if guard in seen else guard)
        seen.add(guard)
    return [*lines, ""]


def _without(one: Translation) -> list[str]:
    by_reason: dict[str, list[Piece]] = {}
    for piece in one.pieces:
        if not piece.sentences and not (piece.when and one.guards):
            by_reason.setdefault(piece.reason, []).append(piece)
    lines = list[str]()
    if by_reason:
        lines += [f"# --- no rule says this part of {one.tool} ---", ""]
    for reason, pieces in by_reason.items():
        lines += _wrapped(reason, "# ", "# ")
        lines += [f"#   {_where(piece)}" for piece in pieces]
        lines.append("")
    return lines


def _where(piece: Piece) -> str:
    return f"{printable(piece.place)}: {_comment(piece.said)}"


def _comment(text: str) -> str:
    """Return a text of others as it can stand in a comment."""
    shown = printable(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _wrapped(text: str, first: str, rest: str) -> Iterable[str]:
    return textwrap.wrap(
        _comment(text) if len(text) <= _SHOWN else printable(text),
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
