"""Types of expressions, and their meaning as a program's plain data.

``Typing`` takes an expression of the syntax tree, checks it and returns its type
together with the node that a program holds for it (``oomrules.program.program``
lists the nodes).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, NoReturn, TypeGuard

from oomrules import capabilities
from oomrules.attributes import ATTRIBUTES, Provider, Type
from oomrules.language import quantities, syntax, type_help
from oomrules.language.diagnostics import (
    Bad,
    Diagnostic,
    Fix,
    did_you_mean,
    either,
    only_the_case,
    replacing,
)
from oomrules.language.text import RuleText, Span
from oomrules.language.type_help import EXAMPLES, NUMERIC, Typed, in_words, is_share
from oomrules.program import expressions, nodes

FUNCTION_FORMS = ("root(x)", "cap(X)", "max(a, b)", "min(a, b)")
FUNCTIONS = tuple(form.partition("(")[0] for form in FUNCTION_FORMS)


class Typing:
    """The checks of one file's expressions and selectors.

    Args:
        source: the file, for places.
        definitions: the defined names; what they mean is not looked at.
        lists: the lists by name.
        broken: names whose definition has a mistake. That is reported where they are defined,
            so nothing is reported where they are used.
        in_block: a target stands around the statement, so that `scope.` attributes have a unit.
    """

    def __init__(
        self,
        source: RuleText,
        definitions: Mapping[str, object],
        lists: Mapping[str, syntax.ListOf],
        broken: Collection[str] = (),
        *,
        in_block: bool = False,
    ) -> None:
        self.source = source
        self.definitions = definitions
        self.lists = lists
        self.broken = broken
        self.in_block = in_block
        # Whether it is an ancestor that a condition is asked of.
        self.of_ancestor = False

    def bad(
        self, code: str, span: Span, message: str, help_: str, fix: Fix | None = None
    ) -> NoReturn:
        """End the check of this statement: raise Bad with the diagnostic of a mistake."""
        raise Bad(Diagnostic(code, message, self.source, span, help_, fix=fix))

    # --- conditions and arithmetic -----------------------------------------------

    def condition(self, expression: syntax.Expression) -> list[Any]:
        """Return the node of a condition, which must be yes or no."""
        typed = self.expression(expression, type_help.BOOLEANS)
        value = self._unquoted(expression) if isinstance(expression, syntax.Name) else ""
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
                return self._quantity(expression)
            case syntax.Text(value=value):
                return Typed(Type.TEXT, ["text", value], literal=True)
            case syntax.Name():
                return self._name(expression, wanted)
            case syntax.Call():
                return self._call(expression)
            case syntax.Minus(operand=operand):
                return self._minus(operand)
            case syntax.Arithmetic():
                return self._arithmetic(expression)
            case syntax.Compared(operator=operator):
                left, right = self._compared(expression)
                return Typed(Type.BOOLEAN, self.comparison(operator, left, right, expression))
            case syntax.Equals() | syntax.Matches() | syntax.Member():
                return Typed(Type.BOOLEAN, self._term(expression))
            case syntax.Membership(subject=subject, list=name):
                return self._among(self._subject(subject, "`in @list`"), name)
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
        if ratio and is_share(right) and _is_quotient(first):
            self.bad(
                "OOM301",
                compared.span,
                "cannot compare a number with a percentage",
                self._ratio(operator, first, Fraction(*right.node[1:])),
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
                return None if one is None or two is None else _result(operator, one, two)
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
            name = self._unknown(this)
            if name and isinstance(other, syntax.Name):
                return type_help.quoted_help(name, other.name, operator)
            fraction, kind = _fraction(this), self._kind(other)
            if fraction is None:
                continue
            if _is_quotient(other) and kind is Type.COUNT and this is second:
                return self._ratio(operator, other, fraction)
            if kind is Type.PERCENTAGE and 1 < fraction <= 100:
                return f"a percentage has its sign: `{float(fraction):g}%`"
            if kind in (Type.MEMORY, Type.PERCENTAGE) and fraction <= 1:
                return f"a share of memory is written `{float(fraction * 100):g}%`"
        return ""

    def _unknown(self, expression: syntax.Expression) -> str:
        """Return the name that an expression is, if it means nothing."""
        name = expression.name if isinstance(expression, syntax.Name) else ""
        known = name in ATTRIBUTES or name in self.definitions or name in self.broken
        return "" if known else name

    def _ratio(self, operator: str, quotient: syntax.Arithmetic, share: Fraction) -> str:
        left, right = (self._factor(side) for side in (quotient.left, quotient.right))
        return type_help.ratio_help(operator, left, right, share)

    def _factor(self, expression: syntax.Expression) -> str:
        """Return the text of an expression as it stands beside `*`."""
        written = self.source.quote(expression.span)
        return f"({written})" if isinstance(expression, syntax.Arithmetic) else written

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

    def _quantity(self, quantity: syntax.Quantity) -> Typed:
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

    def _name(
        self,
        name: syntax.Name,
        wanted: Collection[Type] = type_help.ANY,
        term: str | None = None,
        bare: str = "",
    ) -> Typed:
        """Return the type and the node of a name.

        Args:
            wanted: the types that can stand there, for the help.
            term: for the name of a term, the value beside it.
            bare: the whole word that it is a part of, if it is.
        """
        # An attribute comes first; a definition cannot take its name (OOM208).
        if name.name.startswith("scope.") and self.of_ancestor:
            kind = ATTRIBUTES[name.name].type if name.name in ATTRIBUTES else Type.MEMORY
            self.bad(
                "OOM212",
                name.span,
                f"`{name.name}` is of the unit that a block is about, and an ancestor may be in "
                "another one",
                f"ask for it behind `when`, as in `in user.slice: prefer anything under uid 0 "
                f"when {name.name} > {EXAMPLES[kind]}`",
            )
        if name.name.startswith("scope.") and not self.in_block:
            self._no_scope(name)
        if name.name in ATTRIBUTES:
            return Typed(ATTRIBUTES[name.name].type, ["attr", name.name])
        if name.name in self.definitions:
            return Typed(Type.BOOLEAN, ["name", name.name])
        word = name.name
        if word in self.broken:
            return Typed(Type.BOOLEAN, ["or"])
        same = only_the_case(word, [*ATTRIBUTES, *self.definitions])
        self.bad(
            "OOM201",
            name.span,
            f"unknown name `{word}`",
            type_help.name_help(word, self.definitions, wanted)
            if term is None
            else type_help.term_help(bare or word, term, self.definitions, wanted),
            replacing(name.span, same) if same and not capabilities.matches(word) else None,
        )

    def _no_scope(self, name: syntax.Name) -> NoReturn:
        of_unit = name.name.replace("scope.", "unit.", 1)
        kind = ATTRIBUTES[name.name].type if name.name in ATTRIBUTES else Type.MEMORY
        self.bad(
            "OOM212",
            name.span,
            f"`{name.name}` is of the unit that a block is about, and there is no block around it",
            "write the statement in a block, as in `in user.slice: prefer anything when "
            f"{name.name} > {EXAMPLES[kind]}`"
            + (f"; of the innermost unit it is `{of_unit}`" if of_unit in ATTRIBUTES else ""),
        )

    def _call(self, call: syntax.Call) -> Typed:
        function = call.function
        match function.name:
            case "root":
                return self._root(self._only_argument(call))
            case "cap":
                return self._cap(self._only_argument(call))
            case "max" | "min":
                return self._extreme(call)
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

    def _root(self, argument: syntax.Expression) -> Typed:
        typed = self.expression(argument, NUMERIC)
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

    def _extreme(self, call: syntax.Call) -> Typed:
        """Return the type and the node of `max` or `min`."""
        word = call.function.name
        if len(call.arguments) < 2:
            self.bad(
                "OOM307",
                call.span,
                f"`{word}` takes two values or more",
                f"write `{word}({self.source.quote(call.arguments[0].span)}, …)`, or the value "
                "alone",
            )
        given = [self.expression(argument, NUMERIC) for argument in call.arguments]
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

    def capability(self, name: syntax.Name) -> int:
        """Return the bit of a capability, by its name or by the end of its name."""
        meant = capabilities.matches(name.name)
        if len(meant) == 1:
            return capabilities.CAPABILITIES[meant[0]]
        if meant:
            self.bad(
                "OOM203",
                name.span,
                f"`{name.name}` can mean {either(f'`{full}`' for full in meant)}",
                "write the full name",
            )
        short = [full.partition("_")[2] for full in capabilities.CAPABILITIES]
        upper = name.name.upper()
        fix = replacing(name.span, upper) if len(capabilities.matches(upper)) == 1 else None
        self.bad(
            "OOM202",
            name.span,
            f"unknown capability `{name.name}`",
            type_help.not_a_capability(name.name)
            if name.name in self.definitions or name.name in ATTRIBUTES
            else type_help.capability_help(
                name.name.removeprefix("CAP_"),
                [*capabilities.CAPABILITIES, *filter(None, short)],
            ),
            fix,
        )

    def _minus(self, operand: syntax.Expression) -> Typed:
        typed = self.expression(operand, NUMERIC)
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

    def _arithmetic(self, expression: syntax.Arithmetic) -> Typed:
        operator = expression.operator
        try:
            left = self.expression(expression.left, NUMERIC)
            right = self.expression(expression.right, NUMERIC)
        except Bad as error:
            help_ = self._product_help(expression, error.diagnostic.span)
            raise Bad(replace(error.diagnostic, help=help_)) if help_ else error from error
        self._refuse_unclear_share((left, right), expression.span)
        # A percentage beside memory is that share of the memory limit.
        if left.type is Type.MEMORY and is_share(right):
            right = Typed(Type.MEMORY, right.node)
        elif right.type is Type.MEMORY and is_share(left):
            left = Typed(Type.MEMORY, left.node)
        result = _result(operator, left.type, right.type)
        if result is None:
            self.bad(
                "OOM302",
                expression.span,
                f"cannot apply `{operator}` to {in_words(left.type)} and {in_words(right.type)}",
                self._product_help(expression)
                or type_help.arithmetic_help(operator, left.type, right.type),
            )
        return Typed(result, [operator, left.node, right.node])

    def _product_help(self, product: syntax.Arithmetic, wrong: Span | None = None) -> str:
        """Return how a product with a fraction or a percentage is written; empty if it is none.

        Args:
            wrong: where the mistake is, if it is in one side only.
        """
        for this, other in ((product.left, product.right), (product.right, product.left)):
            fraction = _fraction(other)
            if product.operator == "*" and fraction and wrong in (None, other.span):
                return type_help.product_help(self._factor(this), fraction)
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

    def _among(self, subject: list[Any], name: syntax.ListName) -> Typed:
        if name.name in self.broken:
            return Typed(Type.BOOLEAN, ["or"])
        if name.name not in self.lists:
            self.bad(
                "OOM204",
                name.span,
                f"unknown list `@{name.name}`",
                did_you_mean(
                    f"@{name.name}",
                    [f"@{known}" for known in self.lists],
                    f'make it with `list {name.name} = "…", "…"`',
                ),
            )
        items = sorted({item.value for item in self.lists[name.name].items})
        return Typed(Type.BOOLEAN, ["among", subject, *items])

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
            typed = self._name(first, term=self._unquoted(first), bare=self._bare(item))
            # A path and a name with a dash look like arithmetic.
            if typed.type is Type.TEXT or (first is item and typed.type is not Type.BOOLEAN):
                self.bad(
                    "OOM304",
                    first.span,
                    f"`{first.name}` needs a value",
                    type_help.value_help(first.name, typed.type, self._unquoted(first)),
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
        typed = self._name(name, self._takes(term), self._value(term))
        if typed.type is Type.BOOLEAN:
            self.bad(
                "OOM301",
                term.span,
                f"`{name.name}` is yes or no and takes no value",
                f"write `{name.name}` alone",
            )
        if isinstance(term, syntax.Equals):
            quantity = term.quantity
            right = self._minus(quantity) if term.negative else self._quantity(quantity)
            if typed.type in (Type.TEXT, Type.CAPABILITIES):
                self.bad(
                    "OOM301",
                    term.span,
                    f"`{name.name}` is {in_words(typed.type)}, but this is {in_words(right.type)}",
                    type_help.value_help(name.name, typed.type, self.source.quote(quantity.span)),
                )
            return self.comparison("==", typed, right, term)
        if typed.type is not Type.TEXT:
            self.bad(
                "OOM306",
                term.span,
                f"`{name.name}` is {in_words(typed.type)}, not a text",
                type_help.value_help(name.name, typed.type, self._value(term)),
                type_help.by_name(term),
            )
        if isinstance(term, syntax.Member):
            return self._among(typed.node, term.list).node
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

    def _unquoted(self, name: syntax.Name) -> str:
        """Return the word behind a name that is no known name, and may lack its quotes."""
        behind = _UNQUOTED.match(self.source.text, name.span.end)
        word = behind.group(1) if behind else ""
        known = word in ATTRIBUTES or word in self.definitions or word in self.broken
        return "" if known or word in syntax.KEYWORDS else word


# What looks like the value of an attribute, but for its quotes.
_UNQUOTED = re.compile(r"[ \t]+([^\s\"'`#{}()<>=!&|,;%]+)")


def _is_quotient(expression: syntax.Expression) -> TypeGuard[syntax.Arithmetic]:
    return isinstance(expression, syntax.Arithmetic) and expression.operator == "/"


def _fraction(expression: syntax.Expression) -> Fraction | None:
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


def _result(operator: str, left: Type, right: Type) -> Type | None:
    """The type of an operation, or None where it has no meaning."""
    if left not in NUMERIC or right not in NUMERIC:
        return None
    if operator in "+-":
        return left if left is right else None
    if right is Type.COUNT:
        return left
    if operator == "*":
        return right if left is Type.COUNT else None
    return Type.COUNT if left is right else None
