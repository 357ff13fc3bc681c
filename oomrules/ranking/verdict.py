"""What a program says of one process: a candidate or not, why, and with how many points."""

from __future__ import annotations

from enum import Enum

from oomrules.lean import NamedTuple
from oomrules.program.program import Rule, Score
from oomrules.ranking.tiers import FIRST, LAST


# ``re`` loads ``enum`` in any case, and this is one small class.
class Why(Enum):
    """Why a process is a candidate, or is none; the value is the text that people read."""

    CANDIDATE = ""
    # The kernel or oomrules itself decides: no rule can make it a candidate.
    INIT = "the init process"
    KERNEL_THREAD = "a kernel thread"
    ZOMBIE = "a zombie"
    EXITING = "exiting already"
    NO_MEMORY = "has no memory of its own"
    UNREADABLE = "in doubt: its {fields} could not be read"
    OURSELVES = "oomrules itself"
    # A rule decides.
    NEVER = "never killed"
    NEVER_IN_DOUBT = "never killed, in doubt"
    OUTSIDE = "outside what may be killed"
    # The score decides.
    UNKNOWN_SCORE = "its score is unknown"
    NO_POINTS = "its score is 0 or less"


_BY_RULE = (Why.NEVER, Why.NEVER_IN_DOUBT, Why.OUTSIDE)
_ELIGIBLE = (Why.CANDIDATE, *_BY_RULE, Why.UNKNOWN_SCORE, Why.NO_POINTS)


class Held(NamedTuple):
    """A rule that had an effect on a process.

    Attributes:
        rule: it.
        surely: False where it was in doubt.
        targets: the units of the block that it stands in, outermost first.
        doubts: what was unknown, where it was in doubt (``doubt.causes``).
    """

    rule: Rule
    surely: bool
    targets: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """What a program says of one process.

    Attributes:
        why: why it is a candidate, or none.
        rule: the rule behind that, if it is a rule's.
        tier: ``FIRST``, ``NORMAL`` or ``LAST``.
        base: the value of the score, None if unknown.
        score: the score that counts.
        weight: the product of the factors, in lowest terms.
        points: base times weight, rounded down. A candidate may have 0.
        held: the prefer, spare, first and last rules that hold.
        by_memory: whether the process made the score unknown by itself, and counts by its
            resident memory.
        targets: the units of the block that ``rule`` stands in, outermost first.
        score_targets: those of the block that the score stands in.
        score_doubts: what was unknown, where it is in doubt which score counts.
        doubts: what was unknown, where ``why`` is a doubt (``doubt.causes``).
        own_doubts: what the process or its user made unknown, so that a rule that asks for it
            does not protect it, or the score does not count.
        unreadable: the fields that could not be read, where ``why`` is that.
        degree: how far out the tier is, from 1 (``kill last … by 3``).
    """

    why: Why
    rule: Rule | None
    tier: int
    base: int | None
    score: Score | None
    weight: tuple[int, int]
    points: int
    held: tuple[Held, ...]
    by_memory: bool = False
    targets: tuple[str, ...] = ()
    score_targets: tuple[str, ...] = ()
    score_doubts: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    own_doubts: tuple[str, ...] = ()
    unreadable: str = ""
    degree: int = 1

    @property
    def level(self) -> int:
        """The tier with its degree, as one number (``tiers``)."""
        return {FIRST: -self.degree, LAST: self.degree}.get(self.tier, 0)

    @property
    def candidate(self) -> bool:
        """Whether the process may be killed."""
        return self.why is Why.CANDIDATE

    @property
    def eligible(self) -> bool:
        """Whether rules and the score decide about the process (``evaluator.ineligible``)."""
        return self.why in _ELIGIBLE

    @property
    def reason(self) -> str:
        """Why the process is no candidate, in words; empty for a candidate."""
        return self.why.value.format(fields=self.unreadable)

    @property
    def fraction(self) -> str:
        """The weight as people write it: ``1/8``, or ``2``."""
        above, below = self.weight
        return str(above) if below == 1 else f"{above}/{below}"
