"""The effect of each rule of a program, as the region of processes that it applies to.

In doubt a rule protects, and the regions include that. ``never``, ``spare`` and ``kill last``
hold where their condition and the blocks around may apply; ``prefer``, ``only`` and ``kill
first`` hold where both surely apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from oomrules.program.program import Program, Rule, Scope
from oomrules.reason import Undecided
from oomrules.reason.arithmetic import bound
from oomrules.reason.globs import literal
from oomrules.reason.numbers import whole
from oomrules.reason.regions import Reasoner, Region
from oomrules.reason.variables import (
    DOUBT,
    IN,
    UNKNOWN,
    Box,
    Values,
    Variable,
    attribute,
    domain,
    only,
)

PROTECTING = ("never", "spare", "last")


class Effect(NamedTuple):
    """A rule and the processes that it is about.

    Attributes:
        rule: the rule.
        targets: the blocks around it.
        region: the processes that it has its effect on; None if that is undecided.
        sure: the processes for which condition and blocks surely apply; None if undecided.
    """

    rule: Rule
    targets: tuple[str, ...]
    region: Region | None
    sure: Region | None


def inside(targets: Iterable[str], doubt: bool) -> Box:
    """Return the box of processes in the units of targets; with doubt, of those that may be."""
    answers = only(IN, DOUBT) if doubt else only(IN)
    return {Variable("in", target): answers for target in targets}


def eligible() -> Box:
    """Return the box of processes that can be candidates, as far as rules can ask.

    See ``oomrules.ranking.evaluator.ineligible``: not pid 1, not without memory, not dead.
    """
    state = Variable("text", "state")
    return {
        attribute("pid"): Values(whole(2, 2**22)),
        attribute("total_vm"): Values(whole(1), frozenset([UNKNOWN])),
        state: domain(state) - Values(literal("Z", "X", "x")),
    }


class Effects:
    """The effects of a program's rules.

    Args:
        program: the rules.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.reasoner = Reasoner(program.definitions)
        self.all = [self._effect(rule, scope) for scope in program.scopes for rule in scope.rules]

    def _effect(self, rule: Rule, scope: Scope) -> Effect:
        doubt = rule.kind in PROTECTING
        rule = rule._replace(when=bound(rule.when, scope.targets))
        sure = self._in(rule, scope, False)
        return Effect(rule, scope.targets, self._in(rule, scope, True) if doubt else sure, sure)

    def _in(self, rule: Rule, scope: Scope, doubt: bool) -> Region | None:
        try:
            region = self.reasoner.holds(rule.when, doubt)
            return self.reasoner.intersection([inside(scope.targets, doubt)], region)
        except Undecided:
            self.reasoner.undecided += 1
            return None

    def possible(self, effect: Effect) -> Region | None:
        """Return the processes for which a rule may hold; None if that is undecided."""
        scope = Scope(targets=effect.targets, score=None, rules=())
        return self._in(effect.rule, scope, True)

    def of(self, *kinds: str) -> Iterator[Effect]:
        """Return the effects of the rules of some kinds."""
        return (effect for effect in self.all if effect.rule.kind in kinds)

    def levels(self) -> dict[tuple[str, ...], list[Effect]]:
        """Return the ``only kill`` rules by the blocks around them."""
        found: dict[tuple[str, ...], list[Effect]] = {}
        for effect in self.of("only"):
            found.setdefault(effect.targets, []).append(effect)
        return found

    def shut_out(self, targets: tuple[str, ...], level: list[Effect]) -> Region:
        """Return the processes that the ``only kill`` rules of a block exclude.

        Raises:
            Undecided: the region is too large.
        """
        region: Region = [inside(targets, doubt=True)]
        for effect in level:
            # If it is unknown whether the process is in the block, only the conditions count.
            allowed = self.reasoner.holds(effect.rule.when)
            region = self.reasoner.difference(region, allowed)
        return region
