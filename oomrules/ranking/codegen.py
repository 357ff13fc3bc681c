"""Compiled rules: what is left of a program for one kind of process, as a function.

A condition is compiled for the question that is asked of it. ``prefer`` asks whether it
surely holds, ``never`` whether it may hold; under ``not`` the question turns round. So
no third truth value is carried around at run time. A rule that protects is asked whether
it holds without what the process made unknown by itself, and under ``not`` whether it fails
without; see ``nodes`` for the logic. The source text consists of our own names and numbers
only: everything that a rule file says is passed in as a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oomrules.lean import Any, NamedTuple
from oomrules.processes import values
from oomrules.program import nodes
from oomrules.program.automaton import WORK
from oomrules.program.nodes import SELF_MADE, Node
from oomrules.ranking.local import Getters
from oomrules.ranking.residual import Residual, Tiered
from oomrules.ranking.tiers import First, first_level

# How many places automata may look at for one process: some 50 ms of work. Searching a command
# line of 4096 bytes for a hundred expressions takes half of it.
BUDGET = 100_000


class Decider(NamedTuple):
    """A residual as a function.

    Attributes:
        decide: takes a process, the uptime in whole seconds, the clock ticks per second and the
            snapshot. Returns None for a process that is no candidate, else its level (``tiers``)
            and its points as a fraction.
        steps: for how long an answer holds if no value changes but the time: until the age of
            the process reaches the next multiple of one of these seconds. None: it has to be
            asked each time.
    """

    decide: Callable[[Any, int, int, Any], tuple[int, int, int] | None]
    steps: tuple[int, ...] | None


def lift(function: Callable[..., Any], *operands: Any) -> Any:
    """Return what a function makes of operands; unknown if an operand is, in the same way."""
    if None in operands:
        return None
    return SELF_MADE if SELF_MADE in operands else function(*operands)


def fewest(scores: list[int | None]) -> int | None:
    """Return the smallest of several scores; unknown if one is."""
    return None if None in scores else min(score for score in scores if score is not None)


def instead(score: Any, rss: int | None) -> Any:
    """Return a score; the resident memory where the process made it unknown."""
    return rss if score is SELF_MADE else score


def four(holds: bool, fails: bool) -> Any:
    """Return a truth value by what protects: that it holds, that it fails, both or neither."""
    return (None if fails else True) if holds else (False if fails else SELF_MADE)


def compile_residual(residual: Residual, getters: Getters) -> Decider:
    """Make the function that decides about a process from its changing values.

    Args:
        residual: what is left to be decided.
        getters: give the values of the attributes in it.
    """
    steps: set[int] = set()
    steady = all(_steady(node, steps) for node in residual.nodes)
    return Decider(_Writer(residual, getters).function(), tuple(sorted(steps)) if steady else None)


def _steady(node: Node, steps: set[int]) -> bool:
    """Return whether a value changes with the process and in steps of time only; add the steps."""
    if node[0] == "attr":
        return node[1] in values.STEADY
    if node[0] == "/" and node[1] == ["attr", "run_time"] and node[2][0] == "number":
        seconds, rest = divmod(node[2][1], 1000)
        steps.add(seconds)
        return bool(seconds > 0 and rest == 0)
    return all(_steady(part, steps) for part in nodes.operands(node))


class _Writer:
    """Writes the source text of one function."""

    def __init__(self, residual: Residual, getters: Getters) -> None:
        self.residual = residual
        self.getters = getters
        self.lines: list[str] = []
        self.given: dict[str, Any] = {
            **{one.__name__: one for one in (lift, fewest, instead, four, max)},
            "holding": (True, None),
            "failing": (False, None),
        }
        self.defined: dict[str, str] = {}
        self.searches = False
        # What is known of definitions; they stand upon one another.
        self.known: dict[tuple[str, str], bool] = {}

    def function(self) -> Callable[..., Any]:
        """Compile the text."""
        residual = self.residual
        outcomes = self._outcomes()
        for node in residual.never:
            self.lines.append(f"if {self.ask(node, HOLDS)}: return None")
        for level in residual.only:
            holds = " or ".join(self.satisfies(node) for node in level) or "False"
            self.lines.append(f"if not ({holds}): return None")
        self.lines.append(f"a = {self._base()}")
        if any(self.unsure(score) for score in residual.scores):
            self.lines.append("if a is None: return None")
        above, below = residual.factor
        self.lines += [f"a *= {above}"] if above != 1 else []
        self.lines.append(f"b = {below}")
        for weight in residual.weights:
            holds = self.ask(weight.when, HOLDS if weight.sparing else SURELY)
            above, below = weight.factor
            changes = [f"a *= {above}"] * (above != 1) + [f"b *= {below}"] * (below != 1)
            self.lines.append(f"if {holds}: {'; '.join(changes or ['pass'])}")
        if self.searches:
            self.lines.insert(0, f"{self.give(WORK.begin)}({BUDGET})")
        # A weight is above 0 and never excludes; it leaves the sign of the base as it is.
        self.lines.append("if a < 1: return None")
        self.lines += outcomes
        body = "\n".join(f"    {line}" for line in self.lines)
        exec(f"def decide(p, now, hz, s):\n{body}\n", self.given)  # noqa: S102
        decide: Callable[..., Any] = self.given["decide"]
        return decide

    def _outcomes(self) -> list[str]:
        """Write the lines that return the answer, the most protective level first."""
        residual = self.residual
        lasts: dict[int, list[str]] = {}
        for one in residual.last:
            lasts.setdefault(one.degree, []).append(self.ask(one.when, HOLDS))
        lines = [
            f"if {' or '.join(lasts[degree])}: return {degree}, a, b"
            for degree in sorted(lasts, reverse=True)
        ]
        if not residual.first:
            return [*lines, f"return {residual.level}, a, b"]
        if any(one.protecting for one in residual.first):
            rules = ", ".join(map(self._first, residual.first))
            return [*lines, f"return {self.give(first_level)}(({rules},)), a, b"]
        holds = " or ".join(self.ask(one.when, SURELY) for one in residual.first)
        return [*lines, f"if {holds}: return {-residual.first[0].degree}, a, b", "return 0, a, b"]

    def _first(self, one: Tiered) -> str:
        protecting = one.protecting or one.when
        surely = self.ask(one.when, SURELY)
        said = f"four({self.ask(protecting, HOLDS)}, {self.ask(protecting, FAILS)})"
        return f"{self.give(First)}({one.degree}, {surely}, {said})"

    def _base(self) -> str:
        scores = []
        for score in self.residual.scores:
            value = self.value(score, self.getters.scoring)
            scores.append(f"instead({value}, p.rss)" if self.wavers(score) else value)
        return scores[0] if len(scores) == 1 else f"fewest([{', '.join(scores)}])"

    def give(self, value: Any) -> str:
        """Pass a value in under a name of our own."""
        name = f"k{len(self.given)}"
        self.given[name] = value
        return name

    def unsure(self, node: Node) -> bool:
        """Return whether a node's value can be unknown."""
        if node[0] == "/" and not _never_zero(node[2]):
            return True
        return node[0] == "unknown" or self._either_way(node, "unsure", self.unsure)

    def wavers(self, node: Node) -> bool:
        """Return whether the process can make a node's value unknown by itself."""
        return self._either_way(node, "wavers", self.wavers)

    def _either_way(self, node: Node, what: str, ask: Callable[[Node], bool]) -> bool:
        kind = node[0]
        if kind in ("number", "text"):
            return False
        if kind == "attr":
            return node[1] not in values.INLINE
        if kind == "name":
            if self.residual.protecting is not None:
                # Its value depends on what kind of rule asks.
                return True
            key = (what, node[1])
            if key not in self.known:
                self.known[key] = ask(self.residual.definitions[node[1]])
            return self.known[key]
        return kind == "self-made" or any(map(ask, nodes.operands(node)))

    def value(self, node: Node, getters: Mapping[str, values.Getter]) -> str:
        """Write an expression for a value; ``getters`` give what the asking rule may see."""
        kind, parts = node[0], node[1:]
        if kind in ("number", "text"):
            return str(parts[0]) if type(parts[0]) is int else self.give(parts[0])
        if kind == "attr":
            if parts[0] in values.INLINE:
                return values.INLINE[parts[0]]
            return f"{self.give(getters[parts[0]])}(p, s)"
        if kind in _CONDITIONS:
            # Compared with another yes or no, so all answers are needed at once.
            if getters is self.getters.protecting and self.wavers(node):
                return f"four({self.ask(node, HOLDS)}, {self.ask(node, FAILS)})"
            surely = self.ask(node, SURELY)
            return f"(True if {surely} else None if {self.ask(node, MAY)} else False)"
        operands = [
            self.value(part, getters) if isinstance(part, list) else self.give(part)
            for part in parts
        ]
        if kind in _INFIX and not self.unsure(node):
            return f"({operands[0]} {_INFIX[kind]} {operands[1]})"
        self.searches |= kind == "search"
        function = self.give(nodes.search_within if kind == "search" else nodes.STRICT[kind])
        if any(map(self.unsure, nodes.operands(node))):
            return f"lift({function}, {', '.join(operands)})"
        return f"{function}({', '.join(operands)})"

    def satisfies(self, node: Node) -> str:
        """Write a test that is true if ``only`` leaves a process for this condition's sake.

        To be left out is a protection, so what the process made unknown counts as met.
        """
        return f"(not {self.ask(node, FAILS)})" if self.wavers(node) else self.ask(node, SURELY)

    def ask(self, node: Node, question: str) -> str:
        """Write a test of a condition."""
        if not self.wavers(node):
            # With three truth values left, what holds is what may be true.
            if question == FAILS:
                return f"(not {self.ask(node, SURELY)})"
            question = MAY if question == HOLDS else question
        kind = node[0]
        if kind in nodes.DOUBTS:
            return str(nodes.DOUBTS[kind] in _ANSWERS[question])
        if kind == "not":
            turned = self.ask(node[1], _TURNED[question])
            return f"(not {turned})" if question in (SURELY, MAY) else turned
        if kind in ("and", "or"):
            other = {"and": "or", "or": "and"}[kind] if question == FAILS else kind
            return f"({f' {other} '.join(self.ask(part, question) for part in node[1:])})"
        if kind == "name":
            return self._defined(node[1], question)
        protecting = question in (HOLDS, FAILS)
        value = self.value(node, self.getters.protecting if protecting else self.getters.plain)
        return f"({value} {question})" if self.unsure(node) else value

    def _defined(self, name: str, question: str) -> str:
        """Work a definition out once a process, in a variable."""
        protecting = question in (HOLDS, FAILS)
        residual = self.residual
        definitions = residual.protecting_definitions if protecting else residual.definitions
        key = f"{name} {question if self.unsure(['name', name]) else ''}"
        if key not in self.defined:
            test = self.ask(definitions[name], question)
            self.defined[key] = f"d{len(self.defined)}"
            self.lines.append(f"{self.defined[key]} = {test}")
        return self.defined[key]


def _never_zero(node: Node) -> bool:
    return bool(node[0] == "root" or (node[0] == "number" and node[1] != 0))


# What a condition is asked, as the end of a test: whether it surely holds, whether it may hold,
# and for rules that protect whether it holds and whether it fails.
SURELY, MAY, HOLDS, FAILS = "is True", "is not False", "in holding", "in failing"
_ANSWERS: dict[str, tuple[Any, ...]] = {
    SURELY: (True,),
    MAY: (True, None, SELF_MADE),
    HOLDS: (True, None),
    FAILS: (False, None),
}
_TURNED = {SURELY: MAY, MAY: SURELY, HOLDS: FAILS, FAILS: HOLDS}
_CONDITIONS = ("and", "or", "not", "name", *nodes.DOUBTS)
_INFIX = {sign: sign for sign in (*nodes.ARITHMETIC, *nodes.COMPARISONS)} | {"/": "//"}
