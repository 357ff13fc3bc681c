"""Situations of a host or a unit: the figures for which the condition of a guard holds.

A condition becomes cases, each a system of linear inequalities over the figures, with the figures
that have to be known in it and those that have to be unknown. What is not linear (a product of two
figures, a root) is a variable of its own, so a region may be too wide, never too narrow: that there
is no case is a proof, and anything else needs an example that the evaluation confirms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.processes.values import LIMIT, WHOLES
from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.reason import Undecided, inequalities
from oomrules.reason.inequalities import Inequality, System, inequality

# What a condition is asked to be: surely true, surely false, and what is neither of the other two.
HOLDS, FAILS, LACKS, MAY = "holds", "fails", "lacks", "may"
_OPPOSITE = {HOLDS: FAILS, FAILS: HOLDS, LACKS: MAY, MAY: LACKS}
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}

# More cases than any sensible condition has. Beyond this number nothing is claimed.
MOST_CASES = 256
_MOST_PARTS = 4000

_GIB, _MIB = 2**30, 2**20
# The figures of an ordinary host, which an example has where the condition allows it. The first
# ones are chosen first.
ORDINARY: dict[str, tuple[int, ...]] = {
    "host.memory": (8 * _GIB, 64 * _GIB, 9000 * _MIB),
    LIMIT: (8 * _GIB, 9000 * _MIB),
    "host.swap": (0, 4 * _GIB, 9000 * _MIB),
    "host.pressure": (0, 1000, 5000),
    "host.stall": (0, 1000, 5000),
    "scope.pressure": (0, 1000, 5000),
    "scope.stall": (0, 1000, 5000),
    "host.available": (6 * _GIB, 300 * _MIB, 100 * _MIB),
    "host.free": (4 * _GIB, 200 * _MIB, 50 * _MIB),
    "host.swap_free": (4 * _GIB, 100 * _MIB, 0),
    "host.shmem": (256 * _MIB,),
    "scope.memory_max": (4 * _GIB,),
    "scope.memory_high": (4 * _GIB,),
    "scope.memory": (_GIB,),
    "scope.footprint": (_GIB,),
    "scope.swap": (0,),
    "scope.oom_kills": (0,),
    "scope.processes": (10,),
}
_COARSE = (_GIB, 16 * _MIB, _MIB, 4096, 100)

# What is at most another figure, and what every share of time is at most.
_PART_OF = {
    "host.available": "host.memory",
    "host.free": "host.memory",
    "host.shmem": "host.memory",
    "host.swap_free": "host.swap",
    "host.swap": "host.totalpages",
}
_WHOLE_TIME = 10_000
_OF_WHOLE = {name: attribute for attribute, name in WHOLES.items()}


def _plain(name: str) -> str:
    """Return the figure that a name in a node asks for, as the whole of a share or by itself."""
    return _OF_WHOLE.get(name, name)


class Case(NamedTuple):
    """One way in which a condition is as it was asked to be.

    Attributes:
        system: what is so of the figures.
        known: the figures that are known in it.
        unknown: the figures that are unknown in it.
    """

    system: System = ()
    known: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()

    def with_(self, other: Case) -> Case | None:
        """Return what is both; None if a figure would be known and unknown."""
        known, unknown = self.known | other.known, self.unknown | other.unknown
        if known & unknown:
            return None
        return Case(tuple(dict.fromkeys((*self.system, *other.system))), known, unknown)


Cases = tuple[Case, ...]
EVERYTHING: Cases = (Case(),)


def given(figures: Mapping[str, int]) -> Case:
    """Return the case in which figures have values."""
    system = [part for name, value in figures.items() for part in inequalities.equal(name, value)]
    return Case(tuple(system), frozenset(figures))


def unknown(names: Iterable[str]) -> Case:
    """Return the case in which figures are unknown."""
    return Case(unknown=frozenset(names))


class Situations:
    """The conditions of guards, with the definitions that they use.

    Attributes:
        undecided: how many questions were too large to decide.
    """

    def __init__(self, definitions: Mapping[str, Node]) -> None:
        self.definitions = {
            name: nodes.localise(node, 1, LIMIT) for name, node in definitions.items()
        }
        self.undecided = 0
        self._named: dict[tuple[str, str], Cases] = {}
        # Keyed by the identity of a node, since a list has no hash. The node is kept too, so that
        # no other one takes its identity.
        self._known: dict[tuple[int, str], tuple[Node, Cases | None]] = {}
        self._parts = 0

    # --- questions ---------------------------------------------------------------------

    def possible(self, *wanted: tuple[Node, str] | Case) -> bool:
        """Return whether conditions can be as they are asked to be, all at once.

        Args:
            wanted: a condition and what it is to be, or a case that is to be so.

        Raises:
            Undecided: there would be too many cases.
        """
        return any(self._feasible(case) for case in self._all(wanted))

    def surely_not(self, *wanted: tuple[Node, str] | Case) -> bool:
        """Return whether ``possible`` is surely False; False, and counted, if it is undecided."""
        try:
            return not self.possible(*wanted)
        except (Undecided, RecursionError):
            self.undecided += 1
            return False

    def example(
        self,
        *wanted: tuple[Node, str] | Case,
        liked: Mapping[str, tuple[int, ...]] | None = None,
    ) -> dict[str, int] | None:
        """Return figures for which conditions are as they are asked to be; None if none are found.

        The evaluation confirms them. Figures that are unknown in it are left out.

        Args:
            liked: values to try before the ordinary ones.
        """
        try:
            for case in self._all(wanted):
                found = self._figures(case, liked or {})
                if found is not None and all(
                    self._is(node, how, found) for node, how in _conditions(wanted)
                ):
                    return found
        except (Undecided, RecursionError):
            self.undecided += 1
        return None

    def _figures(self, case: Case, liked: Mapping[str, tuple[int, ...]]) -> dict[str, int] | None:
        order = {**ORDINARY}
        for name, values in liked.items():
            order[name] = (*values, *order.get(name, ()))
        system = self._with_facts(case)
        found = inequalities.solution(system, order, _COARSE)
        if found is None:
            return None
        names = {name for name in found if name in ATTRIBUTES or name == LIMIT}
        return {name: found[name] for name in found if name in names and name not in case.unknown}

    def _is(self, node: Node, how: str, figures: Mapping[str, int]) -> bool:
        value = self.value(node, figures)
        match how:
            case "holds":
                return value is True
            case "fails":
                return value is False
            case "lacks":
                return value is not True
        return value is not False

    def value(self, node: Node, figures: Mapping[str, int | None]) -> bool | None:
        """Return whether a condition holds for figures; None if it is unknown.

        Args:
            figures: by attribute: bytes, hundredths of a percent, numbers; what is missing is
                unknown. ``LIMIT`` is the nearest memory limit.
        """

        def get(name: str) -> int | None:
            if name in _OF_WHOLE:
                return figures.get(_OF_WHOLE[name]) or None
            return figures.get(name)

        value = nodes.reduce(
            nodes.localise(node, 1, LIMIT), get, nodes.Definitions(self.definitions, get)
        )
        return value if isinstance(value, bool) else None

    def asked(self, node: Node) -> frozenset[str]:
        """Return the figures that a condition asks for, itself or by definitions."""
        needed = nodes.needed([node], self.definitions).values()
        local = [nodes.localise(node, 1, LIMIT), *needed]
        named = frozenset[str]().union(*map(nodes.attributes, local))
        return frozenset(map(_plain, named))

    # --- cases -------------------------------------------------------------------------

    def _all(self, wanted: Iterable[tuple[Node, str] | Case]) -> Cases:
        self._parts = 0
        found = EVERYTHING
        for one in wanted:
            if isinstance(one, Case):
                cases: Cases = (one,)
            else:
                node, how = one
                cases = self._cases_of(node, how)
            found = self._both(found, cases)
        return found

    def _cases_of(self, node: Node, how: str) -> Cases:
        key = id(node), how
        if key not in self._known:
            # A condition that is too large once stays too large.
            self._known[key] = node, None
            cases = self._cases(nodes.localise(node, 1, LIMIT), how)
            self._known[key] = node, tuple(case for case in cases if self._feasible(case))
        found = self._known[key][1]
        if found is None:
            raise Undecided("this condition has too many cases")
        return found

    def _cases(self, node: Node, how: str) -> Cases:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise Undecided("this condition has too many parts")
        match node[0]:
            case "not":
                return self._cases(node[1], _OPPOSITE[how])
            case "and" | "or":
                parts = [self._cases(part, how) for part in node[1:]]
                if (node[0] == "and") is (how in (HOLDS, MAY)):
                    found = EVERYTHING
                    for part in parts:
                        found = self._both(found, part)
                    return found
                return self._few(case for part in parts for case in part)
            case "name":
                if (node[1], how) not in self._named:
                    self._named[node[1], how] = self._cases(self.definitions[node[1]], how)
                return self._named[node[1], how]
            case "==" | "!=" if _is_condition(node[1]):
                one, two = node[1:]
                same: Node = ["or", ["and", one, two], ["and", ["not", one], ["not", two]]]
                return self._cases(same if node[0] == "==" else ["not", same], how)
        if node[0] in nodes.COMPARISONS and "text" not in (node[1][0], node[2][0]):
            return self._few(_compared(node, how))
        # Nothing is known of what else a condition may be: it may be anything.
        return EVERYTHING

    def _both(self, one: Cases, two: Cases) -> Cases:
        if one == EVERYTHING:
            return two
        return self._few(
            both for case in one for other in two if (both := case.with_(other)) is not None
        )

    def _few(self, cases: Iterable[Case]) -> Cases:
        found = tuple(dict.fromkeys(cases))
        if len(found) > MOST_CASES // 8:
            found = tuple(case for case in found if self._feasible(case))
        if len(found) > MOST_CASES:
            raise Undecided("this condition has too many cases")
        return found

    def _feasible(self, case: Case) -> bool:
        return inequalities.feasible(self._with_facts(case))

    def _with_facts(self, case: Case) -> System:
        """Return a case's system with what is certain of the figures in it."""
        names = {name for one in case.system for name, _ in one.terms} | case.known
        for _ in _PART_OF:
            names |= {_PART_OF[name] for name in names if name in _PART_OF and name != "host.swap"}
        return (*case.system, *_facts(names))


def _conditions(
    wanted: Iterable[tuple[Node, str] | Case],
) -> Iterator[tuple[Node, str]]:
    for one in wanted:
        if not isinstance(one, Case):
            yield one


def _facts(names: set[str]) -> Iterator[Inequality]:
    one = Fraction(1)
    for name in names:
        if name in ATTRIBUTES or name == LIMIT:
            # A host has memory.
            yield inequality({name: one}, -1 if name == "host.memory" else 0)
        if name in _PART_OF and _PART_OF[name] in names:
            yield inequality({_PART_OF[name]: one, name: -one}, 0)
        if name in ATTRIBUTES and ATTRIBUTES[name].type is Type.PERCENTAGE:
            yield inequality({name: -one}, _WHOLE_TIME)


def _is_condition(node: Node) -> bool:
    if node[0] == "attr":
        attribute = ATTRIBUTES.get(node[1])
        return attribute is not None and attribute.type is Type.BOOLEAN
    return node[0] in ("unknown", "name") or nodes.FORMS[node[0]].result == "C"


# --- comparisons -----------------------------------------------------------------------------


class _Term(NamedTuple):
    """One way in which an expression has a value: a linear form, under these conditions."""

    terms: dict[str, Fraction]
    constant: Fraction
    when: System = ()


def _compared(node: Node, how: str) -> Iterator[Case]:
    asked = nodes.attributes(node)
    known = frozenset(_plain(name) for name in asked if name != LIMIT)
    # The whole of a share is something: of nothing, every share is unknown.
    wholes = [_OF_WHOLE[name] for name in asked if name in _OF_WHOLE]
    something = tuple(inequality({name: Fraction(1)}, 0, strict=True) for name in wholes)
    operator = node[0] if how in (HOLDS, MAY) else _NEGATED[node[0]]
    for one in _values(node[1]):
        for two in _values(node[2]):
            terms = _sum(one.terms, two.terms, Fraction(-1))
            constant = one.constant - two.constant
            for part in _ordered(operator, terms, constant):
                system = (*part, *one.when, *two.when, *something)
                yield Case(tuple(dict.fromkeys(system)), known)
    if how in (LACKS, MAY):
        for name in sorted(known):
            yield Case(unknown=frozenset([name]))
        for name in wholes:
            yield Case(inequalities.equal(name, 0), frozenset([name]))
        if _may_be_unknown(node):
            yield Case()


def _ordered(operator: str, terms: dict[str, Fraction], constant: Fraction) -> Iterator[System]:
    """Yield the systems in which ``terms + constant OPERATOR 0``."""
    negative = {name: -factor for name, factor in terms.items()}
    above = inequality(terms, constant, operator in (">", "!="))
    below = inequality(negative, -constant, operator in ("<", "!="))
    match operator:
        case ">" | ">=":
            yield (above,)
        case "<" | "<=":
            yield (below,)
        case "==":
            yield (above, below)
        case "!=":
            yield (above,)
            yield (below,)


def _sum(
    one: Mapping[str, Fraction], two: Mapping[str, Fraction], times: Fraction
) -> dict[str, Fraction]:
    return {
        name: one.get(name, Fraction(0)) + two.get(name, Fraction(0)) * times
        for name in {**one, **two}
    }


def _scaled(term: _Term, by: Fraction) -> _Term:
    terms = {name: factor * by for name, factor in term.terms.items()}
    return _Term(terms, term.constant * by, term.when)


def _values(node: Node) -> list[_Term]:
    """Return the ways in which an expression has a value."""
    match node[0]:
        case "number":
            return [_Term({}, Fraction(node[1]))]
        case "attr":
            return [_Term({_plain(node[1]): Fraction(1)}, Fraction(0))]
        case "negative":
            return [_scaled(one, Fraction(-1)) for one in _values(node[1])]
        case "+" | "-":
            sign = Fraction(1 if node[0] == "+" else -1)
            return _combined(node[1:], lambda one, two: [_added(one, two, sign)])
        case "max" | "min":
            sign = Fraction(1 if node[0] == "max" else -1)
            return _combined(node[1:], lambda one, two: list(_chosen(one, two, sign)))
        case "*":
            return _combined(node[1:], lambda one, two: [_product(one, two, node)])
        case "/":
            return _combined(node[1:], lambda one, two: [_quotient(one, two, node)])
    return [_opaque(node)]


def _combined(parts: list[Node], combine: Callable[[_Term, _Term], list[_Term]]) -> list[_Term]:
    found = _values(parts[0])
    for part in parts[1:]:
        found = [term for one in found for two in _values(part) for term in combine(one, two)]
        if len(found) > MOST_CASES:
            raise Undecided("this expression has too many cases")
    return found


def _added(one: _Term, two: _Term, sign: Fraction) -> _Term:
    constant = one.constant + two.constant * sign
    return _Term(_sum(one.terms, two.terms, sign), constant, (*one.when, *two.when))


def _chosen(one: _Term, two: _Term, sign: Fraction) -> Iterator[_Term]:
    """Yield the greater of two values, or with -1 the lesser, each where it is the one."""
    for taken, other in ((one, two), (two, one)):
        apart = _added(taken, other, Fraction(-1))
        terms = {name: factor * sign for name, factor in apart.terms.items()}
        yield taken._replace(when=(*apart.when, inequality(terms, apart.constant * sign)))


def _product(one: _Term, two: _Term, node: Node) -> _Term:
    for term, other in ((one, two), (two, one)):
        if not any(other.terms.values()):
            scaled = _scaled(term, other.constant)
            return scaled._replace(when=(*one.when, *two.when))
    return _opaque(node)


def _quotient(one: _Term, two: _Term, node: Node) -> _Term:
    """Return a quotient, which is rounded down to a whole number."""
    if any(two.terms.values()) or two.constant <= 0:
        return _opaque(node)
    by = two.constant
    if not any(one.terms.values()):
        return _Term({}, Fraction(one.constant // by), (*one.when, *two.when))
    name = _name(node)
    # by * q <= one < by * (q + 1)
    rest = _sum(one.terms, {name: by}, Fraction(-1))
    less = {own: -factor for own, factor in rest.items()}
    when = (inequality(rest, one.constant), inequality(less, by - one.constant, strict=True))
    return _Term({name: Fraction(1)}, Fraction(0), (*one.when, *two.when, *when))


def _opaque(node: Node) -> _Term:
    """Return a value of which nothing is known but that the same expression has the same."""
    return _Term({_name(node): Fraction(1)}, Fraction(0))


def _name(node: Node) -> str:
    return str(node)


def _may_be_unknown(node: Any) -> bool:
    """Return whether known figures may give an unknown value: by a division by what may be 0."""
    return any(
        part[0] == "/" and not (part[2][0] == "number" and part[2][1] > 0)
        for part in nodes.walk(node)
    )
