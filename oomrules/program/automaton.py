"""An automaton that looks for a regular expression in time linear in the text.

The places of an expression are followed all at once through a text (Thompson, "Regular
expression search algorithm", CACM 11(6), 1968). Sets of places become states as texts need
them, and what is known of states is remembered. What a single character or class matches is
asked of ``re`` itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from oomrules.lean import Any

# The nodes of re's own parser are the only way to know what an expression means.
from re import _constants as sre  # isort: skip

# How much is remembered. Beyond it everything is forgotten and worked out again.
_MOST_STATES = 250
_MOST_STEPS = 1000
_MOST_CHARACTERS = 4096

REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
TEXT_BEGINS = (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING)


class TooMuchWork(Exception):
    """A search took more than is allowed for one process."""


class Work:
    """Counts what matching costs, in places that an automaton has looked at.

    A place takes about half a microsecond.
    """

    def __init__(self) -> None:
        self.done = 0
        self.limit = 1 << 62

    def begin(self, limit: int) -> None:
        """Count anew, up to a limit."""
        self.done, self.limit = 0, limit


WORK = Work()


def scoped(flags: int, group: Any) -> int:
    """Return the flags inside a group."""
    return int((flags | group[1]) & ~group[2])


# --- anchors -------------------------------------------------------------------------------

# What stands on the two sides of a gap between characters.
_BEGIN, _AFTER_LINE, _AFTER_WORD, _AFTER_ASCII_WORD = 1, 2, 4, 8
_END, _LINE, _WORD, _ASCII_WORD, _LAST_LINE = 16, 32, 64, 128, 256
# The right side of a gap is the left side of the next one.
_BECOMES = {_LINE: _AFTER_LINE, _WORD: _AFTER_WORD, _ASCII_WORD: _AFTER_ASCII_WORD}

_IS_WORD = re.compile(r"\w").match
_IS_ASCII_WORD = re.compile(r"\w", re.ASCII).match

# Python 3.14 finds one there, earlier ones do not.
_NO_BOUNDARY_IN_NOTHING = re.search(r"\B", "") is not None

_BOUNDARIES = (sre.AT_BOUNDARY, sre.AT_NON_BOUNDARY)
_WORDS, _ASCII_WORDS = (_AFTER_WORD, _WORD), (_AFTER_ASCII_WORD, _ASCII_WORD)

Holds = Callable[[int], bool]


def _boundary(before: int, behind: int, wanted: bool) -> Holds:
    def holds(context: int) -> bool:
        if context & _BEGIN and context & _END:
            return _NO_BOUNDARY_IN_NOTHING and not wanted
        return (bool(context & before) is not bool(context & behind)) is wanted

    return holds


def _assertion(kind: Any, flags: int) -> tuple[int, Holds]:
    """Return the sides that matter to an anchor, and what it asks of them."""
    if kind in _BOUNDARIES:
        before, behind = _ASCII_WORDS if flags & re.ASCII else _WORDS
        sides = _BEGIN | _END | before | behind
        return sides, _boundary(before, behind, kind is sre.AT_BOUNDARY)
    sides = _BEGIN if kind in TEXT_BEGINS else _END
    if flags & re.MULTILINE:
        sides |= {sre.AT_BEGINNING: _AFTER_LINE, sre.AT_END: _LINE}.get(kind, 0)
    elif kind is sre.AT_END:
        sides |= _LAST_LINE
    return sides, lambda context: bool(context & sides)


_CATEGORIES = {
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_NOT_DIGIT: r"\D",
    sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S",
    sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}


def _written(kind: Any, argument: Any) -> str:
    """Return a node that stands for one character as an expression."""
    if kind is sre.ANY:
        return "."
    if kind is sre.NOT_LITERAL:
        return f"[^{_written(sre.LITERAL, argument)}]"
    if kind is sre.IN:
        return f"[{''.join(_written(*item) for item in argument)}]"
    if kind is sre.RANGE:
        return "-".join(_written(sre.LITERAL, code) for code in argument)
    if kind is sre.NEGATE:
        return "^"
    return _CATEGORIES[argument] if kind is sre.CATEGORY else f"\\U{argument:08x}"


@lru_cache(maxsize=512)
def _single(kind: Any, argument: Any, flags: int) -> Callable[[str], object]:
    """Return a function that tells whether a node stands for a character."""
    if kind is sre.LITERAL and not flags & re.IGNORECASE:
        return chr(argument).__eq__
    kept = re.ASCII | re.IGNORECASE | re.DOTALL
    return re.compile(_written(kind, argument), flags & kept).match


# --- places and states ---------------------------------------------------------------------

# The place where a match ends, and the state in which there is one.
_MATCH = 0
_FOUND = -1


class Automaton:
    """An expression, looked for without going back.

    A place is a character to come, an anchor, or a fork. Sets of places are numbers, with a
    bit for each place.

    Args:
        parsed: an expression as re's parser gives it; each place costs for each character.
    """

    def __init__(self, parsed: Any) -> None:
        self._ways: list[tuple[int, ...]] = [()]
        self._holds: dict[int, Holds] = {}
        self._asked: dict[Any, int] = {}  # what a character is asked, and the places that ask it
        self._relevant = 0
        self._start = self._sequence(parsed, parsed.state.flags, _MATCH)
        self._asking = 1 << _MATCH | sum(self._asked.values())
        self._closed: dict[tuple[int, int], int] = {}
        # Characters that no place tells apart are of one kind, and written as one symbol.
        self._symbols: dict[int, str] = {}
        self._kinds: dict[tuple[int, int], int] = {}
        self._kind_of: list[tuple[int, int]] = []
        # A state is a number here: what it is, and where the symbols lead that have been met.
        self._states: list[tuple[int, int]] = []
        self._steps: list[dict[str, int]] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._known_steps = 0

    # --- places

    def _place(self, *ways: int) -> int:
        self._ways.append(ways)
        return len(self._ways) - 1

    def _sequence(self, items: Any, flags: int, then: int) -> int:
        """Put the places of a sequence in front of a place; return the first of them."""
        for kind, argument in reversed(list(items)):
            then = self._item(kind, argument, flags, then)
        return then

    def _item(self, kind: Any, argument: Any, flags: int, then: int) -> int:
        if kind in REPEATS:
            return self._repeat(argument, flags, then)
        if kind is sre.SUBPATTERN:
            return self._sequence(argument[3], scoped(flags, argument), then)
        if kind is sre.BRANCH:
            return self._place(*(self._sequence(one, flags, then) for one in argument[1]))
        if kind is sre.FAILURE:
            return self._place()
        place = self._place(then)
        if kind is sre.AT:
            relevant, self._holds[place] = _assertion(argument, flags)
            self._relevant |= relevant
        else:
            asked = (kind, tuple(argument) if kind is sre.IN else argument, flags)
            self._asked[asked] = self._asked.get(asked, 0) | 1 << place
        return place

    def _repeat(self, argument: Any, flags: int, then: int) -> int:
        low, high, body = argument
        times: int = low
        if high is sre.MAXREPEAT:
            again = self._place()
            self._ways[again] = (self._sequence(body, flags, again), then)
            then = again
            if low:
                # The last of those that there must be is the one that comes again.
                then, times = self._ways[again][0], low - 1
        else:
            end = then
            for _ in range(high - low):
                then = self._place(self._sequence(body, flags, then), end)
        for _ in range(times):
            then = self._sequence(body, flags, then)
        return then

    # --- a text

    def __call__(self, text: str) -> bool:
        """Return whether the expression is found anywhere in a text."""
        WORK.done += 1 + len(text) // 8
        if len(self._symbols) > _MOST_CHARACTERS:
            self._symbols.clear()
        for code in set(map(ord, text)) - self._symbols.keys():
            self._learn(code)
        # `$` holds before a line end that is the last character.
        ends_line = text.endswith("\n")
        symbols = (text[:-1] if ends_line else text).translate(self._symbols)
        last = (self._symbols[ord("\n")] + "$", "") if ends_line else ("",)
        steps = self._steps
        state = self._number(1 << self._start, _BEGIN)
        for part in (symbols, last):
            for symbol in part:
                following = steps[state].get(symbol)
                if following is None:
                    following = self._follow(state, symbol)
                if following == _FOUND:
                    return True
                state = following
        return False

    def _learn(self, code: int) -> None:
        """Work out the kind of a character."""
        char = chr(code)
        WORK.done += len(self._asked)
        moves = sides = 0
        for asked, places in self._asked.items():
            if _single(*asked)(char):
                moves |= places
        sides |= _LINE if char == "\n" else 0
        sides |= _WORD if _IS_WORD(char) else 0
        sides |= _ASCII_WORD if _IS_ASCII_WORD(char) else 0
        kind = (moves, sides)
        if kind not in self._kinds:
            self._kinds[kind] = len(self._kind_of)
            self._kind_of.append(kind)
        self._symbols[code] = chr(self._kinds[kind])

    def _number(self, places: int, before: int) -> int:
        """Return the number of a state."""
        key = (places, before & self._relevant)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._states)
            self._states.append(key)
            self._steps.append({})
        return number

    def _follow(self, state: int, symbol: str) -> int:
        """Work out where a symbol leads from a state, and remember it."""
        at, before = self._states[state]
        moves, sides = self._kind_of[ord(symbol[0])] if symbol else (0, _END)
        if len(symbol) > 1:
            sides |= _LAST_LINE
        context = (before | sides) & self._relevant
        here = 0
        for place in _bits(at):
            here |= self._closure(place, context)
        there = here & moves
        WORK.done += 4 + at.bit_count() + there.bit_count()
        known = self._steps[state]
        if here >> _MATCH & 1:
            following = _FOUND
        else:
            # A match may begin anywhere.
            places = 1 << self._start
            for place in _bits(there):
                places |= 1 << self._ways[place][0]
            after = sum(left for right, left in _BECOMES.items() if sides & right)
            self._forget()
            following = self._number(places, after)
        known[symbol] = following
        self._known_steps += 1
        return following

    def _forget(self) -> None:
        """Forget all states once too much is remembered."""
        if len(self._states) >= _MOST_STATES or self._known_steps >= _MOST_STEPS:
            self._states.clear()
            self._steps.clear()
            self._numbers.clear()
            self._known_steps = 0

    def _closure(self, place: int, context: int) -> int:
        """Return the places that are reached from one without a character, where anchors hold."""
        found = self._closed.get((place, context))
        if found is None:
            seen, left, found = {place}, [place], 0
            while left:
                at = left.pop()
                if self._asking >> at & 1:
                    found |= 1 << at
                elif at not in self._holds or self._holds[at](context):
                    new = [way for way in self._ways[at] if way not in seen]
                    seen.update(new)
                    left += new
            # There are at most as many as places, for each of a few contexts. So they are kept for
            # good, and no text can cause this work twice.
            self._closed[place, context] = found
        return found


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
