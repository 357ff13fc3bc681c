"""Syntax errors in a person's words: what stood there, what was expected, what to do."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from oomrules.language import foreign, syntax, syntax_help
from oomrules.language.diagnostics import (
    Diagnostic,
    either,
)
from oomrules.language.text import RuleText, Span

# What the terminals of the grammar are called when they were expected.
_NAMES = {
    "NAME": "an attribute or a defined name",
    "QUANTITY": "a number",
    "STRING": "a quoted text",
    "LISTREF": "a `@list`",
    "TARGET": "a unit",
    "UNITS": "a unit",
    "USER": "a unit",
    "UNIT": "`unit`",
    "COMPARE": "a comparison",
    "EQUAL": "`=`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "COLON": "`:`",
    "_COMMA": "`,`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "TILDE": "`~`",
    "PLUS": "an operator",
    "MINUS": "an operator",
    "TIMES": "an operator",
    "OVER": "an operator",
    "_NL": "the end of the line",
    "$END": "the end of the line",
}


def explain(error: UnexpectedInput, source: RuleText, at: int, in_block: bool) -> Diagnostic:
    """Make the diagnostic of a syntax error at an offset."""
    text = source.text
    if text[at : at + 1] == '"' and isinstance(error, UnexpectedCharacters):
        end = at + len(text[at:].split("\n", 1)[0].rstrip())
        return Diagnostic(
            "OOM102",
            "this text is not closed",
            source,
            Span(at, end),
            'end the text with `"` on the same line',
            'no closing `"`',
        )
    habit, advice = next(
        ((start, advice) for start, advice in syntax_help.HABITS if text.startswith(start, at)),
        ("", ""),
    )
    found = habit if len(habit) > 1 and habit != "--" else _word(error, text, at)
    terminals = _expected_terminals(error)
    if terminals >= syntax_help.STATEMENT:
        known = foreign.of_line(text[at:].partition("\n")[0].rstrip())
        if known:
            span = Span(at, at + len(text[at:].partition("\n")[0].rstrip()))
            return Diagnostic("OOM101", known.message, source, span, known.help)
    span = (
        Span(at, at + max(1, len(found)))
        if text[at : at + 1] not in ("\n", "\r", "")
        else Span(at, at)
    )
    wanted = _expected(error)
    what = _named(found)
    if found == "}" and not in_block:
        return Diagnostic(
            "OOM105",
            "this brace closes nothing",
            source,
            span,
            "remove it, or open the block it belongs to",
        )
    advice = syntax_help.better(habit, text, at, terminals) or advice
    head = syntax_help.unquoted_target(text, at)
    if head:
        return Diagnostic(
            "OOM103",
            f"unexpected {what}: without quotes a unit's name ends there",
            source,
            span,
            f"quote the name, as in `{head}`",
        )
    if isinstance(error, UnexpectedCharacters):
        quoted = syntax_help.unquoted(text, at)
        advice = advice or (f"quote the text, as in `{quoted}`" if quoted else "")
        help_ = advice or (
            f"expected {wanted}" if wanted else "remove it, or put it in a quoted text"
        )
        fix = next(
            (
                syntax_help.instead(text, at, *one)
                for one in syntax_help.CERTAIN.items()
                if text[at:].startswith(one[0])
            ),
            None,
        )
        return Diagnostic("OOM103", f"unexpected character {what}", source, span, help_, fix=fix)
    return Diagnostic(
        "OOM101",
        f"unexpected {what}, expected {wanted}" if wanted else f"unexpected {what}",
        source,
        span,
        advice or syntax_help.advice(found, text, at, terminals),
        fix=syntax_help.certain(found, text, span, terminals),
    )


# A line that ends in one of these goes on in the next.
_GO_ON = ("and", "or", ",", "\\")
_PIECES = re.compile(r'"(?:\\"|[^"\n])*"|#[^\n]*|\\(?=\r?\n)|[\w.]+|\S')


def unfinished(error: UnexpectedInput, source: RuleText, begin: int, at: int) -> Diagnostic | None:
    """Make the diagnostic of a statement that has to go on, and does not.

    Args:
        error: what the parser met instead.
        begin: where the statement began.
        at: where the next one begins, or the block ends, or the text.

    Returns:
        None where it is another mistake.
    """
    pieces = [one for one in _PIECES.finditer(source.text, begin, at) if one.group()[0] != "#"]
    # Behind `and` a backslash adds nothing.
    while len(pieces) > 1 and pieces[-1].group() == "\\" and pieces[-2].group() in _GO_ON:
        pieces.pop()
    last = pieces[-1] if pieces else None
    found = _word(error, source.text, at)
    if last is None or last.group() not in _GO_ON or found not in ("", "}", *syntax.FORMS):
        return None
    if last.group() == "\\":
        missing = "the rest of it"
    elif last.group() == ",":
        missing = "a text" if "STRING" in _expected_terminals(error) else "a capability"
    else:
        missing = "a condition"
    return Diagnostic(
        "OOM101",
        f"the statement of line {source.position(begin)[0]} is not complete: {missing} is "
        f"missing behind `{last.group()}`",
        source,
        Span(*last.span()),
        f"write it, or remove the `{last.group()}`, with which a line goes on in the next",
    )


# What editors and terminals show as the end of a line, and the language does not take for one.
_LIKE_A_LINE_END = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]|\r(?!\n)")


def hidden(source: RuleText) -> Iterator[Diagnostic]:
    """Find comments that seem to end before they do: what stands behind looks like a statement."""
    text = source.text
    if not _LIKE_A_LINE_END.search(text):
        return
    for piece in _PIECES.finditer(text):
        sign = _LIKE_A_LINE_END.search(text, *piece.span()) if text[piece.start()] == "#" else None
        if sign and text[sign.end() : piece.end()].strip():
            yield Diagnostic(
                "OOM103",
                f"this comment is shown as if it ended at {_named(sign.group())}, and does not",
                source,
                Span(*sign.span()),
                "put the end of a line there, or remove the character",
            )


def not_closed(source: RuleText, span: Span) -> Diagnostic:
    """A block whose closing brace never comes."""
    return Diagnostic(
        "OOM104", "this block is not closed", source, span, "end it with `}` on a line of its own"
    )


def too_many(source: RuleText, at: int, most: int) -> Diagnostic:
    """A file that was not meant for us."""
    return Diagnostic(
        "OOM101",
        f"this is the {most}th syntax error; the rest of this file is not read",
        source,
        Span(at, at + 1),
        "mend those above; is it a rule file?",
    )


def too_deep(source: RuleText, span: Span, depth: int) -> Diagnostic:
    """Nesting that no person wrote."""
    return Diagnostic(
        "OOM106",
        f"nested more than {depth} levels deep",
        source,
        span,
        "give parts of it names with `define`",
    )


def too_long(source: RuleText, span: Span, longest: int) -> Diagnostic:
    """A text that no value can be equal to."""
    return Diagnostic(
        "OOM406",
        f"this text has {span.end - span.start} characters, and nothing is longer than {longest}",
        source,
        Span(span.start, span.start + 1),
        "write the part that tells, or several texts",
    )


def _named(found: str) -> str:
    """Name what was found, so that a person sees it."""
    if found in ("", "\n"):
        return "the end of the line"
    if len(found) == 1 and (found.isspace() or not found.isprintable()):
        name = unicodedata.name(found, "")
        return f"U+{ord(found):04X}{f' ({name})' if name else ''}"
    return f"`{found}`"


def _word(error: UnexpectedInput, text: str, at: int) -> str:
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        word = re.match(r"[\w.]+", text[at:])
        return word.group() if word else str(error.token).strip()
    return text[at : at + 1]


def _expected_terminals(error: UnexpectedInput) -> set[str]:
    if isinstance(error, UnexpectedToken):
        return set(error.accepts or error.expected)
    return set(error.allowed or ()) if isinstance(error, UnexpectedCharacters) else set()


def _expected(error: UnexpectedInput) -> str:
    """Say what may stand here; a statement's start is one thing, not ten."""
    terminals = _expected_terminals(error) - {"COMMENT", "SPACE"}
    if terminals >= syntax_help.STATEMENT:
        return "a statement"
    words = sorted({_NAMES.get(name, f"`{name.lower()}`") for name in terminals})
    # More than this many possibilities explain nothing.
    if not 0 < len(words) <= 6:
        return ""
    return either(part for word in words for part in word.split(" or "))
