"""A residual: what is left to be decided about a process once some attributes are known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from itertools import chain

from oomrules.lean import Any, NamedTuple
from oomrules.program import nodes
from oomrules.program.nodes import PENDING, SELF_MADE, Definitions, Node
from oomrules.ranking.blocks import Active
from oomrules.ranking.verdict import FIRST, LAST, NORMAL


class Weight(NamedTuple):
    """A prefer or spare that is not decided yet."""

    sparing: bool
    factor: tuple[int, int]
    when: Node


class Residual(NamedTuple):
    """What is left to be decided about a process.

    Attributes:
        never: the conditions that protect it.
        only: of each level, the conditions of which one has to hold.
        first: the conditions that put it into the first tier.
        last: those that put it into the last one.
        weights: the factors that are not decided yet.
        factor: the product of the others, in lowest terms.
        tier: the tier as far as it is decided.
        scores: the innermost ones, decided or not; where several stand equally deep the fewest
            points count.
        definitions: what names stand for, as far as it is not decided.
        protecting: the same for rules that protect, where that is another way; else None.
    """

    never: list[Node]
    only: list[list[Node]]
    first: list[Node]
    last: list[Node]
    weights: list[Weight]
    factor: tuple[int, int]
    tier: int
    scores: list[Node]
    definitions: dict[str, Node]
    protecting: dict[str, Node] | None = None

    @property
    def nodes(self) -> list[Node]:
        """All conditions, scores and definitions that are left.

        A definition that no condition asks for any more may be among them, which costs little.
        """
        conditions = [*self.never, *chain(*self.only), *self.first, *self.last]
        conditions += [weight.when for weight in self.weights]
        definitions = [*self.definitions.values(), *(self.protecting or {}).values()]
        return [*conditions, *self.scores, *definitions]

    @property
    def protecting_definitions(self) -> dict[str, Node]:
        """The definitions for rules that protect."""
        return self.definitions if self.protecting is None else self.protecting


def undecided(active: Active, definitions: dict[str, Node]) -> Residual:
    """Return the residual of a process of which nothing is known but its units."""
    return Residual(
        never=[one.when for one in active.never],
        only=[[one.when for one in level] for level in active.only],
        first=[one.when for one in active.first],
        last=[one.when for one in active.last],
        weights=[
            Weight(one.rule.kind == "spare", one.rule.factor, one.when) for one in active.weights
        ],
        factor=(1, 1),
        tier=NORMAL,
        scores=[one.value for one in active.scores],
        definitions=definitions,
    )


def specialise(residual: Residual, given: dict[str, Any]) -> Residual | None:
    """Decide what the given attributes decide; None if the process is excluded."""

    def get(name: str) -> Any:
        return given.get(name, PENDING)

    def get_doubted(name: str) -> Any:
        value = given.get(name, PENDING)
        return None if value is SELF_MADE else value

    definitions = plain = Definitions(residual.protecting_definitions, get)
    doubted = get
    if residual.protecting is not None or SELF_MADE in given.values():
        # Rules that do not protect take it for any other doubt.
        doubted, plain = get_doubted, Definitions(residual.definitions, get_doubted)

    protecting = partial(nodes.reduce, get=get, names=definitions)
    asking = partial(nodes.reduce, get=doubted, names=plain)
    never = [protecting(node) for node in residual.never]
    if True in never or None in never:
        return None
    levels = [[protecting(node) for node in level] for level in residual.only]
    only = [_left(level) for level in levels if True not in level and SELF_MADE not in level]
    if not all(only):
        return None
    first = [asking(node) for node in residual.first]
    last = [protecting(node) for node in residual.last]
    tier = residual.tier
    if True in last or None in last:
        tier = LAST
    elif True in first and tier == NORMAL:
        tier = FIRST
    above, below = residual.factor
    weights = []
    for weight in residual.weights:
        value = protecting(weight.when) if weight.sparing else asking(weight.when)
        if isinstance(value, list):
            weights.append(weight._replace(when=value))
        elif value is True or (value is None and weight.sparing):
            above, below = above * weight.factor[0], below * weight.factor[1]
    common = math.gcd(above, below)
    scores = [protecting(node) for node in residual.scores]
    return Residual(
        never=_left(never),
        only=only,
        first=_left(first),
        last=_left(last),
        weights=weights,
        factor=(above // common, below // common),
        tier=tier,
        scores=[
            ["attr", "rss"] if score is SELF_MADE else nodes.as_node(score) for score in scores
        ],
        definitions=_undecided(residual.definitions, plain),
        protecting=None
        if plain is definitions
        else _undecided(residual.protecting_definitions, definitions),
    )


def _undecided(names: Iterable[str], definitions: Definitions) -> dict[str, Node]:
    return {name: node for name in names if isinstance(node := definitions(name), list)}


def _left(values: Iterable[Any]) -> list[Node]:
    return [value for value in values if isinstance(value, list)]
