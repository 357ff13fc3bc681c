"""Text to syntax tree.

lark does the parsing. At an error the parser goes back to where the statement began
and on at the end of its line, so each bad statement costs one diagnostic and the
others are still read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

from lark import Lark, Token, Tree, lexer
from lark.exceptions import UnexpectedInput, UnexpectedToken

from oomrules import resources
from oomrules.language import foreign, syntax, syntax_errors
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.text import RuleText, Span

# Deeper than any person nests, and well below the recursion limit of the interpreter.
DEPTH = 80
# Characters of a text: as many as a command line is read of, and as a path can have.
LONGEST = 4096
# Signs of a file that stand in rows deeper than that. Each is a token, and found to be too deep
# only after all of it has been parsed.
_MOST_SIGNS = 10_000
_SIGNS = re.compile(r'"(?:\\"|[^"\n])*"|#[^\n]*|(?P<signs>(?:(?:-|\(|\bnot\b)(?:[ \t]|\\\r?\n)*)+)')
# Syntax errors that are told of a file. What has more of them is no rule file.
_MOST_ERRORS = 500


@contextmanager
def _without_proofs() -> Iterator[None]:
    """Keep lark from proving at each start that no two terminals collide.

    It does so wherever the library for it happens to be installed, and takes a second for
    it. A test makes the proof once, with ``strict=True``.
    """
    before = lexer.has_interegular
    lexer.has_interegular = False
    try:
        yield
    finally:
        lexer.has_interegular = before


@cache
def _lark() -> Lark:
    # Never lark's cache=True: it unpickles a file with a predictable name in /tmp.
    with _without_proofs():
        return Lark(
            resources.grammar().read_text(encoding="utf-8"),
            parser="lalr",
            lexer="contextual",
            # It takes half of the time; ``_tree_span`` finds the few places that are needed.
            propagate_positions=False,
            maybe_placeholders=True,
        )


def parse(source: RuleText) -> tuple[tuple[syntax.Statement, ...], list[Diagnostic]]:
    """Parse a rule file.

    Returns:
        the statements that are well formed, and a diagnostic for each that is not.
    """
    dense = 0
    for found in _SIGNS.finditer(source.text):
        signs = found["signs"] or ""
        nested = sum(map(signs.count, ("-", "(", "not")))
        dense += nested if nested > DEPTH else 0
        if dense > _MOST_SIGNS:
            span = Span(found.start(), found.start() + 1)
            return (), [syntax_errors.too_deep(source, span, DEPTH)]
    recovery = _Recovery(source)
    tree = _lark().parse(source.text, on_error=recovery)
    builder = _Builder(source)
    statements = tuple(builder.statements(tree.children))
    diagnostics = recovery.diagnostics + builder.diagnostics + [*syntax_errors.hidden(source)]
    if diagnostics and not statements:
        other = foreign.of_file(source)
        if other:
            # Nothing in it was meant for us: one mistake, and not one a line.
            span, habit = other
            diagnostics = [Diagnostic("OOM101", habit.message, source, span, habit.help)]
    return statements, diagnostics


def tokens(source: RuleText) -> list[Token]:
    """Give the tokens of a well-formed rule file, line ends among them, comments not.

    Raises:
        UnexpectedInput: it is not well formed; ``parse`` says where and why.
    """
    return list(_lark().parse_interactive(source.text).iter_parse())


class _Recovery:
    """Goes on at the next line after an error, and remembers what was wrong."""

    def __init__(self, source: RuleText) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []
        # Blocks whose first line was bad: their closing braces are met in silence.
        self.headless = 0
        self.ended = False

    def __call__(self, error: UnexpectedInput) -> bool:
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
        """Drop the statement that has an error at ``at``, and say so; returns where it began."""
        found = syntax_errors.explain(error, self.source, at, bool(opened))
        begin = min(at, _pop_statement(parser))
        found = syntax_errors.unfinished(error, self.source, begin, at) or found
        name = re.match(r"(?:define|list)\s+([A-Za-z_][\w.]*)", self.source.text[begin:])
        if not self._merging(at):
            self.diagnostics.append(replace(found, breaks=name.group(1) if name else ""))
        return begin

    def _merging(self, at: int) -> bool:
        """Tell whether this is a later mark of a merge whose first one has been told."""
        text = self.source.text
        return text.startswith(("=======", ">>>>>>>"), at) and any(
            text.startswith("<<<<<<<", told.span.start) for told in self.diagnostics
        )

    def _offset(self, error: UnexpectedInput) -> int:
        if isinstance(error, UnexpectedToken):
            at_end = error.token.type == "$END"
            return len(self.source.text) if at_end else error.token.start_pos or 0
        return error.pos_in_stream or 0

    def _end(self, parser: Any, error: UnexpectedInput, opened: list[Token]) -> None:
        """The text ended too soon: keep what is complete, and close the open blocks."""
        # A line may end inside a statement, too; a block only where its last statement may.
        if "RBRACE" in parser.accepts():
            parser.feed_token(Token("_NL", "\n"))
        else:
            self._give_up(parser, error, len(self.source.text), opened)
        if opened and not self.ended:
            self.diagnostics.append(syntax_errors.not_closed(self.source, _span(opened[-1])))
        for brace in opened:
            parser.feed_token(Token.new_borrow_pos("RBRACE", "}", brace))

    def _next_statement(self, begin: int, at: int, in_block: bool) -> int:
        """Find where to read on after a bad statement from ``begin`` with its error at ``at``.

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
    """The type of the last token, unless it has become part of something."""
    stack = parser.parser_state.value_stack
    return stack[-1].type if stack and isinstance(stack[-1], Token) else ""


def _outside_texts(text: str, start: int) -> Iterator[tuple[int, str]]:
    """Give the braces and line ends that are not inside a quoted text or a comment."""
    for found in re.finditer(r'"(?:\\"|[^"\n])*"|#[^\n]*|[{}\n]', text[start:]):
        if len(found.group()) == 1 and found.group() in "{}\n":
            yield start + found.start(), found.group()


def _open_braces(parser: Any) -> list[Token]:
    opened: list[Token] = []
    for value in parser.parser_state.value_stack:
        if isinstance(value, Token) and value.type == "LBRACE":
            opened.append(value)
        elif isinstance(value, Token) and value.type == "RBRACE":
            opened.pop()
    return opened


def _pop_statement(parser: Any) -> int:
    """Drop an unfinished statement from the parser's stack.

    Returns:
        where its first word stood, or a very large offset if there was none.
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
            first = next(value.scan_values(lambda part: isinstance(part, Token)), None)
            begin = first.start_pos if first is not None else begin


def _span(token: Token) -> Span:
    start = token.start_pos or 0
    return Span(start, start + len(token))


class _Unbuilt(Exception):
    """Ends the building of a statement."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


class _Builder:
    """Builds frozen data from lark's tree; nothing is judged here but its size."""

    def __init__(self, source: RuleText) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []
        self.depth = 0

    def statements(self, nodes: list[Any]) -> Iterator[syntax.Statement]:
        for node in nodes:
            if not isinstance(node, Tree):
                continue
            depth = self.depth
            try:
                yield self.statement(node)
            except _Unbuilt as error:
                self.depth = depth
                self.diagnostics.append(error.diagnostic)

    @contextmanager
    def deeper(self, span: Span) -> Iterator[None]:
        """Count one level of nesting."""
        self.depth += 1
        if self.depth > DEPTH:
            raise _Unbuilt(syntax_errors.too_deep(self.source, span, DEPTH))
        yield
        self.depth -= 1

    def statement(self, tree: Tree[Token]) -> syntax.Statement:
        span, parts = _tree_span(tree), tree.children
        match tree.data:
            case "score":
                return syntax.Score(span, self.expression(parts[1]))
            case "define":
                return syntax.Define(span, _name(parts[1]), self.expression(parts[2]))
            case "list":
                return syntax.ListOf(span, _name(parts[1]), tuple(map(self.text, parts[2:])))
            case "block":
                target = self.target(parts[1])
                with self.deeper(target.span):
                    inner = tuple(self.statements(parts[2:]))
                return syntax.Block(span, target, inner)
            case "prefer" | "spare":
                _, selector, _, factor = parts
                quantity = _quantity(factor) if factor is not None else None
                return syntax.Rule(span, _KINDS[tree.data], self.selector(selector), quantity)
        return syntax.Rule(span, _KINDS[tree.data], self.selector(parts[2]))

    def selector(self, tree: Any) -> syntax.Selector:
        terms: list[syntax.Term] = []
        clauses: list[syntax.Clause] = []
        for part in tree.children:
            if isinstance(part, Token):  # anything
                continue
            if part.data in _TERMS:
                terms.append(self.term(_tree_span(part), part.data, part.children))
            elif part.data == "when":
                clauses.append(syntax.When(_tree_span(part), self.expression(part.children[1])))
            else:
                names = tuple(_name(token) for token in part.children[-1].children)
                clauses.append(syntax.With(_tree_span(part), _HOLDINGS[part.data], names))
        return syntax.Selector(_tree_span(tree), tuple(terms), tuple(clauses))

    def term(self, span: Span, kind: str, parts: list[Any]) -> syntax.Term:
        name = _name(parts[0])
        match kind:
            case "named":
                return syntax.Named(span, name)
            case "equals":
                return syntax.Equals(span, name, _quantity(parts[2]), parts[1] is not None)
            case "matches":
                return syntax.Matches(span, name, self.text(parts[1]))
        return syntax.Member(span, name, _list_name(parts[1]))

    def target(self, tree: Any) -> syntax.Target:
        unit = self.text(tree.children[-1])
        return syntax.Target(_tree_span(tree), unit, _RELATIONS[tree.data])

    def text(self, token: Any) -> syntax.Text:
        # A backslash stands for itself, so that regular expressions and systemd's \x2d can
        # be written as they are; only \" is a quote.
        value = str(token)
        if value.startswith('"'):
            value = value[1:-1].replace('\\"', '"')
        if len(value) > LONGEST:
            raise _Unbuilt(syntax_errors.too_long(self.source, _span(token), LONGEST))
        return syntax.Text(_span(token), value)

    def expression(self, tree: Any) -> syntax.Expression:
        while tree.data == "grouped":
            tree = tree.children[1]
        span = _tree_span(tree)
        with self.deeper(span):
            return self._expression(span, tree.data, tree.children)

    def _expression(self, span: Span, kind: str, parts: list[Any]) -> syntax.Expression:
        match kind:
            case "quantity":
                return _quantity(parts[0])
            case "text":
                return self.text(parts[0])
            case "name":
                return _name(parts[0])
            case "call":
                return syntax.Call(span, _name(parts[0]), self.expression(parts[2]))
            case "minus":
                return syntax.Minus(span, self.expression(parts[1]))
            case "negated":
                return syntax.Not(span, self.expression(parts[1]))
            case "arithmetic" | "compared":
                make = syntax.Arithmetic if kind == "arithmetic" else syntax.Compared
                left, operator, right = parts
                return make(span, str(operator), self.expression(left), self.expression(right))
            case "membership":
                return syntax.Membership(span, self.expression(parts[0]), _list_name(parts[2]))
            case "searched":
                return syntax.Searched(span, self.expression(parts[0]), self.text(parts[1]))
        operands = tuple(self.expression(part) for part in parts if isinstance(part, Tree))
        return (syntax.Or if kind == "condition" else syntax.And)(span, operands)


def _tree_span(tree: Tree[Token]) -> Span:
    """Find where a tree begins and ends: the grammar keeps the tokens at the ends of its rules."""
    first: Any = tree
    while isinstance(first, Tree):
        first = first.children[0]
    last: Any = tree
    while isinstance(last, Tree):
        # An optional part that is not there is None.
        last = next(part for part in reversed(last.children) if part is not None)
    return Span(first.start_pos, last.end_pos)


def _name(token: Any) -> syntax.Name:
    return syntax.Name(_span(token), str(token))


def _list_name(token: Any) -> syntax.ListName:
    return syntax.ListName(_span(token), str(token)[1:])


def _quantity(token: Any) -> syntax.Quantity:
    return syntax.Quantity(_span(token), str(token))


_KINDS = {
    "never": syntax.Kind.NEVER,
    "only": syntax.Kind.ONLY,
    "first": syntax.Kind.FIRST,
    "last": syntax.Kind.LAST,
    "prefer": syntax.Kind.PREFER,
    "spare": syntax.Kind.SPARE,
}
_RELATIONS = {
    "unit": syntax.Relation.NAMED,
    "wanted_by": syntax.Relation.WANTED_BY,
    "part_of": syntax.Relation.PART_OF,
    "of_user": syntax.Relation.OF_USER,
}
_HOLDINGS = {
    "with_all": syntax.Holding.ALL,
    "with_any": syntax.Holding.ANY,
    "without": syntax.Holding.NONE,
}
_TERMS = ("named", "equals", "matches", "member")
