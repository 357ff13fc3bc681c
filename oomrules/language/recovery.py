"""After a syntax error: where the parser reads on.

The parser forgets the statement and goes on at the end of its line, so each bad statement
is one diagnostic, and the others are still read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lark import Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from oomrules.language import syntax_errors
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.text import RuleText, Span

# Syntax errors that are reported of a file. What has more of them is no rule file.
_MOST_ERRORS = 500


class Recovery:
    """What lark calls at each error: it reads on, and keeps what was wrong.

    Attributes:
        diagnostics: a finding for each statement that was given up.
    """

    def __init__(self, source: RuleText) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []
        # Blocks whose first line was bad: their closing braces are not reported too.
        self.headless = 0
        self.ended = False

    def __call__(self, error: UnexpectedInput) -> bool:
        """Make the parser ready to read on; always true, as lark asks."""
        parser: Any = error.interactive_parser
        lexer_position = parser.lexer_thread.state.line_ctr
        at = self._offset(error)
        opened = _open_braces(parser)
        if at == len(self.source.text):
            self._end(parser, error, opened)
        elif self.headless and not opened and self.source.text[at] == "}":
            self.headless -= 1
            _pop_statement(parser)
            lexer_position.char_pos = at + 1
        else:
            if _last(parser) == "RBRACE":
                # The block itself is well formed; only what stands behind it is not.
                parser.feed_token(Token("_NL", "\n"))
            begin = self._give_up(parser, error, at, opened)
            if len(self.diagnostics) < _MOST_ERRORS:
                lexer_position.char_pos = self._next_statement(begin, at, bool(opened))
            else:
                lexer_position.char_pos = len(self.source.text)
                self.diagnostics.append(syntax_errors.too_many(self.source, at, _MOST_ERRORS))
                self.ended = True
        return True

    def _give_up(self, parser: Any, error: UnexpectedInput, at: int, opened: list[Token]) -> int:
        """Drop the statement that has an error at ``at``, and return where it began."""
        explained = syntax_errors.explain(error, self.source, at, bool(opened))
        begin = min(at, _pop_statement(parser))
        mistake = syntax_errors.unfinished(error, self.source, begin, at) or explained
        name = re.match(r"(?:define|list)\s+([A-Za-z_][\w.]*)", self.source.text[begin:])
        if not self._merging(at):
            self.diagnostics.append(replace(mistake, breaks=name.group(1) if name else ""))
        return begin

    def _merging(self, at: int) -> bool:
        """Return whether this is a later marker of a merge whose first one was reported."""
        text = self.source.text
        return text.startswith(("=======", ">>>>>>>"), at) and any(
            text.startswith("<<<<<<<", earlier.span.start) for earlier in self.diagnostics
        )

    def _offset(self, error: UnexpectedInput) -> int:
        if isinstance(error, UnexpectedToken):
            at_end = error.token.type == "$END"
            return len(self.source.text) if at_end else error.token.start_pos or 0
        return error.pos_in_stream or 0

    def _end(self, parser: Any, error: UnexpectedInput, opened: list[Token]) -> None:
        """Keep what is complete of a text that ended too soon, and close the open blocks."""
        # A line may end inside a statement, too; a block only where its last statement may.
        if "RBRACE" in parser.accepts():
            parser.feed_token(Token("_NL", "\n"))
        else:
            self._give_up(parser, error, len(self.source.text), opened)
        if opened and not self.ended:
            at = opened[-1].start_pos or 0
            span = Span(at, at + 1)
            self.diagnostics.append(syntax_errors.not_closed(self.source, span))
        for brace in opened:
            parser.feed_token(Token.new_borrow_pos("RBRACE", "}", brace))

    def _next_statement(self, begin: int, at: int, in_block: bool) -> int:
        """Return where to read on after a statement from ``begin`` with an error at ``at``.

        That is the end of its line, or the brace that closes the block around it. An
        error at the first word of a later line means that the statement was left
        unfinished there, and that word begins the next one.
        """
        text = self.source.text
        line_start = text.rfind("\n", 0, at) + 1
        if begin < line_start and not text[line_start:at].strip():
            return at
        # A comment of C is one mistake, however many lines it has.
        comment = re.compile(r"/\*.*?\*/", re.DOTALL).match(text, at)
        if comment:
            begin = at = comment.end()
        depth = 0
        for position, char in _outside_texts(text, begin):
            if char == "{":
                depth += 1
            elif char == "}" and depth:
                depth -= 1
            elif char == "}" and in_block and position >= at:
                return position
            elif char == "\n" and position >= at:
                self.headless += depth
                return self._past_a_late_brace(begin, position)
        self.headless += depth
        return len(text)

    def _past_a_late_brace(self, begin: int, newline: int) -> int:
        """Pass over a brace on the line below the head of a block: it is the same mistake."""
        late = re.compile(r"\s*\{").match(self.source.text, newline)
        if late and re.compile(r"in\b").match(self.source.text, begin):
            self.headless += 1
            return late.end()
        return newline


def _last(parser: Any) -> str:
    """Return the type of the last token, unless it has become part of something."""
    stack = parser.parser_state.value_stack
    return stack[-1].type if stack and isinstance(stack[-1], Token) else ""


def _outside_texts(text: str, start: int) -> Iterator[tuple[int, str]]:
    """Return the braces and line ends that are not inside a quoted text or a comment."""
    for piece in re.finditer(r'"(?:\\"|[^"\n])*"|#[^\n]*|[{}\n]', text[start:]):
        if len(piece.group()) == 1 and piece.group() in "{}\n":
            yield start + piece.start(), piece.group()


def _open_braces(parser: Any) -> list[Token]:
    opened: list[Token] = []
    for value in parser.parser_state.value_stack:
        if isinstance(value, Token) and value.type == "LBRACE":
            opened.append(value)
        elif isinstance(value, Token) and value.type == "RBRACE":
            opened.pop()
    return opened


def _first_token(tree: Tree[Token]) -> Token | None:
    """Return the first token of a tree: a long sum is too deep for recursion."""
    left: list[Any] = [tree]
    while left:
        part = left.pop()
        if isinstance(part, Token):
            return part
        left += reversed(part.children if isinstance(part, Tree) else ())
    return None


def _pop_statement(parser: Any) -> int:
    """Drop an unfinished statement from the parser's stack, and return where it began.

    That is a very large offset if none of its words was on the stack.
    """
    state = parser.parser_state
    begin = sys.maxsize
    while True:
        actions = state.parse_conf.parse_table.states[state.state_stack[-1]]
        # Only between two statements may come both another one and an empty line.
        if "NEVER" in actions and "_NL" in actions:
            return begin
        state.state_stack.pop()
        value = state.value_stack.pop()
        if isinstance(value, Token) and value.start_pos is not None:
            begin = value.start_pos
        elif isinstance(value, Tree):
            first = _first_token(value)
            begin = first.start_pos if first and first.start_pos is not None else begin
