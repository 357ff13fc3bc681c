"""Compiled rules: what is left of a program for one kind of process, as a function.

A condition is compiled for the question that is asked of it. ``prefer`` asks whether it
surely holds, ``never`` whether it may hold; under ``not`` the question turns round. So
no third truth value is carried around at run time. The source text is made of names
and numbers of our own only; everything that a rule file wrote is passed in as a value.
"""

from __future__ import annotations

from collections.abc import Callable

from oomrules.lean import Any, NamedTuple
from oomrules.runtime import nodes, values
from oomrules.runtime.program import Node

FIRST, NORMAL, LAST = 0, 1, 2

# (process, uptime in whole seconds, clock ticks per second, snapshot) to None for
# nobody's victim, else the tier and the points as a fraction.
Judge = Callable[[Any, int, int, Any], "tuple[int, int, int] | None"]


class Weight(NamedTuple):
    """A prefer or spare that is not decided yet."""

    sparing: bool
    factor: tuple[int, int]
    when: Node


class Residual(NamedTuple):
    """What is left to be decided about a process, once some attributes are known.

    ``scores`` are the innermost ones; where several stand equally deep the fewest
    points count. ``only`` has a list of conditions for each level.
    """

    never: list[Node]
    only: list[list[Node]]
    first: list[Node]
    last: list[Node]
    weights: list[Weight]
    factor: tuple[int, int]
    tier: int
    scores: list[Any]
    definitions: dict[str, Any]


def lift(function: Callable[..., Any], *operands: Any) -> Any:
    """Apply a function; unknown if an operand is."""
    return None if None in operands else function(*operands)


def fewest(scores: list[int | None]) -> int | None:
    """The smallest of several scores; unknown if one is."""
    return None if None in scores else min(score for score in scores if score is not None)


def compile_residual(residual: Residual) -> Judge:
    """Make the function that decides about a process from its changing values.

    Its attribute ``steps`` says for how long an answer holds if no value changes but the
    time: until the age of the process reaches the next multiple of one of these seconds.
    None: it has to be asked each time.
    """
    judge = _Writer(residual).function()
    conditions: list[Any] = [*residual.never, *residual.first, *residual.last, *residual.scores]
    conditions += [node for level in residual.only for node in level]
    conditions += [weight.when for weight in residual.weights]
    steps: set[int] = set()
    steady = all(_steady(node, steps) for node in (*conditions, *residual.definitions.values()))
    setattr(judge, "steps", tuple(sorted(steps)) if steady else None)  # noqa: B010
    return judge


def _steady(node: Any, steps: set[int]) -> bool:
    """Tell whether a value changes with stat and in steps of time only; add the steps."""
    if not isinstance(node, list):
        return True
    if node[0] == "attr":
        return node[1] in values.INLINE and node[1] != "run_time"
    if node[0] == "/" and node[1] == ["attr", "run_time"] and node[2][0] == "number":
        seconds, rest = divmod(node[2][1], 1000)
        steps.add(seconds)
        return bool(seconds > 0 and rest == 0)
    return all(_steady(part, steps) for part in node[1:])


class _Writer:
    """Writes the source text of one function."""

    def __init__(self, residual: Residual) -> None:
        self.residual = residual
        self.lines: list[str] = []
        self.given: dict[str, Any] = {"lift": lift, "fewest": fewest, "max": max}
        self.defined: dict[str, str] = {}

    def function(self) -> Judge:
        residual = self.residual
        tier = self._tier()
        for node in residual.never:
            self.lines.append(f"if {self.may(node)}: return None")
        for level in residual.only:
            holds = " or ".join(self.surely(node) for node in level) or "False"
            self.lines.append(f"if not ({holds}): return None")
        self.lines.append(f"a = {self._base()}")
        if any(self.unsure(score) for score in residual.scores):
            self.lines.append("if a is None: return None")
        above, below = residual.factor
        self.lines += [f"a *= {above}"] if above != 1 else []
        self.lines.append(f"b = {below}")
        for weight in residual.weights:
            holds = self.may(weight.when) if weight.sparing else self.surely(weight.when)
            above, below = weight.factor
            changes = [f"a *= {above}"] * (above != 1) + [f"b *= {below}"] * (below != 1)
            self.lines.append(f"if {holds}: {'; '.join(changes or ['pass'])}")
        self.lines.append("if a < b: return None")
        self.lines.append(f"return {tier}, a, b")
        body = "\n".join(f"    {line}" for line in self.lines)
        exec(f"def judge(p, now, hz, s):\n{body}\n", self.given)  # noqa: S102
        judge: Judge = self.given["judge"]
        return judge

    def _tier(self) -> str:
        tier = str(self.residual.tier)
        if self.residual.first and self.residual.tier == NORMAL:
            holds = " or ".join(map(self.surely, self.residual.first))
            tier = f"({FIRST} if {holds} else {NORMAL})"
        if self.residual.last and self.residual.tier != LAST:
            holds = " or ".join(map(self.may, self.residual.last))
            tier = f"({LAST} if {holds} else {tier})"
        return tier

    def _base(self) -> str:
        scores = [self.value(score) for score in self.residual.scores]
        return scores[0] if len(scores) == 1 else f"fewest([{', '.join(scores)}])"

    def give(self, value: Any) -> str:
        """Pass a value in under a name of our own."""
        name = f"k{len(self.given)}"
        self.given[name] = value
        return name

    def unsure(self, node: Any) -> bool:
        """Tell whether a node's value can be unknown."""
        if not isinstance(node, list):
            return node is None
        kind = node[0]
        if kind in ("number", "text"):
            return False
        if kind == "attr":
            return node[1] not in values.INLINE
        if kind == "name":
            return self.unsure(self.residual.definitions[node[1]])
        if kind == "/" and not _never_zero(node[2]):
            return True
        return bool(kind == "unknown") or any(map(self.unsure, filter(_is_node, node[1:])))

    def value(self, node: Any) -> str:
        """Write an expression whose value is a number, a text or None."""
        if not isinstance(node, list):
            return self.give(node)
        kind, parts = node[0], node[1:]
        if kind in ("number", "text"):
            return str(parts[0]) if type(parts[0]) is int else self.give(parts[0])
        if kind == "attr":
            if parts[0] in values.INLINE:
                return values.INLINE[parts[0]]
            return f"{self.give(values.GETTERS[parts[0]])}(p, s)"
        if kind in _CONDITIONS:
            # Compared with another yes or no, so all three answers are needed at once.
            surely = self.surely(node)
            return f"(True if {surely} else None if {self.may(node)} else False)"
        operands = [self.value(part) if _is_node(part) else self.give(part) for part in parts]
        if kind in _INFIX and not self.unsure(node):
            return f"({operands[0]} {_INFIX[kind]} {operands[1]})"
        function = self.give(nodes.STRICT[kind])
        if any(map(self.unsure, filter(_is_node, parts))):
            return f"lift({function}, {', '.join(operands)})"
        return f"{function}({', '.join(operands)})"

    def surely(self, node: Any) -> str:
        """Write a test that is true if the condition is."""
        return self._condition(node, "is True")

    def may(self, node: Any) -> str:
        """Write a test that is true if the condition is true or unknown."""
        return self._condition(node, "is not False")

    def _condition(self, node: Any, asks: str) -> str:
        if not isinstance(node, list):
            return str(node is True or (node is None and asks == "is not False"))
        kind = node[0]
        if kind == "unknown":
            return str(asks == "is not False")
        if kind == "not":
            other = "is True" if asks == "is not False" else "is not False"
            return f"(not {self._condition(node[1], other)})"
        if kind in ("and", "or"):
            return f"({f' {kind} '.join(self._condition(part, asks) for part in node[1:])})"
        if kind == "name":
            return self._defined(node[1], asks)
        return f"({self.value(node)} {asks})" if self.unsure(node) else self.value(node)

    def _defined(self, name: str, asks: str) -> str:
        """Work a definition out once a process, in a variable."""
        key = f"{name} {asks if self.unsure(['name', name]) else ''}"
        if key not in self.defined:
            test = self._condition(self.residual.definitions[name], asks)
            self.defined[key] = f"d{len(self.defined)}"
            self.lines.append(f"{self.defined[key]} = {test}")
        return self.defined[key]


def _is_node(part: Any) -> bool:
    return isinstance(part, list)


def _never_zero(node: Any) -> bool:
    return bool(node[0] == "root" or (node[0] == "number" and node[1] != 0))


_CONDITIONS = ("and", "or", "not", "name", "unknown")
_INFIX = {
    "+": "+",
    "-": "-",
    "*": "*",
    "/": "//",
    **{comparison: comparison for comparison in nodes.COMPARISONS},
}
