"""Two programs, over all possible processes: which are ranked or protected differently.

A difference is a process that the evaluator judges differently under the two programs. If
every question was decided, finding no difference is a proof: rules that both have cannot make
a difference, and each rule that only one has is followed to the last box.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

from oomrules.program.nodes import Node, attributes
from oomrules.program.program import MOST_DEGREE, Guard, Program, Rule, Score, make
from oomrules.ranking.verdict import Verdict
from oomrules.reason import Undecided
from oomrules.reason.arithmetic import canonical
from oomrules.reason.effects import Effect, Effects, eligible, inside
from oomrules.reason.numbers import whole
from oomrules.reason.regions import Reasoner, Region, apart
from oomrules.reason.variables import UNKNOWN, Values, Variable, attribute, only
from oomrules.reason.witness import proposals
from oomrules.reason.witness import witness as witnesses
from oomrules.reason.witness.witness import Witness

_MOST_BOXES_TRIED = 12
_MOST_TRIED = 16
_MOST_CELLS = 256
# Conditions whose text is longer than this are compared by a hash of it.
_LONG = 4096


class Difference(NamedTuple):
    """One process that is judged differently.

    Attributes:
        what: what differs: ``exclusion``, ``tier``, ``weight`` or ``score``.
        place: file and line of the statement that makes the difference.
        text: that statement.
        added: whether the newer rule set has the statement.
        process: what the statement asks of the process, for people.
        old: the verdict of the older rules.
        new: the verdict of the newer rules.
        witness: the process itself.
    """

    what: str
    place: str
    text: str
    added: bool
    process: dict[str, Any]
    old: Verdict
    new: Verdict
    witness: Witness


class WholeDifference(NamedTuple):
    """A statement that only one rule set has, which kills units whole; ``added``: the newer one."""

    place: str
    text: str
    added: bool


class GuardDifference(NamedTuple):
    """A guard that only one rule set has, or that says something else in the newer one.

    Attributes:
        targets: the blocks around it, outermost first.
        old: it in the older rule set; None if it is not there.
        new: it in the newer rule set; None if it is not there.
    """

    targets: tuple[str, ...]
    old: Guard | None
    new: Guard | None

    @property
    def what(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"


class Comparison(NamedTuple):
    """The differences, and how many questions stayed open.

    ``unsolved`` counts the questions that would need z3, if it is not installed.
    """

    differences: tuple[Difference, ...]
    wholes: tuple[WholeDifference, ...]
    undecided: int
    unsolved: int

    @property
    def proved(self) -> bool:
        """Whether it is proved that no process is judged differently."""
        return not self.differences and not self.wholes and not self.undecided


def what_differs(old: Verdict, new: Verdict) -> str:
    """Return in which way two verdicts differ; empty if they rank alike."""
    if old.candidate is not new.candidate:
        return "exclusion"
    if not old.candidate:
        return ""
    if old.level != new.level:
        return "tier"
    if old.base != new.base:
        return "score"
    return "weight" if Fraction(*old.weight) != Fraction(*new.weight) else ""


def together(old: Program, new: Program) -> Program:
    """Return a program that needs the attributes of both: one reading of the host serves either."""
    definitions = {
        f"{side}.{name}": _renamed(node, side)
        for side, program in (("old", old), ("new", new))
        for name, node in program.definitions.items()
    }
    scopes = [
        scope._replace(
            rules=tuple(rule._replace(when=_renamed(rule.when, side)) for rule in scope.rules),
            # Guards ask for nothing of a process.
            guards=(),
        )
        for side, program in (("old", old), ("new", new))
        for scope in program.scopes
    ]
    return make(tuple(scopes), definitions)


def _renamed(node: Node, side: str) -> Node:
    """Return a node in which the definitions of one side have names that the other does not use."""
    if node[0] == "name":
        return ["name", f"{side}.{node[1]}"]
    return [_renamed(part, side) if isinstance(part, list) else part for part in node]


class _Side:
    """One of the two rule sets."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.judge = witnesses.judge_of(program)
        self.effects = Effects(program)
        # The text of each definition. Its length is bounded even if definitions use others.
        self._said: dict[str, str] = {}
        # A text for each rule. Two rules have the same text if they say the same in the same
        # words. A definition counts by its condition, not by its name.
        self.keys = {id(effect): self._key(effect) for effect in self.effects.all}

    def _key(self, effect: Effect) -> str:
        rule = effect.rule
        return json.dumps(
            [effect.targets, rule.kind, self.saying(rule.when), rule.factor, rule.degree]
        )

    def says(self, effects: Iterable[Effect]) -> Counter[str]:
        """Return how many of some rules have each key."""
        return Counter(self.keys[id(effect)] for effect in effects)

    def saying(self, node: Node) -> str:
        """Return the text of a node; a definition counts by its condition."""
        if node[0] == "name":
            if node[1] not in self._said:
                self._said[node[1]] = self.saying(self.program.definitions[node[1]])
            return self._said[node[1]]
        said = repr(node)
        if "'name'" in said:
            # Written as Python writes a list, so that the place of a name makes no difference.
            parts = [self.saying(part) if isinstance(part, list) else repr(part) for part in node]
            said = f"[{', '.join(parts)}]"
        return said if len(said) < _LONG else hashlib.sha256(said.encode("utf-8")).hexdigest()

    def without(self, other: _Side, *kinds: str) -> list[Effect]:
        """Return the rules of some kinds that this side has more often than the other."""
        left = self.says(self.effects.all) - other.says(other.effects.all)
        found = []
        for effect in self.effects.of(*kinds):
            key = self.keys[id(effect)]
            if left[key] > 0:
                left[key] -= 1
                found.append(effect)
        return found

    def excluded(self, less: Region) -> Region:
        """Return a region without the processes that this side excludes.

        Raises:
            Undecided: what is left would have too many boxes.
        """
        for effect in self.effects.of("never"):
            less = self._minus(less, _region_of(effect))
        for targets, level in self.effects.levels().items():
            less = self._minus(less, self.effects.shut_out(targets, level))
        return less

    def _minus(self, region: Region, less: Region) -> Region:
        if all(apart(one, two) for one in region for two in less):
            return region
        return self.effects.reasoner.difference(region, less)

    def of(self, kind: str, least: int = 1, most: int = MOST_DEGREE) -> Region:
        """Return the processes on which rules of a kind have an effect, of some degrees."""
        return [
            box
            for effect in self.effects.of(kind)
            if least <= effect.rule.degree <= most
            for box in _region_of(effect)
        ]

    def milder(self, effect: Effect) -> Region | None:
        """Return where a first rule makes a tier milder, though only in doubt; None: undecided.

        There another one, of a greater degree, surely holds.
        """
        outer = self.of("first", effect.rule.degree + 1)
        if not outer:
            return []
        possible = self.effects.possible(effect)
        return possible and self.effects.reasoner.intersection(outer, possible)


def _region_of(effect: Effect) -> Region:
    if effect.region is None:
        raise Undecided("a rule of its own is too large")
    return effect.region


class _Comparing:
    def __init__(self, old: Program, new: Program) -> None:
        self.sides = (_Side(old), _Side(new))
        # A side, the other one, and whether a rule that only the first has was added.
        self.ways = ((*self.sides, False), (*self.sides[::-1], True))
        self.reasoner = Reasoner({})
        self.found: list[Difference] = []
        self.undecided = sum(side.effects.reasoner.undecided for side in self.sides)

    # --- witnesses ---------------------------------------------------------------------

    def show(self, region: Region, by: Rule | Score, added: bool, about: Region) -> bool:
        """Find a process of a region that is judged differently, and keep it."""
        for witness in proposals.in_region(region, _MOST_BOXES_TRIED, _MOST_TRIED):
            old, new = (witness.judge(side.judge) for side in self.sides)
            what = what_differs(old, new)
            if what:
                self.found.append(
                    Difference(
                        what=what,
                        place=by.place,
                        text=by.text,
                        added=added,
                        process=witness.about(about),
                        old=old,
                        new=new,
                        witness=witness,
                    )
                )
                return True
        return False

    def settle(
        self, region: Callable[[], Region], by: Rule | Score, added: bool, about: Region
    ) -> None:
        """Show a difference in what is left of a region; count it as undecided if none shows."""
        try:
            left = [box for box in region() if self.reasoner.possible(box)]
        except Undecided:
            self.undecided += 1
            return
        if left and not self.show(left, by, added, about):
            self.undecided += 1

    def follow(self, effect: Effect, added: bool, narrow: Callable[[Region], Region]) -> None:
        """Search for processes for which a rule of one side makes a difference."""
        about = effect.region
        if about is None:
            return  # counted where the region was not made
        try:
            region = self.reasoner.intersection([eligible()], about)
        except Undecided:
            self.undecided += 1
            return
        # Most differences show at once. For the others, the region has to be narrowed.
        if not self.show(region, effect.rule, added, about):
            self.settle(lambda: narrow(region), effect.rule, added, about)

    # --- the four ways to differ ---------------------------------------------------------

    def exclusions(self) -> None:
        for side, other, added in self.ways:
            for effect in side.without(other, "never"):
                self.follow(effect, added, other.excluded)
            self._levels(side, other, added)

    def _levels(self, side: _Side, other: _Side, added: bool) -> None:
        levels, others = side.effects.levels(), other.effects.levels()
        for targets, level in levels.items():
            if side.says(level) == other.says(others.get(targets, [])):
                continue

            def only_here(
                targets: tuple[str, ...] = targets, level: list[Effect] = level
            ) -> Region:
                out = side.effects.shut_out(targets, level)
                return other.excluded(self.reasoner.intersection([eligible()], out))

            about = [box for effect in level for box in effect.region or []]
            self.settle(only_here, level[0].rule, added, about)

    def tiers(self) -> None:
        for side, other, added in self.ways:
            # A rule makes no difference where the other side has one that is as protective.
            def later(effect: Effect, region: Region, other: _Side = other) -> Region:
                wide = other.of("last", effect.rule.degree)
                return other.excluded(self.reasoner.difference(region, wide))

            def sooner(
                effect: Effect, region: Region, side: _Side = side, other: _Side = other
            ) -> Region:
                inner = other.of("first", most=effect.rule.degree)
                wide = [*inner, *other.of("last"), *side.of("last")]
                return other.excluded(self.reasoner.difference(region, wide))

            for effect in side.without(other, "last"):
                self.follow(effect, added, partial(later, effect))
            for effect in side.without(other, "first"):
                self.follow(self._with_milder(side, effect), added, partial(sooner, effect))

    def _with_milder(self, side: _Side, effect: Effect) -> Effect:
        """Return a first rule with all the processes on which it may have an effect."""
        try:
            milder = side.milder(effect)
        except Undecided:
            milder = None
        if milder is None or effect.region is None:
            self.undecided += milder is None
            return effect
        return effect._replace(region=[*effect.region, *milder])

    def weights(self) -> None:
        old, new = self.sides
        changed = [(effect, False) for effect in old.without(new, "prefer", "spare")]
        changed += [(effect, True) for effect in new.without(old, "prefer", "spare")]
        # In a cell, the same changed rules hold for every process.
        cells: list[tuple[Region, Fraction, Rule | None, bool, Region]] = [
            ([eligible()], Fraction(1), None, False, [])
        ]
        try:
            for effect, added in changed:
                here = _region_of(effect)
                factor = Fraction(*effect.rule.factor) ** (1 if added else -1)
                following = []
                for region, ratio, by, how, about in cells:
                    both = self.reasoner.intersection(region, here)
                    both = [box for box in both if self.reasoner.possible(box, solve=False)]
                    if not both:
                        following.append((region, ratio, by, how, about))
                        continue
                    outside = self.reasoner.difference(region, here)
                    if outside:
                        following.append((outside, ratio, by, how, about))
                    following.append((both, ratio * factor, effect.rule, added, [*about, *here]))
                cells = following
                if len(cells) > _MOST_CELLS:
                    raise Undecided("too many rules differ at once")
        except Undecided:
            # If that is too much to decide, each rule is tried alone.
            for effect, added in changed:
                region = self.reasoner.intersection([eligible()], effect.region or [])
                self.show(region, effect.rule, added, region)
            self.undecided += 1
            return
        for region, ratio, rule, added, about in cells:
            if ratio == 1 or rule is None or self.show(region, rule, added, about):
                continue
            self.settle(partial(new.excluded, region), rule, added, about)

    def scores(self) -> None:
        old, new = (
            {scope.targets: scope.score for scope in side.program.scopes if scope.score}
            for side in self.sides
        )
        for targets in sorted(old.keys() | new.keys()):
            before, after = old.get(targets), new.get(targets)
            if before and after and canonical(before.value) == canonical(after.value):
                continue
            shown = after or before
            assert shown is not None
            values = [score.value for score in (before, after) if score]
            asked = {attribute(name) for value in values for name in attributes(value)}
            about: Region = [{variable: Values(whole()) for variable in asked}]
            around = inside(targets, False)
            tried: Region = [around]
            for variable in sorted(asked):
                tried.append({**around, variable: only(UNKNOWN)})
                for number in (0, 1, 1000, 2**20, 2**30):
                    tried.append({**around, variable: Values(whole(number, number))})
            if any(self.show([box], shown, after is not None, about) for box in tried):
                continue
            if not (before and after and self._equal(before.value, after.value)):
                self.undecided += 1

    def _equal(self, one: Node, two: Node) -> bool:
        """Return whether two scores are proved to be equal, and unknown for the same values."""
        if attributes(one) != attributes(two) or "/" in str((one, two)):
            return False
        keys = sorted((canonical(one), canonical(two)), key=repr)
        differ = {Variable("order", tuple(keys)): only("<", ">")}
        # Without z3 nothing is proved, and the box stays possible.
        return not self.reasoner.possible(differ)


def _wholes(old: Program, new: Program) -> Iterator[WholeDifference]:
    """Compare by their targets the statements that kill units whole."""
    before, after = (
        {(scope.targets, whole.target): whole for scope in one.scopes for whole in scope.wholes}
        for one in (old, new)
    )
    for one, other, added in ((before, after, False), (after, before, True)):
        for key in sorted(one.keys() - other.keys()):
            yield WholeDifference(place=one[key].place, text=one[key].text, added=added)


def guards(old: Program, new: Program) -> tuple[GuardDifference, ...]:
    """Compare two programs by their guards, each of which says the same in the same words.

    One that stands in the place of another of its kind, in the same blocks, has changed.
    """
    before, after = (_guards(program) for program in (old, new))
    found = []
    for targets, kind in sorted(before.keys() | after.keys()):
        there, then = (side.get((targets, kind), {}) for side in (before, after))
        gone = [there[key] for key in there if key not in then]
        come = [then[key] for key in then if key not in there]
        for one, other in zip_longest(gone, come):
            found.append(GuardDifference(targets=targets, old=one, new=other))
    return tuple(found)


def _guards(program: Program) -> dict[tuple[tuple[str, ...], str], dict[str, Guard]]:
    """Return guards by their blocks and kind, and by what they say; a definition is written out."""
    side = _Side(program)
    found: dict[tuple[tuple[str, ...], str], dict[str, Guard]] = {}
    for targets, guard in program.guards:
        key = json.dumps([side.saying(guard.when), guard.lasting, guard.within, guard.stop])
        found.setdefault((targets, guard.kind), {})[key] = guard
    return found


def compare(old: Program, new: Program) -> Comparison:
    """Compare two programs over all possible processes."""
    comparing = _Comparing(old, new)
    comparing.exclusions()
    comparing.tiers()
    comparing.weights()
    comparing.scores()
    reasoners = [comparing.reasoner, *(side.effects.reasoner for side in comparing.sides)]
    distinct: dict[tuple[Any, ...], Difference] = {}
    for found in comparing.found:
        # Keep the first difference of each kind for each statement.
        distinct.setdefault((found.what, found.place, found.text, found.added), found)
    unsolved = sum(reasoner.unsolved for reasoner in reasoners)
    return Comparison(
        differences=tuple(distinct.values()),
        wholes=tuple(_wholes(old, new)),
        undecided=comparing.undecided,
        unsolved=unsolved,
    )
