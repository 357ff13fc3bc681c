"""Regular expressions whose matching takes time linear in the text, whatever the text is.

The texts are chosen by processes, and Python's ``re`` goes back over a text as often as an
expression has ways to match it. So an expression is parsed by ``re``, and what it costs is
worked out. Where that is little, ``re`` itself looks for it. Else an automaton does, which means
the same. What no automaton can do is refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import lru_cache

from oomrules.lean import Any, NamedTuple
from oomrules.program.automaton import REPEATS, TEXT_BEGINS, WORK, Automaton, scoped

# re's own parser; its nodes are the only way to know what an expression means.
from re import _constants as sre  # isort: skip
from re import _parser as sre_parser  # isort: skip

# Characters of an expression; nested groups and repeats; places of its automaton, which are
# what each character of a text can cost; characters in the ranges of classes that ignore case,
# which re looks at one by one.
LONGEST = 4096
_DEEPEST = 50
MOST_PLACES = 500
_WIDEST = 30_000

# re is used where it takes at most this many steps for a text of this length. Two unbounded
# repeats that follow one another, or one that can begin anywhere, take more.
_TEXT = 4096
_FEW_STEPS = 1000 * _TEXT
_ENDLESS = 1 << 62


class Refused(ValueError):
    """An expression that cannot be matched in time linear in the text.

    ``help`` says what to write instead.
    """

    def __init__(self, message: str, help_: str) -> None:
        super().__init__(message)
        self.help = help_


class _Cost(NamedTuple):
    """The cost of a part of an expression: in how many ways re can match it, in how many steps.

    Where what follows does not match, re may try all ways.
    """

    ways: int
    steps: int


def check(pattern: str) -> None:
    """Check an expression without preparing it.

    Raises:
        Refused: it cannot be matched in linear time.
        re.error, OverflowError, RecursionError: it is no expression at all.
    """
    _analysed(pattern)


@lru_cache(maxsize=1024)
def finder(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether an expression is found anywhere in a text.

    Raises:
        see ``check``.
    """
    parsed, steps = _analysed(pattern)
    if steps > _FEW_STEPS:
        return Automaton(parsed)
    search = _quietly(re.compile, pattern).search
    per_character = 1 + steps // _TEXT

    def found(text: str) -> bool:
        # A step of re takes about a thirtieth of the time of one of an automaton.
        WORK.done += 1 + len(text) * per_character // 32
        return search(text) is not None

    return found


@lru_cache(maxsize=1024)
def beginning(pattern: str) -> str:
    """Return what a text begins with wherever an expression is found in it; often nothing.

    Raises:
        see ``check``.
    """
    parsed, _ = _analysed(pattern)
    items = list(parsed)
    anchored = items and items[0][0] is sre.AT and items[0][1] in TEXT_BEGINS
    if not anchored or parsed.state.flags & (re.IGNORECASE | re.MULTILINE):
        return ""
    found = ""
    for kind, argument in items[1:]:
        if kind is not sre.LITERAL:
            break
        found += chr(argument)
    return found


def _quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    with warnings.catch_warnings():
        # Python's notes about its own future are not about the rules.
        warnings.simplefilter("ignore")
        return function(*arguments)


def _analysed(pattern: str) -> tuple[Any, int]:
    """Return a parsed expression, and how many steps re may take for it in a long text."""
    if len(pattern) > LONGEST:
        raise Refused(
            f"this regular expression has {len(pattern)} characters, more than {LONGEST}",
            "put whole names into a list, and look for them with `in @list`",
        )
    parsed = _quietly(sre_parser.parse, pattern)
    measure = _Measure()
    cost = measure.all(parsed, parsed.state.flags, 0)
    if measure.wide > _WIDEST:
        raise Refused(
            f"this regular expression ignores the case of {measure.wide} characters in its ranges",
            "name fewer characters, or leave out the flag `i`",
        )
    starts = 1 if _anchored(parsed, parsed.state.flags) else _TEXT
    steps = _TEXT + starts * cost.steps
    if steps > _FEW_STEPS and measure.places(parsed) > MOST_PLACES:
        raise Refused(
            "this regular expression is too large: with its repeats written out it has "
            f"more than {MOST_PLACES} places",
            "repeat less often: `+` and `*` are one place, and `{1,500}` is 500",
        )
    return parsed, steps


_PLAIN = (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.AT, sre.FAILURE)
_CONDITION = 'ask for it with a condition of its own, as in `cmdline ~ "a" and not cmdline ~ "b"`'
_NOT_LINEAR = {
    sre.GROUPREF: ("a back reference", "write out what can stand there, or leave it open"),
    sre.GROUPREF_EXISTS: ("a choice by an earlier group", "write out both cases with `|`"),
    sre.ASSERT: ("a look around", _CONDITION),
    sre.ASSERT_NOT: ("a look around", _CONDITION),
    sre.ATOMIC_GROUP: ("a group that gives nothing back", "write a plain group `(…)`"),
    sre.POSSESSIVE_REPEAT: ("a repeat that gives nothing back", "leave out the `+` behind it"),
}


class _Measure:
    """Looks at every part of an expression once."""

    def __init__(self) -> None:
        self.wide = 0

    def all(self, items: Any, flags: int, depth: int) -> _Cost:
        """Return what a sequence costs."""
        if depth > _DEEPEST:
            raise Refused(
                f"this regular expression is nested more than {_DEEPEST} deep",
                "write it with fewer brackets",
            )
        ways, steps = 1, 0
        for kind, argument in items:
            part = self._one(kind, argument, flags, depth)
            steps = min(_ENDLESS, steps + ways * part.steps)
            ways = min(_ENDLESS, ways * part.ways)
        return _Cost(ways, steps + 1)

    def _one(self, kind: Any, argument: Any, flags: int, depth: int) -> _Cost:
        if kind in _NOT_LINEAR:
            what, help_ = _NOT_LINEAR[kind]
            raise Refused(
                f"this regular expression has {what}, for which no bound on the time is known",
                help_,
            )
        if kind is sre.IN:
            if flags & re.IGNORECASE:
                spans = [span for what, span in argument if what is sre.RANGE]
                self.wide += sum(last - first + 1 for first, last in spans)
            return _Cost(1, 1 + len(argument) // 16)
        if kind is sre.BRANCH:
            branches = [self.all(branch, flags, depth + 1) for branch in argument[1]]
            ways, steps = map(sum, zip(*branches, strict=True))
            return _Cost(min(_ENDLESS, ways), min(_ENDLESS, steps))
        if kind is sre.SUBPATTERN:
            if argument[1] & sre_parser.TYPE_FLAGS:
                # re itself is of two minds about what such a group can begin with.
                raise Refused(
                    "this regular expression changes within itself what a letter is",
                    "put the flag at its beginning, as in `(?a)`",
                )
            return self.all(argument[3], scoped(flags, argument), depth + 1)
        if kind in REPEATS:
            return _repeated(argument, self.all(argument[2], flags, depth + 1))
        if kind in _PLAIN:
            return _Cost(1, 1)
        raise Refused(
            f"this regular expression has {kind}, which is not known here", "leave it out"
        )

    def places(self, items: Any) -> int:
        """Count the places of the automaton, with repeats written out."""
        count = 0
        for kind, argument in items:
            if kind in REPEATS:
                low, high, body = argument
                endless = high is sre.MAXREPEAT
                times, forks = (max(low, 1), 1) if endless else (high, high - low)
                count += times * self.places(body) + forks
            elif kind is sre.BRANCH:
                count += 1 + sum(map(self.places, argument[1]))
            elif kind is sre.SUBPATTERN:
                count += self.places(argument[3])
            else:
                count += 1
        return count


def _repeated(argument: Any, body: _Cost) -> _Cost:
    low, high, _ = argument
    most = min(int(high), _TEXT)
    if body.ways == 1:
        ways = max(1, most - low + 1)
        return _Cost(ways, min(_ENDLESS, ways + most * body.steps))
    # Each time it is repeated there are as many ways again.
    exponent = min(most, 64)
    ways = min(_ENDLESS, body.ways ** (exponent + 1))
    return _Cost(ways, min(_ENDLESS, ways * body.steps))


def _anchored(items: Any, flags: int) -> bool:
    """Return whether a match can only begin where the text does."""
    for kind, argument in items:
        if kind is sre.AT and argument in TEXT_BEGINS:
            return argument is sre.AT_BEGINNING_STRING or not flags & re.MULTILINE
        if kind is sre.SUBPATTERN:
            return _anchored(argument[3], scoped(flags, argument))
        if kind is sre.BRANCH:
            return all(_anchored(branch, flags) for branch in argument[1])
        return False
    return False
