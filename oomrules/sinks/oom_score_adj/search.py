"""The search for values: which processes move, and where to.

The fewest changes exactly in one domain; the best of several attempts where there are more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from copy import copy

from oomrules.lean import NamedTuple
from oomrules.ranking.kernel_badness import LOWEST, UNKILLABLE, Domain, Task, badness

# With more of them, looking for needless changes one by one takes too long.
_MANY = 200

# Below every badness.
NOTHING = -(2**80)


class Margin(NamedTuple):
    """How far apart processes are kept, in steps of a thousandth of totalpages.

    Attributes:
        head: the part of the scale for a whole head, shared out among its neighbours. The shorter
            the head is, the further they are apart, up to the gap.
        gap: the distance between the head and every process behind it.
    """

    head: int
    gap: int


class Claim(NamedTuple):
    """What is true in one domain once the values are in force.

    Attributes:
        domain: the host, or a control group with a limit.
        candidates: how many compete there.
        wanted: how many of them were to be in order.
        claimed: how many are in order, counted from the worst and without ``above``.
        above: pids that no value gets below the worst candidate: they die before it.
        killable: protected pids that the kernel may still choose.
        stuck: the pid of the first that was to be in order and is not; or 0.
        apart: how far neighbours are apart, in steps, at least.
        gap: how far the head is above the rest, in steps, at least.
    """

    domain: Domain
    candidates: int
    wanted: int
    claimed: int
    above: tuple[int, ...]
    killable: tuple[int, ...]
    stuck: int
    apart: int
    gap: int


class Field:
    """One domain with its competitors.

    Args:
        number: of the domain in the plan's list.
        others: the processes that are no candidates but may be killed.
        few: whether to move no more processes behind a head than it is long.
    """

    def __init__(
        self,
        number: int,
        domain: Domain,
        candidates: Sequence[Task],
        others: Iterable[Task],
        margin: Margin,
        few: bool,
    ) -> None:
        self.number, self.domain, self.step = number, domain, domain.step
        mine = [task for task in candidates if number in task.domains]
        others = [task for task in others if number in task.domains]
        self.above: tuple[int, ...] = ()
        self.known = len(mine)
        if mine:
            reach = mine[0].size + mine[0].highest * self.step
            self.above = tuple(
                task.pid
                for task in (*mine[1:], *others)
                if self._least(task) + domain.margin(1) > reach
            )
        out = set(self.above)
        self.candidates = [task for task in mine if task.pid not in out]
        self.others = [task for task in others if task.pid not in out]
        self.wanted = min(domain.head, len(self.candidates))
        self.keep(max(1, min(margin.gap, margin.head // max(1, self.wanted))), margin.gap)
        # How many behind the head may be lowered for it.
        self._most = self.wanted if few else len(self.candidates) + len(self.others)
        self._solved: dict[int, tuple[frozenset[int], int] | None] = {}
        self._sorted: dict[int, list[tuple[int, Task]]] = {}

    def keep(self, apart: int, gap: int) -> None:
        """Set the distances, in steps."""
        self.apart, self.gap = apart, gap
        self.margin = self.domain.margin(apart)
        # What the gap has beyond the margin.
        self.extra = self.domain.margin(gap) - self.margin

    def halved(self) -> Field:
        """Return the field with half the distances, enough for values that are in force."""
        field = copy(self)
        field.keep(max(1, self.apart // 2), max(1, self.gap // 2))
        return field

    def _least(self, task: Task) -> int:
        """Return the lowest badness that a process can get here."""
        unkillable = task.original == UNKILLABLE
        return NOTHING if unkillable else task.size + max(task.lowest, LOWEST) * self.step

    def rest(self, head: int) -> list[tuple[int, Task]]:
        """Return the processes below a head, with the badness of their originals, largest first."""
        if head not in self._sorted:
            found = [
                (points, task)
                for task in (*self.candidates[head:], *self.others)
                if (points := badness(task.size, task.original, self.step)) is not None
            ]
            found.sort(key=lambda pair: -pair[0])
            self._sorted[head] = found
        return self._sorted[head]

    def solution(self, head: int) -> tuple[frozenset[int], int] | None:
        """Return the pids in a head that keep their originals, and the highest badness below it.

        None if a head of this length is out of reach.
        """
        if head not in self._solved:
            self._solved[head] = self._solve(head)
        return self._solved[head]

    def _solve(self, head: int) -> tuple[frozenset[int], int] | None:
        """Find the fewest changes.

        Let V be the highest badness below the head. Exactly the processes there that are above V
        have to be lowered. The lower V is, the fewer in the head have to move. So it is enough to
        try to lower none, the largest, the two largest, and so on, as long as these changes alone
        are fewer than the best so far.
        """
        below = self.rest(head)
        chain = self.candidates[:head][::-1]
        # thresholds[n] is V if the n largest are lowered as far as that takes.
        thresholds, least = [], NOTHING
        for points, task in below:
            thresholds.append(max(least, points))
            least = max(least, self._least(task))
        thresholds.append(least)
        if not self._fits(chain, self.over(thresholds[-1])):
            return None
        first = bisect_left(
            thresholds, True, key=lambda highest: self._fits(chain, self.over(highest))
        )
        if first > self._most:
            return None
        best, fewest = (frozenset[int](), thresholds[first]), len(thresholds) + head + 1
        for lowered, threshold in enumerate(thresholds[first:], first):
            if lowered >= fewest:
                break
            changes, stays = self._chain(chain, self.over(threshold))
            if lowered + changes < fewest:
                fewest, best = lowered + changes, (stays, threshold)
        return best

    def over(self, points: int) -> int:
        """Add the extra gap, so that a process behind the head needs the ordinary margin only."""
        return points if points == NOTHING else points + self.extra

    def next_value(self, task: Task, floor: int) -> int | None:
        """Return the lowest value that puts a process above a badness, by the margin."""
        least = max(task.lowest, LOWEST)
        if floor == NOTHING:
            return least if least <= task.highest else None
        missing = floor + self.margin - task.size
        if not self.step:
            return least if missing <= 0 else None
        value = max(least, -(-missing // self.step))
        return value if value <= task.highest else None

    def _fits(self, chain: Sequence[Task], floor: int) -> bool:
        """Return whether the scale is long enough if every process of a head may move."""
        for task in chain:
            value = self.next_value(task, floor)
            if value is None:
                return False
            floor = task.size + value * self.step
        return True

    def _chain(self, chain: Sequence[Task], floor: int) -> tuple[int, frozenset[int]]:
        """Find which of a head, the best-ranked last, can stay: a longest path over those that do.

        Returns:
            how many move, and the pids of those that stay.
        """
        length = len(chain)
        own = [badness(task.size, task.original, self.step) for task in chain]
        # By the last one that stays (-1: none yet): the fewest moved, and the one before it.
        fewest = [length + 1] * (length + 1)
        fewest[-1] = 0
        before = [-1] * length
        end, ended_with = length + 1, -1
        for start in range(-1, length):
            if fewest[start] > length:
                continue
            at = floor if start < 0 else own[start]
            assert at is not None
            for place in range(start + 1, length + 1):
                moved = fewest[start] + place - start - 1
                if place == length:
                    if moved < end:
                        end, ended_with = moved, start
                    break
                task, points = chain[place], own[place]
                fits = points is not None and (at == NOTHING or points >= at + self.margin)
                if fits and moved < fewest[place]:
                    fewest[place], before[place] = moved, start
                value = self.next_value(task, at)
                if value is None:
                    break
                at = task.size + value * self.step
        stays = set()
        while ended_with >= 0:
            stays.add(chain[ended_with].pid)
            ended_with = before[ended_with]
        return end, frozenset(stays)

    # --- what is true ----------------------------------------------------------------

    def length(self, values: Mapping[int, int]) -> int:
        """Return how many of the candidates are in order, from the formula alone."""
        needed = NOTHING
        for task in (*self.candidates[self.wanted :], *self.others):
            points = badness(task.size, values[task.pid], self.step)
            if points is not None:
                needed = max(needed, points + self.margin + self.extra)
        in_order = self.wanted
        for place, task in reversed(list(enumerate(self.candidates[: self.wanted]))):
            points = badness(task.size, values[task.pid], self.step)
            if points is None or points < needed:
                in_order = place
            if points is not None:
                needed = max(needed, points + self.margin)
        return in_order

    def claim(self, values: Mapping[int, int], loose: Iterable[Task]) -> Claim:
        """Return what is true of some values; the loose are protected, but may be killed."""
        length = self.length(values)
        stuck = self.candidates[length].pid if length < self.wanted else 0
        pids = {task.pid for task in loose}
        others = (task.pid for task in self.others)
        return Claim(
            domain=self.domain,
            candidates=self.known,
            wanted=self.wanted,
            claimed=length,
            above=self.above,
            killable=tuple(pid for pid in (*others, *self.above) if pid in pids),
            stuck=stuck,
            apart=self.apart,
            gap=self.gap,
        )


def attempt(
    fields: Sequence[Field],
    candidates: Sequence[Task],
    values: dict[int, int],
    lowering: tuple[bool, bool],
) -> dict[int, int]:
    """Assign values from the bottom up; heads that are out of reach are shortened.

    If the scale is too short for all heads, those of the control groups are shortened first,
    beginning with the group that took most of the scale, and then the host's.
    """
    heads = [field.wanted if field.step else 0 for field in fields]
    while True:
        # A shorter head is not always easier: the processes behind it have to keep the gap.
        for field in fields:
            while heads[field.number] and field.solution(heads[field.number]) is None:
                heads[field.number] -= 1
        assigned = dict(values)
        full = _assign(fields, candidates, assigned, heads, lowering)
        if full is None:
            _ease(fields, assigned, values, candidates)
            return assigned
        heads[full] -= 1


def _assign(
    fields: Sequence[Field],
    candidates: Sequence[Task],
    values: dict[int, int],
    heads: Sequence[int],
    lowering: tuple[bool, bool],
) -> int | None:
    """Set the value of every process of a head to the lowest one above all that rank below.

    Returns:
        the domain whose head has to be shortened; None if all fit.
    """
    places: dict[int, list[int]] = {}
    for field, head in zip(fields, heads, strict=True):
        for task in field.candidates[:head]:
            places.setdefault(task.pid, []).append(field.number)
    moved: set[int] = set()
    for field, head in zip(fields, heads, strict=True):
        if not head or not lowering[min(field.number, 1)]:
            continue
        solution = field.solution(head)
        assert solution is not None
        stays, threshold = solution
        moved |= {task.pid for task in field.candidates[:head]} - stays
        for points, task in field.rest(head):
            if points <= threshold:
                break
            if task.pid not in places:
                value = max(task.lowest, LOWEST, (threshold - task.size) // field.step)
                values[task.pid] = min(values[task.pid], value)
            moved.add(task.pid)
    floors = [
        _floor(field, head, values, places) for field, head in zip(fields, heads, strict=True)
    ]
    # How much of the scale a domain took beyond what the others needed.
    taken = [0] * len(fields)
    for task in reversed(candidates):
        if task.pid in places:
            needs = [(fields[n].next_value(task, floors[n]), n) for n in places[task.pid]]
            needed = sorted((need, n) for need, n in needs if need is not None)
            if len(needed) < len(needs):
                groups = [n for n in range(1, len(heads)) if heads[n] and taken[n]]
                out = [n for need, n in needs if need is None]
                return max(groups, key=lambda n: taken[n]) if groups else max(out)
            value, binding = needed[-1]
            if value <= task.original != UNKILLABLE and task.pid not in moved:
                value = task.original
            values[task.pid] = value
            other = max((need for need, _ in needed[:-1]), default=task.original)
            taken[binding] += max(0, value - max(other, task.original))
        for number in task.domains:
            own = badness(task.size, values[task.pid], fields[number].step)
            if own is not None and task.pid not in fields[number].above:
                inside = number in places.get(task.pid, ())
                floors[number] = max(floors[number], own if inside else fields[number].over(own))
    return None


def _floor(
    field: Field, head: int, values: Mapping[int, int], places: Mapping[int, list[int]]
) -> int:
    """Return the largest badness among the processes that are in no head at all."""
    highest = NOTHING
    for points, task in field.rest(head):
        if points <= highest:
            # They are sorted by their originals, and none of these has been raised.
            break
        if task.pid not in places:
            value = badness(task.size, values[task.pid], field.step)
            highest = max(highest, NOTHING if value is None else value)
    return field.over(highest)


def _ease(
    fields: Sequence[Field],
    values: dict[int, int],
    originals: Mapping[int, int],
    candidates: Sequence[Task],
) -> None:
    """Undo changes that turned out to be needless, and lower no process further than needed."""
    lengths = [field.length(values) for field in fields]
    tasks = {task.pid: task for field in fields for task in (*field.candidates, *field.others)}
    tasks = {pid: task for pid, task in tasks.items() if values[pid] != originals[pid]}
    # In one domain there are none.
    for pid, task in tasks.items() if len(fields) > 1 and len(tasks) < _MANY else ():
        planned = values[pid]
        values[pid] = originals[pid]
        mine = (fields[number] for number in task.domains)
        if any(field.length(values) < lengths[field.number] for field in mine):
            values[pid] = planned
    heads_of = [{task.pid for task in field.candidates[: field.wanted]} for field in fields]
    ranks = {task.pid: place for place, task in enumerate(candidates)}
    for pid, task in tasks.items():
        if values[pid] >= originals[pid] or UNKILLABLE in (values[pid], task.original):
            continue
        highest = originals[pid]
        for field in (fields[number] for number in task.domains):
            if not field.step or pid in field.above:
                continue
            distance = field.margin + (0 if pid in heads_of[field.number] else field.extra)
            for other in field.candidates[: lengths[field.number]]:
                points = badness(other.size, values[other.pid], field.step)
                if ranks[other.pid] < ranks.get(pid, len(ranks)) and points is not None:
                    highest = min(highest, (points - distance - task.size) // field.step)
        values[pid] = max(values[pid], highest)
