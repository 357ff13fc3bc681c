"""Operators and functions on what is typed already: what may stand together, and what it makes."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, TypeGuard

from oomrules.attributes import ATTRIBUTES, Provider, Type
from oomrules.language import quantities, syntax, type_help
from oomrules.language.diagnostics import Mistakes, replacing
from oomrules.language.text import Span
from oomrules.language.type_help import EXAMPLES, NUMERIC, Typed, in_words, is_share
from oomrules.program import nodes


class Operations(Mistakes):
    """The operations in one file's expressions."""

    def quantity(self, quantity: syntax.Quantity) -> Typed:
        """Return the type and the node of a number with its unit."""
        try:
            kind, amount = quantities.read(quantity.written)
        except quantities.BadQuantity as error:
            fix = replacing(quantity.span, error.meant) if error.meant else None
            self.bad(error.code, quantity.span, error.message, error.help, fix)
        if kind is Type.PERCENTAGE:
            share = amount / 100
            return Typed(kind, ["share", share.numerator, share.denominator], literal=True)
        node = "bytes" if kind is Type.MEMORY else "number"
        return Typed(kind, [node, int(amount)], literal=True)

    def minus(self, operand: syntax.Expression, typed: Typed) -> Typed:
        """Return the negative of an operand."""
        if typed.type not in NUMERIC:
            self.bad(
                "OOM302",
                operand.span,
                f"{in_words(typed.type)} cannot be negative",
                "`-` stands before a number, memory or a duration",
            )
        if typed.node[0] == "number":
            return Typed(typed.type, ["number", -typed.node[1]], typed.literal)
        return Typed(typed.type, ["negative", typed.node])

    def arithmetic(self, expression: syntax.Arithmetic, left: Typed, right: Typed) -> Typed:
        """Return what an operator makes of its two sides."""
        operator = expression.operator
        self._refuse_unclear_share((left, right), expression.span)
        # A percentage beside memory is that share of the memory limit.
        if left.type is Type.MEMORY and is_share(right):
            right = Typed(Type.MEMORY, right.node)
        elif right.type is Type.MEMORY and is_share(left):
            left = Typed(Type.MEMORY, left.node)
        made = result(operator, left.type, right.type)
        if made is None:
            self.bad(
                "OOM302",
                expression.span,
                f"cannot apply `{operator}` to {in_words(left.type)} and {in_words(right.type)}",
                self.product_help(expression)
                or type_help.arithmetic_help(operator, left.type, right.type),
            )
        return Typed(made, [operator, left.node, right.node])

    def product_help(self, product: syntax.Arithmetic, wrong: Span | None = None) -> str:
        """Return how a product with a fraction or a percentage is written; empty if it is none.

        Args:
            wrong: where the mistake is, if it is in one side only.
        """
        for this, other in ((product.left, product.right), (product.right, product.left)):
            share = fraction(other)
            if product.operator == "*" and share and wrong in (None, other.span):
                return type_help.product_help(self._factor(this), share)
        return ""

    def _refuse_unclear_share(self, beside: Iterable[Typed], where: Span) -> None:
        """Refuse a percentage beside memory of the host, where it may be the share of anything."""
        asked = {name for one in beside for name in nodes.attributes(one.node)}
        of_host = sorted(
            name
            for name in asked
            if ATTRIBUTES[name].provider is Provider.HOST and ATTRIBUTES[name].type is Type.MEMORY
        )
        shares = [one.node for one in beside if is_share(one)]
        if of_host and shares:
            self.bad(
                "OOM301",
                where,
                f"it is not clear of what this percentage beside `{of_host[0]}` is the share",
                type_help.share_help(of_host, shares[0]),
            )

    def root(self, argument: syntax.Expression, typed: Typed) -> Typed:
        """Return the root of an argument."""
        if typed.type is not Type.COUNT:
            self.bad(
                "OOM307",
                argument.span,
                f"`root` takes a number, but this is {in_words(typed.type)}",
                "divide it by a unit first, as in "
                f"`root({self.source.quote(argument.span)} / {EXAMPLES[typed.type]})`"
                if typed.type in (Type.MEMORY, Type.DURATION)
                else "give it a number",
            )
        return Typed(Type.COUNT, ["root", typed.node])

    def extreme(self, call: syntax.Call, given: list[Typed]) -> Typed:
        """Return the type and the node of `max` or `min` of the given arguments."""
        word = call.function.name
        kinds = {typed.type for typed in given}
        # A percentage beside memory is that share of the memory limit, as in `_arithmetic`.
        if Type.MEMORY in kinds:
            self._refuse_unclear_share(given, call.span)
            given = [Typed(Type.MEMORY, one.node) if is_share(one) else one for one in given]
        first = given[0]
        for argument, typed in zip(call.arguments, given, strict=True):
            if typed.type not in NUMERIC:
                self.bad(
                    "OOM307",
                    argument.span,
                    f"`{word}` takes numbers, memory or durations, but this is "
                    f"{in_words(typed.type)}",
                    "give it amounts of one kind, as in `max(rss, swap)`",
                )
            if typed.type is not first.type:
                self.bad(
                    "OOM307",
                    argument.span,
                    f"`{word}` compares {in_words(first.type)} with {in_words(typed.type)} here",
                    "give it amounts of one kind; divide by a unit to get a plain number",
                )
        return Typed(first.type, [word, *(typed.node for typed in given)])

    def comparison(
        self, operator: str, left: Typed, right: Typed, where: syntax.Expression
    ) -> list[Any]:
        """Return the node of a comparison of two expressions."""
        if left.type is Type.PERCENTAGE and right.type is Type.PERCENTAGE:
            if left.literal and right.literal:
                self.bad(
                    "OOM301",
                    where.span,
                    "two percentages cannot be compared with one another",
                    "compare memory with a percentage, as in `rss > 25%`",
                )
            return [operator, self._hundredths(left, where), self._hundredths(right, where)]
        same = left.type is right.type or (
            {left.type, right.type} == {Type.ID, Type.COUNT} and (left.literal or right.literal)
        )
        # A percentage beside memory is that share of the memory limit, as in `_arithmetic`.
        share = {left.type, right.type} == {Type.MEMORY, Type.PERCENTAGE} and (
            is_share(left) or is_share(right)
        )
        if not same and not share:
            self.bad(
                "OOM301",
                where.span,
                f"cannot compare {in_words(left.type)} with {in_words(right.type)}",
                self._comparison_help(operator, left, right, where),
            )
        if share and not nodes.share_of([operator, left.node, right.node]):
            self._refuse_unclear_share((left, right), where.span)
        ordered = operator not in ("==", "!=")
        if left.type is Type.CAPABILITIES or (ordered and left.type in (Type.TEXT, Type.BOOLEAN)):
            self.bad(
                "OOM306",
                where.span,
                f"{in_words(left.type)} cannot be compared with `{operator}`",
                "ask for capabilities with `with CAP` or `cap(CAP)`"
                if left.type is Type.CAPABILITIES
                else "compare it with `==` or `!=`"
                + (", or `~` for a regular expression" if left.type is Type.TEXT else ""),
            )
        return [operator, left.node, right.node]

    def _comparison_help(
        self, operator: str, left: Typed, right: Typed, where: syntax.Expression | syntax.Equals
    ) -> str:
        if isinstance(where, syntax.Compared):
            sides: tuple[syntax.Node, syntax.Node] = (where.left, where.right)
        elif isinstance(where, syntax.Equals):
            sides = (where.name, where.quantity)
        else:
            sides = (where, where)
        return type_help.comparison_help(
            operator, left, right, lambda at: self.source.quote(sides[at].span)
        )

    def _hundredths(self, typed: Typed, where: syntax.Node) -> list[Any]:
        if not typed.literal:
            return typed.node
        _, above, below = typed.node
        if above * 10_000 % below:
            self.bad(
                "OOM402",
                where.span,
                "a percentage has at most two decimals here",
                "write fewer decimals",
            )
        return ["number", above * 10_000 // below]

    def ratio(self, operator: str, quotient: syntax.Arithmetic, share: Fraction) -> str:
        """Return how a quotient that is compared with a share is written."""
        left, right = (self._factor(side) for side in (quotient.left, quotient.right))
        return type_help.ratio_help(operator, left, right, share)

    def _factor(self, expression: syntax.Expression) -> str:
        """Return the text of an expression as it stands beside `*`."""
        written = self.source.quote(expression.span)
        return f"({written})" if isinstance(expression, syntax.Arithmetic) else written


def is_quotient(expression: syntax.Expression) -> TypeGuard[syntax.Arithmetic]:
    """Return whether an expression is a quotient."""
    return isinstance(expression, syntax.Arithmetic) and expression.operator == "/"


def fraction(expression: syntax.Expression) -> Fraction | None:
    """Return what a number with decimals or a percentage is a fraction of; None if it is none."""
    if not isinstance(expression, syntax.Quantity):
        return None
    try:
        amount, suffix = quantities.number(expression.written)
    except quantities.BadQuantity:
        return None
    if suffix == "%":
        return amount / 100
    return amount if not suffix and amount.denominator != 1 else None


def result(operator: str, left: Type, right: Type) -> Type | None:
    """Return the type of an operation; None where it has no meaning."""
    if left not in NUMERIC or right not in NUMERIC:
        return None
    if operator in "+-":
        return left if left is right else None
    if right is Type.COUNT:
        return left
    if operator == "*":
        return right if left is Type.COUNT else None
    return Type.COUNT if left is right else None
