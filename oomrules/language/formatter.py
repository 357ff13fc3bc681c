"""Rule files in their one form.

Words, texts and comments stay as they are; white space and line breaks are made anew:
four spaces a block, one between words, one statement a line, no line longer than need
be, at most one empty line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lark import Token

from oomrules.language import parser, syntax
from oomrules.language.diagnostics import Rejected
from oomrules.language.text import RuleText

WIDTH = 100
INDENT = "    "

# A statement goes on in the next line behind these, and with a backslash before those.
_GO_ON = ("_COMMA", "AND", "OR")
_CLAUSES = (
    *("WHEN", "WITH", "WITHOUT", "UNDER", "NOT_UNDER", "CHILD", "NOT_CHILD", "BY"),
    *("FOR", "WITHIN", "THEN"),
)

_TIGHT_BEFORE = ("_COMMA", "COLON", "RPAR")
_OPERATORS = ("PLUS", "MINUS", "TIMES", "OVER", "COMPARE", "EQUAL", "LPAR", "_COMMA")
# Behind these, a minus belongs to the number after it.
_SIGNED_BEHIND = (*_OPERATORS, "SCORE", "WHEN", "AND", "OR", "NOT")


class _Comment(NamedTuple):
    """A comment among the tokens; ``alone`` if it has its line for itself."""

    text: str
    alone: bool


_Piece = Token | _Comment


def formatted(source: RuleText) -> str:
    """Return a rule file in its one form; raise Rejected if it has syntax errors."""
    statements, diagnostics = parser.parse(source)
    if diagnostics:
        raise Rejected(diagnostics)
    text = "".join(f"{line}\n" for line in _Writer().lines(_pieces(source, statements)))
    # An empty file is a mask; a file of empty lines must not become one.
    return text or ("\n" if source.text else "")


def _pieces(source: RuleText, statements: tuple[syntax.Statement, ...]) -> Iterator[_Piece]:
    """Return the tokens with the comments between them."""
    signs = _signs(source, statements)
    at, fresh = 0, True
    for token in parser.tokens(source):
        start = token.start_pos or 0
        yield from _comments(source.text[at:start], fresh)
        at, fresh = start + len(token), token.type == "_NL"
        if token.type == "MINUS" and start in signs:
            yield Token.new_borrow_pos("SIGN", token, token)
        elif token.type in ("NOT_UNDER", "NOT_CHILD"):
            yield Token.new_borrow_pos(token.type, f"not {token.split()[-1]}", token)
        else:
            yield token
    yield from _comments(source.text[at:], fresh)


def _signs(source: RuleText, statements: tuple[syntax.Statement, ...]) -> set[int]:
    """Return where each minus of a term is, such as that of `nice -5`."""
    return {
        source.text.index("-", part.name.span.end)
        for _, statement in syntax.walk(statements)
        for part in syntax.parts(statement)
        if isinstance(part, syntax.Equals) and part.negative
    }


def _comments(gap: str, fresh: bool) -> Iterator[_Comment]:
    # Between two tokens there is white space, and one comment at most, which ends the line.
    comment = re.search(r"#[^\n]*", gap)
    if comment:
        yield _Comment(comment.group().rstrip(), fresh)


class _Writer:
    """The lines written so far, and the statement that is being gathered."""

    def __init__(self) -> None:
        self.depth = 0
        self.written: list[str] = []
        self.statement: list[_Piece] = []
        self.pending = False  # an empty line comes before the next line
        self.on_line = False  # something was written since the last line end

    def lines(self, pieces: Iterator[_Piece]) -> list[str]:
        """Return the lines of all pieces."""
        for piece in pieces:
            if isinstance(piece, _Comment):
                self._comment(piece)
            elif piece.type == "_NL":
                self._line_end()
            elif piece.type == "RBRACE":
                self._flush()
                self.depth -= 1
                self.pending = False
                self._write([INDENT * self.depth + "}"])
            else:
                self.statement.append(piece)
                if piece.type == "LBRACE":
                    self._flush()
                    self.depth += 1
        self._flush()
        return self.written

    def _comment(self, comment: _Comment) -> None:
        if self.statement:
            self.statement.append(comment)
        elif self.on_line:
            self.written[-1] += f"  {comment.text}"
        else:
            self._write([INDENT * self.depth + comment.text])

    def _line_end(self) -> None:
        last = next((one for one in reversed(self.statement) if isinstance(one, Token)), None)
        if last is not None and last.type in _GO_ON:
            return
        self._flush()
        if not self.on_line and self.written and not self.written[-1].rstrip().endswith("{"):
            self.pending = True
        self.on_line = False

    def _flush(self) -> None:
        if self.statement:
            self._write(_laid_out(self.statement, INDENT * self.depth))
            self.statement = []

    def _write(self, lines: list[str]) -> None:
        if self.pending:
            self.written.append("")
            self.pending = False
        self.written += lines
        self.on_line = True


class _Chunk(NamedTuple):
    """A text that is kept on one line; a line break before it may take a backslash."""

    text: str
    backslash: bool


def _laid_out(pieces: list[_Piece], indent: str) -> list[str]:
    """Return a statement in lines that are as full as can be."""
    lines: list[str] = []
    line, empty = indent, True

    def end_line(mark: str = "") -> None:
        nonlocal line, empty
        if not empty:
            lines.append(line + mark)
        line, empty = indent + INDENT, True

    chunks = list(_chunks(pieces))
    for number, chunk in enumerate(chunks):
        if isinstance(chunk, _Comment):
            if chunk.alone:
                end_line()
                line, empty = line + chunk.text, False
            else:
                line += f"  {chunk.text}"
            end_line()
            continue
        # No more than these can be in a line.
        rest = chunks[number : number + WIDTH]
        if not empty and _breaks(len(line) + 1, len(indent + INDENT), rest):
            end_line(" \\" if chunk.backslash else "")
        line, empty = f"{line}{'' if empty else ' '}{chunk.text}", False
    end_line()
    return lines


def _breaks(column: int, margin: int, rest: list[_Chunk | _Comment]) -> bool:
    """Return whether a line ends before the first of these chunks, which would begin at a column.

    A clause is kept together where it fits into a line of its own.
    """
    together: list[_Chunk] = []
    for chunk in rest:
        if isinstance(chunk, _Comment) or (together and chunk.backslash):
            break
        together.append(chunk)
    # A line that ends in a backslash needs room for it.
    behind = rest[len(together)] if len(together) < len(rest) else None
    room = WIDTH - (2 if isinstance(behind, _Chunk) else 0)
    clause = len(" ".join(chunk.text for chunk in together))
    if together[0].backslash and margin + clause <= room:
        return column + clause > room
    return column + len(together[0].text) > (room if len(together) == 1 else WIDTH)


def _chunks(pieces: list[_Piece]) -> Iterator[_Chunk | _Comment]:
    text, backslash = "", False
    before: list[Token] = []
    for piece in pieces:
        if isinstance(piece, _Comment):
            if text:
                yield _Chunk(text, backslash)
            yield piece
            text, backslash = "", False
            continue
        last = before[-1] if before else None
        is_clause = piece.type in _CLAUSES
        if text and (is_clause or (last is not None and last.type in _GO_ON)):
            yield _Chunk(text, backslash)
            text, backslash = "", is_clause
        text += (" " if text and _apart(before, piece) else "") + str(piece)
        before.append(piece)
    if text:
        yield _Chunk(text, backslash)


def _apart(before: list[Token], token: Token) -> bool:
    """Return whether a space stands between the tokens so far and the next one."""
    last = before[-1].type
    if token.type in _TIGHT_BEFORE or last == "LPAR":
        return False
    if (token.type == "LPAR" and last == "FUNCTION") or last == "SIGN":
        return False
    if last == "MINUS":
        return before[-2].type not in _SIGNED_BEHIND
    return True
