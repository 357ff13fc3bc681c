"""Arithmetic between attributes, by z3 if it is installed.

Only boxes that compare an expression with its own attributes, or two attributes, need it.
Division and roots are modelled as the evaluator does them: ``/`` rounds down and is unknown
for a divisor of 0, ``root`` is never below 1. Memory is tried with each page size.
"""

from __future__ import annotations

import operator
from fractions import Fraction
from functools import lru_cache
from math import isinf
from typing import Any

from oomrules.fields import FIELDS
from oomrules.processes.values import LIMIT
from oomrules.reason import arithmetic, variables
from oomrules.reason.arithmetic import GRANULE, mentioned
from oomrules.reason.numbers import Numbers
from oomrules.reason.variables import NOTHING_BY_NOTHING, UNKNOWN, Box, Values, Variable, attribute

# The page sizes of Debian's kernels: amd64 and most others, then larger ones of arm64, ppc64el.
PAGE_SIZES = (4096, 16_384, 65_536)

# A limit in z3's own steps: unlike a limit of time, it is the same on every machine.
_STEPS = 400_000


@lru_cache(maxsize=1)
def _z3() -> Any:
    try:
        import z3
    except ImportError:
        return None
    return z3


_ORDINARY = ("swap", "rss", "total_vm", "threads", "nice")
# The values of an ordinary process, in pages of 4 KiB and in milliseconds.
_LIKED = {LIMIT: 2**33, **{name: FIELDS[name].ordinary for name in _ORDINARY}}
_KINDS = ("number", "order", "share")
_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def needed(box: Box) -> bool:
    """Return whether a box has questions that depend on one another by arithmetic."""
    seen: set[str] = set()
    deep = shared = False
    for variable, values in box.items():
        if variable.kind not in _KINDS or UNKNOWN in values.others:
            continue
        names = mentioned(variable.key)
        if variable.kind == "share":
            names |= {arithmetic.whole_beside(variable.key) or LIMIT}
        plain = variable.kind == "number" and variable.key[0] == "attr"
        deep = deep or not plain
        # An expression that stands alone needs no z3 if it is a plain sum.
        shared = shared or bool(names & seen) or (not plain and _hard(variable.key))
        seen |= names
    return deep and shared


def _hard(key: Any) -> bool:
    """Return whether an expression uses an attribute twice, or more than sums."""
    asked = list(arithmetic.uses(key))
    return len(asked) > len(set(asked)) or any(
        part in str(key) for part in ("'root'", "'/'", "'*'", "'max'", "'min'")
    )


def satisfiable(box: Box) -> bool | None:
    """Return whether numbers exist that are in a box.

    Returns:
        True if they exist or if z3 gave up, False if there surely are none, None if z3 is
        missing.
    """
    if _z3() is None:
        return None
    return any(_check(_key(box), page) is not False for page in PAGE_SIZES)


def solution(box: Box) -> dict[str, int] | None:
    """Return numbers for the attributes of a box, memory in pages of 4 KiB; None if not found."""
    if _z3() is None:
        return None
    found = _check(_key(box), GRANULE)
    return dict(found) if isinstance(found, tuple) else None


def _key(box: Box) -> tuple[tuple[Variable, Values], ...]:
    return tuple(
        (variable, values)
        for variable, values in box.items()
        if variable.kind in _KINDS and UNKNOWN not in values.others
    )


@lru_cache(maxsize=4096)
def _check(questions: tuple[tuple[Variable, Values], ...], page: int) -> Any:
    """Return a solution as pairs, False if there is none, None if it is too hard."""
    z3 = _z3()
    model = _Model(z3, page)
    try:
        claim = {"number": model.number, "order": model.order, "share": model.share}
        for (kind, key), values in questions:
            claim[kind](key, values)
    except RecursionError:
        return None
    solver = z3.Solver()
    solver.set("rlimit", _STEPS)
    solver.add(*model.claims)
    answer = solver.check()
    if answer == z3.unsat:
        return False
    if answer != z3.sat:
        return None
    for name, liked in _LIKED.items():
        # Prefer an ordinary value if the claims allow it.
        if name in model.symbols:
            solver.push()
            solver.add(model.symbols[name] == liked)
            if solver.check() != z3.sat:
                solver.pop()
    if solver.check() != z3.sat:
        return None
    found = solver.model()
    return tuple(
        (name, found.eval(symbol, model_completion=True).as_long())
        for name, symbol in model.symbols.items()
    )


class _Model:
    """The questions as claims about whole numbers, for one page size."""

    def __init__(self, z3: Any, page: int) -> None:
        self.z3 = z3
        self.page = page
        self.symbols: dict[str, Any] = {}
        self.claims: list[Any] = []
        self._roots = 0

    def symbol(self, name: str) -> Any:
        if name not in self.symbols:
            made = self.symbols[name] = self.z3.Int(name)
            if name == LIMIT:
                self.claims.append(made >= 0)
            else:
                variable = attribute(name)
                self._within(self._scaled(variable.key, made), variables.domain(variable).known)
        return self.symbols[name]

    def _scaled(self, key: Any, value: Any) -> Any:
        """Return a value in the units of its variable's set."""
        if arithmetic.is_memory(key):
            return value * (self.page // GRANULE)
        return value

    def _within(self, value: Any, numbers: Any) -> None:
        assert isinstance(numbers, Numbers)
        z3 = self.z3
        choices = []
        for low, high in numbers.spans:
            bounds = [] if isinf(low) else [value >= low]
            bounds += [] if isinf(high) else [value <= high]
            choices.append(z3.And(*bounds))
        self.claims.append(z3.Or(*choices))

    def number(self, key: Any, values: Values) -> None:
        value = self.symbol(key[1]) if key[0] == "attr" else self.value(key)
        if key == ("attr", "run_time"):
            # Its set is in seconds, its value in expressions in milliseconds.
            seconds = self.z3.Int("(seconds)")
            self.claims.append(value == seconds * 1000)
            value = seconds
        self._within(self._scaled(key, value), values.known)

    def order(self, key: Any, values: Values) -> None:
        one, two = self.value(key[0]), self.value(key[1])
        claims = {"<": one < two, "=": one == two, ">": one > two}
        self.claims.append(self.z3.Or(*(claims[sign] for sign in sorted(values.others))))

    def share(self, key: Any, values: Values) -> None:
        z3 = self.z3
        whole = arithmetic.whole_beside(key)
        limit = self.symbol(whole) * self.page if whole else self.symbol(LIMIT)
        if whole:
            self.claims.append(limit > 0)
        value = z3.IntVal(key[1]) if key[0] == "bytes" else self.value(key) * self.page
        choices = []
        assert isinstance(values.known, Numbers)
        for low, high in values.known.spans:
            bounds = [z3.Or(limit > 0, value != 0)]
            bounds += self._beyond(value, limit, low, 1) + self._beyond(value, limit, high, -1)
            choices.append(z3.And(*bounds))
        if NOTHING_BY_NOTHING in values.others:
            choices.append(z3.And(limit == 0, value == 0))
        self.claims.append(z3.Or(*choices))

    def _beyond(self, value: Any, limit: Any, end: tuple[Any, int], sign: int) -> list[Any]:
        bound, side = end
        if isinf(bound):
            return []
        bound = Fraction(bound)
        left, right = value * bound.denominator * sign, limit * bound.numerator * sign
        return [left > right if side * sign > 0 else left >= right]

    def value(self, key: Any) -> Any:
        """Return an expression for z3, and add the claims that it is known."""
        z3 = self.z3
        match key[0]:
            case "number":
                return z3.IntVal(key[1])
            case "bytes":
                return z3.IntVal(key[1] // self.page)
            case "share":
                return (self.symbol(LIMIT) * key[1]) / z3.IntVal(key[2] * self.page)
            case "attr":
                symbol = self.symbol(key[1])
                if key[1] == "run_time":
                    self.claims.append(symbol % 1000 == 0)
                return symbol
            case "negative":
                return -self.value(key[1])
            case "root":
                return self._root(self.value(key[1]))
        first, *rest = [self.value(part) for part in key[1:]]
        for part in rest:
            if key[0] in _OPERATIONS:
                first = _OPERATIONS[key[0]](first, part)
            elif key[0] in ("max", "min"):
                larger = first >= part
                first = (
                    z3.If(larger, first, part) if key[0] == "max" else z3.If(larger, part, first)
                )
            else:
                # z3 leaves a remainder of 0 or more: it rounds down only by a positive divisor.
                self.claims.append(part != 0)
                first = z3.If(part > 0, first / part, (-first) / (-part))
        return first

    def _root(self, value: Any) -> Any:
        z3 = self.z3
        self._roots += 1
        root = z3.Int(f"(root {self._roots})")
        self.claims += [
            root >= 1,
            z3.If(value <= 0, root == 1, z3.And(root * root <= z3.If(value < 1, 1, value))),
            z3.If(value <= 0, True, value < (root + 1) * (root + 1)),
        ]
        return root
