"""Types of expressions, and their meaning as a program's plain data.

``Typing`` takes an expression of the syntax tree, checks it and returns its type
together with the node that a program holds for it (``oomrules.program.program``
lists the nodes).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from oomrules import capabilities
from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language import guard_help, operations, quantities, syntax, type_help
from oomrules.language.diagnostics import Bad, did_you_mean, either, replacing
from oomrules.language.names import Names
from oomrules.language.operations import Operations
from oomrules.language.text import Span
from oomrules.language.type_help import NUMERIC, Typed, in_words, is_share
from oomrules.program import expressions

FUNCTION_FORMS = ("root(x)", "cap(X)", "max(a, b)", "min(a, b)")
FUNCTIONS = tuple(form.partition("(")[0] for form in FUNCTION_FORMS)


class Typing(Names):
    """The checks of one file's expressions and selectors; made as ``Names`` are."""

    @cached_property
    def _operations(self) -> Operations:
        return Operations(self.source)

    # --- conditions and arithmetic -----------------------------------------------

    def condition(self, expression: syntax.Expression) -> list[Any]:
        """Return the node of a condition, which must be yes or no."""
        typed = self.expression(expression, type_help.BOOLEANS)
        value = self.unquoted(expression) if isinstance(expression, syntax.Name) else ""
        if value and typed.type is Type.TEXT:
            self.bad(
                "OOM304",
                expression.span,
                f"`{self.source.quote(expression.span)}` needs a value",
                type_help.value_help(typed.node[-1], typed.type, value),
            )
        if typed.type is not Type.BOOLEAN:
            self.bad(
                "OOM303",
                expression.span,
                f"a condition is yes or no, but this is {in_words(typed.type)}",
                type_help.condition_help(typed, self.source.quote(expression.span)),
            )
        return typed.node

    def guard(self, expression: syntax.Expression) -> list[Any]:
        """Return the node of a guard's condition, which asks for the host and for units only."""
        self.of_guard = True
        try:
            return self.condition(expression)
        except Bad as error:
            if error.diagnostic.code != "OOM214":
                raise
            rule = self.source.quote(expression.span) if self._is_of_a_rule(expression) else ""
            asked = self.source.quote(error.diagnostic.span)
            asked = asked if asked in ATTRIBUTES else "capabilities"
            help_ = guard_help.of_process(asked, self.in_block, rule)
            raise Bad(replace(error.diagnostic, help=help_)) from error
        finally:
            self.of_guard = False

    def _is_of_a_rule(self, expression: syntax.Expression) -> bool:
        """Return whether a guard's condition would be one of a rule."""
        self.of_guard = False
        try:
            self.condition(expression)
        except Bad:
            return False
        return True

    def duration(self, quantity: syntax.Quantity) -> int:
        """Return a duration in milliseconds."""
        typed = self._operations.quantity(quantity)
        if typed.type is not Type.DURATION:
            self.bad(
                "OOM403",
                quantity.span,
                f"a duration is needed, but this is {in_words(typed.type)}",
                f"write `{quantities.digits(quantity.written)}s`"
                if typed.type is Type.COUNT
                else "write a time, as in `10s`",
            )
        return int(typed.node[1])

    def score(self, expression: syntax.Expression) -> list[Any]:
        """Return the node of a score, the base measure of badness."""
        typed = self.expression(expression, NUMERIC)
        if typed.type not in NUMERIC:
            self.bad(
                "OOM305",
                expression.span,
                f"a score is a number, memory or a duration, but this is {in_words(typed.type)}",
                "score by something that grows with badness, as in `score rss`",
            )
        return typed.node

    def expression(
        self, expression: syntax.Expression, wanted: Collection[Type] = type_help.ANY
    ) -> Typed:
        """Return the type and the node of an expression.

        Args:
            wanted: the types that can stand there, for the help about an unknown name.
        """
        match expression:
            case syntax.Quantity():
                return self._operations.quantity(expression)
            case syntax.Text(value=value):
                return Typed(Type.TEXT, ["text", value], literal=True)
            case syntax.Name():
                return self.name(expression, wanted)
            case syntax.Call():
                return self._call(expression)
            case syntax.Minus(operand=operand):
                return self._operations.minus(operand, self.expression(operand, NUMERIC))
            case syntax.Arithmetic():
                return self._operations.arithmetic(expression, *self._sides(expression))
            case syntax.Compared(operator=operator):
                left, right = self._compared(expression)
                node = self._operations.comparison(operator, left, right, expression)
                return Typed(Type.BOOLEAN, node)
            case syntax.Equals() | syntax.Matches() | syntax.Member():
                return Typed(Type.BOOLEAN, self._term(expression))
            case syntax.Membership(subject=subject, list=name):
                return self.among(self._subject(subject, "`in @list`"), name)
            case syntax.Searched(subject=subject, pattern=pattern):
                node = self._subject(subject, "`~`")
                self._regex(pattern)
                return Typed(Type.BOOLEAN, ["search", node, pattern.value])
            case syntax.Not(operand=operand):
                return Typed(Type.BOOLEAN, ["not", self.condition(operand)])
            case syntax.And(operands=operands):
                return Typed(Type.BOOLEAN, ["and", *map(self.condition, operands)])
            case syntax.Or(operands=operands):
                self._say_both(operands)
                return Typed(Type.BOOLEAN, ["or", *map(self.condition, operands)])

    def _sides(self, expression: syntax.Arithmetic) -> tuple[Typed, Typed]:
        """Return the two sides of an operator."""
        try:
            left = self.expression(expression.left, NUMERIC)
            return left, self.expression(expression.right, NUMERIC)
        except Bad as error:
            help_ = self._operations.product_help(expression, error.diagnostic.span)
            raise Bad(replace(error.diagnostic, help=help_)) if help_ else error from error

    def _compared(self, compared: syntax.Compared) -> tuple[Typed, Typed]:
        """Return the two sides of a comparison; what is wrong with one is said of both."""
        operator, first, second = compared.operator, compared.left, compared.right
        try:
            left = self.expression(first, self._beside(second))
            right = self.expression(second, self._beside(first))
        except Bad as error:
            help_ = self._beside_help(compared, error.diagnostic.span)
            raise Bad(replace(error.diagnostic, help=help_)) if help_ else error from error
        ratio = left.type is Type.COUNT and right.type is Type.PERCENTAGE
        if ratio and is_share(right) and operations.is_quotient(first):
            self.bad(
                "OOM301",
                compared.span,
                "cannot compare a number with a percentage",
                self._operations.ratio(operator, first, Fraction(*right.node[1:])),
            )
        return left, right

    def _beside(self, other: syntax.Expression) -> Collection[Type]:
        """Return the types that can be compared with an expression; all if its own is not plain."""
        kind = self._kind(other)
        if kind in (Type.MEMORY, Type.PERCENTAGE):
            return (Type.MEMORY, Type.PERCENTAGE)
        if kind in (Type.ID, Type.COUNT):
            return (Type.ID, Type.COUNT)
        return type_help.ANY if kind is None else (kind,)

    def _kind(self, expression: syntax.Expression) -> Type | None:
        """Return the type of an expression as it seems; None if it is not plain to see."""
        match expression:
            case syntax.Text():
                return Type.TEXT
            case syntax.Name(name=name):
                return ATTRIBUTES[name].type if name in ATTRIBUTES else None
            case syntax.Quantity(written=written):
                try:
                    return quantities.UNITS.get(quantities.number(written)[1], (Type.COUNT, 1))[0]
                except quantities.BadQuantity:
                    return None
            case syntax.Minus(operand=operand):
                return self._kind(operand)
            case syntax.Arithmetic(operator=operator, left=left, right=right):
                one, two = self._kind(left), self._kind(right)
                return None if one is None or two is None else operations.result(operator, one, two)
        return None

    def _beside_help(self, compared: syntax.Compared, wrong: Span) -> str:
        """Return what to do where one side of a comparison is wrong; empty if that says it all.

        Args:
            wrong: where the mistake is.
        """
        operator, first, second = compared.operator, compared.left, compared.right
        for this, other in ((first, second), (second, first)):
            if this.span != wrong:
                continue
            name = self.unknown(this)
            if self.of_guard and name and this is first and isinstance(other, syntax.Quantity):
                meant = guard_help.comparison(name, operator, other.written, self.in_block)
                if meant:
                    return meant
            if name and isinstance(other, syntax.Name):
                return type_help.quoted_help(name, other.name, operator)
            fraction, kind = operations.fraction(this), self._kind(other)
            if fraction is None:
                continue
            if operations.is_quotient(other) and kind is Type.COUNT and this is second:
                return self._operations.ratio(operator, other, fraction)
            if kind is Type.PERCENTAGE and 1 < fraction <= 100:
                return f"a percentage has its sign: `{float(fraction):g}%`"
            if kind in (Type.MEMORY, Type.PERCENTAGE) and fraction <= 1:
                return f"a share of memory is written `{float(fraction * 100):g}%`"
        return ""

    def _say_both(self, operands: tuple[syntax.Expression, ...]) -> None:
        """Find a value without its comparison, as in ``uid == 0 or 33``."""
        for before, one in itertools.pairwise(operands):
            if isinstance(before, syntax.Compared) and isinstance(
                one, syntax.Quantity | syntax.Text
            ):
                left, written = before.left.span, self.source.quote(one.span)
                self.bad(
                    "OOM303",
                    one.span,
                    f"`{written}` alone is no condition",
                    f"compare it, too: `{self.source.quote(left)} {before.operator} {written}`",
                )

    def _call(self, call: syntax.Call) -> Typed:
        function = call.function
        if function.name == "cap" and self.of_guard:
            self.of_process(function)
        match function.name:
            case "root":
                argument = self._only_argument(call)
                return self._operations.root(argument, self.expression(argument, NUMERIC))
            case "cap":
                return self._cap(self._only_argument(call))
            case "max" | "min":
                return self._operations.extreme(call, self._several_arguments(call))
        word = function.name
        if word in ATTRIBUTES or word in self.definitions or word in self.broken:
            help_ = f"write `and` between: `{word} and (…)`"
        else:
            known = either(f"`{form}`" for form in FUNCTION_FORMS)
            help_ = did_you_mean(word, FUNCTIONS, f"the functions are {known}")
        self.bad("OOM205", function.span, f"unknown function `{word}`", help_)

    def _only_argument(self, call: syntax.Call) -> syntax.Expression:
        first, *others = call.arguments
        if others:
            word = call.function.name
            each = " and ".join(f"cap({self.source.quote(one.span)})" for one in call.arguments)
            self.bad(
                "OOM307",
                others[0].span,
                f"`{word}` takes one argument, and there are {len(call.arguments)}",
                f"write `{each}`, or `or`" if word == "cap" else "give it one number",
            )
        return first

    def _several_arguments(self, call: syntax.Call) -> list[Typed]:
        word = call.function.name
        if len(call.arguments) < 2:
            self.bad(
                "OOM307",
                call.span,
                f"`{word}` takes two values or more",
                f"write `{word}({self.source.quote(call.arguments[0].span)}, …)`, or the value "
                "alone",
            )
        return [self.expression(argument, NUMERIC) for argument in call.arguments]

    def _cap(self, argument: syntax.Expression) -> Typed:
        if not isinstance(argument, syntax.Name):
            self.bad(
                "OOM307",
                argument.span,
                "`cap` takes the name of a capability",
                "write it without quotes, as in `cap(SYS_ADMIN)`",
                replacing(argument.span, argument.value)
                if isinstance(argument, syntax.Text) and capabilities.matches(argument.value)
                else None,
            )
        return Typed(Type.BOOLEAN, ["cap", self.capability(argument)])

    def _subject(self, expression: syntax.Expression, operation: str) -> list[Any]:
        typed = self.expression(expression, type_help.TEXTS)
        if typed.type is not Type.TEXT:
            self.bad(
                "OOM306",
                expression.span,
                f"{operation} takes a text, but this is {in_words(typed.type)}",
                "use it on comm, cmdline, exe, user, unit or another text",
            )
        return typed.node

    def _regex(self, pattern: syntax.Text) -> None:
        try:
            expressions.check(pattern.value)
        except expressions.Refused as error:
            self.bad("OOM405", pattern.span, str(error), error.help)
        except (re.error, OverflowError, RecursionError) as error:
            self.bad(
                "OOM404",
                pattern.span,
                f"this regular expression does not compile: {error}",
                'the syntax is Python\'s; a plain pattern with `*` is a glob, as in `comm "a*"`',
            )

    # --- selectors ---------------------------------------------------------------

    def selector(self, selector: syntax.Selector) -> list[Any]:
        """Return the node of a selector; all that it says must hold at once."""
        nodes = [*map(self._item, selector.terms)]
        nodes += map(self._clause, selector.clauses)
        return nodes[0] if len(nodes) == 1 else ["and", *nodes]

    def _item(self, item: syntax.Expression) -> list[Any]:
        """Return the node of an item of a selector."""
        first = item
        while isinstance(first, syntax.Arithmetic):
            first = first.left
        if isinstance(first, syntax.Name):
            typed = self.name(first, term=self.unquoted(first), bare=self._bare(item))
            # A path and a name with a dash look like arithmetic.
            if typed.type is Type.TEXT or (first is item and typed.type is not Type.BOOLEAN):
                self.bad(
                    "OOM304",
                    first.span,
                    f"`{first.name}` needs a value",
                    type_help.value_help(first.name, typed.type, self.unquoted(first)),
                )
        return self.condition(item)

    def _clause(self, clause: syntax.Clause) -> list[Any]:
        match clause:
            case syntax.When(condition=condition):
                return self.condition(condition)
            case syntax.Under():
                return self._under(clause)
        held = [["cap", self.capability(name)] for name in clause.capabilities]
        if clause.holding is syntax.Holding.ALL:
            return ["and", *held]
        return ["or", *held] if clause.holding is syntax.Holding.ANY else ["not", ["or", *held]]

    def _under(self, clause: syntax.Under) -> list[Any]:
        if not clause.parent and ("under" in self.definitions or "under" in self.broken):
            self.bad(
                "OOM213",
                clause.span,
                "`under` begins a clause, and it is also the name of a definition",
                "rename the definition; as a condition `under` stands last, or behind `when`",
            )
        self.of_ancestor = True
        try:
            condition = self.condition(clause.condition)
        finally:
            self.of_ancestor = False
        node = ["child" if clause.parent else "under", condition]
        return ["not", node] if clause.negative else node

    def _term(self, term: syntax.Term) -> list[Any]:
        name = term.name
        typed = self.name(name, self._takes(term), self._value(term))
        if typed.type is Type.BOOLEAN:
            self.bad(
                "OOM301",
                term.span,
                f"`{name.name}` is yes or no and takes no value",
                f"write `{name.name}` alone",
            )
        if isinstance(term, syntax.Equals):
            quantity = term.quantity
            right = self._operations.quantity(quantity)
            if term.negative:
                right = self._operations.minus(quantity, right)
            if typed.type in (Type.TEXT, Type.CAPABILITIES):
                self.bad(
                    "OOM301",
                    term.span,
                    f"`{name.name}` is {in_words(typed.type)}, but this is {in_words(right.type)}",
                    type_help.value_help(name.name, typed.type, self.source.quote(quantity.span)),
                )
            return self._operations.comparison("==", typed, right, term)
        if typed.type is not Type.TEXT:
            self.bad(
                "OOM306",
                term.span,
                f"`{name.name}` is {in_words(typed.type)}, not a text",
                type_help.value_help(name.name, typed.type, self._value(term)),
                type_help.by_name(term),
            )
        if isinstance(term, syntax.Member):
            return self.among(typed.node, term.list).node
        return ["glob", typed.node, term.glob.value]

    def _value(self, term: syntax.Term) -> str:
        """Return the value of a term as it was meant; empty if there is none to be seen."""
        match term:
            case syntax.Equals(quantity=quantity):
                return self.source.quote(quantity.span)
            case syntax.Matches(glob=glob):
                return "" if '"' in glob.value else glob.value
        return ""

    def _takes(self, term: syntax.Term) -> Collection[Type]:
        """Return the types that can have the value of a term."""
        return self._beside(term.quantity) if isinstance(term, syntax.Equals) else type_help.TEXTS

    def _bare(self, item: syntax.Expression) -> str:
        """Return the word that looks like arithmetic, such as ``gnome-shell``; else nothing."""
        written = self.source.quote(item.span)
        word = isinstance(item, syntax.Arithmetic) and not re.search(r"[\s()*+]", written)
        return written if word else ""
