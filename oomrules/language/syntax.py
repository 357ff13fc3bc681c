"""The syntax tree: frozen data, equal when the sentences are equal.

Spans are left out of comparison, so two trees that say the same thing are equal
wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from oomrules.language.text import Span


@dataclass(frozen=True, slots=True)
class Node:
    """Anything that stands in the text."""

    span: Span = field(compare=False, repr=False)


# --- expressions -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quantity(Node):
    """A number with or without a unit, as written: ``512MiB``, ``25%``, ``0``."""

    written: str


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A quoted text, without its quotes."""

    value: str


@dataclass(frozen=True, slots=True)
class Name(Node):
    """An attribute, a defined name or a capability."""

    name: str


@dataclass(frozen=True, slots=True)
class ListName(Node):
    """A list, ``@databases``; the name without its ``@``."""

    name: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """``root(x)``, ``cap(X)``, ``max(a, b)`` or ``min(a, b)``."""

    function: Name
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Minus(Node):
    """``-x``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """``left + right``; the operator is one of ``+ - * /``."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Compared(Node):
    """``left > right``; the operator is one of ``== != < <= > >=``."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Membership(Node):
    """``comm in @databases``."""

    subject: Expression
    list: ListName


@dataclass(frozen=True, slots=True)
class Searched(Node):
    """``comm ~ "regex"``: the pattern is found anywhere in the subject."""

    subject: Expression
    pattern: Text


@dataclass(frozen=True, slots=True)
class Not(Node):
    """``not x``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class And(Node):
    """``x and y and …``."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """``x or y or …``."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Equals(Node):
    """A term with a number: ``uid 0``, ``oom_score_adj -1000``."""

    name: Name
    quantity: Quantity
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Matches(Node):
    """A term with a glob: ``comm "ssh*"``."""

    name: Name
    glob: Text


@dataclass(frozen=True, slots=True)
class Member(Node):
    """A term with a list: ``comm @databases``."""

    name: Name
    list: ListName


Term = Equals | Matches | Member
_Operand = Quantity | Text | Name | Call
_Operation = Minus | Arithmetic | Compared | Membership | Searched
Expression = _Operand | _Operation | Term | Not | And | Or

# --- selectors -------------------------------------------------------------------


class Holding(Enum):
    """How many of the capabilities of a ``with`` clause must be there.

    The value is how the clause starts; the name is what the grammar calls it.
    """

    ALL = "with"
    ANY = "with any of"
    NONE = "without"


@dataclass(frozen=True, slots=True)
class With(Node):
    """``with A, B``, ``with any of A, B`` or ``without A``."""

    holding: Holding
    capabilities: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class When(Node):
    """``when CONDITION``."""

    condition: Expression


@dataclass(frozen=True, slots=True)
class Under(Node):
    """``under TERMS``: an ancestor satisfies the condition; ``child of TERMS``: the parent does."""

    parent: bool
    condition: Expression
    negative: bool = False


Clause = With | When | Under


@dataclass(frozen=True, slots=True)
class Selector(Node):
    """The processes that a rule is about; no terms means ``anything``.

    All terms must hold. They are conditions, which stand side by side.
    """

    terms: tuple[Expression, ...]
    clauses: tuple[Clause, ...] = ()


# --- statements ------------------------------------------------------------------


class Kind(Enum):
    """What a rule does.

    The value is how the sentence starts; the name is what the grammar and a program call it.
    """

    NEVER = "never kill"
    ONLY = "only kill"
    FIRST = "kill first"
    LAST = "kill last"
    PREFER = "prefer"
    SPARE = "spare"

    @property
    def key(self) -> str:
        """What a program calls it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Rule(Node):
    """A rule about the processes of a selector.

    ``factor`` is what stands behind ``by``: of prefer and spare a factor, of first and last the
    degree.
    """

    kind: Kind
    selector: Selector
    factor: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Score(Node):
    """``score EXPR``."""

    expression: Expression


@dataclass(frozen=True, slots=True)
class Define(Node):
    """``define NAME = CONDITION``."""

    name: Name
    condition: Expression


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    """``list NAME = "a", "b"``."""

    name: Name
    items: tuple[Text, ...]


class Relation(Enum):
    """How a target says which units it means.

    The value is how it goes in the sentence; the name is what the grammar calls it.
    """

    NAMED = ""
    WANTED_BY = "units wanted by "
    PART_OF = "units part of "
    OF_USER = "user unit "


@dataclass(frozen=True, slots=True)
class Target(Node):
    """The units of a block: ``nginx.service``, ``user unit "app-*.scope"`` and the like."""

    unit: Text
    relation: Relation = Relation.NAMED


@dataclass(frozen=True, slots=True)
class Block(Node):
    """``in TARGET { … }`` or ``in TARGET: …``."""

    target: Target
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Whole(Node):
    """``kill whole TARGET``."""

    target: Target


class Action(Enum):
    """What a guard does.

    The value is how the sentence starts; the name is what a program calls it, in small letters.
    """

    KILL = "kill when"
    TERMINATE = "terminate when"
    WARN = "warn when"

    @property
    def key(self) -> str:
        """What a program calls it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Guard(Node):
    """``kill when CONDITION for DURATION``, ``terminate when …`` or ``warn when …``.

    ``lasting`` stands behind ``for``, ``within`` behind ``within``; ``stop`` is whether there is
    ``then stop``.
    """

    action: Action
    condition: Expression
    lasting: Quantity | None = None
    within: Quantity | None = None
    stop: bool = False


Statement = Rule | Score | Define | ListOf | Block | Whole | Guard


# How each statement goes, by its first word.
FORMS = {
    "never": "never kill SELECTOR",
    "only": "only kill SELECTOR",
    "kill": "kill first SELECTOR [by N]",
    "terminate": "terminate when CONDITION [for DURATION] [within DURATION] [then stop]",
    "warn": "warn when CONDITION [for DURATION]",
    "prefer": "prefer SELECTOR [by N]",
    "spare": "spare SELECTOR [by N]",
    "score": "score EXPRESSION",
    "define": "define NAME = CONDITION",
    "list": 'list NAME = "TEXT", "TEXT"',
    "in": "in UNIT: STATEMENT",
}
# Words inside of statements, and how they go there.
WORDS = {
    "first": "kill first SELECTOR [by N]",
    "last": "kill last SELECTOR [by N]",
    "whole": "kill whole UNIT",
    "by": "by N",
    "with": "SELECTOR with CAPABILITY, CAPABILITY",
    "without": "SELECTOR without CAPABILITY",
    "when": "SELECTOR when CONDITION",
    "for": "kill when CONDITION for DURATION",
    "within": "terminate when CONDITION within DURATION",
    "then": "kill when CONDITION then stop",
    "under": "SELECTOR under TERMS",
    "child": "SELECTOR child of TERMS",
}
KEYWORDS = (
    "never kill only first last prefer spare by score define list in anything with without "
    "any of when and or not"
).split()


def walk(statements: tuple[Statement, ...]) -> Iterator[tuple[tuple[Target, ...], Statement]]:
    """Return each statement that is not a block, with the targets around it, outermost first."""
    for statement in statements:
        if isinstance(statement, Block):
            for targets, inner in walk(statement.statements):
                yield (statement.target, *targets), inner
        else:
            yield (), statement


def parts(statement: Statement) -> Iterator[Node]:
    """Yield each node of a statement's selector or expression, outer ones first."""
    match statement:
        case Rule(selector=selector):
            for term in selector.terms:
                yield from expressions(term)
            for clause in selector.clauses:
                yield clause
                if isinstance(clause, When | Under):
                    yield from expressions(clause.condition)
        case (
            Define(condition=expression)
            | Score(expression=expression)
            | Guard(condition=expression)
        ):
            yield from expressions(expression)


def expressions(expression: Expression) -> Iterator[Expression]:
    """Yield an expression and every one in it, outer ones first."""
    yield expression
    below: tuple[Expression, ...] = ()
    match expression:
        case Minus(operand=inner) | Not(operand=inner):
            below = (inner,)
        case Membership(subject=inner) | Searched(subject=inner):
            below = (inner,)
        case Arithmetic(left=left, right=right) | Compared(left=left, right=right):
            below = (left, right)
        case And(operands=inners) | Or(operands=inners) | Call(arguments=inners):
            below = inners
    for inner in below:
        yield from expressions(inner)
