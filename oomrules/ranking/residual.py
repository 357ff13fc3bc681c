"""A residual: what is left to be decided about a process once some attributes are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain

from oomrules.lean import Any, NamedTuple
from oomrules.program import nodes
from oomrules.program.nodes import PENDING, SELF_MADE, Definitions, Node
from oomrules.ranking.blocks import Active
from oomrules.ranking.tiers import First, first_level

Evaluate = Callable[[Node], Any]


class Weight(NamedTuple):
    """A prefer or spare that is not decided yet."""

    sparing: bool
    factor: tuple[int, int]
    when: Node


class Tiered(NamedTuple):
    """A first or last rule that is not decided yet.

    Attributes:
        degree: how far out it puts the process.
        when: its condition; of last rules as one that protects reads it.
        protecting: of first rules the condition as a rule that protects reads it, where several
            degrees are in question (``tiers.first_level``); else None.
    """

    degree: int
    when: Node
    protecting: Node | None = None


class Residual(NamedTuple):
    """What is left to be decided about a process.

    Attributes:
        never: the conditions that protect it.
        only: of each level, the conditions of which one has to hold.
        first: the rules that put it into the first tier.
        last: those that put it into the last one, further out than ``level`` does.
        weights: the factors that are not decided yet.
        factor: the product of the others, in lowest terms.
        level: the level (``tiers``) as far as it is decided.
        scores: the innermost ones, decided or not; where several stand equally deep the fewest
            points count.
        definitions: what names stand for, as far as it is not decided.
        protecting: the same for rules that protect, where that is another way; else None.
    """

    never: list[Node]
    only: list[list[Node]]
    first: list[Tiered]
    last: list[Tiered]
    weights: list[Weight]
    factor: tuple[int, int]
    level: int
    scores: list[Node]
    definitions: dict[str, Node]
    protecting: dict[str, Node] | None = None

    @property
    def nodes(self) -> list[Node]:
        """All conditions, scores and definitions that are left.

        A definition that no condition asks for any more may be among them, which costs little.
        """
        conditions = [*self.never, *chain(*self.only)]
        conditions += [one.when for one in (*self.first, *self.last)]
        conditions += [weight.when for weight in self.weights]
        conditions += [one.protecting for one in self.first if one.protecting is not None]
        definitions = [*self.definitions.values(), *(self.protecting or {}).values()]
        return [*conditions, *self.scores, *definitions]

    @property
    def protecting_definitions(self) -> dict[str, Node]:
        """The definitions for rules that protect."""
        return self.definitions if self.protecting is None else self.protecting


def undecided(active: Active, definitions: dict[str, Node]) -> Residual:
    """Return the residual of a process of which nothing is known but its units."""
    several = len({one.rule.degree for one in active.first}) > 1
    return Residual(
        never=[one.when for one in active.never],
        only=[[one.when for one in level] for level in active.only],
        first=[
            Tiered(one.rule.degree, one.when, one.when if several else None) for one in active.first
        ],
        last=[Tiered(one.rule.degree, one.when) for one in active.last],
        weights=[
            Weight(one.rule.kind == "spare", one.rule.factor, one.when) for one in active.weights
        ],
        factor=(1, 1),
        level=0,
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
    level, last = _specialise_last(residual, protecting)
    first: list[Tiered] = []
    if level == 0:
        level, first = _specialise_first(residual.first, asking, protecting)
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
        first=first,
        last=last,
        weights=weights,
        factor=(above // common, below // common),
        level=level,
        scores=[
            ["attr", "rss"] if score is SELF_MADE else nodes.as_node(score) for score in scores
        ],
        definitions=_undecided(residual.definitions, plain),
        protecting=None
        if plain is definitions
        else _undecided(residual.protecting_definitions, definitions),
    )


def _specialise_last(residual: Residual, protecting: Evaluate) -> tuple[int, list[Tiered]]:
    """Return the level that last rules make, and those that may put the process further out."""
    level, left = residual.level, []
    for one in residual.last:
        value = protecting(one.when)
        if isinstance(value, list):
            left.append(one._replace(when=value))
        elif value is True or value is None:
            level = max(level, one.degree)
    return level, [one for one in left if one.degree > level]


def _specialise_first(
    rules: list[Tiered], asking: Evaluate, protecting: Evaluate
) -> tuple[int, list[Tiered]]:
    """Return the level that first rules make, or 0 and those that are not decided yet."""
    asked = []
    for one in rules:
        value = asking(one.when)
        also = value if one.protecting is None else protecting(one.protecting)
        if (
            isinstance(value, list)
            or isinstance(also, list)
            or True in (value, also)
            or also is None
        ):
            asked.append((one, value, also))
    values = [value for _, value, _ in asked]
    if not any(value is True or isinstance(value, list) for value in values):
        # None of them can surely hold any more.
        return 0, []
    one_degree = all(one.protecting is None for one in rules)
    if one_degree and True in values:
        return -rules[0].degree, []
    if not any(isinstance(part, list) for _, *both in asked for part in both):
        return first_level(First(one.degree, value is True, also) for one, value, also in asked), []
    if one_degree:
        return 0, [one._replace(when=value) for one, value, _ in asked if isinstance(value, list)]
    return 0, [
        Tiered(one.degree, nodes.as_node(value), nodes.as_node(also)) for one, value, also in asked
    ]


def _undecided(names: Iterable[str], definitions: Definitions) -> dict[str, Node]:
    return {name: node for name in names if isinstance(node := definitions(name), list)}


def _left(values: Iterable[Any]) -> list[Node]:
    return [value for value in values if isinstance(value, list)]
