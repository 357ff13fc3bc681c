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
    """

    place: str
    said: str
    sentences: tuple[str, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Translation:
    """All that was read for one tool.

    Attributes:
        tool: its name.
        inputs: the files, or what stands for them.
        pieces: what each setting becomes, in order.
        differences: sentences about how the rules differ from the tool.
        guards: statements that say when to act. The language does not have them yet.
        ignored: how many lines are empty or comments.
    """

    tool: str
    inputs: tuple[str, ...]
    pieces: tuple[Piece, ...]
    differences: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    ignored: int = 0


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


# What an addition of a tenth of RAM + swap to a process's points is as a factor.
_TENTH = 2
# An addition of so many thousandths of RAM + swap decides before all others.
DECISIVE = 450
_MOST = 1000


def weighed(share: int, selector: Selector) -> str:
    """Return the rule for an addition to the points of some processes.

    Points of other tools are thousandths of RAM + swap and are added; here points are multiplied.
    A factor of 2 for each tenth keeps what matters of a sum: larger additions weigh more, and
    several of them for one process count together.

    Args:
        share: thousandths of RAM + swap, as in oom_score_adj.
    """
    if share <= -_MOST:
        return f"never kill {selector}"
    if abs(share) >= DECISIVE:
        return f"kill {'first' if share > 0 else 'last'} {selector}"
    factor = f"{_TENTH ** (abs(share) / 100):.2f}".rstrip("0").rstrip(".")
    return f"{'prefer' if share > 0 else 'spare'} {selector} by {factor}"


# The kernel's measure, as /proc/PID/oom_score has it. The processes below 0 stay candidates.
MEMORY = "score rss + swap + pgtables"

WEIGHED = (
    "It adds points, and rules multiply them. A tenth of RAM + swap (100 in oom_score_adj, 67 in "
    "oom_score) became a factor of 2; "
    f"{DECISIVE / 10:g} % or more became `kill first` or `kill last`, and -100 % became `never "
    "kill`."
)


def merged(tool: str, found: Sequence[Translation]) -> Translation:
    """Return the translations of several files of one tool as one."""
    return Translation(
        tool=tool,
        inputs=tuple(name for one in found for name in one.inputs),
        pieces=tuple(piece for one in found for piece in one.pieces),
        differences=tuple(dict.fromkeys(text for one in found for text in one.differences)),
        guards=tuple(dict.fromkeys(text for one in found for text in one.guards)),
        ignored=sum(one.ignored for one in found),
    )
