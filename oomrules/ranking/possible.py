"""Who may be the first victim, whatever the values are that are not known.

The ranker takes what is unknown for a reason to protect. That is right where a kill is decided. It
does not tell who the victim would have been where a recording or a kernel's report lacks values.
Here each unknown value may be anything, and there are three answers: one process is certain,
several are possible, or none is.

The answer is sound: whatever the values turn out to be, the ranker's first candidate is among the
possible ones. It is not always the narrowest one. An unknown value of one process is the same in
all rules, as long as few are asked for twice. That users have one name each is not made use of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import product

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.lean import Any, NamedTuple
from oomrules.processes import values
from oomrules.processes.snapshot import UNREAD, Process, Snapshot
from oomrules.program.automaton import WORK
from oomrules.program.nodes import Node, OverBudget
from oomrules.program.program import Program, Score, make
from oomrules.ranking.blocks import ActiveRule, Blocks, InForce
from oomrules.ranking.evaluator import ineligible
from oomrules.ranking.groups import Gathering
from oomrules.ranking.keys import LATEST
from oomrules.ranking.local import Local
from oomrules.ranking.questions import Key, Reader
from oomrules.ranking.ranker import Keep
from oomrules.ranking.spans import (
    EITHER,
    FALSE,
    INFINITE,
    OWN,
    TRUE,
    UNKNOWN,
    Span,
    calculated,
    conjunction,
    joined,
)
from oomrules.ranking.unknowns import PLAIN, PROTECTING, SCORING, Unknowns, asked_of
from oomrules.ranking.verdict import Why

# What the kernel's own killer counts, as a score: by it memory held decides.
FOOTPRINT: Node = ["attr", "footprint"]

# How many cases are told apart for one process, and for the host.
_MOST_CASES, _MOST_OF_HOST = 64, 16
# The same for all processes together, and of how many at once.
_MOST_CASES_OF_ALL, _AT_ONCE = 2048, 8
# How much work searching the texts of one process may take (``evaluator``).
_BUDGET = 800_000

# After every pid.
_LAST_PID = 2**62

Points = Fraction | float
# Level, points below 0, start, pid: less is killed sooner.
Place = tuple[int, Points, int, int]


class Unknown(NamedTuple):
    """An attribute that keeps an answer open.

    Attributes:
        name: it; what is asked of a unit is ``unit`` where the unit itself is not known.
        processes: for how many of the possible ones it is not known.
        rules: the places (``file:line``) of the rules and scores that ask for it.
    """

    name: str
    processes: int
    rules: tuple[str, ...]


class Candidate(NamedTuple):
    """A process that may be the first victim.

    Attributes:
        process: it.
        sure: whether it is a candidate whatever the unknown values are.
        levels: its level (``tiers``), least and most.
        points: least and most, rounded down; None where nothing bounds them.
        unknown: the attributes that are not known and that rules or its score ask for.
    """

    process: Process
    sure: bool
    levels: tuple[int, int]
    points: tuple[int, int | None]
    unknown: tuple[str, ...] = ()


class Possible(NamedTuple):
    """Whom the rules take first, as far as it is known.

    Attributes:
        certain: who it is whatever the unknown values are; None where that is open.
        open: the possible ones where it is open, those first that are first at their most.
        nobody: whether it may be that there is no candidate at all.
        unknown: what keeps it open, first what is unknown for most of the possible ones.
    """

    certain: Candidate | None
    open: tuple[Candidate, ...] = ()
    nobody: bool = False
    unknown: tuple[Unknown, ...] = ()

    @property
    def answer(self) -> str:
        """The answer in one word: certain, open or nobody."""
        return "certain" if self.certain else "open" if self.open else "nobody"


class _Outcome(NamedTuple):
    """What may become of a process: of each level that it may have, the least and most points."""

    stays: bool
    levels: Mapping[int, tuple[Points, Points]]


_EXCLUDED = _Outcome(True, {})


class _Entity(NamedTuple):
    """What is one candidate: a process, or a unit that is killed as a whole.

    Attributes:
        members: its processes that may be candidates.
        best, worst: its first and its last place.
        points: its least and most, on whichever level.
        sure: whether it is a candidate in any case.
    """

    members: tuple[Process, ...]
    best: Place
    worst: Place
    points: tuple[Points, Points]
    sure: bool


def measured_by(program: Program, measure: Node) -> Program:
    """Return a program with one score for all processes in the place of its own."""
    scopes = tuple(
        scope._replace(
            score=None if scope.targets else Score(value=measure, place="", text="score")
        )
        for scope in program.scopes
    )
    return make(scopes, program.definitions)


def possible(
    snapshot: Snapshot,
    program: Program,
    *,
    keep: Keep | None = None,
    measure: Node | None = None,
    places: Mapping[int, str] | None = None,
) -> Possible:
    """Return who may be the first victim by a program.

    Args:
        keep: limits the candidates, as for ``Ranker.rank``.
        measure: counts in the place of every score (``FOOTPRINT``).
        places: by pid, a control group in or below which a process is whose own is not known.
    """
    program = program if measure is None else measured_by(program, measure)
    return _Analysis(snapshot, program, keep, places or {}).answer()


class _Analysis:
    """One program on one snapshot."""

    def __init__(
        self, snapshot: Snapshot, program: Program, keep: Keep | None, places: Mapping[int, str]
    ) -> None:
        self.snapshot = snapshot
        self._keep = keep
        self._local = Local(program.definitions, snapshot.host.page_size)
        self._blocks = Blocks(program, self._local)
        self._unknowns = Unknowns(self._local, snapshot, places)
        self._places = places
        self._in_force: dict[Any, tuple[InForce, ...]] = {}
        # By pid: what was looked up, which texts take too long to search, what is open.
        self._looked: dict[int, dict[tuple[str, Any], Any]] = {}
        self._hidden: dict[int, frozenset[str]] = {}
        self._gathering: Gathering | None = None
        if self._blocks.has_wholes:
            self._gathering = Gathering(
                snapshot, lambda place: self._blocks.standing(place, snapshot)
            )

    def answer(self) -> Possible:
        """Return who may be the first."""
        found: dict[int, Candidate] = {}
        order: dict[int, Place] = {}
        nobody = False
        hosts = self._cases_of_host()
        for fixed in hosts:
            outcomes, first, none = self._first(fixed)
            nobody |= none
            for process, best in first:
                one = self._candidate(process, outcomes[process.pid])
                before = found.get(process.pid)
                found[process.pid] = one if before is None else _merged(before, one)
                order[process.pid] = min(best, order.get(process.pid, best))
        if len(found) == 1 and not nobody:
            return Possible(next(iter(found.values())))
        sorted_ = sorted(found, key=lambda pid: order[pid])
        named = {pid: self._asked(self.snapshot.by_pid[pid]) for pid in sorted_}
        return Possible(
            certain=None,
            open=tuple(found[pid]._replace(unknown=tuple(named[pid])) for pid in sorted_),
            nobody=nobody,
            unknown=_counted(named.values()),
        )

    def _first(
        self, fixed: Mapping[Key, Any]
    ) -> tuple[dict[int, _Outcome], list[tuple[Process, Place]], bool]:
        """Return what may become of the processes, who may be first, and whether nobody may be."""
        outcomes: dict[int, _Outcome] = {}
        for process in list(self.snapshot.by_pid.values()):
            outcome = self._outcome(process, fixed)
            if outcome.levels:
                outcomes[process.pid] = outcome
        told_apart: set[int] = set()
        left = _MOST_CASES_OF_ALL
        while True:
            first, nobody = self._leading(outcomes)
            # Who cannot be first by what is certain cannot be with the cases told apart. Who leads
            # counts most: what is surely before all others decides about them.
            first.sort(key=lambda one: one[1])
            ahead = [one for one, _ in first if one.pid not in told_apart][:_AT_ONCE]
            if not ahead or left <= 0:
                return outcomes, first, nobody
            for process in ahead:
                told_apart.add(process.pid)
                outcome, cases = self._by_cases(process, fixed, outcomes.pop(process.pid))
                left -= cases
                if outcome.levels:
                    outcomes[process.pid] = outcome

    # --- one process -------------------------------------------------------------------------

    def _reader(self, process: Process, fixed: Mapping[Key, Any]) -> Reader:
        pid = process.pid
        return Reader(
            unknowns=self._unknowns,
            definitions=self._local.definitions,
            process=process,
            fixed=fixed,
            hidden=self._hidden.get(pid, frozenset()),
            looked=self._looked.setdefault(pid, {}),
        )

    def _around(self, process: Process) -> tuple[InForce, ...]:
        chain = self._blocks.around(process, self.snapshot)
        within = self._places.get(process.pid) if chain is None else None
        key = chain, within
        if key not in self._in_force:
            found = self._blocks.in_force(chain)
            if within is not None:
                place = values.place_of(within, self.snapshot)
                found = self._blocks.in_force_below(place, self.snapshot)
            self._in_force[key] = found
        return self._in_force[key]

    def _outcome(self, process: Process, fixed: Mapping[Key, Any]) -> _Outcome:
        """Return what may become of a process, each unknown value anything each time."""
        why = ineligible(process, self.snapshot.own_pids)
        if why is not None and why is not Why.UNREADABLE:
            return _EXCLUDED
        return self._judged(process, self._around(process), fixed)

    def _judged(
        self, process: Process, blocks: Iterable[InForce], fixed: Mapping[Key, Any]
    ) -> _Outcome:
        def judge() -> _Outcome:
            return _judged(blocks, self._reader(process, fixed), self._unknowns.rss(process))

        found: _Outcome = self._within_budget(process, judge)
        return found._replace(stays=True) if process.unreadable is not UNREAD else found

    def _within_budget(self, process: Process, work: Callable[[], Any]) -> Any:
        """Do some work; what takes too long to search is the process's own doing."""
        while True:
            WORK.begin(_BUDGET)
            try:
                return work()
            except OverBudget as error:
                hidden = self._hidden.get(process.pid, frozenset())
                self._hidden[process.pid] = hidden | {error.attribute}
                self._looked.pop(process.pid, None)

    def _by_cases(
        self, process: Process, fixed: Mapping[Key, Any], whole: _Outcome
    ) -> tuple[_Outcome, int]:
        """Return the same, where an unknown value is the same in all that asks for it.

        The number is that of the cases that were told apart.
        """
        cases: dict[Key, list[Any]] = self._within_budget(
            process, lambda: self._cases(process, fixed)
        )
        if not cases:
            return whole, 0
        blocks = self._within_budget(process, lambda: self._left(process, fixed))
        found: dict[int, tuple[Points, Points]] = {}
        stays = False
        for chosen in product(*cases.values()):
            case = {**fixed, **dict(zip(cases, chosen, strict=True))}
            outcome = self._judged(process, blocks, case)
            stays |= outcome.stays
            for level, (least, most) in outcome.levels.items():
                before = found.get(level, (least, most))
                found[level] = min(before[0], least), max(before[1], most)
        return _Outcome(stays, found), math.prod(map(len, cases.values()))

    def _left(self, process: Process, fixed: Mapping[Key, Any]) -> list[InForce]:
        """Return the blocks without the rules that do not hold, whatever the case."""
        reader = self._reader(process, fixed)
        return [
            block._replace(rules=[one for one in block.rules if _may_matter(one, reader)])
            for block in self._around(process)
        ]

    def _cases(self, process: Process, fixed: Mapping[Key, Any]) -> dict[Key, list[Any]]:
        """Return what has to be told apart: what more than one question asks for."""
        reader = self._reader(process, fixed)
        times: dict[Key, int] = {}
        cuts: dict[Key, frozenset[int]] = {}
        for _, node, reading in _questions(self._around(process)):
            for key, at in _keys(reader, node, reading):
                times[key] = times.get(key, 0) + 1
                cuts[key] = cuts.get(key, frozenset()) | at
        for block in self._around(process):
            if block.in_doubt:
                times[_inside(block)] = 2
                cuts[_inside(block)] = frozenset()
        found: dict[Key, list[Any]] = {}
        number = 1
        for key in sorted(times, key=lambda key: -times[key]):
            cases = reader.cases(key, cuts[key])
            if times[key] > 1 and key not in fixed and 1 < len(cases) * number <= _MOST_CASES:
                found[key] = cases
                number *= len(cases)
        return found

    def _cases_of_host(self) -> list[dict[Key, Any]]:
        """Return the cases of what is not known of the host, which is the same for all."""
        keys: dict[Key, frozenset[int]] = {}
        process = next(iter(self.snapshot.by_pid.values()), None)
        if process is not None:
            reader = self._reader(process, {})
            asked = ((node, reading) for _, node, reading in _questions(self._all_blocks()))
            for node, reading in asked:
                for key, at in _keys(reader, node, reading):
                    if key[0] == "attr" and _of_host(key[1]):
                        keys[key] = keys.get(key, frozenset()) | at
        cases: list[dict[Key, Any]] = [{}]
        for key, at in keys.items():
            spans = reader.cases(key, at) if at else []
            if 1 < len(spans) * len(cases) <= _MOST_OF_HOST:
                cases = [{**case, key: span} for case in cases for span in spans]
        return cases

    def _all_blocks(self) -> tuple[InForce, ...]:
        return self._blocks.in_force(None)

    def _candidate(self, process: Process, outcome: _Outcome) -> Candidate:
        points = outcome.levels.values()
        most = max(high for _, high in points)
        return Candidate(
            process=process,
            sure=not outcome.stays and self._kept(process) is True,
            levels=(min(outcome.levels), max(outcome.levels)),
            points=(
                int(min(low for low, _ in points)),
                None if most == INFINITE else int(most),
            ),
        )

    def _asked(self, process: Process) -> dict[str, list[str]]:
        asked: dict[str, list[str]] = self._within_budget(process, lambda: self._named(process))
        return asked

    def _named(self, process: Process) -> dict[str, list[str]]:
        """Return the attributes that are open for a process, each with the rules that ask."""
        found: dict[str, list[str]] = {}
        reader = self._reader(process, {})
        for place, node, reading in _questions(self._around(process)):
            for part in reader.undecided(node, reading):
                for name in reader.asked(part, reading):
                    called = asked_of(name, process, self.snapshot) if name else "unit"
                    rules = found.setdefault(called, [])
                    rules += [place] if place and place not in rules else []
        for block in self._around(process):
            if block.in_doubt:
                rules = found.setdefault("unit", [])
                rules += [one.rule.place for one in block.rules if one.rule.place not in rules]
        return found

    # --- all of them -------------------------------------------------------------------------

    def _kept(self, process: Process) -> bool | None:
        if self._keep is None or self._keep(process, self.snapshot):
            return True
        return None if values.cgroup(process, self.snapshot) is None else False

    def _leading(
        self, outcomes: Mapping[int, _Outcome]
    ) -> tuple[list[tuple[Process, Place]], bool]:
        """Return who may be the first, with the first place it may have; and whether none is."""
        by_pid = self.snapshot.by_pid
        alone = {pid: _alone(by_pid[pid], outcome) for pid, outcome in outcomes.items()}
        entities = self._entities(alone, outcomes)
        kept = {pid: self._kept(by_pid[pid]) for pid in outcomes}
        bounds = [
            entity.worst
            for entity in entities
            if any(kept[one.pid] and alone[one.pid].sure for one in entity.members)
        ]
        bound = min(bounds, default=None)
        found = []
        for entity in entities:
            if bound is not None and entity.best > bound:
                continue
            within = [
                alone[one.pid].worst
                for one in entity.members
                if alone[one.pid].sure and kept[one.pid]
            ]
            # Of a unit the first member is killed first.
            limit = min(within, default=None)
            for one in entity.members:
                own = alone[one.pid].best
                if kept[one.pid] is not False and (limit is None or own <= limit):
                    found.append((one, entity.best if len(entity.members) == 1 else own))
        return found, bound is None

    def _entities(
        self, alone: Mapping[int, _Entity], outcomes: Mapping[int, _Outcome]
    ) -> list[_Entity]:
        if self._gathering is None:
            return list(alone.values())
        units: dict[str, list[Process]] = {}
        single: list[Process] = []
        anywhere: list[Process] = []
        for pid in outcomes:
            process = self.snapshot.by_pid[pid]
            standing = self._gathering.standing(process)
            if standing.doubts:
                anywhere.append(process)
            elif standing.unit is None:
                single.append(process)
            else:
                units.setdefault(standing.unit.place.path, []).append(process)
        found = [alone[process.pid] for process in single]
        roaming = [alone[process.pid] for process in anywhere]
        found += [
            _together([alone[one.pid] for one in members], roaming) for members in units.values()
        ]
        if roaming:
            grouped = [alone[one.pid] for members in units.values() for one in members]
            last = max(one.worst[0] for one in [*roaming, *grouped])
            for one in roaming:
                process = one.members[0]
                best = (one.best[0], -INFINITE, 0, 0)
                worst = (last, 0, LATEST, process.pid)
                found.append(one._replace(best=best, worst=worst))
        return found


def _of_host(name: str) -> bool:
    attribute = ATTRIBUTES.get(name)
    return attribute is not None and attribute.provider is Provider.HOST


def _inside(block: InForce) -> Key:
    return "inside", block.targets


def _questions(blocks: Iterable[InForce]) -> Iterator[tuple[str, Node, str]]:
    """Yield what rules and scores ask: the place of each, its node and its reading."""
    blocks = tuple(blocks)
    rules = [one.rule for block in blocks for one in block.rules]
    several = len({rule.degree for rule in rules if rule.kind == "first"}) > 1
    for block in blocks:
        for one in block.rules:
            kind = one.rule.kind
            if kind in ("prefer", "first"):
                yield one.rule.place, one.when, PLAIN
            if kind != "prefer" and (kind != "first" or several):
                yield one.rule.place, one.when, PROTECTING
        if block.score:
            yield block.score.score.place, block.score.value, SCORING


def _keys(reader: Reader, node: Node, reading: str) -> Iterator[tuple[Key, frozenset[int]]]:
    for part in reader.undecided(node, reading):
        key = reader.key(part, reading)
        if key is not None:
            yield key


def _judged(blocks: Iterable[InForce], reader: Reader, rss: Span) -> _Outcome:
    """Return what may become of a process that rules decide about (``evaluator``)."""
    stays = False
    rules: list[tuple[ActiveRule, int]] = []
    for block in blocks:
        inside = reader.fixed.get(_inside(block), EITHER) if block.in_doubt else TRUE
        only = [one for one in block.rules if one.rule.kind == "only"]
        rules += [(one, inside) for one in block.rules if one.rule.kind != "only"]
        if only and inside & TRUE:
            met = [reader.truths(one.when, PROTECTING) for one in only]
            if inside == TRUE and not any(truths & (TRUE | OWN) for truths in met):
                return _EXCLUDED
            stays |= all(truths & (FALSE | UNKNOWN) for truths in met)
    for one, inside in rules:
        if one.rule.kind == "never":
            may, must = _protects(one, inside, reader)
            if must:
                return _EXCLUDED
            stays |= may
    base = _base(blocks, reader, rss)
    if not base.holds or base.most < 1:
        return _EXCLUDED
    stays |= bool(base.also) or base.least < 1
    weights = [_weight(one, inside, reader) for one, inside in rules]
    least: Points = Fraction(max(1, base.least))
    most: Points = base.most if base.most == INFINITE else Fraction(base.most)
    for low, high in weights:
        least, most = least * low, most if most == INFINITE else most * high
    return _Outcome(stays, dict.fromkeys(_levels(rules, reader), (least, most)))


def _may_matter(one: ActiveRule, reader: Reader) -> bool:
    kind = one.rule.kind
    if kind == "only":
        return True
    plain = kind in ("prefer", "first") and reader.truths(one.when, PLAIN) & TRUE
    protecting = kind != "prefer" and reader.truths(one.when, PROTECTING) & (TRUE | UNKNOWN)
    return bool(plain or protecting)


def _protects(one: ActiveRule, inside: int, reader: Reader) -> tuple[bool, bool]:
    """Return whether a rule that protects may hold, and whether it surely does."""
    truths = conjunction(inside, reader.truths(one.when, PROTECTING))
    return bool(truths & (TRUE | UNKNOWN)), not truths & (FALSE | OWN)


def _surely(one: ActiveRule, inside: int, reader: Reader) -> tuple[bool, bool]:
    """Return whether another rule may hold, and whether it surely does."""
    truths = conjunction(inside, reader.truths(one.when, PLAIN))
    return bool(truths & TRUE), truths == TRUE


def _weight(one: ActiveRule, inside: int, reader: Reader) -> tuple[Fraction, Fraction]:
    """Return the least and the greatest factor that a rule may come to."""
    kind = one.rule.kind
    if kind not in ("prefer", "spare"):
        return Fraction(1), Fraction(1)
    may, must = (_surely if kind == "prefer" else _protects)(one, inside, reader)
    factor = Fraction(*one.rule.factor)
    ways = [factor] * may + [Fraction(1)] * (not must)
    return min(ways), max(ways)


def _base(blocks: Iterable[InForce], reader: Reader, rss: Span) -> Span:
    """Return what the score may come to: the innermost one, and of equals the smallest."""
    sure: list[tuple[tuple[int, int], Span]] = []
    doubted: list[Span] = []
    covered = False
    for block in blocks:
        if block.score is None:
            continue
        value = reader.span(block.score.value, SCORING)
        if value.also & OWN:
            value = joined(value._replace(also=value.also & ~OWN), rss)
        inside = reader.fixed.get(_inside(block), EITHER) if block.in_doubt else TRUE
        if not block.in_doubt:
            sure.append((block.rank, value))
        elif inside & TRUE:
            doubted.append(value)
            covered |= inside == TRUE
    innermost = max(rank for rank, _ in sure)
    if not (covered and innermost[0] < 0):
        found = [value for rank, value in sure if rank == innermost]
        # In doubt it may be a block of the same depth as these.
        doubted.append(calculated("min", found))
    base = doubted[0]
    for value in doubted[1:]:
        base = joined(base, value)
    return base


def _levels(rules: Iterable[tuple[ActiveRule, int]], reader: Reader) -> set[int]:
    """Return the levels that a process may have (``tiers``)."""
    lasts, last = set[int](), 0
    firsts, asked, sure, floor = set[int](), False, False, -INFINITE
    for one, inside in rules:
        degree = one.rule.degree
        if one.rule.kind == "last":
            may, must = _protects(one, inside, reader)
            lasts |= {degree} if may else set()
            last = max(last, degree if must else 0)
        elif one.rule.kind == "first":
            may, must = _surely(one, inside, reader)
            protects, always = _protects(one, inside, reader)
            firsts |= {-degree} if may or protects else set()
            asked, sure = asked or may, sure or must
            # Beside another degree, the smaller one counts.
            floor = max(floor, -degree if must and always else -INFINITE)
    if last:
        return {degree for degree in lasts if degree >= last}
    found = {level for level in firsts if level >= floor} if asked else set[int]()
    return lasts | found | (set() if sure else {0})


def _alone(process: Process, outcome: _Outcome) -> _Entity:
    first, last = min(outcome.levels), max(outcome.levels)
    start = process.starttime
    return _Entity(
        members=(process,),
        best=(first, -outcome.levels[first][1], 0 if start is None else start, process.pid),
        worst=(
            last,
            -outcome.levels[last][0],
            LATEST if start is None else start,
            process.pid,
        ),
        points=(
            min(least for least, _ in outcome.levels.values()),
            max(most for _, most in outcome.levels.values()),
        ),
        sure=not outcome.stays,
    )


def _together(members: list[_Entity], roaming: list[_Entity]) -> _Entity:
    """Return a unit that is killed as a whole; processes of unknown units may be in it."""
    sure = [one for one in members if one.sure]
    most = INFINITE if roaming else sum(one.points[1] for one in members)
    least = sum((one.points[0] for one in sure), Fraction(0))
    # Its level is that of its most protective member that is a candidate.
    first = [one.best[0] for one in members]
    level = max((one.best[0] for one in sure), default=min(first))
    last = max(one.worst[0] for one in (*members, *roaming))
    return _Entity(
        members=tuple(process for one in members for process in one.members),
        best=(level, -most, 0, 0),
        worst=(last, -least, LATEST, _LAST_PID),
        points=(least, most),
        sure=bool(sure),
    )


def _merged(one: Candidate, other: Candidate) -> Candidate:
    most = None
    if one.points[1] is not None and other.points[1] is not None:
        most = max(one.points[1], other.points[1])
    return one._replace(
        sure=one.sure and other.sure,
        levels=(min(one.levels[0], other.levels[0]), max(one.levels[1], other.levels[1])),
        points=(min(one.points[0], other.points[0]), most),
    )


def _counted(named: Iterable[Mapping[str, list[str]]]) -> tuple[Unknown, ...]:
    """Count for how many processes each attribute is open, and gather the rules."""
    numbers: dict[str, int] = {}
    rules: dict[str, dict[str, None]] = {}
    for one in named:
        for name, places in one.items():
            numbers[name] = numbers.get(name, 0) + 1
            rules.setdefault(name, {}).update(dict.fromkeys(places))
    names = sorted(numbers, key=lambda name: (-numbers[name], name))
    return tuple(Unknown(name, numbers[name], tuple(sorted(rules[name]))) for name in names)
