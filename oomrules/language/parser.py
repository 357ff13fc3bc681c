"""Text to syntax tree. lark does the parsing; ``recovery`` reads on after an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from lark import Lark, Token, Tree, lexer

from oomrules import resources
from oomrules.language import foreign, syntax, syntax_errors
from oomrules.language.diagnostics import Bad, Diagnostic
from oomrules.language.recovery import Recovery
from oomrules.language.text import RuleText, Span

# Levels of nesting: more than rules need, and well below the interpreter's recursion limit.
DEPTH = 80
# Characters of a text: as many as are read of a command line, and as a path can have.
LONGEST = 4096
# Signs of a file in rows that nest deeper than that. Each is a token, and lark parses all of
# them before the depth is known.
_MOST_SIGNS = 10_000
_SIGNS = re.compile(r'"(?:\\"|[^"\n])*"|#[^\n]*|(?P<signs>(?:(?:-|\(|\bnot\b)(?:[ \t]|\\\r?\n)*)+)')


@cache
def _lark() -> Lark:
    # Where the library for it is installed, lark takes a second at each start to prove that no two
    # terminals collide. A test makes the proof once, with strict=True.
    before, lexer.has_interegular = lexer.has_interegular, False
    try:
        # Never lark's cache=True: it unpickles a file with a predictable name in /tmp.
        return Lark(
            resources.grammar().read_text(encoding="utf-8"),
            parser="lalr",
            lexer="contextual",
            # Positions take half of the time; ``_tree_span`` finds the few that are needed.
            propagate_positions=False,
            maybe_placeholders=True,
        )
    finally:
        lexer.has_interegular = before


def parse(source: RuleText) -> tuple[tuple[syntax.Statement, ...], list[Diagnostic]]:
    """Parse a rule file.

    Returns:
        the statements that are well formed, and a diagnostic for each that is not.
    """
    dense = 0
    for row in _SIGNS.finditer(source.text):
        signs = row["signs"] or ""
        nested = sum(map(signs.count, ("-", "(", "not")))
        dense += nested if nested > DEPTH else 0
        if dense > _MOST_SIGNS:
            span = Span(row.start(), row.start() + 1)
            return (), [syntax_errors.too_deep(source, span, DEPTH)]
    recovery = Recovery(source)
    tree = _lark().parse(source.text, on_error=recovery)
    builder = _Builder(source)
    statements = tuple(builder.statements(tree.children))
    diagnostics = recovery.diagnostics + builder.diagnostics + [*syntax_errors.hidden(source)]
    if diagnostics and not statements:
        other = foreign.of_file(source)
        if other:
            # The file is for another tool: one mistake, and not one a line.
            span, habit = other
            diagnostics = [Diagnostic("OOM101", habit.message, source, span, habit.help)]
    return statements, diagnostics


def tokens(source: RuleText) -> list[Token]:
    """Return the tokens of a well-formed rule file, with line ends and without comments.

    Raises:
        UnexpectedInput: it is not well formed; ``parse`` says where and why.
    """
    return list(_lark().parse_interactive(source.text).iter_parse())


def _span(token: Token) -> Span:
    start = token.start_pos or 0
    return Span(start, start + len(token))


class _Builder:
    """What turns lark's tree into frozen data; it checks nothing but sizes."""

    def __init__(self, source: RuleText) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []
        self.depth = 0
        # Items side by side have a meaning.
        self.selecting = False

    def statements(self, nodes: list[Any]) -> Iterator[syntax.Statement]:
        for node in nodes:
            if not isinstance(node, Tree):
                continue
            depth = self.depth
            try:
                yield self.statement(node)
            except Bad as error:
                self.depth, self.selecting = depth, False
                self.diagnostics.append(error.diagnostic)

    @contextmanager
    def deeper(self, span: Span) -> Iterator[None]:
        """Count one level of nesting."""
        self.depth += 1
        if self.depth > DEPTH:
            raise Bad(syntax_errors.too_deep(self.source, span, DEPTH))
        yield
        self.depth -= 1

    def statement(self, tree: Tree[Token]) -> syntax.Statement:
        span, parts = _tree_span(tree), tree.children
        match tree.data:
            case "score":
                return syntax.Score(span, self.expression(parts[1]))
            case "define":
                return syntax.Define(span, _name(parts[1]), self.condition(parts[2]))
            case "list":
                return syntax.ListOf(span, _name(parts[1]), tuple(map(self.text, parts[2:])))
            case "block":
                target = self.target(parts[1])
                with self.deeper(target.span):
                    inner = tuple(self.statements(parts[2:]))
                return syntax.Block(span, target, inner)
            case "whole":
                return syntax.Whole(span, self.target(parts[2]))
            case "guard":
                return self.guard(span, parts)
        kind = syntax.Kind[tree.data.upper()]
        whom = next(part for part in parts if isinstance(part, Tree))
        factor = None
        if isinstance(parts[-1], Token):
            factor = _quantity(parts[-1])
        return syntax.Rule(span, kind, self.selector(whom), factor)

    def guard(self, span: Span, parts: list[Any]) -> syntax.Guard:
        action, _, condition, *clauses = parts
        said: dict[str, Any] = {}
        for word, value in zip(clauses[::2], clauses[1::2], strict=True):
            if word.type in said:
                raise Bad(syntax_errors.said_twice(self.source, _span(word), str(word)))
            said[word.type] = value if word.type == "THEN" else _quantity(value)
        return syntax.Guard(
            span,
            syntax.Action[action.type],
            self.condition(condition),
            lasting=said.get("FOR"),
            within=said.get("WITHIN"),
            stop="THEN" in said,
        )

    def selector(self, tree: Any) -> syntax.Selector:
        chosen, *others = tree.children
        terms: tuple[syntax.Expression, ...] = ()
        if isinstance(chosen, Tree):  # else it is `anything`
            terms = self.items(chosen)
        clauses = tuple(map(self.clause, others))
        if clauses and isinstance(chosen, Tree) and chosen.data == "choice":
            raise Bad(syntax_errors.or_before_clause(self.source, terms[0].span, clauses[0].span))
        return syntax.Selector(_tree_span(tree), terms, clauses)

    def items(self, tree: Tree[Token]) -> tuple[syntax.Expression, ...]:
        """Return conditions that all must hold: those that stand side by side, or one."""
        self.selecting = True
        several = tree.data in ("beside", "ancestor")
        found = tuple(map(self.condition, tree.children if several else [tree]))
        self.selecting = False
        return found

    def clause(self, tree: Any) -> syntax.Clause:
        span, kind, parts = _tree_span(tree), tree.data, tree.children
        if kind == "when":
            return syntax.When(span, self.condition(parts[1]))
        if kind in ("under", "child"):
            items = self.items(parts[-1])
            whole = items[0] if len(items) == 1 else syntax.And(_tree_span(parts[-1]), items)
            return syntax.Under(span, kind == "child", whole, parts[0].type.startswith("NOT"))
        names = tuple(_name(token) for token in parts[-1].children)
        return syntax.With(span, syntax.Holding[kind.upper()], names)

    def target(self, tree: Any) -> syntax.Target:
        unit = self.text(tree.children[-1])
        return syntax.Target(_tree_span(tree), unit, syntax.Relation[tree.data.upper()])

    def text(self, token: Any) -> syntax.Text:
        # A backslash stands for itself, so that regular expressions and systemd's \x2d can
        # be written as they are; only \" is a quote.
        value = str(token)
        if value.startswith('"'):
            value = value[1:-1].replace('\\"', '"')
        if len(value) > LONGEST:
            raise Bad(syntax_errors.too_long(self.source, _span(token), LONGEST))
        return syntax.Text(_span(token), value)

    def condition(self, tree: Any) -> syntax.Expression:
        """Build what must be yes or no, where `nice -5` is a term and no difference."""
        tree = _inner(tree)
        match tree:
            case Tree(
                data="arithmetic",
                children=[
                    Tree(data="name", children=[name]),
                    Token(type="MINUS"),
                    Tree(data="quantity", children=[quantity]),
                ],
            ):
                return syntax.Equals(_tree_span(tree), _name(name), _quantity(quantity), True)
        return self.expression(tree)

    def expression(self, tree: Any) -> syntax.Expression:
        tree = _inner(tree)
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
            case "equals":
                return syntax.Equals(span, _name(parts[0]), _quantity(parts[1]))
            case "matches":
                return syntax.Matches(span, _name(parts[0]), self.text(parts[1]))
            case "member":
                return syntax.Member(span, _name(parts[0]), _list_name(parts[1]))
            case "call":
                given = (part for part in parts if isinstance(part, Tree))
                return syntax.Call(span, _name(parts[0]), tuple(map(self.expression, given)))
            case "minus":
                return syntax.Minus(span, self.expression(parts[1]))
            case "negated":
                return syntax.Not(span, self.condition(parts[1]))
            case "arithmetic" | "compared":
                make = syntax.Arithmetic if kind == "arithmetic" else syntax.Compared
                left, operator, right = parts
                return make(span, str(operator), self.expression(left), self.expression(right))
            case "membership":
                return syntax.Membership(span, self.expression(parts[0]), _list_name(parts[2]))
            case "searched":
                return syntax.Searched(span, self.expression(parts[0]), self.text(parts[1]))
        if kind == "beside" and not self.selecting:
            first, second = map(_tree_span, parts[:2])
            raise Bad(syntax_errors.side_by_side(self.source, first, second))
        operands = tuple(self.condition(part) for part in parts if isinstance(part, Tree))
        return (syntax.Or if kind in ("condition", "choice") else syntax.And)(span, operands)


def _inner(tree: Any) -> Any:
    """Return what brackets hold."""
    while tree.data == "grouped":
        tree = tree.children[1]
    return tree


def _tree_span(tree: Tree[Token]) -> Span:
    """Return where a tree begins and ends: the grammar keeps the tokens at its rules' ends."""
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
