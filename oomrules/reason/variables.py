"""The questions of conditions, as variables, and the sets of the possible answers.

A variable is one question that has one answer for a process: an attribute, a sum of
attributes that is compared with constants, whether a capability is there, whether a
target's unit is around. *Unknown* is an answer of its own, so that three-valued logic
becomes plain sets. An uncertain ``never`` holds for the values that satisfy it and for the
unknown one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, lru_cache
from math import inf
from typing import Any, NamedTuple

from oomrules.attributes import Type
from oomrules.processes.containers import QOS_CLASSES, RUNTIMES
from oomrules.processes.units import UNIT_SUFFIXES
from oomrules.program.program import PART_OF, USER_UNIT, WANTED_BY
from oomrules.reason import globs
from oomrules.reason.arithmetic import entry, mentioned, span, whole_beside
from oomrules.reason.globs import Texts
from oomrules.reason.numbers import Numbers, whole

UNKNOWN = "unknown"
TRUE, FALSE = "true", "false"
IN, OUT, DOUBT = "in", "out", "doubt"
NOTHING_BY_NOTHING = "0/0"


class Variable(NamedTuple):
    """A question of one of these kinds.

    ``number``, ``share`` (of the memory limit, or of ``whole_beside``): the canonical node;
    ``order``: two of them; ``text``, ``flag``: the attribute; ``cap``: the bit; ``unit``: globs
    on the names of the innermost unit; ``search``: attribute and expression; ``same``: two texts;
    ``in``: the target of a block; ``kin``: ``under`` or ``child``, and the condition of ancestors.
    """

    kind: str
    key: Any

    @property
    def attributes(self) -> frozenset[str]:
        """The attributes that the question is about, and ``capabilities``."""
        match self.kind:
            case "share" if whole_beside(self.key):
                return mentioned(self.key) | {whole_beside(self.key)}
            case "number" | "order" | "share":
                return mentioned(self.key)
            case "same":
                return frozenset(self.key)
            case "search":
                return frozenset([self.key[0]])
            case "text" | "flag":
                return frozenset([self.key])
        one = {"cap": "capabilities", "unit": "unit", "in": "cgroup", "kin": "ppid"}[self.kind]
        return frozenset([one])


@dataclass(frozen=True, slots=True)
class Values:
    """Answers: numbers or texts, and others that have names."""

    known: Numbers | Texts | None
    others: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.others) or bool(self.known)

    def __and__(self, other: Values) -> Values:
        return Values(_both(operator.and_, self.known, other.known), self.others & other.others)

    def __or__(self, other: Values) -> Values:
        return Values(_both(operator.or_, self.known, other.known), self.others | other.others)

    def __sub__(self, other: Values) -> Values:
        return Values(_both(operator.sub, self.known, other.known), self.others - other.others)

    @property
    def must_be_known(self) -> bool:
        """Whether *unknown* is not among the answers."""
        return not self.others & {UNKNOWN, DOUBT}

    @property
    def must_be_unknown(self) -> bool:
        """Whether *unknown* is the only answer."""
        return self.others in ({UNKNOWN}, {DOUBT}) and not self.known


# A box: the answers that a process in it may have, for each variable that is asked for.
Box = dict[Variable, Values]


def _both(operation: Callable[[Any, Any], Any], one: Any, two: Any) -> Any:
    if one is not None and two is not None:
        return operation(one, two)
    if operation is operator.and_:
        return None
    return two if one is None and operation is operator.or_ else one


def only(*others: str) -> Values:
    """Return values with these named answers only."""
    return Values(None, frozenset(others))


@cache
def attribute(name: str) -> Variable:
    """Return the variable that asks for the value of an attribute."""
    kind = entry(name).type
    if kind in (Type.TEXT, Type.BOOLEAN):
        return Variable("text" if kind is Type.TEXT else "flag", name)
    return Variable("number", ("attr", name))


def named(target: str) -> bool:
    """Return whether a target names units of the system, and not what they belong to."""
    return not target.startswith((WANTED_BY, PART_OF, USER_UNIT))


def of_user(target: str) -> bool:
    """Return whether a target names units of users' managers."""
    return target.startswith(USER_UNIT)


def in_cgroup(target: str) -> bool:
    """Return whether the control group of a process decides if it is in a block."""
    return named(target) or of_user(target)


# --- domains ---

STATES = ("R", "S", "D", "Z", "T", "t", "W", "X", "x", "K", "P", "I")
COMM_LENGTH = 15  # TASK_COMM_LEN without the final zero, include/linux/sched.h
# The possible names of a unit around a process.
UNIT_NAMES = globs.matching(tuple("*" + suffix for suffix in UNIT_SUFFIXES))
SLICES = globs.matching(("*.slice",))
_OF_TEXT: dict[str, Texts] = {
    "comm": globs.everything(COMM_LENGTH),
    "parent.comm": globs.everything(COMM_LENGTH),
    "state": globs.literal(*STATES),
    "unit": UNIT_NAMES | globs.literal(""),
    "slice": SLICES,
    "user.unit": UNIT_NAMES | globs.literal(""),
    "user.slice": SLICES | globs.literal(""),
    "container.runtime": globs.literal("", *RUNTIMES),
    "pod.qos": globs.literal("", *QOS_CLASSES),
}
# The units of the system below which users' managers keep theirs.
MANAGERS = globs.matching(("user@*.service",))


@lru_cache(maxsize=8192)
def domain(variable: Variable) -> Values:
    """Return all answers that a question can have."""
    kind, key = variable
    unknown = frozenset([UNKNOWN])
    if kind == "number":
        return Values(whole(*span(key)), frozenset() if key == ("attr", "pid") else unknown)
    if kind == "share":
        low, _ = span(key)
        least = Fraction(0) if low >= 0 else -inf
        # A share of nothing is unknown, but no memory is every share of a limit of 0.
        others = unknown if whole_beside(key) else unknown | {NOTHING_BY_NOTHING}
        return Values(Numbers((((least, 0), (inf, 0)),)), others)
    if kind == "order":
        return only("=", UNKNOWN) if key[0] == key[1] else only("<", "=", ">", UNKNOWN)
    if kind == "text":
        return Values(_OF_TEXT.get(key, globs.everything()), unknown)
    if kind == "in":
        return only(IN, OUT, DOUBT)
    return only(TRUE, FALSE, UNKNOWN)


@lru_cache(maxsize=8192)
def known(variable: Variable) -> Values:
    """Return all answers but *unknown*."""
    found = domain(variable)
    return replace(found, others=found.others - {UNKNOWN, DOUBT})
