"""The meaning of a rule set: the effects of all rules, and witnesses that are confirmed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

from oomrules.language import compiler, syntax
from oomrules.language.checker import Checked, Stated
from oomrules.language.diagnostics import Related
from oomrules.program.nodes import Node
from oomrules.ranking.verdict import Verdict
from oomrules.reason import Undecided
from oomrules.reason.effects import Effect, Effects, eligible
from oomrules.reason.regions import Region
from oomrules.reason.situations import Case, Situations
from oomrules.reason.witness import proposals
from oomrules.reason.witness import witness as witnesses
from oomrules.reason.witness.witness import Witness

Result = TypeVar("Result")

_MOST_BOXES_TRIED = 4
_MOST_TRIED = 12
# CPU seconds for all questions about meaning together; a thousand rules take half a second.
_MOST_SECONDS = 20


class RuleMeaning(NamedTuple):
    """A rule with its effect.

    Attributes:
        effect: the processes that it is about.
        stated: the rule with its file and line.
        number: how many rules stand before it.
    """

    effect: Effect
    stated: Stated[syntax.Rule]
    number: int

    @property
    def kind(self) -> str:
        """The kind of the rule, as a program has it."""
        return self.effect.rule.kind

    @property
    def factor(self) -> Fraction:
        """The number by which the rule multiplies the points."""
        return Fraction(*self.effect.rule.factor)

    @property
    def words(self) -> str:
        """The words of its kind of rule, for messages."""
        return self.stated.statement.kind.value

    @property
    def related(self) -> tuple[Related, ...]:
        """This rule as the other place of a finding."""
        return (Related(self.stated.source, self.stated.statement.span, "the other rule"),)


class Meaning:
    """The meaning of a rule set without errors."""

    def __init__(self, checked: Checked) -> None:
        self.program = compiler.program_of(checked)
        self.effects = Effects(self.program)
        self.reasoner = self.effects.reasoner
        self.judge = witnesses.judge_of(self.program)
        self.situations = Situations(self.program.definitions)
        self._kept: dict[str, Any] = {}
        self._candidates: dict[int, Region | None] = {}
        self._until = time.process_time() + _MOST_SECONDS
        effects = {
            (effect.targets, effect.rule.place, effect.rule.text): effect
            for effect in self.effects.all
        }
        self.rules = [
            RuleMeaning(effects[rule.scope, rule.place, rule.text], rule, number)
            for number, rule in enumerate(checked.rules)
        ]

    def of(self, *kinds: str) -> list[RuleMeaning]:
        """Return the rules of some kinds, in the order of the files."""
        return [rule for rule in self.rules if rule.kind in kinds]

    def first_of(self, level: Iterable[Effect]) -> RuleMeaning:
        """Return the rule of an ``only kill`` level that stands first in the files."""
        return next(one for one in self.rules if any(one.effect is effect for effect in level))

    def once(self, what: str, make: Callable[[], Result]) -> Result:
        """Return the result of ``make``, which is called only the first time."""
        if what not in self._kept:
            self._kept[what] = make()
        found: Result = self._kept[what]
        return found

    def decide(self, question: Callable[[], bool]) -> bool:
        """Return the answer to a question; False, and counted, if it is too large to decide."""
        if self._is_late():
            self.reasoner.undecided += 1
            return False
        try:
            return question()
        except (Undecided, RecursionError):
            self.reasoner.undecided += 1
            return False

    def surely_not(self, *wanted: tuple[Node, str] | Case) -> bool:
        """Return whether conditions of guards surely cannot be as they are asked to be."""
        if self._is_late():
            self.situations.undecided += 1
            return False
        return self.situations.surely_not(*wanted)

    def _is_late(self) -> bool:
        """Return whether the questions have used up their time."""
        return time.process_time() > self._until

    def candidates_only(self, region: Region) -> Region:
        """Return a region without the processes that can never be candidates."""
        return self.reasoner.intersection([eligible()], region)

    def candidates_of(self, rule: RuleMeaning) -> Region | None:
        """Return the candidates that a rule has its effect on; None without any, or in doubt."""
        if rule.number not in self._candidates:
            about = self._candidates_in(rule.effect.region or [])
            empty = not about or self.decide(lambda: self.reasoner.empty(about))
            self._candidates[rule.number] = None if empty else about
        return self._candidates[rule.number]

    def _candidates_in(self, region: Region) -> Region:
        try:
            return self.candidates_only(region)
        except Undecided:
            return []

    def proposals(self, region: Region) -> Iterator[Witness]:
        """Yield processes of a region that may be candidates; none once the time is used up."""
        if self._is_late():
            return
        boxes = self._candidates_in(region)
        yield from proposals.in_region(boxes, _MOST_BOXES_TRIED, _MOST_TRIED)

    def witness(
        self, region: Region, confirms: Callable[[Witness, Verdict], bool]
    ) -> dict[str, Any] | None:
        """Return a process of a region that confirms a finding; None if none was found."""
        for witness in self.proposals(region):
            verdict = witness.judge(self.judge)
            if confirms(witness, verdict):
                return {**witness.about(region), "verdict": said(verdict)}
        return None

    def has_effect(self, witness: Witness, effect: Effect) -> bool:
        """Return whether the evaluator finds the condition of a rule true for a witness."""
        return witness.rule_holds(self.program, effect.rule.when) is True

    def notes(self) -> list[str]:
        """Return notes about the questions that could not be decided."""
        notes = []
        if self.reasoner.unsolved:
            notes.append(
                "conditions that compare attributes with one another are not looked at in "
                "depth without z3; install it with `pip install z3-solver`"
            )
        undecided = self.reasoner.undecided + self.situations.undecided
        if undecided:
            notes.append(
                f"questions about meaning that were too large to decide: "
                f"{undecided}; nothing is claimed about them"
            )
        return notes


def said(verdict: Verdict) -> str:
    """Return a verdict in a few words."""
    if not verdict.candidate:
        return verdict.reason
    degree = f" by {verdict.degree}" if verdict.degree != 1 else ""
    tier = ("first to be killed", "", "last to be killed")[verdict.tier] + degree
    points = f"{verdict.points} points"
    return ", ".join(filter(None, [tier, points, f"weight {verdict.fraction}"]))
