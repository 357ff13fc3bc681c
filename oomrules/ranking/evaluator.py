"""The evaluator: a program on one host decides about its processes.

``judge`` decides about one process from everything there is and says why. ``residual``
does the same work ahead of time: it evaluates, once for each kind of process, all that
its identity decides, and leaves a function of the values that change. Processes of the
same kind share it, so a refresh costs the same for ten rules as for a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable
from functools import partial

from oomrules.attributes import ATTRIBUTES, Source
from oomrules.lean import Any, NamedTuple
from oomrules.processes.facts import RELATIONS
from oomrules.processes.snapshot import PF_EXITING, PF_KTHREAD, UNREAD, Host, Process, Snapshot
from oomrules.processes.units import Placement
from oomrules.processes.values import GETTERS, LIMIT, PROTECTING, SCORING, Getter, innermost_place
from oomrules.program import nodes
from oomrules.program.automaton import WORK
from oomrules.program.nodes import PENDING, SELF_MADE, Node, OverBudget
from oomrules.program.program import PART_OF, USER_UNIT, WANTED_BY, Program, Rule, Scope, Score
from oomrules.ranking import doubt
from oomrules.ranking.codegen import (
    BUDGET,
    Judge,
    Residual,
    Weight,
    compile_residual,
    fewest,
    instead,
)
from oomrules.ranking.verdict import FIRST, LAST, NORMAL, Held, Verdict, Why

# Read only for a process whose fate may hang on it: each costs a file of its own.
_COSTLY = frozenset(
    name for name, a in ATTRIBUTES.items() if a.source in (Source.EXE, Source.CMDLINE)
)
_SETTLED = frozenset(name for name, a in ATTRIBUTES.items() if not a.changes) - _COSTLY

# What compiled functions take for granted.
_ALWAYS_IN_STAT = ("nice", "rss", "starttime", "state", "stime", "threads", "total_vm", "utime")

# Kinds of process that are remembered. Each unit that comes is another kind, of 3 to 6 KiB, so this
# is what an hour of them costs. Only who is new asks for its kind, so to forget costs little.
_FEW_KINDS, _MOST_KINDS = 128, 512

# Processes that are remembered because their texts take too long to search.
_MOST_OVER_BUDGET = 1000
_MOST_NOTES = 3
# What an explanation may cost, in budgets: it asks everything anew, and for each kind of rule.
_EXPLAINING = 8


class Around(NamedTuple):
    """A unit around a process: its names, and the units that it belongs to (None: unknown).

    ``of_user`` says that it is a unit of a user's manager.
    """

    names: tuple[str, ...]
    wanted_by: tuple[str, ...] | None
    part_of: tuple[str, ...] | None
    of_user: bool = False


Chain = tuple[Around, ...]


class _Placed(NamedTuple):
    """A rule that holds in a place, its condition ready for this host, and its block's units."""

    rule: Rule
    when: Node
    targets: tuple[str, ...]
    # Whether the process may be outside that block. Other rules than ``only`` have it in ``when``.
    in_doubt: bool = False


class _Scored(NamedTuple):
    """A score that counts in a place, or may."""

    score: Score
    value: Node
    targets: tuple[str, ...]
    in_doubt: bool


class _Active(NamedTuple):
    """The rules that hold in one place."""

    never: list[_Placed]
    only: list[list[_Placed]]
    first: list[_Placed]
    last: list[_Placed]
    weights: list[_Placed]
    scores: list[_Scored]


def ineligible(process: Process, own: frozenset[int]) -> Why | None:
    """Return why no rule can make a process a candidate; None if one can.

    These are the tasks that the kernel passes over (oom_unkillable_task and
    find_lock_task_mm), and oomrules itself.
    """
    flags, state = process.flags or 0, process.state
    if process.pid == 1:
        return Why.INIT
    if flags & PF_KTHREAD:
        return Why.KERNEL_THREAD
    if state == "Z":
        return Why.ZOMBIE
    if flags & PF_EXITING or state in ("X", "x"):
        return Why.EXITING
    if process.total_vm == 0:
        return Why.NO_MEMORY
    if process.unreadable is not UNREAD:
        return Why.UNREADABLE
    return Why.OURSELVES if process.pid in own else None


class Evaluator:
    """A program, made ready for a host.

    Args:
        program: the rules.
        host: its page size decides how many pages a quantity of memory is.
    """

    def __init__(self, program: Program, host: Host) -> None:
        self.program = program
        self._page_size = host.page_size
        self._scopes = [(scope, *self._local_scope(scope)) for scope in program.scopes]
        self._definitions = {n: self._local(node) for n, node in program.definitions.items()}
        self._settled = sorted(program.attributes & _SETTLED)
        self._costly = sorted(program.attributes & _COSTLY)
        self._unscoped = not any(scope.targets for scope in program.scopes)
        self._active: dict[Any, _Active] = {}
        self._kinds: dict[Any, tuple[Residual | None, Judge | None]] = {}
        self._functions: dict[str, Judge] = {}
        # The attributes of a process (pid and start) that take too long to search.
        self._over_budget: dict[tuple[int, int | None], frozenset[str]] = {}

    @property
    def over_budget(self) -> dict[int, frozenset[str]]:
        """The attributes of processes, by pid, that took too long to search; they are unknown."""
        return {pid: names for (pid, _), names in self._over_budget.items()}

    def notes(self, alive: Container[int]) -> list[str]:
        """Say whose texts took too long to search, of the processes that there are."""
        return [
            f"to search {' and '.join(sorted(names))} of process {pid} takes too long, so it "
            "counts as unknown by its own doing; look at the process, and at rules with `~`"
            for pid, names in sorted(self.over_budget.items())
            if pid in alive
        ][:_MOST_NOTES]

    def forget(self, processes: int) -> None:
        """Start anew with what is remembered of kinds, where more than a few must be gone.

        Args:
            processes: how many there are, and so at most as many kinds.
        """
        for known in (self._active, self._kinds, self._functions):
            if len(known) > max(_FEW_KINDS, processes):
                known.clear()

    def _local(self, node: Node) -> Node:
        return nodes.localise(node, self._page_size, LIMIT)

    def _local_scope(self, scope: Scope) -> tuple[list[Node], Node | None]:
        score = self._local(scope.score.value) if scope.score else None
        return [self._local(rule.when) for rule in scope.rules], score

    # --- which rules hold ----------------------------------------------------------

    def _place(self, process: Process, snapshot: Snapshot) -> Chain | None:
        """The units around a process; nothing if no rule asks, None if unknown."""
        if self._unscoped:
            return ()
        place = innermost_place(process, snapshot)
        return None if place is None else _chain(place, snapshot)

    @property
    def everywhere(self) -> int:
        """How many rules hold everywhere."""
        return sum(len(scope.rules) for scope in self.program.scopes if not scope.targets)

    def scopes_in(self, place: Placement, snapshot: Snapshot) -> tuple[Scope, ...]:
        """Give the blocks whose rules hold for the processes of a unit, in doubt or not."""
        chain = _chain(place, snapshot)
        return tuple(
            scope
            for scope in self.program.scopes
            if scope.targets and _depth(scope, chain)[0] is not None
        )

    def _rules(self, chain: Chain | None) -> _Active:
        if chain not in self._active:
            if len(self._active) >= _MOST_KINDS:
                self._active.clear()
            self._active[chain] = self._collect(chain)
        return self._active[chain]

    def _collect(self, chain: Chain | None) -> _Active:
        active = _Active([], [], [], [], [], [])
        groups = {"never": active.never, "first": active.first, "last": active.last}
        sure: list[tuple[tuple[int, int], _Scored]] = []
        for scope, conditions, value in self._scopes:
            depth, in_doubt = _depth(scope, chain)
            if depth is None:
                continue
            only = []
            for rule, node in zip(scope.rules, conditions, strict=True):
                if rule.kind == "only":
                    only.append(_Placed(rule, node, scope.targets, in_doubt))
                    continue
                held = ["and", ["unknown"], node] if in_doubt else node
                placed = _Placed(rule, held, scope.targets)
                groups.get(rule.kind, active.weights).append(placed)
            if only:
                active.only.append(only)
            if scope.score and value is not None:
                score = _Scored(scope.score, value, scope.targets, in_doubt)
                if in_doubt:
                    active.scores.append(score)
                else:
                    sure.append(((depth, len(scope.targets)), score))
        innermost = max(rank for rank, _ in sure)
        active.scores.extend(score for rank, score in sure if rank == innermost)
        return active

    # --- everything about one process -----------------------------------------------

    def judge(self, process: Process, snapshot: Snapshot) -> Verdict:
        """Decide about one process, and say why."""
        verdict: Verdict = self._within_budget(
            self._judged, process, snapshot, _EXPLAINING * BUDGET
        )
        return verdict

    def _within_budget(
        self,
        decide: Callable[[Process, Snapshot, frozenset[str]], Any],
        process: Process,
        snapshot: Snapshot,
        budget: int,
    ) -> Any:
        """Decide about a process; what takes too long to search is unknown, to all rules alike.

        Rules have no order, so everything is asked again without it.
        """
        key = (process.pid, process.starttime)
        hidden = self._over_budget.get(key, frozenset())
        while True:
            WORK.begin(budget)
            try:
                return decide(process, snapshot, hidden)
            except OverBudget as error:
                hidden |= {error.attribute}
                if len(self._over_budget) >= _MOST_OVER_BUDGET:
                    self._over_budget.clear()
                self._over_budget[key] = hidden

    def _judged(self, process: Process, snapshot: Snapshot, hidden: frozenset[str]) -> Verdict:
        active = self._rules(self._place(process, snapshot))
        own: set[str] = set()
        scoring, protecting, plain = (
            self._reading(process, snapshot, SCORING, hidden, own),
            self._reading(process, snapshot, PROTECTING, hidden, own),
            self._reading(process, snapshot, GETTERS, hidden),
        )
        held: list[_Placed] = []
        unsure: list[_Placed] = []
        for one in (*active.first, *active.last, *active.weights):
            surely = plain(one.when) is True
            decisive = one.rule.kind in ("first", "prefer")
            if surely if decisive else protecting(one.when) in (True, None):
                held.append(one)
                unsure += [] if surely else [one]
        why, because = ineligible(process, snapshot.own_pids), None
        if why is None:
            why, because = _excluded(active, protecting, plain)
        kinds = {one.rule.kind for one in held}
        tier = LAST if "last" in kinds else FIRST if "first" in kinds else NORMAL
        scores = [scoring(one.value) for one in active.scores]
        bases = [instead(score, process.rss) for score in scores]
        base = fewest(bases)
        above = math.prod(one.rule.factor[0] for one in held)
        below = math.prod(one.rule.factor[1] for one in held)
        common = math.gcd(above, below)
        points = 0 if base is None else base * above // below
        if why is None:
            why = Why.NO_POINTS if points < 1 else Why.CANDIDATE
            why = Why.UNKNOWN_SCORE if base is None else why
        counts = bases.index(base)
        scored = active.scores[counts]
        # All is decided. To say what was in doubt costs work of the same budget.
        return Verdict(
            why=why,
            rule=because and because.rule,
            tier=tier,
            base=base,
            score=scored.score,
            weight=(above // common, below // common),
            points=points,
            held=tuple(
                Held(one.rule, False, one.targets, self._unknown(one.when, plain))
                if one in unsure
                else Held(one.rule, True, one.targets)
                for one in held
            ),
            by_memory=scores[counts] is SELF_MADE,
            targets=because.targets if because else (),
            score_targets=scored.targets,
            score_doubts=(doubt.PLACE,) if any(one.in_doubt for one in active.scores) else (),
            doubts=self._unknown(scored.value, scoring)
            if base is None and not because
            else self._doubts(because, active, plain),
            own_doubts=self._own_doubts(active, protecting, scoring) if own else (),
            unreadable=process.unreadable if why is Why.UNREADABLE else "",
        )

    def _unknown(self, node: Node, evaluate: Callable[[Node], Any]) -> tuple[str, ...]:
        return doubt.causes(node, evaluate, self._definitions)

    def _doubts(
        self, because: _Placed | None, active: _Active, plain: Callable[[Node], Any]
    ) -> tuple[str, ...]:
        """Name what was unknown to the rule that excludes a process, if that is a doubt."""
        if because is None:
            return ()
        if because.rule.kind != "only":
            return self._unknown(because.when, plain)
        names: dict[str, None] = {}
        for one in (one for level in active.only for one in level):
            names |= dict.fromkeys((doubt.PLACE,) if one.in_doubt else ())
            names |= dict.fromkeys(self._unknown(one.when, plain))
        return tuple(names)

    def _own_doubts(
        self,
        active: _Active,
        protecting: Callable[[Node], Any],
        scoring: Callable[[Node], Any],
    ) -> tuple[str, ...]:
        """Name what the process made unknown, and rules or the score would have liked to know."""
        rules = [*active.never, *active.last, *(one for level in active.only for one in level)]
        rules += [one for one in active.weights if one.rule.kind == "spare"]
        asked = [(one.when, protecting) for one in rules]
        asked += [(one.value, scoring) for one in active.scores]
        found: dict[str, None] = {}
        for node, evaluate in asked:
            found |= dict.fromkeys(doubt.causes(node, evaluate, self._definitions, SELF_MADE))
        return tuple(found)

    def _reading(
        self,
        process: Process,
        snapshot: Snapshot,
        getters: dict[str, Getter],
        hidden: frozenset[str],
        own: set[str] | None = None,
    ) -> Callable[[Node], Any]:
        """Make the function that evaluates conditions of one process.

        Args:
            process: it.
            snapshot: the host.
            getters: what its attributes are to the rules that ask.
            hidden: the attributes that take too long to search.
            own: takes the attributes that the process made unknown; None: what it made unknown
                counts as any other doubt.
        """

        def get(name: str) -> Any:
            value = SELF_MADE if name in hidden else getters[name](process, snapshot)
            if value is SELF_MADE:
                if own is None:
                    return None
                own.add(name)
            return value

        return partial(nodes.reduce, get=get, names=_Definitions(self._definitions, get))

    # --- the same, ahead of time ----------------------------------------------------

    def prepare(self, process: Process, snapshot: Snapshot) -> Judge | None:
        """Work out what the identity of a process decides.

        Returns:
            the function for the rest; None if the process is no candidate whatever its
            changing values are.
        """
        if process.pid == 1 or process.pid in snapshot.own_pids:
            return None
        if process.unreadable is not UNREAD:
            return None
        if any(getattr(process, name) is None for name in _ALWAYS_IN_STAT):
            return self._judge_slowly
        judge: Judge | None = self._within_budget(self._prepared, process, snapshot, BUDGET)
        return judge

    def _prepared(
        self, process: Process, snapshot: Snapshot, hidden: frozenset[str]
    ) -> Judge | None:
        settled = _values(self._settled, process, snapshot, hidden)
        chain = self._place(process, snapshot)
        kind: tuple[Any, ...] = (chain, *settled)
        found = self._kinds.get(kind)
        if found is None:
            start = self._start(chain)
            given = dict(zip(self._settled, settled, strict=True))
            found = self._kind(kind, _reduce(start, given))
        residual, judge = found
        if residual is None:
            return judge
        costly = _values(self._costly, process, snapshot, hidden)
        given = dict(zip(self._costly, costly, strict=True))
        left = _reduce(residual, given)
        return self._compiled(left) if left else None

    def _judge_slowly(
        self, process: Process, now: int, hz: int, snapshot: Snapshot
    ) -> tuple[int, int, int] | None:
        """Stand in for a compiled function where a recorded process lacks what stat gives."""
        verdict = self.judge(process, snapshot)
        if not verdict.candidate or verdict.base is None:
            return None
        above, below = verdict.weight
        return verdict.tier, verdict.base * above, below

    def _kind(self, kind: Any, residual: Residual | None) -> tuple[Residual | None, Judge | None]:
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        # Only with more to be decided by what is costly to read is it needed again.
        pending = bool(residual and self._costly and _mentions(residual, self._costly))
        judge = self._compiled(residual) if residual and not pending else None
        return self._kinds.setdefault(kind, (residual if pending else None, judge))

    def _compiled(self, residual: Residual) -> Judge:
        """Compile what is left; kinds that differ in nothing that matters share a function."""
        if len(self._functions) >= _MOST_KINDS:
            self._functions.clear()
        key = repr(residual)
        if key not in self._functions:
            self._functions[key] = compile_residual(residual)
        return self._functions[key]

    def _start(self, chain: Chain | None) -> Residual:
        active = self._rules(chain)
        return Residual(
            [one.when for one in active.never],
            [[one.when for one in level] for level in active.only],
            [one.when for one in active.first],
            [one.when for one in active.last],
            [Weight(one.rule.kind == "spare", one.rule.factor, one.when) for one in active.weights],
            (1, 1),
            NORMAL,
            [one.value for one in active.scores],
            self._definitions,
        )


def _chain(place: Placement, snapshot: Snapshot) -> Chain:
    """Gather what targets can ask of the units around a process, outermost first."""
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
    """Tell whether a target means a unit; None if that is unknown."""
    if unit.of_user or target.startswith(USER_UNIT):
        meant = target.startswith(USER_UNIT) and unit.of_user
        return meant and nodes.glob(unit.names[0], target.removeprefix(USER_UNIT))
    for words, related in ((WANTED_BY, unit.wanted_by), (PART_OF, unit.part_of)):
        if target.startswith(words):
            return None if related is None else target.removeprefix(words) in related
    return any(nodes.glob(name, target) for name in unit.names)


def _depth(scope: Scope, chain: Chain | None) -> tuple[int | None, bool]:
    """How deep in a chain of units a scope lies, and whether that is in doubt.

    The depth is that of the innermost unit that its innermost target matches, -1 for
    the rules that hold everywhere, None for a scope that does not lie there.
    """
    if not scope.targets or chain is None:
        return -1, bool(scope.targets)
    depth, in_doubt = -1, False
    for target in scope.targets:
        matched = [_matches(unit, target) for unit in chain]
        if True in matched:
            depth = len(matched) - 1 - matched[::-1].index(True)
        elif None in matched:
            in_doubt = True
        else:
            return None, False
    return depth, in_doubt


class _Definitions:
    """Works each definition out once. No closure: one that calls itself would be a cycle."""

    def __init__(self, definitions: dict[str, Node], get: Callable[[str], Any]) -> None:
        self._definitions = definitions
        self._get = get
        self._done: dict[str, Any] = {}

    def __call__(self, name: str) -> Any:
        if name not in self._done:
            self._done[name] = nodes.reduce(self._definitions[name], self._get, self)
        return self._done[name]


def _excluded(
    active: _Active, protecting: Callable[[Node], Any], plain: Callable[[Node], Any]
) -> tuple[Why | None, _Placed | None]:
    for one in active.never:
        if protecting(one.when) in (True, None):
            return Why.NEVER if plain(one.when) is True else Why.NEVER_IN_DOUBT, one
    for level in active.only:
        # To be left out is a protection, which needs a doubt that is not of one's own making.
        if not any(protecting(one.when) in (True, SELF_MADE) for one in level):
            return Why.OUTSIDE, level[0]
    return None, None


def _reduce(residual: Residual, given: dict[str, Any]) -> Residual | None:
    """Decide what the given attributes decide; None if the process is excluded."""

    def get(name: str) -> Any:
        return given.get(name, PENDING)

    def get_doubted(name: str) -> Any:
        value = given.get(name, PENDING)
        return None if value is SELF_MADE else value

    definitions = plain = _Definitions(residual.protecting_definitions, get)
    doubted = get
    if residual.protecting is not None or SELF_MADE in given.values():
        # Rules that do not protect take it for any other doubt.
        doubted, plain = get_doubted, _Definitions(residual.definitions, get_doubted)

    def protecting(node: Any) -> Any:
        return nodes.reduce(node, get, definitions) if isinstance(node, list) else node

    def asking(node: Any) -> Any:
        return nodes.reduce(node, doubted, plain) if isinstance(node, list) else node

    never = [protecting(node) for node in residual.never]
    if any(value is True or value is None for value in never):
        return None
    only = [[protecting(node) for node in level] for level in residual.only]
    only = [level for level in only if True not in level and SELF_MADE not in level]
    if not all(any(isinstance(value, list) for value in level) for level in only):
        return None
    first = [asking(node) for node in residual.first]
    last = [protecting(node) for node in residual.last]
    tier = residual.tier
    if any(value is True or value is None for value in last):
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
        _left(never),
        [_left(level) for level in only],
        _left(first),
        _left(last),
        weights,
        (above // common, below // common),
        tier,
        [["attr", "rss"] if score is SELF_MADE else score for score in scores],
        _undecided(residual.definitions, plain),
        None if plain is definitions else _undecided(residual.protecting_definitions, definitions),
    )


def _values(
    names: Iterable[str], process: Process, snapshot: Snapshot, hidden: frozenset[str]
) -> list[Any]:
    if not hidden:
        return [GETTERS[name](process, snapshot) for name in names]
    return [SELF_MADE if name in hidden else GETTERS[name](process, snapshot) for name in names]


def _undecided(names: Iterable[str], definitions: _Definitions) -> dict[str, Any]:
    return {name: node for name in names if isinstance(node := definitions(name), list)}


def _left(values: Iterable[Any]) -> list[Node]:
    return [value for value in values if isinstance(value, list)]


def _mentions(residual: Residual, names: list[str]) -> bool:
    """Tell whether what is left asks for one of these attributes."""
    return any(not nodes.attributes(node).isdisjoint(names) for node in residual.nodes)
