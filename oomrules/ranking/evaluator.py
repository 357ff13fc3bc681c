"""The evaluator: a program on one host decides about its processes.

``judge`` decides about one process from everything there is and says why. ``specialise`` does
the same work ahead of time. What does not change about a process is decided once for its kind:
for all processes that no rule tells apart by that. What is left is a function of the values that
change. So a refresh costs the same for ten rules as for a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable
from functools import partial
from itertools import chain

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.lean import Any, NamedTuple
from oomrules.processes.snapshot import PF_EXITING, PF_KTHREAD, UNREAD, Host, Process, Snapshot
from oomrules.processes.values import LASTING, Getter
from oomrules.program import nodes
from oomrules.program.automaton import WORK
from oomrules.program.nodes import SELF_MADE, Definitions, Node, OverBudget
from oomrules.program.program import Program, Rule
from oomrules.ranking import doubt, residual
from oomrules.ranking.blocks import Active, ActiveRule, Blocks
from oomrules.ranking.codegen import BUDGET, Decider, compile_residual, fewest, instead
from oomrules.ranking.groups import Gathering
from oomrules.ranking.local import Found, Local
from oomrules.ranking.residual import Residual
from oomrules.ranking.tiers import First, first_level, tier_of
from oomrules.ranking.verdict import Held, Verdict, Why

# What compiled functions take for granted.
_ALWAYS_IN_STAT = ("nice", "rss", "starttime", "state", "stime", "threads", "total_vm", "utime")

# Read only for a process whose fate may hang on it: each costs a file of its own.
_COSTLY = frozenset(
    name for name, a in ATTRIBUTES.items() if a.provider in (Provider.EXE, Provider.CMDLINE)
)
_SETTLED = frozenset(name for name, a in ATTRIBUTES.items() if not a.changes) - _COSTLY

# Kinds of process that are remembered. Each new unit is another kind, of 3 to 6 KiB, so this bounds
# what an hour of them costs. Only a new process asks for its kind, so forgetting costs little.
_FEW_KINDS, _MOST_KINDS = 128, 512

# Processes that are remembered because their texts take too long to search.
_MOST_OVER_BUDGET = 1000
_MOST_NOTES = 3
# What a verdict may cost, in budgets: it asks everything anew, and for each kind of rule.
_EXPLAINING = 8

Evaluate = Callable[[Node], Any]


class _Readings(NamedTuple):
    """What conditions and scores come to for one process, by what asks.

    Attributes:
        plain: for most rules; what the process made unknown is a doubt like any other.
        protecting: for rules that protect.
        scoring: for scores.
        own: the attributes that the process made unknown, of those that the last two asked for.
        named: returns what is unknown where an attribute is (``doubt.causes``).
    """

    plain: Evaluate
    protecting: Evaluate
    scoring: Evaluate
    own: set[str]
    named: doubt.Named


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
        self._local = Local(program.definitions, host.page_size)
        self._definitions = self._local.definitions
        self._blocks = Blocks(program, self._local)
        # What is asked of the process itself, and not of its ancestors only.
        asked = self._local.attributes(self._blocks.nodes)
        self._settled = sorted(asked & _SETTLED)
        self._costly = sorted(asked & _COSTLY)
        # Of each kind of process the function that decides, None for no candidate, or what is left
        # to be decided by attributes that are costly to read.
        self._kinds: dict[Any, Residual | Decider | None] = {}
        # Kinds that differ in nothing that matters share a function.
        self._deciders: dict[str, Decider] = {}
        # The attributes of a process (pid and start) that take too long to search.
        self._over_budget: dict[tuple[int, int | None], frozenset[str]] = {}

    @property
    def over_budget(self) -> dict[int, frozenset[str]]:
        """The attributes of processes, by pid, that took too long to search; they are unknown."""
        return {pid: names for (pid, _), names in self._over_budget.items()}

    def notes(self, alive: Container[int]) -> list[str]:
        """Return a note for each process that there is whose texts took too long to search."""
        return [
            f"to search {' and '.join(sorted(names))} of process {pid} takes too long, so it "
            "counts as unknown by its own doing; look at the process, and at rules with `~`"
            for pid, names in sorted(self.over_budget.items())
            if pid in alive
        ][:_MOST_NOTES]

    def gathering(self, snapshot: Snapshot) -> Gathering | None:
        """Return what tells which units of a snapshot are killed as a whole; None if none is."""
        if not self._blocks.has_wholes:
            return None
        return Gathering(snapshot, partial(self._blocks.standing, snapshot=snapshot))

    def forget(self, processes: int) -> None:
        """Begin a ranking: forget ancestors, and kinds if there are more than processes."""
        self._local.begin()
        most = max(_FEW_KINDS, processes)
        self._blocks.forget(most)
        for known in (self._kinds, self._deciders):
            if len(known) > most:
                known.clear()

    def judge(self, process: Process, snapshot: Snapshot) -> Verdict:
        """Return what the program says of one process, and why."""
        verdict: Verdict = self._within_budget(
            self._judged, process, snapshot, _EXPLAINING * BUDGET
        )
        return verdict

    def through(self, rule: Rule, process: Process, snapshot: Snapshot) -> list[Found]:
        """Return the ancestors by which a rule is about a process, of each clause the nearest."""
        return self._local.through(rule.when, process, snapshot)

    def specialise(self, process: Process, snapshot: Snapshot) -> Decider | None:
        """Decide what the identity of a process decides.

        Returns:
            the function for the rest; None if the process is no candidate whatever its
            changing values are.
        """
        if process.pid == 1 or process.pid in snapshot.own_pids:
            return None
        if process.unreadable is not UNREAD:
            return None
        if any(getattr(process, name) is None for name in _ALWAYS_IN_STAT):
            return Decider(self._decide_slowly, None)
        decider: Decider | None = self._within_budget(self._decider, process, snapshot, BUDGET)
        return decider

    def _decider(
        self, process: Process, snapshot: Snapshot, hidden: frozenset[str]
    ) -> Decider | None:
        """Return the function for a process; ``hidden`` attributes take too long to search."""

        def given(names: Iterable[str]) -> dict[str, Any]:
            return {
                name: SELF_MADE if name in hidden else LASTING[name](process, snapshot)
                for name in names
            }

        settled = given(self._settled)
        around = self._blocks.around(process, snapshot)
        key = (around, *settled.values())
        if key not in self._kinds:
            start = residual.undecided(self._blocks.active(around), self._definitions)
            left = residual.specialise(start, settled)
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
            # Only with more to be decided by what is costly to read is it needed again.
            needed = left and any(
                not nodes.attributes(node).isdisjoint(self._costly) for node in left.nodes
            )
            self._kinds[key] = left if needed else self._compiled(left)
        kind = self._kinds[key]
        if not isinstance(kind, Residual):
            return kind
        return self._compiled(residual.specialise(kind, given(self._costly)))

    def _compiled(self, left: Residual | None) -> Decider | None:
        if left is None:
            return None
        if len(self._deciders) >= _MOST_KINDS:
            self._deciders.clear()
        key = repr(left)
        if key not in self._deciders:
            self._deciders[key] = compile_residual(left, self._local.getters)
        return self._deciders[key]

    def _decide_slowly(
        self, process: Process, now: int, hz: int, snapshot: Snapshot
    ) -> tuple[int, int, int] | None:
        """Stand in for a compiled function where a recorded process lacks what stat gives."""
        verdict = self.judge(process, snapshot)
        if not verdict.candidate or verdict.base is None:
            return None
        above, below = verdict.weight
        return verdict.level, verdict.base * above, below

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
        active = self._blocks.active(self._blocks.around(process, snapshot))
        readings = self._readings(process, snapshot, hidden)
        held, level = _held(active, readings)
        why, because = ineligible(process, snapshot.own_pids), None
        if why is None:
            why, because = _excluded(active, readings)
        scores = [readings.scoring(one.value) for one in active.scores]
        bases = [instead(score, process.rss) for score in scores]
        base = fewest(bases)
        counts = bases.index(base)
        scored = active.scores[counts]
        above = math.prod(one.rule.factor[0] for one, _ in held)
        below = math.prod(one.rule.factor[1] for one, _ in held)
        common = math.gcd(above, below)
        points = 0 if base is None else base * above // below
        if why is None and base is None:
            why = Why.UNKNOWN_SCORE
        elif why is None:
            # Only the base excludes. However much it is spared, a process stays a candidate.
            why = Why.NO_POINTS if base is None or base < 1 else Why.CANDIDATE
        # All is decided. To say what was in doubt costs work of the same budget.
        return Verdict(
            why=why,
            rule=because and because.rule,
            tier=tier_of(level),
            base=base,
            score=scored.score,
            weight=(above // common, below // common),
            points=points,
            held=tuple(
                Held(
                    rule=one.rule,
                    surely=surely,
                    targets=one.targets,
                    doubts=() if surely else self._causes(one.when, readings.plain, readings.named),
                )
                for one, surely in held
            ),
            by_memory=scores[counts] is SELF_MADE,
            targets=because.targets if because else (),
            score_targets=scored.targets,
            score_doubts=(doubt.PLACE,) if any(one.in_doubt for one in active.scores) else (),
            doubts=self._causes(scored.value, readings.scoring, readings.named)
            if base is None and because is None
            else self._doubts(because, active, readings),
            own_doubts=self._own_doubts(active, readings) if readings.own else (),
            unreadable=process.unreadable if why is Why.UNREADABLE else "",
            degree=abs(level) or 1,
        )

    def _readings(self, process: Process, snapshot: Snapshot, hidden: frozenset[str]) -> _Readings:
        """Make what evaluates conditions; ``hidden`` attributes take too long to search."""
        own: set[str] = set()

        def reading(getters: dict[str, Getter], tells_apart: bool) -> Evaluate:
            def get(name: str) -> Any:
                value = SELF_MADE if name in hidden else getters[name](process, snapshot)
                if value is SELF_MADE:
                    if not tells_apart:
                        return None
                    own.add(name)
                return value

            return partial(nodes.reduce, get=get, names=Definitions(self._definitions, get))

        return _Readings(
            plain=reading(self._local.getters.plain, tells_apart=False),
            protecting=reading(self._local.getters.protecting, tells_apart=True),
            scoring=reading(self._local.getters.scoring, tells_apart=True),
            own=own,
            named=partial(self._local.causes, process, snapshot),
        )

    def _causes(
        self, node: Node, evaluate: Evaluate, named: doubt.Named, kind: Any = None
    ) -> tuple[str, ...]:
        return doubt.causes(node, evaluate, self._definitions, named, kind)

    def _doubts(
        self, because: ActiveRule | None, active: Active, readings: _Readings
    ) -> tuple[str, ...]:
        """Return what was unknown to the rule that excludes a process, if that is a doubt."""
        if because is None:
            return ()
        if because.rule.kind != "only":
            return self._causes(because.when, readings.plain, readings.named)
        names: list[str] = []
        for one in chain(*active.only):
            names += (doubt.PLACE,) if one.in_doubt else ()
            names += self._causes(one.when, readings.plain, readings.named)
        return tuple(dict.fromkeys(names))

    def _own_doubts(self, active: Active, readings: _Readings) -> tuple[str, ...]:
        """Return what rules or the score ask for, and the process made unknown."""
        rules = [*active.never, *active.last, *chain(*active.only)]
        rules += [one for one in active.weights if one.rule.kind == "spare"]
        asked = [(one.when, readings.protecting) for one in rules]
        asked += [(one.value, readings.scoring) for one in active.scores]
        causes = chain(*(self._causes(*one, readings.named, SELF_MADE) for one in asked))
        return tuple(dict.fromkeys(causes))


def _held(active: Active, readings: _Readings) -> tuple[list[tuple[ActiveRule, bool]], int]:
    """Return the first, last, prefer and spare rules that hold, and the level that they make.

    Of each rule it says whether it surely holds. What is in doubt protects: then a first or prefer
    rule does not hold, the others do.
    """
    held, level = _held_first(active, readings)
    for one in (*active.last, *active.weights):
        surely = readings.plain(one.when) is True
        if surely if one.rule.kind == "prefer" else readings.protecting(one.when) in (True, None):
            held.append((one, surely))
            if one.rule.kind == "last":
                level = max(level, one.rule.degree)
    return held, level


def _held_first(active: Active, readings: _Readings) -> tuple[list[tuple[ActiveRule, bool]], int]:
    """Return the first rules that hold, surely or not, and the level that they make."""
    asked = [
        First(
            degree=one.rule.degree,
            surely=readings.plain(one.when) is True,
            protecting=readings.protecting(one.when),
        )
        for one in active.first
    ]
    level = first_level(asked)
    known = {-one.degree for one in asked if one.surely or one.protecting is True}
    held = []
    for rule, one in zip(active.first, asked, strict=True):
        # In doubt a rule shows only where this doubt decides.
        decisive = level not in known and -one.degree == level and one.protecting is None
        if one.surely or (level and decisive):
            held.append((rule, one.surely))
    return held, level


def _excluded(active: Active, readings: _Readings) -> tuple[Why | None, ActiveRule | None]:
    """Return why rules make a process no candidate, and which one does; None where none does."""
    for one in active.never:
        if readings.protecting(one.when) in (True, None):
            surely = readings.plain(one.when) is True
            return Why.NEVER if surely else Why.NEVER_IN_DOUBT, one
    for level in active.only:
        # To be left out is a protection, which needs a doubt that is not of one's own making.
        if not any(readings.protecting(one.when) in (True, SELF_MADE) for one in level):
            return Why.OUTSIDE, level[0]
    return None, None
