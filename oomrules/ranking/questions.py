"""Conditions and scores of one process whose values are not all known.

``Reader`` works out what a node may come to. Where the same unknown value is asked for more than
once, cases are told apart: in each of them it is fixed, to a truth value or to an interval between
the numbers that rules compare it with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.lean import Any
from oomrules.processes.snapshot import Process
from oomrules.program import expressions, nodes
from oomrules.program.automaton import TooMuchWork
from oomrules.program.nodes import SELF_MADE, Node, OverBudget
from oomrules.ranking.spans import (
    ANY,
    ANYTHING,
    EITHER,
    FALSE,
    OWN,
    TRUE,
    UNKNOWN,
    Span,
    calculated,
    compared,
    conjunction,
    disjunction,
    negation,
    only,
    settled,
    span_of,
)
from oomrules.ranking.unknowns import PLAIN, Open, Unknowns

# What is asked more than once: an attribute, a capability, or another comparison by its text.
Key = tuple[str, Any]
_TEXTS = ("glob", "search", "among")
_WILD = re.compile(r"[*?\[]")


class Reader:
    """What nodes may come to for one process.

    Args:
        unknowns: tells what its attributes may be.
        fixed: of what is asked more than once, the truth value or the span in this case.
        hidden: its attributes that take too long to search, which is its own doing.
        looked: what has been looked up, for all cases of this process.
    """

    def __init__(
        self,
        unknowns: Unknowns,
        definitions: Mapping[str, Node],
        process: Process,
        fixed: Mapping[Key, Any],
        hidden: frozenset[str],
        looked: dict[tuple[str, Any], Any],
    ) -> None:
        self.process = process
        self.fixed = fixed
        self._unknowns = unknowns
        self._definitions = definitions
        self._hidden = hidden
        self._looked = looked
        self._named: dict[tuple[str, str], int] = {}

    def look(self, name: str, reading: str) -> Any:
        """Return the value of an attribute, or what it may be."""
        key = name, reading
        if key not in self._looked:
            if name in self._hidden:
                value: Any = None if reading == PLAIN else SELF_MADE
            else:
                value = self._unknowns.look(name, self.process, reading)
            self._looked[key] = value
        return self._looked[key]

    # --- conditions ------------------------------------------------------------------------

    def truths(self, node: Node, reading: str) -> int:
        """Return the set of what a condition may come to."""
        kind = node[0]
        if kind == "attr":
            value = self.look(node[1], reading)
            return self._fixed(("attr", node[1]), value) if _is_open(value) else only(value)
        if kind == "cap":
            value = self.look("capabilities", reading)
            if _is_open(value):
                return self._fixed(("cap", node[1]), value)
            return only(value if value in (None, SELF_MADE) else bool(value >> node[1] & 1))
        if kind == "name":
            return self._definition(node[1], reading)
        if kind in nodes.DOUBTS:
            return ANY if kind == "unknown" else OWN
        if kind == "not":
            return negation(self.truths(node[1], reading))
        if kind in ("and", "or"):
            return self._connected(node, reading)
        found = self._compared(node, reading)
        if found & EITHER == EITHER and self.fixed:
            fixed: int = self.fixed.get(("case", repr(node)), EITHER)
            found = found & ~EITHER | fixed
        return found

    def _fixed(self, key: Key, value: Open) -> int:
        truths: int = self.fixed.get(key, value.truths)
        return truths | value.also

    def _definition(self, name: str, reading: str) -> int:
        key = name, reading
        if key not in self._named:
            self._named[key] = self.truths(self._definitions[name], reading)
        return self._named[key]

    def _connected(self, node: Node, reading: str) -> int:
        connect, settles = (disjunction, TRUE) if node[0] == "or" else (conjunction, FALSE)
        found = EITHER ^ settles
        for part in node[1:]:
            found = connect(found, self.truths(part, reading))
            if found == settles:
                break
        return found

    def _compared(self, node: Node, reading: str) -> int:
        kind = node[0]
        if kind in _TEXTS:
            return self._matched(node, reading)
        if any(map(_is_text, node[1:])):
            return self._same_text(node, reading)
        if any(map(_is_condition, node[1:])):
            return self._same_truth(node, reading)
        return compared(kind, self.span(node[1], reading), self.span(node[2], reading))

    def _matched(self, node: Node, reading: str) -> int:
        """Return whether a text matches globs or an expression."""
        kind, subject, *patterns = node
        text = self._text(subject, reading)
        if _is_open(text):
            impossible = kind != "search" and text.never and set(patterns) <= set(text.never)
            found = FALSE if impossible else matched_below(text.within, kind, patterns)
            doubts: int = text.also
            return found | doubts
        if text is None or text is SELF_MADE:
            return only(text)
        key = "(matched)", id(node)
        if key not in self._looked:
            try:
                self._looked[key] = only(bool(nodes.STRICT[kind](text, *patterns)))
            except TooMuchWork as error:
                raise OverBudget(str(subject[1])) from error
        return int(self._looked[key])

    def _same_text(self, node: Node, reading: str) -> int:
        one, other = (self._text(part, reading) for part in node[1:])
        doubts = 0
        for text in (one, other):
            doubts |= text.also if _is_open(text) else 0
            doubts |= only(text) if text is None or text is SELF_MADE else 0
        if None in (one, other):
            return UNKNOWN
        if SELF_MADE in (one, other):
            return doubts
        if _is_open(one) or _is_open(other):
            opened, text = (one, other) if _is_open(one) else (other, one)
            differ = not _is_open(text) and (
                text in opened.never or not _may_begin(opened.within, text)
            )
            found = FALSE if differ else EITHER
        else:
            found = only(one == other)
        return doubts | (found if node[0] == "==" else negation(found))

    def _same_truth(self, node: Node, reading: str) -> int:
        one, other = (self.truths(part, reading) for part in node[1:])
        found = (one | other) & (UNKNOWN | OWN)
        same = TRUE if one & other & EITHER else 0
        differ = FALSE if (one & TRUE and other & FALSE) or (one & FALSE and other & TRUE) else 0
        both = same | differ
        return found | (both if node[0] == "==" else negation(both))

    def _text(self, node: Node, reading: str) -> Any:
        return node[1] if node[0] == "text" else self.look(node[1], reading)

    # --- numbers ---------------------------------------------------------------------------

    def span(self, node: Node, reading: str) -> Span:
        """Return the span of what a number may come to."""
        kind = node[0]
        if kind == "number":
            return Span(node[1], node[1])
        if kind == "attr":
            value = self.look(node[1], reading)
            if not _is_open(value):
                return span_of(value)
            span = self.fixed.get(("attr", node[1]), value.span)
            return Span(span.least, span.most, value.also)
        if kind in nodes.DOUBTS:
            return ANYTHING if kind == "unknown" else span_of(SELF_MADE)
        return calculated(kind, [self.span(part, reading) for part in node[1:]])

    # --- what is open ------------------------------------------------------------------------

    def undecided(self, node: Node, reading: str) -> Iterator[Node]:
        """Yield the parts of a condition or a score that make it open, attributes of a score."""
        if _is_number(node):
            for part in nodes.walk(node):
                if part[0] == "unknown" or (
                    part[0] == "attr" and _is_open(self.look(part[1], reading))
                ):
                    yield part
            return
        yield from self._undecided(node, reading, set())

    def _undecided(self, node: Node, reading: str, seen: set[str]) -> Iterator[Node]:
        if settled(self.truths(node, reading)):
            return
        kind = node[0]
        if kind in ("and", "or", "not"):
            for part in node[1:]:
                yield from self._undecided(part, reading, seen)
        elif kind == "name":
            # Definitions that use others twice have exponentially many ways through them.
            if node[1] not in seen:
                seen.add(node[1])
                yield from self._undecided(self._definitions[node[1]], reading, seen)
        else:
            yield node

    def asked(self, node: Node, reading: str) -> Iterator[str]:
        """Yield the attributes that are not known in such a part; empty for a block's unit."""
        for part in nodes.walk(node):
            if part[0] == "unknown":
                yield ""
            name = "capabilities" if part[0] == "cap" else part[1] if part[0] == "attr" else None
            if name is not None and _is_open(self.look(name, reading)):
                yield name

    def key(self, node: Node, reading: str) -> tuple[Key, frozenset[int]] | None:
        """Return what such a part asks, with the numbers at which its answer may change.

        None where the part has no answer that it would have to give a second time.
        """
        kind = node[0]
        if kind == "attr":
            # Of relations each reading has an answer of its own.
            return None if node[1].startswith("(") else (("attr", node[1]), frozenset())
        if kind == "cap":
            return ("cap", node[1]), frozenset()
        if any(part[0] == "unknown" for part in nodes.walk(node)):
            return None
        if kind in nodes.COMPARISONS:
            for one, other in (node[1:], node[:0:-1]):
                found = _multiple(one)
                if found is not None and _is_open(self.look(found[0], reading)):
                    limit = None if _is_text(other) or _is_condition(other) else other
                    span = limit and self.span(limit, reading)
                    if span and span.exact:
                        name, times = found
                        cuts = {-(-span.least // times), span.least // times + 1}
                        return ("attr", name), frozenset(cuts)
        return ("case", repr(node)), frozenset()

    def cases(self, key: Key, cuts: frozenset[int]) -> list[Any]:
        """Return what may be fixed: both truth values, or the spans between the cuts."""
        if not cuts:
            return [] if key[0] == "attr" and _is_number(["attr", key[1]]) else [TRUE, FALSE]
        value = next(
            value for (name, _), value in self._looked.items() if name == key[1] and _is_open(value)
        )
        least, most = value.span.least, value.span.most
        starts = [least, *sorted(cut for cut in cuts if least < cut <= most)]
        ends = [*(start - 1 for start in starts[1:]), most]
        return [Span(start, end) for start, end in zip(starts, ends, strict=True)]


def matched_below(within: str, kind: str, patterns: list[str]) -> int:
    """Return whether patterns match a control group that is one, or below it."""
    if not within:
        return EITHER
    if kind == "search":
        begins = [expressions.beginning(one) for one in patterns]
    else:
        if any(one.endswith("*") and nodes.glob(within, one) for one in patterns):
            # What is further down is matched by the last star.
            return TRUE
        begins = [_WILD.split(one, maxsplit=1)[0] for one in patterns]
    return EITHER if any(_may_begin(within, one) for one in begins) else FALSE


def _may_begin(within: str, begin: str) -> bool:
    """Return whether a control group that is one, or below it, may begin with a text."""
    below = begin[len(within) :]
    return within.startswith(begin) or (
        begin.startswith(within) and (not within or below.startswith("/"))
    )


def _is_open(value: Any) -> bool:
    return type(value) is Open


def _multiple(node: Node) -> tuple[str, int] | None:
    """Return of which attribute a node is a multiple, and how many times; None if of none."""
    if node[0] == "attr":
        return node[1], 1
    if node[0] == "*" and node[1][0] == "attr" and node[2][0] == "number" and node[2][1] > 0:
        return node[1][1], node[2][1]
    return None


def _type(node: Node) -> Type | None:
    attribute = ATTRIBUTES.get(node[1]) if node[0] == "attr" else None
    return attribute and attribute.type


def _is_text(node: Node) -> bool:
    return node[0] == "text" or _type(node) is Type.TEXT


def _is_condition(node: Node) -> bool:
    if node[0] == "attr":
        return _type(node) is Type.BOOLEAN or node[1].startswith(("(under", "(child"))
    return node[0] in nodes.FORMS and nodes.FORMS[node[0]].result == "C"


def _is_number(node: Node) -> bool:
    if node[0] in nodes.DOUBTS:
        return True
    return not _is_text(node) and not _is_condition(node)
