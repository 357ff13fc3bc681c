"""Which rules hold for a process: those of the blocks that are about the units around it."""

from __future__ import annotations

from functools import lru_cache, partial

from oomrules.lean import NamedTuple
from oomrules.processes.facts import RELATIONS
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.units import Placement
from oomrules.processes.values import innermost_place
from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.program.program import (
    PART_OF,
    USER_UNIT,
    WANTED_BY,
    Program,
    Rule,
    Scope,
    Score,
    Whole,
)
from oomrules.ranking.groups import Standing, Unit
from oomrules.ranking.local import Local

# Units inside which it is remembered which rules hold (``evaluator``).
_MOST = 512


class Around(NamedTuple):
    """A unit around a process: its names, and the units that it belongs to (None: unknown).

    ``of_user`` says that it is a unit of a user's manager.
    """

    names: tuple[str, ...]
    wanted_by: tuple[str, ...] | None
    part_of: tuple[str, ...] | None
    of_user: bool = False


Chain = tuple[Around, ...]


class ActiveRule(NamedTuple):
    """A rule that holds somewhere.

    Attributes:
        rule: it.
        when: its condition, ready for this host.
        targets: the units of its block, outermost first.
        in_doubt: whether the process may be outside that block. Other rules than ``only`` have
            this doubt in ``when``.
    """

    rule: Rule
    when: Node
    targets: tuple[str, ...]
    in_doubt: bool = False


class ActiveScore(NamedTuple):
    """A score that counts somewhere; ``in_doubt`` where another one may count instead."""

    score: Score
    value: Node
    targets: tuple[str, ...]
    in_doubt: bool = False


class InForce(NamedTuple):
    """A block that is about the units around a process, or may be.

    Attributes:
        targets: the units that it names, outermost first.
        rank: of two blocks the one with the greater rank lies deeper.
        in_doubt: whether the process may be outside.
        rules, score: what stands in it, ready for this host and the unit that it is about.
    """

    targets: tuple[str, ...]
    rank: tuple[int, int]
    in_doubt: bool
    rules: list[ActiveRule]
    score: ActiveScore | None


class Active(NamedTuple):
    """The rules that hold for the processes of one unit, by what they do."""

    never: list[ActiveRule]
    only: list[list[ActiveRule]]
    first: list[ActiveRule]
    last: list[ActiveRule]
    weights: list[ActiveRule]
    scores: list[ActiveScore]


class Blocks:
    """The blocks of a program.

    Args:
        program: the rules.
        local: makes their nodes ready for this host.

    Attributes:
        in_force: returns the blocks that are, or may be, about the units around a process.
        active: returns the rules that hold inside units.
        nodes: all conditions and scores, ready for this host.
    """

    def __init__(self, program: Program, local: Local) -> None:
        ready = local.localise
        scopes = [
            (
                scope,
                [ActiveRule(rule, ready(rule.when), scope.targets) for rule in scope.rules],
                scope.score and ActiveScore(scope.score, ready(scope.score.value), scope.targets),
            )
            for scope in program.scopes
        ]
        self.nodes: list[Node] = []
        for _, rules, score in scopes:
            self.nodes += [rule.when for rule in rules] + ([score.value] if score else [])
        self._asks_for_units = any(scope.targets for scope in program.scopes)
        self._wholes = [(scope, whole) for scope in program.scopes for whole in scope.wholes]
        self.in_force = partial(_in_force, scopes, local)
        self.active = lru_cache(maxsize=_MOST)(partial(_active, scopes, local))

    def around(self, process: Process, snapshot: Snapshot) -> Chain | None:
        """Return the units around a process; none if no rule asks, None if they are unknown."""
        if not self._asks_for_units:
            return ()
        place = innermost_place(process, snapshot)
        return None if place is None else _chain(place, snapshot)

    def in_force_below(self, place: Placement, snapshot: Snapshot) -> tuple[InForce, ...]:
        """Return the same for a process that is in a unit or somewhere below it.

        Which unit below it is unknown, so no score is the innermost one for sure, and ``scope.*``
        is unknown.
        """
        around = _chain(place, snapshot)
        found = []
        for block in self.in_force(None):
            depth, in_doubt = _depth(block.targets, around)
            if block.targets and depth is not None and not in_doubt:
                found += [block._replace(in_doubt=False, score=None), block._replace(rules=[])]
            else:
                found.append(block)
        return tuple(found)

    @property
    def has_wholes(self) -> bool:
        """Whether there are units that are killed as a whole."""
        return bool(self._wholes)

    def standing(self, place: Placement | None, snapshot: Snapshot) -> Standing:
        """Return how the processes of a unit, which may be unknown, stand to whole units.

        A statement in a block holds for the units that lie in the block.
        """
        if place is None:
            return Standing(doubts=tuple(whole for _, whole in self._wholes))
        chain = _chain(place, snapshot)
        doubts: list[Whole] = []
        for number, where in enumerate(reversed([*place.ancestors])):
            found: list[tuple[Whole, tuple[str, ...]]] = []
            doubted: list[Whole] = []
            for scope, whole in self._wholes:
                meant = _matches(chain[number], whole.target)
                depth, in_doubt = _depth(scope.targets, chain[: number + 1])
                if meant is False or depth is None:
                    continue
                if meant is None or in_doubt:
                    doubted.append(whole)
                else:
                    found.append((whole, scope.targets))
            if found:
                return Standing(Unit(where, *min(found)), tuple(doubts))
            doubts += (whole for whole in doubted if whole not in doubts)
        return Standing(doubts=tuple(doubts))

    def forget(self, most: int) -> None:
        """Forget which rules hold inside which units, once more than so many are remembered."""
        if self.active.cache_info().currsize > most:
            self.active.cache_clear()


def _in_force(
    scopes: list[tuple[Scope, list[ActiveRule], ActiveScore | None]],
    local: Local,
    chain: Chain | None,
) -> tuple[InForce, ...]:
    found = []
    for scope, rules, score in scopes:
        depth, in_doubt = _depth(scope.targets, chain)
        if depth is None:
            continue
        # The unit that the block is about; none around all rules, and none for sure in doubt.
        level = depth if depth >= 0 and not in_doubt else None
        found.append(
            InForce(
                targets=scope.targets,
                rank=(depth, len(scope.targets)),
                in_doubt=in_doubt,
                rules=[one._replace(when=local.bind(one.when, level)) for one in rules],
                score=score and score._replace(value=local.bind(score.value, level)),
            )
        )
    return tuple(found)


def _active(
    scopes: list[tuple[Scope, list[ActiveRule], ActiveScore | None]],
    local: Local,
    chain: Chain | None,
) -> Active:
    active = Active(never=[], only=[], first=[], last=[], weights=[], scores=[])
    groups = {"never": active.never, "first": active.first, "last": active.last}
    sure: list[tuple[tuple[int, int], ActiveScore]] = []
    for block in _in_force(scopes, local, chain):
        only, in_doubt = [], block.in_doubt
        for one in block.rules:
            if one.rule.kind == "only":
                only.append(one._replace(in_doubt=in_doubt))
                continue
            doubted = one._replace(when=["and", ["unknown"], one.when]) if in_doubt else one
            groups.get(one.rule.kind, active.weights).append(doubted)
        if only:
            active.only.append(only)
        if block.score and in_doubt:
            active.scores.append(block.score._replace(in_doubt=True))
        elif block.score:
            sure.append((block.rank, block.score))
    innermost = max(rank for rank, _ in sure)
    active.scores.extend(score for rank, score in sure if rank == innermost)
    return active


def scopes_in(program: Program, place: Placement, snapshot: Snapshot) -> tuple[Scope, ...]:
    """Return the blocks whose rules hold for the processes of a unit, in doubt or not."""
    chain = _chain(place, snapshot)
    return tuple(
        scope
        for scope in program.scopes
        if scope.targets and _depth(scope.targets, chain)[0] is not None
    )


def meant(
    targets: tuple[str, ...], place: Placement, snapshot: Snapshot
) -> tuple[list[Placement], bool]:
    """Return the units around a place, itself among them, that a block is about.

    Those are all that its innermost target matches, where the outer ones are matched too. The
    second value says that there may be more, since what a target asks of a unit is unknown.
    """
    chain, found, in_doubt = _chain(place, snapshot), [], False
    for number, unit in enumerate(reversed([*place.ancestors])):
        if _matches(chain[number], targets[-1]) is False:
            continue
        depth, doubted = _depth(targets, chain[: number + 1])
        if doubted:
            in_doubt = True
        elif depth == number:
            found.append(unit)
    return found, in_doubt


def level(target: str, process: Process, snapshot: Snapshot) -> int | None:
    """Return how deep around a process the innermost unit lies that a target means.

    0 is the outermost; None if there is none, or if it is in doubt.
    """
    place = innermost_place(process, snapshot)
    if place is None:
        return None
    matched = [_matches(unit, target) for unit in _chain(place, snapshot)]
    return len(matched) - 1 - matched[::-1].index(True) if True in matched else None


def _chain(place: Placement, snapshot: Snapshot) -> Chain:
    """Return what targets can ask of the units around a process, outermost first."""
    return tuple(_around(unit, snapshot) for unit in reversed([*place.ancestors]))


def _around(unit: Placement, snapshot: Snapshot) -> Around:
    if unit.above is None:
        # The root slice belongs to nothing.
        return Around(unit.chain, (), ())
    if unit.manager:
        # Its name is its user's choice; what else the user says of it makes it match nothing.
        return Around((unit.unit,), (), (), of_user=True)
    names, wanted_by, part_of = (snapshot.fact(unit, name) for name in RELATIONS)
    return Around(
        names=(unit.unit, *sorted(names or ())),
        wanted_by=None if wanted_by is None else tuple(sorted(wanted_by)),
        part_of=None if part_of is None else tuple(sorted(part_of)),
    )


def _matches(unit: Around, target: str) -> bool | None:
    """Return whether a target means a unit; None if that is unknown."""
    if unit.of_user or target.startswith(USER_UNIT):
        meant = target.startswith(USER_UNIT) and unit.of_user
        return meant and nodes.glob(unit.names[0], target.removeprefix(USER_UNIT))
    for words, related in ((WANTED_BY, unit.wanted_by), (PART_OF, unit.part_of)):
        if target.startswith(words):
            return None if related is None else target.removeprefix(words) in related
    return any(nodes.glob(name, target) for name in unit.names)


def _depth(targets: tuple[str, ...], chain: Chain | None) -> tuple[int | None, bool]:
    """Return how deep in a chain of units a block lies, and whether that is in doubt.

    The depth is that of the innermost unit that its innermost target matches, -1 for
    the rules that hold everywhere, None for a block that does not lie there.
    """
    if not targets or chain is None:
        return -1, bool(targets)
    depth, in_doubt = -1, False
    for target in targets:
        matched = [_matches(unit, target) for unit in chain]
        if True in matched:
            depth = len(matched) - 1 - matched[::-1].index(True)
        elif None in matched:
            in_doubt = True
        else:
            return None, False
    return depth, in_doubt
