"""Syntax errors in words: what stands there, what was expected, what to do."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from oomrules.language import foreign, habits, syntax, syntax_help
from oomrules.language.diagnostics import Diagnostic, either
from oomrules.language.text import RuleText, Span

# How a message calls the terminals of the grammar that were expected.
_NAMES = {
    **dict.fromkeys(("NAME", "FUNCTION"), "an attribute or a defined name"),
    "NOT_UNDER": "`not under`",
    "CHILD": "`child of`",
    "NOT_CHILD": "`not child of`",
    "QUANTITY": "a number",
    "STRING": "a quoted text",
    "LISTREF": "a `@list`",
    **dict.fromkeys(("TARGET", "UNITS", "USER"), "a unit"),
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
    **dict.fromkeys(("PLUS", "MINUS", "TIMES", "OVER"), "an operator"),
    **dict.fromkeys(("_NL", "$END"), "the end of the line"),
}


def explain(error: UnexpectedInput, source: RuleText, at: int, in_block: bool) -> Diagnostic:
    """Return the diagnostic of a syntax error at an offset."""
    rest = source.text[at:].partition("\n")[0].rstrip()
    by_lexer = isinstance(error, UnexpectedCharacters)
    if by_lexer and rest.startswith('"'):
        return Diagnostic(
            code="OOM102",
            message="this text is not closed",
            source=source,
            span=Span(at, at + len(rest)),
            help='end the text with `"` on the same line',
            label='no closing `"`',
        )
    terminals = _expected_terminals(error)
    habit = foreign.of_line(rest) if terminals >= syntax_help.STATEMENT else None
    if habit:
        return Diagnostic("OOM101", habit.message, source, Span(at, at + len(rest)), habit.help)
    sign = syntax_help.sign(rest)
    word = sign if len(sign) > 1 and sign != "--" else _word(error, source.text, at)
    met = syntax_help.Unexpected(source.text, at, word, terminals)
    span = Span(at, at + (max(1, len(word)) if source.text[at : at + 1].strip("\r\n") else 0))
    if word == "}" and not in_block:
        return Diagnostic(
            code="OOM105",
            message="this brace closes nothing",
            source=source,
            span=span,
            help="remove it, or open the block it belongs to",
        )
    head = syntax_help.target_with_quotes(met)
    if head:
        return Diagnostic(
            code="OOM103",
            message=f"unexpected {_named(word)}: without quotes a unit's name ends there",
            source=source,
            span=span,
            help=f"quote the name, as in `{head}`",
        )
    return (_bad_character if by_lexer else _bad_word)(source, span, met)


def _bad_character(source: RuleText, span: Span, met: syntax_help.Unexpected) -> Diagnostic:
    """Return the diagnostic of a character that begins nothing."""
    help_ = syntax_help.of_sign(met)
    quoted, wanted = syntax_help.with_quotes(met), _in_words(met.terminals)
    help_ = help_ or habits.quantity(met.place) or habits.bare_word(met.place)
    if not help_ and quoted:
        help_ = f"quote the text, as in `{quoted}`"
    elif not help_:
        help_ = f"expected {wanted}" if wanted else "remove it, or put it in a quoted text"
    return Diagnostic(
        code="OOM103",
        message=f"unexpected character {_named(met.word)}",
        source=source,
        span=span,
        help=help_,
        fix=syntax_help.fix_of_sign(met),
    )


def _bad_word(source: RuleText, span: Span, met: syntax_help.Unexpected) -> Diagnostic:
    """Return the diagnostic of a word, text or sign in the wrong place."""
    wanted = _in_words(met.terminals)
    return Diagnostic(
        code="OOM101",
        message=f"unexpected {_named(met.word)}{f', expected {wanted}' if wanted else ''}",
        source=source,
        span=span,
        help=syntax_help.of_sign(met) or syntax_help.of_word(met),
        fix=syntax_help.fix_of_word(met, span),
    )


# A line that ends in one of these goes on in the next.
_GO_ON = ("and", "or", ",", "\\")
_PIECES = re.compile(r'"(?:\\"|[^"\n])*"|#[^\n]*|\\(?=\r?\n)|[\w.]+|\S')


def unfinished(error: UnexpectedInput, source: RuleText, begin: int, at: int) -> Diagnostic | None:
    """Return the diagnostic of a statement that has to go on, and does not.

    Args:
        error: what the parser met instead.
        begin: where the statement began.
        at: where the next one begins, or the block ends, or the text.

    Returns:
        None where it is another mistake.
    """
    pieces = [
        piece for piece in _PIECES.finditer(source.text, begin, at) if piece.group()[0] != "#"
    ]
    # After `and` a backslash adds nothing.
    while len(pieces) > 1 and pieces[-1].group() == "\\" and pieces[-2].group() in _GO_ON:
        pieces.pop()
    last = pieces[-1] if pieces else None
    word = _word(error, source.text, at)
    if last is None or last.group() not in _GO_ON or word not in ("", "}", *syntax.FORMS):
        return None
    listed = "a text" if "STRING" in _expected_terminals(error) else "a capability"
    missing = {"\\": "the rest of it", ",": listed}.get(last.group(), "a condition")
    return Diagnostic(
        code="OOM101",
        message=f"the statement in line {source.position(begin)[0]} is not complete: {missing} is "
        f"missing after `{last.group()}`",
        source=source,
        span=Span(*last.span()),
        help=f"write it, or remove the `{last.group()}`, which joins the line to the next one",
    )


# Characters that editors and terminals show as the end of a line, and that the language does not
# take for one.
_LIKE_A_LINE_END = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]|\r(?!\n)")


def hidden(source: RuleText) -> Iterator[Diagnostic]:
    """Find comments that seem to end before they do, so that the rest looks like a statement."""
    text = source.text
    if not _LIKE_A_LINE_END.search(text):
        return
    for piece in _PIECES.finditer(text):
        sign = _LIKE_A_LINE_END.search(text, *piece.span()) if text[piece.start()] == "#" else None
        if sign and text[sign.end() : piece.end()].strip():
            yield Diagnostic(
                code="OOM103",
                message=f"this comment seems to end at {_named(sign.group())}, but it goes on",
                source=source,
                span=Span(*sign.span()),
                help="end the line there, or remove the character",
            )


def not_closed(source: RuleText, span: Span) -> Diagnostic:
    """Return the diagnostic of a block whose closing brace never comes."""
    return Diagnostic(
        "OOM104", "this block is not closed", source, span, "end it with `}` on a line of its own"
    )


def too_many(source: RuleText, at: int, most: int) -> Diagnostic:
    """Return the diagnostic of a file with more mistakes than a rule file has."""
    return Diagnostic(
        code="OOM101",
        message=f"this is the {most}th syntax error; the rest of this file is not read",
        source=source,
        span=Span(at, at + 1),
        help="fix those above first; is this a rule file?",
    )


def too_deep(source: RuleText, span: Span, depth: int) -> Diagnostic:
    """Return the diagnostic of nesting that is deeper than the parser takes."""
    return Diagnostic(
        code="OOM106",
        message=f"nested more than {depth} levels deep",
        source=source,
        span=span,
        help="give parts of it names with `define`",
    )


def too_long(source: RuleText, span: Span, longest: int) -> Diagnostic:
    """Return the diagnostic of a text that no value can be equal to."""
    return Diagnostic(
        code="OOM406",
        message=f"this text has {span.end - span.start} characters, and no value has more than "
        f"{longest}",
        source=source,
        span=Span(span.start, span.start + 1),
        help="write the part that matters, or several texts",
    )


def or_before_clause(source: RuleText, choice: Span, clause: Span) -> Diagnostic:
    """Return the diagnostic of an `or` beside a clause: a reader may take it in two ways."""
    chosen, said = source.quote(choice), source.quote(clause)
    return Diagnostic(
        code="OOM108",
        message=f"`{said}` may belong to all of `{chosen}` or to its last part",
        source=source,
        span=choice,
        help=f"put brackets: `({chosen}) {said}`; for the last part alone write a rule of its own",
    )


def said_twice(source: RuleText, span: Span, word: str) -> Diagnostic:
    """Return the diagnostic of a clause that stands in a guard for the second time."""
    return Diagnostic(
        code="OOM101",
        message=f"`{word}` is said twice",
        source=source,
        span=span,
        help="remove one of them",
    )


def side_by_side(source: RuleText, first: Span, second: Span) -> Diagnostic:
    """Return the diagnostic of two conditions without a word between them."""
    together = f"{source.quote(first)} and {source.quote(second)}"
    return Diagnostic(
        code="OOM101",
        message=f"`{source.quote(second)}` stands beside `{source.quote(first)}`; in a condition "
        "a word joins them",
        source=source,
        span=second,
        help=f"write `{together}`, or `or`",
    )


def _named(word: str) -> str:
    """Return a word as a message shows it; an invisible character by its name."""
    if word in ("", "\n"):
        return "the end of the line"
    if len(word) == 1 and (word.isspace() or not word.isprintable()):
        name = unicodedata.name(word, "")
        return f"U+{ord(word):04X}{f' ({name})' if name else ''}"
    return f"`{word}`"


def _word(error: UnexpectedInput, text: str, at: int) -> str:
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        word = re.match(r"[\w.]+", text[at:])
        return word.group() if word else str(error.token).strip()
    return text[at : at + 1]


def _expected_terminals(error: UnexpectedInput) -> set[str]:
    if isinstance(error, UnexpectedToken):
        return set(error.accepts or error.expected)
    return set(error.allowed or ()) if isinstance(error, UnexpectedCharacters) else set()


def _in_words(terminals: set[str]) -> str:
    """Return what may stand somewhere; empty if it is too much to help."""
    # The start of a statement is one thing, not ten.
    if terminals >= syntax_help.STATEMENT:
        return "a statement"
    hidden = ("COMMENT", "SPACE")
    words = {_NAMES.get(name, f"`{name.lower()}`") for name in terminals if name not in hidden}
    # More than this many possibilities explain nothing.
    if not 0 < len(words) <= 6:
        return ""
    return either(part for word in sorted(words) for part in word.split(" or "))
