"""What a setting of another tool becomes here: the record that all tools share.

A piece has sentences, or a reason why there are none, so no setting is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from oomrules.language.parser import LONGEST

# Why a setting has no sentence, or what is to be known of it. Settings with the same reason stand
# together in the rule file, below it.
REPEATED = "The tool takes the last of several, so these count for nothing."


class Untranslatable(Exception):
    """Nothing here says the same.

    Args:
        reason: why, in a sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Line(NamedTuple):
    """A line, or an argument, of the input.

    Attributes:
        place: where it stands, as ``file:line``.
        text: what stands there.
    """

    place: str
    text: str


@dataclass(frozen=True)
class Piece:
    """One setting, and what it becomes.

    Attributes:
        place: where it stands.
        said: the setting as it was written.
        sentences: the statements that say the same.
        reason: why there are no statements; empty if there are.
        notes: what a reader must know of these statements.
        adjusts: whether the setting is oom_score_adj, which a score may count already.
        when: whether the guards say it; ``reason`` is for where there are none.
    """

    place: str
    said: str
    sentences: tuple[str, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()
    adjusts: bool = False
    when: bool = False


@dataclass(frozen=True)
class Translation:
    """All that was read for one tool.

    Attributes:
        tool: its name.
        inputs: the files, or what stands for them.
        pieces: what each setting becomes, in order.
        differences: sentences about how the rules differ from the tool.
        guards: statements that say when to act.
        acts: sentences about how these differ from the tool.
        whole: whether the tool decides alone, without the weights that the shipped rules have.
        ignored: how many lines are empty or comments.
    """

    tool: str
    inputs: tuple[str, ...]
    pieces: tuple[Piece, ...]
    differences: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()
    ignored: int = 0
    whole: bool = False


# --- sentences -------------------------------------------------------------------------------


class Selector(NamedTuple):
    """Which processes: terms side by side, and conditions that must all hold.

    Attributes:
        terms: such as ``comm "x"``; ``anything`` if there is none.
        conditions: such as ``comm ~ "x"``.
    """

    terms: str = "anything"
    conditions: tuple[str, ...] = ()

    def also(self, condition: str) -> Selector:
        """Return a selector that asks for one thing more."""
        return Selector(self.terms, (*self.conditions, condition))

    def __str__(self) -> str:
        """Return it as it stands in a rule."""
        joined = " and ".join(self.conditions)
        return f"{self.terms} when {joined}" if joined else self.terms


def no_swap_or(condition: str) -> str:
    """Return a condition on free swap that holds where there is no swap, as it does for others.

    Here a share of a swap that is not there is unknown.
    """
    return f"(host.swap == 0B or {condition})"


# Of each tool that says when to act.
BOTH_ACT = (
    "As long as {tool} runs as well, both kill, each by its own choice: "
    "`systemctl disable --now {units}`."
)
SAMPLES = (
    "A guard looks several times a second where memory is short, takes one process, and takes the "
    "next one when that has ended and its memory is back."
)


def quoted(text: str) -> str:
    """Return a text in quotes, as it stands in a rule.

    Raises:
        Untranslatable: no text in quotes is the same.
    """
    if not text.isprintable():
        raise Untranslatable("A text in a rule has printable characters only.")
    if len(text) > LONGEST:
        raise Untranslatable(f"A text in a rule has {LONGEST} characters at most.")
    if text.endswith("\\"):
        raise Untranslatable("A text in a rule cannot end in a backslash.")
    return '"' + text.replace('"', '\\"') + '"'


def literal(text: str) -> str:
    """Return a glob, in quotes, that matches this text and no other."""
    return quoted("".join(f"[{char}]" if char in "*?[" else char for char in text))


# --- additions as factors ----------------------------------------------------------------------

# oom_score of /proc/PID: (1000 + thousandths held + oom_score_adj) * 2 / 3, in pages
# (proc_oom_score() in fs/proc/base.c, oom_badness() in mm/oom_kill.c of Linux 6.12).
OOM_SCORE = "score footprint + (oom_score_adj + 1000) * (host.totalpages / 1000)"
# Without what is above 0 of oom_score_adj.
NEGATIVE_ONLY = "score footprint + (min(oom_score_adj, 0) + 1000) * (host.totalpages / 1000)"
# The kernel passes over it, and its oom_score is 0.
PASSED_OVER = "never kill oom_score_adj -1000"
MEASURED = (
    "It compares oom_score, and so does the score below. Of processes whose oom_score is equal it "
    "takes the one with more resident memory."
)
ADDED = (
    "It adds points to oom_score, which is 667 for a process that holds nothing, and rules "
    "multiply: 300 points more are a factor of 1.45. For a process that holds a tenth of the "
    "memory, that is a tenth too much."
)

# An addition of so many thousandths of RAM + swap decides before what a process holds.
_DECISIVE = 450
_MOST = 1000
WEIGHED = (
    "It is added to what a process holds, and rules multiply. A tenth of RAM + swap, which is 100, "
    f"became a factor of 2; {_DECISIVE} and more became `kill first` or `kill last`, and -1000 "
    "`never kill`. presets/kernel.oom counts every oom_score_adj as the kernel does, and needs no "
    "such rule."
)


def added(share: int, selector: Selector) -> str:
    """Return the rule for an addition to oom_score, where ``OOM_SCORE`` is the score.

    Args:
        share: thousandths of RAM + swap; two thirds of a point each.
    """
    if share <= -_MOST:
        return f"never kill {selector}"
    if share > 0:
        return f"prefer {selector} by {_decimal(1 + share / _MOST)}"
    return f"spare {selector} by {_decimal(_MOST / (_MOST + share))}"


def weighed(share: int, selector: Selector) -> str:
    """Return the rule for an oom_score_adj, whatever the score is.

    A factor of 2 for each tenth of RAM + swap keeps what matters of a sum: more of it weighs more,
    and several additions for one process count together.

    Args:
        share: thousandths of RAM + swap.
    """
    if share <= -_MOST:
        return f"never kill {selector}"
    if abs(share) >= _DECISIVE:
        return f"kill {'first' if share > 0 else 'last'} {selector}"
    factor = _decimal(2 ** (abs(share) / 100))
    return f"{'prefer' if share > 0 else 'spare'} {selector} by {factor}"


def _decimal(factor: float) -> str:
    return f"{factor:.3f}".rstrip("0").rstrip(".")


def merged(tool: str, found: Sequence[Translation]) -> Translation:
    """Return the translations of several files of one tool as one."""
    return Translation(
        tool=tool,
        inputs=tuple(name for one in found for name in one.inputs),
        pieces=tuple(piece for one in found for piece in one.pieces),
        differences=tuple(dict.fromkeys(text for one in found for text in one.differences)),
        guards=tuple(dict.fromkeys(text for one in found for text in one.guards)),
        acts=tuple(dict.fromkeys(text for one in found for text in one.acts)),
        ignored=sum(one.ignored for one in found),
        whole=any(one.whole for one in found),
    )
